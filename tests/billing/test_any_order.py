"""Whatever is said twice, late, in another order or across restarts: each visit ends as its events say, once."""

import contextlib
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from walkout.billing import aftersale, audit, ledger
from walkout.billing.aftersale import Change, Dispute, Request
from walkout.billing.catalog import upsert_prices
from walkout.billing.database import open_books, reading
from walkout.billing.records import AdjustmentKind, Charge, Direction, DisputeStatus, PricedProduct, VisitStatus
from walkout.billing.settle import Settler
from walkout.billing.visits import append_events, get_receipt, get_visit, open_visit
from walkout.billing.wallet import WalletProvider
from walkout.domain.clock import ManualClock
from walkout.domain.money import Money
from walkout.domain.shopping import BasketEvent, BasketEventKind, VisitClosed
from walkout.errors import BadRequest, BillingUnavailable, EventsMissing, IllegalMove, NotFoundError

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
CLOCK = ManualClock(1)
CLOSED = {visit: VisitClosed(visit, 100, len(story), 0.9) for visit, story in STORY.items()}

WHY = {AdjustmentKind.CORRECTION: "", AdjustmentKind.REFUND: "returned"}
ADJUSTMENTS = [
    Request(
        f"{kind}-{visit}-{n}", visit, kind, changes, "returned" if kind is AdjustmentKind.REFUND else "", "why", "kim"
    )
    for visit in STORY
    for kind, options in {
        AdjustmentKind.CORRECTION: [(Change("A", 1),), (Change("B", -1),), (Change("X", -1), Change("A", 1, 40))],
        AdjustmentKind.REFUND: [(Change("A", -1),), (Change("B", -1),)],
    }.items()
    for n, changes in enumerate(options)
]


class LossyLine(WalletProvider):
    """Wallets behind a line that loses the next question or the next answer when there is trouble."""

    def __init__(self, books: sa.Engine, trouble: list[str]) -> None:
        super().__init__(books, CLOCK)
        self._trouble = trouble

    def authorize(self, charge: Charge) -> str:
        return self._ask(lambda: super(LossyLine, self).authorize(charge))

    def capture(self, charge: Charge) -> str:
        return self._ask(lambda: super(LossyLine, self).capture(charge))

    def refund(self, charge: Charge, refund_id: str, amount: Money) -> str:
        return self._ask(lambda: super(LossyLine, self).refund(charge, refund_id, amount))

    def _ask(self, step: Callable[[], str]) -> str:
        trouble = self._trouble.pop(0) if self._trouble else "none"
        if trouble == "question lost":
            raise BillingUnavailable(trouble)
        answer = step()
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
        self.asked: set[Request] = set()
        self.contested: set[str] = set()
        self.start()
        products = [PricedProduct(code, code, Money(minor, "USD")) for code, minor in PRICES.items()]
        upsert_prices(self.books, "shop", "USD", products)
        ledger.top_up(self.books, "t", "ann", FUNDED, 1)

    def start(self) -> None:
        self.books = open_books(self.database_url)
        self.settler = Settler(self.books, LossyLine(self.books, self.trouble), CLOCK)
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
            before = self.final.get(visit, status)
            if before in (VisitStatus.CAPTURED, VisitStatus.RELEASED):
                assert status is before, "a final state changed"
            self.final[visit] = status

    @rule(request=st.sampled_from(ADJUSTMENTS))
    def adjust(self, request: Request) -> None:
        """Staff corrects, goods come back: refused or written once, and the money follows in the end."""
        change = aftersale.refund if request.kind is AdjustmentKind.REFUND else aftersale.adjust
        try:
            made = change(self.books, request, "wallet", 1)
        except (NotFoundError, IllegalMove, BadRequest):
            assert request not in self.asked, "what was taken once is known for ever"
            return
        assert made.adjustment_id == request.request_id
        self.asked.add(request)
        self.move_money(request.visit_id)

    @rule(visit=st.sampled_from(sorted(STORY)), direction=st.sampled_from(Direction))
    def contest(self, visit: str, direction: Direction) -> None:
        dispute = Dispute(f"{direction}-{visit}", visit, direction, DisputeStatus.OPEN, "not mine", "ann", 1)
        try:
            aftersale.open_dispute(self.books, dispute)
        except (NotFoundError, IllegalMove):
            return
        self.contested.add(dispute.dispute_id)

    @rule(data=st.data(), accepted=st.booleans())
    def decide(self, data: st.DataObject, accepted: bool) -> None:
        if not self.contested:
            return
        dispute_id = data.draw(st.sampled_from(sorted(self.contested)))
        changes = [Change("A", -1 if dispute_id.startswith("over") else 1)] if accepted else None
        try:
            found = aftersale.resolve_dispute(self.books, dispute_id, changes, "clip", "kim", "wallet", 1)
        except (IllegalMove, BadRequest):
            return
        assert found.status is (DisputeStatus.ACCEPTED if accepted else DisputeStatus.REJECTED)
        self.move_money(found.visit_id)

    @rule()
    def sweep(self) -> None:
        self.settler.sweep(all_at_once=True)

    def move_money(self, visit: str) -> None:
        with contextlib.suppress(BillingUnavailable):
            self.settler.finish(visit)

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
        """In the end everything is said once more without trouble: receipts and money agree, to the cent."""
        if not hasattr(self, "books"):
            return
        self.trouble.clear()
        for visit in STORY:
            self.enter(visit)
        self.append(EVENTS)
        for visit in STORY:
            self.close_whole(visit)
        self.settler.sweep(all_at_once=True)
        report = audit.check_books(self.books)
        assert (report.problems, report.unfinished) == ((), 0)
        for visit in STORY:
            receipt = get_receipt(self.books, visit)
            priced = sum(line.total.minor for line in receipt.lines if line.total is not None)
            assert priced == TOTALS[visit].minor, "no event is lost"
            changed = sum(one.amount.minor for one in aftersale.adjustments_of(self.books, visit))
            assert receipt.total.minor == priced + changed
            self.check_payments(visit)
        self.books.dispose()

    def check_payments(self, visit: str) -> None:
        """Captured minus refunded is what the receipt says, but for what was declined and is owed."""
        receipt = get_receipt(self.books, visit)
        paid = sum(payment.amount.minor for payment in receipt.payments)
        if receipt.visit.status is VisitStatus.REVIEW:
            assert paid == 0
            return
        with reading(self.books) as connection:
            owed = connection.exec_driver_sql(
                "SELECT coalesce(sum(c.amount_minor), 0) FROM charges c JOIN adjustments a ON a.adjustment_id = c.cause"
                f" WHERE c.visit_id = '{visit}' AND c.status <> 'captured' AND NOT a.before_capture"
            ).scalar_one()
        assert paid == receipt.total.minor - owed


# Each step syncs a database to disk: few examples, long enough to close, lose answers and restart in between.
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_visits_end_as_their_events_say_in_any_order(kind: str, new_database: Callable[[str], str]) -> None:
    run_state_machine_as_test(
        lambda: Billing(new_database(kind)), settings=settings(max_examples=15, stateful_step_count=30, deadline=None)
    )
