"""The door to whoever moves the money: the protocol, the table of providers, and a fake that ships.

The key of every call is ``charge.charge_id``, our own row's id: asking twice has the effect of asking once, also
after a restart of either side.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import sqlalchemy as sa

from walkout.billing.records import Charge
from walkout.billing.wallet import WalletProvider
from walkout.domain.clock import Clock
from walkout.errors import BillingUnavailable, IllegalMove, PaymentDeclined


class PaymentProvider(Protocol):
    """Holds, takes and drops money. Each method may be called again with the same charge.

    Raises ``PaymentDeclined`` for a final no, ``BillingUnavailable`` when nobody knows whether it happened (ask
    again), ``IllegalMove`` for a capture or void without a hold, a capture after a void, a void after a capture.
    """

    @property
    def name(self) -> str:
        """Its name in ``PROVIDERS``; written beside each charge and naming its clearing account."""
        ...

    def authorize(self, charge: Charge) -> str:
        """Hold the amount; the provider's own name of the hold."""
        ...

    def capture(self, charge: Charge) -> None:
        """Take what is on hold."""
        ...

    def void(self, charge: Charge) -> None:
        """Drop the hold."""
        ...


class FakeProvider:
    """An outside provider without the outside: remembers every charge, and fails as its plan says.

    ``plan`` is consumed one word per call, whatever the method: ``"ok"``, ``"decline"``, ``"timeout"`` (nothing
    happened, nobody knows) or ``"late"`` (it happened, the answer was lost). An empty plan means ok for ever.
    """

    name = "fake"

    def __init__(self, plan: Sequence[str] = ()) -> None:
        unknown = set(plan) - {"ok", "decline", "timeout", "late"}
        if unknown:
            raise ValueError(f"no such word in a plan: {sorted(unknown)}")
        self._plan = list(plan)
        self._lock = threading.Lock()
        self.states: dict[str, str] = {}
        """charge_id -> held | taken | dropped"""
        self.taken_minor = 0
        """Sum of what was ever taken, in minor units of whatever currency; grows once per charge."""

    def authorize(self, charge: Charge) -> str:
        """Hold the amount; always the same name for the same charge."""
        with self._lock:
            late = self._fail(charge)
            self.states.setdefault(charge.charge_id, "held")
            self._answer(charge, late)
            return f"fake-{charge.charge_id}"

    def capture(self, charge: Charge) -> None:
        """Take what is on hold, once."""
        self._finish(charge, "taken")

    def void(self, charge: Charge) -> None:
        """Drop the hold."""
        self._finish(charge, "dropped")

    def _finish(self, charge: Charge, state: str) -> None:
        with self._lock:
            late = self._fail(charge)
            before = self.states.get(charge.charge_id, "unknown")
            if before not in ("held", state):
                raise IllegalMove(f"charge {charge.charge_id} is {before}, it cannot become {state}")
            if before == "held" and state == "taken":
                self.taken_minor += charge.amount.minor
            self.states[charge.charge_id] = state
            self._answer(charge, late)

    def _fail(self, charge: Charge) -> bool:
        """Consume one word of the plan; True when the answer is to be lost after the work."""
        word = self._plan.pop(0) if self._plan else "ok"
        if word == "decline":
            raise PaymentDeclined(f"the card behind {charge.account_id} was declined")
        if word == "timeout":
            raise BillingUnavailable("the provider did not answer; ask again")
        return word == "late"

    def _answer(self, charge: Charge, late: bool) -> None:
        if late:
            raise BillingUnavailable(f"the answer about charge {charge.charge_id} was lost; ask again")


#: Every provider by the name that the settings use.
PROVIDERS: Mapping[str, Callable[[sa.Engine, Clock], PaymentProvider]] = {
    "wallet": WalletProvider,
    "fake": lambda _engine, _clock: FakeProvider(),
}
