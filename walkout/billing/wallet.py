"""Prepaid money as a payment provider: a hold on the shopper's wallet, taken or dropped later.

Each step is one transaction of the ledger named after the charge, so asking twice finds the first answer.
"""

import sqlalchemy as sa

from walkout.billing import ledger
from walkout.billing.database import writing
from walkout.billing.ledger import Account
from walkout.billing.records import Charge
from walkout.domain.clock import Clock
from walkout.errors import IllegalMove, PaymentDeclined


class WalletProvider:
    """Charges wallets that live in our own books; a wallet never goes below zero."""

    name = ledger.PREPAID

    def __init__(self, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def authorize(self, charge: Charge) -> str:
        """Put the amount on hold; raises ``PaymentDeclined`` where the wallet holds less."""
        key = _key(charge, "hold")
        with writing(self._engine) as connection:
            balance = ledger.balance(connection, charge.account_id, charge.amount.currency, lock=True)
            if ledger.is_posted(connection, key):
                return key
            if balance < charge.amount:
                raise PaymentDeclined(f"the wallet holds {balance}, the total is {charge.amount}")
            self._post(connection, charge, "hold", Account("hold", charge.account_id), _wallet(charge))
        return key

    def capture(self, charge: Charge) -> None:
        """Take what is on hold; raises ``IllegalMove`` without a hold and after a void."""
        with writing(self._engine) as connection:
            self._require_hold(connection, charge, but_not="release")
            self._post(connection, charge, "take", Account("clearing", self.name), Account("hold", charge.account_id))

    def void(self, charge: Charge) -> None:
        """Give the hold back; raises ``IllegalMove`` without a hold and after a capture."""
        with writing(self._engine) as connection:
            self._require_hold(connection, charge, but_not="take")
            self._post(connection, charge, "release", _wallet(charge), Account("hold", charge.account_id))

    def _require_hold(self, connection: sa.Connection, charge: Charge, but_not: str) -> None:
        if not ledger.is_posted(connection, _key(charge, "hold")):
            raise IllegalMove(f"charge {charge.charge_id} has no hold; authorize it first")
        if ledger.is_posted(connection, _key(charge, but_not)):
            raise IllegalMove(f"the hold of charge {charge.charge_id} is gone: {but_not} came first")

    def _post(self, connection: sa.Connection, charge: Charge, step: str, to: Account, source: Account) -> None:
        """Move the amount from ``source`` to ``to``, both accounts that owe: the source is debited."""
        moved = ledger.transfer(debit=source, credit=to, amount=charge.amount)
        ledger.post(connection, _key(charge, step), step, moved, self._clock.now_ns())


def _wallet(charge: Charge) -> Account:
    return Account("wallet", charge.account_id)


def _key(charge: Charge, step: str) -> str:
    return f"charge/{charge.charge_id}/{step}"
