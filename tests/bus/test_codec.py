"""Every record survives the wire exactly; whatever is no record of ours is refused with a reason."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walkout.bus.codec import decode, encode
from walkout.bus.topics import TOPICS, Record
from walkout.domain.sensing import (
    Body,
    BodyFrame,
    FloorPosition,
    Gap,
    GateEvent,
    GateEventKind,
    Joint,
    LoadCellBatch,
    PlateId,
    ShelfId,
    Watermark,
    WeightEvent,
    WeightEventKind,
)
from walkout.domain.shopping import (
    Assignment,
    BasketEvent,
    BasketEventKind,
    Candidate,
    Item,
    Part,
    Undecided,
    VisitClosed,
)
from walkout.errors import CodecError
from walkout.v1 import sensing_pb2, shopping_pb2

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TIMES = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.floats(-1e9, 1e9)
POSITIVE = st.floats(1e-6, 1e6)
SMALL = st.integers(-1000, 1000)
UNITS = st.integers(-(2**31), 2**31 - 1)
SHARES = st.floats(0.0, 1.0)
PLATES = st.builds(PlateId, TEXTS, SMALL, SMALL)
SPANS = st.tuples(TIMES, TIMES).map(lambda pair: (min(pair), max(pair)))
JOINTS = st.builds(Joint, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
SHELVES = st.none() | st.builds(ShelfId, st.text(min_size=1, max_size=4), SMALL)
HANDS = st.lists(st.tuples(JOINTS, SHELVES), max_size=2)
BODIES = HANDS.flatmap(
    lambda hands: st.builds(
        Body,
        TEXTS,
        st.none() | JOINTS,
        st.just(tuple(hand for hand, _ in hands)),
        st.dictionaries(TEXTS, JOINTS, max_size=3),
        st.none() | st.builds(FloorPosition, *[NUMBERS] * 5),
        st.just(tuple(shelf for _, shelf in hands)) | st.just(()),
    )
)
CANDIDATES = st.builds(
    Candidate,
    st.lists(
        st.builds(Part, st.none() | TEXTS, st.lists(st.builds(Item, TEXTS, UNITS), max_size=3).map(tuple)), max_size=2
    ).map(tuple),
    st.sampled_from((-1, 0, 1)),
    SHARES,
)
MANY_CANDIDATES = st.lists(CANDIDATES, max_size=3).map(tuple)


@st.composite
def batches(draw: st.DrawFn) -> LoadCellBatch:
    plates = draw(st.lists(PLATES, min_size=1, max_size=4, unique=True))
    rows = draw(st.integers(0, 5))
    readings = st.floats(width=32, allow_nan=True)
    values = draw(st.lists(readings, min_size=rows * len(plates), max_size=rows * len(plates)))
    grams = np.array(values, dtype=np.float32).reshape(rows, len(plates))
    return LoadCellBatch(draw(TEXTS), tuple(plates), draw(TIMES), draw(POSITIVE), grams)


@st.composite
def weight_events(draw: st.DrawFn) -> WeightEvent:
    count = draw(st.integers(1, 4))
    gondola, shelf = draw(TEXTS), draw(SMALL)
    start_ns, end_ns = draw(SPANS)
    return WeightEvent(
        event_id=draw(TEXTS),
        plates=tuple(PlateId(gondola, shelf, plate) for plate in range(1, count + 1)),
        delta_g=tuple(draw(st.lists(NUMBERS, min_size=count, max_size=count))),
        sigma_g=tuple(draw(st.lists(POSITIVE, min_size=count, max_size=count))),
        start_ns=start_ns,
        step_ns=draw(TIMES),
        end_ns=end_ns,
        kind=draw(st.sampled_from(WeightEventKind)),
        settled=draw(st.booleans()),
    )


RECORDS: dict[type, st.SearchStrategy[Record]] = {
    BodyFrame: st.builds(BodyFrame, TIMES, st.lists(BODIES, max_size=3).map(tuple)),
    WeightEvent: weight_events(),
    Gap: st.tuples(TEXTS, SPANS, TEXTS).map(lambda parts: Gap(parts[0], *parts[1], parts[2])),
    GateEvent: st.builds(GateEvent, TIMES, st.sampled_from(GateEventKind), TEXTS, st.none() | TEXTS),
    Watermark: st.builds(Watermark, TEXTS, TIMES),
    BasketEvent: st.builds(
        BasketEvent, TEXTS, TEXTS, TIMES, st.sampled_from(BasketEventKind), TEXTS, UNITS, SHARES, TEXTS, UNITS
    ),
    VisitClosed: st.builds(
        VisitClosed, TEXTS, TIMES, st.integers(0, 2**32 - 1), SHARES, st.lists(TEXTS, max_size=3).map(tuple)
    ),
    Assignment: st.builds(Assignment, TEXTS, CANDIDATES, MANY_CANDIDATES),
    Undecided: st.builds(Undecided, TEXTS, MANY_CANDIDATES, TEXTS),
}
ANY_RECORD = st.one_of(batches(), *RECORDS.values())

PLATE = PlateId("2", 3, 4)
BATCH = LoadCellBatch("box-2", (PLATE,), 5, 60.0, np.zeros((3, 1), np.float32))
STEP = WeightEvent("w1", (PLATE,), (-500.0,), (1.5,), 10, 20, 30)


def test_every_record_of_the_topic_table_is_tried_here() -> None:
    carried = {kind for topic in TOPICS.values() for kind in topic.records}
    assert carried == {LoadCellBatch, *RECORDS}


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_a_record_comes_back_equal(kind: type) -> None:
    @settings(max_examples=60, deadline=timedelta(seconds=5))
    @given(RECORDS[kind])
    def comes_back(record: Record) -> None:
        assert decode(encode(record)) == record
        assert encode(decode(encode(record))) == encode(record)

    comes_back()


@settings(max_examples=60, deadline=timedelta(seconds=5))
@given(batches())
def test_a_batch_comes_back_with_the_same_readings_and_silences(batch: LoadCellBatch) -> None:
    back = decode(encode(batch))
    assert isinstance(back, LoadCellBatch)
    assert (back.source, back.plates, back.t0_ns, back.rate_hz) == (
        batch.source,
        batch.plates,
        batch.t0_ns,
        batch.rate_hz,
    )
    assert back.grams.dtype == np.float32
    np.testing.assert_array_equal(back.grams, batch.grams)


@settings(max_examples=60, deadline=timedelta(seconds=5))
@given(ANY_RECORD, st.data())
def test_a_record_cut_short_anywhere_is_refused(record: Record, data: st.DataObject) -> None:
    payload = encode(record)
    with pytest.raises(CodecError):
        decode(payload[: data.draw(st.integers(0, len(payload) - 1))])


@settings(max_examples=300, deadline=timedelta(seconds=5))
@given(st.binary(max_size=80))
def test_garbage_is_refused_or_read_but_never_crashes(garbage: bytes) -> None:
    try:
        record = decode(garbage)
    except CodecError:
        return
    encode(record)


def test_readings_that_are_no_whole_rows_are_refused() -> None:
    message = shopping_pb2.StreamRecord()
    message.load_cell_batch.rate_hz = 60.0
    message.load_cell_batch.plates.add(gondola="1", shelf=1, plate=1)
    message.load_cell_batch.grams = b"\0" * 7
    with pytest.raises(CodecError, match="7 bytes of grams are no whole rows of 1 plates"):
        decode(message.SerializeToString())


def test_readings_without_plates_are_refused() -> None:
    message = shopping_pb2.StreamRecord(load_cell_batch=sensing_pb2.LoadCellBatch(rate_hz=60.0))
    with pytest.raises(CodecError, match="0 plates"):
        decode(message.SerializeToString())


def test_a_kind_that_a_newer_version_added_is_refused() -> None:
    message = shopping_pb2.StreamRecord()
    message.gate_event.visit_id = "v1"
    message.gate_event.kind = 17  # type: ignore[assignment]
    with pytest.raises(CodecError, match="kind 17 is unknown to this version"):
        decode(message.SerializeToString())


def test_a_record_that_a_newer_version_added_is_refused() -> None:
    with pytest.raises(CodecError, match="is the writer newer"):
        decode(bytes([15 << 3 | 2, 0]))


def test_a_field_that_a_newer_version_added_is_skipped() -> None:
    inner = sensing_pb2.Watermark(source="box-1", t_ns=7).SerializeToString() + bytes([15 << 3, 1])
    payload = bytes([6 << 3 | 2, len(inner)]) + inner
    assert decode(payload) == Watermark("box-1", 7)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (LoadCellBatch("b", (PLATE,), 0, float("nan"), BATCH.grams), "rate_hz is nan"),
        (LoadCellBatch("b", (PLATE,), 0, 0.0, BATCH.grams), "must be positive"),
        (LoadCellBatch("b", (PLATE, PLATE), 0, 60.0, np.zeros((3, 2), np.float32)), "none twice"),
        (LoadCellBatch("b", (PLATE,), 0, 60.0, np.zeros((3, 2), np.float32)), r"shape \(3, 2\) for 1 plates"),
        (LoadCellBatch("b", (PLATE,), 0, 60.0, np.zeros(3, np.float32)), r"shape \(3,\)"),
        (LoadCellBatch("b", (PLATE,), 2**63, 60.0, BATCH.grams), "load_cell_batch cannot be written"),
        (BodyFrame(float("nan"), ()), "body_frame cannot be written"),  # type: ignore[arg-type]
        (BodyFrame(1, (Body("1", Joint(float("nan"), 0, 0, 1), ()),)), "joint's position or score is nan"),
        (BodyFrame(1, (Body("1", None, (Joint(0, float("inf"), 0, 1),)),)), "joint's position or score is inf"),
        (WeightEvent("w", (PLATE,), (float("nan"),), (1.0,), 1, 2, 3), "delta_g is nan"),
        (WeightEvent("w", (PLATE,), (1.0,), (-1.0,), 1, 2, 3), "never negative"),
        (WeightEvent("w", (PLATE,), (1.0, 2.0), (1.0,), 1, 2, 3), "1 plates, 2 deltas, 1 sigmas"),
        (WeightEvent("w", (), (), (), 1, 2, 3), "0 plates"),
        (WeightEvent("w", (PLATE, PlateId("2", 2, 4)), (1.0, 2.0), (1.0, 1.0), 1, 2, 3), "several shelves"),
        (WeightEvent("w", (PLATE,), (1.0,), (1.0,), 3, 2, 1), "before it starts"),
        (WeightEvent("w", (PLATE,), (1.0,), (1.0,), 1, 2, 3, kind="pick"), "kind 'pick'"),  # type: ignore[arg-type]
        (Gap("s", 2, 1, "r"), "before it starts"),
        (Gap("s\udc80", 1, 2, "r"), "gap cannot be written"),
        (BasketEvent("e", "v", 1, BasketEventKind.PICK, "0", 1, float("nan")), "probability is nan"),
        (VisitClosed("v", 1, -1, 0.5), "visit_closed cannot be written"),
        (VisitClosed("v", 1, 1, float("inf")), "confidence is inf"),
        (Assignment("w", Candidate((Part("v", ()),), 2, 0.5)), "sign is 2"),
        (Undecided("w", (Candidate((Part("v", ()),), 1, float("nan")),), "r"), "probability is nan"),
        (PLATE, "PlateId is no record of the log"),
    ],
)
def test_a_record_that_breaks_its_contract_is_never_written(record: Record, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        encode(record)


def test_a_broken_contract_on_the_wire_is_refused() -> None:
    message = shopping_pb2.StreamRecord.FromString(encode(STEP))
    message.weight_event.sigma_g[0] = float("nan")
    with pytest.raises(CodecError, match="sigma_g is nan"):
        decode(message.SerializeToString())
