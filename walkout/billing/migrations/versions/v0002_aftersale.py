"""Refunds, adjustments, disputes; several barcodes and dated prices; charges that are driven on; PostgreSQL.

A charge now names its cause, for a visit may be charged again after an adjustment. What SQLite cannot alter is made
anew and copied.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

LARGEST_MINOR = 2**53 - 1
KINDS = ["wallet", "hold", "sales", "tax", "funding", "clearing", "receivable", "points", "discount", "rounding"]
KINDS += ["loss", "debt", "refunds", "fees", "disputes"]

_DRIVEN = (
    "attempts BIGINT DEFAULT 0 NOT NULL, next_attempt_ns BIGINT DEFAULT 0 NOT NULL, trouble TEXT DEFAULT '' NOT NULL"
)
_CHARGES = f"""CREATE TABLE charges_new (
    charge_id TEXT NOT NULL PRIMARY KEY, visit_id TEXT NOT NULL, cause TEXT NOT NULL,
    amount_minor BIGINT NOT NULL CHECK (amount_minor BETWEEN 1 AND {LARGEST_MINOR}), currency TEXT NOT NULL,
    status VARCHAR(10) NOT NULL CHECK (status IN ('created', 'authorized', 'captured', 'voided', 'declined')),
    provider TEXT NOT NULL, reference TEXT NOT NULL, {_DRIVEN},
    UNIQUE (visit_id, cause), UNIQUE (charge_id, currency),
    FOREIGN KEY (visit_id, currency) REFERENCES visits (visit_id, currency))"""
_RECEIPT_LINES = """CREATE TABLE receipt_lines_new (
    visit_id TEXT NOT NULL REFERENCES visits (visit_id), barcode TEXT NOT NULL, name TEXT NOT NULL,
    quantity BIGINT NOT NULL CHECK (quantity > 0), unit_minor BIGINT, total_minor BIGINT,
    grams BIGINT DEFAULT 0 NOT NULL, listed_minor BIGINT, tax_class TEXT DEFAULT '' NOT NULL,
    tax_rate TEXT DEFAULT '0' NOT NULL, tax_minor BIGINT, tax_included BOOLEAN DEFAULT true NOT NULL,
    PRIMARY KEY (visit_id, barcode))"""
_STATUS_EVENTS = """CREATE TABLE status_events_new (
    number {number} NOT NULL PRIMARY KEY,
    subject TEXT NOT NULL CHECK (subject IN ('visit', 'charge', 'refund', 'dispute')), subject_id TEXT NOT NULL,
    old_status TEXT NOT NULL, new_status TEXT NOT NULL, at_ns BIGINT NOT NULL, actor TEXT NOT NULL,
    reason TEXT NOT NULL)"""
_KINDS = ", ".join(f"'{kind}'" for kind in KINDS)
_LEDGER_ACCOUNTS = f"""CREATE TABLE ledger_accounts_new (
    kind TEXT NOT NULL CHECK (kind IN ({_KINDS})), owner TEXT NOT NULL, currency TEXT NOT NULL,
    PRIMARY KEY (kind, owner, currency))"""
_NEW = f"""
CREATE TABLE barcodes (
    store TEXT NOT NULL, code TEXT NOT NULL, barcode TEXT NOT NULL, PRIMARY KEY (store, code),
    FOREIGN KEY (store, barcode) REFERENCES prices (store, barcode), CHECK (code <> barcode));
CREATE TABLE line_reasons (
    visit_id TEXT NOT NULL, barcode TEXT NOT NULL, position BIGINT NOT NULL, code TEXT NOT NULL, source TEXT NOT NULL,
    label TEXT NOT NULL, amount_minor BIGINT NOT NULL, PRIMARY KEY (visit_id, barcode, position),
    FOREIGN KEY (visit_id, barcode) REFERENCES receipt_lines (visit_id, barcode));
CREATE TABLE price_periods (
    store TEXT NOT NULL, barcode TEXT NOT NULL, valid_from_ns BIGINT NOT NULL, valid_to_ns BIGINT,
    price_minor BIGINT NOT NULL CHECK (price_minor BETWEEN 0 AND {LARGEST_MINOR}),
    PRIMARY KEY (store, barcode, valid_from_ns), FOREIGN KEY (store, barcode) REFERENCES prices (store, barcode),
    CHECK (valid_to_ns IS NULL OR valid_to_ns > valid_from_ns));
CREATE TABLE adjustments (
    adjustment_id TEXT NOT NULL PRIMARY KEY, visit_id TEXT NOT NULL, currency TEXT NOT NULL,
    kind VARCHAR(10) NOT NULL CHECK (kind IN ('correction', 'refund', 'dispute')), before_capture BOOLEAN NOT NULL,
    amount_minor BIGINT NOT NULL CHECK (abs(amount_minor) <= {LARGEST_MINOR}), reason_code TEXT NOT NULL,
    reason TEXT NOT NULL, actor TEXT NOT NULL, at_ns BIGINT NOT NULL, UNIQUE (adjustment_id, visit_id),
    FOREIGN KEY (visit_id, currency) REFERENCES visits (visit_id, currency));
CREATE INDEX ix_adjustments_visit_id ON adjustments (visit_id);
CREATE TABLE adjustment_lines (
    adjustment_id TEXT NOT NULL REFERENCES adjustments (adjustment_id), position BIGINT NOT NULL,
    barcode TEXT NOT NULL, name TEXT NOT NULL, quantity BIGINT NOT NULL CHECK (quantity <> 0),
    amount_minor BIGINT NOT NULL CHECK (abs(amount_minor) <= {LARGEST_MINOR}),
    PRIMARY KEY (adjustment_id, position));
CREATE TABLE refunds (
    refund_id TEXT NOT NULL PRIMARY KEY, adjustment_id TEXT NOT NULL REFERENCES adjustments (adjustment_id),
    charge_id TEXT NOT NULL, amount_minor BIGINT NOT NULL CHECK (amount_minor BETWEEN 1 AND {LARGEST_MINOR}),
    currency TEXT NOT NULL, status VARCHAR(8) NOT NULL CHECK (status IN ('created', 'refunded', 'declined')),
    reference TEXT NOT NULL, {_DRIVEN}, UNIQUE (adjustment_id, charge_id),
    FOREIGN KEY (charge_id, currency) REFERENCES charges (charge_id, currency));
CREATE INDEX refunds_by_charge ON refunds (charge_id);
CREATE INDEX refunds_on_their_way ON refunds (next_attempt_ns) WHERE status = 'created';
CREATE INDEX charges_on_their_way ON charges (next_attempt_ns) WHERE status IN ('created', 'authorized');
CREATE TABLE disputes (
    dispute_id TEXT NOT NULL PRIMARY KEY, visit_id TEXT NOT NULL REFERENCES visits (visit_id),
    direction VARCHAR(12) NOT NULL CHECK (direction IN ('overcharged', 'undercharged')),
    status VARCHAR(8) NOT NULL CHECK (status IN ('open', 'accepted', 'rejected')), claim TEXT NOT NULL,
    opened_by TEXT NOT NULL, opened_ns BIGINT NOT NULL, adjustment_id TEXT,
    FOREIGN KEY (adjustment_id, visit_id) REFERENCES adjustments (adjustment_id, visit_id),
    CHECK ((status = 'accepted') = (adjustment_id IS NOT NULL)));
CREATE INDEX ix_disputes_visit_id ON disputes (visit_id)
"""


def upgrade() -> None:
    """Copy what changes its shape, then add what is new."""
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    op.add_column("prices", sa.Column("archived", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("prices", sa.Column("member_price_minor", sa.BigInteger))
    op.add_column("prices", sa.Column("tax_class", sa.Text, nullable=False, server_default=""))
    op.add_column("prices", sa.Column("per_kg", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("prices", sa.Column("tare_g", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("stores", sa.Column("terms", sa.Text, nullable=False, server_default=""))
    op.add_column("basket_events", sa.Column("grams", sa.BigInteger, nullable=False, server_default="0"))
    _anew("receipt_lines", _RECEIPT_LINES, "visit_id, barcode, name, quantity, unit_minor, total_minor")
    op.execute("UPDATE receipt_lines SET listed_minor = total_minor")
    _anew("charges", _CHARGES, "charge_id, visit_id, amount_minor, currency, status, provider, reference", "'visit'")
    number = "INTEGER" if on_sqlite else "BIGINT GENERATED BY DEFAULT AS IDENTITY"
    columns = "number, subject, subject_id, old_status, new_status, at_ns, actor, reason"
    _anew("status_events", _STATUS_EVENTS.format(number=number), columns)
    op.execute("CREATE INDEX status_events_by_subject ON status_events (subject, subject_id, number)")
    if on_sqlite:
        _anew("ledger_accounts", _LEDGER_ACCOUNTS, "kind, owner, currency")
    else:
        op.execute(
            "SELECT setval(pg_get_serial_sequence('status_events', 'number'), coalesce(max(number), 0) + 1)"
            " FROM status_events"
        )
        op.drop_constraint("ledger_accounts_kind_check", "ledger_accounts")
        op.create_check_constraint("ledger_accounts_kind_check", "ledger_accounts", f"kind IN ({_KINDS})")
    for statement in _NEW.split(";"):
        op.execute(statement)
    op.drop_table("schema_version")


def _anew(table: str, create: str, columns: str, cause: str = "") -> None:
    op.execute(create)
    more, values = (", cause", f", {cause}") if cause else ("", "")
    op.execute(f"INSERT INTO {table}_new ({columns}{more}) SELECT {columns}{values} FROM {table}")
    op.drop_table(table)
    op.rename_table(f"{table}_new", table)


def downgrade() -> None:
    """Never."""
    raise NotImplementedError("books are never taken back to an older version; restore a backup")
