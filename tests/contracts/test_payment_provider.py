"""What every payment provider promises, over the whole table of providers."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from walkout.billing import ledger
from walkout.billing.provider import PROVIDERS, PaymentProvider
from walkout.billing.records import Charge, ChargeStatus
from walkout.billing.database import open_books
from walkout.domain.clock import ManualClock
from walkout.domain.money import Money
from walkout.errors import IllegalMove


@pytest.fixture
def books(database_url: str) -> Iterator[sa.Engine]:
    """Books in which ann has 10.00 USD."""
    engine = open_books(database_url)
    ledger.top_up(engine, "t1", "ann", Money(1000, "USD"), 1)
    yield engine
    engine.dispose()


@pytest.fixture(params=sorted(PROVIDERS))
def provider(request: pytest.FixtureRequest, books: sa.Engine) -> PaymentProvider:
    """Each provider of the table."""
    return PROVIDERS[request.param](books, ManualClock(1))


def charge(key: str = "c1", minor: int = 400) -> Charge:
    """A charge of ann's."""
    return Charge(key, f"visit-{key}", "ann", "shop", Money(minor, "USD"), ChargeStatus.CREATED, "any")


def test_its_name_is_its_key_in_the_table(books: sa.Engine) -> None:
    assert {name: make(books, ManualClock()).name for name, make in PROVIDERS.items()} == {n: n for n in PROVIDERS}


def test_every_step_may_run_twice(provider: PaymentProvider) -> None:
    most = charge(minor=600)  # what is left could not be held again
    assert provider.authorize(most) == provider.authorize(most) != ""
    provider.capture(most)
    provider.capture(most)
    assert provider.authorize(most), "asking again after the capture finds the first answer"


def test_holds_of_two_charges_have_two_names(provider: PaymentProvider) -> None:
    assert provider.authorize(charge("c1")) != provider.authorize(charge("c2"))


def test_a_hold_may_be_dropped_twice_but_not_taken_then(provider: PaymentProvider) -> None:
    provider.authorize(charge())
    provider.void(charge())
    provider.void(charge())
    with pytest.raises(IllegalMove):
        provider.capture(charge())


def test_what_was_taken_cannot_be_dropped(provider: PaymentProvider) -> None:
    provider.authorize(charge())
    provider.capture(charge())
    with pytest.raises(IllegalMove):
        provider.void(charge())


def test_nothing_is_taken_or_dropped_without_a_hold(provider: PaymentProvider) -> None:
    with pytest.raises(IllegalMove):
        provider.capture(charge())
    with pytest.raises(IllegalMove):
        provider.void(charge())
