"""A recording reads back as it was written; what is damaged is told as gaps and never as something else."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walkout.bus import frames
from walkout.bus.codec import encode
from walkout.bus.recording import RecordingMeta, RecordingWriter, Sensed, read_recording
from walkout.bus.topics import Record
from walkout.domain.sensing import Body, BodyFrame, Gap, GateEvent, GateEventKind, LoadCellBatch, PlateId, Watermark
from walkout.errors import CodecError, RecordingError

META = RecordingMeta("morning", "made up for a test", 1_700_000_000_000_000_000)
T0 = 1_600_000_000_000_000_000


def frame(t_ns: int) -> BodyFrame:
    return BodyFrame(T0 + t_ns, ())


def batch(t_ns: int, grams: float = 0.0) -> LoadCellBatch:
    return LoadCellBatch("box", (PlateId("1", 1, 1),), T0 + t_ns, 60.0, np.full((2, 1), grams, dtype=np.float32))


def write(path: Path, records: list[Sensed]) -> Path:
    with RecordingWriter(path, META) as writer:
        for record in records:
            writer.write(record)
    return path


def payloads(records: Iterator[Record] | list[Sensed]) -> list[bytes]:
    """Records as bytes, which compare batches too."""
    return [encode(record) for record in records]


def frames_file(path: Path, topic: str = "observations") -> Path:
    return path / "records" / f"{topic}.frames"


def test_records_come_back_in_the_order_of_event_time(tmp_path: Path) -> None:
    entered = GateEvent(T0 + 3, GateEventKind.ENTERED, "v", "1")
    dropout = Gap("box", T0 + 4, T0 + 9, "no packets")
    written: list[Sensed] = [frame(1), frame(6), batch(2), batch(5), entered, dropout]
    recording = read_recording(write(tmp_path / "r", written))
    expected: list[Sensed] = [frame(1), batch(2), entered, dropout, batch(5), frame(6)]
    assert payloads(recording.records()) == payloads(expected)
    assert recording.meta == META
    assert (recording.first_ns, recording.last_ns) == (T0 + 1, T0 + 6)
    assert recording.counts == {"observations": 2, "plate_batches": 2, "gate_events": 1, "gaps": 1}


def test_ties_go_by_the_topic_table_and_then_by_arrival(tmp_path: Path) -> None:
    entered = GateEvent(T0, GateEventKind.ENTERED, "v", None)
    somebody = BodyFrame(T0, (Body("1", None, ()),))
    written: list[Sensed] = [batch(0, 1.0), batch(0, 2.0), somebody, frame(0), entered]
    recording = read_recording(write(tmp_path / "r", written))
    expected: list[Sensed] = [entered, somebody, frame(0), batch(0, 1.0), batch(0, 2.0)]
    assert payloads(recording.records()) == payloads(expected)


def test_packets_that_arrived_late_or_twice_are_put_in_their_place(tmp_path: Path) -> None:
    recording = read_recording(write(tmp_path / "r", [frame(1), frame(9), frame(5), frame(9), frame(2)]))
    assert payloads(recording.records()) == payloads([frame(1), frame(2), frame(5), frame(9), frame(9)])


@settings(max_examples=40, deadline=timedelta(seconds=5))
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), max_size=30))
def test_reading_twice_gives_the_same_records(
    tmp_path_factory: pytest.TempPathFactory, plan: list[tuple[bool, int]]
) -> None:
    records: list[Sensed] = [frame(t) if body else batch(t) for body, t in plan]
    recording = read_recording(write(tmp_path_factory.mktemp("twice") / "r", records))
    first = payloads(recording.records())
    assert first == payloads(recording.records())
    assert sorted(first) == sorted(payloads(records))


def test_an_empty_recording_is_a_recording(tmp_path: Path) -> None:
    recording = read_recording(write(tmp_path / "r", []))
    assert list(recording.records()) == []
    assert recording.first_ns is None
    assert recording.counts == {}


def test_names_are_kept_as_given(tmp_path: Path) -> None:
    meta = RecordingMeta('a "quoted" \\ name\n\x7f한글 🛒', "C:\\data", 5)
    with RecordingWriter(tmp_path / "r", meta):
        pass
    assert read_recording(tmp_path / "r").meta == meta


def test_other_files_may_lie_beside(tmp_path: Path) -> None:
    (tmp_path / "r" / "store").mkdir(parents=True)
    (tmp_path / "r" / "truth.json").write_text("{}")
    recording = read_recording(write(tmp_path / "r", [frame(1)]))
    assert payloads(recording.records()) == payloads([frame(1)])
    assert (tmp_path / "r" / "truth.json").read_text() == "{}"


# Half-made recordings.


def interrupted(path: Path) -> None:
    with RecordingWriter(path, META) as writer:
        writer.write(frame(1))
        raise KeyboardInterrupt


def test_an_interrupted_writer_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_writer_leaves_what_lay_there_before(tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text("{}")
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["truth.json"]


def test_a_recording_being_written_is_none_yet(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "r", META) as writer:
        writer.write(frame(1))
        with pytest.raises(RecordingError, match="its writer never finished"):
            read_recording(tmp_path / "r")
        with (
            pytest.raises(RecordingError, match="being written by another"),
            RecordingWriter(tmp_path / "r", META),
        ):
            pass
    assert payloads(read_recording(tmp_path / "r").records()) == payloads([frame(1)])


KILLED = """
import sys, time
from pathlib import Path
from walkout.bus.recording import RecordingMeta, RecordingWriter
from walkout.domain.sensing import BodyFrame
with RecordingWriter(Path(sys.argv[1]), RecordingMeta("killed", "test", 0)) as writer:
    for t_ns in range(1000):
        writer.write(BodyFrame(t_ns, ()))
    print("half way", flush=True)
    time.sleep(600)
"""


def test_a_killed_writer_leaves_no_recording_and_a_free_place(tmp_path: Path) -> None:
    killed = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "r")], stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    assert killed.stdout.readline() == "half way\n"
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait(timeout=60.0)
    killed.stdout.close()
    with pytest.raises(RecordingError, match="its writer never finished"):
        read_recording(tmp_path / "r")
    recording = read_recording(write(tmp_path / "r", [batch(1)]))
    assert payloads(recording.records()) == payloads([batch(1)])
    assert sorted(path.name for path in (tmp_path / "r").rglob("*")) == [
        "plate_batches.frames",
        "recording.toml",
        "records",
    ]


def test_a_recording_is_never_written_over(tmp_path: Path) -> None:
    write(tmp_path / "r", [frame(1)])
    with pytest.raises(RecordingError, match="holds a recording already"):
        write(tmp_path / "r", [frame(2)])
    assert payloads(read_recording(tmp_path / "r").records()) == payloads([frame(1)])


def test_what_is_computed_is_never_recorded(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="watermarks are computed"), RecordingWriter(tmp_path, META) as w:
        w.write(Watermark("edge", 1))  # type: ignore[arg-type]


def test_a_broken_record_is_refused_by_the_writer(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "r", META) as writer:
        writer.write(frame(1))
        with pytest.raises(CodecError):
            writer.write(batch(2**63))
    assert payloads(read_recording(tmp_path / "r").records()) == payloads([frame(1)])


# No recording at all.


def test_a_folder_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="so it is no recording"):
        read_recording(tmp_path)
    with pytest.raises(RecordingError, match="so it is no recording"):
        read_recording(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("format_version = 2", "format 2, this version reads up to 1; update walkout"),
        ("format_version = 'x'", "format_version is 'x'"),
        ("", "format_version is None"),
        ("format_version = ", "cannot be read"),
        ("format_version = 1\nname = 'n'", "restore the file"),
        ("format_version = 1\nname = 'n'\nsource = 's'\ncreated_ns = 'x'\n[counts]", "restore the file"),
        ("format_version = 1\nname = 'n'\nsource = 's'\ncreated_ns = 1\ncounts = 3", "restore the file"),
    ],
)
def test_a_recording_that_cannot_be_opened_says_why(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "recording.toml").write_text(text)
    with pytest.raises(RecordingError, match=reason):
        read_recording(tmp_path)


# Damage.


def gaps_and_rest(path: Path) -> tuple[list[Gap], list[bytes]]:
    found = list(read_recording(path).records())
    gaps = [record for record in found if isinstance(record, Gap)]
    return gaps, [encode(record) for record in found if not isinstance(record, Gap)]


def test_a_half_written_tail_is_a_gap(tmp_path: Path) -> None:
    path = write(tmp_path, [frame(1), frame(2), frame(3), batch(9)])
    file = frames_file(path)
    file.write_bytes(file.read_bytes()[:-5])
    gaps, rest = gaps_and_rest(path)
    assert rest == payloads([frame(1), frame(2), batch(9)])
    assert [(gap.source, gap.start_ns, gap.end_ns) for gap in gaps] == [("recording/observations", T0 + 2, T0 + 9)]
    assert "cut short; 1 of 3 records are missing" in gaps[0].reason


def test_a_file_that_ends_between_two_records_is_a_gap_too(tmp_path: Path) -> None:
    path = write(tmp_path, [frame(1), frame(2), frame(3)])
    file = frames_file(path)
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[: size // 3 * 2])
    gaps, rest = gaps_and_rest(path)
    assert rest == payloads([frame(1), frame(2)])
    assert [(gap.start_ns, gap.end_ns) for gap in gaps] == [(T0 + 2, T0 + 3)]
    assert "ends early; 1 of 3 records are missing" in gaps[0].reason


@pytest.mark.parametrize("missing", [True, False])
def test_a_file_that_is_gone_or_empty_is_a_gap_over_the_whole_recording(tmp_path: Path, missing: bool) -> None:
    path = write(tmp_path, [frame(1), frame(5), batch(3)])
    frames_file(path).unlink()
    if not missing:
        frames_file(path).touch()
    gaps, rest = gaps_and_rest(path)
    assert rest == payloads([batch(3)])
    assert [(gap.source, gap.start_ns, gap.end_ns) for gap in gaps] == [("recording/observations", T0 + 1, T0 + 5)]


def test_damage_in_the_middle_is_a_gap_between_its_neighbours(tmp_path: Path) -> None:
    path = write(tmp_path, [frame(t) for t in range(6)])
    file = frames_file(path)
    data = bytearray(file.read_bytes())
    size = len(data) // 6
    data[2 * size + 3] ^= 0x10
    data[3 * size + size - 1] ^= 0x01
    file.write_bytes(data)
    gaps, rest = gaps_and_rest(path)
    assert rest == payloads([frame(0), frame(1), frame(4), frame(5)])
    assert [(gap.start_ns, gap.end_ns) for gap in gaps] == [(T0 + 1, T0 + 4)]
    assert f"{2 * size} bytes at {2 * size} of observations.frames are damaged" in gaps[0].reason


@settings(max_examples=150, deadline=timedelta(seconds=5))
@given(data=st.data())
def test_whatever_happens_to_a_file_no_record_is_made_up(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    written: list[Sensed] = [batch(t, 10.0 * t) for t in range(8)]
    path = write(tmp_path_factory.mktemp("damaged"), written)
    file = frames_file(path, "plate_batches")
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        end = min(len(content), start + data.draw(st.integers(0, 150)))
        content[start:end] = data.draw(st.binary(max_size=150))
    file.write_bytes(content)

    gaps, rest = gaps_and_rest(path)
    assert set(rest) <= set(payloads(written))
    assert gaps or set(rest) == set(payloads(written))


def test_a_record_of_a_newer_version_is_a_gap_at_its_time(tmp_path: Path) -> None:
    path = write(tmp_path, [frame(1), frame(3)])
    file = frames_file(path)
    one = len(file.read_bytes()) // 2
    newer = frames.frame(T0 + 2, bytes([15 << 3 | 2, 0]))
    file.write_bytes(file.read_bytes()[:one] + newer + file.read_bytes()[one:])
    gaps, rest = gaps_and_rest(path)
    assert rest == payloads([frame(1), frame(3)])
    assert [(gap.start_ns, gap.end_ns) for gap in gaps] == [(T0 + 2, T0 + 2)]
    assert "newer" in gaps[0].reason


def test_a_topic_of_a_newer_version_is_a_gap(tmp_path: Path) -> None:
    path = write(tmp_path, [frame(1), frame(3)])
    with (path / "recording.toml").open("a") as text:
        text.write("smells = 5\n")
    gaps, rest = gaps_and_rest(path)
    assert rest == payloads([frame(1), frame(3)])
    assert [(gap.source, gap.start_ns, gap.end_ns) for gap in gaps] == [("recording/smells", T0 + 1, T0 + 3)]
