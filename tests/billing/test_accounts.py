"""Members, coupons, points and debts: each thing is used once, whoever closes at the same time."""

import threading
from collections.abc import Sequence
from fractions import Fraction

import pytest
import sqlalchemy as sa

from walkout.billing import ledger
from walkout.billing.accounts import (
    EntryPolicy,
    PaymentMethod,
    account_terms,
    entry_refusal,
    issue_coupon,
    join,
    method_of,
    points_of,
    save_method,
)
from walkout.billing.audit import check_books
from walkout.billing.catalog import set_terms, upsert_prices
from walkout.billing.fake_provider import FakeProvider
from walkout.billing.promotions import Coupon
from walkout.billing.records import PricedProduct, VisitStatus
from walkout.billing.schema import metadata
from walkout.billing.settle import Settler
from walkout.billing.split_provider import SplitProvider
from walkout.billing.visits import append_events, get_receipt, get_visit, open_visit
from walkout.domain.clock import ManualClock
from walkout.domain.money import Money
from walkout.domain.selling import PointsRule, Seller, StoreTerms, TaxClass
from walkout.domain.shopping import BasketEvent, BasketEventKind, VisitClosed
from walkout.errors import BadRequest, BillingUnavailable, ConflictError, PaymentDeclined

CLOCK = ManualClock(50)
TERMS = StoreTerms(Seller("shop", "KR"), (TaxClass("VAT", Fraction(1, 10)),), points=PointsRule(Fraction(1, 100)))


def won(minor: int) -> Money:
    """Korean won."""
    return Money(minor, "KRW")


def shop(books: sa.Engine, *visits: str) -> None:
    """A store that sells water at 1,000 won (members: 900); ann takes three bottles on each visit."""
    upsert_prices(books, "shop", "KRW", [PricedProduct("1", "water", won(1000), won(900))])
    set_terms(books, "shop", "KRW", TERMS)
    for visit in visits:
        open_visit(books, visit, "shop", "ann", "KRW", 1, 1)
        append_events(books, [BasketEvent(f"{visit}-e", visit, 1, BasketEventKind.PICK, "1", 3, 0.9, "w")])


def settler(books: sa.Engine, plan: Sequence[str] = ()) -> Settler:
    """Charges at a fake provider."""
    return Settler(books, FakeProvider(plan, CLOCK), CLOCK)


def closed(visit: str) -> VisitClosed:
    """The end of a visit with its one basket event."""
    return VisitClosed(visit, 99, 1, 0.98)


def total_of(books: sa.Engine, visit: str) -> Money:
    """What its receipt says."""
    return get_receipt(books, visit).total


def points(books: sa.Engine) -> int:
    """What ann has."""
    with books.connect() as connection:
        return points_of(connection, "ann")


def test_a_member_pays_less_and_earns_points_once(books: sa.Engine) -> None:
    shop(books, "v")
    join(books, "ann", 1)
    join(books, "ann", 2)
    pays = settler(books)
    for _ in range(2):
        assert pays.close(closed("v")).status is VisitStatus.CAPTURED
    receipt = get_receipt(books, "v")
    assert (receipt.total, points(books)) == (won(2700), 27)
    assert [(reason.code, reason.amount) for reason in receipt.lines[0].reasons] == [("member", won(-300))]
    assert receipt.lines[0].tax is not None
    assert receipt.lines[0].tax.amount == won(245)
    assert receipt.terms == TERMS
    assert check_books(books).problems == ()


def test_who_is_no_member_earns_nothing(books: sa.Engine) -> None:
    shop(books, "v")
    settler(books).close(closed("v"))
    assert (total_of(books, "v"), points(books)) == (won(3000), 0)


def test_a_declined_visit_earned_nothing(books: sa.Engine) -> None:
    shop(books, "v")
    join(books, "ann", 1)
    assert settler(books, ["decline"]).close(closed("v")).status is VisitStatus.REVIEW
    assert points(books) == 0


def test_a_coupon_is_redeemed_by_one_visit(books: sa.Engine) -> None:
    shop(books, "v", "w")
    issue_coupon(books, "ann", Coupon("c", "500 off", 10**6, off=won(500)), "KRW", 1)
    pays = settler(books)
    pays.close(closed("v"))
    pays.close(closed("w"))
    assert [total_of(books, visit).minor for visit in ("v", "w")] == [2500, 3000]
    assert check_books(books).problems == ()


def test_a_coupon_is_redeemed_once_by_visits_that_close_at_the_same_time(books: sa.Engine) -> None:
    names = [f"v{number}" for number in range(8)]
    shop(books, *names)
    issue_coupon(books, "ann", Coupon("c", "500 off", 10**6, off=won(500)), "KRW", 1)
    # Two services on the same books: their groups know nothing of each other.
    services = [settler(books), settler(books)]
    threads = [
        threading.Thread(target=services[number % 2].close, args=(closed(name),)) for number, name in enumerate(names)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(total_of(books, name).minor for name in names) == [2500] + [3000] * 7
    assert check_books(books).problems == ()


def test_an_expired_coupon_stays_unused(books: sa.Engine) -> None:
    shop(books, "v")
    issue_coupon(books, "ann", Coupon("c", "500 off", 99, off=won(500)), "KRW", 1)
    settler(books).close(closed("v"))
    assert total_of(books, "v") == won(3000)
    with books.begin() as connection:
        assert [one.coupon_id for one in account_terms(connection, [("ann", "KRW")])["ann", "KRW"].coupons] == ["c"]


def test_a_coupon_that_makes_the_basket_free_releases_the_visit(books: sa.Engine) -> None:
    shop(books, "v", "w")
    issue_coupon(books, "ann", Coupon("c", "all", 10**6, percent=Fraction(1)), "KRW", 1)
    pays = settler(books)
    assert pays.close(closed("v")).status is VisitStatus.RELEASED
    assert pays.close(closed("w")).status is VisitStatus.CAPTURED
    assert total_of(books, "w") == won(3000)


def test_a_coupon_is_issued_once_and_never_changed(books: sa.Engine) -> None:
    coupon = Coupon("c", "500 off", 99, off=won(500), minimum=won(1000))
    for _ in range(2):
        issue_coupon(books, "ann", coupon, "KRW", 1)
    with pytest.raises(ConflictError):
        issue_coupon(books, "bob", coupon, "KRW", 1)
    with pytest.raises(BadRequest):
        issue_coupon(books, "ann", Coupon("d", "d", 99, off=Money(500, "USD")), "KRW", 1)
    with pytest.raises(sa.exc.DBAPIError, match="never changed"), books.begin() as connection:
        connection.exec_driver_sql("UPDATE coupons SET off_minor = 9000")


def test_a_saved_method_is_the_last_one(books: sa.Engine) -> None:
    save_method(books, "stripe", "ann", PaymentMethod("cus", "pm_1", "card"), 1)
    save_method(books, "stripe", "ann", PaymentMethod("cus", "pm_2", "kakao_pay"), 2)
    assert method_of(books, "stripe", "ann") == PaymentMethod("cus", "pm_2", "kakao_pay")
    with pytest.raises(BadRequest, match="cheque"):
        save_method(books, "stripe", "ann", PaymentMethod("cus", "pm_3", "cheque"), 3)
    with pytest.raises(PaymentDeclined):
        method_of(books, "other", "ann")


def test_a_charge_that_waits_for_the_processor_is_a_debt_that_shuts_the_gate_until_it_is_paid(
    books: sa.Engine,
) -> None:
    shop(books, "v")
    pays = settler(books, ["timeout"])
    policy = EntryPolicy(won(0))
    assert entry_refusal(books, "ann", policy) == ""
    with pytest.raises(BillingUnavailable):
        pays.close(closed("v"))
    assert entry_refusal(books, "ann", policy) == "3,000 KRW are still to be paid from an earlier visit"
    assert entry_refusal(books, "ann", EntryPolicy(won(3000))) == ""
    assert entry_refusal(books, "bob", policy) == ""
    assert pays.sweep(all_at_once=True) == 1
    assert get_visit(books, "v").status is VisitStatus.CAPTURED
    assert entry_refusal(books, "ann", policy) == ""


def test_a_declined_charge_is_a_debt(books: sa.Engine) -> None:
    shop(books, "v")
    settler(books, ["broke"]).close(closed("v"))
    assert "3,000 KRW" in entry_refusal(books, "ann", EntryPolicy(won(2999)))


def test_a_prepaid_store_wants_a_filled_wallet_at_the_gate(books: sa.Engine) -> None:
    policy = EntryPolicy(won(0), won(5000))
    assert entry_refusal(books, "ann", policy) == "the wallet holds 0 KRW, 5,000 KRW are needed to enter; top it up"
    ledger.top_up(books, "t1", "ann", won(5000), 1)
    assert entry_refusal(books, "ann", policy) == ""


def balances(books: sa.Engine) -> dict[tuple[str, str], int]:
    """What each account of the ledger comes to, zeros left out."""
    table = metadata.tables["postings"]
    query = sa.select(table.c.kind, table.c.owner, sa.func.sum(table.c.amount_minor)).group_by(
        table.c.kind, table.c.owner
    )
    with books.connect() as connection:
        return {(kind, owner): int(minor) for kind, owner, minor in connection.execute(query) if minor}


@pytest.mark.parametrize("prepaid", [0, 1000, 3000, 9000])
@pytest.mark.parametrize("plan", [[], ["late"], ["late", "late"], ["timeout", "late", "timeout", "late"]])
def test_a_split_visit_takes_the_wallet_first_and_the_card_for_the_rest(
    books: sa.Engine, prepaid: int, plan: list[str]
) -> None:
    shop(books, "v")
    if prepaid:
        ledger.top_up(books, "t1", "ann", won(prepaid), 1)
    card = FakeProvider(plan, CLOCK)
    pays = Settler(books, SplitProvider(books, CLOCK, card), CLOCK)
    for _ in range(5):
        try:
            pays.close(closed("v"))
            break
        except BillingUnavailable:
            # Money that comes in between changes nothing: the split is written down.
            ledger.top_up(books, "t2", "ann", won(50), 1)
    more = 50 if any(word != "ok" for word in plan) and prepaid < 3000 else 0
    from_wallet = min(prepaid, 3000)
    assert get_visit(books, "v").status is VisitStatus.CAPTURED
    assert card.taken_minor == 3000 - from_wallet
    left = balances(books)
    assert left.pop(("sales", "shop"), 0) + sum(v for k, v in left.items() if k[0] == "tax") == -3000
    assert left.get(("clearing", "split"), 0) == 3000 - from_wallet
    assert ("clearing", "wallet") not in left
    assert left.get(("wallet", "ann"), 0) == -(prepaid - from_wallet + more)
    assert check_books(books).problems == ()


def test_a_card_that_says_no_gives_the_wallet_its_part_back(books: sa.Engine) -> None:
    shop(books, "v")
    ledger.top_up(books, "t1", "ann", won(1000), 1)
    pays = Settler(books, SplitProvider(books, CLOCK, FakeProvider(["decline"], CLOCK)), CLOCK)
    assert pays.close(closed("v")).status is VisitStatus.REVIEW
    assert balances(books) == {("funding", ""): 1000, ("wallet", "ann"): -1000}
    assert check_books(books).problems == ()
