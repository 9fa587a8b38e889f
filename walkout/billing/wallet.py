"""Prepaid money as a payment provider: a hold on the shopper's wallet, taken, dropped or given back later.

Each step is one transaction of the ledger named after the charge, so asking twice finds the first answer.
"""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from walkout.billing import ledger
from walkout.billing.database import reading, writing
from walkout.billing.ledger import Account
from walkout.billing.records import Charge, ProviderEvent
from walkout.billing.schema import postings, transactions
from walkout.billing.together import MOST_TOGETHER, Together
from walkout.domain.clock import Clock
from walkout.domain.money import Money
from walkout.errors import BadRequest, IllegalMove, PaymentDeclined


class WalletProvider:
    """Charges wallets that live in our own books; a wallet never goes below zero."""

    name = ledger.PREPAID

    def __init__(self, engine: sa.Engine, clock: Clock, together: int = MOST_TOGETHER) -> None:
        self._engine = engine
        self._clock = clock
        self._holds: Together[Charge, str] = Together(self._hold_all, together)
        self._takes: Together[Charge, str] = Together(self._take_all, together)

    def authorize(self, charge: Charge) -> str:
        """Put the amount on hold; raises ``PaymentDeclined`` where the wallet holds less."""
        return self._holds.ask(charge)

    def _hold_all(self, charges: Sequence[Charge]) -> Sequence[str | Exception]:
        """Holds of several charges in one transaction; what is wrong with one is its own answer."""
        answers: list[str | Exception] = []
        new: list[ledger.Transaction] = []
        with writing(self._engine) as connection:
            left = ledger.lock_balances(connection, [_owner(charge) for charge in charges])
            known = ledger.postings_of(connection, [_key(charge, "hold") for charge in charges])
            for charge in charges:
                key, balance = _key(charge, "hold"), left.get(_owner(charge), 0)
                if key in known:
                    answers.append(key)
                elif balance < charge.amount.minor:
                    there = Money(balance, charge.amount.currency)
                    answers.append(PaymentDeclined(f"the wallet holds {there}, the total is {charge.amount}"))
                else:
                    left[_owner(charge)] = balance - charge.amount.minor
                    new.append(self._step(charge, "hold", _hold(charge), _wallet(charge)))
                    answers.append(key)
            ledger.post_all(connection, new)
        return answers

    def _take_all(self, charges: Sequence[Charge]) -> Sequence[str | Exception]:
        """Take what the holds are for, in one transaction; a hold that was adjusted is left to its own call."""
        with writing(self._engine) as connection:
            ledger.lock_balances(connection, [_owner(charge) for charge in charges])
            steps = ("hold", "hold/1", "release", "take")
            known = ledger.postings_of(connection, [_key(charge, step) for charge in charges for step in steps])
            plain = [
                charge
                for charge in charges
                if [step for step in steps if _key(charge, step) in known] == ["hold"]
                and known[_key(charge, "hold")].get(("wallet", *_owner(charge))) == charge.amount.minor
            ]
            clearing = Account("clearing", self.name)
            ledger.post_all(connection, [self._step(charge, "take", clearing, _hold(charge)) for charge in plain])
        done = {charge.charge_id for charge in plain}
        return [_key(charge, "hold") if charge.charge_id in done else self._take(charge) for charge in charges]

    def _step(self, charge: Charge, step: str, to: Account, source: Account) -> ledger.Transaction:
        moved = ledger.transfer(debit=source, credit=to, amount=charge.amount)
        return ledger.Transaction(_key(charge, step), step, moved, self._clock.now_ns())

    def adjust(self, charge: Charge, amount: Money) -> str:
        """Let the hold cover ``amount``; raises ``PaymentDeclined`` where the wallet holds too little for it."""
        with writing(self._engine) as connection:
            balance = ledger.balance(connection, charge.account_id, amount.currency, lock=True)
            self._require_hold(connection, charge, but_not=("release", "take"))
            steps = _hold_steps(connection, charge)
            more = amount.minor - sum(steps)
            if more > balance.minor:
                raise PaymentDeclined(f"the wallet holds {balance}, {Money(more, amount.currency)} more are needed")
            step = f"hold/{len(steps)}"
            if more > 0:
                self._post(connection, charge, step, _hold(charge), _wallet(charge), Money(more, amount.currency))
            elif more < 0:
                self._post(connection, charge, step, _wallet(charge), _hold(charge), Money(-more, amount.currency))
        return _key(charge, "hold")

    def capture(self, charge: Charge) -> str:
        """Take ``charge.amount`` and give the rest of the hold back; raises ``IllegalMove`` without a hold."""
        return self._takes.ask(charge)

    def _take(self, charge: Charge) -> str | Exception:
        """Take one whose hold is gone, done, or not the whole story."""
        try:
            return self._take_one(charge)
        except (IllegalMove, PaymentDeclined) as error:
            return error

    def _take_one(self, charge: Charge) -> str:
        with writing(self._engine) as connection:
            self._require_hold(connection, charge, but_not=("release",))
            if not ledger.is_posted(connection, _key(charge, "take")):
                rest = Money(sum(_hold_steps(connection, charge)), charge.amount.currency) - charge.amount
                if rest.minor < 0:
                    raise PaymentDeclined(f"{charge.amount} is more than what is on hold")
                clearing = Account("clearing", self.name)
                self._post(connection, charge, "take", clearing, _hold(charge), charge.amount)
                if rest.minor > 0:
                    self._post(connection, charge, "rest", _wallet(charge), _hold(charge), rest)
        return _key(charge, "hold")

    def release(self, charge: Charge) -> None:
        """Give the hold back; raises ``IllegalMove`` without a hold and after a capture."""
        with writing(self._engine) as connection:
            self._require_hold(connection, charge, but_not=("take",))
            if not ledger.is_posted(connection, _key(charge, "release")):
                held = Money(sum(_hold_steps(connection, charge)), charge.amount.currency)
                self._post(connection, charge, "release", _wallet(charge), _hold(charge), held)

    def refund(self, charge: Charge, refund_id: str, amount: Money) -> str:
        """Put ``amount`` back into the wallet, once per ``refund_id``; raises ``PaymentDeclined`` for too much."""
        with writing(self._engine) as connection:
            ledger.balance(connection, charge.account_id, amount.currency, lock=True)
            taken = _moved(connection, _key(charge, "take"), "hold")
            if taken is None:
                raise IllegalMove(f"charge {charge.charge_id} was never taken; nothing to give back")
            kind, number, given = f"give back {refund_id}", 0, 0
            while (minor := _moved(connection, key := _key(charge, f"back/{number}"), "clearing")) is not None:
                if _kind_of(connection, key) == kind:
                    return key
                number, given = number + 1, given + minor
            if given + amount.minor > taken:
                raise PaymentDeclined(f"{amount} is more than is left of charge {charge.charge_id}")
            back = ledger.transfer(debit=Account("clearing", self.name), credit=_wallet(charge), amount=amount)
            ledger.post(connection, key, kind, back, self._clock.now_ns())
        return key

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, now_ns: int) -> ProviderEvent:  # noqa: ARG002
        """Our own books send nothing."""
        raise BadRequest("webhook: the prepaid wallet sends none")

    def _require_hold(self, connection: sa.Connection, charge: Charge, but_not: tuple[str, ...]) -> None:
        if not ledger.is_posted(connection, _key(charge, "hold")):
            raise IllegalMove(f"charge {charge.charge_id} has no hold; authorize it first")
        for step in but_not:
            if ledger.is_posted(connection, _key(charge, step)):
                raise IllegalMove(f"the hold of charge {charge.charge_id} is gone: {step} came first")

    def _post(
        self, connection: sa.Connection, charge: Charge, step: str, to: Account, source: Account, amount: Money
    ) -> None:
        """Move the amount from ``source`` to ``to``, both accounts that owe: the source is debited."""
        moved = ledger.transfer(debit=source, credit=to, amount=amount)
        ledger.post(connection, _key(charge, step), step.split("/")[0], moved, self._clock.now_ns())


def wallet_balance(engine: sa.Engine, account_id: str, currency: str) -> Money:
    """What the wallet holds and no charge has a hold on."""
    with reading(engine) as connection:
        return ledger.balance(connection, account_id, currency)


def _hold_steps(connection: sa.Connection, charge: Charge) -> list[int]:
    """Minor units that the first hold and each adjustment put on hold; an adjustment downwards is negative."""
    found: list[int] = []
    while (minor := _moved(connection, _key(charge, f"hold/{len(found)}" if found else "hold"), "hold")) is not None:
        found.append(-minor)
    return found


def _moved(connection: sa.Connection, key: str, kind: str) -> int | None:
    """Minor units that a transaction debited to its account of ``kind``; None where there is no such transaction."""
    query = sa.select(postings.c.amount_minor).where(postings.c.transaction_id == key, postings.c.kind == kind)
    return connection.execute(query).scalar_one_or_none()


def _kind_of(connection: sa.Connection, key: str) -> str:
    query = sa.select(transactions.c.kind).where(transactions.c.transaction_id == key)
    return str(connection.execute(query).scalar_one())


def _hold(charge: Charge) -> Account:
    return Account("hold", charge.account_id)


def _wallet(charge: Charge) -> Account:
    return Account("wallet", charge.account_id)


def _owner(charge: Charge) -> tuple[str, str]:
    return charge.account_id, charge.amount.currency


def _key(charge: Charge, step: str) -> str:
    return f"charge/{charge.charge_id}/{step}"
