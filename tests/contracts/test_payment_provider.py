"""What every payment provider promises, over the whole table of providers and both databases."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from tests.billing.psp import KEY, SECRET, Psp, running_psp
from walkout.billing import ledger
from walkout.billing.accounts import PaymentMethod, save_method
from walkout.billing.provider import PROVIDERS, PaymentProvider
from walkout.billing.records import Charge, ChargeStatus
from walkout.domain.clock import ManualClock
from walkout.domain.money import Money
from walkout.errors import BadRequest, IllegalMove, PaymentDeclined

CLOCK = ManualClock(1_800_000_000 * 10**9)


@pytest.fixture
def psp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Psp]:
    """A card processor, named by the variables that name the real one."""
    with running_psp() as found:
        monkeypatch.setenv("WALKOUT_STRIPE_API_KEY", KEY)
        monkeypatch.setenv("WALKOUT_STRIPE_WEBHOOK_SECRET", SECRET)
        monkeypatch.setenv("WALKOUT_STRIPE_URL", found.url)
        yield found


@pytest.fixture(params=sorted(PROVIDERS))
def provider(request: pytest.FixtureRequest, books: sa.Engine, psp: Psp) -> PaymentProvider:  # noqa: ARG001
    """Each provider of the table, for ann, who can pay: 20.00 USD prepaid, or 1.00 and a card where it is split."""
    minor = 100 if request.param == "split" else 2000
    ledger.top_up(books, "t1", "ann", Money(minor, "USD"), 1)
    save_method(books, "stripe", "ann", PaymentMethod("cus_ann", "pm_card_visa", "card"), 1)
    return PROVIDERS[request.param](books, CLOCK)


def charge(key: str = "c1", minor: int = 400) -> Charge:
    """A charge of ann's."""
    return Charge(key, f"visit-{key}", "ann", "shop", Money(minor, "USD"), ChargeStatus.CREATED, "any")


def usd(minor: int) -> Money:
    """US cents."""
    return Money(minor, "USD")


def test_its_name_is_its_key_in_the_table(books: sa.Engine, psp: Psp) -> None:
    assert psp.url
    assert {name: make(books, CLOCK).name for name, make in PROVIDERS.items()} == {n: n for n in PROVIDERS}


def test_every_step_may_run_twice(provider: PaymentProvider) -> None:
    most = charge(minor=1600)  # what is left could not be held again
    assert provider.authorize(most) == provider.authorize(most) != ""
    held = replace(most, reference=provider.authorize(most))
    taken = replace(held, reference=provider.capture(held))
    assert provider.capture(taken) == taken.reference != ""
    assert provider.authorize(most), "asking again after the capture finds the first answer"
    assert provider.refund(taken, "r1", usd(1600)) == provider.refund(taken, "r1", usd(1600)) != ""


def test_a_charge_whose_answer_was_lost_is_found_again_without_its_name(provider: PaymentProvider) -> None:
    provider.authorize(charge())
    provider.capture(charge())
    provider.capture(replace(charge(), attempts=1))


def test_holds_of_two_charges_have_two_names(provider: PaymentProvider) -> None:
    assert provider.authorize(charge("c1")) != provider.authorize(charge("c2"))


def test_a_hold_may_grow_and_shrink_before_it_is_taken(provider: PaymentProvider) -> None:
    held = replace(charge(), reference=provider.authorize(charge()))
    for minor in (900, 900, 700):
        held = replace(held, reference=provider.adjust(held, usd(minor)))
    provider.capture(replace(held, amount=usd(700)))
    with pytest.raises(PaymentDeclined):
        provider.refund(replace(held, amount=usd(700)), "r1", usd(701))


def test_less_than_the_hold_may_be_taken(provider: PaymentProvider) -> None:
    held = replace(charge(minor=1500), reference=provider.authorize(charge(minor=1500)))
    part = replace(held, amount=usd(700))
    assert provider.capture(part) == provider.capture(part)
    with pytest.raises(PaymentDeclined):
        provider.refund(part, "r1", usd(701))


def test_a_hold_may_be_dropped_twice_but_not_taken_then(provider: PaymentProvider) -> None:
    provider.authorize(charge())
    provider.release(charge())
    provider.release(charge())
    with pytest.raises(IllegalMove):
        provider.capture(charge())


def test_what_was_taken_cannot_be_dropped(provider: PaymentProvider) -> None:
    provider.authorize(charge())
    provider.capture(charge())
    with pytest.raises(IllegalMove):
        provider.release(charge())


def test_nothing_is_taken_dropped_changed_or_given_back_without_a_hold(provider: PaymentProvider) -> None:
    for step in (
        lambda: provider.capture(charge()),
        lambda: provider.release(charge()),
        lambda: provider.adjust(charge(), usd(500)),
        lambda: provider.refund(charge(), "r1", usd(100)),
    ):
        with pytest.raises(IllegalMove):
            step()


def test_nothing_is_given_back_before_it_was_taken(provider: PaymentProvider) -> None:
    provider.authorize(charge())
    with pytest.raises(IllegalMove):
        provider.refund(charge(), "r1", usd(100))


def test_no_more_is_given_back_than_was_taken(provider: PaymentProvider) -> None:
    provider.authorize(charge())
    provider.capture(charge())
    provider.refund(charge(), "r1", usd(250))
    provider.refund(charge(), "r2", usd(150))
    with pytest.raises(PaymentDeclined):
        provider.refund(charge(), "r3", usd(1))


@pytest.mark.parametrize("body", [b"", b"{}", b'{"id": "evt_1"}', b"\xff\xfe", b"[" * 50_000])
def test_a_webhook_that_nobody_signed_is_refused(provider: PaymentProvider, body: bytes) -> None:
    for headers in ({}, {"Stripe-Signature": "t=1,v1=00"}, {"Stripe-Signature": "x"}, {"fake-signature": "t=1,v1=0"}):
        with pytest.raises(BadRequest, match="webhook"):
            provider.parse_webhook(headers, body, CLOCK.now_ns())
