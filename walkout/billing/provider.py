"""The door to whoever moves the money: the protocol and the table of providers.

The key of every call is our own row's id (``charge.charge_id``, ``refund_id``): asking twice has the effect of asking
once, also after a restart of either side.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import sqlalchemy as sa

from walkout.billing.fake_provider import FakeProvider
from walkout.billing.records import Charge, ProviderEvent
from walkout.billing.split_provider import SplitProvider
from walkout.billing.wallet import WalletProvider
from walkout.domain.clock import Clock
from walkout.domain.money import Money
from walkout.errors import SettingsError


class PaymentProvider(Protocol):
    """Holds, takes, drops and gives back money. Each method may be called again with the same arguments.

    Raises ``PaymentDeclined`` for a final no, ``BillingUnavailable`` when nobody knows whether it happened (ask
    again), ``PaymentMismatch`` when it did something else than it was asked, ``IllegalMove`` for a capture or release
    without a hold, a capture after a release, a release after a capture, and a refund before it.
    """

    @property
    def name(self) -> str:
        """Its name in ``PROVIDERS``; written beside each charge and naming its clearing account."""
        ...

    def authorize(self, charge: Charge) -> str:
        """Hold the amount; the provider's own name of the hold."""
        ...

    def adjust(self, charge: Charge, amount: Money) -> str:
        """Let the hold cover ``amount``, more or less than it did; the name of the hold from now on."""
        ...

    def capture(self, charge: Charge) -> str:
        """Take ``charge.amount`` of what is on hold and drop the rest; the name of what was taken.

        A hold that expired is made once more, so the name may be another one than ``authorize`` gave.
        """
        ...

    def release(self, charge: Charge) -> None:
        """Drop the hold."""
        ...

    def refund(self, charge: Charge, refund_id: str, amount: Money) -> str:
        """Give back ``amount`` of what was taken, once per ``refund_id``; the provider's own name of it."""
        ...

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, now_ns: int) -> ProviderEvent:
        """What a webhook says; raises ``BadRequest`` unless the provider signed it, not long before ``now_ns``."""
        ...


def _stripe(engine: sa.Engine, clock: Clock) -> PaymentProvider:
    # Kept out of the module's head: the package is an extra, and nobody else should wait for its import.
    try:
        from walkout.billing.stripe_provider import stripe_from_environment
    except ImportError as error:
        raise SettingsError("provider stripe: its library is not installed; pip install 'walkout[stripe]'") from error
    return stripe_from_environment(engine, clock)


def _split(engine: sa.Engine, clock: Clock) -> PaymentProvider:
    return SplitProvider(engine, clock, _stripe(engine, clock))


#: Every provider by the name that the settings use.
PROVIDERS: Mapping[str, Callable[[sa.Engine, Clock], PaymentProvider]] = {
    WalletProvider.name: WalletProvider,
    FakeProvider.name: lambda _engine, clock: FakeProvider(clock=clock),
    "stripe": _stripe,
    SplitProvider.name: _split,
}
