"""Stripe as a payment provider: off-session PaymentIntents on a method that the account has saved.

Each call carries our row's id as idempotency key, so a lost answer is asked for again and nothing happens twice.
Stripe keeps what it answered under a key for at least a day, failures of its own (500) included; those are over and
done with, so we look what became of the first call and only then use the next key. Keys that are older than a day
may be forgotten, so a charge that was asked for before (``charge.attempts``) is looked for before it is asked again
(https://docs.stripe.com/api/idempotent_requests). We find our payments by ``metadata.charge_id``.

Not every method can be held: ``HELD`` ones are authorized and later captured; of the others the payment is only
prepared, and confirmed when it is to be taken. An uncaptured hold expires (cards: seven days); it is then made again.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import sqlalchemy as sa
import stripe

from walkout.billing.accounts import method_of
from walkout.billing.records import Charge, EventKind, ProviderEvent
from walkout.domain.clock import NS_PER_S, Clock
from walkout.domain.money import MINOR_DIGITS, Money
from walkout.errors import (
    BadRequest,
    BillingError,
    BillingUnavailable,
    IllegalMove,
    PaymentDeclined,
    PaymentMismatch,
    SettingsError,
)

STRIPE_URL = "https://api.stripe.com"
#: Kinds of methods with separate authorization and capture (https://docs.stripe.com/payments/place-a-hold).
HELD = frozenset({"card", "kakao_pay", "naver_pay"})
#: Seconds after which an answer counts as lost; Stripe's own are mostly below one.
_TIMEOUT_S = 10.0
#: Keys tried for one step: the next one only after Stripe failed by itself under the last one.
_KEYS = 5
#: How old a webhook's signature may be, the tolerance of Stripe's own libraries.
_TOLERANCE_S = 300

_KINDS = {
    "payment_intent.amount_capturable_updated": EventKind.HELD,
    "payment_intent.succeeded": EventKind.CAPTURED,
    "payment_intent.canceled": EventKind.RELEASED,
    "payment_intent.payment_failed": EventKind.DECLINED,
    "refund.created": EventKind.REFUNDED,
    "refund.updated": EventKind.REFUNDED,
    "charge.dispute.created": EventKind.DISPUTED,
}

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class StripeAccess:
    """The secret key, the webhook endpoint's signing secret, where the API answers, and how long it may take to."""

    api_key: str
    webhook_secret: str
    url: str = STRIPE_URL
    timeout_s: float = _TIMEOUT_S


def stripe_from_environment(engine: sa.Engine, clock: Clock) -> "StripeProvider":
    """Secrets come from WALKOUT_STRIPE_API_KEY and WALKOUT_STRIPE_WEBHOOK_SECRET, never from a file of ours.

    Raises ``SettingsError`` where one is missing.
    """
    found = {name: os.environ.get(f"WALKOUT_STRIPE_{name}", "") for name in ("API_KEY", "WEBHOOK_SECRET")}
    for name, value in found.items():
        if not value:
            raise SettingsError(f"provider stripe: set WALKOUT_STRIPE_{name}; the Stripe dashboard shows it")
    url = os.environ.get("WALKOUT_STRIPE_URL", STRIPE_URL)
    return StripeProvider(engine, clock, StripeAccess(found["API_KEY"], found["WEBHOOK_SECRET"], url))


class StripeProvider:
    """Charges what the account has saved as its way to pay at Stripe."""

    name = "stripe"

    def __init__(self, engine: sa.Engine, clock: Clock, access: StripeAccess) -> None:
        self._engine = engine
        self._clock = clock
        self._access = access
        self._stripe = stripe.StripeClient(
            access.api_key,
            base_addresses={"api": access.url},
            max_network_retries=0,  # who asks again, and when, is decided by whoever settles
            http_client=stripe.RequestsClient(timeout=access.timeout_s),
        )

    def authorize(self, charge: Charge) -> str:
        """Hold the amount, or prepare the payment where the method cannot be held."""
        if charge.attempts and (found := self._look(charge)) is not None:
            return self._usable(found)
        return self._usable(self._create(charge, f"{charge.charge_id}/hold/{charge.amount.minor}"))

    def adjust(self, charge: Charge, amount: Money) -> str:
        """Increment the hold, or make it anew where the card's bank does not allow that; less needs no call."""
        intent = self._require(charge)
        if intent.status != "requires_capture":
            raise IllegalMove(f"payment {intent.id} is {intent.status}, it cannot be adjusted")
        if amount.minor <= intent.amount:
            return str(intent.id)
        try:
            held = self._once(
                f"{intent.id}/increment/{amount.minor}",
                lambda options: self._stripe.v1.payment_intents.increment_authorization(
                    intent.id, {"amount": amount.minor}, options
                ),
                lambda: self._retrieve(intent.id, if_amount=amount.minor),
            )
            return str(held.id)
        except PaymentDeclined:
            more = replace(charge, amount=amount)
            again = self._usable(self._create(more, f"{charge.charge_id}/hold/{amount.minor}/after/{intent.id}"))
            self._cancel(intent.id)
            return again

    def capture(self, charge: Charge) -> str:
        """Take the amount; an expired hold is made once more under a key of its own."""
        intent = self._require(charge)
        if intent.status == "canceled" and intent.cancellation_reason == "automatic":
            intent = self._create(charge, f"{charge.charge_id}/hold/{charge.amount.minor}/after/{intent.id}")
            self._usable(intent)
        if intent.status == "requires_capture":
            intent = self._once(
                f"{intent.id}/capture",
                lambda options: self._stripe.v1.payment_intents.capture(
                    intent.id, {"amount_to_capture": charge.amount.minor}, options
                ),
                lambda: self._retrieve(intent.id, if_status="succeeded"),
            )
        elif intent.status == "requires_confirmation":
            intent = self._once(
                f"{intent.id}/confirm",
                lambda options: self._stripe.v1.payment_intents.confirm(intent.id, {"off_session": True}, options),
                lambda: self._retrieve(intent.id, if_status="succeeded"),
            )
        if intent.status == "processing":
            raise BillingUnavailable(f"payment {intent.id} is on its way; ask again")
        if intent.status in ("requires_action", "requires_payment_method"):
            raise PaymentDeclined(f"payment {intent.id} needs the shopper ({intent.status}); send a payment link")
        if intent.status != "succeeded":
            raise IllegalMove(f"payment {intent.id} is {intent.status}, it cannot be taken")
        if intent.amount_received != charge.amount.minor or intent.currency != charge.amount.currency.lower():
            took = f"{intent.amount_received} {intent.currency}"
            raise PaymentMismatch(f"payment {intent.id}: asked to take {charge.amount}, Stripe says it took {took}")
        return str(intent.id)

    def release(self, charge: Charge) -> None:
        """Drop the hold; one that expired is dropped already."""
        intent = self._require(charge)
        if intent.status == "succeeded":
            raise IllegalMove(f"payment {intent.id} was taken; refund it")
        if intent.status != "canceled":
            self._cancel(intent.id)

    def refund(self, charge: Charge, refund_id: str, amount: Money) -> str:
        """Give back part or all, once per ``refund_id``."""
        intent = self._require(charge)
        if intent.status != "succeeded":
            raise IllegalMove(f"payment {intent.id} is {intent.status}; there is nothing to give back")
        metadata = {"charge_id": charge.charge_id, "refund_id": refund_id}

        def look() -> stripe.Refund | None:
            made = self._stripe.v1.refunds.list({"payment_intent": intent.id, "limit": 100}).auto_paging_iter()
            return next((one for one in made if _metadata(one).get("refund_id") == refund_id), None)

        back = self._once(
            f"refund/{refund_id}",
            lambda options: self._stripe.v1.refunds.create(
                {"payment_intent": intent.id, "amount": amount.minor, "metadata": metadata}, options
            ),
            look,
        )
        if back.status in ("failed", "canceled"):
            raise PaymentDeclined(f"refund {back.id} {back.status}: {back.failure_reason or 'no reason given'}")
        if back.amount != amount.minor:
            raise PaymentMismatch(f"refund {back.id}: asked to give back {amount}, Stripe says {back.amount}")
        return str(back.id)

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, now_ns: int) -> ProviderEvent:
        """What Stripe signed with the endpoint's secret, at most five minutes from ``now_ns``."""
        sent = {name.lower(): value for name, value in headers.items()}.get("stripe-signature", "")
        try:
            text = body.decode()
            stripe.WebhookSignature.verify_header(text, sent, self._access.webhook_secret)
            seconds = int(dict(part.split("=", 1) for part in sent.split(","))["t"])
        except (stripe.SignatureVerificationError, ValueError, KeyError) as error:
            raise BadRequest(f"webhook: not signed by Stripe for this endpoint ({error})") from error
        if abs(now_ns // NS_PER_S - seconds) > _TOLERANCE_S:
            raise BadRequest("webhook: signed too long ago; Stripe sends it again with a new signature if it matters")
        try:
            return _event(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadRequest(f"webhook: signed, but no event that we can read ({error!r})") from error

    def _create(self, charge: Charge, key: str) -> stripe.PaymentIntent:
        """A payment of ``charge.amount`` on the saved method: held, or only prepared."""
        saved = method_of(self._engine, self.name, charge.account_id)
        if MINOR_DIGITS[charge.amount.currency] == 3 and charge.amount.minor % 10:
            raise PaymentDeclined(f"Stripe takes {charge.amount.currency} in tens of its smallest unit only")
        params: dict[str, Any] = {
            "amount": charge.amount.minor,
            "currency": charge.amount.currency.lower(),
            "customer": saved.customer,
            "payment_method": saved.method,
            "payment_method_types": [saved.kind],
            "metadata": {"charge_id": charge.charge_id, "visit_id": charge.visit_id},
        }
        if saved.kind in HELD:
            params |= {"capture_method": "manual", "confirm": True, "off_session": True}
        return self._once(
            key,
            lambda options: self._stripe.v1.payment_intents.create(params, options),  # type: ignore[arg-type]
            lambda: self._look(charge),
        )

    def _usable(self, intent: stripe.PaymentIntent) -> str:
        """The name of a payment that is held, prepared or taken; raises ``PaymentDeclined`` for any other."""
        if intent.status in ("requires_capture", "requires_confirmation", "succeeded"):
            return str(intent.id)
        if intent.status == "processing":
            raise BillingUnavailable(f"payment {intent.id} is on its way; ask again")
        raise PaymentDeclined(f"payment {intent.id} needs the shopper ({intent.status}); send a payment link")

    def _require(self, charge: Charge) -> stripe.PaymentIntent:
        """The payment of this charge as it stands at Stripe; raises ``IllegalMove`` where there is none."""
        intent = self._retrieve(charge.reference) if charge.reference else self._look(charge)
        if intent is None:
            raise IllegalMove(f"charge {charge.charge_id} has no hold; authorize it first")
        return intent

    def _look(self, charge: Charge) -> stripe.PaymentIntent | None:
        """The newest payment that carries our charge's id and was not dropped, else the newest one, else None."""
        saved = method_of(self._engine, self.name, charge.account_id)
        with _ours():
            listed = self._stripe.v1.payment_intents.list({"customer": saved.customer, "limit": 100})
            mine = [one for one in listed.auto_paging_iter() if _metadata(one).get("charge_id") == charge.charge_id]
        alive = [one for one in mine if one.status in ("succeeded", "requires_capture", "requires_confirmation")]
        return next(iter(alive or mine), None)

    def _retrieve(self, intent_id: str, if_status: str = "", if_amount: int = 0) -> stripe.PaymentIntent | None:
        """The payment as it stands; None unless it has come to what is asked for."""
        with _ours():
            intent = self._stripe.v1.payment_intents.retrieve(intent_id)
        if (if_status and intent.status != if_status) or (if_amount and intent.amount != if_amount):
            return None
        return intent

    def _cancel(self, intent_id: str) -> None:
        self._once(
            f"{intent_id}/release",
            lambda options: self._stripe.v1.payment_intents.cancel(intent_id, {}, options),
            lambda: self._retrieve(intent_id, if_status="canceled"),
        )

    def _once(
        self,
        key: str,
        make: Callable[[stripe.RequestOptions], Answer],
        look: Callable[[], Answer | None],
    ) -> Answer:
        """The answer to one step. Under a key where Stripe itself failed, ``look`` tells whether it happened."""
        for number in range(_KEYS):
            try:
                return make({"idempotency_key": f"{key}/{number}"})
            except stripe.StripeError as error:
                if not _failed_for_good(error):
                    raise _translated(error) from error
                if (found := look()) is not None:
                    return found
        raise BillingUnavailable(f"Stripe fails at {key} again and again; ask again later")


@contextmanager
def _ours() -> Iterator[None]:
    """Stripe's errors of a call that only asks, as ours."""
    try:
        yield
    except stripe.StripeError as error:
        raise _translated(error) from error


def _failed_for_good(error: stripe.StripeError) -> bool:
    """Whether Stripe repeats a failure of its own that it saved under the key: no call under it is still at work."""
    replayed = str((error.headers or {}).get("idempotent-replayed", "")).lower() == "true"
    return replayed and (error.http_status or 0) >= 500


def _translated(error: stripe.StripeError) -> BillingError:
    """What an error means for the charge (https://docs.stripe.com/api/errors)."""
    said = f"Stripe: {error.user_message or type(error).__name__}"
    if isinstance(error, stripe.CardError):
        return PaymentDeclined(f"{said} ({_decline_code(error)})")
    if error.http_status == 409 or error.code == "payment_intent_unexpected_state":
        return BillingUnavailable(f"{said}; another call is at work on it, ask again")
    if isinstance(error, stripe.IdempotencyError):
        return PaymentMismatch(f"{said}; the same step was asked with other contents")
    if isinstance(error, stripe.InvalidRequestError):
        return PaymentDeclined(said)
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return BillingUnavailable(f"{said}; check WALKOUT_STRIPE_API_KEY, the charge waits meanwhile")
    return BillingUnavailable(f"{said}; ask again")


def _decline_code(error: stripe.CardError) -> str:
    details: Any = error.error
    return str(getattr(details, "decline_code", None) or error.code or "no code")


def _metadata(thing: Any) -> Mapping[str, str]:
    return thing.metadata.to_dict() if thing.metadata else {}


def _event(document: Any) -> ProviderEvent:
    """A snapshot event (https://docs.stripe.com/api/events) as ours."""
    kind = _KINDS.get(document["type"], EventKind.OTHER)
    thing = document["data"]["object"]
    if document["type"] == "charge.dispute.closed":
        kind = EventKind.DISPUTE_LOST if thing["status"] == "lost" else EventKind.DISPUTE_WON
    metadata = thing.get("metadata") or {}
    amount, currency = thing.get("amount"), str(thing.get("currency", "")).upper()
    return ProviderEvent(
        str(document["id"]),
        kind,
        str(thing.get("payment_intent") or thing.get("id") or ""),
        str(metadata.get("charge_id", "")),
        str(metadata.get("refund_id", "")),
        Money(amount, currency) if isinstance(amount, int) and currency in MINOR_DIGITS else None,
        int(document["created"]) * NS_PER_S,
    )
