"""Receipts and events against labels: what counts as right."""

import json
from pathlib import Path

import pytest

from walkout.app.build import in_process_billing
from walkout.app.score import (
    CaseScore,
    TrueEvent,
    as_json,
    find_cases,
    item_f1,
    match_events,
    read_truth,
    score_folder,
)
from walkout.cli import DEMO_START_NS, record_kiosk
from walkout.domain.sensing import PlateId, WeightEvent, WeightEventKind
from walkout.errors import RecordingError
from walkout.settings import Settings
from walkout.sim.scene import kiosk_scene
from walkout.sim.script import truth

PLATE = PlateId("1", 1, 1)
S = 1_000_000_000


def step(
    t_s: float, delta_g: float, plate: PlateId = PLATE, kind: WeightEventKind = WeightEventKind.STEP
) -> WeightEvent:
    t_ns = round(t_s * S)
    return WeightEvent(f"{t_s}", (plate,), (delta_g,), (1.0,), t_ns - S // 2, t_ns, t_ns + S // 2, kind)


def label(t_s: float | None, sign: int, plate: PlateId = PLATE) -> TrueEvent:
    return TrueEvent(None if t_s is None else round(t_s * S), "anna", sign, frozenset({plate}), ("1",))


def score(case: str, shoppers: int, f1: float, **fields: int | None) -> CaseScore:
    known = {
        "exact_shoppers": shoppers,
        "reviewed": 0,
        "visits": shoppers,
        "events_true": 2,
        "events_found": 2,
        "events_told": 2,
        "persons_right": 2,
    }
    return CaseScore(case, shoppers, f1, **(known | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("told", "true", "f1"),
    [
        ({}, {}, 1.0),
        ({("a", "1"): 1}, {}, 0.0),
        ({("a", "1"): 2}, {("a", "1"): 1}, 2 / 3),
        ({("b", "1"): 1}, {("a", "1"): 1}, 0.0),
        ({("a", "1"): 1, ("a", "2"): 4}, {("a", "1"): 2}, 2 / 7),
    ],
)
def test_item_f1_counts_units_by_shopper_and_barcode(told: dict, true: dict, f1: float) -> None:
    assert item_f1(told, true) == pytest.approx(f1)


def test_events_match_one_to_one_by_time_sign_and_plate() -> None:
    other = PlateId("1", 1, 7)
    true = [label(10, -1), label(20, 1), label(30, -1), label(40, -1, other)]
    told = [step(10.2, -90), step(10.4, -90), step(20, -90), step(31.4, -50), step(33, -50), step(40, -50)]
    pairs, steps = match_events(true, [*told, step(50, -1, kind=WeightEventKind.TOUCH)])
    assert [(event.t_ns, found.event_id) for event, found in pairs] == [(10 * S, "10.2"), (30 * S, "31.4")]
    assert len(steps) == 6


def test_events_without_times_are_not_scored() -> None:
    assert match_events([label(None, -1)], [step(10, -90)])[0] == []


def test_figures_that_nothing_defines_are_null() -> None:
    figures = as_json([score("a", 1, 1.0, events_true=None, events_found=0, events_told=3, persons_right=0)])
    assert figures["several_f1"] is None
    assert figures["event_precision"] is figures["event_recall"] is figures["association"] is None
    assert json.loads(json.dumps(figures))["cases"] == [
        {"case": "a", "shoppers": 1, "f1": 1.0, "exact": True, "review": 0.0}
    ]


def test_figures_are_macro_over_cases_and_micro_over_events() -> None:
    figures = as_json(
        [score("a", 1, 1.0), score("b", 2, 0.5, exact_shoppers=1, reviewed=1, events_true=6, events_told=3)]
    )
    assert figures["macro_f1"] == pytest.approx(0.75)
    assert (figures["one_shopper_f1"], figures["several_f1"]) == (1.0, 0.5)
    assert figures["exact_receipts"] == pytest.approx(2 / 3)
    assert figures["event_precision"] == pytest.approx(4 / 5)
    assert figures["event_recall"] == pytest.approx(4 / 8)
    assert figures["review_rate"] == pytest.approx(1 / 3)


def test_labels_that_are_none_are_told_with_their_file(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"no truth\.json at or below"):
        find_cases(tmp_path)
    (tmp_path / "truth.json").write_text('{"receipts": [{}]}')
    with pytest.raises(RecordingError, match=r"truth\.json: not the labels of a case"):
        read_truth(tmp_path / "truth.json")


def test_a_simulated_visit_is_scored_against_its_exact_truth(tmp_path: Path) -> None:
    scene = kiosk_scene()
    record_kiosk(tmp_path / "kiosk")
    tracks = {shopper.name: shopper.track_id for shopper in scene.shoppers}
    receipts = [
        {"target_id": tracks[name], "products": [{"barcode": code, "quantity": count} for code, count in basket]}
        for name, basket in truth(scene).baskets.items()
    ]
    (tmp_path / "kiosk" / "truth.json").write_text(json.dumps({"receipts": receipts, "epoch": DEMO_START_NS / S}))
    with in_process_billing(Settings()) as client:
        seen: list[tuple[str, int, int]] = []
        scores = score_folder(tmp_path, None, client, lambda one, done, all_: seen.append((one.case, done, all_)))
    assert seen == [("kiosk", 1, 1)]
    assert (scores[0].f1, scores[0].exact, scores[0].shoppers) == (1.0, True, 3)
