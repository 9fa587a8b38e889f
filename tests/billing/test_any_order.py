"""Whatever is said twice, late, in another order or across restarts: each visit ends as its events say, once."""

from collections.abc import Callable
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from walkout.billing import audit, ledger
from walkout.billing.catalog import upsert_prices
from walkout.billing.database import open_books, reading
from walkout.billing.provider import PaymentProvider
from walkout.billing.records import Charge, PricedProduct, VisitStatus
from walkout.billing.settle import Settler
from walkout.billing.visits import append_events, get_receipt, get_visit, open_visit
from walkout.billing.wallet import WalletProvider
from walkout.domain.clock import ManualClock
from walkout.domain.money import Money
from walkout.domain.shopping import BasketEvent, BasketEventKind, VisitClosed
from walkout.errors import BillingUnavailable, EventsMissing, NotFoundError

#: Enough for u (3.50) or for v (12.50), not for both; w takes something nobody knows.
FUNDED = Money(1500, "USD")
PRICES = {"A": 100, "B": 250, "C": 0}
STORY = {
    "u": [("A", 1), ("A", 1), ("B", 1), ("A", -1), ("C", 1)],
    "v": [("B", 2), ("B", 1), ("B", 2)],
    "w": [("A", 1), ("X", 1)],
}
TOTALS = {"u": Money(350, "USD"), "v": Money(1250, "USD"), "w": Money(100, "USD")}
EVENTS = [
    BasketEvent(
        f"{visit}{n}", visit, n, BasketEventKind.PICK if count > 0 else BasketEventKind.PUT_BACK, code, count, 0.9
    )
    for visit, story in STORY.items()
    for n, (code, count) in enumerate(story)
]
CLOSED = {visit: VisitClosed(visit, 100, len(story), 0.9) for visit, story in STORY.items()}

Answer = TypeVar("Answer")


class LossyLine:
    """Wallets behind a line that loses the next question or the next answer when there is trouble."""

    name = "wallet"

    def __init__(self, inner: PaymentProvider, trouble: list[str]) -> None:
        self._inner = inner
        self._trouble = trouble

    def authorize(self, charge: Charge) -> str:
        return self._ask(self._inner.authorize, charge)

    def capture(self, charge: Charge) -> None:
        self._ask(self._inner.capture, charge)

    def void(self, charge: Charge) -> None:
        self._ask(self._inner.void, charge)

    def _ask(self, step: Callable[[Charge], Answer], charge: Charge) -> Answer:
        trouble = self._trouble.pop(0) if self._trouble else "none"
        if trouble == "question lost":
            raise BillingUnavailable(trouble)
        answer = step(charge)
        if trouble == "answer lost":
            raise BillingUnavailable(trouble)
        return answer


class Billing(RuleBasedStateMachine):
    """Three visits of one shopper, told in any order, any number of times."""

    def __init__(self, database_url: str) -> None:
        super().__init__()
        self.database_url = database_url

    @initialize()
    def begin(self) -> None:
        self.trouble: list[str] = []
        self.opened: set[str] = set()
        self.sent: set[str] = set()
        self.final: dict[str, VisitStatus] = {}
        self.start()
        products = [PricedProduct(code, code, Money(minor, "USD")) for code, minor in PRICES.items()]
        upsert_prices(self.books, "shop", "USD", products)
        ledger.top_up(self.books, "t", "ann", FUNDED, 1)

    def start(self) -> None:
        clock = ManualClock(1)
        self.books = open_books(self.database_url)
        self.settler = Settler(self.books, LossyLine(WalletProvider(self.books, clock), self.trouble), clock)
        self.settler.sweep(all_at_once=True)

    @rule()
    def restart(self) -> None:
        self.books.dispose()
        self.start()

    @rule(word=st.sampled_from(["none", "question lost", "answer lost"]))
    def have_trouble(self, word: str) -> None:
        self.trouble.append(word)

    @rule()
    def top_up_again(self) -> None:
        ledger.top_up(self.books, "t", "ann", FUNDED, 1)

    @rule(visit=st.sampled_from(sorted(STORY)))
    def enter(self, visit: str) -> None:
        open_visit(self.books, visit, "shop", "ann", "USD", 1, 1)
        self.opened.add(visit)

    @rule(events=st.lists(st.sampled_from(EVENTS), max_size=12))
    def append(self, events: list[BasketEvent]) -> None:
        if any(event.visit_id not in self.opened for event in events):
            with pytest.raises(NotFoundError):
                append_events(self.books, events)
            return
        ids = {event.event_id for event in events}
        assert append_events(self.books, events) == len(ids - self.sent)
        self.sent |= ids

    @rule(visit=st.sampled_from(sorted(STORY)))
    def close(self, visit: str) -> None:
        wanted = {event.event_id for event in EVENTS if event.visit_id == visit}
        if visit not in self.opened:
            with pytest.raises(NotFoundError):
                self.settler.close(CLOSED[visit])
        elif wanted - self.sent:
            with pytest.raises(EventsMissing):
                self.settler.close(CLOSED[visit])
        else:
            self.close_whole(visit)

    def close_whole(self, visit: str) -> None:
        troubled = bool(self.trouble)
        try:
            status = self.settler.close(CLOSED[visit]).status
        except BillingUnavailable:
            assert troubled
            assert get_visit(self.books, visit).status is VisitStatus.CLOSING
        else:
            assert self.final.setdefault(visit, status) is status, "a final state changed"

    @invariant()
    def no_money_appears_or_disappears(self) -> None:
        report = audit.check_books(self.books)
        assert report.problems == ()
        with reading(self.books) as connection:
            left = ledger.balance(connection, "ann", "USD")
            query = "SELECT coalesce(-sum(amount_minor), 0) FROM postings WHERE kind IN ('hold', 'clearing', 'sales')"
            elsewhere = connection.exec_driver_sql(query).scalar_one()
        assert left.minor + elsewhere == FUNDED.minor

    def teardown(self) -> None:
        """In the end everything is said once more without trouble: one visit is paid, the others are in review."""
        if not hasattr(self, "books"):
            return
        self.trouble.clear()
        for visit in STORY:
            self.enter(visit)
        self.append(EVENTS)
        for visit in STORY:
            self.close_whole(visit)
        paid = [visit for visit in STORY if self.final[visit] is VisitStatus.CAPTURED]
        assert paid in (["u"], ["v"])
        assert self.final["w"] is VisitStatus.REVIEW
        assert {visit: get_receipt(self.books, visit).total for visit in STORY} == TOTALS
        assert audit.check_books(self.books).captured == {"USD": TOTALS[paid[0]].minor}
        self.books.dispose()


# Each step syncs a database to disk: few examples, long enough to close, lose answers and restart in between.
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_visits_end_as_their_events_say_in_any_order(kind: str, new_database: Callable[[str], str]) -> None:
    run_state_machine_as_test(
        lambda: Billing(new_database(kind)), settings=settings(max_examples=15, stateful_step_count=30, deadline=None)
    )
