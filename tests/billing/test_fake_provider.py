"""Every failure that the fake can play ends, through settling, in one capture, a clear no, or nothing booked."""

from contextlib import suppress

import pytest
import sqlalchemy as sa

from walkout.billing.audit import check_books
from walkout.billing.catalog import upsert_prices
from walkout.billing.fake_provider import WORDS, FakeProvider, sign_webhook
from walkout.billing.records import PricedProduct, VisitStatus
from walkout.billing.settle import Settler
from walkout.billing.visits import append_events, get_visit, open_visit
from walkout.domain.clock import ManualClock
from walkout.domain.money import Money
from walkout.domain.shopping import BasketEvent, BasketEventKind, VisitClosed
from walkout.errors import BadRequest, BillingUnavailable

CLOCK = ManualClock(10**18)


@pytest.mark.parametrize("word", sorted(WORDS))
@pytest.mark.parametrize("step", [0, 1])
def test_a_failure_at_any_step_ends_well(books: sa.Engine, word: str, step: int) -> None:
    upsert_prices(books, "shop", "USD", [PricedProduct("1", "water", Money(400, "USD"))])
    open_visit(books, "v", "shop", "ann", "USD", 1, 1)
    append_events(books, [BasketEvent("e1", "v", 1, BasketEventKind.PICK, "1", 1, 0.9, "w1")])
    provider = FakeProvider(["ok"] * step + [word], CLOCK)
    settler = Settler(books, provider, CLOCK)
    with suppress(BillingUnavailable):
        settler.close(VisitClosed("v", 99, 1, 0.98))
    settler.sweep(all_at_once=True)
    report = check_books(books)
    assert report.problems == ()
    status = get_visit(books, "v").status
    if word in ("decline", "broke"):
        assert (status, provider.taken_minor, report.captured) == (VisitStatus.REVIEW, 0, {})
    elif (word, step) == ("partial", 1):  # 3.99 of 4.00: nothing is booked, a person must look
        assert (status, provider.taken_minor, report.captured) == (VisitStatus.CLOSING, 399, {})
    else:
        assert (status, provider.taken_minor, report.captured) == (VisitStatus.CAPTURED, 400, {"USD": 400})


def test_an_unknown_failure_is_refused() -> None:
    with pytest.raises(ValueError, match="earthquake"):
        FakeProvider(["earthquake"])


def test_an_old_webhook_is_refused() -> None:
    said = {"id": "e", "kind": "held", "reference": "r", "charge_id": "c", "refund_id": "", "minor": 1}
    webhook = sign_webhook({**said, "currency": "USD"}, CLOCK.now_ns())
    provider = FakeProvider()
    assert provider.parse_webhook(*webhook, CLOCK.now_ns() + 300 * 10**9).charge_id == "c"
    with pytest.raises(BadRequest, match="too long ago"):
        provider.parse_webhook(*webhook, CLOCK.now_ns() + 301 * 10**9)
