"""Recordings: who visited and when, what makes two recordings the same, and what an empty one is told."""

import lzma
import shutil
from pathlib import Path

import numpy as np
import pytest

from walkout.app.source import open_source, recording_id, survey
from walkout.bus.recording import RecordingMeta, RecordingWriter
from walkout.cli import record_kiosk
from walkout.domain.sensing import Body, BodyFrame, Gap, GateEvent, GateEventKind, LoadCellBatch, PlateId
from walkout.errors import RecordingError
from walkout.sim.kiosk import kiosk_store
from walkout.store.loader import write_store

NANOSTORE = Path(__file__).parents[2].parent / "shared" / "data" / "nanostore"


def frame(t_ns: int, *tracks: str) -> BodyFrame:
    return BodyFrame(t_ns, tuple(Body(track, None, ()) for track in tracks))


def batch(t0_ns: int) -> LoadCellBatch:
    return LoadCellBatch("gondola-1", (PlateId("1", 1, 1),), t0_ns, 60.0, np.zeros((12, 1), dtype=np.float32))


def test_a_visit_spans_the_first_and_last_sight_of_its_shopper() -> None:
    found = survey("r", [frame(10), frame(20, "a"), frame(30, "a", "b"), frame(40, "b"), frame(50)])
    assert [(visit.track_id, visit.entered_ns, visit.left_ns) for visit in found.visits] == [
        ("a", 20, 30),
        ("b", 30, 40),
    ]
    assert [(gate.t_ns, gate.kind, gate.track_id) for gate in found.gates] == [
        (20, GateEventKind.ENTERED, "a"),
        (30, GateEventKind.ENTERED, "b"),
        (30, GateEventKind.LEFT, "a"),
        (40, GateEventKind.LEFT, "b"),
    ]
    assert (found.start_ns, found.end_ns) == (10, 50)


def test_visit_ids_follow_from_the_recording_and_its_shopper() -> None:
    records = [frame(20, "a", "b")]
    one, again, other = survey("r", records), survey("r", records), survey("s", records)
    assert one.visits == again.visits
    assert len({visit.visit_id for visit in one.visits + other.visits}) == 4


def test_plates_without_anybody_seen_are_one_anonymous_visit() -> None:
    found = survey("r", [batch(0), batch(200_000_000)])
    assert [(visit.track_id, visit.entered_ns, visit.left_ns) for visit in found.visits] == [(None, 0, 400_000_000)]


def test_a_recording_with_a_gate_keeps_its_visits_and_ends_the_one_still_open() -> None:
    entered = [GateEvent(t, GateEventKind.ENTERED, visit, "t" + visit) for t, visit in ((5, "v"), (6, "w"))]
    left = GateEvent(8, GateEventKind.LEFT, "v", "tv")
    found = survey("r", [*entered, frame(7, "tv", "tw", "stranger"), left, frame(9, "tw")])
    assert [(visit.visit_id, visit.left_ns) for visit in found.visits] == [("v", 8), ("w", 9)]
    assert found.gates == (GateEvent(9, GateEventKind.LEFT, "w", "tw"),)


def test_a_recording_without_one_reading_is_refused_and_says_what_was_lost() -> None:
    with pytest.raises(RecordingError, match="empty"):
        survey("r", [])
    with pytest.raises(RecordingError, match="torn line"):
        survey("r", [Gap("plates", 0, 1, "torn line")])


def test_the_same_recording_under_another_path_is_the_same(tmp_path: Path) -> None:
    record_kiosk(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert recording_id(tmp_path / "a") == recording_id(tmp_path / "b")
    other = RecordingMeta("other", "test", 0)
    with RecordingWriter(tmp_path / "c", other) as writer:
        writer.write(frame(20, "a"))
    assert recording_id(tmp_path / "c") != recording_id(tmp_path / "a")


def test_a_packed_file_is_the_same_recording_as_the_plain_one(tmp_path: Path) -> None:
    for name in ("plain", "packed"):
        (tmp_path / name).mkdir()
    (tmp_path / "plain" / "plate_data.json").write_bytes(b"one\n")
    (tmp_path / "packed" / "plate_data.json.xz").write_bytes(lzma.compress(b"one\n"))
    assert recording_id(tmp_path / "plain") == recording_id(tmp_path / "packed")


def test_a_torn_packed_file_still_has_an_identity(tmp_path: Path) -> None:
    (tmp_path / "plate_data.json.xz").write_bytes(lzma.compress(b"one\n" * 1000)[:-20])
    assert recording_id(tmp_path) == recording_id(tmp_path)


def test_a_recording_of_ours_needs_a_store(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "r", RecordingMeta("r", "test", 0)) as writer:
        writer.write(frame(20, "a"))
    with pytest.raises(RecordingError, match="--store"):
        open_source(tmp_path / "r")
    write_store(kiosk_store(), tmp_path / "shop")
    assert open_source(tmp_path / "r", tmp_path / "shop").store.name == kiosk_store().name


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no such folder"):
        open_source(tmp_path / "none")


@pytest.mark.skipif(not NANOSTORE.is_dir(), reason="the public nanostore recordings are not beside the repository")
def test_a_nanostore_case_tells_its_shoppers() -> None:
    folder = NANOSTORE / "BENCHMARK-1"
    source = open_source(folder)
    found = survey(recording_id(folder), source.records())
    assert len(found.visits) == 1
    assert 15.0 < (found.end_ns - found.start_ns) / 1e9 < 30.0
