"""A closed visit reaches its final money state once, whatever the provider and the order of things."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from walkout.billing import audit, ledger, triggers
from walkout.billing.catalog import upsert_prices
from walkout.billing.database import reading, writing
from walkout.billing.provider import FakeProvider, PaymentProvider
from walkout.billing.records import CHARGE_MOVES, ChargeStatus, PricedProduct, VisitStatus, check_move
from walkout.billing.settle import Settler
from walkout.billing.visits import append_events, get_receipt, get_visit, open_visit
from walkout.billing.wallet import WalletProvider
from walkout.domain.clock import ManualClock
from walkout.domain.money import Money
from walkout.domain.shopping import BasketEvent, BasketEventKind, VisitClosed
from walkout.errors import (
    BillingUnavailable,
    ConflictError,
    EventsMissing,
    IllegalMove,
    NotFoundError,
)

CLOCK = ManualClock(7)


def event(number: int, quantity: int = 1, barcode: str = "071142008582", visit: str = "v") -> BasketEvent:
    """Basket event ``number`` of a visit."""
    kind = BasketEventKind.PICK if quantity > 0 else BasketEventKind.PUT_BACK
    return BasketEvent(f"{visit}-e{number}", visit, number, kind, barcode, quantity, 0.9, f"w{number}")


def shop(books: sa.Engine, events: Sequence[BasketEvent], visit: str = "v", wallet_minor: int = 1000) -> None:
    """A store that sells water at 1.00 and knows a product without a price; ann visits it."""
    products = [
        PricedProduct("071142008582", "ARRWHD SPRNG WTR", Money(100, "USD")),
        PricedProduct("0", "NAMELESS", None),
    ]
    upsert_prices(books, "shop", "USD", products)
    if wallet_minor:
        ledger.top_up(books, "t1", "ann", Money(wallet_minor, "USD"), 1)
    open_visit(books, visit, "shop", "ann", "USD", 1, 1)
    append_events(books, events)


def settler(books: sa.Engine, provider: PaymentProvider | None = None) -> Settler:
    """A settler over prepaid wallets unless told otherwise."""
    return Settler(books, provider or WalletProvider(books, CLOCK), CLOCK)


def closed(events: int, *review: str, visit: str = "v") -> VisitClosed:
    """The end of a visit with that many basket events."""
    return VisitClosed(visit, 99, events, 0.98, review)


def wallet_of(books: sa.Engine) -> int:
    """What ann has left, in cents."""
    with reading(books) as connection:
        return ledger.balance(connection, "ann", "USD").minor


def charge_story(books: sa.Engine) -> list[tuple[str, str, str]]:
    """Every move of every charge: old, new, reason."""
    query = sa.text("SELECT old_status, new_status, reason FROM status_events WHERE subject = 'charge' ORDER BY number")
    with reading(books) as connection:
        return [(row[0], row[1], row[2]) for row in connection.execute(query)]


def run_sql(books: sa.Engine, *statements: str) -> None:
    """Raw statements in one transaction."""
    with writing(books) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_a_sure_basket_is_charged_exactly_once(books: sa.Engine) -> None:
    shop(books, [event(1, 2), event(2), event(3, -1)])
    for _ in range(3):
        assert settler(books).close(closed(3)).status is VisitStatus.CAPTURED
    receipt = get_receipt(books, "v")
    assert (receipt.total, receipt.lines[0].quantity, wallet_of(books)) == (Money(200, "USD"), 2, 800)
    report = audit.check_books(books)
    assert (report.balanced, report.charges, report.captured) == (True, {"captured": 1}, {"USD": 200})
    assert [story[:2] for story in charge_story(books)] == [
        ("", "created"),
        ("created", "authorized"),
        ("authorized", "captured"),
    ]


def test_an_empty_basket_is_released_and_nothing_is_charged(books: sa.Engine) -> None:
    shop(books, [event(1), event(2, -1)])
    assert settler(books).close(closed(2)).status is VisitStatus.RELEASED
    assert (get_receipt(books, "v").lines, wallet_of(books)) == ((), 1000)
    assert audit.check_books(books).charges == {}


def test_doubt_goes_to_review_with_the_best_guess_and_moves_no_money(books: sa.Engine) -> None:
    shop(books, [event(1)])
    visit = settler(books).close(closed(1, "two shoppers reached at once"))
    assert (visit.status, visit.review) == (VisitStatus.REVIEW, ("two shoppers reached at once",))
    receipt = get_receipt(books, "v")
    assert (receipt.total, len(receipt.lines), wallet_of(books)) == (Money(100, "USD"), 1, 1000)
    assert audit.check_books(books).balanced


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (event(2, barcode="999"), "999: unknown product"),
        (event(2, barcode="0"), "0: NAMELESS has no price"),
        (event(2, quantity=-3), "071142008582: put back more often than it was taken"),
    ],
)
def test_what_cannot_be_priced_goes_to_review(books: sa.Engine, extra: BasketEvent, reason: str) -> None:
    shop(books, [event(1), extra])
    visit = settler(books).close(closed(2))
    assert (visit.status, visit.review, wallet_of(books)) == (VisitStatus.REVIEW, (reason,), 1000)


def test_more_events_than_announced_go_to_review(books: sa.Engine) -> None:
    shop(books, [event(1), event(2)])
    visit = settler(books).close(closed(1))
    assert visit.review == ("2 basket events arrived, 1 were announced",)


def test_a_wallet_that_is_too_small_is_left_alone_and_a_person_decides(books: sa.Engine) -> None:
    shop(books, [event(1, 11)])
    for _ in range(2):
        visit = settler(books).close(closed(1))
    assert visit.status is VisitStatus.REVIEW
    assert visit.review == ("payment declined: the wallet holds 10.00 USD, the total is 11.00 USD",)
    assert wallet_of(books) == 1000
    report = audit.check_books(books)
    assert (report.balanced, report.charges) == (True, {"declined": 1})


def test_two_visits_share_one_wallet_and_the_second_does_not_overdraw_it(books: sa.Engine) -> None:
    shop(books, [event(1, 7)])
    open_visit(books, "u", "shop", "ann", "USD", 1, 1)
    append_events(books, [event(1, 7, visit="u")])
    both = settler(books)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(both.close, [closed(1), closed(1, visit="u")]))
    assert sorted(visit.status for visit in found) == [VisitStatus.CAPTURED, VisitStatus.REVIEW]
    assert wallet_of(books) == 300
    assert audit.check_books(books).balanced


def test_a_visit_waits_for_its_missing_basket_events(books: sa.Engine) -> None:
    shop(books, [event(2)])
    with pytest.raises(EventsMissing, match="1 of 2"):
        settler(books).close(closed(2))
    append_events(books, [event(2), event(1)])
    assert settler(books).close(closed(2)).status is VisitStatus.CAPTURED


def test_a_closed_visit_takes_no_new_events_but_knows_the_old_ones(books: sa.Engine) -> None:
    shop(books, [event(1)])
    settler(books).close(closed(1))
    assert append_events(books, [event(1)]) == 0
    with pytest.raises(IllegalMove, match="is captured"):
        append_events(books, [event(2)])


@pytest.mark.parametrize(
    "other",
    [
        VisitClosed("v", 99, 1, 0.5),
        VisitClosed("v", 98, 1, 0.98),
        VisitClosed("v", 99, 1, 0.98, ("doubt",)),
        VisitClosed("v", 99, 0, 0.98),
    ],
)
def test_closing_again_with_other_contents_is_a_conflict(books: sa.Engine, other: VisitClosed) -> None:
    shop(books, [event(1)])
    settler(books).close(closed(1))
    with pytest.raises(ConflictError):
        settler(books).close(other)
    assert settler(books).close(VisitClosed("v", 99, 1, 0.98 + 1e-15)).status is VisitStatus.CAPTURED


def test_unknown_visits_are_said_to_be_unknown(books: sa.Engine) -> None:
    for ask in (
        lambda: settler(books).close(closed(0)),
        lambda: append_events(books, [event(1)]),
        lambda: get_visit(books, "v"),
        lambda: get_receipt(books, "v"),
    ):
        with pytest.raises(NotFoundError):
            ask()


def test_there_is_no_receipt_before_the_visit_is_settled(books: sa.Engine) -> None:
    shop(books, [event(1)])
    with pytest.raises(NotFoundError, match="is open"):
        get_receipt(books, "v")


@pytest.mark.parametrize("plan", [["timeout"], ["late"], ["ok", "timeout"], ["ok", "late"], ["late", "late"]])
def test_a_silent_provider_is_asked_again_and_takes_once(books: sa.Engine, plan: list[str]) -> None:
    shop(books, [event(1, 3)])
    provider = FakeProvider(plan)
    settling = settler(books, provider)
    for _ in range(plan.count("timeout") + plan.count("late")):
        with pytest.raises(BillingUnavailable):
            settling.close(closed(1))
        assert get_visit(books, "v").status is VisitStatus.CLOSING
    assert settling.close(closed(1)).status is VisitStatus.CAPTURED
    assert (provider.taken_minor, list(provider.states.values())) == (300, ["taken"])
    assert audit.check_books(books).balanced


def test_resuming_finishes_what_was_left_and_then_finds_nothing(books: sa.Engine) -> None:
    shop(books, [event(1, 3)])
    provider = FakeProvider(["ok", "timeout", "timeout"])
    with pytest.raises(BillingUnavailable):
        settler(books, provider).close(closed(1))
    assert audit.check_books(books).unfinished == 1
    assert [settler(books, provider).sweep(all_at_once=True) for _ in range(3)] == [0, 1, 0]
    assert (get_visit(books, "v").status, provider.taken_minor) == (VisitStatus.CAPTURED, 300)


def test_a_hold_that_can_no_longer_be_taken_is_dropped(books: sa.Engine) -> None:
    shop(books, [event(1)])
    provider = FakeProvider(["ok", "decline"])
    visit = settler(books, provider).close(closed(1))
    assert (visit.status, list(provider.states.values())) == (VisitStatus.REVIEW, ["dropped"])
    assert audit.check_books(books).charges == {"voided": 1}


def test_a_charge_is_never_finished_by_another_provider(books: sa.Engine) -> None:
    shop(books, [event(1)])
    with pytest.raises(BillingUnavailable):
        settler(books, FakeProvider(["ok", "timeout"])).close(closed(1))
    with pytest.raises(IllegalMove, match="began with provider 'fake'"):
        settler(books).close(closed(1))
    assert settler(books).sweep(all_at_once=True) == 0
    assert wallet_of(books) == 1000


def test_eight_tills_closing_one_visit_charge_it_once(books: sa.Engine) -> None:
    shop(books, [event(1, 2)])
    provider = FakeProvider()
    settling = settler(books, provider)
    start = threading.Barrier(8)

    def close(_: int) -> VisitStatus:
        start.wait()
        return settling.close(closed(1)).status

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(close, range(8))) == {VisitStatus.CAPTURED}
    assert provider.taken_minor == 200
    assert len(charge_story(books)) == 3


def test_a_later_price_does_not_change_a_receipt(books: sa.Engine) -> None:
    shop(books, [event(1)])
    settler(books).close(closed(1))
    upsert_prices(books, "shop", "USD", [PricedProduct("071142008582", "WATER", Money(900, "USD"))])
    line = get_receipt(books, "v").lines[0]
    assert (line.name, line.total) == ("ARRWHD SPRNG WTR", Money(100, "USD"))


def test_a_store_keeps_its_books_in_one_currency(books: sa.Engine) -> None:
    shop(books, [])
    with pytest.raises(ConflictError, match="not in KRW"):
        open_visit(books, "w", "shop", "ann", "KRW", 1, 1)
    with pytest.raises(ConflictError, match="priced in KRW"):
        upsert_prices(books, "shop", "USD", [PricedProduct("1", "x", Money(5, "KRW"))])
    raw = "INSERT INTO visits (visit_id, store, account_id, currency, entered_ns, status) VALUES"
    with pytest.raises(sa.exc.IntegrityError):
        run_sql(books, f"{raw} ('w', 'shop', 'ann', 'KRW', 1, 'open')")


def test_the_same_visit_or_event_with_other_contents_is_a_conflict(books: sa.Engine) -> None:
    shop(books, [event(1)])
    open_visit(books, "v", "shop", "ann", "USD", 1, 2)
    with pytest.raises(ConflictError):
        open_visit(books, "v", "shop", "bob", "USD", 1, 2)
    with pytest.raises(ConflictError):
        append_events(books, [event(2), event(1, 5)])
    assert get_visit(books, "v").basket_events == 1, "the whole batch is refused"


def test_only_the_moves_of_the_table_are_legal() -> None:
    legal = {(old, new) for old, news in CHARGE_MOVES.items() for new in news}
    for old in ChargeStatus:
        for new in ChargeStatus:
            if (old, new) in legal:
                check_move(old, new)
            else:
                with pytest.raises(IllegalMove):
                    check_move(old, new)
    with pytest.raises(IllegalMove):
        check_move(VisitStatus.CAPTURED, VisitStatus.OPEN)


_TOLD = (
    "INSERT INTO status_events (subject, subject_id, old_status, new_status, at_ns, actor, reason) SELECT 'charge',"
    " charge_id, status, 'created', 1, 'test', '' FROM charges"
)

_LINE = "INSERT INTO receipt_lines (visit_id, barcode, name, quantity) VALUES ('v', '5', 'x', 1)"
_EVENT = (
    "INSERT INTO basket_events (event_id, visit_id, t_ns, kind, barcode, quantity, probability, weight_event_id)"
    " VALUES ('n', 'v', 1, 'pick', '5', 1, 1.0, '')"
)
_CHARGE = (
    "INSERT INTO charges (charge_id, visit_id, cause, amount_minor, currency, status, provider, reference)"
    " VALUES ('n', 'v', 'visit', 5, 'USD',"
)


@pytest.mark.parametrize(
    ("statements", "complaint"),
    [
        ([_TOLD, "UPDATE charges SET status = 'created'"], "illegal move"),
        (["UPDATE visits SET status = 'open'"], "illegal move|only with its status event"),
        (["UPDATE charges SET amount_minor = 1"], "keeps its amount"),
        (["UPDATE visits SET total_minor = 1"], "keeps its total"),
        (["DELETE FROM charges"], "never deleted"),
        (["DELETE FROM visits"], "never deleted"),
        (["DELETE FROM status_events"], "never changed"),
        (["UPDATE receipt_lines SET quantity = 9"], "never changed"),
        (["UPDATE basket_events SET quantity = 9"], "never changed"),
        (
            [_LINE],
            "the visit is closed",
        ),
        (
            [_EVENT],
            "the visit is closed",
        ),
        ([f"{_CHARGE} 'captured', 'wallet', '')"], "born created"),
        ([f"{_CHARGE} 'created', 'wallet', '')"], "(?i)unique"),
    ],
)
def test_raw_sql_cannot_change_what_was_settled(books: sa.Engine, statements: list[str], complaint: str) -> None:
    shop(books, [event(1)])
    settler(books).close(closed(1))
    with pytest.raises(sa.exc.IntegrityError, match=complaint):
        run_sql(books, *statements)
    assert audit.check_books(books).balanced


def test_a_status_moves_only_together_with_its_event(books: sa.Engine) -> None:
    shop(books, [event(1)])
    with pytest.raises(BillingUnavailable):
        settler(books, FakeProvider(["timeout"])).close(closed(1))
    with pytest.raises(sa.exc.IntegrityError, match="only with its status event"):
        run_sql(books, "UPDATE charges SET status = 'authorized'")


def test_a_charge_is_captured_only_together_with_its_sale_and_before_its_visit(books: sa.Engine) -> None:
    shop(books, [event(1)])
    with pytest.raises(BillingUnavailable):
        settler(books, FakeProvider(["ok", "timeout"])).close(closed(1))
    charge_told = _TOLD.replace("'created'", "'captured'")
    visit_told = (
        charge_told.replace("'charge'", "'visit'").replace("charge_id", "visit_id").replace("charges", "visits")
    )
    for told, statement, complaint in (
        (charge_told, "UPDATE charges SET status = 'captured'", "needs its sale"),
        (visit_told, "UPDATE visits SET status = 'captured'", "needs its charge"),
    ):
        with pytest.raises(sa.exc.IntegrityError, match=complaint):
            run_sql(books, told, statement)


def test_the_check_finds_a_sale_that_is_missing_and_a_hold_that_nobody_owns(books: sa.Engine) -> None:
    shop(books, [event(1)])
    settler(books, FakeProvider()).close(closed(1))
    with writing(books) as connection:
        triggers.drop(connection)
        connection.exec_driver_sql("DELETE FROM postings WHERE kind IN ('sales', 'clearing')")
        held = ledger.transfer(ledger.Account("wallet", "ann"), ledger.Account("hold", "ann"), Money(5, "USD"))
        ledger.post(connection, "x", "hold", held, 1)
    problems = "\n".join(audit.check_books(books).problems)
    assert "its sale says None" in problems
    assert "5 USD of ann are on hold" in problems
