"""The route in one process: gates woven in, watermarks that keep their promise, repeats without effect."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from walkout.app.billing_client import BillingClient
from walkout.app.build import in_process_billing
from walkout.app.pipeline import FusionStep, SensorStep, SettlingStep, fund, run_in_process
from walkout.app.source import Survey, open_source, recording_id, survey
from walkout.billing.records import VisitStatus
from walkout.bus.topics import Record, event_time_ns
from walkout.cli import record_kiosk
from walkout.domain.sensing import (
    BodyFrame,
    Gap,
    GateEvent,
    GateEventKind,
    LoadCellBatch,
    PlateId,
    Watermark,
    WeightEvent,
)
from walkout.domain.shopping import BasketEvent, VisitClosed
from walkout.errors import EventsMissing
from walkout.settings import Settings
from walkout.sim.kiosk import kiosk_store

NANOSTORE = Path(__file__).parents[2].parent / "shared" / "data" / "nanostore"


@pytest.fixture(scope="module")
def kiosk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scene") / "kiosk"
    record_kiosk(folder)
    return folder


@pytest.fixture(scope="module")
def logged(kiosk: Path) -> list[Record]:
    source = open_source(kiosk)
    return list(sensed(source.records(), survey(recording_id(kiosk), source.records())))


@pytest.fixture
def billing() -> Iterator[BillingClient]:
    with in_process_billing(Settings()) as client:
        yield client


def sensed(records: Iterator[object], found: Survey) -> Iterator[Record]:
    step = SensorStep(found.gates)
    for record in records:
        yield from step.feed(record)  # type: ignore[arg-type]
    yield from step.finish(found.end_ns)


def test_gates_are_woven_in_around_the_frames_of_their_time() -> None:
    gates = (GateEvent(20, GateEventKind.ENTERED, "v", "a"), GateEvent(30, GateEventKind.LEFT, "v", "a"))
    found = Survey("r", 10, 40, (), gates)
    frames = [BodyFrame(t_ns, ()) for t_ns in (10, 20, 30, 40)]
    told = [record for record in sensed(iter(frames), found) if isinstance(record, BodyFrame | GateEvent)]
    assert told == [frames[0], gates[0], frames[1], frames[2], gates[1], frames[3]]


def test_a_recording_of_bodies_alone_flags_the_missing_plates() -> None:
    told = list(sensed(iter([BodyFrame(10, ()), BodyFrame(40, ())]), Survey("r", 10, 40, (), ())))
    assert [(gap.source, gap.start_ns, gap.end_ns) for gap in told if isinstance(gap, Gap)] == [("plates", 10, 40)]


def test_nothing_comes_from_before_a_watermark(logged: list[Record]) -> None:
    mark_ns, late = 0, []
    for record in logged:
        if isinstance(record, Watermark):
            assert record.t_ns > mark_ns
            mark_ns = record.t_ns
        elif isinstance(record, BodyFrame | GateEvent) and record.t_ns <= mark_ns:
            late.append(record)
        elif isinstance(record, WeightEvent) and record.start_ns < mark_ns:
            late.append(record)  # type: ignore[arg-type]
    assert late == []
    assert sum(isinstance(record, Watermark) for record in logged) > 50


def fused(records: list[Record], cuts: int) -> list[Record]:
    """What fusion publishes when it reads ``cuts`` records at a time, as a worker that lags behind does."""
    step, out = FusionStep(kiosk_store()), list[Record]()
    for start in range(0, len(records), cuts):
        for record in records[start : start + cuts]:
            step.take(record)
        out.extend(step.advance())
    return out


def test_fusion_says_the_same_however_the_log_is_cut(logged: list[Record]) -> None:
    assert fused(logged, 1) == fused(logged, 997) == fused(logged, len(logged))


def test_fusion_says_the_same_when_everything_comes_twice(logged: list[Record]) -> None:
    twice = [record for record in logged for _ in range(2)]
    assert fused(twice, 1) == fused(logged, 1)


def test_nothing_is_released_while_somebody_of_the_stretch_is_inside(logged: list[Record]) -> None:
    step, inside, since_ns = FusionStep(kiosk_store()), set[str](), None
    for record in logged:
        step.take(record)
        closed = {one.visit_id for one in step.advance() if isinstance(one, VisitClosed)}
        if isinstance(record, GateEvent) and record.kind is GateEventKind.ENTERED:
            since_ns = record.t_ns if since_ns is None else since_ns
            inside.add(record.visit_id)
        inside -= closed
        if inside:
            assert since_ns is not None
            assert step.horizon_ns() <= since_ns
    assert since_ns is not None
    assert step.horizon_ns() > since_ns, "everybody has left"


def test_settling_twice_changes_nothing(kiosk: Path, logged: list[Record], billing: BillingClient) -> None:
    store, found = kiosk_store(), survey(recording_id(kiosk), open_source(kiosk).records())
    fund(billing, store, found.visits)
    records = logged + fused(logged, 1)
    SettlingStep(billing, store).take(records)
    receipts, books = [billing.get_receipt(visit.visit_id) for visit in found.visits], billing.check_books()
    fund(billing, store, found.visits)
    SettlingStep(billing, store).take(records)
    assert [billing.get_receipt(visit.visit_id) for visit in found.visits] == receipts
    assert billing.check_books() == books


def test_a_visit_is_not_closed_before_its_basket_events_are_there(
    kiosk: Path, logged: list[Record], billing: BillingClient
) -> None:
    store, found = kiosk_store(), survey(recording_id(kiosk), open_source(kiosk).records())
    fund(billing, store, found.visits)
    records = logged + fused(logged, 1)
    step = SettlingStep(billing, store)
    step.take([record for record in records if isinstance(record, GateEvent)])
    with pytest.raises(EventsMissing):
        step.take([record for record in records if isinstance(record, VisitClosed)])
    step.take([record for record in records if isinstance(record, BasketEvent | VisitClosed)])
    assert VisitStatus.OPEN not in {billing.get_visit(visit.visit_id).status for visit in found.visits}


@pytest.mark.skipif(not NANOSTORE.is_dir(), reason="the public nanostore recordings are not beside the repository")
def test_the_real_visit_ends_with_one_bottle_of_water_charged_once(billing: BillingClient) -> None:
    for _ in range(2):
        outcome = run_in_process(open_source(NANOSTORE / "BENCHMARK-1"), billing)
        lines = [(line.barcode, line.quantity) for receipt in outcome.receipts for line in receipt.lines]
        assert lines == [("071142008582", 1)]
        assert outcome.books.captured == {"USD": 100}
        assert outcome.books.balanced


def test_a_controller_that_begins_late_or_stops_early_is_told_once() -> None:
    plates = (PlateId("A", 1, 1),)
    second = 1_000_000_000

    def batch(t_s: int) -> LoadCellBatch:
        return LoadCellBatch("gondola-A", plates, t_s * second, 60.0, np.zeros((60, 1), np.float32))

    frames = [BodyFrame(t_s * second, ()) for t_s in range(21)]
    records = sorted([*frames, *(batch(t_s) for t_s in range(5, 11))], key=event_time_ns)
    gaps = [one for one in sensed(iter(records), Survey("r", 0, 20 * second, (), ())) if isinstance(one, Gap)]
    assert [(gap.source, gap.start_ns // second, gap.end_ns // second) for gap in gaps] == [
        ("gondola-A", 0, 5),
        ("gondola-A", 11, 20),
    ]


def test_a_loss_that_the_recording_tells_is_not_told_a_second_time_by_the_shelf() -> None:
    plates = (PlateId("A", 1, 1),)
    tenth = 100_000_000

    def batch(tenths: int) -> LoadCellBatch:
        return LoadCellBatch("gondola-A", plates, tenths * tenth, 60.0, np.zeros((12, 1), np.float32))

    batches = [batch(tenths) for tenths in range(0, 40, 2) if tenths != 20]
    lost = Gap("gondola-A", 20 * tenth, 22 * tenth, "1 batch lost")
    for told, expected in (([], 1), ([lost], 1)):
        records = sorted([*batches, *told], key=event_time_ns)
        found = [one for one in sensed(iter(records), Survey("r", 0, 40 * tenth, (), ())) if isinstance(one, Gap)]
        assert len(found) == expected
        assert not told or found == [lost]
