"""An outside provider without the outside: remembers every charge, and fails as it is told."""

import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from walkout.billing.records import Charge, EventKind, ProviderEvent
from walkout.domain.clock import NS_PER_S, Clock, ManualClock
from walkout.domain.money import Money
from walkout.errors import BadRequest, BillingUnavailable, IllegalMove, PaymentDeclined, PaymentMismatch

#: The header that signs a fake webhook: ``t=<seconds>,v1=<hex HMAC-SHA256 of "seconds.body">``.
SIGNATURE = "fake-signature"
_SECRET = b"fake-webhook-secret"
#: As long as Stripe's SDK grants a webhook.
_TOLERANCE_S = 300

#: What a plan may hold, and what it does to the call that consumes it.
WORDS = {
    "ok": "does what it was asked",
    "decline": "a final no",
    "broke": "a final no for want of money",
    "timeout": "nothing happened, nobody knows",
    "late": "it happened, the answer was lost",
    "busy": "429: nothing happened, ask again",
    "partial": "takes one unit less than it was asked",
    "expired": "the hold is gone when it is to be taken, and is made once more",
    "early": "the webhook comes before the answer",
    "twice": "the webhook comes twice",
}


@dataclass(slots=True)
class _Hold:
    """One charge as the outside sees it; ``taken`` and ``given_back`` in minor units."""

    name: str
    amount: Money
    state: str = "held"
    taken: int = 0
    given_back: dict[str, int] = field(default_factory=dict)


class FakeProvider:
    """``plan`` is consumed one of ``WORDS`` per call, whatever the method; an empty plan means ok for ever.

    Webhooks wait in ``outbox`` as (headers, body) until somebody delivers them; ``early`` ones go to ``deliver``.
    """

    name = "fake"

    def __init__(self, plan: Sequence[str] = (), clock: Clock | None = None) -> None:
        if unknown := set(plan) - set(WORDS):
            raise ValueError(f"no such word in a plan: {sorted(unknown)}")
        self._plan = list(plan)
        self._clock = clock or ManualClock()
        self._lock = threading.RLock()
        self._holds: dict[str, _Hold] = {}
        self._events = 0
        self.outbox: list[tuple[dict[str, str], bytes]] = []
        self.deliver: Callable[[dict[str, str], bytes], object] | None = None

    @property
    def states(self) -> dict[str, str]:
        """charge_id -> held | taken | dropped."""
        return {charge_id: hold.state for charge_id, hold in self._holds.items()}

    @property
    def taken_minor(self) -> int:
        """Sum of what was ever taken, in minor units of whatever currency; grows once per charge."""
        return sum(hold.taken for hold in self._holds.values())

    @property
    def refunded_minor(self) -> int:
        """Sum of what was ever given back; grows once per refund."""
        return sum(sum(hold.given_back.values()) for hold in self._holds.values())

    def authorize(self, charge: Charge) -> str:
        """Hold the amount; always the same name for the same charge."""
        with self._lock:
            word = self._fail(charge)
            hold = self._holds.get(charge.charge_id)
            if hold is None:
                hold = self._holds[charge.charge_id] = _Hold(f"fake-{charge.charge_id}", charge.amount)
                self._tell(EventKind.HELD, hold, charge, word)
            return self._answer(charge, word, hold.name)

    def adjust(self, charge: Charge, amount: Money) -> str:
        """Let the hold cover ``amount``."""
        with self._lock:
            word = self._fail(charge)
            hold = self._require(charge, "held", "adjusted")
            hold.amount = amount
            return self._answer(charge, word, hold.name)

    def capture(self, charge: Charge) -> str:
        """Take what is on hold, once."""
        with self._lock:
            word = self._fail(charge)
            hold = self._require(charge, "taken", "taken")
            if hold.state == "held":
                if charge.amount > hold.amount:
                    raise PaymentDeclined(f"{charge.amount} is more than the {hold.amount} on hold")
                if word == "expired":
                    hold.name += "-again"
                hold.state, hold.taken = "taken", charge.amount.minor - (1 if word == "partial" else 0)
                self._tell(EventKind.CAPTURED, hold, charge, word)
            if hold.taken != charge.amount.minor:
                raise PaymentMismatch(f"charge {charge.charge_id}: asked to take {charge.amount}, took {hold.taken}")
            return self._answer(charge, word, hold.name)

    def release(self, charge: Charge) -> None:
        """Drop the hold."""
        with self._lock:
            word = self._fail(charge)
            hold = self._require(charge, "dropped", "dropped")
            if hold.state == "held":
                hold.state = "dropped"
                self._tell(EventKind.RELEASED, hold, charge, word)
            self._answer(charge, word, hold.name)

    def refund(self, charge: Charge, refund_id: str, amount: Money) -> str:
        """Give back once per ``refund_id``, never more than was taken."""
        with self._lock:
            word = self._fail(charge)
            hold = self._holds.get(charge.charge_id)
            if hold is None or hold.state != "taken":
                raise IllegalMove(f"charge {charge.charge_id} was never taken; nothing to give back")
            if refund_id not in hold.given_back:
                if sum(hold.given_back.values()) + amount.minor > hold.taken:
                    raise PaymentDeclined(f"{amount} is more than is left of charge {charge.charge_id}")
                hold.given_back[refund_id] = amount.minor
                self._tell(EventKind.REFUNDED, hold, charge, word, refund_id)
            return self._answer(charge, word, f"fake-{refund_id}")

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, now_ns: int) -> ProviderEvent:
        """What ``sign_webhook`` signed."""
        sent = {name.lower(): value for name, value in headers.items()}.get(SIGNATURE, "")
        seconds = sent.removeprefix("t=").split(",")[0]
        if not seconds.isdigit() or not hmac.compare_digest(sent, _signature(int(seconds), body)):
            raise BadRequest("webhook: not signed by the fake provider")
        if abs(now_ns // NS_PER_S - int(seconds)) > _TOLERANCE_S:
            raise BadRequest("webhook: signed too long ago; the provider sends it again if it matters")
        said = json.loads(body)
        amount = Money(said["minor"], said["currency"])
        kind = EventKind(said["kind"])
        return ProviderEvent(
            said["id"], kind, said["reference"], said["charge_id"], said["refund_id"], amount, int(seconds) * NS_PER_S
        )

    def _require(self, charge: Charge, state: str, verb: str) -> _Hold:
        hold = self._holds.get(charge.charge_id)
        if hold is None or hold.state not in ("held", state):
            raise IllegalMove(f"charge {charge.charge_id} is {hold.state if hold else 'unknown'}, cannot be {verb}")
        return hold

    def _fail(self, charge: Charge) -> str:
        """Consume one word of the plan and raise what comes before the work."""
        word = self._plan.pop(0) if self._plan else "ok"
        if word in ("decline", "broke"):
            why = "has too little money on it" if word == "broke" else "was declined"
            raise PaymentDeclined(f"the card behind {charge.account_id} {why}")
        if word in ("timeout", "busy"):
            why = "is busy" if word == "busy" else "did not answer"
            raise BillingUnavailable(f"the provider {why}; ask again")
        return word

    def _answer(self, charge: Charge, word: str, answer: str) -> str:
        if word == "late":
            raise BillingUnavailable(f"the answer about charge {charge.charge_id} was lost; ask again")
        return answer

    def _tell(self, kind: EventKind, hold: _Hold, charge: Charge, word: str, refund_id: str = "") -> None:
        self._events += 1
        minor = hold.given_back[refund_id] if refund_id else charge.amount.minor
        said = {"id": f"evt-{self._events}", "kind": kind.value, "reference": hold.name, "charge_id": charge.charge_id}
        said |= {"refund_id": refund_id, "currency": charge.amount.currency}
        webhook = sign_webhook({**said, "minor": minor}, self._clock.now_ns())
        if word == "early" and self.deliver is not None:
            self.deliver(*webhook)
        else:
            self.outbox += [webhook] * (2 if word == "twice" else 1)


def sign_webhook(said: Mapping[str, object], now_ns: int) -> tuple[dict[str, str], bytes]:
    """Headers and body as the fake provider sends them at ``now_ns``."""
    body = json.dumps(said).encode()
    return {SIGNATURE: _signature(now_ns // NS_PER_S, body)}, body


def _signature(seconds: int, body: bytes) -> str:
    digest = hmac.new(_SECRET, f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={digest}"
