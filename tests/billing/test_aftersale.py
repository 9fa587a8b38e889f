"""Corrections, refunds and disputes: the receipt stays, the difference moves once, and never more than was taken."""

import pytest
import sqlalchemy as sa

from walkout.billing import aftersale, audit, ledger
from walkout.billing.aftersale import Change, Dispute, Request
from walkout.billing.catalog import upsert_prices
from walkout.billing.database import reading, writing
from walkout.billing.fake_provider import FakeProvider
from walkout.billing.provider import PaymentProvider
from walkout.billing.records import AdjustmentKind, Direction, DisputeStatus, PricedProduct, VisitStatus
from walkout.billing.settle import Settler
from walkout.billing.visits import append_events, get_receipt, get_visit, open_visit
from walkout.billing.wallet import WalletProvider
from walkout.domain.clock import NS_PER_S, ManualClock
from walkout.domain.money import Money
from walkout.domain.shopping import BasketEvent, BasketEventKind, VisitClosed
from walkout.errors import BadRequest, BillingUnavailable, ConflictError, IllegalMove, NotFoundError

NOW = 1_000
CLOCK = ManualClock(NOW)


def shop(books: sa.Engine, *review: str, provider: PaymentProvider | None = None, quantity: int = 3) -> Settler:
    """Ann, with 10.00, left with bottles of water at 1.00 each."""
    water = PricedProduct("w", "WATER", Money(100, "USD"))
    upsert_prices(books, "shop", "USD", [water, PricedProduct("j", "JUICE", Money(250, "USD"))])
    ledger.top_up(books, "t", "ann", Money(1000, "USD"), 1)
    open_visit(books, "v", "shop", "ann", "USD", 1, 1)
    append_events(books, [BasketEvent("e", "v", 2, BasketEventKind.PICK, "w", quantity, 0.9, "x")])
    settler = Settler(books, provider or WalletProvider(books, CLOCK), CLOCK)
    settler.close(VisitClosed("v", 99, 1, 0.9, review))
    return settler


def correct(books: sa.Engine, settler: Settler, *changes: Change, key: str = "a1") -> Money:
    """Staff corrects the visit and the money moves; what the receipt says then."""
    request = Request(key, "v", AdjustmentKind.CORRECTION, changes, "", "seen on the clip", "staff:kim")
    aftersale.adjust(books, request, settler._provider.name, NOW)
    settler.finish("v")
    return get_receipt(books, "v").total


def give_back(books: sa.Engine, settler: Settler, quantity: int, key: str = "r1", now_ns: int = NOW) -> Money:
    """Units of water come back."""
    changes = (Change("w", -quantity),)
    request = Request(key, "v", AdjustmentKind.REFUND, changes, "returned", "unopened", "staff:kim")
    aftersale.refund(books, request, settler._provider.name, now_ns)
    settler.finish("v")
    return get_receipt(books, "v").total


def left(books: sa.Engine) -> int:
    """What ann's wallet holds, in cents, in books that balance."""
    assert audit.check_books(books).problems == ()
    with reading(books) as connection:
        return ledger.balance(connection, "ann", "USD").minor


def test_goods_that_come_back_are_paid_back_once(books: sa.Engine) -> None:
    settler = shop(books)
    for _ in range(2):
        assert give_back(books, settler, 1) == Money(200, "USD")
    assert give_back(books, settler, 2, key="r2") == Money(0, "USD")
    assert left(books) == 1000
    payments = get_receipt(books, "v").payments
    assert [payment.amount.minor for payment in payments] == [300, -100, -200]


def test_no_more_comes_back_than_was_bought(books: sa.Engine) -> None:
    settler = shop(books)
    give_back(books, settler, 2)
    with pytest.raises(BadRequest, match="the visit has 1"):
        give_back(books, settler, 2, key="r2")
    assert left(books) == 900


def test_a_refund_with_other_contents_or_after_the_window_is_refused(books: sa.Engine) -> None:
    settler = shop(books)
    give_back(books, settler, 1)
    with pytest.raises(ConflictError):
        give_back(books, settler, 2)
    late_ns = 99 + round((aftersale.REFUND_WINDOW_S + 1) * NS_PER_S)
    with pytest.raises(IllegalMove, match="14 days"):
        give_back(books, settler, 1, key="r2", now_ns=late_ns)
    assert give_back(books, settler, 1, now_ns=late_ns) == Money(200, "USD"), "the answer of then, asked again later"
    assert left(books) == 800


def test_the_last_unit_takes_what_rounding_left(books: sa.Engine) -> None:
    settler = shop(books)
    assert correct(books, settler, Change("j", 3, 100)) == Money(400, "USD")
    for number, rest in enumerate((366, 333, 300)):
        assert correct(books, settler, Change("j", -1), key=f"b{number}").minor == rest
    assert left(books) == 700


def test_staff_takes_the_difference_after_the_capture(books: sa.Engine) -> None:
    settler = shop(books)
    assert correct(books, settler, Change("j", 1)) == Money(550, "USD")
    assert correct(books, settler, Change("j", 1)) == Money(550, "USD")
    assert left(books) == 450
    assert give_back(books, settler, 3) == Money(250, "USD")
    assert left(books) == 750


@pytest.mark.parametrize(
    ("changes", "status", "rest"),
    [
        ((), VisitStatus.CAPTURED, 700),
        ((Change("w", -1),), VisitStatus.CAPTURED, 800),
        ((Change("w", -3), Change("j", 1)), VisitStatus.CAPTURED, 750),
        ((Change("w", -3),), VisitStatus.RELEASED, 1000),
    ],
)
def test_a_person_decides_a_visit_in_review(
    books: sa.Engine, changes: tuple[Change, ...], status: VisitStatus, rest: int
) -> None:
    settler = shop(books, "two hands at once")
    for _ in range(2):
        assert correct(books, settler, *changes) == Money(1000 - rest, "USD")
    assert (get_visit(books, "v").status, left(books)) == (status, rest)


def test_a_declined_visit_is_charged_again_after_a_person_looked(books: sa.Engine) -> None:
    settler = shop(books, quantity=11)
    assert get_visit(books, "v").status is VisitStatus.REVIEW
    ledger.top_up(books, "t2", "ann", Money(500, "USD"), 1)
    assert correct(books, settler) == Money(1100, "USD")
    assert (get_visit(books, "v").status, left(books)) == (VisitStatus.CAPTURED, 400)


@pytest.mark.parametrize(
    "change", [Change("w", 0), Change("w", -4), Change("x", 1), Change("w", -1, -301), Change("w", 1, -5)]
)
def test_a_correction_that_makes_no_sense_changes_nothing(books: sa.Engine, change: Change) -> None:
    settler = shop(books)
    with pytest.raises(BadRequest):
        correct(books, settler, change)
    assert (aftersale.adjustments_of(books, "v"), left(books)) == ([], 700)


def test_a_silent_provider_gives_back_once(books: sa.Engine) -> None:
    provider = FakeProvider(["ok", "ok", "late", "timeout"])
    settler = shop(books, provider=provider)
    for _ in range(2):
        with pytest.raises(BillingUnavailable):
            give_back(books, settler, 1)
    assert settler.sweep() == 0, "the pause is not over"
    assert settler.sweep(all_at_once=True) == 1
    assert [payment.amount.minor for payment in get_receipt(books, "v").payments] == [300, -100]
    assert audit.check_books(books).problems == ()


def dispute(direction: Direction, key: str = "d1") -> Dispute:
    """Somebody contests ann's visit."""
    return Dispute(key, "v", direction, DisputeStatus.OPEN, "two, not three", "ann", NOW, None)


@pytest.mark.parametrize(
    ("direction", "change", "rest"),
    [(Direction.OVERCHARGED, Change("w", -1), 800), (Direction.UNDERCHARGED, Change("j", 1), 450)],
)
def test_an_accepted_dispute_moves_the_difference_once(
    books: sa.Engine, direction: Direction, change: Change, rest: int
) -> None:
    settler = shop(books)
    for _ in range(2):
        aftersale.open_dispute(books, dispute(direction))
    for _ in range(2):
        found = aftersale.resolve_dispute(books, "d1", [change], "clip 7", "staff:kim", "wallet", NOW)
        settler.finish("v")
    assert (found.status, left(books)) == (DisputeStatus.ACCEPTED, rest)
    with pytest.raises(IllegalMove, match="accepted before"):
        aftersale.resolve_dispute(books, "d1", None, "no", "staff:kim", "wallet", NOW)


def test_a_rejected_dispute_moves_nothing(books: sa.Engine) -> None:
    shop(books)
    with pytest.raises(NotFoundError):
        aftersale.resolve_dispute(books, "d1", None, "no", "staff:kim", "wallet", NOW)
    aftersale.open_dispute(books, dispute(Direction.OVERCHARGED))
    with pytest.raises(BadRequest, match="the dispute says overcharged"):
        aftersale.resolve_dispute(books, "d1", [Change("j", 1)], "no", "staff:kim", "wallet", NOW)
    found = aftersale.resolve_dispute(books, "d1", None, "clip shows three", "staff:kim", "wallet", NOW)
    assert (found.status, found.adjustment_id, left(books)) == (DisputeStatus.REJECTED, None, 700)


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("UPDATE refunds SET amount_minor = 1", "keeps its amount"),
        ("UPDATE refunds SET status = 'created'", "illegal move|only with its status event"),
        ("DELETE FROM refunds", "never deleted"),
        ("UPDATE adjustments SET amount_minor = 0", "never changed"),
        ("DELETE FROM adjustment_lines", "never changed"),
        (
            "INSERT INTO refunds (refund_id, adjustment_id, charge_id, amount_minor, currency, status, reference)"
            " SELECT 'x', 'a1', charge_id, 201, 'USD', 'created', '' FROM charges",
            "more would be refunded",
        ),
        (
            "INSERT INTO charges (charge_id, visit_id, cause, amount_minor, currency, status, provider, reference)"
            " VALUES ('n', 'v', 'nothing', 5, 'USD', 'created', 'wallet', '')",
            "needs its adjustment",
        ),
    ],
)
def test_raw_sql_cannot_give_back_more_or_charge_without_a_cause(
    books: sa.Engine, statement: str, complaint: str
) -> None:
    settler = shop(books)
    give_back(books, settler, 1)
    if "'a1'" in statement:
        statement = statement.replace("'a1'", "'r1'")
    with pytest.raises(sa.exc.IntegrityError, match=complaint), writing(books) as connection:
        connection.exec_driver_sql(statement)
    assert left(books) == 800
