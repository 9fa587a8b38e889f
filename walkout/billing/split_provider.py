"""What the wallet holds first, the rest from the card: two providers as one.

How a charge is split is written down before anybody is asked. The wallet's part is a charge of its own
(``<charge_id>/wallet``), so its steps have their own keys. The sale stands on ``clearing:split``; when the money is
taken the wallet's part moves there from ``clearing:wallet``, so what remains is what the card processor owes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import sqlalchemy as sa

from walkout.billing import ledger
from walkout.billing.database import insert_new, writing
from walkout.billing.ledger import Account
from walkout.billing.records import Charge, ProviderEvent
from walkout.billing.schema import payment_splits
from walkout.billing.wallet import WalletProvider
from walkout.domain.clock import Clock
from walkout.domain.money import Money
from walkout.errors import PaymentDeclined


class Card(Protocol):
    """The part of ``PaymentProvider`` that is used here."""

    def authorize(self, charge: Charge) -> str: ...
    def adjust(self, charge: Charge, amount: Money) -> str: ...
    def capture(self, charge: Charge) -> str: ...
    def release(self, charge: Charge) -> None: ...
    def refund(self, charge: Charge, refund_id: str, amount: Money) -> str: ...
    def parse_webhook(self, headers: Mapping[str, str], body: bytes, now_ns: int) -> ProviderEvent: ...


@dataclass(frozen=True, slots=True)
class _Parts:
    """Both parts of a charge; ``on_card`` tells whether the card was asked at all, whatever is taken in the end."""

    wallet: Charge
    card: Charge
    on_card: bool


class SplitProvider:
    """Prepaid money as far as it goes, ``card`` for the rest."""

    name = "split"

    def __init__(self, engine: sa.Engine, clock: Clock, card: Card) -> None:
        self._engine = engine
        self._clock = clock
        self._card = card
        self._wallet = WalletProvider(engine, clock)

    def authorize(self, charge: Charge) -> str:
        """Hold both parts, or none: a card that says no gives the wallet its part back."""
        parts = self._parts(charge)
        name = self._wallet.authorize(parts.wallet) if parts.wallet.amount.minor else ""
        if not parts.on_card:
            return name
        try:
            return self._card.authorize(parts.card)
        except PaymentDeclined:
            if name:
                self._wallet.release(parts.wallet)
            raise

    def adjust(self, charge: Charge, amount: Money) -> str:
        """The wallet's part stays, the card's follows."""
        parts = self._parts(charge)
        if amount < parts.wallet.amount or (amount != parts.wallet.amount and not parts.on_card):
            raise PaymentDeclined(f"the wallet gives {parts.wallet.amount}; {amount} needs a charge of its own")
        if not parts.on_card:
            return self._wallet.adjust(parts.wallet, amount)
        return self._card.adjust(parts.card, amount - parts.wallet.amount)

    def capture(self, charge: Charge) -> str:
        """The card first: it may still say no, the wallet's hold cannot."""
        parts = self._parts(charge)
        name = ""
        if parts.card.amount.minor:
            name = self._card.capture(parts.card)
        elif parts.on_card:
            self._card.release(parts.card)
        if parts.wallet.amount.minor:
            given = self._wallet.capture(parts.wallet)
            self._clear(f"charge/{charge.charge_id}/split", parts.wallet.amount)
            name = name or given
        return name

    def release(self, charge: Charge) -> None:
        """Drop both holds."""
        parts = self._parts(charge)
        if parts.on_card:
            self._card.release(parts.card)
        if parts.wallet.amount.minor:
            self._wallet.release(parts.wallet)

    def refund(self, charge: Charge, refund_id: str, amount: Money) -> str:
        """To the card what it gave, the rest to the wallet; the parts are written down before either is asked."""
        parts = self._parts(charge)
        to_wallet, to_card = self._back(charge, refund_id, amount, parts.card.amount)
        name = self._card.refund(parts.card, refund_id, to_card) if to_card.minor else ""
        if to_wallet.minor:
            given = self._wallet.refund(parts.wallet, refund_id, to_wallet)
            self._clear(f"refund/{refund_id}/split", -to_wallet)
            name = name or given
        return name

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, now_ns: int) -> ProviderEvent:
        """Only the card sends any."""
        return self._card.parse_webhook(headers, body, now_ns)

    def _parts(self, charge: Charge) -> _Parts:
        """The wallet's part and the card's, the first as decided when the charge was first seen."""
        currency = charge.amount.currency
        with writing(self._engine) as connection:
            decided = _decided(connection, charge.charge_id, "")
            if decided is None:
                there = ledger.balance(connection, charge.account_id, currency, lock=True).minor
                part = min(max(there, 0), charge.amount.minor)
                decided = _decide(connection, charge.charge_id, "", part, charge.amount.minor - part)
        part = min(decided[0], charge.amount.minor)
        wallet = replace(charge, charge_id=f"{charge.charge_id}/wallet", amount=Money(part, currency), reference="")
        rest = Money(charge.amount.minor - part, currency)
        return _Parts(wallet, replace(charge, amount=rest), on_card=decided[1] > 0)

    def _back(self, charge: Charge, refund_id: str, amount: Money, from_card: Money) -> tuple[Money, Money]:
        """How much of the refund wallet and card get: the wallet what the card's part no longer covers."""
        with writing(self._engine) as connection:
            decided = _decided(connection, charge.charge_id, refund_id)
            if decided is None:
                # The wallet's lock lets refunds of one charge decide one after the other.
                ledger.balance(connection, charge.account_id, amount.currency, lock=True)
                others = sa.select(sa.func.coalesce(sa.func.sum(payment_splits.c.card_minor), 0)).where(
                    payment_splits.c.charge_id == charge.charge_id, payment_splits.c.refund_id != ""
                )
                left = max(0, from_card.minor - int(connection.execute(others).scalar_one()))
                card = min(amount.minor, left)
                decided = _decide(connection, charge.charge_id, refund_id, amount.minor - card, card)
        return Money(decided[0], amount.currency), Money(decided[1], amount.currency)

    def _clear(self, key: str, amount: Money) -> None:
        with writing(self._engine) as connection:
            self._post(connection, key, amount)

    def _post(self, connection: sa.Connection, key: str, amount: Money) -> None:
        """Move ``amount`` of what is owed from the split's clearing account to the wallet's."""
        wallet, split = Account("clearing", self._wallet.name), Account("clearing", self.name)
        ledger.post(connection, key, "split", ledger.transfer(wallet, split, amount), self._clock.now_ns())


def _decided(connection: sa.Connection, charge_id: str, refund_id: str) -> tuple[int, int] | None:
    """Minor units for wallet and card; None where that is not decided yet."""
    columns = (payment_splits.c.wallet_minor, payment_splits.c.card_minor)
    mine = sa.and_(payment_splits.c.charge_id == charge_id, payment_splits.c.refund_id == refund_id)
    row = connection.execute(sa.select(*columns).where(mine)).one_or_none()
    return None if row is None else (int(row.wallet_minor), int(row.card_minor))


def _decide(connection: sa.Connection, charge_id: str, refund_id: str, wallet: int, card: int) -> tuple[int, int]:
    """Write the decision down unless somebody just did; the one that stands."""
    row = {"charge_id": charge_id, "refund_id": refund_id, "wallet_minor": wallet, "card_minor": card}
    insert_new(connection, payment_splits, [row])
    return _decided(connection, charge_id, refund_id) or (wallet, card)
