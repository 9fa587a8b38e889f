"""What version 1 of the formats wrote still reads to the same records.

``golden/morning`` is a recording and ``golden/records.txt`` one payload per kind of record (hex), both written once
by version 1 from the records below and never again. When a format changes, add a folder beside; keep these.
"""

from pathlib import Path

import numpy as np
import pytest

from walkout.bus.codec import decode, encode
from walkout.bus.recording import RecordingMeta, Sensed, read_recording
from walkout.bus.topics import Record
from walkout.domain.sensing import (
    Body,
    BodyFrame,
    Gap,
    GateEvent,
    GateEventKind,
    Joint,
    LoadCellBatch,
    PlateId,
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

GOLDEN = Path(__file__).parent / "golden"
T0 = 1_700_000_000_000_000_000
STEP = 200_000_000
META = RecordingMeta("morning", "synthetic, format 1", T0 - 7)
PLATES = (PlateId("2", 1, 1), PlateId("2", 1, 2), PlateId("2", 3, 12))


def sensed() -> list[Sensed]:
    """Two seconds of three plates and one shopper, in the order of event time."""
    found: list[Sensed] = [GateEvent(T0, GateEventKind.ENTERED, "visit-1", "track-1")]
    for step in range(10):
        t_ns = T0 + step * STEP
        head, hand = Joint(1.0 + 0.1 * step, 2.0, 1.6, 0.9), Joint(1.2 + 0.1 * step, 2.3, 1.1, 0.5)
        hands = (hand,) if step % 2 else (hand, head)
        bodies = (Body("track-1", head, hands, {"neck": head, "hip": hand}), Body("track-2", None, ()))
        found.append(BodyFrame(t_ns, bodies[: step % 3]))
        grams = np.arange(12, dtype=np.float32).reshape(4, 3) * np.float32(0.25) + np.float32(100.0 * step)
        grams[1, 2] = np.nan
        found.append(LoadCellBatch("gondola-2", PLATES, t_ns, 20.0, grams))
    found.append(Gap("gondola-2", T0 + 10 * STEP, T0 + 11 * STEP, "packets lost"))
    found.append(GateEvent(T0 + 12 * STEP, GateEventKind.LEFT, "visit-1", None))
    return sorted(found, key=_time)


def _time(record: Sensed) -> tuple[int, int]:
    match record:
        case GateEvent():
            return record.t_ns, 0
        case BodyFrame():
            return record.t_ns, 1
        case LoadCellBatch():
            return record.t0_ns, 2
        case Gap():
            return record.start_ns, 3


def one_of_each() -> dict[str, Record]:
    taken = Candidate((Part("visit-1", (Item("071142008582", 1), Item("0012", 2))),), -1, 0.875)
    nobody = Candidate((Part(None, ()),), 0, 0.125)
    return {
        "LoadCellBatch": LoadCellBatch("g", PLATES, T0, 60.0, np.array([[1.5, np.nan, -2]], np.float32)),
        "BodyFrame": BodyFrame(T0, (Body("t", Joint(1, 2, 3, 0.5), (), {"hip": Joint(4, 5, 6, 1)}),)),
        "WeightEvent": WeightEvent(
            "w", PLATES[:2], (-500.5, 2.0), (1.5, 0.25), T0, T0 + 1, T0 + 2, WeightEventKind.TOUCH, False
        ),
        "Gap": Gap("s", T0, T0 + 9, "torn"),
        "GateEvent": GateEvent(T0, GateEventKind.LEFT, "visit-1", None),
        "Watermark": Watermark("edge", T0),
        "BasketEvent": BasketEvent("e", "visit-1", T0, BasketEventKind.CORRECTION, "071142008582", -1, 0.75, "w"),
        "VisitClosed": VisitClosed("visit-1", T0, 3, 0.5, ("too close", "unknown product")),
        "Assignment": Assignment("w", taken, (nobody,)),
        "Undecided": Undecided("w", (taken, nobody), "margin 0.1"),
    }


def payload_of(name: str) -> bytes:
    lines = (line.split() for line in (GOLDEN / "records.txt").read_text().splitlines())
    return bytes.fromhex(dict(lines)[name])


def test_the_recording_of_version_1_reads_to_the_same_records() -> None:
    recording = read_recording(GOLDEN / "morning")
    assert recording.meta == META
    assert [encode(record) for record in recording.records()] == [encode(record) for record in sensed()]


@pytest.mark.parametrize("name", one_of_each())
def test_a_payload_of_version_1_decodes_to_the_same_record(name: str) -> None:
    found, expected = decode(payload_of(name)), one_of_each()[name]
    if isinstance(expected, LoadCellBatch):
        assert isinstance(found, LoadCellBatch)
        assert (found.source, found.plates, found.t0_ns, found.rate_hz) == ("g", PLATES, T0, 60.0)
        np.testing.assert_array_equal(found.grams, expected.grams)
    else:
        assert found == expected
