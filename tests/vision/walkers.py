"""A room with cameras and walkers of bones, so that the truth is known: pixels come from projecting skeletons."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from walkout.domain.geometry import Pose
from walkout.domain.sensing import CameraDetections, Detection, PlateId, ShelfId
from walkout.store.calibration import CameraModel
from walkout.store.layout import Gondola, Layout, Plate, Shelf, Zone, ZoneKind, resolve

Floats = NDArray[np.float64]
Path = Callable[[float], tuple[float, float]]
"""Seconds -> place on the floor, metres."""

#: A room of 6 x 4 m; glass along y = 0 with a door at its left end, a shelf along y = 4.
FLOOR = ((0.0, 0.0), (6.0, 0.0), (6.0, 4.0), (0.0, 4.0))
DOOR = ((0.0, -0.8), (1.6, -0.8), (1.6, 0.8), (0.0, 0.8))
START_NS = 1_700_000_000_000_000_000
#: Where the joints of COCO stand as shares of the stature: sideways (left is +), forward, up (Drillis and Contini).
_BONES = np.array(
    [
        [0, 0.05, 0.93], [0.02, 0.04, 0.95], [-0.02, 0.04, 0.95], [0.04, 0, 0.94], [-0.04, 0, 0.94],
        [0.129, 0, 0.818], [-0.129, 0, 0.818], [0.14, 0, 0.632], [-0.14, 0, 0.632], [0.14, 0.05, 0.49],
        [-0.14, 0.05, 0.49], [0.08, 0, 0.53], [-0.08, 0, 0.53], [0.08, 0, 0.285], [-0.08, 0, 0.285],
        [0.08, 0, 0.045], [-0.08, 0, 0.045],
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Walker:
    """Somebody on a path. ``reach`` is where the right hand's grip is at a time, None for hanging down."""

    path: Path
    stature_m: float = 1.75
    reach: Callable[[float], Floats | None] = lambda _: None
    seen_by: Callable[[str, float], bool] = lambda _camera, _s: True

    def joints(self, s: float) -> Floats:
        """(17, 3) in world metres, facing the way of walking, else the shelf."""
        here, before = np.array(self.path(s)), np.array(self.path(s - 0.1))
        ahead = here - before
        forward = ahead / np.linalg.norm(ahead) if np.linalg.norm(ahead) > 0.02 else np.array([0.0, 1.0])
        left = np.array([-forward[1], forward[0]])
        bones = _BONES * self.stature_m
        points = np.column_stack([here + bones[:, :1] * left + bones[:, 1:2] * forward, bones[:, 2]])
        grip = self.reach(s)
        if grip is not None:
            points[10], points[8] = _arm(points[6], grip, self.stature_m)
        return points


def _arm(shoulder: Floats, grip: Floats, stature_m: float) -> tuple[Floats, Floats]:
    """Wrist and elbow of an arm whose grip is at ``grip``, bent downwards."""
    upper, lower = 0.186 * stature_m, 0.146 * stature_m
    wrist = grip - 0.09 * (grip - shoulder) / np.linalg.norm(grip - shoulder)
    line = wrist - shoulder
    length = min(float(np.linalg.norm(line)), upper + lower - 1e-6)
    wrist = shoulder + line / np.linalg.norm(line) * length
    along = (upper**2 - lower**2 + length**2) / (2 * length)
    unit = line / np.linalg.norm(line)
    down = np.array([0.0, 0.0, -1.0]) - unit * -unit[2]
    bend = np.sqrt(max(0.0, upper**2 - along**2))
    return wrist, shoulder + along * unit + bend * down / max(1e-9, float(np.linalg.norm(down)))


def standing(x: float, y: float) -> Path:
    """Nobody moves."""
    return lambda _s: (x, y)


def walking(*stops: tuple[float, float, float]) -> Path:
    """Along (seconds, x, y) stops, straight between them."""
    times, xs, ys = zip(*stops, strict=True)
    return lambda s: (float(np.interp(s, times, xs)), float(np.interp(s, times, ys)))


def room_layout() -> Layout:
    """The room with one shelf of six plates of 0.5 m, at y from 4 m on, goods from 1.0 to 1.4 m high, x from 1.5 m."""
    plates = tuple(
        Plate(PlateId("a", 1, n + 1), Pose(np.eye(3), np.array([0.5 * n, 0.0, 0.0])), (0.5, 0.4)) for n in range(6)
    )
    shelf = Shelf(ShelfId("a", 1), Pose(np.eye(3), np.array([0.0, 0.0, 1.0])), (3.0, 0.4, 0.4), plates)
    gondola = Gondola("a", Pose(np.eye(3), np.array([1.5, 4.0, 0.0])), (3.0, 0.5, 2.0), (shelf,))
    zones = (
        Zone("floor", ZoneKind.WALKABLE, FLOOR),
        Zone("in", ZoneKind.ENTRANCE, DOOR),
        Zone("out", ZoneKind.EXIT, DOOR),
    )
    return resolve((gondola,), zones)


def looking(name: str, position: Sequence[float], target: Sequence[float], focal: float = 0.6) -> CameraModel:
    """A camera of 640 x 360 at ``position`` whose middle is ``target``; ``focal`` in widths of the picture."""
    eye = np.array(position, dtype=np.float64)
    forward = np.array(target) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    rotation = np.column_stack([right, np.cross(forward, right), forward])
    matrix = np.array([[640 * focal, 0.0, 320.0], [0.0, 640 * focal, 180.0], [0.0, 0.0, 1.0]])
    return CameraModel(name, (640, 360), matrix, np.array([-0.2, 0.15, 0.0, 0.0, 0.0]), Pose(rotation, eye))


def room_cameras() -> dict[str, CameraModel]:
    """One in each upper corner of the room, all looking at the middle of its floor."""
    corners = {"a": (0.0, 0.0, 2.6), "b": (6.0, 0.0, 2.6), "c": (6.0, 4.0, 2.6), "d": (0.0, 4.0, 2.6)}
    return {name: looking(name, corner, (3.0, 2.0, 0.6)) for name, corner in corners.items()}


def mirrored(walker: Walker, y_m: float = 0.0) -> Walker:
    """The image of a walker in the glass along y = ``y_m``: as far beyond it."""

    def path(s: float) -> tuple[float, float]:
        x, y = walker.path(s)
        return x, 2.0 * y_m - y

    return Walker(path, walker.stature_m)


def film(
    cameras: Mapping[str, CameraModel],
    walkers: Sequence[Walker],
    seconds: float,
    seed: int = 1,
    fps: float = 10.0,
    phase_s: Mapping[str, float] | None = None,
    noise: float = 1.0,
) -> list[CameraDetections]:
    """What a pose net would say of everybody in every picture, in order of time.

    Noise is that of COCO's annotators times ``noise``; a tenth of all detections is missed; of two bodies whose boxes
    share more than 0.7 of their union, the one behind is lost.
    """
    rng = np.random.default_rng(seed)
    shots = sorted(
        (n / fps + (phase_s or {}).get(name, 0.0), name) for name in cameras for n in range(int(seconds * fps))
    )
    return [
        CameraDetections(name, START_NS + round(s * 1e9), (640, 360), _shot(cameras[name], walkers, s, rng, noise))
        for s, name in shots
    ]


_OKS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) * 1e-3


def _shot(
    camera: CameraModel, walkers: Sequence[Walker], s: float, rng: np.random.Generator, noise: float
) -> tuple[Detection, ...]:
    found: list[tuple[float, Detection]] = []
    for walker in walkers:
        missed = rng.random() < 0.1
        jitter = rng.normal(size=(17, 2))
        points = walker.joints(s)
        pixels, visible = camera.project(points)
        inside = visible & camera.in_picture(np.nan_to_num(pixels, nan=-1e6), 1.0)
        if missed or inside.sum() < 4 or not walker.seen_by(camera.camera_id, s):
            continue
        low, high = np.nanmin(pixels[visible], axis=0), np.nanmax(pixels[visible], axis=0)
        pad = 0.07 * (high[1] - low[1])
        low, high = np.clip(low - pad, 0.0, [640.0, 360.0]), np.clip(high + pad, 0.0, [640.0, 360.0])
        scale = float(np.sqrt(np.prod(np.maximum(1.0, high - low))))
        places = np.nan_to_num(pixels, nan=0.0) + jitter * (noise * 0.7 * scale * _OKS)[:, None]
        keypoints = np.column_stack([places, np.where(inside, 0.9, 0.1)])
        box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
        depth = float(np.linalg.norm(points.mean(axis=0) - camera.position_m))
        found.append((depth, Detection(box, 0.8, "person", keypoints)))
    kept: list[Detection] = []
    for _, one in sorted(found, key=lambda pair: pair[0]):
        if all(_union_share(one, other) < 0.7 for other in kept):
            kept.append(one)
    return tuple(kept)


def _union_share(one: Detection, other: Detection) -> float:
    a, b = np.array(one.box_px), np.array(other.box_px)
    shared = float(np.prod(np.maximum(0.0, np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]))))
    return shared / max(1e-9, float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared)
