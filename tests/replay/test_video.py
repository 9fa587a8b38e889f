"""The real store's videos: one shopper, two picks, three cameras, and whatever may fail of them.

Each floor has the measured number beside it. Nothing here runs without the recording and a pose model.
"""

import heapq
import importlib.util
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from walkout.app.nanostore import nanostore_records
from walkout.app.pipeline import FusionStep, SensorStep
from walkout.app.source import Source, open_source, survey
from walkout.app.video import NAMELESS, VideoBodies, _frames, is_video, kept_bodies, open_pose_model, video_files
from walkout.bus.topics import event_time_ns
from walkout.domain.sensing import BodyFrame, CameraDetections, PlateId, Watermark
from walkout.domain.shopping import BasketEvent, VisitClosed, fold_basket
from walkout.errors import ModelError, RecordingError
from walkout.store.calibration import CameraModel, read_nanostore_cameras
from walkout.store.nanostore import find_store_files, read_nanostore
from walkout.vision.floor import lift
from walkout.vision.people import PeopleTracker

CASE = Path(__file__).parents[2].parent / "shared" / "data" / "nanostore" / "cps-test-01"
BOTH = (("071063437089", 1), ("632565000012", 1))
#: The shopper walks out at the door at second 21 and passes outside, behind the glass, after that.
INSIDE_S = 21.0
Shots = list[CameraDetections]


@pytest.fixture(scope="module")
def epoch_ns() -> int:
    if not is_video(CASE):
        pytest.skip("the real videos are not here")
    return round(json.loads((CASE / "truth.json").read_text())["epoch"] * 1e3) * 1_000_000


@pytest.fixture(scope="module")
def shots(epoch_ns: int) -> Shots:
    """What the pose model says of every frame of the first 27 s, in order of time."""
    if importlib.util.find_spec("cv2") is None:
        pytest.skip("OpenCV is not installed")
    try:
        detector = open_pose_model(CASE)
    except ModelError as error:
        pytest.skip(str(error))
    streams = [_frames(path, name, epoch_ns) for name, path in video_files(CASE).items()]
    found = []
    for frame in heapq.merge(*streams, key=lambda one: (one.t_ns, one.camera_id)):
        if frame.t_ns > epoch_ns + 27_000_000_000:
            break
        height, width = frame.image.shape[:2]
        found.append(CameraDetections(frame.camera_id, frame.t_ns, (width, height), detector.detect([frame.image])[0]))
    return found


@pytest.fixture(scope="module")
def cameras() -> dict[str, CameraModel]:
    return read_nanostore_cameras(CASE, day=date(2020, 1, 28))


def watched(shots: Shots, cameras: dict[str, CameraModel], names: str = "137") -> list[BodyFrame]:
    store = read_nanostore(find_store_files(CASE))[0]
    tracker = PeopleTracker({name: cameras[name] for name in names}, store.layout)
    found = []
    for shot in shots:
        if shot.camera_id in names:
            tracker.feed(shot)
            found += tracker.advance(shot.t_ns)
    found += tracker.advance(2**62)
    return [
        BodyFrame(one.t_ns, tuple(replace(body, track_id=NAMELESS + body.track_id) for body in one.bodies))
        for one in found
    ]


def receipt(frames: Sequence[BodyFrame]) -> tuple[list[tuple[tuple[str, int], ...]], bool]:
    """The baskets of all visits, and whether one of them would go to review."""
    store = read_nanostore(find_store_files(CASE))[0]
    source = Source(CASE, store, lambda: heapq.merge(_plates(CASE), frames, key=event_time_ns))
    records = list(source.records())
    found = survey("video", records)
    sensor, fusion = SensorStep(found.gates), FusionStep(store)
    told: list[object] = []
    for record in [*(one for sensed in records for one in sensor.feed(sensed)), *sensor.finish(found.end_ns)]:
        fusion.take(record)
        if isinstance(record, Watermark):
            told += fusion.advance()
    events = [one for one in told if isinstance(one, BasketEvent)]
    review = any(one.review for one in told if isinstance(one, VisitClosed))
    return [fold_basket(visit.visit_id, events).lines for visit in found.visits], review


def _plates(folder: Path) -> Iterator[object]:
    return nanostore_records(folder, read_nanostore(find_store_files(folder))[0].layout)


def identities(frames: Sequence[BodyFrame]) -> set[str]:
    return {body.track_id for frame in frames for body in frame.bodies}


def seconds_seen(frames: Sequence[BodyFrame], epoch_ns: int) -> list[float]:
    return [(frame.t_ns - epoch_ns) * 1e-9 for frame in frames if frame.bodies]


def test_three_cameras_see_one_shopper_from_second_0_to_the_door(
    shots: Shots, cameras: dict[str, CameraModel], epoch_ns: int
) -> None:
    frames = watched(shots, cameras)
    seen = seconds_seen(frames, epoch_ns)
    assert identities(frames) == {"seen-1"}
    ticks = [any(abs(s - tick) < 0.06 for s in seen) for tick in range(22)]
    assert np.mean(ticks) >= 0.95  # measured: 22 of 22
    assert seen[-1] < INSIDE_S + 1.0  # measured: 21.1; nobody outside ever becomes a person
    assert receipt(frames) == ([BOTH], False)


@pytest.mark.parametrize("names", ["37", "17", "13"])
def test_any_two_cameras_are_enough(shots: Shots, cameras: dict[str, CameraModel], epoch_ns: int, names: str) -> None:
    frames = watched(shots, cameras, names)
    assert identities(frames) == {"seen-1"}
    assert seconds_seen(frames, epoch_ns)[-1] < INSIDE_S + 1.0
    assert receipt(frames) == ([BOTH], False)


@pytest.mark.parametrize("name", ["1", "3", "7"])
def test_one_camera_alone_gives_both_picks_or_an_honest_review(
    shots: Shots, cameras: dict[str, CameraModel], epoch_ns: int, name: str
) -> None:
    frames = watched(shots, cameras, name)
    assert identities(frames) == {"seen-1"}
    assert seconds_seen(frames, epoch_ns)[-1] < INSIDE_S + 1.0
    baskets, review = receipt(frames)
    assert baskets == [BOTH] or review  # measured: both picks from each of the three


@pytest.mark.parametrize("name", ["1", "3", "7"])
@pytest.mark.parametrize("begin_s", [8.5, 14.0, 19.5])
def test_a_camera_frozen_for_five_seconds_changes_nothing(
    shots: Shots, cameras: dict[str, CameraModel], epoch_ns: int, name: str, begin_s: float
) -> None:
    stuck = next(one for one in shots if one.camera_id == name and one.t_ns >= epoch_ns + begin_s * 1e9)
    frozen = [
        replace(shot, detections=stuck.detections)
        if shot.camera_id == name and stuck.t_ns <= shot.t_ns < stuck.t_ns + 5_000_000_000
        else shot
        for shot in shots
    ]
    frames = watched(frozen, cameras)
    assert identities(frames) == {"seen-1"}
    assert seconds_seen(frames, epoch_ns)[-1] < INSIDE_S + 1.0
    assert receipt(frames) == ([BOTH], False)


def test_a_camera_that_pauses_for_five_seconds_changes_nothing(
    shots: Shots, cameras: dict[str, CameraModel], epoch_ns: int
) -> None:
    paused = [s for s in shots if s.camera_id != "3" or not 9.0 <= (s.t_ns - epoch_ns) * 1e-9 < 14.0]
    frames = watched(paused, cameras)
    assert identities(frames) == {"seen-1"}
    assert receipt(frames) == ([BOTH], False)


def test_single_cameras_agree_on_the_floor(shots: Shots, cameras: dict[str, CameraModel], epoch_ns: int) -> None:
    by_moment: dict[int, list[np.ndarray]] = {}
    for shot in shots:
        if (shot.t_ns - epoch_ns) * 1e-9 <= INSIDE_S and len(shot.detections) == 1:
            one = lift(cameras[shot.camera_id], shot.t_ns, 0, shot.detections[0])
            if one is not None and one.whole:
                by_moment.setdefault(shot.t_ns, []).append(one.place()[0])
    apart = [
        float(np.linalg.norm(one - other))
        for places in by_moment.values()
        for index, one in enumerate(places)
        for other in places[:index]
    ]
    assert len(apart) >= 10
    assert np.median(apart) <= 0.20


@pytest.mark.parametrize(("second", "gondola", "plates"), [(10.9, "2", (4, 5)), (16.7, "1", (10,))])
def test_a_wrist_is_beside_the_plate_that_is_picked_from(
    shots: Shots, cameras: dict[str, CameraModel], epoch_ns: int, second: float, gondola: str, plates: tuple[int, ...]
) -> None:
    layout = read_nanostore(find_store_files(CASE))[0].layout
    center = layout.centers_m(tuple(PlateId(gondola, 5, plate) for plate in plates)).mean(axis=0)
    frame = min(watched(shots, cameras), key=lambda one: abs(one.t_ns - epoch_ns - second * 1e9))
    (body,) = frame.bodies
    wrists = [joint for name, joint in body.joints.items() if name.endswith("_wrist")]
    # The hand that picks is the one that is nearest to the shelf's front.
    picking = max(wrists, key=lambda joint: joint.y_m)
    assert abs(picking.x_m - center[0]) <= 0.20  # measured: 0.09 and 0.11 m


def test_the_bodies_are_looked_for_once_and_kept_for_the_other_processes(tmp_path: Path) -> None:
    class Looked(VideoBodies):
        def records(self) -> list[BodyFrame]:
            return [BodyFrame(5, ()), BodyFrame(9, ())]

    if not CASE.is_dir():
        pytest.skip("the real store is not here")
    Looked(CASE, read_nanostore(find_store_files(CASE))[0], CASE, lambda: None).keep(tmp_path / "bodies")
    assert kept_bodies(tmp_path / "bodies") == [BodyFrame(5, ()), BodyFrame(9, ())]


def test_videos_without_any_time_are_refused(tmp_path: Path) -> None:
    if not CASE.is_dir():
        pytest.skip("the real store is not here")
    (tmp_path / "cam1.mp4").write_bytes(b"")
    assert is_video(tmp_path)
    source = open_source(tmp_path, CASE.parent)
    with pytest.raises(RecordingError, match="when its videos begin"):
        list(source.records())
