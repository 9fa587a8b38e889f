"""One detection as what it says about a person: linear measurements of (x, y, h), with no tracker in sight.

A standing person is (x, y, h): where on the floor, and how high the head's middle is, metres. Each part of the body
stands at a known share of h above that place, give or take the posture, so the ray of a part seen by a camera is two
linear equations in (x, y, h). The equations of all views simply add up (information form), whatever each view
sees: legs alone fix the place, a head alone fixes a line on which height and place trade, two heads fix both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from walkout.domain.sensing import Detection
from walkout.store.calibration import CameraModel
from walkout.store.layout import Layout, ZoneKind

Floats = NDArray[np.float64]

#: Height of the middle of the head (eyes, ears) above the floor and its spread over adults, metres: 0.936 of a
#: stature of 1.73 +- 0.09 m (Drillis and Contini 1966), and shoes, a nod, a slouch.
HEAD_M, HEAD_SIGMA_M = 1.65, 0.12
#: Keypoints below this score are guesses: half of what the net itself takes for seen.
KEYPOINT_SCORE = 0.5
#: A keypoint this near to the border of the picture, pixels of 640, was squeezed into it.
BORDER_PX = 3.0
#: What annotators of COCO disagree by, as a share of the square root of the box's area (cocoeval: sigmas): nose, eyes,
#: ears, shoulders, elbows, wrists, hips, knees, ankles. The net adds about as much again.
_OKS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) * 1e-3
_LEAST_PX = 1.5
#: Cameras hang above heads: a ray that rises steeper than this (sine) shows nobody.
_RISE = 0.2


@dataclass(frozen=True, slots=True)
class Part:
    """Keypoints (COCO) whose mean stands at ``share`` of the head's height plus ``above_m``.

    ``lean_m`` is how far it may be from the vertical over the place (posture, one foot forward), ``lift_m`` how far
    from that height, as standard deviations.
    """

    name: str
    keypoints: tuple[int, ...]
    least: int
    share: float
    above_m: float
    lean_m: float
    lift_m: float


#: Heights are shares of the stature (eyes 0.936, shoulders 0.818, hips 0.530, ankles 0.039: Drillis and Contini 1966,
#: in Winter 2009, fig. 4.1) relative to that of the head. Leans: a reach bends the trunk by 10-20 degrees, half a step
#: is 0.2-0.3 m of which the middle of both ankles keeps a part.
PARTS = (
    Part("head", (0, 1, 2, 3, 4), 1, 1.0, 0.0, 0.12, 0.03),
    Part("shoulders", (5, 6), 2, 0.874, 0.0, 0.08, 0.04),
    Part("hips", (11, 12), 2, 0.566, 0.0, 0.06, 0.05),
    Part("ankles", (15, 16), 2, 0.0, 0.08, 0.10, 0.03),
)


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Measurements ``rows @ (x, y, h) = values`` with independent standard deviations ``sigmas``; (m, 3), (m,), (m,).

    Rows come in pairs, one pair per part of the body.
    """

    rows: Floats
    values: Floats
    sigmas: Floats

    def joined(self, other: "Lines") -> "Lines":
        """Both together."""
        return Lines(
            np.vstack([self.rows, other.rows]),
            np.concatenate([self.values, other.values]),
            np.concatenate([self.sigmas, other.sigmas]),
        )

    def tempered(self, state: Floats, covariance: Floats, gate2: float = 9.0) -> "Lines":
        """The same with parts that contradict a belief about (x, y, h) trusted less (a bent back, a wrong joint)."""
        error = self.values - self.rows @ state
        spread = np.einsum("ij,jk,ik->i", self.rows, covariance, self.rows) + self.sigmas**2
        pair = (error**2 / spread).reshape(-1, 2).sum(axis=1)
        return Lines(self.rows, self.values, self.sigmas * np.repeat(np.sqrt(np.maximum(1.0, pair / gate2)), 2))


@dataclass(frozen=True, slots=True, eq=False)
class Lifted:
    """One detection in the world. ``whole`` where the box does not touch the border of the picture.

    ``keypoints_seen`` (17,): which keypoints are to be believed. ``about`` (2,): where somebody of average height
    stands.
    """

    camera_id: str
    t_ns: int
    index: int
    detection: Detection
    lines: Lines
    whole: bool
    keypoints_seen: NDArray[np.bool_]
    about: Floats

    def place(self, head_m: float = HEAD_M, sigma_m: float = HEAD_SIGMA_M) -> tuple[Floats, Floats, float]:
        """Where on the floor: (x, y), covariance (2, 2), and the mean square of the residuals in sigmas.

        The head's height is taken for ``head_m`` +- ``sigma_m``.
        """
        return place_of(self.lines, head_m, sigma_m)


def place_of(lines: Lines, head_m: float = HEAD_M, sigma_m: float = HEAD_SIGMA_M) -> tuple[Floats, Floats, float]:
    """As ``Lifted.place`` for the lines of any number of views."""
    state, covariance = solve(lines, head_m, sigma_m)
    error = (lines.values - lines.rows @ state) / lines.sigmas
    return state[:2], covariance[:2, :2], float(np.mean(error * error))


def solve(lines: Lines, head_m: float = HEAD_M, sigma_m: float = HEAD_SIGMA_M) -> tuple[Floats, Floats]:
    """(x, y, h) and covariance (3, 3) by least squares with a prior on h."""
    weighted = lines.rows / lines.sigmas[:, None]
    information = weighted.T @ weighted
    information[2, 2] += 1.0 / sigma_m**2
    right = weighted.T @ (lines.values / lines.sigmas)
    right[2] += head_m / sigma_m**2
    # A ray that grazes the floor leaves a direction open: 10 m are more than any store needs.
    information[0, 0] += 1e-2
    information[1, 1] += 1e-2
    covariance = np.linalg.inv(information).astype(np.float64)
    return covariance @ right, covariance


def lift(camera: CameraModel, t_ns: int, index: int, detection: Detection) -> Lifted | None:
    """What one detection says; None where not one part of the body is seen well enough."""
    seen = seen_keypoints(camera, detection)
    marks = _box_marks(camera, detection) if detection.keypoints is None else _part_marks(detection, seen)
    lines = ray_lines(camera, marks)
    if lines is None:
        return None
    corners = np.array(detection.box_px).reshape(2, 2)
    whole = bool(camera.in_picture(corners, _border_px(camera)).all())
    return Lifted(camera.camera_id, t_ns, index, detection, lines, whole, seen, place_of(lines)[0])


def keypoint_sigma_px(detection: Detection) -> Floats:
    """Standard deviation in pixels of each of the 17 keypoints."""
    left, top, right, bottom = detection.box_px
    scale = np.sqrt(max(1.0, (right - left) * (bottom - top)))
    sigmas: Floats = np.maximum(_LEAST_PX, _OKS * scale)
    return sigmas


def seen_keypoints(camera: CameraModel, detection: Detection) -> NDArray[np.bool_]:
    """Which of the 17 keypoints are to be believed: sure enough, and inside the picture."""
    if detection.keypoints is None:
        return np.zeros(17, dtype=np.bool_)
    inside = camera.in_picture(detection.keypoints[:, :2], _border_px(camera))
    seen: NDArray[np.bool_] = inside & (detection.keypoints[:, 2] >= KEYPOINT_SCORE)
    return seen


def _border_px(camera: CameraModel) -> float:
    return BORDER_PX * max(1.0, camera.size_px[0] / 640.0)


Mark = tuple[Part, Floats, float]
"""A part of the body, the pixel (2,) it is seen at, and that pixel's standard deviation."""


def _part_marks(detection: Detection, seen: NDArray[np.bool_]) -> list[Mark]:
    assert detection.keypoints is not None
    sigmas_px = keypoint_sigma_px(detection)
    marks = []
    for part in PARTS:
        chosen = [number for number in part.keypoints if seen[number]]
        if len(chosen) >= part.least:
            pixel = detection.keypoints[chosen, :2].mean(axis=0)
            marks.append((part, pixel, float(sigmas_px[chosen].mean())))
    return marks


#: A box without keypoints: its lower edge stands on the floor, its upper edge is the top of the head.
_FEET = Part("feet", (), 0, 0.0, 0.0, 0.15, 0.03)
_CROWN = Part("crown", (), 0, 1.0, 0.11, 0.12, 0.05)
#: Edges of boxes are this share of the box's height off (COCO detectors at IoU 0.8-0.9).
_EDGE = 0.05


def _box_marks(camera: CameraModel, detection: Detection) -> list[Mark]:
    left, top, right, bottom = detection.box_px
    middle, sigma_px = (left + right) / 2.0, max(_LEAST_PX, _EDGE * (bottom - top))
    border = _border_px(camera)
    marks = []
    if top > border:
        marks.append((_CROWN, np.array([middle, top]), sigma_px))
    if bottom < camera.size_px[1] - border:
        marks.append((_FEET, np.array([middle, bottom]), sigma_px))
    return marks


def ray_lines(camera: CameraModel, marks: Sequence[Mark]) -> Lines | None:
    """The equations of parts of one body that one camera sees; None where the lens has no ray to any of them."""
    if not marks:
        return None
    # One pixel to the right and one down: how far the ray turns there.
    around = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    origin, rays, valid = camera.rays(np.concatenate([pixel + around for _, pixel, _ in marks]))
    rows, values, sigmas = [], [], []
    for number, (part, _, sigma_px) in enumerate(marks):
        mine = slice(3 * number, 3 * number + 3)
        ray = rays[3 * number]
        if not valid[mine].all() or ray[2] > _RISE:
            continue
        turn = float(np.linalg.norm(rays[mine][1:] - ray, axis=1).mean())
        height = part.share * HEAD_M + part.above_m
        # How far away it is matters for the noise alone; a ray along the part's own height is cut at 10 m.
        distance = min(10.0, max(0.3, (origin[2] - height) / max(1e-3, -ray[2])))
        level = float(np.hypot(ray[0], ray[1]))
        first = np.array([ray[1], -ray[0], 0.0]) / level if level > 1e-6 else np.array([1.0, 0.0, 0.0])
        axes = np.array([first, np.cross(first, ray)])
        posture = (axes**2) @ np.array([part.lean_m**2, part.lean_m**2, part.lift_m**2])
        rows.append(axes * np.array([1.0, 1.0, part.share]))
        values.append(axes @ origin - axes[:, 2] * part.above_m)
        sigmas.append(np.sqrt(posture + (distance * sigma_px * turn) ** 2))
    if not rows:
        return None
    return Lines(np.concatenate(rows), np.concatenate(values), np.concatenate(sigmas))


class Floor:
    """Where people can be: the walkable floor, and the doors that lead on and off it; nothing known means anywhere."""

    def __init__(self, layout: Layout) -> None:
        polygons = {
            kind: [np.array(zone.corners_m, dtype=np.float64) for zone in layout.zones if zone.kind is kind]
            for kind in ZoneKind
        }
        self.walkable = polygons[ZoneKind.WALKABLE]
        self.entrances, self.exits = polygons[ZoneKind.ENTRANCE], polygons[ZoneKind.EXIT]

    def off_m(self, place: Floats) -> float:
        """How far outside the walkable floor, metres; negative inside."""
        return _off_m(self.walkable, place, -np.inf)

    def at_door(self, place: Floats, kind: ZoneKind) -> bool:
        """Whether the place lies in a door's zone."""
        return _off_m(self.entrances if kind is ZoneKind.ENTRANCE else self.exits, place, np.inf) <= 0.0

    def out_of_reach(self, place: Floats, covariance: Floats) -> float:
        """Squared Mahalanobis distance from the belief to the nearest place where somebody can be.

        The walkable floor and the doors' zones; 0 for a belief whose middle lies there.
        """
        polygons = self.walkable + self.entrances + self.exits
        if not self.walkable or _off_m(polygons, place, -np.inf) <= 0.0:
            return 0.0
        precision = np.linalg.inv(covariance)
        least = np.inf
        for polygon in polygons:
            for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
                edge = end - start
                share = (edge @ precision @ (place - start)) / max(1e-12, float(edge @ precision @ edge))
                away = place - start - np.clip(share, 0.0, 1.0) * edge
                least = min(least, float(away @ precision @ away))
        return least

    def inside_probability(self, place: Floats, covariance: Floats) -> float:
        """Chance that the belief is on the walkable floor: of the normal distribution across the nearest edge."""
        from scipy.stats import norm

        if not self.walkable:
            return 1.0
        off, normal = min((_nearest(polygon, place) for polygon in self.walkable), key=lambda found: found[0])
        sigma = float(np.sqrt(max(1e-6, float(normal @ covariance @ normal))))
        return float(norm.cdf(-off / sigma))


#: The middle of a standing body, metres above the floor.
_MIDDLE_M = 1.0
#: Places are told apart to this many metres when their coverage is remembered.
_CELL_M = 0.1


class Coverage:
    """Which part of the floor some cameras see a body on."""

    def __init__(self, cameras: Sequence[CameraModel]) -> None:
        self._cameras = tuple(cameras)
        self._known: dict[tuple[int, int], bool] = {}

    def sees(self, place: Floats) -> bool:
        """Whether one of the cameras has the middle of a body that stands here in its picture."""
        cell = (round(float(place[0]) / _CELL_M), round(float(place[1]) / _CELL_M))
        if cell not in self._known:
            body = np.array([[cell[0] * _CELL_M, cell[1] * _CELL_M, _MIDDLE_M]])
            pictures = ((camera, *camera.project(body)) for camera in self._cameras)
            self._known[cell] = any(
                visible[0] and camera.in_picture(pixels, 2.0 * _border_px(camera))[0]
                for camera, pixels, visible in pictures
            )
        return self._known[cell]


def _off_m(polygons: Sequence[Floats], place: Floats, nothing: float) -> float:
    return min((_nearest(polygon, place)[0] for polygon in polygons), default=nothing)


def _nearest(polygon: Floats, place: Floats) -> tuple[float, Floats]:
    """Signed distance to the polygon's border (negative inside) and the unit vector across the nearest edge."""
    starts, ends = polygon, np.roll(polygon, -1, axis=0)
    edges = ends - starts
    share = np.clip(((place - starts) * edges).sum(axis=1) / np.maximum(1e-12, (edges**2).sum(axis=1)), 0.0, 1.0)
    away = place - starts - share[:, None] * edges
    distances = np.linalg.norm(away, axis=1)
    best = int(np.argmin(distances))
    edge = edges[best]
    normal = np.array([edge[1], -edge[0]]) / max(1e-12, float(np.linalg.norm(edge)))
    # Ray casting: an odd number of edges to the right means inside.
    above = (starts[:, 1] > place[1]) != (ends[:, 1] > place[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = starts[:, 0] + (place[1] - starts[:, 1]) / edges[:, 1] * edges[:, 0]
    inside = bool(np.count_nonzero(above & (place[0] < crossing)) % 2)
    return (-distances[best] if inside else distances[best]), normal
