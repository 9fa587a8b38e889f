"""Calibrating the cameras of a store: what ``walkout calibrate`` reads, fits, tells and draws.

Marks come from a CSV file (points on the floor or anywhere, clicked in a picture), from printed boards of stated
pose, and from people who walk: see ``walkout.store.calibrate`` for what is made of them. OpenCV (the ``vision`` extra)
is needed for boards and pictures only.
"""

import csv
import json
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from walkout.domain.geometry import IDENTITY, Pose, rodrigues
from walkout.domain.sensing import CameraDetections, Detection
from walkout.errors import StoreError
from walkout.store.calibrate import MARK_SIGMA_PX, NEW_CAMERA, PLANNED_CAMERA, REFINE, Fit, Mark, fit_cameras
from walkout.store.calibration import CameraModel, read_nanostore_cameras
from walkout.store.camera_file import CALIBRATION_FILE, write_cameras
from walkout.store.catalog import Store
from walkout.store.check import parse_number
from walkout.store.layout import CameraPlacement, Layout, ZoneKind
from walkout.store.loader import read_store
from walkout.store.nanostore import find_store_files, read_nanostore
from walkout.store.toml_reader import STORE_FILE
from walkout.store.wireframe import seen_pieces, wireframe

Image = NDArray[np.uint8]

MARK_COLUMNS = ("camera", "name", "u_px", "v_px", "x_m", "y_m", "z_m")
#: Sub-pixel corners of a printed board, as cv2.cornerSubPix finds them in a sharp picture, with room for blur.
_BOARD_SIGMA_PX = 0.5
#: Joints by YOLOv8n-pose in the public 640x360 recording: reprojected from two or three views they miss by 2 to 5 px
#: (median of a pair of cameras), 13 to 20 px at the 95th percentile.
_JOINT_SIGMA_PX = 5.0
#: Only joints that the detector is sure of: below this score they are often guessed behind furniture.
_SURE = 0.6
#: COCO's numbers of the joints that two cameras see alike: shoulders, elbows, hips, ankles.
_JOINTS = (5, 6, 7, 8, 11, 12, 15, 16)
#: A person walks 1.4 m/s; in this time that is 4 cm, less than a keypoint's scatter on the floor.
_TOGETHER_NS = 30_000_000
#: A lens as on the ceiling of the nanostore: a focal length of 0.6 widths, barrel distortion.
_USUAL_FOCAL, _USUAL_DIST = 0.6, (-0.3, 0.15, 0.0, 0.0, 0.0)
#: Pictures are enlarged to this width at least before lines are drawn: a line of a small one hides what it should meet.
_DRAWN_PX = 1280
#: Blue, green, red.
_COLORS = {
    "gondola": (0, 140, 255),
    "shelf": (80, 220, 80),
    "plate": (220, 200, 60),
    ZoneKind.WALKABLE: (255, 255, 255),
    ZoneKind.ENTRANCE: (255, 80, 255),
    ZoneKind.EXIT: (255, 80, 255),
}


def open_store(folder: Path, camera_set: str | None = None) -> Store:
    """The store in ``folder`` with the cameras known so far: a store folder of ours, or a nanostore root or case.

    ``camera_set`` names one of a nanostore's sets; without it such a store has no calibrated cameras. Raises
    ``StoreError``.
    """
    if (folder / STORE_FILE).is_file():
        return read_store(folder)
    if (folder / "store" / STORE_FILE).is_file():
        return read_store(folder / "store")
    store, _ = read_nanostore(find_store_files(folder))
    return store if camera_set is None else replace(store, cameras=read_nanostore_cameras(folder, camera_set))


def named_views(texts: Sequence[str]) -> dict[str, Path]:
    """``CAMERA=FILE`` as camera id and file. Raises ``StoreError``."""
    found = {}
    for text in texts:
        name, equals, file = text.partition("=")
        if not (name and equals and file):
            raise StoreError(f"--view {text!r}: write CAMERA=FILE, such as 3=cam3.png")
        found[name] = Path(file)
    return found


def collect_marks(
    marks: Path | None, boards: Path | None, people: Path | None, views: Mapping[str, Image]
) -> list[Mark]:
    """All marks from a CSV file, from boards in the views, and from people who walk. Raises ``StoreError``."""
    found = read_marks(marks) if marks is not None else []
    if boards is not None:
        found += board_marks(views, boards)
    if people is not None:
        found += walking_marks(read_detections(people))
    if not found and (marks or boards or people):
        raise StoreError("not one mark was found; are the boards in view, does the person walk alone?")
    return found


def read_detections(path: Path) -> list[CameraDetections]:
    """Detections from JSON lines: ``camera``, ``t_ns``, ``size_px`` and ``people``, each a list of 17 [x, y, score].

    Raises ``StoreError`` by line.
    """
    found, number = [], 0
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            number += 1
            table = json.loads(line)
            people = tuple(_person(joints) for joints in table["people"])
            size = (int(table["size_px"][0]), int(table["size_px"][1]))
            found.append(CameraDetections(str(table["camera"]), int(table["t_ns"]), size, people))
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, IndexError) as error:
        remedy = '{"camera": "3", "t_ns": 0, "size_px": [640, 360], "people": [[[x, y, score], ...17]]}'
        raise StoreError(f"{path}:{number}: is no detection ({error!r}); write {remedy}") from error
    return found


def _person(joints: Any) -> Detection:
    points = np.array(joints, dtype=np.float64).reshape(17, 3)
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return Detection(box, float(points[:, 2].mean()), "person", points)


def write_calibration(path: Path, models: Mapping[str, CameraModel], fit: Fit) -> Path:
    """Write all ``models`` to the file ``path``, or to the calibration of the store folder ``path``; gives the file."""
    file = path / CALIBRATION_FILE if path.is_dir() else path
    write_cameras(file, models, fit.errors_px)
    return file


def read_marks(path: Path) -> list[Mark]:
    """Marks from a CSV file with the columns of ``MARK_COLUMNS`` and, if wanted, ``sigma_px``.

    An empty coordinate is an unknown one; lines of one name are one point. Raises ``StoreError`` by line.
    """
    try:
        lines = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StoreError(f"{path}: cannot be read ({error}); write a CSV file in UTF-8") from error
    missing = [column for column in MARK_COLUMNS if not lines or column not in lines[0]]
    if missing:
        raise StoreError(f"{path}:1: has no marks or no column {missing[0]!r}; write {','.join(MARK_COLUMNS)}")
    return [_mark(line, f"{path}:{number}") for number, line in enumerate(lines, 2)]


def _mark(line: Mapping[str, str | None], where: str) -> Mark:
    def number(column: str, empty: float | None) -> float | None:
        text = (line.get(column) or "").strip()
        value = parse_number(text) if text else empty
        if value is None and (text or column in ("u_px", "v_px")):
            raise StoreError(f"{where}: {column} is {text!r}, not a number; write a decimal number such as 0.45")
        return value

    camera, name = (line.get("camera") or "").strip(), (line.get("name") or "").strip()
    if not camera or not name:
        raise StoreError(f"{where}: camera or name is missing; say who sees what")
    world = (number("x_m", None), number("y_m", None), number("z_m", None))
    pixel = (number("u_px", None) or 0.0, number("v_px", None) or 0.0)
    sigma = number("sigma_px", MARK_SIGMA_PX) or 0.0
    if sigma <= 0.0:
        raise StoreError(f"{where}: sigma_px must be positive; leave it empty for {MARK_SIGMA_PX}")
    return Mark(camera, name, pixel, world, sigma)


def walking_marks(seen: Iterable[CameraDetections]) -> list[Mark]:
    """Joints of a person who walks alone, seen by two or more cameras within ``_TOGETHER_NS``: marks of unknown place.

    A camera that saw nobody or more than one at that moment is not used.
    """
    marks: list[Mark] = []
    for together in _moments(seen):
        alone = [(one.camera_id, one.detections[0]) for one in together if len(one.detections) == 1]
        for joint in _JOINTS:
            views = [
                (camera, person.keypoints[joint])
                for camera, person in alone
                if person.keypoints is not None and person.keypoints[joint, 2] >= _SURE
            ]
            if len(views) >= 2:
                name = f"joint {joint} at {together[0].t_ns}"
                marks += [
                    Mark(camera, name, (float(point[0]), float(point[1])), (None, None, None), _JOINT_SIGMA_PX)
                    for camera, point in views
                ]
    return marks


def _moments(seen: Iterable[CameraDetections]) -> list[list[CameraDetections]]:
    """Pictures of different cameras taken within ``_TOGETHER_NS`` of the first of them."""
    moments: list[list[CameraDetections]] = []
    for one in sorted(seen, key=lambda one: (one.t_ns, one.camera_id)):
        last = moments[-1] if moments else []
        near = bool(last) and one.t_ns - last[0].t_ns <= _TOGETHER_NS
        if near and all(one.camera_id != other.camera_id for other in last):
            last.append(one)
        else:
            moments.append([one])
    return moments


def board_marks(views: Mapping[str, Image], boards: Path) -> list[Mark]:
    """Corners of printed boards seen in one picture per camera, as marks of known place.

    ``boards`` is TOML with ``[[boards]]``: ``kind`` "charuco" (``squares`` = [across, down], ``square_m``,
    ``marker_m``, ``first_marker``) or "tag" (``tag`` number, ``marker_m``), ``dictionary`` such as
    "DICT_APRILTAG_36h11", and the pose in the world of its frame: origin at the top left corner as printed (of the
    pattern or of the tag), x to the right, y down the sheet, z into it. Boards whose markers differ may be in view
    together. Raises ``StoreError``.
    """
    cv2 = opencv()
    try:
        tables = tomllib.loads(boards.read_text(encoding="utf-8"))["boards"]
        found = [mark for table in tables for mark in _marks_of_board(cv2, views, table)]
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise StoreError(f"{boards}: cannot be read ({error}); describe boards under [[boards]]") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(f"{boards}: a board is not described in full ({error!r})") from error
    return found


def _marks_of_board(cv2: ModuleType, views: Mapping[str, Image], table: Mapping[str, Any]) -> list[Mark]:
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, table["dictionary"]))
    turn = rodrigues(np.array(table["rotation"], dtype=np.float64)) if "rotation" in table else IDENTITY.rotation
    pose = Pose(turn, np.array(table["translation_m"], dtype=np.float64).reshape(3))
    kind, label = table["kind"], str(table.get("id", table.get("tag", "board")))
    marks: list[Mark] = []
    for camera, image in views.items():
        corners: Iterable[tuple[int, Any, Any]]
        if kind == "charuco":
            corners = _charuco_corners(cv2, dictionary, image, table)
        elif kind == "tag":
            corners = _tag_corners(cv2, dictionary, image, int(table["tag"]), float(table["marker_m"]))
        else:
            raise ValueError(f"kind {kind!r} is neither charuco nor tag")
        for number, pixel, local in corners:
            x, y, z = (float(value) for value in pose.apply(np.asarray(local, dtype=np.float64)))
            # OpenCV's pixel 0 is the middle of the first pixel, as in the published calibrations.
            where = (float(pixel[0]), float(pixel[1]))
            marks.append(Mark(camera, f"{label} corner {number}", where, (x, y, z), _BOARD_SIGMA_PX))
    return marks


def _charuco_corners(
    cv2: ModuleType, dictionary: Any, image: Image, table: Mapping[str, Any]
) -> list[tuple[int, Any, Any]]:
    across, down = (int(count) for count in table["squares"])
    ids = int(table.get("first_marker", 0)) + np.arange(across * down // 2)
    size = (float(table["square_m"]), float(table["marker_m"]))
    board = cv2.aruco.CharucoBoard((across, down), *size, dictionary, ids)
    # Looks again where a marker must be by its neighbours: 24 corners of a small board where it found 9 without.
    parameters = cv2.aruco.CharucoParameters()
    parameters.tryRefineMarkers = True
    corners, numbers, _, _ = cv2.aruco.CharucoDetector(board, parameters).detectBoard(image)
    if numbers is None:
        return []
    places = board.getChessboardCorners()
    return [(int(n), pixel, places[int(n)]) for n, pixel in zip(numbers.ravel(), corners.reshape(-1, 2), strict=True)]


def _tag_corners(cv2: ModuleType, dictionary: Any, image: Image, tag: int, side_m: float) -> list[tuple[int, Any, Any]]:
    parameters = cv2.aruco.DetectorParameters()
    parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    corners, numbers, _ = cv2.aruco.ArucoDetector(dictionary, parameters).detectMarkers(image)
    places = np.array([[0.0, 0.0, 0.0], [side_m, 0.0, 0.0], [side_m, side_m, 0.0], [0.0, side_m, 0.0]])
    mine = [
        four.reshape(4, 2)
        for four, n in zip(corners, () if numbers is None else numbers.ravel(), strict=True)
        if n == tag
    ]
    # The same number twice is a reflection or a second print: neither is believed.
    return [(n, pixel, places[n]) for n, pixel in enumerate(mine[0])] if len(mine) == 1 else []


def calibrate(
    known: Mapping[str, CameraModel],
    planned: Sequence[CameraPlacement],
    marks: Sequence[Mark],
    sizes_px: Mapping[str, tuple[int, int]],
    anew: bool,
    only: Collection[str] = (),
    seed: int = 0,
) -> Fit:
    """Fit all cameras that have marks: those ``known`` are refined, the others (``anew``: all) found from nothing.

    ``planned`` says where new cameras hang by the plan, ``sizes_px`` how large their pictures are. Cameras that are
    found come first, so that people seen by them and by others refine all together; with ``only`` some named, the
    others stay as they are. Raises ``StoreError``.
    """
    rng = np.random.default_rng(seed)
    models = dict(known)
    places = {camera.camera_id: camera.pose for camera in planned}
    seen = {mark.camera_id for mark in marks}
    fresh = sorted(seen if anew else seen - set(known))
    parts: list[Fit] = []
    for name in fresh:
        start = models[name] if name in models else _usual_camera(name, places.get(name), sizes_px)
        own = [mark for mark in marks if mark.camera_id == name and None not in mark.world_m]
        parts.append(fit_cameras({name: start}, own, PLANNED_CAMERA if name in places else NEW_CAMERA, rng))
        models[name] = parts[-1].cameras[name]
    wrong = {mark for part in parts for mark in part.wrong}
    left = [mark for mark in marks if mark not in wrong]
    if any(mark.camera_id not in fresh or None in mark.world_m for mark in left):
        held = seen - set(only) if only else set()
        parts.append(fit_cameras(models, left, REFINE, rng, held))
    return _joined(parts)


def _joined(parts: Sequence[Fit]) -> Fit:
    """One fit of several, the later ones winning."""
    return Fit(
        {name: model for part in parts for name, model in part.cameras.items()},
        {name: errors for part in parts for name, errors in part.errors_px.items()},
        tuple(mark for part in parts for mark in part.wrong),
        {name: place for part in parts for name, place in part.points.items()},
        {name: sigma for part in parts for name, sigma in part.position_sigma_m.items()},
        sum(part.cost for part in parts),
    )


def _usual_camera(name: str, pose: Pose | None, sizes_px: Mapping[str, tuple[int, int]]) -> CameraModel:
    if name not in sizes_px:
        raise StoreError(f"camera {name} is new: how large are its pictures? give one with --view {name}=PICTURE")
    width, height = sizes_px[name]
    focal = _USUAL_FOCAL * width
    K = np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])  # noqa: N806
    return CameraModel(name, (width, height), K, np.array(_USUAL_DIST), pose or IDENTITY)


def in_words(fit: Fit) -> list[str]:
    """One line per camera: reprojection error and how well its place is known; then every mark that was dropped."""
    lines = []
    for name, errors in fit.errors_px.items():
        x, y, z = fit.cameras[name].position_m
        lines.append(
            f"camera {name}: {len(errors)} marks, error median {np.median(errors):.2f} px, "
            f"p95 {np.percentile(errors, 95):.2f} px, max {errors.max():.2f} px; "
            f"at ({x:.2f}, {y:.2f}, {z:.2f}) m, known to {fit.position_sigma_m.get(name, 0.0):.2f} m"
        )
    wrong = [f"camera {mark.camera_id}: mark {mark.name} lies too far off and was not used" for mark in fit.wrong]
    return lines + wrong


def opencv() -> ModuleType:
    """OpenCV, on one thread. Raises ``StoreError`` where it is not installed."""
    try:
        import cv2
    except ImportError:
        raise StoreError("pictures and boards need OpenCV: pip install 'walkout[vision]'") from None
    cv2.setNumThreads(1)
    return cv2


def read_view(path: Path) -> Image:
    """A picture, or the first one of a video: (height, width, 3) uint8 BGR. Raises ``StoreError``."""
    cv2 = opencv()
    image = cv2.imread(str(path)) if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff") else None
    if image is None:
        video = cv2.VideoCapture(str(path))
        try:
            _, image = video.read()
        finally:
            video.release()
    if image is None:
        raise StoreError(f"{path}: shows no picture; give a PNG, a JPEG or a video")
    return np.asarray(image, dtype=np.uint8)


def draw_wireframe(image: Image, model: CameraModel, layout: Layout, marks: Sequence[Mark] = ()) -> Image:
    """``image``, enlarged to ``_DRAWN_PX`` or more, under the store's lines as ``model`` sees them.

    A mark is a circle with a line to where it should be. Marks are in pixels of the size ``model`` is for. What lies
    beyond the fold of the lens or far outside the picture is left out. Plates are faint, they are so many.
    """
    cv2 = opencv()
    times = max(1, -(-_DRAWN_PX // image.shape[1]))
    drawn = cv2.resize(image, None, fx=times, fy=times, interpolation=cv2.INTER_LINEAR)
    large = model.scaled((drawn.shape[1], drawn.shape[0]))
    ratio = np.array(large.size_px) / np.array(model.size_px)
    faint = drawn.copy()
    for kind, corners in wireframe(layout):
        for piece in seen_pieces(large, corners):
            cv2.polylines(faint if kind == "plate" else drawn, [piece], False, _COLORS[kind], 1, cv2.LINE_AA)
    drawn = cv2.addWeighted(drawn, 0.6, faint, 0.4, 0.0)
    for mark in marks:
        place = np.array([[np.nan if value is None else value for value in mark.world_m]])
        (there,), (visible,) = large.project(place)
        seen = (round(mark.pixel[0] * ratio[0]), round(mark.pixel[1] * ratio[1]))
        cv2.circle(drawn, seen, 5, (0, 0, 255), 1, cv2.LINE_AA)
        if visible:
            cv2.line(drawn, seen, (round(there[0]), round(there[1])), (0, 0, 255), 1, cv2.LINE_AA)
    return np.asarray(drawn, dtype=np.uint8)


def draw_pictures(
    folder: Path, views: Mapping[str, Image], models: Mapping[str, CameraModel], layout: Layout, marks: Sequence[Mark]
) -> list[Path]:
    """Write ``camera-ID.png`` for every view of a camera we know into ``folder``; gives the files."""
    cv2 = opencv()
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, image in views.items():
        if name not in models:
            continue
        own = [mark for mark in marks if mark.camera_id == name]
        path = folder / f"camera-{name}.png"
        if not cv2.imwrite(str(path), draw_wireframe(image, models[name], layout, own)):
            raise StoreError(f"{path}: cannot be written; check the folder")
        written.append(path)
    return written
