"""Tables and the rules the database keeps by itself; the only place that knows SQLite.

What no program, ours or another, can commit here:

* a transaction of postings that does not sum to zero in every currency. A transaction is born unposted, gets its
  postings, and is then marked posted by an UPDATE whose trigger adds them up. Postings point at the *posted*
  transaction through a deferred foreign key, so a commit that leaves one unposted is refused too (needs
  ``PRAGMA foreign_keys=ON``, which ``open_books`` sets; for a writer without it ``ledger.check_books`` tells);
* a change to a posted transaction, a basket event, a receipt line or a status event;
* a status move that the tables of ``records`` do not hold, or one without its status event;
* a captured charge without the sale of its amount, a captured visit without a captured charge over its total;
* a wallet below zero; a second charge for a visit; a basket event for a closed visit; two currencies in a store.

PostgreSQL can follow: the tables and deferred keys are standard, only ``_TRIGGERS`` and the PRAGMAs need twins.
"""

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from walkout.billing.records import CHARGE_MOVES, LARGEST_MINOR, VISIT_MOVES, ChargeStatus, VisitStatus
from walkout.domain.shopping import BasketEventKind
from walkout.errors import SettingsError

SCHEMA_VERSION = 1

#: A writer waits this long for another process's transaction. Ours last milliseconds, so this is a stuck disk.
_BUSY_TIMEOUT_MS = 5_000
#: Pause before another opener of a new file is asked again; switching it takes about this long.
_WAL_PAUSE_MS = 10

metadata = sa.MetaData()


def _one_of(name: str, values: type[StrEnum]) -> "sa.Column[Any]":
    """A column of words: checked by the database, members of ``values`` in Python."""
    words = sa.Enum(
        values,
        name=f"{name}_words",
        native_enum=False,
        create_constraint=True,
        values_callable=lambda members: [member.value for member in members],
    )
    return sa.Column(name, words, nullable=False)


def _text(name: str, *rest: Any, **options: Any) -> "sa.Column[str]":
    return sa.Column(name, sa.Text, *rest, nullable=False, **options)


def _whole(name: str, *rest: Any, **options: Any) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger, *rest, nullable=False, **options)


schema_version = sa.Table("schema_version", metadata, _whole("version", primary_key=True, autoincrement=False))

stores = sa.Table(
    "stores",
    metadata,
    _text("store", primary_key=True),
    _text("currency"),
    sa.UniqueConstraint("store", "currency"),
)

prices = sa.Table(
    "prices",
    metadata,
    _text("store", primary_key=True),
    _text("barcode", primary_key=True),
    _text("name"),
    sa.Column("price_minor", sa.BigInteger, sa.CheckConstraint(f"price_minor BETWEEN 0 AND {LARGEST_MINOR}")),
    _text("currency"),
    sa.ForeignKeyConstraint(["store", "currency"], ["stores.store", "stores.currency"]),
)

visits = sa.Table(
    "visits",
    metadata,
    _text("visit_id", primary_key=True),
    _text("store"),
    _text("account_id"),
    _text("currency"),
    _whole("entered_ns"),
    _one_of("status", VisitStatus),
    sa.Column("closed_ns", sa.BigInteger),
    sa.Column("expected_events", sa.BigInteger),
    sa.Column("confidence", sa.Double),
    sa.Column("total_minor", sa.BigInteger),
    sa.ForeignKeyConstraint(["store", "currency"], ["stores.store", "stores.currency"]),
    sa.UniqueConstraint("visit_id", "currency"),
    sa.CheckConstraint("(status = 'open') = (closed_ns IS NULL)"),
    sa.CheckConstraint("(status = 'open') = (total_minor IS NULL)"),
    sa.Index("visits_by_status", "status"),
)

basket_events = sa.Table(
    "basket_events",
    metadata,
    _text("event_id", primary_key=True),
    _text("visit_id", sa.ForeignKey("visits.visit_id"), index=True),
    _whole("t_ns"),
    _one_of("kind", BasketEventKind),
    _text("barcode"),
    _whole("quantity"),
    sa.Column("probability", sa.Double, nullable=False),
    _text("weight_event_id"),
    sa.CheckConstraint("quantity <> 0 AND (kind <> 'pick' OR quantity > 0) AND (kind <> 'put_back' OR quantity < 0)"),
    sa.CheckConstraint("probability BETWEEN 0 AND 1"),
)

review_reasons = sa.Table(
    "review_reasons",
    metadata,
    _text("visit_id", sa.ForeignKey("visits.visit_id"), primary_key=True),
    _whole("position", primary_key=True, autoincrement=False),
    _text("reason"),
    # Fusion's own reasons came with the call that closed the visit and are part of its identity.
    sa.Column("from_request", sa.Boolean, nullable=False),
)

receipt_lines = sa.Table(
    "receipt_lines",
    metadata,
    _text("visit_id", sa.ForeignKey("visits.visit_id"), primary_key=True),
    _text("barcode", primary_key=True),
    _text("name"),
    _whole("quantity", sa.CheckConstraint("quantity > 0")),
    sa.Column("unit_minor", sa.BigInteger),
    sa.Column("total_minor", sa.BigInteger),
    sa.CheckConstraint("total_minor IS NULL OR total_minor = unit_minor * quantity"),
)

charges = sa.Table(
    "charges",
    metadata,
    _text("charge_id", primary_key=True),
    _text("visit_id", unique=True),
    _whole("amount_minor", sa.CheckConstraint(f"amount_minor BETWEEN 1 AND {LARGEST_MINOR}")),
    _text("currency"),
    _one_of("status", ChargeStatus),
    _text("provider"),
    _text("reference"),
    sa.ForeignKeyConstraint(["visit_id", "currency"], ["visits.visit_id", "visits.currency"]),
)

status_events = sa.Table(
    "status_events",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    _text("subject", sa.CheckConstraint("subject IN ('visit', 'charge')")),
    _text("subject_id"),
    _text("old_status"),
    _text("new_status"),
    _whole("at_ns"),
    _text("actor"),
    _text("reason"),
    sa.Index("status_events_by_subject", "subject", "subject_id"),
)

ledger_accounts = sa.Table(
    "ledger_accounts",
    metadata,
    _text("kind", primary_key=True),
    _text("owner", primary_key=True),
    _text("currency", primary_key=True),
    sa.CheckConstraint("kind IN ('wallet', 'hold', 'sales', 'funding', 'clearing')"),
)

wallets = sa.Table(
    "wallets",
    metadata,
    _text("account_id", primary_key=True),
    _text("currency", primary_key=True),
    _whole("balance_minor", sa.CheckConstraint(f"balance_minor BETWEEN 0 AND {LARGEST_MINOR}")),
)

transactions = sa.Table(
    "transactions",
    metadata,
    _text("transaction_id", primary_key=True),
    _text("kind"),
    _whole("at_ns"),
    _whole("posted", sa.CheckConstraint("posted IN (0, 1)")),
    sa.UniqueConstraint("transaction_id", "posted"),
)

postings = sa.Table(
    "postings",
    metadata,
    _text("transaction_id", primary_key=True),
    _text("kind", primary_key=True),
    _text("owner", primary_key=True),
    _text("currency", primary_key=True),
    _whole("amount_minor", sa.CheckConstraint(f"amount_minor <> 0 AND abs(amount_minor) <= {LARGEST_MINOR}")),
    # Always 1: together with the key below it says "my transaction is posted" to every commit.
    _whole("posted", sa.CheckConstraint("posted = 1"), server_default="1"),
    sa.ForeignKeyConstraint(
        ["transaction_id", "posted"],
        ["transactions.transaction_id", "transactions.posted"],
        deferrable=True,
        initially="DEFERRED",
    ),
    sa.ForeignKeyConstraint(
        ["kind", "owner", "currency"],
        ["ledger_accounts.kind", "ledger_accounts.owner", "ledger_accounts.currency"],
    ),
)


def _trigger(name: str, when: str, condition: str, complaint: str) -> str:
    """A trigger that refuses the row change ``when`` (such as BEFORE UPDATE ON t) where ``condition`` holds."""
    return f"CREATE TRIGGER {name} {when} WHEN {condition} BEGIN SELECT RAISE(ABORT, '{complaint}'); END"


def _frozen(table: str) -> list[str]:
    return [
        _trigger(f"{table}_no_{verb}", f"BEFORE {verb} ON {table}", "1", f"{table} are never changed")
        for verb in ("update", "delete")
    ]


def _moves(table: str, subject: str, key: str, moves: Mapping[Any, Sequence[Any]]) -> list[str]:
    """Refuse moves outside the table, and moves whose status event was not written just before."""
    legal = " OR ".join(
        f"(OLD.status = '{old}' AND NEW.status IN ({', '.join(repr(new.value) for new in news)}))"
        for old, news in moves.items()
    )
    last = (
        f"(SELECT old_status || '>' || new_status FROM status_events WHERE subject = '{subject}'"
        f" AND subject_id = NEW.{key} ORDER BY number DESC LIMIT 1)"
    )
    update = f"BEFORE UPDATE OF status ON {table}"
    said = f"coalesce({last}, '') <> OLD.status || '>' || NEW.status"
    first = next(iter(moves))
    return [
        _trigger(f"{table}_legal", update, f"NOT ({legal})", f"illegal move of a {subject}"),
        _trigger(f"{table}_told", update, said, f"a {subject} moves only with its status event"),
        _trigger(f"{table}_born", f"BEFORE INSERT ON {table}", f"NEW.status <> '{first}'", f"born {first}"),
        _trigger(f"{table}_no_delete", f"BEFORE DELETE ON {table}", "1", f"{table} are never deleted"),
    ]


_UNBALANCED = (
    "(SELECT count(*) FROM postings WHERE transaction_id = NEW.transaction_id) < 2 OR EXISTS (SELECT 1 FROM postings"
    " WHERE transaction_id = NEW.transaction_id GROUP BY currency HAVING sum(amount_minor) <> 0)"
)
_IS_POSTED = "EXISTS (SELECT 1 FROM transactions t WHERE t.transaction_id = {row}.transaction_id AND t.posted = 1)"
_VISIT_NOT_OPEN = "(SELECT status FROM visits WHERE visit_id = NEW.visit_id) <> 'open'"
_NOT_SOLD = (
    "NEW.status = 'captured' AND NOT EXISTS (SELECT 1 FROM postings p JOIN transactions t USING (transaction_id)"
    " WHERE t.transaction_id = 'charge/' || NEW.charge_id || '/sale' AND t.posted = 1 AND p.kind = 'sales'"
    " AND p.currency = NEW.currency AND p.amount_minor = -NEW.amount_minor)"
)
_NOT_PAID = (
    "NEW.status = 'captured' AND NOT EXISTS (SELECT 1 FROM charges c WHERE c.visit_id = NEW.visit_id"
    " AND c.status = 'captured' AND c.amount_minor = NEW.total_minor)"
)

_TRIGGERS = [
    *_frozen("basket_events"),
    *_frozen("receipt_lines"),
    *_frozen("review_reasons"),
    *_frozen("status_events"),
    *_frozen("postings"),
    *_moves("visits", "visit", "visit_id", VISIT_MOVES),
    *_moves("charges", "charge", "charge_id", CHARGE_MOVES),
    _trigger("basket_events_open", "BEFORE INSERT ON basket_events", _VISIT_NOT_OPEN, "the visit is closed"),
    _trigger("receipt_lines_open", "BEFORE INSERT ON receipt_lines", _VISIT_NOT_OPEN, "the visit is closed"),
    _trigger(
        "charges_amount",
        "BEFORE UPDATE OF charge_id, visit_id, amount_minor, currency, provider ON charges",
        "1",
        "a charge keeps its amount",
    ),
    _trigger(
        "visits_total",
        "BEFORE UPDATE ON visits",
        "OLD.total_minor IS NOT NULL AND (NEW.total_minor IS NOT OLD.total_minor OR NEW.closed_ns IS NOT"
        " OLD.closed_ns OR NEW.account_id <> OLD.account_id OR NEW.visit_id <> OLD.visit_id)",
        "a closed visit keeps its total",
    ),
    _trigger("charges_sold", "BEFORE UPDATE OF status ON charges", _NOT_SOLD, "a captured charge needs its sale"),
    _trigger("visits_paid", "BEFORE UPDATE OF status ON visits", _NOT_PAID, "a captured visit needs its charge"),
    _trigger("transactions_born", "BEFORE INSERT ON transactions", "NEW.posted <> 0", "born unposted"),
    _trigger("transactions_kept", "BEFORE UPDATE ON transactions", "OLD.posted = 1", "posted stays as it is"),
    _trigger("transactions_no_delete", "BEFORE DELETE ON transactions", "1", "transactions are never deleted"),
    _trigger(
        "transactions_balance",
        "BEFORE UPDATE ON transactions",
        f"NEW.posted = 1 AND ({_UNBALANCED})",
        "postings do not sum to zero",
    ),
    _trigger("postings_late", "BEFORE INSERT ON postings", _IS_POSTED.format(row="NEW"), "already posted"),
]


def open_books(database_url: str) -> sa.Engine:
    """The database at ``database_url`` (``sqlite:///path``), made if it is not there yet.

    Raises ``SettingsError`` for a URL that cannot be used and for books of a newer version.
    """
    try:
        url = sa.make_url(database_url)
    except sa.exc.ArgumentError as error:
        raise SettingsError(f"database_url: {database_url!r} is no URL; write sqlite:///path/to/books.db") from error
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        raise SettingsError(
            f"database_url: {database_url!r} cannot hold the books, for they must outlive a process;"
            " write sqlite:///path/to/books.db"
        )
    engine = sa.create_engine(url)
    sa.event.listen(engine, "connect", _set_pragmas)
    sa.event.listen(engine, "begin", _begin)
    try:
        with writing(engine) as connection:
            _create_or_check(connection)
    except sa.exc.DBAPIError as error:
        raise SettingsError(
            f"database_url: {database_url!r} does not open as books ({error.orig}); check the path, its rights and"
            " that the file is a database of ours"
        ) from error
    return engine


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


def _create_or_check(connection: sa.Connection) -> None:
    if not sa.inspect(connection).has_table("schema_version"):
        metadata.create_all(connection)
        for trigger in _TRIGGERS:
            connection.exec_driver_sql(trigger)
        connection.execute(schema_version.insert().values(version=SCHEMA_VERSION))
    found = connection.execute(sa.select(sa.func.max(schema_version.c.version))).scalar_one()
    if found != SCHEMA_VERSION:
        raise SettingsError(
            f"the books have version {found}, this walkout reads {SCHEMA_VERSION}; use the walkout that wrote them"
        )


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction that may write: committed at the end, rolled back when an exception passes."""
    with engine.begin() as connection:
        yield connection


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One consistent look at the books; never waits for a writer."""
    with engine.connect().execution_options(reading_only=True) as connection, connection.begin():
        yield connection
