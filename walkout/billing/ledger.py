"""The journal: double-entry postings that sum to zero, and prepaid wallets; ``audit`` checks all of them.

Signs: a debit is positive, a credit negative. What is owed to a shopper (wallet, hold) and what was earned (sales)
is negative here, what others owe the shop (funding, clearing) positive.

::

    top-up    funding +x            wallet:account -x
    hold      wallet:account +x     hold:account -x
    release   hold:account +x       wallet:account -x
    take      hold:account +x       clearing:wallet -x
    sale      clearing:provider +x  sales:store -x
    refund    sales:store +x        clearing:provider -x
    back      clearing:wallet +x    wallet:account -x

Sale and refund are written by ``settle`` whoever the provider is, so what an outside provider still owes the shop
stands on its clearing account; the others are the wallet's own, whose clearing account comes back to zero.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from walkout.billing.database import insert_new, writing
from walkout.billing.records import Charge
from walkout.billing.schema import ledger_accounts, postings, transactions, wallets
from walkout.domain.money import Money
from walkout.errors import BadRequest, BillingUnavailable, ConflictError

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


@dataclass(frozen=True, slots=True)
class Transaction:
    """Postings that belong together, under a name that makes them happen once."""

    transaction_id: str
    kind: str
    lines: tuple[Posting, ...]
    at_ns: int


def post(connection: sa.Connection, transaction_id: str, kind: str, lines: Iterable[Posting], at_ns: int) -> bool:
    """Write one balanced transaction and bring the wallets up to date; True when it was new.

    A transaction that is already there with the same postings is left alone (False). Raises ``ConflictError``
    where it holds other postings; the database refuses lines that do not sum to zero.
    """
    return post_all(connection, [Transaction(transaction_id, kind, tuple(lines), at_ns)]) == 1


def post_all(connection: sa.Connection, wanted: Sequence[Transaction]) -> int:
    """``post`` for several at once, one statement per table; how many were new."""
    known = postings_of(connection, [one.transaction_id for one in wanted])
    for one in wanted:
        if one.transaction_id in known and known[one.transaction_id] != _by_account(one):
            raise ConflictError(f"transaction {one.transaction_id} is in the books with other postings")
    new = [one for one in wanted if one.transaction_id not in known]
    if not new:
        return 0
    ids = [one.transaction_id for one in new]
    born = [{"transaction_id": one.transaction_id, "kind": one.kind, "at_ns": one.at_ns, "posted": 0} for one in new]
    if insert_new(connection, transactions, born) != len(born):
        raise BillingUnavailable(f"somebody else is just writing one of {', '.join(ids)}; make the same call again")
    keys = sorted({account for one in new for account in _by_account(one)})
    rows = [{"kind": kind, "owner": owner, "currency": currency} for kind, owner, currency in keys]
    insert_new(connection, ledger_accounts, rows)
    lines = [
        {"transaction_id": one.transaction_id, "amount_minor": minor, "kind": kind, "owner": owner, "currency": unit}
        for one in new
        for (kind, owner, unit), minor in _by_account(one).items()
    ]
    connection.execute(postings.insert(), lines)
    filled = [key for key in keys if key[0] == "wallet"]
    moved = {key: sum(-_by_account(one).get(key, 0) for one in new) for key in filled}
    _add_to_wallets(connection, {(owner, currency): moved[kind, owner, currency] for kind, owner, currency in filled})
    connection.execute(transactions.update().where(transactions.c.transaction_id.in_(ids)).values(posted=1))
    return len(new)


def _by_account(one: Transaction) -> dict[tuple[str, str, str], int]:
    return {(line.account.kind, line.account.owner, line.amount.currency): line.amount.minor for line in one.lines}


def sale_of(charge: Charge, at_ns: int) -> Transaction:
    """What books a captured charge as sold."""
    clearing, sales = Account("clearing", charge.provider), Account("sales", charge.store)
    return Transaction(sale_id(charge.charge_id), "sale", transfer(clearing, sales, charge.amount), at_ns)


def refund_of(charge: Charge, refund_id: str, amount: Money, at_ns: int) -> Transaction:
    """What books a refund of a charge: the sale undone, as far as it goes."""
    clearing, sales = Account("clearing", charge.provider), Account("sales", charge.store)
    return Transaction(f"refund/{refund_id}/sale", "refund", transfer(sales, clearing, amount), at_ns)


def sale_id(charge_id: str) -> str:
    """The transaction that books a captured charge as sold."""
    return f"charge/{charge_id}/sale"


def is_posted(connection: sa.Connection, transaction_id: str) -> bool:
    """Whether the books hold that transaction."""
    return bool(postings_of(connection, [transaction_id]))


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


def lock_balances(connection: sa.Connection, owners: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """Balances in minor units by (account, currency), kept as they are until the transaction ends."""
    wanted = sorted(set(owners))
    query = sa.select(wallets).where(sa.tuple_(wallets.c.account_id, wallets.c.currency).in_(wanted))
    rows = connection.execute(query.order_by(wallets.c.account_id, wallets.c.currency).with_for_update())
    return {(row.account_id, row.currency): row.balance_minor for row in rows}


def postings_of(connection: sa.Connection, ids: Sequence[str]) -> dict[str, dict[tuple[str, str, str], int]]:
    """What those transactions hold: id -> (kind, owner, currency) -> minor units; unknown ones are left out."""
    found: dict[str, dict[tuple[str, str, str], int]] = {}
    for row in connection.execute(sa.select(postings).where(postings.c.transaction_id.in_(ids))):
        found.setdefault(row.transaction_id, {})[(row.kind, row.owner, row.currency)] = row.amount_minor
    return found


def _add_to_wallets(connection: sa.Connection, moved: Mapping[tuple[str, str], int]) -> None:
    """Change wallets, (account, currency) -> minor units, in one order, so that nobody waits in a ring."""
    if not moved:
        return
    empty = [{"account_id": owner, "currency": currency, "balance_minor": 0} for owner, currency in sorted(moved)]
    insert_new(connection, wallets, empty)
    mine = sa.and_(
        wallets.c.account_id == sa.bindparam("the_account"), wallets.c.currency == sa.bindparam("the_currency")
    )
    changed = wallets.c.balance_minor + sa.bindparam("minor", type_=sa.BigInteger)
    rows = [
        {"the_account": owner, "the_currency": currency, "minor": minor}
        for (owner, currency), minor in sorted(moved.items())
    ]
    connection.execute(wallets.update().where(mine).values(balance_minor=changed), rows)
