"""Recordings in the public nanostore format: whatever a line holds, good readings pass and the rest is a Gap."""

import base64
import json
import lzma
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.odd_values import with_odd_values
from walkout.app.nanostore import import_nanostore, nanostore_records
from walkout.bus.recording import RecordingMeta, RecordingWriter, read_recording
from walkout.bus.topics import event_time_ns
from walkout.domain.clock import NS_PER_S
from walkout.domain.geometry import IDENTITY
from walkout.domain.sensing import BodyFrame, Gap, LoadCellBatch, PlateId, ShelfId
from walkout.errors import RecordingError
from walkout.store.layout import Gondola, Layout, Plate, Shelf, resolve
from walkout.store.nanostore import find_store_files, read_nanostore

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "nanostore"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the public nanostore data is not beside the repository")
START = datetime(2020, 4, 23, 3, 3, 20, tzinfo=UTC)
START_NS = round(START.timestamp()) * NS_PER_S
BATCH_S = 0.2


def make_layout() -> Layout:
    """Gondolas 1 and 2, each with shelves 1 and 2 of three plates."""
    gondolas = []
    for gondola in ("1", "2"):
        shelves = []
        for shelf in (1, 2):
            plates = tuple(Plate(PlateId(gondola, shelf, n), IDENTITY, (0.1, 0.4)) for n in (1, 2, 3))
            shelves.append(Shelf(ShelfId(gondola, shelf), IDENTITY, (0.3, 0.4, 0.3), plates))
        gondolas.append(Gondola(gondola, IDENTITY, (0.3, 0.4, 2.0), tuple(shelves)))
    return resolve(tuple(gondolas))


LAYOUT = make_layout()


def stamp(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def readings(seed: int, samples: int = 12, rows: int = 3, columns: int = 5) -> NDArray[np.float32]:
    """Plates 1 to 3 of shelves 1 and 2 at rest; row 0, column 0 and column 4 (no plate there) are NaN."""
    grams = np.full((samples, rows, columns), np.nan, np.float32)
    rng = np.random.default_rng(abs(seed))
    grams[:, 1:, 1:4] = 1000.0 + rng.normal(0.0, 1.0, (samples, rows - 1, 3))
    return grams


def plate_line(
    seconds: float,
    gondola: int = 1,
    grams: NDArray[np.float32] | None = None,
    header: dict[str, str] | None = None,
    **values: Any,
) -> dict[str, Any]:
    """A batch sent ``seconds`` after the start."""
    array = readings(round(seconds * 1000) + 7919 * gondola) if grams is None else grams
    body = {"data": base64.b64encode(array.tobytes()).decode(), "shape": list(array.shape), **values}
    plate_id = {"shelf_id": {"gondola_id": {"id": gondola}}}
    return {
        "timestamp": START.timestamp() + seconds,
        "document": {
            "header": {"t_issue": stamp(seconds)} if header is None else header,
            "plate_data": {"plate_id": plate_id, "freq_samp": 60.0, "values": body},
        },
    }


def target(name: str, x_in: float = 100.0, **more: Any) -> dict[str, Any]:
    head = {"point": {"x": x_in, "y": -20.0, "z": 65.0}, "score": 0.9}
    return {"target_id": {"id": name}, "head": head, **more}


def body_line(seconds: float, *targets: dict[str, Any]) -> dict[str, Any]:
    inner = {"targets": list(targets)} if targets else {}
    return {"document": {"header": {"t_issue": stamp(seconds)}, "targets": inner}}


def plate_lines(count: int = 20) -> list[Any]:
    return [plate_line(BATCH_S * (n + 1)) for n in range(count)]


def body_lines(count: int = 60) -> list[Any]:
    return [body_line(n / 15, target("-17", 100.0 + n)) for n in range(count)]


def write(folder: Path, plates: list[Any] | None = None, bodies: list[Any] | None = None, xz: bool = False) -> Path:
    """Lines as JSON; text and bytes go in as they are."""
    for name, lines in (("plate_data.json", plates), ("full_targets.json", bodies)):
        if lines is None:
            continue
        data = b"".join(encoded(one) + b"\n" for one in lines)
        path = folder / (name + ".xz" if xz else name)
        path.write_bytes(lzma.compress(data) if xz else data)
    return folder


def encoded(one: object) -> bytes:
    if isinstance(one, bytes):
        return one
    return (one if isinstance(one, str) else json.dumps(one)).encode()


Records = tuple[list[LoadCellBatch], list[BodyFrame], list[Gap]]


def read(folder: Path, layout: Layout = LAYOUT) -> Records:
    found = list(nanostore_records(folder, layout))
    times = [event_time_ns(record) for record in found]
    assert times == sorted(times), "records must come in order of event time"
    return (
        [record for record in found if isinstance(record, LoadCellBatch)],
        [record for record in found if isinstance(record, BodyFrame)],
        [record for record in found if isinstance(record, Gap)],
    )


def test_a_batch_ends_with_its_last_sample_and_holds_the_plates_of_the_layout(tmp_path: Path) -> None:
    batches, _, gaps = read(write(tmp_path, plate_lines()))
    assert gaps == []
    assert len(batches) == 20
    first = batches[0]
    assert (first.source, first.rate_hz, first.t0_ns, first.end_ns) == (
        "gondola-1",
        60.0,
        START_NS,
        START_NS + NS_PER_S // 5,
    )
    assert first.plates == tuple(PlateId("1", shelf, plate) for shelf in (1, 2) for plate in (1, 2, 3))
    expected = readings(200 + 7919)
    assert first.grams.dtype == np.float32
    np.testing.assert_array_equal(first.grams, expected[:, 1:, 1:4].reshape(12, 6))


def test_the_time_of_the_last_sample_is_believed_before_the_time_of_sending(tmp_path: Path) -> None:
    lines = [
        plate_line(BATCH_S * n + 0.1, header={"t_origin": stamp(BATCH_S * n), "t_issue": stamp(BATCH_S * n + 0.1)})
        for n in range(1, 10)
    ]
    batches, _, _ = read(write(tmp_path, lines))
    last_sample_ns = batches[0].t0_ns + round(11 * NS_PER_S / 60)
    assert abs(last_sample_ns - (START_NS + NS_PER_S // 5)) <= 2


def test_a_line_without_a_header_time_is_placed_by_its_timestamp(tmp_path: Path) -> None:
    batches, _, gaps = read(write(tmp_path, [plate_line(BATCH_S * n, header={}) for n in range(1, 10)]))
    assert gaps == []
    assert abs(batches[0].end_ns - START_NS - NS_PER_S // 5) < 1000


def test_bodies_come_in_metres_with_whatever_hands_were_seen(tmp_path: Path) -> None:
    wrist = {"point": {"x": 10.0, "z": 40.0}, "score": 0.5}
    line = body_line(0.0, target("-17", hands=[wrist], neck=wrist, target_state="VALID"), target("23"))
    _, frames, gaps = read(write(tmp_path, bodies=[line, body_line(0.1), body_line(0.2)]))
    assert gaps == []
    assert [frame.t_ns for frame in frames] == [START_NS, START_NS + NS_PER_S // 10, START_NS + NS_PER_S // 5]
    one, other = frames[0].bodies
    assert one.head is not None
    assert (one.track_id, one.head.x_m, one.head.y_m) == ("-17", pytest.approx(2.54), pytest.approx(-0.508))
    assert [(hand.x_m, hand.y_m, hand.z_m, hand.score) for hand in one.hands] == [
        (pytest.approx(0.254), 0.0, pytest.approx(1.016), 0.5)
    ]
    assert set(one.joints) == {"neck"}
    assert (other.track_id, other.hands, other.joints) == ("23", (), {})
    assert frames[1].bodies == ()


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e400", "5000", '"7"', "null", "true", "[1]", "1" + "0" * 400])
def test_absurd_coordinates_drop_the_joint_and_keep_the_body(tmp_path: Path, value: str) -> None:
    text = json.dumps(body_line(0.0, target("-17", 123456.0, neck={"point": {"x": 1.0}})))
    _, frames, gaps = read(write(tmp_path, bodies=[text.replace("123456.0", value)]))
    assert gaps == []
    assert (frames[0].bodies[0].head, set(frames[0].bodies[0].joints)) == (None, {"neck"})


def test_a_joint_without_coordinates_was_not_seen(tmp_path: Path) -> None:
    unseen: dict[str, Any] = {"point": {}}
    line = body_line(0.0, {**target("-17", neck=unseen, hands=[unseen]), "head": unseen})
    _, frames, _ = read(write(tmp_path, bodies=[line]))
    (body,) = frames[0].bodies
    assert (body.head, body.hands, body.joints) == (None, (), {})


def test_plates_and_bodies_of_two_files_and_two_gondolas_come_in_one_order(tmp_path: Path) -> None:
    plates = [line for n in range(1, 40) for line in (plate_line(BATCH_S * n, 2), plate_line(BATCH_S * n + 0.05, 1))]
    batches, frames, gaps = read(write(tmp_path, plates, body_lines(200), xz=True))
    assert (len(batches), len(frames), gaps) == (78, 200, [])


def test_the_same_files_give_the_same_records(tmp_path: Path) -> None:
    write(tmp_path, [plate_line(0.2 * n, 1 + n % 2) for n in range(1, 60)], body_lines())
    one, other = (list(nanostore_records(tmp_path, LAYOUT)) for _ in range(2))
    assert [repr(record) for record in one] == [repr(record) for record in other]


def test_plain_and_packed_files_read_alike(tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    plain.mkdir()
    packed.mkdir()
    write(plain, plate_lines(), body_lines())
    write(packed, plate_lines(), body_lines(), xz=True)
    one, other = (list(nanostore_records(folder, LAYOUT)) for folder in (plain, packed))
    assert [repr(record) for record in one] == [repr(record) for record in other]


def test_nan_plates_pass_as_nan(tmp_path: Path) -> None:
    lines = plate_lines()
    grams = readings(1)
    grams[:, 1, 2] = np.nan
    grams[3, 2, 1] = np.inf
    grams[4, 2, 1] = 1e30
    lines[4] = plate_line(1.0, grams=grams)
    batches, _, gaps = read(write(tmp_path, lines))
    assert gaps == []
    assert np.isnan(batches[4].grams[:, 1]).all()
    assert np.flatnonzero(np.isnan(batches[4].grams[:, 3])).tolist() == [3, 4]
    assert not np.isnan(batches[4].grams[:, 0]).any()


def spoiled(spoil: Callable[[dict[str, Any]], object]) -> Any:
    line = plate_line(1.0)
    spoil(line)
    return line


def values_of(line: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = line["document"]["plate_data"]["values"]
    return found


NO_NUMBER = {"shelf_id": {"gondola_id": {"id": "x"}}}
BAD_PLATE_LINES = [
    ("not JSON", "no JSON"),
    ("[" * 100_000, "no JSON"),
    ("[1, 2]", "no JSON object"),
    (b"\xff\xfe\x00", "no JSON"),
    (json.dumps(plate_line(1.0))[:700], "no JSON"),
    ("x" * 1_000_100, "longer than"),
    (spoiled(lambda line: values_of(line).update(data=values_of(line)["data"][:-9])), "torn data"),
    (spoiled(lambda line: values_of(line).update(data=values_of(line)["data"][:-8])), "bytes of data do not make"),
    (spoiled(lambda line: values_of(line).update(data="*" + values_of(line)["data"][1:])), "torn data"),
    (spoiled(lambda line: values_of(line).update(data=17)), "no data"),
    (spoiled(lambda line: values_of(line).update(shape=[12, 3])), "the shape"),
    (spoiled(lambda line: values_of(line).update(shape=[12, 3, -5])), "the shape"),
    (spoiled(lambda line: values_of(line).update(shape=[12, 3, True])), "the shape"),
    (spoiled(lambda line: values_of(line).update(shape=[12, 5, 3])), "too few for the gondola's plates"),
    (spoiled(lambda line: values_of(line).update(shape=[36, 1, 5])), "too few for the gondola's shelves"),
    (spoiled(lambda line: values_of(line).update(type="DATATYPE_FLOAT64")), "not DATATYPE_FLOAT32"),
    (spoiled(lambda line: line["document"]["plate_data"].update(freq_samp=-60)), "freq_samp"),
    (spoiled(lambda line: line["document"]["plate_data"].update(freq_samp="fast")), "freq_samp"),
    (spoiled(lambda line: line.update(timestamp=None, document={})), "no time"),
    (spoiled(lambda line: line.update(timestamp=-5.0, document={"header": {"t_issue": "yesterday"}})), "no time"),
    (spoiled(lambda line: line["document"]["plate_data"].update(plate_id=NO_NUMBER)), "no number"),
]  # fmt: skip


@pytest.mark.parametrize(("bad", "says"), BAD_PLATE_LINES, ids=[str(n) for n in range(len(BAD_PLATE_LINES))])
def test_a_bad_plate_line_is_a_gap_with_file_and_line(tmp_path: Path, bad: Any, says: str) -> None:
    lines = plate_lines()
    lines[4] = bad
    batches, _, gaps = read(write(tmp_path, lines))
    assert len(batches) == 19
    told = [gap for gap in gaps if gap.source == "plate_data.json"]
    assert len(told) == 1
    assert told[0].reason.startswith("line 5: ")
    assert says in told[0].reason
    assert START_NS <= told[0].start_ns <= START_NS + 4 * NS_PER_S
    lost = [gap for gap in gaps if gap.source == "gondola-1"]
    assert [(gap.start_ns - START_NS) // 10**6 for gap in lost] == [800]


BAD_BODY_LINES = [
    ("{", "no JSON"),
    ({"document": {"header": {}}}, "no time"),
    ({"document": {"header": {"t_issue": stamp(0.3)}, "targets": {"targets": 5}}}, "targets are no list"),
    (body_line(4 / 15, {"head": {}}), "without an id"),
    (body_line(4 / 15, target("-17"), target("-17")), "there twice"),
]


@pytest.mark.parametrize(("bad", "says"), BAD_BODY_LINES)
def test_a_bad_body_line_is_a_gap_with_file_and_line(tmp_path: Path, bad: Any, says: str) -> None:
    lines = body_lines()
    lines[4] = bad
    _, frames, gaps = read(write(tmp_path, bodies=lines))
    assert len(frames) in (59, 60)
    assert [(gap.source, gap.reason.partition(":")[0]) for gap in gaps] == [("full_targets.json", "line 5")]
    assert says in gaps[0].reason


def test_lost_doubled_and_swapped_batches(tmp_path: Path) -> None:
    lines = plate_lines(60)
    lines[30], lines[33] = lines[33], lines[30]
    lines.insert(20, lines[18])
    del lines[10]
    batches, _, gaps = read(write(tmp_path, lines))
    assert [round((batch.t0_ns - START_NS) / 1e9, 6) for batch in batches] == [
        round(BATCH_S * n, 6) for n in range(60) if n != 10
    ]
    assert [(gap.source, gap.reason) for gap in gaps] == [("gondola-1", "1 batch lost")]
    assert (gaps[0].start_ns, gaps[0].end_ns) == (START_NS + 2 * NS_PER_S, START_NS + 22 * NS_PER_S // 10)


def test_doubled_and_swapped_frames_are_set_right_and_a_contradiction_is_told(tmp_path: Path) -> None:
    lines = body_lines()
    lines[10], lines[12] = lines[12], lines[10]
    lines.insert(20, lines[18])
    lines.insert(30, body_line(25 / 15, target("-17", 7.0)))
    _, frames, gaps = read(write(tmp_path, bodies=lines))
    assert len(frames) == 60
    assert all(after.t_ns > before.t_ns for before, after in pairwise(frames))
    assert [gap.reason.partition(": ")[2] for gap in gaps] == ["another frame of the same time; the first one stays"]


def test_bodies_that_stay_away_are_a_gap(tmp_path: Path) -> None:
    lines = body_lines(30) + [body_line(7 + n / 15) for n in range(30)]
    _, _, gaps = read(write(tmp_path, bodies=lines))
    assert [gap.reason for gap in gaps] == ["no bodies for 5.1 s"]


def test_a_clock_that_goes_back_is_a_gap_and_the_readings_go_on(tmp_path: Path) -> None:
    lines = plate_lines(30) + [plate_line(BATCH_S * (n + 1) - 60.0) for n in range(30)]
    batches, _, gaps = read(write(tmp_path, lines, body_lines()))
    assert len(batches) == 60
    assert any("stepped back" in gap.reason for gap in gaps)
    assert all(after.t0_ns > before.t0_ns for before, after in pairwise(batches))
    assert batches[-1].end_ns <= START_NS + 13 * NS_PER_S


def test_an_unknown_gondola_is_told_once(tmp_path: Path) -> None:
    lines = [line for n in range(1, 20) for line in (plate_line(BATCH_S * n), plate_line(BATCH_S * n, 9))]
    batches, _, gaps = read(write(tmp_path, lines))
    assert {batch.source for batch in batches} == {"gondola-1"}
    assert [gap.source for gap in gaps] == ["gondola-9"]


def test_a_plate_that_the_layout_does_not_know_is_told_once(tmp_path: Path) -> None:
    lines = []
    for n in range(1, 20):
        grams = readings(n)
        grams[:, 1, 4] = 800.0 + np.random.default_rng(n).normal(0.0, 1.0, 12)
        grams[:, 2, 4] = 6067.416
        lines.append(plate_line(BATCH_S * n, grams=grams))
    batches, _, gaps = read(write(tmp_path, lines))
    assert len(batches) == 19
    assert [gap.source for gap in gaps] == ["plate 1/1/4"]


def test_a_dead_controller_that_repeats_itself_is_no_double(tmp_path: Path) -> None:
    still = np.full((12, 3, 5), 500.0, np.float32)
    lines = [plate_line(BATCH_S * n, grams=still) for n in range(1, 20)]
    lines.insert(5, lines[4])
    batches, _, gaps = read(write(tmp_path, lines))
    assert (len(batches), gaps) == (19, [])


def test_a_file_cut_off_is_told_and_what_came_before_is_kept(tmp_path: Path) -> None:
    write(tmp_path, plate_lines(200), xz=True)
    path = tmp_path / "plate_data.json.xz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    batches, _, gaps = read(tmp_path)
    assert 20 < len(batches) < 200
    assert any("cannot be read on" in gap.reason for gap in gaps)


def test_a_file_of_garbage_lists_so_many_lines_and_no_more(tmp_path: Path) -> None:
    batches, _, gaps = read(write(tmp_path, ["garbage"] * 3000))
    assert batches == []
    assert len(gaps) == 1000
    assert gaps[-1].reason.endswith("no more are listed")


def test_an_empty_recording_yields_nothing_and_no_recording_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"plate_data\.json"):
        read(tmp_path)
    assert read(write(tmp_path, [], [])) == ([], [], [])


def test_either_file_may_be_missing(tmp_path: Path) -> None:
    assert len(read(write(tmp_path, bodies=body_lines()))[1]) == 60
    (tmp_path / "full_targets.json").unlink()
    assert len(read(write(tmp_path, plate_lines()))[0]) == 20


def test_progress_goes_to_the_end(tmp_path: Path) -> None:
    shares: list[float] = []
    list(nanostore_records(write(tmp_path, plate_lines(100), body_lines()), LAYOUT, shares.append))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_any_damage_leaves_a_stream_in_order(tmp_path: Path) -> None:
    """Flipped, cut, doubled, swapped and dropped lines in any mixture."""
    for seed in range(30):
        rng = random.Random(seed)
        plates = [encoded(line) for n in range(1, 60) for line in (plate_line(BATCH_S * n), plate_line(BATCH_S * n, 2))]
        bodies = [encoded(line) for line in body_lines(180)]
        for lines in (plates, bodies):
            for _ in range(15):
                at = rng.randrange(len(lines))
                spot = rng.randrange(len(lines[at]) or 1)
                match rng.randrange(5):
                    case 0:
                        lines[at] = lines[at][:spot]
                    case 1:
                        lines[at] = lines[at][:spot] + bytes([rng.randrange(256)]) + lines[at][spot + 1 :]
                    case 2:
                        lines.insert(min(len(lines), at + rng.randrange(4)), lines[at])
                    case 3:
                        other = rng.randrange(len(lines))
                        lines[at], lines[other] = lines[other], lines[at]
                    case 4:
                        del lines[at]
        batches, frames, gaps = read(write(tmp_path, plates, bodies))
        assert gaps
        assert len(batches) > 70
        assert len(frames) > 140
        for source in ("gondola-1", "gondola-2"):
            times = [batch.t0_ns for batch in batches if batch.source == source]
            assert all(after > before for before, after in pairwise(times))


def test_no_value_in_any_field_stops_the_reading(tmp_path: Path) -> None:
    wrist = {"point": {"x": 10.0, "y": 5.0, "z": 40.0}, "score": 0.5}
    plates, bodies = plate_lines(5), body_lines(5)
    plates += with_odd_values(plate_line(1.2)) + [plate_line(1.4 + BATCH_S * n) for n in range(40)]
    bodies += with_odd_values(body_line(5 / 15, target("-17", hands=[wrist], neck=wrist))) + body_lines(60)[6:]
    source = tmp_path / "case"
    source.mkdir()
    batches, frames, gaps = read(write(source, plates, bodies))
    assert len(batches) >= 45
    assert len(frames) >= 59
    assert len(gaps) > 100
    with RecordingWriter(tmp_path / "ours", RecordingMeta("case", "nanostore", 0)) as writer:
        for record in nanostore_records(source, LAYOUT):
            writer.write(record)
    assert len(list(read_recording(tmp_path / "ours").records())) == len(batches) + len(frames) + len(gaps)


def real_layout() -> Layout:
    return read_nanostore(find_store_files(REAL / "BENCHMARK-1"))[0].layout


@needs_real
def test_the_real_visit_has_its_plates_and_times() -> None:
    batches, frames, gaps = read(REAL / "BENCHMARK-1", real_layout())
    assert gaps == []
    assert (len(batches), len(frames)) == (344, 291)
    assert Counter({batch.source: len(batch.plates) for batch in batches}) == {
        "gondola-1": 72,
        "gondola-2": 54,
        "gondola-3": 60,
        "gondola-4": 54,
    }
    # The first line says that its last sample was taken at 05:06:36.859.
    first = next(batch for batch in batches if batch.source == "gondola-1")
    last_sample = datetime(2020, 4, 22, 5, 6, 36, 859_000, tzinfo=UTC)
    expected_ns = round(last_sample.timestamp() * 1000) * 10**6
    assert abs(first.t0_ns + round(11 * NS_PER_S / 60) - expected_ns) < 1000
    for source in ("gondola-1", "gondola-2", "gondola-3", "gondola-4"):
        own = [batch for batch in batches if batch.source == source]
        assert {after.t0_ns - before.end_ns for before, after in pairwise(own)} <= {-1, 0, 1}
    heads = [body.head for frame in frames for body in frame.bodies]
    assert {body.track_id for frame in frames for body in frame.bodies} == {"3325379692103139202"}
    assert all(head is None or 1.6 < head.z_m < 1.8 for head in heads), "a head's height in metres"
    assert sum(head is None for head in heads) == 2


CASES = sorted(path.name for path in (REAL / "reenacted").iterdir()) if REAL.is_dir() else []


@needs_real
@pytest.mark.parametrize("case", CASES)
def test_every_reenacted_visit_reads_with_no_gap_but_its_lost_batches(case: str) -> None:
    folder = REAL / "reenacted" / case
    sent: dict[int, list[float]] = {}
    with lzma.open(folder / "plate_data.json.xz", "rt") as file:
        for text in file:
            line = json.loads(text)
            sent.setdefault(line["gondola_id"], []).append(line["timestamp"])
    lost = {
        f"gondola-{gondola}": sum(round((after - before) / BATCH_S) - 1 for before, after in pairwise(times))
        for gondola, times in sent.items()
    }
    batches, _, gaps = read(folder, real_layout())
    assert len(batches) == sum(map(len, sent.values()))
    told: Counter[str] = Counter()
    for gap in gaps:
        told[gap.source] += round((gap.end_ns - gap.start_ns) / (BATCH_S * NS_PER_S))
    assert told == Counter({source: count for source, count in lost.items() if count})
    for source, gondola in ((batch.source, batch.plates[0].gondola) for batch in batches[:40]):
        own = [batch for batch in batches if batch.source == source]
        slips = [after.t0_ns - before.end_ns for before, after in pairwise(own)]
        assert all(abs(slip - round(slip / 2e8) * 2e8) <= NS_PER_S / 600 + 2 for slip in slips)
        # Sent when the last sample was taken, or up to 15 ms later.
        late = [one - batch.end_ns / 1e9 for one, batch in zip(sent[int(gondola)], own, strict=True)]
        assert min(late) > -0.003
        assert max(late) < 0.016


@needs_real
def test_an_import_holds_the_same_records_and_its_store(tmp_path: Path) -> None:
    source = REAL / "BENCHMARK-1"
    anomalies, gaps = import_nanostore(source, tmp_path / "visit", created_ns=1)
    assert gaps == []
    recording = read_recording(tmp_path / "visit")
    assert recording.meta.name == "BENCHMARK-1"
    again = list(recording.records())
    direct = list(nanostore_records(source, real_layout()))
    assert [event_time_ns(one) for one in again if isinstance(one, LoadCellBatch | BodyFrame | Gap)] == [
        event_time_ns(one) for one in direct
    ]
    assert (tmp_path / "visit" / "store" / "store.toml").is_file()
    assert (tmp_path / "visit" / "truth.json").read_bytes() == (source / "truth.json").read_bytes()
    assert len((tmp_path / "visit" / "anomalies.csv").read_text().splitlines()) == 1 + len(anomalies)
