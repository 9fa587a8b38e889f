"""Books in a file: backup, restore into either database, and the proof that what is there adds up.

A backup is text that needs no database to be read: gzip of JSON lines, one row a line, in the order in which the
tables need each other, with a checksum as its last line. It is taken in one consistent look while the service runs,
and may be restored into SQLite or PostgreSQL, whichever it came from.
"""

import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from walkout.billing import triggers
from walkout.billing.audit import check_books
from walkout.billing.database import connect, migrate, open_books, reading, writing
from walkout.billing.records import BooksReport
from walkout.billing.schema import HEAD, metadata
from walkout.errors import SettingsError

_FORMAT = "walkout books 1"
#: Rows of one insert; no table has more than twenty columns, and SQLite takes 32,766 parameters.
_ROWS = 500


def verify(database_url: str) -> BooksReport:
    """Prove the books from the database alone; nothing is migrated. Raises ``SettingsError`` where it cannot."""
    engine = connect(database_url)
    try:
        return check_books(engine)
    except sa.exc.DBAPIError as error:
        raise SettingsError(f"database_url: {engine.url!r} holds no books that can be read ({error.orig})") from error
    finally:
        engine.dispose()


def migrate_books(database_url: str) -> tuple[str, str]:
    """Bring the books up to this version; the versions before and after."""
    engine = connect(database_url)
    try:
        return migrate(engine)
    except sa.exc.DBAPIError as error:
        raise SettingsError(f"database_url: {engine.url!r} does not open as books ({error.orig})") from error
    finally:
        engine.dispose()


def backup(database_url: str, path: Path) -> int:
    """Write all books into ``path``; how many rows. Raises ``SettingsError`` where the file is there already."""
    if path.exists():
        raise SettingsError(f"{path}: is there already; a backup never overwrites another")
    engine = open_books(database_url)
    part = path.with_name(path.name + ".part")
    rows = 0
    checksum = hashlib.sha256()
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as raw, gzip.open(raw, "wt", encoding="utf-8") as file:
            for line in _lines(engine):
                rows += line.startswith("[")
                checksum.update(line.encode())
                file.write(line)
            file.write(json.dumps({"sha256": checksum.hexdigest()}) + "\n")
            file.flush()
            os.fsync(raw.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
        engine.dispose()
    return rows


def restore(path: Path, database_url: str) -> BooksReport:
    """Fill empty books from a backup and prove them; all or nothing.

    Raises ``SettingsError`` for a damaged or foreign file, another version's backup, and books that are not empty.
    """
    engine = open_books(database_url)
    try:
        with writing(engine) as connection:
            if any(
                connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() for table in _tables()
            ):
                raise SettingsError(f"database_url: {engine.url!r} holds books already; restore into an empty database")
            triggers.drop(connection)  # what was allowed once is not judged again row by row
            _fill(connection, path)
            triggers.install(connection)
        report = check_books(engine)
    finally:
        engine.dispose()
    return report


def _tables() -> list[sa.Table]:
    return list(metadata.sorted_tables)


def _lines(engine: sa.Engine) -> Iterator[str]:
    yield json.dumps({"format": _FORMAT, "version": HEAD}) + "\n"
    with reading(engine) as connection:
        for table in _tables():
            yield json.dumps({"table": table.name, "columns": [column.name for column in table.columns]}) + "\n"
            ordered = sa.select(table).order_by(*table.primary_key.columns)
            for row in connection.execution_options(yield_per=_ROWS).execute(ordered):
                yield json.dumps(list(row), ensure_ascii=False) + "\n"


def _fill(connection: sa.Connection, path: Path) -> None:
    table: sa.Table | None = None
    columns: list[str] = []
    waiting: list[dict[str, Any]] = []
    for line in _checked(path):
        found = json.loads(line)
        if isinstance(found, list) and table is not None:
            waiting.append(dict(zip(columns, found, strict=True)))
        if waiting and table is not None and (len(waiting) == _ROWS or isinstance(found, dict)):
            connection.execute(table.insert(), waiting)
            waiting = []
        if isinstance(found, dict) and "table" in found:
            table, columns = metadata.tables[found["table"]], found["columns"]
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(
            "SELECT setval(pg_get_serial_sequence('status_events', 'number'), coalesce(max(number), 0) + 1)"
            " FROM status_events"
        )


def _checked(path: Path) -> Iterator[str]:
    """The file's lines; what is wrong with it is raised before the caller's transaction can be committed."""
    checksum, last = hashlib.sha256(), ""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            head = file.readline()
            told = json.loads(head)
            if told.get("format") != _FORMAT or told.get("version") != HEAD:
                raise SettingsError(
                    f"{path}: is a backup of version {told.get('version')!r}, this walkout restores {HEAD}"
                )
            checksum.update(head.encode())
            for line in file:
                last = line
                if not line.startswith('{"sha256"'):
                    checksum.update(line.encode())
                yield line
        if json.loads(last).get("sha256") != checksum.hexdigest():
            raise SettingsError(f"{path}: the checksum does not fit; the file is damaged")
    except (OSError, EOFError, ValueError, AttributeError) as error:
        raise SettingsError(f"{path}: is no whole backup of books ({error})") from error
