"""The tables of the books, on SQLite and PostgreSQL alike; how older ones become these stands in ``migrations``.

What no program, ours or another, can commit here (by keys and CHECKs below, by triggers in ``triggers``):

* a transaction of postings that does not sum to zero in every currency. A transaction is born unposted, gets its
  postings, and is then marked posted by an UPDATE whose trigger adds them up. Postings point at the *posted*
  transaction through a deferred foreign key, so a commit that leaves one unposted is refused too (SQLite needs
  ``PRAGMA foreign_keys=ON``, which ``open_books`` sets; for a writer without it ``audit.check_books`` tells);
* a change to a posted transaction, a basket event, a receipt line, an adjustment or a status event;
* a status move that the tables of ``records`` do not hold, or one without its status event;
* a captured charge without the sale of its amount, a captured visit without a captured charge over its total;
* a refund of more than was captured, or one that is done without its postings;
* a wallet below zero; a second charge for the same cause; a basket event for a closed visit; two currencies in a
  store.
"""

from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from walkout.billing.records import (
    LARGEST_MINOR,
    AdjustmentKind,
    ChargeStatus,
    Direction,
    DisputeStatus,
    RefundStatus,
    VisitStatus,
)
from walkout.domain.shopping import BasketEventKind

#: Newest migration; ``open_books`` brings older books up to it.
HEAD = "0003"

#: Kinds of ledger accounts; ``ledger`` says what each holds.
LEDGER_KINDS = (
    "wallet",
    "hold",
    "sales",
    "tax",
    "funding",
    "clearing",
    "receivable",
    "points",
    "discount",
    "rounding",
    "loss",
    "debt",
    "refunds",
    "fees",
    "disputes",
)

#: What an account may pay with at an outside provider.
METHOD_KINDS = ("card", "kakao_pay", "naver_pay", "alipay", "wechat_pay")

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


def _driven() -> "tuple[sa.Column[Any], ...]":
    """How far the sweep got with a row: calls that were not answered, when it may ask again, what went wrong."""
    return (
        _whole("attempts", server_default="0"),
        _whole("next_attempt_ns", server_default="0"),
        _text("trouble", server_default=""),
    )


def _where(condition: str) -> dict[str, Any]:
    """A partial index on either database."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


stores = sa.Table(
    "stores",
    metadata,
    _text("store", primary_key=True),
    _text("currency"),
    # JSON of ``terms``: seller, tax classes, promotions.
    _text("terms", server_default=""),
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
    # An archived product keeps its name and price for whoever still carries one out; it is no longer offered.
    sa.Column("archived", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("member_price_minor", sa.BigInteger),
    _text("tax_class", server_default=""),
    sa.Column("per_kg", sa.Boolean, nullable=False, server_default=sa.false()),
    _whole("tare_g", server_default="0"),
    sa.ForeignKeyConstraint(["store", "currency"], ["stores.store", "stores.currency"]),
)

barcodes = sa.Table(
    "barcodes",
    metadata,
    _text("store", primary_key=True),
    _text("code", primary_key=True),
    _text("barcode"),
    sa.ForeignKeyConstraint(["store", "barcode"], ["prices.store", "prices.barcode"]),
    sa.CheckConstraint("code <> barcode"),
)

price_periods = sa.Table(
    "price_periods",
    metadata,
    _text("store", primary_key=True),
    _text("barcode", primary_key=True),
    _whole("valid_from_ns", primary_key=True, autoincrement=False),
    sa.Column("valid_to_ns", sa.BigInteger),
    _whole("price_minor", sa.CheckConstraint(f"price_minor BETWEEN 0 AND {LARGEST_MINOR}")),
    sa.ForeignKeyConstraint(["store", "barcode"], ["prices.store", "prices.barcode"]),
    sa.CheckConstraint("valid_to_ns IS NULL OR valid_to_ns > valid_from_ns"),
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
    _whole("grams", server_default="0"),
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
    _whole("grams", server_default="0"),
    sa.Column("listed_minor", sa.BigInteger),
    _text("tax_class", server_default=""),
    # A fraction such as 1/10; ``tax_minor`` is absent where the store has no tax classes.
    _text("tax_rate", server_default="0"),
    sa.Column("tax_minor", sa.BigInteger),
    sa.Column("tax_included", sa.Boolean, nullable=False, server_default=sa.true()),
)

line_reasons = sa.Table(
    "line_reasons",
    metadata,
    _text("visit_id", primary_key=True),
    _text("barcode", primary_key=True),
    _whole("position", primary_key=True, autoincrement=False),
    _text("code"),
    _text("source"),
    _text("label"),
    _whole("amount_minor"),
    sa.ForeignKeyConstraint(["visit_id", "barcode"], ["receipt_lines.visit_id", "receipt_lines.barcode"]),
)

charges = sa.Table(
    "charges",
    metadata,
    _text("charge_id", primary_key=True),
    _text("visit_id"),
    # What it is for: "visit", or the adjustment that made more due.
    _text("cause"),
    _whole("amount_minor", sa.CheckConstraint(f"amount_minor BETWEEN 1 AND {LARGEST_MINOR}")),
    _text("currency"),
    _one_of("status", ChargeStatus),
    _text("provider"),
    _text("reference"),
    *_driven(),
    sa.UniqueConstraint("visit_id", "cause"),
    sa.UniqueConstraint("charge_id", "currency"),
    sa.ForeignKeyConstraint(["visit_id", "currency"], ["visits.visit_id", "visits.currency"]),
    sa.Index("charges_on_their_way", "next_attempt_ns", **_where("status IN ('created', 'authorized')")),
)

adjustments = sa.Table(
    "adjustments",
    metadata,
    _text("adjustment_id", primary_key=True),
    _text("visit_id", index=True),
    _text("currency"),
    _one_of("kind", AdjustmentKind),
    # True: the visit had taken no money yet, the adjustment decides what it takes.
    sa.Column("before_capture", sa.Boolean, nullable=False),
    _whole("amount_minor", sa.CheckConstraint(f"abs(amount_minor) <= {LARGEST_MINOR}")),
    _text("reason_code"),
    _text("reason"),
    _text("actor"),
    _whole("at_ns"),
    sa.ForeignKeyConstraint(["visit_id", "currency"], ["visits.visit_id", "visits.currency"]),
    sa.UniqueConstraint("adjustment_id", "visit_id"),
)

adjustment_lines = sa.Table(
    "adjustment_lines",
    metadata,
    _text("adjustment_id", sa.ForeignKey("adjustments.adjustment_id"), primary_key=True),
    _whole("position", primary_key=True, autoincrement=False),
    _text("barcode"),
    _text("name"),
    _whole("quantity", sa.CheckConstraint("quantity <> 0")),
    # Signed as the quantity. With weights and promotions no unit price divides it evenly.
    _whole("amount_minor", sa.CheckConstraint(f"abs(amount_minor) <= {LARGEST_MINOR}")),
)

refunds = sa.Table(
    "refunds",
    metadata,
    _text("refund_id", primary_key=True),
    _text("adjustment_id", sa.ForeignKey("adjustments.adjustment_id")),
    _text("charge_id"),
    _whole("amount_minor", sa.CheckConstraint(f"amount_minor BETWEEN 1 AND {LARGEST_MINOR}")),
    _text("currency"),
    _one_of("status", RefundStatus),
    _text("reference"),
    *_driven(),
    sa.UniqueConstraint("adjustment_id", "charge_id"),
    sa.ForeignKeyConstraint(["charge_id", "currency"], ["charges.charge_id", "charges.currency"]),
    sa.Index("refunds_by_charge", "charge_id"),
    sa.Index("refunds_on_their_way", "next_attempt_ns", **_where("status = 'created'")),
)

disputes = sa.Table(
    "disputes",
    metadata,
    _text("dispute_id", primary_key=True),
    _text("visit_id", sa.ForeignKey("visits.visit_id"), index=True),
    _one_of("direction", Direction),
    _one_of("status", DisputeStatus),
    _text("claim"),
    _text("opened_by"),
    _whole("opened_ns"),
    # The adjustment that an accepted dispute led to.
    sa.Column("adjustment_id", sa.Text),
    sa.ForeignKeyConstraint(["adjustment_id", "visit_id"], ["adjustments.adjustment_id", "adjustments.visit_id"]),
    sa.CheckConstraint("(status = 'accepted') = (adjustment_id IS NOT NULL)"),
)

status_events = sa.Table(
    "status_events",
    metadata,
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    _text("subject", sa.CheckConstraint("subject IN ('visit', 'charge', 'refund', 'dispute')")),
    _text("subject_id"),
    _text("old_status"),
    _text("new_status"),
    _whole("at_ns"),
    _text("actor"),
    _text("reason"),
    sa.Index("status_events_by_subject", "subject", "subject_id", "number"),
)

ledger_accounts = sa.Table(
    "ledger_accounts",
    metadata,
    _text("kind", primary_key=True),
    _text("owner", primary_key=True),
    _text("currency", primary_key=True),
    sa.CheckConstraint(f"kind IN ({', '.join(repr(kind) for kind in LEDGER_KINDS)})"),
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

members = sa.Table("members", metadata, _text("account_id", primary_key=True), _whole("since_ns"))

coupons = sa.Table(
    "coupons",
    metadata,
    _text("coupon_id", primary_key=True),
    _text("account_id", index=True),
    _text("label"),
    _text("currency"),
    sa.Column("off_minor", sa.BigInteger, sa.CheckConstraint(f"off_minor BETWEEN 1 AND {LARGEST_MINOR}")),
    sa.Column("percent", sa.Text),
    _whole("minimum_minor", sa.CheckConstraint("minimum_minor >= 0"), server_default="0"),
    _whole("issued_ns"),
    _whole("expires_ns"),
    sa.CheckConstraint("(off_minor IS NULL) <> (percent IS NULL)"),
)

# Its key is what lets a coupon be redeemed once.
coupon_redemptions = sa.Table(
    "coupon_redemptions",
    metadata,
    _text("coupon_id", sa.ForeignKey("coupons.coupon_id"), primary_key=True),
    _text("visit_id", sa.ForeignKey("visits.visit_id")),
    _whole("at_ns"),
)

points = sa.Table(
    "points",
    metadata,
    _text("account_id", primary_key=True),
    _whole("balance", sa.CheckConstraint(f"balance BETWEEN 0 AND {LARGEST_MINOR}")),
)

points_moves = sa.Table(
    "points_moves",
    metadata,
    _text("account_id", sa.ForeignKey("points.account_id"), primary_key=True),
    _text("cause", primary_key=True),
    _whole("points", sa.CheckConstraint("points <> 0")),
    _whole("at_ns"),
)

payment_methods = sa.Table(
    "payment_methods",
    metadata,
    _text("provider", primary_key=True),
    _text("account_id", primary_key=True),
    _text("customer"),
    _text("method"),
    _text("kind", sa.CheckConstraint(f"kind IN ({', '.join(repr(kind) for kind in METHOD_KINDS)})")),
    _whole("saved_ns"),
)

# Written before anybody is asked, so that a restart splits the same way.
payment_splits = sa.Table(
    "payment_splits",
    metadata,
    _text("charge_id", primary_key=True),
    _text("refund_id", primary_key=True),  # empty for the charge itself
    _whole("wallet_minor", sa.CheckConstraint(f"wallet_minor BETWEEN 0 AND {LARGEST_MINOR}")),
    _whole("card_minor", sa.CheckConstraint(f"card_minor BETWEEN 0 AND {LARGEST_MINOR}")),
)

webhooks = sa.Table(
    "webhooks",
    metadata,
    _text("provider", primary_key=True),
    _text("event_id", primary_key=True),
    _text("kind"),
    _text("reference"),
    _text("charge_id"),
    _whole("received_ns"),
    sa.Column("applied_ns", sa.BigInteger),
    _text("outcome", server_default=""),
)
