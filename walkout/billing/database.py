"""Where the books lie: opening them, bringing them up to this version, and the two kinds of transaction.

SQLite (WAL) is the embedded default: one writer at a time, so a writing transaction sees nobody else's half-done
work. PostgreSQL is the production store: writers run side by side under READ COMMITTED and lock the rows they decide
on (``visits.find_visit``, ``ledger.balance``), always visits before wallets and each kind in the order of its id.
"""

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from walkout.billing import triggers
from walkout.billing.schema import HEAD
from walkout.errors import SettingsError

#: A writer waits this long for another process's transaction. Ours last milliseconds, so this is a stuck disk.
_BUSY_TIMEOUT_MS = 5_000
#: Pause before another opener of a new file is asked again; switching it takes about this long.
_WAL_PAUSE_MS = 10
#: PostgreSQL connections kept open; more threads than this do not settle at once.
_POOL = 16
#: Seconds after which a PostgreSQL server that does not answer counts as away.
_CONNECT_TIMEOUT_S = 5
#: Keys of PostgreSQL's advisory locks (any fixed numbers): one for migrating, one for serving.
_MIGRATE_KEY, _SERVE_KEY = 0x57414C4B01, 0x57414C4B02

_REMEDY = "write sqlite:///path/to/books.db or postgresql://user@host/database"


def open_books(database_url: str) -> sa.Engine:
    """The books at ``database_url`` (``sqlite:///path`` or ``postgresql://...``), made if they are not there yet.

    Books of an older version are brought up to this one. Raises ``SettingsError`` for a URL that cannot be used and
    for books of a newer version.
    """
    engine = connect(database_url)
    try:
        if _version(engine) != HEAD:
            migrate(engine)
    except sa.exc.DBAPIError as error:
        raise SettingsError(
            f"database_url: {engine.url!r} does not open as books ({error.orig}); check the path or address, its"
            " rights and that the database is one of ours"
        ) from error
    return engine


def connect(database_url: str) -> sa.Engine:
    """An engine with our settings over whatever is there; raises ``SettingsError`` for a URL that cannot be used."""
    try:
        url = sa.make_url(database_url)
    except sa.exc.ArgumentError as error:
        raise SettingsError(f"database_url: {database_url!r} is no URL; {_REMEDY}") from error
    if url.get_backend_name() == "postgresql":
        return _postgres_engine(url)
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        raise SettingsError(f"database_url: {url!r} cannot hold the books, for they must outlive a process; {_REMEDY}")
    engine = sa.create_engine(url)
    sa.event.listen(engine, "connect", _set_pragmas)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _postgres_engine(url: sa.URL) -> sa.Engine:
    # A commit that was answered survives a power cut, whatever the server's default says.
    options = {"connect_timeout": _CONNECT_TIMEOUT_S, "options": "-c synchronous_commit=on"}
    return sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=_POOL,
        max_overflow=_POOL,
        pool_pre_ping=True,
        connect_args=options,
    )


def _set_pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we begin transactions ourselves, see _begin
    connection.execute(f"PRAGMA busy_timeout={_BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=FULL")  # a receipt that was answered survives a power cut
    _set_wal(connection)


def _set_wal(connection: Any) -> None:
    """Readers beside a writer. SQLite does not wait by itself where two openers switch a new file at once."""
    for _ in range(_BUSY_TIMEOUT_MS // _WAL_PAUSE_MS):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(_WAL_PAUSE_MS / 1000)
    connection.execute("PRAGMA journal_mode=WAL")


def _begin(connection: sa.Connection) -> None:
    """Writers take the write lock first: one that read before would fail instead of wait when another wrote."""
    reading_only = connection.get_execution_options().get("reading_only", False)
    connection.exec_driver_sql("BEGIN" if reading_only else "BEGIN IMMEDIATE")


def migrate(engine: sa.Engine) -> tuple[str, str]:
    """Bring the books to this version in one transaction, whoever else tries at once; the versions before and after.

    The version before is empty for a new database. Raises ``SettingsError`` for books of a newer version.
    """
    with engine.connect() as connection:
        # Copied tables would pull the rows that point at them along; the keys are checked before the commit.
        _foreign_keys(connection, "OFF")
        try:
            with connection.begin():
                if engine.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATE_KEY})")
                before = _version_in(connection)
                if before != HEAD:
                    _upgrade(connection, before)
        finally:
            _foreign_keys(connection, "ON")
    return before, HEAD


def _foreign_keys(connection: sa.Connection, word: str) -> None:
    """SQLite switches them outside of transactions only, so past SQLAlchemy, which would begin one."""
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        driver.execute(f"PRAGMA foreign_keys={word}")


def _upgrade(connection: sa.Connection, before: str) -> None:
    from alembic import command  # costs a third of a second, and only new or old books need it
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if before and before not in known:
        raise SettingsError(
            f"the books have version {before}, this walkout reads {HEAD}; use the walkout that wrote them"
        )
    triggers.drop(connection)
    if before == "0001" and not sa.inspect(connection).has_table("alembic_version"):
        command.stamp(config, "0001")
    command.upgrade(config, "head")
    triggers.install(connection)
    if connection.dialect.name == "sqlite" and (broken := connection.exec_driver_sql("PRAGMA foreign_key_check").all()):
        raise SettingsError(f"the books cannot be brought up to date: rows point nowhere ({broken[:3]})")


def _version(engine: sa.Engine) -> str:
    with reading(engine) as connection:
        return _version_in(connection)


def _version_in(connection: sa.Connection) -> str:
    """The migration that the books stand at, empty for a database without books."""
    tables = sa.inspect(connection)
    if tables.has_table("alembic_version"):
        return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one())
    if tables.has_table("schema_version"):  # the first version kept its number there
        return f"{connection.exec_driver_sql('SELECT max(version) FROM schema_version').scalar_one():04}"
    return ""


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction that may write: committed at the end, rolled back when an exception passes."""
    with engine.begin() as connection:
        yield connection


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One consistent look at the books; never waits for a writer."""
    options: dict[str, Any] = {"reading_only": True}
    if engine.dialect.name == "postgresql":
        options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


def insert_new(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows that no unique key knows yet; how many were new.

    Where another transaction is just inserting the same key, PostgreSQL waits for its end and then knows it.
    """
    if not rows:
        return 0
    on_postgres = connection.dialect.name == "postgresql"
    statement: Any = (postgresql.insert if on_postgres else sqlite.insert)(table).on_conflict_do_nothing()
    # Counted by what comes back: drivers disagree on the row count of an insert that skips rows.
    return len(connection.execute(statement.returning(next(iter(table.primary_key.columns))), list(rows)).all())


def claim_books(engine: sa.Engine) -> sa.Connection | None:
    """Be the one service over PostgreSQL books until the returned connection closes; None on SQLite.

    Two services would settle one visit at once. A service that was killed lets go as soon as the server notices;
    raises ``SettingsError`` where another still holds on after ten seconds.
    """
    if engine.dialect.name != "postgresql":
        return None
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    for _ in range(100):
        if connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({_SERVE_KEY})").scalar_one():
            return connection
        time.sleep(0.1)
    connection.close()
    raise SettingsError(f"database_url: another billing service is serving the books at {engine.url!r}; stop it first")
