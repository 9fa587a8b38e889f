"""Simulated floors for `tracking.py`: people walk in a small shop, cameras see them, and the truth is known.

The shop is 8 x 6 m with one door. Walkers head from shelf to shelf, stop there, keep 0.4 m from each other (centres)
and leave; as many are inside all the time as are asked for. Cameras hang 2.7 m high around the walls, tell 640 x 360
pictures at their own phases, and see keypoints through a distorting lens, hidden by other people's bodies (cylinders).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from walkout.domain.clock import NS_PER_S
from walkout.domain.geometry import Pose
from walkout.domain.sensing import CameraDetections, Detection
from walkout.store.calibration import CameraModel
from walkout.store.layout import Layout, Zone, ZoneKind, resolve

Floats = NDArray[np.float64]

SHOP_M = (8.0, 6.0)
DOOR_M = np.array([4.0, 0.0])
DOOR_RADIUS_M = 0.8
APART_M = 0.4
SIZE_PX = (640, 360)
STEP_S = 0.05
BODY_RADIUS_M = 0.18
"""Half the breadth of a trunk with its arms, seen from any side."""
OKS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) * 1e-3
"""What annotators of COCO disagree by, as a share of the square root of the box's area (cocoeval: sigmas)."""


@dataclass(frozen=True, slots=True)
class Seeing:
    """How well a simulated camera and net see."""

    miss: float = 0.05
    false_per_frame: float = 0.05
    lasting_s: float = 0.3
    merge_iou: float = 0.7
    least_keypoints: int = 5

    def __str__(self) -> str:
        return (
            f"keypoints off by COCO's sigmas, half of the variance lasting {self.lasting_s:g} s; {self.miss:.0%} of "
            f"the boxes missed, and those with fewer than {self.least_keypoints} keypoints in view; of two boxes that "
            f"overlap by {self.merge_iou:g} (IoU) only the nearer; {self.false_per_frame:g} false bodies a picture"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """Where everybody truly is: ``places`` (times, walkers, 2) in metres, NaN outside the scene, every ``STEP_S``.

    ``headings`` (times, walkers) in radians; ``statures`` (walkers,) in metres.
    """

    places: Floats
    headings: Floats
    statures: Floats

    def at(self, t_s: float) -> tuple[Floats, Floats]:
        """Places (walkers, 2) and headings (walkers,) at one time, linear in between."""
        last = len(self.places) - 1
        low = min(int(t_s / STEP_S), last)
        share = min(1.0, t_s / STEP_S - low)
        high = min(low + 1, last)
        place = (1.0 - share) * self.places[low] + share * self.places[high]
        return place, self.headings[low]


@dataclass(slots=True)
class _Walker:
    stature_m: float
    speed: float
    place: Floats
    goals: list[Floats]
    velocity: Floats = field(default_factory=lambda: np.zeros(2))
    heading: float = 0.0
    pause_s: float = 0.0


def walks(people: int, seconds: float, seed: int) -> Walk:
    """``people`` shoppers inside at any time; who leaves is followed by a newcomer at the door."""
    rng = np.random.default_rng([seed, 1])
    walkers = [_walker(rng, inside=True) for _ in range(people)]
    times = round(seconds / STEP_S) + 1
    history: list[tuple[list[Floats], list[float]]] = []
    for _ in range(times):
        _move(walkers, rng)
        history.append(([one.place.copy() for one in walkers], [one.heading for one in walkers]))
        inside = sum(bool(one.goals) for one in walkers)
        # One at a time through the door.
        free = all(np.linalg.norm(one.place - DOOR_M) > 1.2 for one in walkers if one.goals)
        if inside < people and free:
            walkers.append(_walker(rng, inside=False))
    places, headings = np.full((times, len(walkers), 2), np.nan), np.zeros((times, len(walkers)))
    for i, (there, turned) in enumerate(history):
        places[i, : len(there)], headings[i, : len(there)] = there, turned
    return Walk(places, headings, np.array([one.stature_m for one in walkers]))


def _walker(rng: np.random.Generator, inside: bool) -> _Walker:
    low, high = np.array([0.5, 0.5]), np.array(SHOP_M) - 0.5
    start = rng.uniform(low, high) if inside else DOOR_M + np.array([rng.uniform(-0.4, 0.4), -1.0])
    goals = [_at_shelf(rng) for _ in range(rng.integers(3, 7))] + [DOOR_M + np.array([rng.uniform(-0.4, 0.4), -1.2])]
    stature = float(np.clip(rng.normal(1.73, 0.09), 1.5, 2.0))
    return _Walker(stature, float(rng.uniform(0.6, 1.2)), start, goals)


def _at_shelf(rng: np.random.Generator) -> Floats:
    """Mostly in front of a wall, at times somewhere in the middle."""
    x, y = rng.uniform(0.5, np.array(SHOP_M) - 0.5)
    side = rng.integers(4)
    choice = [[0.45, y], [SHOP_M[0] - 0.45, y], [x, SHOP_M[1] - 0.45], [x, y]]
    return np.array(choice[side])


def _move(walkers: Sequence[_Walker], rng: np.random.Generator) -> None:
    here = [one for one in walkers if one.goals]
    for one in here:
        away = one.goals[0] - one.place
        distance = float(np.linalg.norm(away))
        wish = np.zeros(2)
        if one.pause_s > 0.0:
            one.pause_s -= STEP_S
        elif distance < 0.3:
            one.goals.pop(0)
            one.pause_s = float(rng.uniform(1.0, 6.0)) if len(one.goals) > 1 else 0.0
        else:
            wish = one.speed * away / distance
        for other in here:
            gap = one.place - other.place
            far = float(np.linalg.norm(gap))
            # Who walks steers around others, a little to the right, from a metre away.
            if other is not one and 1e-6 < far < 1.0:
                wish = wish + 1.5 * (1.0 - far) * (gap + 0.5 * np.array([gap[1], -gap[0]])) / far
        one.velocity = one.velocity + (wish - one.velocity) * min(1.0, STEP_S / 0.4)
        one.place = one.place + STEP_S * one.velocity
        if np.linalg.norm(one.velocity) > 0.2:
            one.heading = float(np.arctan2(one.velocity[1], one.velocity[0]))
    _keep_apart(here)
    for one in walkers:
        if not one.goals:
            one.place = np.full(2, np.nan)


def _keep_apart(walkers: Sequence[_Walker]) -> None:
    for _ in range(5):
        for i, one in enumerate(walkers):
            for other in walkers[:i]:
                gap = one.place - other.place
                far = max(1e-6, float(np.linalg.norm(gap)))
                if far < APART_M:
                    push = 0.5 * (APART_M - far) * gap / far
                    one.place, other.place = one.place + push, other.place - push
        for one in walkers:
            if one.place[1] > 0.3:
                one.place = np.clip(one.place, 0.3, np.array(SHOP_M) - 0.3)


def shop_layout() -> Layout:
    """The walkable floor and its door, way in and way out."""
    (w, d), angles = SHOP_M, np.arange(16) * np.pi / 8.0
    ring = tuple(
        (float(x), float(y)) for x, y in DOOR_M + DOOR_RADIUS_M * np.column_stack([np.cos(angles), np.sin(angles)])
    )
    floor = ((0.0, 0.0), (w, 0.0), (w, d), (0.0, d))
    return resolve(
        (),
        (
            Zone("floor", ZoneKind.WALKABLE, floor),
            Zone("door in", ZoneKind.ENTRANCE, ring),
            Zone("door out", ZoneKind.EXIT, ring),
        ),
    )


def ring_of_cameras(count: int) -> dict[str, CameraModel]:
    """Cameras under the ceiling around the walls, evenly, each looking at the middle of the floor; 95 degrees wide."""
    (w, d), focal = SHOP_M, 0.46 * SIZE_PX[0]
    K = np.array([[focal, 0.0, SIZE_PX[0] / 2.0], [0.0, focal, SIZE_PX[1] / 2.0], [0.0, 0.0, 1.0]])  # noqa: N806
    cameras = {}
    for i in range(count):
        # Corners first, then between them.
        angle = np.arctan2(d, w) + 2.0 * np.pi * i / count
        reach = min(abs(w / 2.0 / np.cos(angle)), abs(d / 2.0 / np.sin(angle))) - 0.1
        place = np.array([w / 2.0 + reach * np.cos(angle), d / 2.0 + reach * np.sin(angle), 2.7])
        aim = np.array([w / 2.0, d / 2.0, 0.9]) - place
        forward = aim / np.linalg.norm(aim)
        right = np.cross(forward, [0.0, 0.0, 1.0])
        right /= np.linalg.norm(right)
        rotation = np.column_stack([right, np.cross(forward, right), forward])
        name = f"cam{i + 1:02d}"
        cameras[name] = CameraModel(
            name, SIZE_PX, K, np.array([-0.22, 0.05, 5e-4, -5e-4, -0.004]), Pose(rotation, place)
        )
    return cameras


#: Joints of a standing person of stature 1: forward, left, up, in the order of COCO (Drillis and Contini 1966).
SKELETON = np.array(
    [
        [0.06, 0.0, 0.925], [0.05, 0.02, 0.94], [0.05, -0.02, 0.94], [0.0, 0.045, 0.93], [0.0, -0.045, 0.93],
        [0.0, 0.12, 0.818], [0.0, -0.12, 0.818], [0.0, 0.14, 0.63], [0.0, -0.14, 0.63], [0.04, 0.14, 0.485],
        [0.04, -0.14, 0.485], [0.0, 0.06, 0.53], [0.0, -0.06, 0.53], [0.0, 0.06, 0.285], [0.0, -0.06, 0.285],
        [0.0, 0.06, 0.045], [0.0, -0.06, 0.045],
    ]
)  # fmt: skip
#: Only for the box: crown and toes.
ENDS = np.array([[0.0, 0.0, 1.0], [0.09, 0.06, 0.0], [0.09, -0.06, 0.0]])
#: How far a joint swings forward at the height of a step, shares of the stature: ankles, knees, wrists, elbows.
SWING = {15: 0.16, 16: -0.16, 13: 0.08, 14: -0.08, 9: -0.12, 10: 0.12, 7: -0.05, 8: 0.05}


def bodies(walk: Walk, t_s: float) -> tuple[NDArray[np.intp], Floats]:
    """Who is there (n,) and their joints and ends (n, 20, 3) in world metres."""
    places, headings = walk.at(t_s)
    here = np.flatnonzero(np.isfinite(places[:, 0]))
    before = walk.at(max(0.0, t_s - STEP_S))[0]
    speed = np.nan_to_num(np.linalg.norm(places - before, axis=1) / STEP_S)
    out = np.empty((len(here), len(SKELETON) + len(ENDS), 3))
    for row, who in enumerate(here):
        local = np.vstack([SKELETON, ENDS])
        # Two steps of 0.7 m make a cycle.
        phase = np.sin(2.0 * np.pi * t_s * 0.75 + who) * min(1.0, speed[who])
        for joint, share in SWING.items():
            local[joint, 0] += share * phase
        local = local * walk.statures[who]
        c, s = np.cos(headings[who]), np.sin(headings[who])
        out[row] = np.column_stack([local[:, 0] * c - local[:, 1] * s, local[:, 0] * s + local[:, 1] * c, local[:, 2]])
        out[row, :, :2] += places[who]
    return here, out


def hidden(
    camera: CameraModel, points: Floats, walk: Walk, here: NDArray[np.intp], places: Floats
) -> NDArray[np.bool_]:
    """Which joints (n, k) of the n people another one's body hides from the camera."""
    eye = camera.position_m
    blocked = np.zeros(points.shape[:2], dtype=np.bool_)
    rays = points - eye
    flat2 = np.maximum(1e-9, np.sum(rays[..., :2] ** 2, axis=-1))
    for row, who in enumerate(here):
        axis = places[who] - eye[:2]
        along = (rays[..., :2] @ axis) / flat2
        gap = np.linalg.norm(rays[..., :2] * along[..., None] - axis, axis=-1)
        level = eye[2] + along * rays[..., 2]
        cut = (gap < BODY_RADIUS_M) & (along > 0.0) & (along < 1.0) & (level < walk.statures[who]) & (level > 0.0)
        cut[row] = False
        blocked |= cut
    return blocked


class SimulatedCamera:
    """One camera's net: what it tells of a walk, picture by picture."""

    def __init__(self, model: CameraModel, seeing: Seeing, rng: np.random.Generator) -> None:
        self.model, self._seeing, self._rng = model, seeing, rng
        self._lasting: dict[int, Floats] = {}
        self._t_s = 0.0

    def see(self, walk: Walk, t_s: float) -> CameraDetections:
        """The picture taken at ``t_s`` seconds."""
        here, points = bodies(walk, t_s)
        blocked = hidden(self.model, points, walk, here, walk.at(t_s)[0])
        keep = float(np.exp(-max(0.0, t_s - self._t_s) / self._seeing.lasting_s))
        self._t_s = t_s
        found: list[tuple[float, Detection]] = []
        for row, who in enumerate(here):
            one = self._one(int(who), points[row], blocked[row], keep)
            if one is not None:
                found.append((float(np.linalg.norm(points[row, 0] - self.model.position_m)), one))
        found += [(99.0, self._false()) for _ in range(self._rng.poisson(self._seeing.false_per_frame))]
        return CameraDetections(self.model.camera_id, round(t_s * NS_PER_S), SIZE_PX, self._merged(found))

    def _one(self, who: int, points: Floats, blocked: NDArray[np.bool_], keep: float) -> Detection | None:
        pixels, visible = self.model.project(points)
        low, high = np.zeros(2), np.array(SIZE_PX, dtype=np.float64)
        with np.errstate(invalid="ignore"):
            inside = visible & np.all((pixels > low) & (pixels < high), axis=1)
        shown = inside & ~blocked
        fresh = self._rng.normal(size=(17, 2))
        # A first-order process: the lasting half of the error forgets itself over ``lasting_s``.
        old = self._lasting.get(who, self._rng.normal(size=(17, 2)))
        lasting = self._lasting[who] = keep * old + np.sqrt(1.0 - keep**2) * self._rng.normal(size=(17, 2))
        missed = self._rng.random() < self._seeing.miss
        if shown[:17].sum() < self._seeing.least_keypoints or missed:
            return None
        corners = np.clip(pixels[visible & ~blocked], low, high)
        (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
        scale = np.sqrt(max(1.0, (right - left) * (bottom - top)))
        error = np.sqrt(0.5) * (fresh + lasting) * np.maximum(1.5, OKS * scale)[:, None]
        # A hidden joint is guessed with a low score, far off.
        error[blocked[:17]] *= 3.0
        places = np.clip(np.nan_to_num(pixels[:17] + error), low, high)
        score = np.where(shown[:17], self._rng.uniform(0.7, 0.98, 17), self._rng.uniform(0.05, 0.45, 17))
        box = np.array([left, top, right, bottom]) + self._rng.normal(0.0, 0.02, 4) * np.tile(
            [right - left, bottom - top], 2
        )
        box = np.clip(box, 0.0, np.tile(high, 2))
        sure = float(np.clip(0.3 + 0.6 * shown[:17].mean() + self._rng.normal(0.0, 0.05), 0.2, 0.98))
        return Detection((box[0], box[1], box[2], box[3]), sure, "person", np.column_stack([places, score]))

    def _false(self) -> Detection:
        """A thing taken for a body: any upright box, with joints where a net would put them."""
        h = self._rng.uniform(60.0, 200.0)
        w = 0.4 * h
        left, top = self._rng.uniform(0.0, np.array(SIZE_PX) - [w, h])
        shape = SKELETON[:, [1, 2]] * [2.5, -1.0] + [0.5, 1.0]
        places = np.array([left, top]) + shape * [w, h]
        scores = self._rng.uniform(0.2, 0.8, 17)
        return Detection(
            (left, top, left + w, top + h), self._rng.uniform(0.25, 0.6), "person", np.column_stack([places, scores])
        )

    def _merged(self, found: list[tuple[float, Detection]]) -> tuple[Detection, ...]:
        """What non-maximum suppression leaves, the nearest first."""
        kept: list[Detection] = []
        for _, one in sorted(found, key=lambda pair: pair[0]):
            if all(_iou(one.box_px, other.box_px) < self._seeing.merge_iou for other in kept):
                kept.append(one)
        return tuple(kept)


def _iou(one: Sequence[float], other: Sequence[float]) -> float:
    a, b = np.array(one), np.array(other)
    shared = float(np.prod(np.maximum(0.0, np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]))))
    return shared / max(1e-9, float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared)


def pictures(
    walk: Walk, cameras: dict[str, CameraModel], rate_hz: float, seconds: float, seed: int, seeing: Seeing
) -> Iterator[CameraDetections]:
    """What all cameras tell in the order of time; each at its own phase."""
    rng = np.random.default_rng([seed, 2])
    eyes = [
        SimulatedCamera(model, seeing, np.random.default_rng([seed, 3, i])) for i, model in enumerate(cameras.values())
    ]
    phases = rng.random(len(eyes)) / rate_hz
    for number in range(int(seconds * rate_hz)):
        for i in np.argsort(phases):
            t_s = phases[i] + number / rate_hz
            if t_s <= seconds:
                yield eyes[i].see(walk, float(t_s))
