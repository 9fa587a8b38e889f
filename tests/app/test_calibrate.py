"""What an installer does: click marks, hang up boards, walk about, and look at the store's lines over the pictures."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from walkout.app.calibrate import (
    board_marks,
    calibrate,
    draw_wireframe,
    in_words,
    named_views,
    open_store,
    read_detections,
    read_marks,
    read_view,
    walking_marks,
)
from walkout.domain.geometry import Pose, rodrigues
from walkout.domain.sensing import CameraDetections, Detection
from walkout.errors import StoreError
from walkout.sim.kiosk import kiosk_store
from walkout.store.calibrate import Mark
from walkout.store.calibration import CameraModel
from walkout.store.camera_file import CALIBRATION_FILE, read_cameras
from walkout.store.layout import CameraPlacement
from walkout.store.loader import write_store
from walkout.store.wireframe import seen_pieces, wireframe

CASE = Path(__file__).parents[2].parent / "shared" / "data" / "nanostore" / "cps-test-01"
needs_case = pytest.mark.skipif(
    not CASE.is_dir(), reason="the public nanostore data does not lie beside the repository"
)
SIZE = (960, 540)
HEADER = "camera,name,u_px,v_px,x_m,y_m,z_m\n"


def ceiling(camera_id: str, x: float, y: float, yaw: float) -> CameraModel:
    """A camera at (x, y, 2.5) that looks down by 50 degrees; yaw 0 looks along the world's y."""
    dip = np.radians(50.0)
    forward = np.array([np.sin(yaw) * np.cos(dip), np.cos(yaw) * np.cos(dip), -np.sin(dip)])
    right = np.array([np.cos(yaw), -np.sin(yaw), 0.0])
    pose = Pose(np.column_stack([right, np.cross(forward, right), forward]), np.array([x, y, 2.5]))
    K = np.array([[600.0, 0.0, 480.0], [0.0, 600.0, 270.0], [0.0, 0.0, 1.0]])  # noqa: N806
    return CameraModel(camera_id, SIZE, K, np.array([-0.25, 0.12, 0.0, 0.0, 0.0]), pose)


CAMERA = ceiling("a", 0.0, -1.5, 0.0)


def csv_of(marks: list[Mark]) -> str:
    def cell(value: float | None) -> str:
        return "" if value is None else repr(value)

    rows = [",".join([m.camera_id, m.name, *map(repr, m.pixel), *map(cell, m.world_m)]) for m in marks]
    return HEADER + "\n".join(rows) + "\n"


def room_marks(camera: CameraModel, sigma_px: float = 0.5) -> list[Mark]:
    rng = np.random.default_rng(1)
    world = rng.uniform([-1.5, -0.5, 0.0], [1.5, 2.0, 1.5], (40, 3))
    pixels, visible = camera.project(world)
    pixels += rng.normal(0.0, sigma_px, pixels.shape)
    seen = visible & camera.in_picture(pixels)
    return [
        Mark(camera.camera_id, f"m{i}", (float(pixels[i, 0]), float(pixels[i, 1])), tuple(map(float, world[i])))
        for i in np.flatnonzero(seen)
    ]


def test_marks_are_read_with_what_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "marks.csv").write_text(HEADER + "3,R1,10.5,20,1.5,-0.4,0\n7,ankle,5,6,,,0.08\n7,head,5,6,,,\n")
    assert read_marks(tmp_path / "marks.csv") == [
        Mark("3", "R1", (10.5, 20.0), (1.5, -0.4, 0.0)),
        Mark("7", "ankle", (5.0, 6.0), (None, None, 0.08)),
        Mark("7", "head", (5.0, 6.0), (None, None, None)),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("camera,name,u_px\n3,a,1\n", ":1: .*'v_px'"),
        (HEADER, ":1: has no marks"),
        (HEADER + "3,R1,left,20,1,2,0\n", ":2: u_px is 'left'"),
        (HEADER + "3,R1,,20,1,2,0\n", ":2: u_px is ''"),
        (HEADER + "3,R1,1,20,1,2,0\n3,R1,1,20,1,nan,0\n", ":3: y_m is 'nan'"),
        (HEADER + ",R1,1,20,1,2,0\n", ":2: camera or name"),
        (HEADER.strip() + ",sigma_px\n3,R1,1,20,1,2,0,-1\n", ":2: sigma_px must be positive"),
    ],
)
def test_a_broken_mark_is_told_by_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "marks.csv").write_text(text)
    with pytest.raises(StoreError, match="marks.csv" + words):
        read_marks(tmp_path / "marks.csv")


def test_a_view_is_named_by_its_camera() -> None:
    assert named_views(["3=a/b=c.png"]) == {"3": Path("a/b=c.png")}
    with pytest.raises(StoreError, match="CAMERA=FILE"):
        named_views(["cam3.png"])


def printed(camera: CameraModel, sheet: NDArray[np.uint8], px_per_m: float, pose: Pose) -> NDArray[np.uint8]:
    """What ``camera`` sees of a printed sheet on a grey floor: every pixel looks up where its ray meets the sheet."""
    cv2 = pytest.importorskip("cv2")
    across, down = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    normal = pose.rotation[:, 2]
    seen = np.zeros((SIZE[1], SIZE[0]))
    # Four looks within each pixel, or thin lines of the print would flicker.
    for shift in ((-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25)):
        pixels = np.column_stack([across.ravel(), down.ravel()]) + shift
        world, _ = camera.on_surface(pixels, normal, float(normal @ pose.translation), 1.0)
        local = (world - pose.translation) @ pose.rotation
        # The middle of the first printed pixel lies half a pixel inside the sheet.
        maps = (local[:, :2] * px_per_m - 0.5).reshape(SIZE[1], SIZE[0], 2).astype(np.float32)
        seen += cv2.remap(sheet, maps, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=200)
    return np.repeat(np.round(seen / 4.0).astype(np.uint8)[:, :, None], 3, axis=2)


def test_corners_of_a_charuco_board_lie_where_the_board_was_put(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    board = cv2.aruco.CharucoBoard(
        (7, 5), 0.12, 0.09, cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50), np.arange(17)
    )
    sheet = board.generateImage((840, 600), marginSize=0, borderBits=1)
    # Face up on the floor: x of the sheet along the world's x, y down the sheet towards the camera.
    pose = Pose(rodrigues(np.array([np.pi, 0.0, 0.0])), np.array([-0.4, 0.8, 0.0]))
    (tmp_path / "boards.toml").write_text(
        '[[boards]]\nid = "floor"\nkind = "charuco"\ndictionary = "DICT_4X4_50"\nsquares = [7, 5]\nsquare_m = 0.12\n'
        f"marker_m = 0.09\ntranslation_m = [-0.4, 0.8, 0.0]\nrotation = [{np.pi}, 0.0, 0.0]\n"
    )
    marks = board_marks({"a": printed(CAMERA, sheet, 840 / 0.84, pose)}, tmp_path / "boards.toml")
    assert len(marks) == 24
    expected, _ = CAMERA.project([mark.world_m for mark in marks])
    off = np.linalg.norm(expected - [mark.pixel for mark in marks], axis=1)
    # Measured: median 0.20 px, greatest 0.52 px.
    assert np.median(off) < 0.35
    assert off.max() < 1.0


def test_corners_of_an_apriltag_lie_where_the_tag_was_put_and_two_of_a_number_are_not_believed(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)
    tag = cv2.aruco.generateImageMarker(dictionary, 5, 400)
    pose = Pose(rodrigues(np.array([np.pi, 0.0, 0.0])), np.array([-0.2, 0.6, 0.0]))
    (tmp_path / "boards.toml").write_text(
        '[[boards]]\nkind = "tag"\ntag = 5\ndictionary = "DICT_APRILTAG_36h11"\nmarker_m = 0.4\n'
        f"translation_m = [-0.2, 0.6, 0.0]\nrotation = [{np.pi}, 0.0, 0.0]\n"
    )
    picture = printed(CAMERA, tag, 400 / 0.4, pose)
    marks = board_marks({"a": picture}, tmp_path / "boards.toml")
    assert [mark.name for mark in marks] == [f"5 corner {n}" for n in range(4)]
    assert marks[2].world_m == pytest.approx((0.2, 0.2, 0.0), abs=1e-9)
    expected, _ = CAMERA.project([mark.world_m for mark in marks])
    # Measured: 0.28 px at worst.
    assert np.linalg.norm(expected - [mark.pixel for mark in marks], axis=1).max() < 0.6
    twice = np.hstack([picture, picture])
    assert board_marks({"a": twice}, tmp_path / "boards.toml") == []


def test_a_board_that_is_not_described_in_full_is_told(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    (tmp_path / "boards.toml").write_text('[[boards]]\nkind = "tag"\ndictionary = "DICT_4X4_50"\n')
    with pytest.raises(StoreError, match=r"boards\.toml: a board is not described in full"):
        board_marks({"a": np.zeros((540, 960, 3), dtype=np.uint8)}, tmp_path / "boards.toml")


def person(camera: CameraModel, joints: NDArray[np.float64], score: float = 0.9) -> Detection:
    pixels, _ = camera.project(joints)
    return Detection((0.0, 0.0, 1.0, 1.0), score, "person", np.column_stack([pixels, np.full(17, score)]))


def test_a_person_who_walks_alone_gives_marks_of_unknown_place() -> None:
    a, b = CAMERA, ceiling("b", 1.0, -1.5, -0.4)
    joints = np.random.default_rng(2).uniform([-0.3, 0.0, 0.2], [0.3, 0.5, 1.5], (17, 3))

    def sees(camera: CameraModel, t_ms: int, *people: Detection) -> CameraDetections:
        return CameraDetections(camera.camera_id, t_ms * 1_000_000, SIZE, people)

    alone_a, alone_b = person(a, joints), person(b, joints)
    marks = walking_marks([sees(a, 0, alone_a), sees(b, 20, alone_b)])
    assert {mark.camera_id for mark in marks} == {"a", "b"}
    assert len({mark.name for mark in marks}) == 8
    assert len(marks) == 16
    assert all(mark.world_m == (None, None, None) for mark in marks)
    third = ceiling("c", -1.0, -1.5, 0.4)
    marks = walking_marks([sees(camera, 100, person(camera, joints)) for camera in (a, b, third)])
    assert len({(mark.camera_id, mark.name) for mark in marks}) == len(marks) == 24
    assert walking_marks([sees(a, 0, alone_a), sees(b, 20, alone_b, alone_b)]) == []
    assert walking_marks([sees(a, 0, alone_a), sees(b, 80, alone_b)]) == []
    assert walking_marks([sees(a, 0, alone_a), sees(b, 20, person(b, joints, 0.3))]) == []


def test_detections_are_read_from_json_lines(tmp_path: Path) -> None:
    line = {"camera": "a", "t_ns": 5, "size_px": [960, 540], "people": [[[1.0, 2.0, 0.5]] * 17]}
    (tmp_path / "walk.jsonl").write_text(json.dumps(line) + "\n")
    (one,) = read_detections(tmp_path / "walk.jsonl")
    assert (one.camera_id, one.t_ns, one.size_px) == ("a", 5, SIZE)
    assert one.detections[0].keypoints is not None
    assert one.detections[0].keypoints.shape == (17, 3)
    (tmp_path / "walk.jsonl").write_text(json.dumps(line) + '\n{"camera": "a"}\n')
    with pytest.raises(StoreError, match=r"walk\.jsonl:2: is no detection"):
        read_detections(tmp_path / "walk.jsonl")


def test_a_new_camera_needs_to_know_how_large_its_pictures_are() -> None:
    with pytest.raises(StoreError, match="--view a=PICTURE"):
        calibrate({}, (), room_marks(CAMERA), {}, anew=False)


def test_a_new_camera_is_found_and_the_error_is_told() -> None:
    planned = (CameraPlacement("a", CAMERA.pose),)
    fit = calibrate({}, planned, room_marks(CAMERA), {"a": SIZE}, anew=False)
    # Measured: 1 cm.
    assert np.linalg.norm(fit.cameras["a"].position_m - CAMERA.position_m) < 0.03
    (line,) = in_words(fit)
    assert line.startswith(f"camera a: {len(room_marks(CAMERA))} marks, error median 0.")
    assert all(word in line for word in ("p95", "max", "known to"))


def test_a_new_camera_and_a_walk_place_the_others_too() -> None:
    known = ceiling("b", 1.0, -1.5, -0.4)
    rng = np.random.default_rng(3)
    walk = rng.uniform([-0.5, 0.0, 0.0], [1.0, 1.5, 1.6], (30, 3))
    shared = []
    for camera in (CAMERA, known):
        pixels, visible = camera.project(walk)
        inside = visible & camera.in_picture(pixels)
        pixels += rng.normal(0.0, 2.0, pixels.shape)
        shared += [
            Mark(camera.camera_id, f"w{i}", (float(pixels[i, 0]), float(pixels[i, 1])), (None, None, None), 2.0)
            for i in np.flatnonzero(inside)
        ]
    fit = calibrate({"b": known}, (), room_marks(CAMERA) + shared, {"a": SIZE}, anew=False, only=["a"])
    assert sorted(fit.cameras) == ["a", "b"]
    np.testing.assert_array_equal(fit.cameras["b"].position_m, known.position_m)
    assert np.linalg.norm(fit.cameras["a"].position_m - CAMERA.position_m) < 0.03
    assert len(fit.points) > 10


def test_lines_end_where_the_lens_sees_no_more() -> None:
    behind = np.array([[0.0, -4.0, 0.0], [0.0, 2.0, 0.0]])
    (piece,) = seen_pieces(CAMERA, behind)
    assert 2 <= len(piece) < 25
    assert seen_pieces(CAMERA, behind - [0.0, 10.0, 0.0]) == []


def test_every_part_of_the_store_is_among_the_lines() -> None:
    layout = kiosk_store().layout
    kinds = {kind for kind, _ in wireframe(layout)}
    assert {"gondola", "shelf", "plate"} | {zone.kind for zone in layout.zones} == kinds
    plates = [corners for kind, corners in wireframe(layout) if kind == "plate"]
    assert len(plates) == len(layout.boxes)


@needs_case
def test_the_wireframe_is_painted_on_the_shelf_edges_of_the_real_pictures() -> None:
    cv2 = pytest.importorskip("cv2")
    store = open_store(CASE, "jan2020_refit")
    for name in ("1", "3", "7"):
        view = read_view(CASE / f"cam{name}.mp4")
        drawn = draw_wireframe(view, store.cameras[name], store.layout)
        assert drawn.shape == (720, 1280, 3)
        plain = cv2.resize(view, (1280, 720), interpolation=cv2.INTER_LINEAR)
        painted = np.abs(drawn.astype(int) - plain.astype(int)).max(axis=2) > 20
        camera = store.cameras[name].scaled((1280, 720))
        # The front edges of the fifth shelves of the three gondolas along the wall, in world metres.
        ends = [(g.pose.then(g.shelves[4].pose), g.shelves[4].size_m[0]) for g in store.layout.gondolas[:3]]
        edges = [pose.apply(np.linspace([0.0, 0.0, 0.0], [width, 0.0, 0.0], 200)) for pose, width in ends]
        points, visible = camera.project(np.concatenate(edges))
        inside = np.round(points[visible & camera.in_picture(points, 2.0)]).astype(int)
        assert len(inside) > 20
        assert inside[:, 1].min() >= 1
        near = [painted[y - 1 : y + 2, x - 1 : x + 2].any() for x, y in inside]
        assert np.mean(near) > 0.95


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "walkout.cli", "calibrate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_writes_the_calibration_tells_the_error_and_draws(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    write_store(kiosk_store(), tmp_path / "store")
    marks = room_marks(CAMERA)
    wrong = [Mark("a", "wrong", (900.0, 40.0), marks[0].world_m)]
    (tmp_path / "marks.csv").write_text(csv_of(marks + wrong))
    cv2.imwrite(str(tmp_path / "a.png"), np.full((SIZE[1], SIZE[0], 3), 90, dtype=np.uint8))
    store, view = tmp_path / "store", f"a={tmp_path / 'a.png'}"
    done = run(
        store, "--marks", tmp_path / "marks.csv", "--view", view, "--out", store, "--picture", tmp_path / "pictures"
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.startswith(f"camera a: {len(marks)} marks, error median 0.")
    assert "mark wrong lies too far off" in second
    found = read_cameras(store / CALIBRATION_FILE)["a"]
    assert np.linalg.norm(found.position_m - CAMERA.position_m) < 0.05
    picture = cv2.imread(str(tmp_path / "pictures" / "camera-a.png"))
    assert picture.shape == (1080, 1920, 3)
    assert (picture != 90).any()
    again = run(store, "--marks", tmp_path / "marks.csv", "--view", view)
    assert again.returncode == 0, again.stderr


def test_the_command_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    write_store(kiosk_store(), tmp_path)
    done = run(tmp_path, "--marks", tmp_path / "none.csv")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "none.csv: cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
