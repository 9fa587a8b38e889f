"""Stripe over HTTP: every failure on the way ends in one hold, one capture, one refund, or a clear no."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

import pytest
import sqlalchemy as sa

from tests.billing.psp import DECLINES, KEY, NO_INCREMENT, SECRET, Psp, running_psp
from walkout.billing.accounts import PaymentMethod, save_method
from walkout.billing.audit import check_books
from walkout.billing.catalog import upsert_prices
from walkout.billing.provider import PROVIDERS
from walkout.billing.records import Charge, ChargeStatus, EventKind, PricedProduct, VisitStatus
from walkout.billing.settle import Settler
from walkout.billing.stripe_provider import StripeAccess, StripeProvider
from walkout.billing.visits import append_events, get_visit, open_visit
from walkout.domain.clock import ManualClock
from walkout.domain.money import Money
from walkout.domain.shopping import BasketEvent, BasketEventKind, VisitClosed
from walkout.errors import (
    BadRequest,
    BillingUnavailable,
    IllegalMove,
    PaymentDeclined,
    PaymentMismatch,
    SettingsError,
)

CLOCK = ManualClock(1_800_000_000 * 10**9)


@pytest.fixture
def database_url(new_database: Callable[[str], str]) -> str:
    """SQLite alone: Stripe is asked the same whatever holds the books."""
    return new_database("sqlite")


@pytest.fixture
def psp() -> Iterator[Psp]:
    """A card processor behind a socket."""
    with running_psp() as found:
        yield found


@pytest.fixture
def stripe(books: sa.Engine, psp: Psp) -> StripeProvider:
    """Our side of it; ann pays by card."""
    pay_by(books, "card", "pm_card_visa")
    return StripeProvider(books, CLOCK, StripeAccess(KEY, SECRET, psp.url))


def pay_by(books: sa.Engine, kind: str, method: str, account: str = "ann") -> None:
    """Save a way to pay."""
    save_method(books, "stripe", account, PaymentMethod(f"cus_{account}", method, kind), 1)


def charge(key: str = "c1", minor: int = 400, **rest: object) -> Charge:
    """A charge of ann's."""
    made = Charge(key, f"visit-{key}", "ann", "shop", Money(minor, "USD"), ChargeStatus.CREATED, "stripe")
    return replace(made, **rest)  # type: ignore[arg-type]


def insist(call: Callable[[Charge], object], mine: Charge, tries: int = 6) -> tuple[object, int]:
    """Ask again, as who settles does, until there is an answer; the answer and how often nobody gave one."""
    for attempt in range(tries):
        try:
            return call(replace(mine, attempts=attempt)), attempt
        except BillingUnavailable:
            continue
    raise AssertionError("never answered")


@pytest.mark.parametrize("fault", ["lost", "late", "500", "500_after", "429", "409", "garbage"])
def test_a_hold_whose_answer_failed_is_one_hold(stripe: StripeProvider, psp: Psp, fault: str) -> None:
    psp.faults += [fault]
    name, failed = insist(stripe.authorize, charge())
    assert failed >= 1
    assert (psp.held_minor(), len(psp.intents)) == (400, 1)
    assert name == next(iter(psp.intents))


@pytest.mark.parametrize("fault", ["lost", "late", "500", "500_after", "429", "409", "garbage"])
def test_a_capture_whose_answer_failed_takes_once(stripe: StripeProvider, psp: Psp, fault: str) -> None:
    held = charge(reference=stripe.authorize(charge()))
    psp.faults += [fault]
    name, failed = insist(stripe.capture, held)
    assert failed >= 1
    assert (psp.captured_minor(), name) == (400, held.reference)


@pytest.mark.parametrize("fault", ["lost", "late", "500", "500_after", "429", "409", "garbage"])
def test_a_refund_whose_answer_failed_gives_back_once(stripe: StripeProvider, psp: Psp, fault: str) -> None:
    taken = charge(reference=stripe.authorize(charge()))
    stripe.capture(taken)
    psp.faults += [fault]
    insist(lambda mine: stripe.refund(mine, "r1", Money(150, "USD")), taken)
    stripe.refund(taken, "r1", Money(150, "USD"))
    assert (psp.refunded_minor(), len(psp.refunds)) == (150, 1)


@pytest.mark.parametrize("fault", ["lost", "late", "500", "500_after", "429"])
def test_a_release_whose_answer_failed_drops_the_hold(stripe: StripeProvider, psp: Psp, fault: str) -> None:
    held = charge(reference=stripe.authorize(charge()))
    psp.faults += [fault]
    insist(stripe.release, held)
    assert (psp.held_minor(), psp.captured_minor()) == (0, 0)


def test_a_lost_answer_is_found_after_stripe_forgot_the_key(stripe: StripeProvider, psp: Psp) -> None:
    psp.faults += ["late"]
    with pytest.raises(BillingUnavailable):
        stripe.authorize(charge())
    psp.forget_keys()
    assert stripe.authorize(charge(attempts=1)) == next(iter(psp.intents))
    assert len(psp.intents) == 1


def test_a_lost_answer_is_found_among_many_payments(stripe: StripeProvider, psp: Psp) -> None:
    first = stripe.authorize(charge("c0"))
    for number in range(1, 130):
        stripe.authorize(charge(f"c{number}"))
    psp.forget_keys()
    assert stripe.authorize(charge("c0", attempts=1)) == first


@pytest.mark.parametrize("card", sorted(DECLINES))
def test_a_card_that_says_no_is_a_final_no_with_its_reason(
    stripe: StripeProvider, psp: Psp, books: sa.Engine, card: str
) -> None:
    pay_by(books, "card", card)
    code, decline = DECLINES[card]
    for _ in range(2):
        with pytest.raises(PaymentDeclined, match=decline or code):
            stripe.authorize(charge())
    assert (psp.held_minor(), psp.captured_minor(), len(psp.intents)) == (0, 0, 1)


def test_an_account_without_a_saved_method_is_declined_before_stripe_is_asked(stripe: StripeProvider, psp: Psp) -> None:
    with pytest.raises(PaymentDeclined, match="bob has saved no way to pay"):
        stripe.authorize(replace(charge(), account_id="bob"))
    assert psp.posts == []


def test_an_amount_that_stripe_does_not_take_is_declined(stripe: StripeProvider, psp: Psp) -> None:
    with pytest.raises(PaymentDeclined, match=r"at least \$0.50"):
        stripe.authorize(charge(minor=49))
    with pytest.raises(PaymentDeclined, match="tens of its smallest unit"):
        stripe.authorize(replace(charge(), amount=Money(1005, "KWD")))
    assert psp.intents == {}


@pytest.mark.parametrize("kind", ["card", "kakao_pay", "naver_pay", "alipay", "wechat_pay"])
def test_every_kind_of_method_takes_the_money_once_or_says_why_not(
    stripe: StripeProvider, psp: Psp, books: sa.Engine, kind: str
) -> None:
    pay_by(books, kind, f"pm_{kind}")
    held = charge(reference=stripe.authorize(charge()))
    assert psp.captured_minor() == 0, "nothing is taken before it is asked for"
    if kind == "wechat_pay":  # always needs the shopper
        with pytest.raises(PaymentDeclined, match="send a payment link"):
            stripe.capture(held)
        stripe.release(held)
        assert psp.intents[held.reference]["status"] == "canceled"
        return
    assert stripe.capture(held) == stripe.capture(held) == held.reference
    assert psp.captured_minor() == 400
    assert psp.intents[held.reference]["payment_method_types"] == [kind]


def test_a_card_declined_when_it_is_taken_is_a_final_no(stripe: StripeProvider, psp: Psp, books: sa.Engine) -> None:
    pay_by(books, "alipay", "pm_card_visa_chargeDeclined")
    held = charge(reference=stripe.authorize(charge()))
    with pytest.raises(PaymentDeclined):
        stripe.capture(held)
    stripe.release(held)
    assert psp.captured_minor() == 0


def test_a_hold_grows_by_increment(stripe: StripeProvider, psp: Psp) -> None:
    held = charge(reference=stripe.authorize(charge()))
    assert stripe.adjust(held, Money(900, "USD")) == held.reference
    assert (psp.held_minor(), len(psp.intents)) == (900, 1)


def test_a_hold_that_cannot_grow_is_made_anew_and_the_old_one_dropped(
    stripe: StripeProvider, psp: Psp, books: sa.Engine
) -> None:
    pay_by(books, "card", NO_INCREMENT)
    held = charge(reference=stripe.authorize(charge()))
    again = stripe.adjust(held, Money(900, "USD"))
    assert again != held.reference
    assert psp.held_minor() == 900
    assert psp.intents[held.reference]["status"] == "canceled"
    assert stripe.capture(charge(minor=900, reference=again)) == again
    assert psp.captured_minor() == 900


def test_an_expired_hold_is_made_again_and_taken_once(stripe: StripeProvider, psp: Psp) -> None:
    held = charge(reference=stripe.authorize(charge()))
    psp.expire(held.reference)
    psp.faults += ["ok", "late"]
    name, failed = insist(stripe.capture, held)
    assert (name != held.reference, failed) == (True, 1)
    assert (psp.captured_minor(), psp.held_minor(), len(psp.intents)) == (400, 0, 2)


def test_a_hold_that_we_dropped_is_never_made_again(stripe: StripeProvider, psp: Psp) -> None:
    held = charge(reference=stripe.authorize(charge()))
    stripe.release(held)
    with pytest.raises(IllegalMove):
        stripe.capture(held)
    assert len(psp.intents) == 1


@pytest.mark.parametrize("step", ["capture", "refund"])
def test_a_processor_that_takes_another_amount_than_it_was_asked_is_caught(
    stripe: StripeProvider, psp: Psp, step: str
) -> None:
    held = charge(reference=stripe.authorize(charge()))
    if step == "refund":
        stripe.capture(held)
    psp.faults += ["lie"]
    for _ in range(2):
        with pytest.raises(PaymentMismatch, match=r"399|149"):
            stripe.capture(held) if step == "capture" else stripe.refund(held, "r1", Money(150, "USD"))


def test_the_same_refund_id_with_another_amount_is_caught(stripe: StripeProvider, psp: Psp) -> None:
    held = charge(reference=stripe.authorize(charge()))
    stripe.capture(held)
    stripe.refund(held, "r1", Money(100, "USD"))
    with pytest.raises(PaymentMismatch):
        stripe.refund(held, "r1", Money(120, "USD"))
    assert psp.refunded_minor() == 100


def test_a_wrong_key_leaves_the_charge_waiting_and_says_what_to_set(books: sa.Engine, psp: Psp) -> None:
    pay_by(books, "card", "pm_card_visa")
    wrong = StripeProvider(books, CLOCK, StripeAccess("sk_test_other", SECRET, psp.url))
    with pytest.raises(BillingUnavailable, match="WALKOUT_STRIPE_API_KEY"):
        wrong.authorize(charge())


def test_a_processor_that_is_away_leaves_the_charge_waiting(books: sa.Engine) -> None:
    pay_by(books, "card", "pm_card_visa")
    away = StripeProvider(books, CLOCK, StripeAccess(KEY, SECRET, "http://127.0.0.1:9"))
    with pytest.raises(BillingUnavailable, match="ask again"):
        away.authorize(charge())


def test_a_processor_that_answers_too_late_is_asked_again_and_holds_once(books: sa.Engine, psp: Psp) -> None:
    pay_by(books, "card", "pm_card_visa")
    hasty = StripeProvider(books, CLOCK, StripeAccess(KEY, SECRET, psp.url, timeout_s=0.2))
    psp.slow_s = 1.0
    psp.faults += ["slow"]
    _, failed = insist(hasty.authorize, charge())
    assert (failed, psp.held_minor()) == (1, 400)


def test_who_does_not_use_stripe_needs_no_library_of_theirs() -> None:
    code = "import sys, walkout.billing.provider; sys.exit('stripe' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_missing_secrets_are_named(books: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WALKOUT_STRIPE_API_KEY", raising=False)
    with pytest.raises(SettingsError, match="WALKOUT_STRIPE_API_KEY"):
        PROVIDERS["stripe"](books, CLOCK)


def parse(stripe: StripeProvider, webhook: tuple[Mapping[str, str], bytes], after_s: int = 0) -> EventKind:
    """The kind of a webhook that arrives so many seconds later."""
    return stripe.parse_webhook(*webhook, CLOCK.now_ns() + after_s * 10**9).kind


def test_webhooks_say_what_happened_and_to_which_charge(stripe: StripeProvider, psp: Psp) -> None:
    held = charge(reference=stripe.authorize(charge()))
    stripe.capture(held)
    stripe.refund(held, "r1", Money(150, "USD"))
    psp.dispute(held.reference)
    psp.dispute(held.reference, "lost")
    psp.tell("invoice.paid", {"id": "in_1"})
    found = [stripe.parse_webhook(*psp.signed(event), CLOCK.now_ns()) for event in psp.events]
    assert [event.kind for event in found] == [
        EventKind.HELD,
        EventKind.CAPTURED,
        EventKind.REFUNDED,
        EventKind.DISPUTED,
        EventKind.DISPUTE_LOST,
        EventKind.OTHER,
    ]
    assert {event.reference for event in found[:5]} == {held.reference}
    assert [event.charge_id for event in found] == ["c1", "c1", "c1", "", "", ""]
    assert (found[2].refund_id, found[2].amount) == ("r1", Money(150, "USD"))


def test_webhooks_that_are_forged_or_replayed_later_are_refused(stripe: StripeProvider, psp: Psp) -> None:
    stripe.authorize(charge())
    (event,) = psp.events
    headers, body = psp.signed(event)
    assert parse(stripe, (headers, body)) is EventKind.HELD
    forged = [
        psp.signed(event, secret="whsec_other"),
        (headers, body.replace(b"400", b"500")),
        ({"Stripe-Signature": headers["Stripe-Signature"].replace("t=18", "t=19")}, body),
        ({"Stripe-Signature": "t=1,v1="}, body),
        ({"Stripe-Signature": "v1=abc"}, body),
        ({}, body),
    ]
    for webhook in forged:
        with pytest.raises(BadRequest, match="webhook"):
            parse(stripe, webhook)
    assert parse(stripe, (headers, body), after_s=299) is EventKind.HELD
    for after_s in (301, -301):
        with pytest.raises(BadRequest, match="too long ago"):
            parse(stripe, (headers, body), after_s)


def test_a_signed_webhook_that_is_no_event_is_refused(stripe: StripeProvider, psp: Psp) -> None:
    for event in ({}, {"id": "e", "type": "x"}, {"id": "e", "type": "x", "created": 1, "data": {"object": []}}):
        with pytest.raises(BadRequest, match="no event"):
            parse(stripe, psp.signed(event))


@pytest.mark.parametrize("fault", ["lost", "late", "500", "500_after", "429", "409", "garbage", "lie"])
@pytest.mark.parametrize("step", [0, 1])
def test_a_visit_is_charged_once_whatever_goes_wrong_on_the_way(
    books: sa.Engine, psp: Psp, stripe: StripeProvider, fault: str, step: int
) -> None:
    upsert_prices(books, "shop", "USD", [PricedProduct("1", "water", Money(400, "USD"))])
    open_visit(books, "v", "shop", "ann", "USD", 1, 1)
    append_events(books, [BasketEvent("e1", "v", 1, BasketEventKind.PICK, "1", 1, 0.9, "w1")])
    psp.faults += ["ok"] * step + [fault]
    settler = Settler(books, stripe, CLOCK)
    with suppress(BillingUnavailable):
        settler.close(VisitClosed("v", 99, 1, 0.98))
    for _ in range(3):
        settler.sweep(all_at_once=True)
    report = check_books(books)
    assert report.problems == ()
    if (fault, step) == ("lie", 1):  # it took 3.99 and says so: nothing is booked, a person must look
        assert (get_visit(books, "v").status, report.captured) == (VisitStatus.CLOSING, {})
        return
    assert get_visit(books, "v").status is VisitStatus.CAPTURED
    assert (psp.captured_minor(), psp.held_minor(), report.captured) == (400, 0, {"USD": 400})
