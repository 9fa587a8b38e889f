"""Proof from the database alone: every posting added up, and everything else compared with the postings."""

from collections.abc import Iterable

import sqlalchemy as sa

from walkout.billing.database import reading
from walkout.billing.ledger import PREPAID, sale_id
from walkout.billing.records import BooksReport, ChargeStatus, RefundStatus, VisitStatus
from walkout.billing.schema import (
    adjustment_lines,
    adjustments,
    charges,
    postings,
    receipt_lines,
    refunds,
    transactions,
    visits,
    wallets,
)


def check_books(engine: sa.Engine) -> BooksReport:
    """Add up every posting and compare wallets, holds, charges, visits and receipts with them."""
    with reading(engine) as connection:
        problems = [
            *_unbalanced(connection),
            *_wallets_off(connection),
            *_charges_off(connection),
            *_refunds_off(connection),
            *_lines_off(connection),
            *_visits_off(connection),
            *_holds_off(connection),
        ]
        statuses = sa.select(charges.c.status, sa.func.count()).group_by(charges.c.status)
        taken = (
            sa.select(charges.c.currency, sa.func.sum(charges.c.amount_minor))
            .where(charges.c.status == ChargeStatus.CAPTURED)
            .group_by(charges.c.currency)
        )
        unfinished = sa.select(sa.func.count()).where(visits.c.status == VisitStatus.CLOSING)
        return BooksReport(
            problems=tuple(problems),
            transactions=_count(connection, transactions),
            postings=_count(connection, postings),
            unfinished=connection.execute(unfinished).scalar_one(),
            charges={str(status): int(number) for status, number in connection.execute(statuses)},
            captured={currency: int(minor) for currency, minor in connection.execute(taken)},
        )


def _count(connection: sa.Connection, table: sa.Table) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def _unbalanced(connection: sa.Connection) -> Iterable[str]:
    total = sa.func.sum(postings.c.amount_minor)
    for currency, minor in connection.execute(sa.select(postings.c.currency, total).group_by(postings.c.currency)):
        if minor != 0:
            yield f"all postings in {currency} sum to {minor}, not to zero"
    each = sa.select(postings.c.transaction_id, postings.c.currency, total)
    each = each.group_by(postings.c.transaction_id, postings.c.currency).having(total != 0)
    for transaction_id, currency, minor in connection.execute(each):
        yield f"the postings of {transaction_id} in {currency} sum to {minor}, not to zero"
    unposted = sa.select(transactions.c.transaction_id).where(transactions.c.posted == 0)
    for transaction_id in connection.execute(unposted).scalars():
        yield f"transaction {transaction_id} was never posted"


def _wallets_off(connection: sa.Connection) -> Iterable[str]:
    booked = _sums(connection, "wallet")
    for row in connection.execute(sa.select(wallets)):
        owed = -booked.pop((row.account_id, row.currency), 0)
        if owed != row.balance_minor:
            yield f"wallet {row.account_id} shows {row.balance_minor} {row.currency}, its postings say {owed}"
    for (owner, currency), minor in booked.items():
        if minor:
            yield f"postings owe {-minor} {currency} to {owner}, who has no wallet"


def _charges_off(connection: sa.Connection) -> Iterable[str]:
    """Every captured charge has exactly its sale, and no other sale exists."""
    sales = _earned(connection, "sale")
    for row in connection.execute(sa.select(charges).where(charges.c.status == ChargeStatus.CAPTURED)):
        sold = sales.pop(sale_id(row.charge_id), None)
        if sold != (row.amount_minor, row.currency):
            yield f"charge {row.charge_id} took {row.amount_minor} {row.currency}, its sale says {sold}"
    for transaction_id in sales:
        yield f"sale {transaction_id} belongs to no captured charge"


def _refunds_off(connection: sa.Connection) -> Iterable[str]:
    """Every refund that is done has exactly its postings, and no other exists."""
    booked = _earned(connection, "refund")
    for row in connection.execute(sa.select(refunds).where(refunds.c.status == RefundStatus.REFUNDED)):
        given = booked.pop(f"refund/{row.refund_id}/sale", None)
        if given != (-row.amount_minor, row.currency):
            yield f"refund {row.refund_id} gave {row.amount_minor} {row.currency}, its postings say {given}"
    for transaction_id in booked:
        yield f"{transaction_id} belongs to no refund that is done"


def _earned(connection: sa.Connection, kind: str) -> dict[str, tuple[int, str]]:
    """What each transaction of ``kind`` brought to sales and tax."""
    total = sa.func.sum(-postings.c.amount_minor)
    query = (
        sa.select(postings.c.transaction_id, postings.c.currency, total)
        .join(transactions, transactions.c.transaction_id == postings.c.transaction_id)
        .where(transactions.c.kind == kind, postings.c.kind.in_(["sales", "tax"]))
        .group_by(postings.c.transaction_id, postings.c.currency)
    )
    return {transaction_id: (int(minor), currency) for transaction_id, currency, minor in connection.execute(query)}


def _lines_off(connection: sa.Connection) -> Iterable[str]:
    """Receipt lines sum to the total of their visit, adjustment lines to their adjustment."""
    for what, parts, key, whole in (
        ("visit", receipt_lines.c.total_minor, visits.c.visit_id, visits.c.total_minor),
        ("adjustment", adjustment_lines.c.amount_minor, adjustments.c.adjustment_id, adjustments.c.amount_minor),
    ):
        mine = parts.table.c[key.name]
        summed = sa.select(mine.label("key"), sa.func.sum(parts).label("minor")).group_by(mine).subquery()
        query = sa.select(key, whole, summed.c.minor).outerjoin(summed, summed.c.key == key).where(whole.is_not(None))
        for subject, total, minor in connection.execute(query):
            if int(minor or 0) != total:
                yield f"the lines of {what} {subject} sum to {minor or 0}, its total says {total}"


def _visits_off(connection: sa.Connection) -> Iterable[str]:
    """What was taken for a visit and given back is what its receipt says, but for what is still on its way.

    A charge or refund that follows an adjustment counts as soon as it is asked for: declined, it is owed.
    """
    due = _by_visit(connection, adjustments.c.visit_id, adjustments.c.amount_minor)
    main = _by_visit(
        connection, charges.c.visit_id, charges.c.amount_minor, charges.c.status == ChargeStatus.CAPTURED, further=False
    )
    further = _by_visit(connection, charges.c.visit_id, charges.c.amount_minor, further=True)
    back = _by_visit(connection, charges.c.visit_id, refunds.c.amount_minor)
    query = sa.select(visits.c.visit_id, visits.c.status, visits.c.total_minor)
    for visit_id, status, total in connection.execute(query.where(visits.c.status != VisitStatus.OPEN)):
        paid = main.get(visit_id)
        if (paid is not None) != (status == VisitStatus.CAPTURED):
            yield f"visit {visit_id} is {status}, but {'nothing' if paid is None else paid} was taken"
        if status in (VisitStatus.CLOSING, VisitStatus.REVIEW):
            continue
        moved = (paid or 0) + further.get(visit_id, 0) - back.get(visit_id, 0)
        owed = total + due.get(visit_id, 0)
        if moved != owed:
            yield f"visit {visit_id} is {status} over {owed}, but {moved} was taken or is on its way"


def _by_visit(
    connection: sa.Connection,
    visit_id: "sa.Column[str]",
    amount: "sa.Column[int]",
    *conditions: "sa.ColumnElement[bool]",
    further: bool | None = None,
) -> dict[str, int]:
    """Sums by visit; ``further`` picks the charges of adjustments after the capture, or all but those."""
    query = sa.select(visit_id, sa.func.sum(amount)).select_from(amount.table)
    if amount.table is refunds:
        query = query.join(charges, charges.c.charge_id == refunds.c.charge_id)
    if further is not None:
        query = query.outerjoin(adjustments, adjustments.c.adjustment_id == charges.c.cause)
        later = sa.and_(charges.c.cause != "visit", sa.not_(adjustments.c.before_capture))
        query = query.where(later if further else sa.or_(charges.c.cause == "visit", adjustments.c.before_capture))
    rows = connection.execute(query.where(*conditions).group_by(visit_id))
    return {key: int(minor) for key, minor in rows}


def _holds_off(connection: sa.Connection) -> Iterable[str]:
    """Only charges on their way may have money on hold or in the wallet's clearing account."""
    amount = sa.func.sum(charges.c.amount_minor)
    query = (
        sa.select(visits.c.account_id, charges.c.currency, amount)
        .join(visits, visits.c.visit_id == charges.c.visit_id)
        .where(charges.c.status.in_([ChargeStatus.CREATED, ChargeStatus.AUTHORIZED]))
        .group_by(visits.c.account_id, charges.c.currency)
    )
    on_the_way = {(account, currency): int(minor) for account, currency, minor in connection.execute(query)}
    pending = sa.select(refunds.c.currency, sa.func.sum(refunds.c.amount_minor))
    pending = pending.where(refunds.c.status == RefundStatus.CREATED).group_by(refunds.c.currency)
    coming_back = {currency: int(minor) for currency, minor in connection.execute(pending)}
    for (owner, currency), minor in _sums(connection, "hold").items():
        if not 0 <= -minor <= on_the_way.get((owner, currency), 0):
            yield f"{-minor} {currency} of {owner} are on hold, and no charge on its way accounts for them"
    for (owner, currency), minor in _sums(connection, "clearing").items():
        expected = sum(held for (_, unit), held in on_the_way.items() if unit == currency)
        if owner == PREPAID and not -coming_back.get(currency, 0) <= -minor <= expected:
            yield f"{-minor} {currency} were taken from wallets and never sold"


def _sums(connection: sa.Connection, kind: str) -> dict[tuple[str, str], int]:
    """Sum of the postings of each account of ``kind``: (owner, currency) -> minor units."""
    total = sa.func.sum(postings.c.amount_minor)
    query = sa.select(postings.c.owner, postings.c.currency, total).where(postings.c.kind == kind)
    rows = connection.execute(query.group_by(postings.c.owner, postings.c.currency))
    return {(owner, currency): int(minor) for owner, currency, minor in rows}
