"""The first version of the books, as it was written: SQLite files that carry ``schema_version`` 1 begin here.

Nothing below follows later changes of the code; the words of its CHECKs are spelled out for that reason.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

LARGEST_MINOR = 2**53 - 1
VISIT_WORDS = ("open", "closing", "captured", "review", "released")
CHARGE_WORDS = ("created", "authorized", "captured", "voided", "declined")
EVENT_WORDS = ("pick", "put_back", "correction")

metadata = sa.MetaData()


def _one_of(name: str, words: tuple[str, ...]) -> "sa.Column[Any]":
    kind = sa.Enum(*words, name=f"{name}_words", native_enum=False, create_constraint=True)
    return sa.Column(name, kind, nullable=False)


def _text(name: str, *rest: Any, **options: Any) -> "sa.Column[str]":
    return sa.Column(name, sa.Text, *rest, nullable=False, **options)


def _whole(name: str, *rest: Any, **options: Any) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger, *rest, nullable=False, **options)


sa.Table("schema_version", metadata, _whole("version", primary_key=True, autoincrement=False))

sa.Table(
    "stores",
    metadata,
    _text("store", primary_key=True),
    _text("currency"),
    sa.UniqueConstraint("store", "currency"),
)

sa.Table(
    "prices",
    metadata,
    _text("store", primary_key=True),
    _text("barcode", primary_key=True),
    _text("name"),
    sa.Column("price_minor", sa.BigInteger, sa.CheckConstraint(f"price_minor BETWEEN 0 AND {LARGEST_MINOR}")),
    _text("currency"),
    sa.ForeignKeyConstraint(["store", "currency"], ["stores.store", "stores.currency"]),
)

sa.Table(
    "visits",
    metadata,
    _text("visit_id", primary_key=True),
    _text("store"),
    _text("account_id"),
    _text("currency"),
    _whole("entered_ns"),
    _one_of("status", VISIT_WORDS),
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

sa.Table(
    "basket_events",
    metadata,
    _text("event_id", primary_key=True),
    _text("visit_id", sa.ForeignKey("visits.visit_id"), index=True),
    _whole("t_ns"),
    _one_of("kind", EVENT_WORDS),
    _text("barcode"),
    _whole("quantity"),
    sa.Column("probability", sa.Double, nullable=False),
    _text("weight_event_id"),
    sa.CheckConstraint("quantity <> 0 AND (kind <> 'pick' OR quantity > 0) AND (kind <> 'put_back' OR quantity < 0)"),
    sa.CheckConstraint("probability BETWEEN 0 AND 1"),
)

sa.Table(
    "review_reasons",
    metadata,
    _text("visit_id", sa.ForeignKey("visits.visit_id"), primary_key=True),
    _whole("position", primary_key=True, autoincrement=False),
    _text("reason"),
    # Fusion's own reasons came with the call that closed the visit and are part of its identity.
    sa.Column("from_request", sa.Boolean, nullable=False),
)

sa.Table(
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

sa.Table(
    "charges",
    metadata,
    _text("charge_id", primary_key=True),
    _text("visit_id", unique=True),
    _whole("amount_minor", sa.CheckConstraint(f"amount_minor BETWEEN 1 AND {LARGEST_MINOR}")),
    _text("currency"),
    _one_of("status", CHARGE_WORDS),
    _text("provider"),
    _text("reference"),
    sa.ForeignKeyConstraint(["visit_id", "currency"], ["visits.visit_id", "visits.currency"]),
)

sa.Table(
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

sa.Table(
    "ledger_accounts",
    metadata,
    _text("kind", primary_key=True),
    _text("owner", primary_key=True),
    _text("currency", primary_key=True),
    sa.CheckConstraint("kind IN ('wallet', 'hold', 'sales', 'funding', 'clearing')"),
)

sa.Table(
    "wallets",
    metadata,
    _text("account_id", primary_key=True),
    _text("currency", primary_key=True),
    _whole("balance_minor", sa.CheckConstraint(f"balance_minor BETWEEN 0 AND {LARGEST_MINOR}")),
)

sa.Table(
    "transactions",
    metadata,
    _text("transaction_id", primary_key=True),
    _text("kind"),
    _whole("at_ns"),
    _whole("posted", sa.CheckConstraint("posted IN (0, 1)")),
    sa.UniqueConstraint("transaction_id", "posted"),
)

sa.Table(
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


def upgrade() -> None:
    """Make every table of the first version."""
    metadata.create_all(op.get_bind())


def downgrade() -> None:
    """There is nothing before the first version."""
    raise NotImplementedError("books are never taken back to an older version; restore a backup")
