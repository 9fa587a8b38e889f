"""What billing knows of who pays: membership, coupons, points, the saved way to pay, and what is owed.

Debt has no table of its own: it is the charges that did not reach their end. Ids and times come from the caller.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import sqlalchemy as sa

from walkout.billing.database import insert_new, reading, writing
from walkout.billing.pricing import PricedBasket
from walkout.billing.promotions import AccountTerms, Coupon
from walkout.billing.records import ChargeStatus, VisitStatus
from walkout.billing.schema import (
    METHOD_KINDS,
    charges,
    coupon_redemptions,
    coupons,
    members,
    payment_methods,
    points,
    points_moves,
    visits,
    wallets,
)
from walkout.domain.money import Money
from walkout.errors import BadRequest, ConflictError, PaymentDeclined

#: An account's id and the currency it pays in.
Account = tuple[str, str]


@dataclass(frozen=True, slots=True)
class PaymentMethod:
    """How an account pays at an outside provider: its names of the customer and of the saved method, and the kind."""

    customer: str
    method: str
    kind: str


def join(engine: sa.Engine, account_id: str, now_ns: int) -> None:
    """Make the account a member; one that is stays one."""
    with writing(engine) as connection:
        insert_new(connection, members, [{"account_id": account_id, "since_ns": now_ns}])


def issue_coupon(engine: sa.Engine, account_id: str, coupon: Coupon, currency: str, now_ns: int) -> None:
    """Give the account a coupon, once per id; raises ``ConflictError`` for a known id with other contents."""
    row = {
        "coupon_id": coupon.coupon_id,
        "account_id": account_id,
        "label": coupon.label,
        "currency": currency,
        "off_minor": None if coupon.off is None else coupon.off.minor,
        "percent": None if coupon.percent is None else str(coupon.percent),
        "minimum_minor": 0 if coupon.minimum is None else coupon.minimum.minor,
        "expires_ns": coupon.expires_ns,
    }
    if {money.currency for money in (coupon.off, coupon.minimum) if money is not None} - {currency}:
        raise BadRequest(f"coupon {coupon.coupon_id} is not in {currency} throughout")
    with writing(engine) as connection:
        insert_new(connection, coupons, [{**row, "issued_ns": now_ns}])
        found = connection.execute(sa.select(coupons).where(coupons.c.coupon_id == coupon.coupon_id)).one()
        if any(found._mapping[name] != value for name, value in row.items()):
            raise ConflictError(f"coupon {coupon.coupon_id} was issued before with other contents")


def account_terms(connection: sa.Connection, accounts: Iterable[Account]) -> dict[Account, AccountTerms]:
    """What pricing needs to know of each account (id, currency): membership and the coupons that are not used yet.

    The coupons are locked until the transaction ends, in one order for all, so that no other visit can use them now.
    """
    wanted = sorted(set(accounts))
    ids = [account_id for account_id, _ in wanted]
    joined = set(connection.execute(sa.select(members.c.account_id).where(members.c.account_id.in_(ids))).scalars())
    held = sa.select(coupons.c.coupon_id).where(coupons.c.account_id.in_(ids)).order_by(coupons.c.coupon_id)
    locked = connection.execute(held.with_for_update()).scalars().all()
    found = _unused_coupons(connection, locked) if locked else {}
    return {account: AccountTerms(account[0] in joined, tuple(found.get(account, ()))) for account in wanted}


def _unused_coupons(connection: sa.Connection, coupon_ids: Sequence[str]) -> dict[Account, list[Coupon]]:
    """Those coupons that nobody redeemed, by account and currency; asked after they were locked."""
    unused = ~sa.exists().where(coupon_redemptions.c.coupon_id == coupons.c.coupon_id)
    query = sa.select(coupons).where(coupons.c.coupon_id.in_(coupon_ids), unused).order_by(coupons.c.coupon_id)
    found: dict[Account, list[Coupon]] = {}
    for row in connection.execute(query):
        found.setdefault((row.account_id, row.currency), []).append(
            Coupon(
                row.coupon_id,
                row.label,
                row.expires_ns,
                None if row.off_minor is None else Money(row.off_minor, row.currency),
                None if row.percent is None else Fraction(row.percent),
                Money(row.minimum_minor, row.currency),
            )
        )
    return found


def redeem(connection: sa.Connection, account_id: str, visit_id: str, priced: PricedBasket, now_ns: int) -> None:
    """Note what a visit used and earned, in the transaction that closes it; the keys let each happen once."""
    rows = [{"coupon_id": coupon_id, "visit_id": visit_id, "at_ns": now_ns} for coupon_id in priced.coupons]
    if rows:
        connection.execute(coupon_redemptions.insert().values(rows))
    if priced.points_spent:
        _move_points(connection, account_id, f"visit/{visit_id}/spent", -priced.points_spent, now_ns)
    if priced.points_earned:
        _move_points(connection, account_id, f"visit/{visit_id}/earned", priced.points_earned, now_ns)


def take_back_points(connection: sa.Connection, account_id: str, visit_id: str, now_ns: int) -> None:
    """A visit that was not paid after all earned nothing; what was spent of it meanwhile stays spent."""
    mine = sa.and_(points_moves.c.account_id == account_id, points_moves.c.cause == f"visit/{visit_id}/earned")
    earned = connection.execute(sa.select(points_moves.c.points).where(mine)).scalar_one_or_none()
    if earned and (back := min(int(earned), points_of(connection, account_id))):
        _move_points(connection, account_id, f"visit/{visit_id}/not paid", -back, now_ns)


def points_of(connection: sa.Connection, account_id: str) -> int:
    """How many points the account has."""
    query = sa.select(points.c.balance).where(points.c.account_id == account_id).with_for_update()
    return connection.execute(query).scalar_one_or_none() or 0


def _move_points(connection: sa.Connection, account_id: str, cause: str, change: int, now_ns: int) -> None:
    insert_new(connection, points, [{"account_id": account_id, "balance": 0}])
    if points_of(connection, account_id) + change < 0:
        raise ConflictError(f"the points of {account_id} were just spent by another visit; close again")
    row = {"account_id": account_id, "cause": cause, "points": change, "at_ns": now_ns}
    if insert_new(connection, points_moves, [row]):
        mine = points.update().where(points.c.account_id == account_id)
        connection.execute(mine.values(balance=points.c.balance + change))


def save_method(engine: sa.Engine, provider: str, account_id: str, method: PaymentMethod, now_ns: int) -> None:
    """How ``account_id`` pays at ``provider`` from now on; charges that began keep what they began with."""
    if method.kind not in METHOD_KINDS:
        raise BadRequest(f"payment method {method.kind!r} is not known; use one of {', '.join(METHOD_KINDS)}")
    values = {"customer": method.customer, "method": method.method, "kind": method.kind, "saved_ns": now_ns}
    with writing(engine) as connection:
        key = {"provider": provider, "account_id": account_id}
        if not insert_new(connection, payment_methods, [{**key, **values}]):
            mine = sa.and_(payment_methods.c.provider == provider, payment_methods.c.account_id == account_id)
            connection.execute(payment_methods.update().where(mine).values(**values))


def method_of(engine: sa.Engine, provider: str, account_id: str) -> PaymentMethod:
    """The saved way to pay; raises ``PaymentDeclined`` where there is none."""
    mine = sa.and_(payment_methods.c.provider == provider, payment_methods.c.account_id == account_id)
    with reading(engine) as connection:
        row = connection.execute(sa.select(payment_methods).where(mine)).one_or_none()
    if row is None:
        raise PaymentDeclined(f"{account_id} has saved no way to pay at {provider}")
    return PaymentMethod(row.customer, row.method, row.kind)


def debt_of(connection: sa.Connection, account_id: str, currency: str) -> Money:
    """What the account took out of stores and has not paid: charges the processor did not answer or refused.

    A charge that is simply on its way is no debt, nor one whose visit staff has settled otherwise.
    """
    waiting = sa.and_(
        charges.c.status.in_([ChargeStatus.CREATED, ChargeStatus.AUTHORIZED]),
        charges.c.attempts > 0,
    )
    refused = sa.and_(
        charges.c.status.in_([ChargeStatus.DECLINED, ChargeStatus.VOIDED]), visits.c.status == VisitStatus.REVIEW
    )
    query = (
        sa.select(sa.func.coalesce(sa.func.sum(charges.c.amount_minor), 0))
        .join(visits, visits.c.visit_id == charges.c.visit_id)
        .where(visits.c.account_id == account_id, charges.c.currency == currency, sa.or_(waiting, refused))
    )
    return Money(int(connection.execute(query).scalar_one()), currency)


@dataclass(frozen=True, slots=True)
class EntryPolicy:
    """Who may enter: ``most_debt`` an account may owe, ``least_balance`` its wallet must hold (prepaid stores)."""

    most_debt: Money
    least_balance: Money | None = None


def entry_refusal(engine: sa.Engine, account_id: str, policy: EntryPolicy) -> str:
    """Why the gate should stay shut for this account; empty where it may open."""
    currency = policy.most_debt.currency
    with reading(engine) as connection:
        owed = debt_of(connection, account_id, currency)
        if owed > policy.most_debt:
            return f"{owed} are still to be paid from an earlier visit"
        if policy.least_balance is None:
            return ""
        mine = sa.and_(wallets.c.account_id == account_id, wallets.c.currency == policy.least_balance.currency)
        there = connection.execute(sa.select(wallets.c.balance_minor).where(mine)).scalar_one_or_none() or 0
    if there < policy.least_balance.minor:
        held = Money(there, policy.least_balance.currency)
        return f"the wallet holds {held}, {policy.least_balance} are needed to enter; top it up"
    return ""
