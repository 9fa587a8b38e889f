"""The route of one piece of data, top to bottom.

::

    recording -> SensorStep -> log -> FusionStep -> log -> SettlingStep -> billing
                 grams to             who took              visits opened,
                 weight events        what                  filled, closed

Each step is an object that takes records and returns records; it reads no clock and does no I/O of its own
(settling speaks to billing by the client it is given). The worker processes (``workers``) run one step each
between two stretches of the log; ``run_in_process`` runs them all in a row. Both give the same baskets, because
fusion works in event time and billing does not care about order or repetition.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from walkout.app.billing_client import BillingClient
from walkout.app.source import Source, Survey, account_of, recording_id, survey
from walkout.billing.records import BilledVisit, BooksReport, Receipt, VisitStatus
from walkout.bus.recording import Sensed
from walkout.bus.topics import Record, event_time_ns
from walkout.domain.clock import NS_PER_S
from walkout.domain.ids import derived_id
from walkout.domain.money import Money
from walkout.domain.sensing import BodyFrame, Gap, GateEvent, GateEventKind, LoadCellBatch, Watermark, WeightEvent
from walkout.domain.shopping import Assignment, BasketEvent, Decision, Undecided, Visit, VisitClosed
from walkout.errors import EventsMissing
from walkout.fusion.engine import Engine
from walkout.shelf.steps import StepDetector
from walkout.store.catalog import Store

#: How often, in recording time, the readers are told how far they may go.
WATERMARK_EVERY_NS = NS_PER_S // 2
#: A controller that says nothing for this long is told as a gap; a lost batch or two are the shelf's to tell.
SILENCE_NS = 3 * NS_PER_S
#: The last watermark lies this far behind the end: longer than any delay that fusion waits for.
FLUSH_NS = 3600 * NS_PER_S
#: What a replayed shopper's wallet gets, in minor units: 100,000 dollars or 10 million won, more than a basket holds.
WALLET_MINOR = 10_000_000

FusionInput = BodyFrame | WeightEvent | GateEvent | Gap
FusionOutput = BasketEvent | VisitClosed | Assignment | Undecided


class SensorStep:
    """What the sensors said -> weight events, bodies, gates, gaps, and watermarks between them."""

    def __init__(self, gates: Sequence[GateEvent] = ()) -> None:
        """``gates``, in order of time, are woven in where the recording has none of its own."""
        self._detector = StepDetector()
        self._gates = list(gates)
        self._first_ns: int | None = None
        self._stream_ns = self._told_ns = -(2**63)
        self._heard: dict[str, int] = {}  # end of the newest batch per controller
        self._lost: dict[str, int] = {}  # end of the newest loss that the recording itself tells, per source

    def feed(self, record: Sensed) -> Iterator[Record]:
        """One record of the recording, in order of event time, and all that follows from it."""
        t_ns = event_time_ns(record)
        yield from self._gates_until(t_ns)
        if isinstance(record, LoadCellBatch):
            if record.source not in self._heard:
                yield from self._silence(record.source, self._first_ns, record.t0_ns)
            self._heard[record.source] = max(record.end_ns, self._heard.get(record.source, record.end_ns))
            yield from self._weigh(record)
        else:
            if isinstance(record, Gap):
                self._lost[record.source] = max(record.end_ns, self._lost.get(record.source, record.end_ns))
            yield record
        if self._first_ns is None:
            self._first_ns = self._told_ns = t_ns
        self._stream_ns = max(self._stream_ns, t_ns)
        yield from self._watermark()

    def finish(self, end_ns: int) -> Iterator[Record]:
        """The end of the recording: what is still open is closed, and a watermark beyond everything."""
        yield from self._detector.flush()
        for source, heard_ns in sorted(self._heard.items()):
            yield from self._silence(source, heard_ns, end_ns)
        if not self._heard:
            first_ns = end_ns if self._first_ns is None else self._first_ns
            yield Gap("plates", first_ns, end_ns, "the recording holds not one reading of a plate")
        yield from self._gates
        self._gates = []
        yield Watermark("edge", end_ns + FLUSH_NS)

    def _weigh(self, batch: LoadCellBatch) -> Iterator[Record]:
        for found in self._detector.feed(batch):
            # What the recording has told as lost need not be missed a second time.
            if not isinstance(found, Gap) or found.end_ns > self._lost.get(found.source, found.start_ns):
                yield found

    def _silence(self, source: str, since_ns: int | None, until_ns: int) -> Iterator[Gap]:
        """A controller that begins late or stops early, where the recording itself does not tell of it."""
        told_ns = max(self._lost.get(source, -(2**63)), since_ns if since_ns is not None else until_ns)
        if until_ns - told_ns >= SILENCE_NS:
            yield Gap(source, told_ns, until_ns, "not one reading")

    def _gates_until(self, t_ns: int) -> Iterator[GateEvent]:
        # Who leaves at t was still seen at t: entering comes before the frame of the same time, leaving after.
        while self._gates and (
            self._gates[0].t_ns < t_ns or (self._gates[0].t_ns == t_ns and self._gates[0].kind is GateEventKind.ENTERED)
        ):
            yield self._gates.pop(0)

    def _watermark(self) -> Iterator[Watermark]:
        # Records of the very same time may still follow, hence the nanosecond before.
        safe_ns = self._stream_ns - 1
        if self._heard:
            safe_ns = min(safe_ns, self._detector.settled_until_ns())
        if safe_ns >= self._told_ns + WATERMARK_EVERY_NS:
            self._told_ns = safe_ns
            yield Watermark("edge", safe_ns)


class FusionStep:
    """Bodies, weight events and gates -> basket events, decisions and closed visits."""

    def __init__(self, store: Store) -> None:
        self._engine = Engine(store)
        self.mark_ns = -(2**63)

    def take(self, record: Record) -> None:
        """Add a record; nothing is worked off before ``advance``."""
        if isinstance(record, Watermark) and record.source == "edge":
            self.mark_ns = max(self.mark_ns, record.t_ns)
        if isinstance(record, BodyFrame | WeightEvent | GateEvent | Gap):
            self._engine.add(record)

    def advance(self) -> list[FusionOutput]:
        """Work off what the watermarks taken so far allow. All that was promised must have been taken."""
        return self._engine.advance(self.mark_ns)

    def horizon_ns(self) -> int:
        """Records from before this time are needed by nobody, not even by a successor after a crash.

        Visits that overlap explain each other's weight events, so a stretch is released only when the store was
        empty: a successor must read all visits of the stretch again, not just those still open.
        """
        return self._engine.horizon_ns()


class SettlingStep:
    """Gates, basket events and closed visits -> calls of billing, each of which may be repeated."""

    def __init__(self, client: BillingClient, store: Store) -> None:
        self._client = client
        self._store = store
        self._settled: set[str] = set()

    def take(self, records: Iterable[Record]) -> None:
        """Tell billing about ``records``, of any visits, in any order.

        Raises what billing refuses; then all of ``records`` are to be offered again. What comes for a visit that
        is settled already, as in a second replay into the same books, is left out: its receipt stands.
        """
        gates: list[GateEvent] = []
        by_visit: dict[str, list[BasketEvent]] = {}
        closed: list[VisitClosed] = []
        for record in records:
            if isinstance(record, GateEvent) and record.kind is GateEventKind.ENTERED:
                gates.append(record)
            elif isinstance(record, BasketEvent):
                by_visit.setdefault(record.visit_id, []).append(record)
            elif isinstance(record, VisitClosed):
                closed.append(record)
        for gate in gates:
            self._open(gate)
        for visit_id, events in by_visit.items():
            if not self._is_settled(visit_id):
                self._client.append_basket_events(events)
        self._close(closed)

    def _open(self, gate: GateEvent) -> None:
        self._client.open_visit(
            gate.visit_id, self._store.name, account_of(gate.visit_id), self._store.currency, gate.t_ns
        )

    def _close(self, visits: Iterable[VisitClosed]) -> None:
        """Close all that can be closed, then complain about the first whose basket events are not all there."""
        missing: EventsMissing | None = None
        for visit in visits:
            if not self._is_settled(visit.visit_id):
                try:
                    self._client.close_visit(visit)
                except EventsMissing as error:
                    missing = missing or error
        if missing is not None:
            raise missing

    def _is_settled(self, visit_id: str) -> bool:
        if visit_id not in self._settled and is_settled(self._client.get_visit(visit_id)):
            self._settled.add(visit_id)
        return visit_id in self._settled


def is_settled(visit: BilledVisit) -> bool:
    """Whether the visit's money is in a final state."""
    return visit.status in {VisitStatus.CAPTURED, VisitStatus.REVIEW, VisitStatus.RELEASED}


def event_end_ns(record: Record) -> int:
    """The last instant that a record of the sensor side speaks of."""
    if isinstance(record, BodyFrame | GateEvent | Watermark):
        return record.t_ns
    return record.end_ns if isinstance(record, WeightEvent | Gap) else 0


def fund(client: BillingClient, store: Store, visits: Iterable[Visit]) -> None:
    """Prices into the books, and money into the wallets of a replay's shoppers; repeating it changes nothing."""
    client.set_store_terms(store.name, store.currency, store.terms)
    client.upsert_prices(store.name, store.currency, store.products.values())
    amount = Money(WALLET_MINOR, store.currency)
    for visit in visits:
        client.top_up_wallet(derived_id("top-up", visit.visit_id), visit.account, amount)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a recording came to: one receipt per visit in the order of ``visits``, and how it came about."""

    visits: tuple[Visit, ...]
    receipts: tuple[Receipt, ...]
    weight_events: tuple[WeightEvent, ...]
    basket_events: tuple[BasketEvent, ...]
    decisions: tuple[Decision, ...]
    gaps: tuple[Gap, ...]
    books: BooksReport


def run_in_process(source: Source, client: BillingClient) -> Outcome:
    """The whole route without processes or a log: for scoring and tests, same baskets as the workers give."""
    records = list(source.records())
    found = survey(recording_id(source.path), records)
    fund(client, source.store, found.visits)
    sensor, fusion, settling = SensorStep(found.gates), FusionStep(source.store), SettlingStep(client, source.store)
    logged: list[Record] = []
    for record in _sensed_to_log(sensor, records, found):
        logged.append(record)
        fusion.take(record)
        if isinstance(record, Watermark):
            logged.extend(fusion.advance())
    settling.take(logged)
    return Outcome(
        visits=found.visits,
        receipts=tuple(client.get_receipt(visit.visit_id) for visit in found.visits),
        weight_events=tuple(record for record in logged if isinstance(record, WeightEvent)),
        basket_events=tuple(record for record in logged if isinstance(record, BasketEvent)),
        decisions=tuple(record for record in logged if isinstance(record, Assignment | Undecided)),
        gaps=tuple(record for record in logged if isinstance(record, Gap)),
        books=client.check_books(),
    )


def _sensed_to_log(sensor: SensorStep, records: Iterable[Sensed], found: Survey) -> Iterator[Record]:
    for record in records:
        yield from sensor.feed(record)
    yield from sensor.finish(found.end_ns)
