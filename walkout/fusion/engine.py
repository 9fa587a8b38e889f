"""The fusion engine: observations, weight events and gate events in; basket events and closed visits out.

It is a pure function of its records in event-time order: ``add`` them in any order, ``advance`` the watermark, and
everything due by then is worked off in order of time. How the calls are cut into steps changes nothing, so a
recording gives the same baskets every time and a restarted process may simply be fed again.
"""

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray

from walkout.domain.clock import NS_PER_S
from walkout.domain.ids import derived_id
from walkout.domain.sensing import (
    BodyFrame,
    Gap,
    GateEvent,
    GateEventKind,
    WeightEvent,
    WeightEventKind,
)
from walkout.domain.shopping import (
    Assignment,
    BasketEvent,
    BasketEventKind,
    Candidate,
    Undecided,
    Visit,
    VisitClosed,
)
from walkout.fusion.assign import NOTHING, Cause, Clue, Shelves, Story, marginal, prune, tell
from walkout.fusion.evidence import (
    Sighting,
    hand_log_ratios,
    log_sum,
    moved_space,
    normalised,
    offset_log_prior,
    sighting,
)
from walkout.store.catalog import Store, facings_by_plate

Output = BasketEvent | VisitClosed | Assignment | Undecided
Input = BodyFrame | WeightEvent | GateEvent | Gap


@dataclass(frozen=True, slots=True)
class FusionSettings:
    """Delays in seconds and the doubt that sends a visit to review."""

    #: Frames this long after an event still speak about it (clock offset plus the hand drawing back).
    evidence_lag_s: float = 1.5
    #: A visit is settled this long after it left: late packets and plates that still swing.
    settle_s: float = 6.0
    #: Frames are kept this long; no touch lasts longer.
    memory_s: float = 40.0
    #: A visit whose basket is less sure than this goes to review.
    sure: float = 0.8
    #: A sensor that says nothing for this long may have missed a whole pick: reach, lift and draw back.
    blind_s: float = 3.0
    #: The runner-up of a single event must be this much less likely, or the event is undecided.
    margin: float = 0.2


@dataclass(slots=True)
class _OpenVisit:
    """What the engine keeps of one visit while it is open."""

    visit: Visit
    told: dict[str, int] = field(default_factory=dict)  # units per barcode announced so far
    event_ids: set[str] = field(default_factory=set)
    gaps: list[str] = field(default_factory=list)
    undisputed: float = 1.0  # probability that nothing on a receipt closed before is really this visit's


@dataclass(frozen=True, slots=True, eq=False)
class _Evidence:
    """One weight event with the hand log ratios of every visit then open, still per clock offset."""

    event: WeightEvent
    ratios: dict[str, NDArray[np.float64]]


class Engine:
    """Who took what in one store; see the module's docstring for its manners."""

    def __init__(self, store: Store, settings: FusionSettings | None = None) -> None:
        self._store = store
        self._settings = settings or FusionSettings()
        self._queue: list[tuple[int, int, str, Input]] = []
        self._seen: set[str] = set()
        self._watermark_ns = -(2**63)
        self._frames: deque[BodyFrame] = deque()
        self._open: dict[str, _OpenVisit] = {}
        self._evidence: list[_Evidence] = []
        self._fixed: dict[str, Cause] = {}
        self._stories: list[Story] = [Story()]
        self._shelves: tuple[date, Shelves] | None = None
        self._group_start_ns = -(2**63)
        self._lost: list[str] = []

    def add(self, record: Input) -> None:
        """Take one record in any order; a record seen before is ignored, one too late is worked off at once."""
        if isinstance(record, Gap) and record.source.startswith("log/"):
            # What the log lost has no time of its own: everybody who has not been settled yet is in doubt.
            self._lost.append(f"{record.source}: {record.reason}")
            return
        due_ns, rank, key = self._due(record)
        if key in self._seen or due_ns < self._group_start_ns:
            return
        self._seen.add(key)
        heapq.heappush(self._queue, (due_ns, rank, key, record))
        if isinstance(record, GateEvent) and record.kind is GateEventKind.LEFT:
            heapq.heappush(self._queue, (record.t_ns, 0, key, record))

    def advance(self, watermark_ns: int) -> list[Output]:
        """Work off everything due at or before ``watermark_ns``; returns what is to be published, in order."""
        self._watermark_ns = max(self._watermark_ns, watermark_ns)
        out: list[Output] = []
        while self._queue and self._queue[0][0] <= self._watermark_ns:
            _, rank, _, record = heapq.heappop(self._queue)
            if isinstance(record, BodyFrame):
                self._remember(record)
            elif isinstance(record, WeightEvent):
                out.extend(self._weigh(record))
            elif isinstance(record, Gap):
                self._flag(record)
            elif record.kind is GateEventKind.ENTERED:
                self._enter(record)
            elif rank == 0:
                self._leave(record)
            else:
                out.extend(self._close(record))
        return out

    def horizon_ns(self) -> int:
        """Records of before this time may be forgotten: everything since the store was last empty is needed."""
        start = self._group_start_ns if self._open else self._watermark_ns
        queued = min((item[0] for item in self._queue), default=self._watermark_ns)
        reach = round((self._settings.evidence_lag_s + self._settings.settle_s) * NS_PER_S)
        return min(start, queued, self._watermark_ns) - reach

    # -- one record after another, in event time ------------------------------------------------------------------

    def _due(self, record: Input) -> tuple[int, int, str]:
        """When a record's turn comes, its rank among equals, and a key that is unique to its content."""
        settings = self._settings
        if isinstance(record, BodyFrame):
            return record.t_ns, 1, f"frame/{record.t_ns}"
        if isinstance(record, WeightEvent):
            return record.end_ns + round(settings.evidence_lag_s * NS_PER_S), 2, record.event_id
        if isinstance(record, Gap):
            return record.end_ns, 3, f"gap/{record.source}/{record.start_ns}/{record.reason}"
        if record.kind is GateEventKind.ENTERED:
            return record.t_ns, 0, f"entered/{record.visit_id}"
        return record.t_ns + round(settings.settle_s * NS_PER_S), 4, f"left/{record.visit_id}"

    def _remember(self, frame: BodyFrame) -> None:
        self._frames.append(frame)
        oldest_ns = frame.t_ns - round(self._settings.memory_s * NS_PER_S)
        while self._frames and self._frames[0].t_ns < oldest_ns:
            self._seen.discard(f"frame/{self._frames.popleft().t_ns}")

    def _enter(self, gate: GateEvent) -> None:
        if not self._open:
            # An empty store: nothing from before can be explained by whoever comes in now.
            self._evidence, self._fixed, self._stories = [], {}, [Story()]
            self._group_start_ns = gate.t_ns
        self._open[gate.visit_id] = _OpenVisit(Visit(gate.visit_id, gate.track_id, "", gate.t_ns))

    def _leave(self, gate: GateEvent) -> None:
        if gate.visit_id in self._open:
            one = self._open[gate.visit_id]
            one.visit = replace(one.visit, left_ns=gate.t_ns)

    def _flag(self, gap: Gap) -> None:
        """Doubt every visit that a sensor was blind in; one dead plate among hundreds is told, but is no blindness."""
        length_s = (gap.end_ns - gap.start_ns) / NS_PER_S
        if gap.source.startswith("plate ") or length_s < self._settings.blind_s:
            return
        for one in self._open.values():
            if one.visit.entered_ns <= gap.end_ns and gap.start_ns <= (one.visit.left_ns or gap.start_ns):
                one.gaps.append(f"{gap.source}: {gap.reason} ({length_s:.1f} s)")

    def _weigh(self, event: WeightEvent) -> list[Output]:
        if event.kind is not WeightEventKind.STEP or not self._open:
            return []
        self._evidence.append(self._look(event))
        self._stories = tell(self._stories, self._clue(self._evidence[-1]), self._shelves_on(event.step_ns))
        decision = self._decide(event)
        return [decision, *self._announce(event, self._stories[0])]

    def _close(self, gate: GateEvent) -> list[Output]:
        """The whole visit has been seen: tell it once more with the clock offset it taught us, and settle."""
        one = self._open.get(gate.visit_id)
        if one is None:
            return []
        self._stories = self._retell()
        counts = marginal(self._stories, lambda story: _contents(story, gate.visit_id))
        best = max(counts, key=lambda key: (counts[key], key))
        out: list[Output] = list(self._correct(one, dict(best), gate.t_ns))
        confidence = counts[best] * one.undisputed
        review = self._doubts(one, confidence)
        out.append(VisitClosed(gate.visit_id, gate.t_ns, len(one.event_ids), confidence, review))
        del self._open[gate.visit_id]
        self._freeze(gate.visit_id, best)
        if not self._open:
            self._lost.clear()
        return out

    # -- evidence ---------------------------------------------------------------------------------------------------

    def _look(self, event: WeightEvent) -> _Evidence:
        """Where everybody's hands were around the event."""
        space = moved_space(event, self._store.layout)
        lag_ns = round(self._settings.evidence_lag_s * NS_PER_S)
        seen: dict[str, list[Sighting]] = {}
        for frame in self._frames:
            if abs(frame.t_ns - event.step_ns) <= lag_ns:
                for body in frame.bodies:
                    seen.setdefault(body.track_id, []).append(sighting(frame.t_ns, body))
        ratios = {
            visit_id: np.zeros_like(offset_log_prior())
            if space is None or one.visit.track_id is None
            else hand_log_ratios(event, space, seen.get(one.visit.track_id, []))
            for visit_id, one in self._open.items()
            if one.visit.entered_ns - lag_ns <= event.step_ns <= (one.visit.left_ns or event.step_ns) + lag_ns
        }
        return _Evidence(event, ratios)

    def _offset_log_posterior(self) -> NDArray[np.float64]:
        """What all events so far say about the offset of the two clocks: at the true one, hands meet steps."""
        log_weights = offset_log_prior()
        for evidence in self._evidence:
            if evidence.ratios:
                log_weights = log_weights + np.logaddexp.reduce(np.array(list(evidence.ratios.values())), axis=0)
        return normalised(log_weights)

    def _clue(self, evidence: _Evidence, offsets: NDArray[np.float64] | None = None) -> Clue:
        log_offsets = self._offset_log_posterior() if offsets is None else offsets
        hands = {visit: log_sum(log_offsets + ratios) for visit, ratios in evidence.ratios.items()}
        return Clue(evidence.event, hands)

    def _retell(self) -> list[Story]:
        """All events since the store was last empty, told anew with everything known by now."""
        offsets = self._offset_log_posterior()
        stories = [Story()]
        for evidence in self._evidence:
            told = tell(stories, self._clue(evidence, offsets), self._shelves_on(evidence.event.step_ns))
            stories = self._held_to(told, evidence.event.event_id)
        return stories

    def _held_to(self, stories: list[Story], event_id: str) -> list[Story]:
        """Only the stories that explain an event as the receipt of a closed visit did, where there are any."""
        fixed = self._fixed.get(event_id)
        kept = [story for story in stories if story.cause_of(event_id) == fixed] if fixed else []
        return prune(kept) if kept else stories

    def _shelves_on(self, t_ns: int) -> Shelves:
        """What stands where on the day of ``t_ns``."""
        day = self._store.local_day(t_ns)
        if self._shelves is None or self._shelves[0] != day:
            facings = self._store.planogram.on(day)
            stocked = tuple(sorted({facing.barcode for facing in facings}))
            shelf_count = len({plate.shelf_id for plate in self._store.layout.boxes})
            shelves = Shelves(self._store.products, facings_by_plate(facings), stocked, shelf_count)
            self._shelves = (day, shelves)
        return self._shelves[1]

    # -- what is said out loud ----------------------------------------------------------------------------------------

    def _decide(self, event: WeightEvent) -> Assignment | Undecided:
        causes = marginal(self._stories, lambda story: story.cause_of(event.event_id) or NOTHING)
        ranked = sorted(causes.items(), key=lambda pair: (-pair[1], repr(pair[0])))
        candidates = tuple(
            Candidate(cause.parts, cause.sign, round(probability, 6)) for cause, probability in ranked[:5]
        )
        if len(ranked) > 1 and ranked[0][1] - ranked[1][1] < self._settings.margin:
            return Undecided(event.event_id, candidates, "two explanations are about equally likely")
        return Assignment(event.event_id, candidates[0], candidates[1:])

    def _announce(self, event: WeightEvent, story: Story) -> Iterable[BasketEvent]:
        """The live view: what changed in the best story's baskets with this event."""
        cause = story.cause_of(event.event_id) or NOTHING
        for visit_id, one in sorted(self._open.items()):
            probability = _probability(self._stories, visit_id, _contents(story, visit_id))
            own = {item.barcode for part in cause.parts if part.visit_id == visit_id for item in part.items}
            for barcode, difference in _difference(one.told, dict(_contents(story, visit_id))):
                kind = BasketEventKind.CORRECTION
                if barcode in own:
                    kind = BasketEventKind.PICK if difference > 0 else BasketEventKind.PUT_BACK
                yield self._say(one, event.event_id, event.step_ns, kind, barcode, difference, probability)

    def _correct(self, one: _OpenVisit, final: dict[str, int], t_ns: int) -> Iterable[BasketEvent]:
        """What the live view had wrong, put right before settling."""
        probability = _probability(self._stories, one.visit.visit_id, tuple(sorted(final.items())))
        for barcode, difference in _difference(one.told, final):
            yield self._say(one, "", t_ns, BasketEventKind.CORRECTION, barcode, difference, probability)

    def _say(
        self,
        one: _OpenVisit,
        weight_event_id: str,
        t_ns: int,
        kind: BasketEventKind,
        barcode: str,
        quantity: int,
        probability: float,
    ) -> BasketEvent:
        visit_id = one.visit.visit_id
        event_id = derived_id("basket", visit_id, weight_event_id or "closed", barcode)
        one.told[barcode] = one.told.get(barcode, 0) + quantity
        one.event_ids.add(event_id)
        return BasketEvent(event_id, visit_id, t_ns, kind, barcode, quantity, round(probability, 6), weight_event_id)

    def _doubts(self, one: _OpenVisit, confidence: float) -> tuple[str, ...]:
        """Why a person should look before money moves; empty when nobody needs to."""
        reasons = []
        if confidence < self._settings.sure:
            reasons.append(f"basket is only {confidence:.0%} sure")
        if one.visit.track_id is None:
            reasons.append("nobody was seen in this visit")
        return (*reasons, *one.gaps, *self._lost)

    def _freeze(self, visit_id: str, contents: tuple[tuple[str, int], ...]) -> None:
        """A closed visit's part of the past is told; whoever closes later cannot be given it again.

        That it might have been theirs after all stays as doubt about their baskets.
        """
        chosen = next(one for one in self._stories if _contents(one, visit_id) == contents).all_causes()
        frozen = {event_id: cause for event_id, cause in chosen.items() if visit_id in cause.visits}
        self._fixed.update(frozen)
        for other, one in self._open.items():
            disputed = 0.0
            for story in self._stories:
                causes = story.all_causes()
                if any(causes.get(key, NOTHING).moved_by(other) != frozen[key].moved_by(other) for key in frozen):
                    disputed += float(np.exp(story.log_weight))
            one.undisputed *= max(0.0, 1.0 - disputed)


def _contents(story: Story, visit_id: str) -> tuple[tuple[str, int], ...]:
    """Barcode and count of what a visit holds in a story, sorted."""
    counts: dict[str, int] = {}
    for held in story.basket(visit_id):
        counts[held.barcode] = counts.get(held.barcode, 0) + 1
    return tuple(sorted(counts.items()))


def _probability(stories: Iterable[Story], visit_id: str, contents: tuple[tuple[str, int], ...]) -> float:
    """Probability that a visit holds exactly ``contents``."""
    return float(sum(np.exp(story.log_weight) for story in stories if _contents(story, visit_id) == contents))


def _difference(old: dict[str, int], new: dict[str, int]) -> list[tuple[str, int]]:
    """Signed change per barcode, sorted, zeros left out."""
    barcodes = sorted({*old, *new})
    changes = ((barcode, new.get(barcode, 0) - old.get(barcode, 0)) for barcode in barcodes)
    return [(barcode, change) for barcode, change in changes if change]
