"""Pictures of a recording: who is drawn as whom, which moments are shown, and that nobody is shown larger than seen."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from walkout.app.drawing import FAINT, Look, draw_camera, drawn_bodies
from walkout.app.floor_map import draw_floor
from walkout.app.overlay import ROWS, Happening, Moment, Seen, chosen, contact_sheet, film, overlay, watch
from walkout.app.palette import MOVED, PEOPLE, REACHED, Trails, put_text
from walkout.domain.clock import NS_PER_S
from walkout.domain.geometry import Pose
from walkout.domain.sensing import (
    Body,
    BodyFrame,
    CameraDetections,
    Detection,
    FloorPosition,
    Frame,
    Joint,
    PlateId,
    ShelfId,
)
from walkout.errors import RecordingError
from walkout.settings import Settings
from walkout.sim.kiosk import kiosk_store
from walkout.store.calibration import CameraModel
from walkout.vision.h264 import H264Encoder, Track, mp4_bytes

pytest.importorskip("cv2", reason="pictures need the vision extra")

SHARED = Path(__file__).parents[2].parent / "shared"
CASE = SHARED / "data" / "nanostore" / "cps-test-01"
SIZE_PX = (320, 192)
T0 = 1_700_000_000 * NS_PER_S
FPS, SECONDS = 10, 3
LAYOUT = kiosk_store().layout
PLACE_M = (2.0, 1.2)
#: A standing body: (aside, height) in metres of each keypoint of COCO.
BODY_M = (
    (0.0, 1.6), (0.03, 1.65), (-0.03, 1.65), (0.07, 1.65), (-0.07, 1.65), (0.18, 1.42), (-0.18, 1.42), (0.2, 1.1),
    (-0.2, 1.1), (0.2, 0.85), (-0.2, 0.85), (0.1, 0.93), (-0.1, 0.93), (0.1, 0.5), (-0.1, 0.5), (0.1, 0.08),
    (-0.1, 0.08),
)  # fmt: skip


def looking(camera_id: str, x_m: float) -> CameraModel:
    """A camera near the ceiling that looks at the person's middle."""
    at = np.array([x_m, -1.0, 2.6])
    ahead = np.array([*PLACE_M, 1.0]) - at
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    lens = np.array([[150.0, 0.0, SIZE_PX[0] / 2], [0.0, 150.0, SIZE_PX[1] / 2], [0.0, 0.0, 1.0]])
    return CameraModel(
        camera_id, SIZE_PX, lens, np.zeros(5), Pose(np.column_stack([right, np.cross(ahead, right), ahead]), at)
    )


CAMERAS = {"1": looking("1", 0.3), "2": looking("2", 3.7)}


def joints_m(place_m: tuple[float, float]) -> NDArray[np.float64]:
    return np.array([[place_m[0] + aside, place_m[1], height] for aside, height in BODY_M])


def detection(camera: CameraModel, place_m: tuple[float, float] = PLACE_M) -> Detection:
    """What a perfect detector sees of somebody at ``place_m``."""
    pixels, _ = camera.project(joints_m(place_m))
    (left, top), (right, bottom) = pixels.min(axis=0) - 4, pixels.max(axis=0) + 4
    return Detection((left, top, right, bottom), 0.9, "person", np.column_stack([pixels, np.full(17, 0.9)]))


def body(over: ShelfId | None = None) -> Body:
    names = {5: "left_shoulder", 6: "right_shoulder", 11: "left_hip", 12: "right_hip"}
    places = joints_m(PLACE_M)
    joints = {name: Joint(*places[index], 0.9) for index, name in names.items()}
    hand = Joint(*places[10], 0.9)
    return Body("seen-1", Joint(*places[0], 0.9), (hand,), joints, FloorPosition(*PLACE_M, 0.01, 0.0, 0.01), (over,))


def frame(*bodies: Body, seconds: float = 0.0) -> BodyFrame:
    return BodyFrame(T0 + round(seconds * NS_PER_S), bodies)


def seen_by(camera_id: str, *found: Detection) -> CameraDetections:
    return CameraDetections(camera_id, T0, SIZE_PX, found)


def grey(size_px: tuple[int, int] = SIZE_PX) -> NDArray[np.uint8]:
    return np.full((size_px[1], size_px[0], 3), 90, np.uint8)


def trails_of(*frames: BodyFrame) -> Trails:
    trails = Trails()
    for one in frames:
        trails.add(one)
    return trails


def has(image: NDArray[np.uint8], color: tuple[int, int, int], least: int = 8) -> bool:
    """Whether the colour is there, pure, in at least so many pixels."""
    return int(np.all(image == np.array(color, np.uint8), axis=2).sum()) >= least


def tile_of(
    *found: Detection,
    bodies: Sequence[Body] = (),
    moved: Sequence[PlateId] = (),
    size_px: tuple[int, int] = SIZE_PX,
    image: NDArray[np.uint8] | None = None,
    look: Look | None = None,
) -> NDArray[np.uint8]:
    moment = frame(*bodies)
    picture = grey() if image is None else image
    return draw_camera(
        size_px, CAMERAS["1"], picture, seen_by("1", *found), moment, LAYOUT, trails_of(moment), moved, look or Look()
    )


# -- one camera ------------------------------------------------------------------------------------------------------


def test_a_person_bears_the_colour_of_his_track_and_a_mirror_image_is_grey() -> None:
    person, mirrored = detection(CAMERAS["1"]), detection(CAMERAS["1"], (3.0, 2.2))
    alone = tile_of(person, bodies=[body()])
    assert has(alone, PEOPLE[0])
    assert not has(alone, FAINT)
    assert has(tile_of(person, mirrored, bodies=[body()]), FAINT)
    assert not has(tile_of(mirrored), PEOPLE[0])


def test_two_boxes_of_one_person_bear_one_name() -> None:
    person = detection(CAMERAS["1"])
    shifted = replace(person, box_px=tuple(value + 2 for value in person.box_px))  # type: ignore[arg-type]
    named = [
        np.all(tile_of(*found, bodies=[body()]) == PEOPLE[0], axis=2).sum() for found in ([person], [person, shifted])
    ]
    assert named[1] - named[0] < 0.8 * named[0]


def test_a_hand_over_a_shelf_and_a_plate_that_moved_are_marked() -> None:
    assert not has(tile_of(bodies=[body()]), REACHED)
    assert has(tile_of(bodies=[body(ShelfId("1", 3))]), REACHED)
    plain = tile_of()
    reds = tile_of(moved=list(LAYOUT.boxes)[:8]).astype(int)[:, :, 2] - plain.astype(int)[:, :, 2]
    assert (reds > 40).sum() > 20
    assert MOVED[2] > 200


def test_a_picture_is_never_shown_larger_than_it_was_taken() -> None:
    picture = np.random.default_rng(1).integers(0, 255, (SIZE_PX[1], SIZE_PX[0], 3)).astype(np.uint8)
    tile = tile_of(size_px=(640, 384), image=picture)
    inside = tile[96:288, 160:480]
    assert np.array_equal(inside[40:], picture[40:])
    assert len(np.unique(tile[:90].reshape(-1, 3), axis=0)) == 1


def test_a_large_picture_is_made_smaller_and_what_is_drawn_with_it() -> None:
    large = replace(CAMERAS["1"], size_px=SIZE_PX).scaled((640, 384))
    seen = CameraDetections("1", T0, (640, 384), (detection(large),))
    moment = frame(body())
    tile = draw_camera(SIZE_PX, large, grey((640, 384)), seen, moment, LAYOUT, trails_of(moment), (), Look())
    assert tile.shape == (SIZE_PX[1], SIZE_PX[0], 3)
    coloured = np.argwhere(np.all(tile == PEOPLE[0], axis=2))
    left, _, _, bottom = detection(CAMERAS["1"]).box_px
    assert abs(coloured[:, 1].min() - left) < 10
    assert abs(coloured[:, 0].max() - bottom) < 20


def test_faces_can_be_hidden() -> None:
    picture = np.random.default_rng(1).integers(0, 255, (SIZE_PX[1], SIZE_PX[0], 3)).astype(np.uint8)
    person = detection(CAMERAS["1"])
    assert person.keypoints is not None
    x, y = (round(value) for value in person.keypoints[0, :2])
    # So unsure that no bones are drawn over the head.
    faint = replace(person, keypoints=person.keypoints * np.array([1.0, 1.0, 0.3]))
    shown, hidden = (tile_of(faint, image=picture, look=Look(hide_faces=hide)) for hide in (False, True))
    area = (slice(y - 2, y + 8), slice(x - 6, x + 6))
    assert np.array_equal(shown[area], picture[area])
    assert len(np.unique(hidden[area].reshape(-1, 3), axis=0)) <= 9
    assert np.array_equal(shown[-40:], hidden[-40:])


def test_a_face_that_only_other_cameras_found_is_hidden_too() -> None:
    picture = np.random.default_rng(1).integers(0, 255, (SIZE_PX[1], SIZE_PX[0], 3)).astype(np.uint8)
    ((x, y),), _ = CAMERAS["1"].project(joints_m(PLACE_M)[:1])
    shown, hidden = (tile_of(bodies=[body()], image=picture, look=Look(hide_faces=hide)) for hide in (False, True))
    changed = np.argwhere((shown != hidden).any(axis=2))
    assert len(changed) > 50
    assert np.hypot(*(changed.mean(axis=0) - [y, x])) < 12


def test_a_clip_can_be_drawn_on_from_what_the_log_holds() -> None:
    draw = drawn_bodies(CAMERAS, LAYOUT, [frame(body()), frame(body(), seconds=0.1)])
    assert has(draw(Frame("1", T0 + NS_PER_S // 20, grey())), PEOPLE[0])
    assert not has(draw(Frame("1", T0 + 2 * NS_PER_S, grey())), PEOPLE[0])
    assert np.array_equal(draw(Frame("unknown", T0, grey())), grey())
    assert not has(drawn_bodies(CAMERAS, LAYOUT, [])(Frame("1", T0, grey())), PEOPLE[0])


def test_a_camera_without_a_picture_says_so() -> None:
    tile = draw_camera(SIZE_PX, CAMERAS["1"], None, None, frame(), LAYOUT, Trails(), (), Look())
    assert tile.std() > 0


def test_the_store_can_be_drawn_over_a_picture() -> None:
    assert (tile_of(look=Look(wires=True)) != tile_of()).any(axis=2).sum() > 500


# -- the floor -------------------------------------------------------------------------------------------------------


def test_the_floor_shows_where_people_are_and_have_been() -> None:
    before = replace(body(), floor=FloorPosition(1.0, 0.6, 0.01, 0.0, 0.01))
    moments = [frame(before), frame(body(ShelfId("1", 3)), seconds=1.0)]
    trails = trails_of(*moments)
    now = draw_floor((640, 360), LAYOUT, CAMERAS, moments[1], trails, list(LAYOUT.boxes)[:1])
    empty = draw_floor((640, 360), LAYOUT, CAMERAS, frame(), Trails(), ())
    assert has(now, PEOPLE[0])
    assert has(now, REACHED)
    assert has(now, MOVED)
    assert not has(empty, PEOPLE[0])
    first = draw_floor((640, 360), LAYOUT, CAMERAS, moments[0], trails, ())
    assert not np.array_equal(first, now)


def test_letters_stay_inside_the_picture() -> None:
    image = np.zeros((20, 60, 3), np.uint8)
    put_text(image, "a very long name", (50, 18), 12, (255, 255, 255), back=(9, 9, 9))
    assert image.shape == (20, 60, 3)
    assert image.max() > 200


# -- choosing --------------------------------------------------------------------------------------------------------


def seen_of(seconds: float, peopled: tuple[float, float], **more: object) -> Seen:
    moments = []
    for tenth in range(int(seconds * 10)):
        at_s = tenth / 10
        inside = peopled[0] <= at_s < peopled[1]
        outside = detection(CAMERAS["1"], (3.0, 2.2))
        views = {"1": replace(seen_by("1", outside), t_ns=T0 + round(at_s * NS_PER_S))} if at_s > seconds - 2 else {}
        moments.append(Moment(frame(*[body()][: int(inside)], seconds=at_s), views))
    plain = Seen("case", T0, LAYOUT, dict(CAMERAS), {}, tuple(moments))
    return replace(plain, **more)  # type: ignore[arg-type]


def rows_s(moments: Sequence[Moment]) -> list[float]:
    return [round((moment.frame.t_ns - T0) / NS_PER_S, 1) for moment in moments]


def test_the_moments_asked_for_are_shown_in_order_of_time() -> None:
    assert rows_s(chosen(seen_of(20.0, (2.0, 12.0)), [5.04, 1.0, 99.0])) == [1.0, 5.0, 19.9]


def test_without_a_wish_events_first_and_last_sight_and_outsiders_are_shown() -> None:
    happenings = tuple(Happening(T0 + round(at_s * NS_PER_S), "pick", (), ()) for at_s in (4.0, 9.0))
    rows = rows_s(chosen(seen_of(20.0, (2.0, 12.0), happenings=happenings)))
    assert {4.0, 9.0, 3.0, 11.9} <= set(rows)
    assert any(at_s > 18.0 for at_s in rows)
    assert len(rows) == ROWS
    assert all(two - one >= 1.0 for one, two in pairwise(rows))


def test_an_empty_recording_has_no_rows() -> None:
    assert chosen(replace(seen_of(1.0, (0.0, 0.0)), moments=())) == []


# -- sheet and film --------------------------------------------------------------------------------------------------


class OnePerson:
    """Sees the person in every picture; the cameras take turns. Never twice the very same, as no net does."""

    name, task, batch = "one person", "pose", None

    def __init__(self) -> None:
        self._number, self._random = 0, np.random.default_rng(1)

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[tuple[Detection, ...]]:
        found = []
        for _ in images:
            person = detection(list(CAMERAS.values())[self._number % len(CAMERAS)])
            assert person.keypoints is not None
            noise = np.column_stack([self._random.normal(0.0, 1.0, (17, 2)), np.zeros(17)])
            found.append((replace(person, keypoints=person.keypoints + noise),))
            self._number += 1
        return found


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder, videos = tmp_path_factory.mktemp("case"), {}
    for name in CAMERAS:
        encoder, pictures = H264Encoder(FPS), []
        for number in range(SECONDS * FPS):
            pictures += encoder.encode(T0 + number * NS_PER_S // FPS, grey())
        videos[name] = folder / f"cam{name}.mp4"
        videos[name].write_bytes(mp4_bytes([Track(name, tuple(pictures))], T0, ""))
    moments = tuple(watch(dict(CAMERAS), videos, LAYOUT, OnePerson(), T0, lambda _: None))
    return Seen("case", T0, LAYOUT, dict(CAMERAS), videos, moments, receipts=("receipt of person 1: nothing",))


def test_every_moment_of_all_videos_is_looked_at(seen: Seen) -> None:
    assert len(seen.moments) == SECONDS * FPS
    assert all(set(moment.seen) == set(CAMERAS) for moment in seen.moments)
    assert {one.track_id for moment in seen.moments for one in moment.frame.bodies} == {"seen-1"}


def test_a_sheet_shows_each_camera_and_the_floor_for_each_moment(seen: Seen) -> None:
    few, many = (contact_sheet(seen, chosen(seen, at_s), Look()) for at_s in ([1.0], [1.0, 2.0, 2.5]))
    assert few.shape[1] == many.shape[1] >= 3 * SIZE_PX[0]
    assert many.shape[0] - few.shape[0] >= 2 * SIZE_PX[1]
    for column in range(2):
        tile = few[:, column * SIZE_PX[0] : (column + 1) * SIZE_PX[0]]
        assert has(tile, PEOPLE[0])


def test_a_film_is_h264_with_a_frame_for_every_moment_at_its_time(seen: Seen, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(film(seen, Look(), lambda _: None))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        times = [float(one.pts * one.time_base) for one in container.decode(stream) if one.pts is not None]
    wanted = [(moment.frame.t_ns - seen.moments[0].frame.t_ns) / NS_PER_S for moment in seen.moments]
    assert np.allclose(times, wanted, atol=1e-3)


def test_what_cannot_be_drawn_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no videos"):
        overlay(tmp_path, tmp_path / "sheet.png", Settings(), lambda _: None)
    with pytest.raises(RecordingError, match=r"write a sheet \(.png"):
        overlay(tmp_path, tmp_path / "sheet.gif", Settings(), lambda _: None)


@pytest.mark.skipif(not CASE.is_dir(), reason="the public recording lies beside the repository, not in it")
def test_the_command_draws_a_sheet_of_a_real_shop(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="needs the vision extra")
    case, sheet = tmp_path / "case", tmp_path / "sheet.png"
    case.mkdir()
    (case / "truth.json").write_bytes((CASE / "truth.json").read_bytes())
    for video in CASE.glob("cam*.mp4"):
        cut(video, case / video.name, 2.0)
    command = [
        sys.executable,
        "-m",
        "walkout.cli",
        "vision",
        "overlay",
        str(case),
        "--out",
        str(sheet),
        "--at",
        "0.5,1.5",
    ]
    done = subprocess.run(
        [*command, "--store", str(CASE.parent)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "", "OMP_NUM_THREADS": "1", "WALKOUT_MODELS_DIR": str(SHARED / "weights")},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    import cv2

    picture = np.asarray(cv2.imread(str(sheet)), np.uint8)
    assert picture.shape[1] > 3 * 600
    assert has(picture, PEOPLE[0], 500)


def cut(video: Path, to: Path, seconds: float) -> None:
    """The beginning of a video, copied without encoding it again."""
    with av.open(str(video)) as source, av.open(str(to), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is None or packet.pts is None or float(packet.pts * packet.time_base) >= seconds:
                continue
            packet.stream = copy
            target.mux(packet)
