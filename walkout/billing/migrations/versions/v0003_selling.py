"""Members, coupons, points, saved payment methods, webhooks."""

from alembic import op

revision = "0003"
down_revision = "0002"

LARGEST_MINOR = 2**53 - 1
KINDS = ("card", "kakao_pay", "naver_pay", "alipay", "wechat_pay")

_NEW = f"""
CREATE TABLE members (account_id TEXT NOT NULL PRIMARY KEY, since_ns BIGINT NOT NULL);
CREATE TABLE coupons (
    coupon_id TEXT NOT NULL PRIMARY KEY, account_id TEXT NOT NULL, label TEXT NOT NULL, currency TEXT NOT NULL,
    off_minor BIGINT CHECK (off_minor BETWEEN 1 AND {LARGEST_MINOR}), percent TEXT,
    minimum_minor BIGINT DEFAULT 0 NOT NULL CHECK (minimum_minor >= 0), issued_ns BIGINT NOT NULL,
    expires_ns BIGINT NOT NULL, CHECK ((off_minor IS NULL) <> (percent IS NULL)));
CREATE INDEX ix_coupons_account_id ON coupons (account_id);
CREATE TABLE coupon_redemptions (
    coupon_id TEXT NOT NULL PRIMARY KEY REFERENCES coupons (coupon_id),
    visit_id TEXT NOT NULL REFERENCES visits (visit_id), at_ns BIGINT NOT NULL);
CREATE TABLE points (
    account_id TEXT NOT NULL PRIMARY KEY, balance BIGINT NOT NULL CHECK (balance BETWEEN 0 AND {LARGEST_MINOR}));
CREATE TABLE points_moves (
    account_id TEXT NOT NULL REFERENCES points (account_id), cause TEXT NOT NULL,
    points BIGINT NOT NULL CHECK (points <> 0), at_ns BIGINT NOT NULL, PRIMARY KEY (account_id, cause));
CREATE TABLE payment_methods (
    provider TEXT NOT NULL, account_id TEXT NOT NULL, customer TEXT NOT NULL, method TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ({", ".join(repr(kind) for kind in KINDS)})), saved_ns BIGINT NOT NULL,
    PRIMARY KEY (provider, account_id));
CREATE TABLE payment_splits (
    charge_id TEXT NOT NULL, refund_id TEXT NOT NULL,
    wallet_minor BIGINT NOT NULL CHECK (wallet_minor BETWEEN 0 AND {LARGEST_MINOR}),
    card_minor BIGINT NOT NULL CHECK (card_minor BETWEEN 0 AND {LARGEST_MINOR}), PRIMARY KEY (charge_id, refund_id));
CREATE TABLE webhooks (
    provider TEXT NOT NULL, event_id TEXT NOT NULL, kind TEXT NOT NULL, reference TEXT NOT NULL,
    charge_id TEXT NOT NULL, received_ns BIGINT NOT NULL, applied_ns BIGINT, outcome TEXT DEFAULT '' NOT NULL,
    PRIMARY KEY (provider, event_id))
"""


def upgrade() -> None:
    """Only new tables."""
    for statement in _NEW.split(";"):
        op.execute(statement)


def downgrade() -> None:
    """Never."""
    raise NotImplementedError("books are never taken back to an older version; restore a backup")
