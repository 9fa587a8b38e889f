"""How good are the receipts? Every labelled case under a folder through the whole route, against its truth.

A case is a recording with a ``truth.json`` beside it: ``events`` (time of the plate step, shopper, pick or put,
plates, products) and ``receipts``. Item F1 is that of the public competition: the multiset over (shopper, barcode)
with quantity, F1 = 2 TP / (predicted + true), both empty = 1, unweighted mean over the cases.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from walkout.app.billing_client import BillingClient
from walkout.app.pipeline import Outcome, run_in_process
from walkout.app.source import open_source, target_id
from walkout.billing.records import VisitStatus
from walkout.domain.clock import to_ns
from walkout.domain.sensing import PlateId, WeightEvent, WeightEventKind
from walkout.domain.shopping import Assignment, Candidate, Decision
from walkout.errors import RecordingError

#: A detected event is the labelled one when its stretch comes this near to the labelled time, seconds.
TIME_TOLERANCE_S = 1.0

Counts = dict[tuple[str, str], int]
"""Units by (shopper, barcode)."""


@dataclass(frozen=True, slots=True)
class TrueEvent:
    """One labelled pick or put-back; ``t_ns`` is the plate step, None where the case tells no times."""

    t_ns: int | None
    shopper: str
    sign: int
    plates: frozenset[PlateId]
    barcodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Truth:
    """What really happened in one case."""

    events: tuple[TrueEvent, ...]
    shoppers: tuple[str, ...]
    units: Counts


@dataclass(frozen=True, slots=True)
class CaseScore:
    """One case: F1 of its items, shoppers with nothing wrong, visits sent to review, and its weight events."""

    case: str
    shoppers: int
    f1: float
    exact_shoppers: int
    reviewed: int
    visits: int
    events_true: int | None
    events_found: int
    events_told: int
    persons_right: int

    @property
    def exact(self) -> bool:
        """Every shopper's receipt right to the last unit."""
        return self.exact_shoppers == self.shoppers


def find_cases(root: Path) -> list[Path]:
    """Every folder at or below ``root`` with a ``truth.json``, sorted. Raises ``RecordingError`` when there is none."""
    if not root.is_dir():
        raise RecordingError(f"{root}: no such folder; give a folder of labelled recordings")
    cases = sorted(path.parent for path in root.rglob("truth.json"))
    if not cases:
        raise RecordingError(f"{root}: no truth.json at or below it; a labelled case has one beside its recording")
    return cases


def read_truth(path: Path) -> Truth:
    """The labels of a case. Raises ``RecordingError`` naming the file when they are not as expected."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        events = tuple(_true_event(event) for event in document.get("events", ()))
        units: Counts = {}
        for receipt in document["receipts"]:
            for product in receipt["products"]:
                key = (str(receipt["target_id"]), str(product["barcode"]))
                units[key] = units.get(key, 0) + int(product["quantity"])
        shoppers = tuple(dict.fromkeys(str(receipt["target_id"]) for receipt in document["receipts"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordingError(f"{path}: not the labels of a case ({type(error).__name__}: {error})") from error
    return Truth(events, shoppers, units)


def _true_event(event: Mapping[str, object]) -> TrueEvent:
    plates = event["plates"]
    barcodes = event["products"]
    time_s = event.get("time")
    assert isinstance(plates, list)
    assert isinstance(barcodes, list)
    return TrueEvent(
        None if time_s is None else to_ns(float(str(time_s))),
        str(event["target_id"]),
        {"pick": -1, "put": 1}[str(event["kind"])],
        frozenset(PlateId(str(event["gondola"]), int(str(event["shelf"])), int(plate)) for plate in plates),
        tuple(str(barcode) for barcode in barcodes),
    )


def score_case(case: Path, store_dir: Path | None, client: BillingClient) -> CaseScore:
    """One case through the whole route, settled with ``client``'s books, against its truth."""
    truth = read_truth(case / "truth.json")
    outcome = run_in_process(open_source(case, store_dir), client)
    names = name_visits(outcome, truth)
    told: Counts = {}
    for visit, receipt in zip(outcome.visits, outcome.receipts, strict=True):
        for line in receipt.lines:
            key = (names[visit.visit_id], line.barcode)
            told[key] = told.get(key, 0) + line.quantity
    matched, steps = match_events(truth.events, outcome.weight_events)
    timed = [event for event in truth.events if event.t_ns is not None]
    decisions = {decision.weight_event_id: decision for decision in outcome.decisions}
    right = sum(_right_person(event, decisions.get(found.event_id), names) for event, found in matched)
    return CaseScore(
        case=case.name,
        shoppers=len(truth.shoppers),
        f1=item_f1(told, truth.units),
        exact_shoppers=sum(_of(told, shopper) == _of(truth.units, shopper) for shopper in truth.shoppers),
        reviewed=sum(receipt.visit.status is VisitStatus.REVIEW for receipt in outcome.receipts),
        visits=len(outcome.visits),
        events_true=len(timed) if len(timed) == len(truth.events) else None,
        events_found=len(matched),
        events_told=len(steps),
        persons_right=right,
    )


def _of(units: Counts, shopper: str) -> dict[str, int]:
    return {barcode: count for (who, barcode), count in units.items() if who == shopper}


def item_f1(told: Counts, true: Counts) -> float:
    """2 TP / (told + true) over units; 1 when both are empty."""
    hits = sum(min(count, true.get(key, 0)) for key, count in told.items())
    total = sum(told.values()) + sum(true.values())
    return 2.0 * hits / total if total else 1.0


def name_visits(outcome: Outcome, truth: Truth) -> dict[str, str]:
    """Which true shopper each visit is: by the recording's own name, and by best assignment where it has none."""
    names = {visit.visit_id: name for visit in outcome.visits if (name := target_id(visit)) is not None}
    nameless = [visit.visit_id for visit in outcome.visits if visit.visit_id not in names]
    free = [shopper for shopper in truth.shoppers if shopper not in names.values()]
    lines = {visit.visit_id: receipt.lines for visit, receipt in zip(outcome.visits, outcome.receipts, strict=True)}
    hits = np.array(
        [
            [sum(min(line.quantity, truth.units.get((who, line.barcode), 0)) for line in lines[visit]) for who in free]
            for visit in nameless
        ]
    ).reshape(len(nameless), len(free))
    for row, column in zip(*linear_sum_assignment(-hits), strict=True):
        names[nameless[row]] = free[column]
    return {visit.visit_id: names.get(visit.visit_id, visit.visit_id) for visit in outcome.visits}


def match_events(
    true: Sequence[TrueEvent], told: Iterable[WeightEvent]
) -> tuple[list[tuple[TrueEvent, WeightEvent]], list[WeightEvent]]:
    """Pairs of labelled and detected steps, one to one, as many as can be and nearest in time; and all steps told.

    A pair overlaps within ``TIME_TOLERANCE_S``, has the same sign and shares a plate.
    """
    steps = [event for event in told if event.kind is WeightEventKind.STEP]
    far = 1e6
    cost = np.full((len(true), len(steps)), far)
    for row, label in enumerate(true):
        for column, step in enumerate(steps):
            if label.t_ns is not None and _is_same(label, label.t_ns, step):
                cost[row, column] = abs(step.step_ns - label.t_ns) * 1e-9
    rows, columns = linear_sum_assignment(cost)
    pairs = [(true[r], steps[c]) for r, c in zip(rows, columns, strict=True) if cost[r, c] < far]
    return pairs, steps


def _is_same(label: TrueEvent, t_ns: int, step: WeightEvent) -> bool:
    near_ns = to_ns(TIME_TOLERANCE_S)
    overlaps = step.start_ns <= t_ns + near_ns and step.end_ns >= t_ns - near_ns
    return overlaps and (step.total_g > 0) == (label.sign > 0) and not label.plates.isdisjoint(step.plates)


def _right_person(event: TrueEvent, decision: Decision | None, names: Mapping[str, str]) -> bool:
    best = best_candidate(decision)
    return best is not None and event.shopper in {
        names.get(part.visit_id) for part in best.parts if part.visit_id is not None
    }


def best_candidate(decision: Decision | None) -> Candidate | None:
    """The explanation that is most probable, whether or not it was sure enough."""
    if isinstance(decision, Assignment):
        return decision.chosen
    return decision.candidates[0] if decision is not None and decision.candidates else None


def score_folder(
    root: Path, store_dir: Path | None, client: BillingClient, tell: Callable[[CaseScore, int, int], None]
) -> list[CaseScore]:
    """All cases at or below ``root``; ``tell(score, done, all)`` is called after each."""
    cases = find_cases(root)
    scores: list[CaseScore] = []
    for case in cases:
        scores.append(score_case(case, store_dir, client))
        tell(scores[-1], len(scores), len(cases))
    return scores


def as_json(scores: Sequence[CaseScore]) -> dict[str, object]:
    """What ``walkout score --json`` prints; its keys are kept stable. None where nothing defines the figure."""
    timed = [score for score in scores if score.events_true is not None]
    return {
        "macro_f1": _mean([score.f1 for score in scores]),
        "one_shopper_f1": _mean([score.f1 for score in scores if score.shoppers == 1]),
        "several_f1": _mean([score.f1 for score in scores if score.shoppers > 1]),
        "exact_receipts": _share(sum(s.exact_shoppers for s in scores), sum(s.shoppers for s in scores)),
        "event_precision": _share(sum(s.events_found for s in timed), sum(s.events_told for s in timed)),
        "event_recall": _share(sum(s.events_found for s in timed), sum(s.events_true or 0 for s in timed)),
        "association": _share(sum(s.persons_right for s in timed), sum(s.events_found for s in timed)),
        "review_rate": _share(sum(s.reviewed for s in scores), sum(s.visits for s in scores)),
        "cases": [
            {
                "case": score.case,
                "shoppers": score.shoppers,
                "f1": score.f1,
                "exact": score.exact,
                "review": _share(score.reviewed, score.visits),
            }
            for score in scores
        ],
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
