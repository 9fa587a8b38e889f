"""The journal: double-entry postings that sum to zero, prepaid wallets, and the check over all of them.

Signs: a debit is positive, a credit negative. What is owed to a shopper (wallet, hold) and what was earned (sales)
is negative here, what others owe the shop (funding, clearing) positive.

::

    top-up    funding +x            wallet:account -x
    hold      wallet:account +x     hold:account -x
    release   hold:account +x       wallet:account -x
    take      hold:account +x       clearing:wallet -x
    sale      clearing:provider +x  sales:store -x

The first four are the wallet's own; the sale is written by ``settle`` whoever the provider is, so what an outside
provider still owes the shop stands on its clearing account, and the wallet's clears to zero.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from walkout.billing.database import insert_new, reading, writing
from walkout.billing.records import BooksReport, ChargeStatus, VisitStatus
from walkout.billing.schema import charges, ledger_accounts, postings, receipt_lines, transactions, visits, wallets
from walkout.domain.money import Money
from walkout.errors import BadRequest, ConflictError

#: Name of the prepaid provider, whose clearing account must come back to zero.
PREPAID = "wallet"


@dataclass(frozen=True, slots=True)
class Account:
    """One account of the ledger: ``kind`` is wallet, hold, sales, funding or clearing, ``owner`` whose it is."""

    kind: str
    owner: str


FUNDING = Account("funding", "")


@dataclass(frozen=True, slots=True)
class Posting:
    """One signed line: debit positive, credit negative."""

    account: Account
    amount: Money


def transfer(debit: Account, credit: Account, amount: Money) -> tuple[Posting, Posting]:
    """The two postings that move ``amount`` from ``credit`` to ``debit``."""
    return Posting(debit, amount), Posting(credit, -amount)


def post(connection: sa.Connection, transaction_id: str, kind: str, lines: Iterable[Posting], at_ns: int) -> bool:
    """Write one balanced transaction and bring the wallets up to date; True when it was new.

    A transaction that is already there with the same postings is left alone (False). Raises ``ConflictError``
    where it holds other postings; the database refuses lines that do not sum to zero.
    """
    wanted = {(line.account.kind, line.account.owner, line.amount.currency): line.amount.minor for line in lines}
    born = {"transaction_id": transaction_id, "kind": kind, "at_ns": at_ns, "posted": 0}
    if not insert_new(connection, transactions, [born]):
        if _postings_of(connection, transaction_id) != wanted:
            raise ConflictError(f"transaction {transaction_id} is in the books with other postings")
        return False
    keys = [{"kind": kind, "owner": owner, "currency": currency} for kind, owner, currency in sorted(wanted)]
    insert_new(connection, ledger_accounts, keys)
    rows = [
        {"transaction_id": transaction_id, "amount_minor": minor, "kind": kind, "owner": owner, "currency": currency}
        for (kind, owner, currency), minor in wanted.items()
    ]
    connection.execute(postings.insert().values(rows))
    for (account_kind, owner, currency), minor in wanted.items():
        if account_kind == "wallet":
            _add_to_wallet(connection, owner, Money(-minor, currency))
    mine = transactions.c.transaction_id == transaction_id
    connection.execute(transactions.update().where(mine).values(posted=1))
    return True


def is_posted(connection: sa.Connection, transaction_id: str) -> bool:
    """Whether the books hold that transaction."""
    return bool(_postings_of(connection, transaction_id))


def balance(connection: sa.Connection, account_id: str, currency: str, *, lock: bool = False) -> Money:
    """What the shopper's wallet holds and no charge has a hold on; zero for a wallet nobody has filled.

    With ``lock`` nobody else changes it before this transaction ends; decide on a balance only under it.
    """
    query = sa.select(wallets.c.balance_minor).where(wallets.c.account_id == account_id, wallets.c.currency == currency)
    if lock:
        query = query.with_for_update()
    return Money(connection.execute(query).scalar_one_or_none() or 0, currency)


def top_up(engine: sa.Engine, topup_id: str, account_id: str, amount: Money, at_ns: int) -> Money:
    """Add prepaid money once per ``topup_id``; the balance afterwards.

    Raises ``BadRequest`` unless the amount is positive, ``ConflictError`` for the same id with other contents.
    """
    if amount.minor <= 0:
        raise BadRequest(f"a wallet is topped up by more than zero, not by {amount}")
    with writing(engine) as connection:
        moved = transfer(FUNDING, Account("wallet", account_id), amount)
        post(connection, f"topup/{topup_id}", "top-up", moved, at_ns)
        return balance(connection, account_id, amount.currency)


def _postings_of(connection: sa.Connection, transaction_id: str) -> dict[tuple[str, str, str], int]:
    query = sa.select(postings).where(postings.c.transaction_id == transaction_id)
    return {(row.kind, row.owner, row.currency): row.amount_minor for row in connection.execute(query)}


def _add_to_wallet(connection: sa.Connection, account_id: str, amount: Money) -> None:
    key = {"account_id": account_id, "currency": amount.currency}
    insert_new(connection, wallets, [{**key, "balance_minor": 0}])
    mine = sa.and_(wallets.c.account_id == account_id, wallets.c.currency == amount.currency)
    changed = wallets.c.balance_minor + amount.minor
    connection.execute(wallets.update().where(mine).values(balance_minor=changed))


def check_books(engine: sa.Engine) -> BooksReport:
    """Add up every posting and compare wallets, holds, charges, visits and receipts with them."""
    with reading(engine) as connection:
        problems = [
            *_unbalanced(connection),
            *_wallets_off(connection),
            *_charges_off(connection),
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
    query = sa.select(postings).where(postings.c.kind == "sales")
    sales = {row.transaction_id: (-row.amount_minor, row.currency) for row in connection.execute(query)}
    for row in connection.execute(sa.select(charges).where(charges.c.status == ChargeStatus.CAPTURED)):
        sold = sales.pop(sale_id(row.charge_id), None)
        if sold != (row.amount_minor, row.currency):
            yield f"charge {row.charge_id} took {row.amount_minor} {row.currency}, its sale says {sold}"
    for transaction_id in sales:
        yield f"sale {transaction_id} belongs to no captured charge"


def _visits_off(connection: sa.Connection) -> Iterable[str]:
    """A captured visit has a captured charge over its total, no other visit has one; lines sum to the total."""
    lines = sa.select(receipt_lines.c.visit_id, sa.func.sum(receipt_lines.c.total_minor).label("minor"))
    summed = lines.group_by(receipt_lines.c.visit_id).subquery()
    captured = sa.and_(charges.c.visit_id == visits.c.visit_id, charges.c.status == ChargeStatus.CAPTURED)
    query = (
        sa.select(visits.c.visit_id, visits.c.status, visits.c.total_minor, charges.c.amount_minor, summed.c.minor)
        .outerjoin_from(visits, charges, captured)
        .outerjoin(summed, summed.c.visit_id == visits.c.visit_id)
        .where(visits.c.status != VisitStatus.OPEN)
    )
    for visit_id, status, total, taken, minor in connection.execute(query):
        if (minor or 0) != total:
            yield f"the lines of visit {visit_id} sum to {minor or 0}, its receipt says {total}"
        if taken != (total if status == VisitStatus.CAPTURED else None):
            yield f"visit {visit_id} is {status} over {total}, but {taken or 'nothing'} was taken"


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
    for (owner, currency), minor in _sums(connection, "hold").items():
        if not 0 <= -minor <= on_the_way.get((owner, currency), 0):
            yield f"{-minor} {currency} of {owner} are on hold, and no charge on its way accounts for them"
    for (owner, currency), minor in _sums(connection, "clearing").items():
        expected = sum(held for (_, unit), held in on_the_way.items() if unit == currency)
        if owner == PREPAID and not 0 <= -minor <= expected:
            yield f"{-minor} {currency} were taken from wallets and never sold"


def _sums(connection: sa.Connection, kind: str) -> dict[tuple[str, str], int]:
    """Sum of the postings of each account of ``kind``: (owner, currency) -> minor units."""
    total = sa.func.sum(postings.c.amount_minor)
    query = sa.select(postings.c.owner, postings.c.currency, total).where(postings.c.kind == kind)
    rows = connection.execute(query.group_by(postings.c.owner, postings.c.currency))
    return {(owner, currency): int(minor) for owner, currency, minor in rows}


def sale_id(charge_id: str) -> str:
    """The transaction that books a captured charge as sold."""
    return f"charge/{charge_id}/sale"
