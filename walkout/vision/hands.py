"""Where head, arms and hands are, from all that is known of one person at one moment.

Two views of a joint are triangulated. One view is a ray: along it a joint lies where the arm of the body that stands
here can hold it, upper arm and forearm as long as people's are, and not in what is behind the goods.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from walkout.domain.sensing import Joint, ShelfId
from walkout.store.calibration import CameraModel, Floats, triangulate_many
from walkout.store.layout import Layout
from walkout.vision.floor import Lifted, keypoint_sigma_px

#: COCO numbers of a side's shoulder, elbow and wrist.
SIDES = {"left": (5, 7, 9), "right": (6, 8, 10)}
NAMES = {
    11: "left_hip", 12: "right_hip", 13: "left_knee", 14: "right_knee", 15: "left_ankle", 16: "right_ankle"
}  # fmt: skip
#: Stands for the middle of nose, eyes and ears.
HEAD = 0
_JOINTS = {HEAD: (0, 1, 2, 3, 4)} | {number: (number,) for number in range(5, 17)}
#: Shares of the head's height: upper arm 0.186 and forearm 0.146 of the stature over 0.936, shoulder at 0.818, half
#: the shoulders' width 0.129 (Drillis and Contini 1966).
UPPER_ARM, FOREARM, SHOULDER, HALF_WIDTH = 0.199, 0.156, 0.874, 0.138
#: Spread of a limb's length over people, and what cameras see of joints inside sleeves, metres.
LIMB_SIGMA_M = 0.04
#: From the wrist to the middle of the grip: half a hand of 0.108 of the stature.
PALM_M = 0.09
#: A pair of rays of one joint may part by so many sigmas of the net.
_PART_SIGMAS = 3.0
#: A triangulated joint is never better than this, metres: joints are inside the body, and sides of it are seen.
_LEAST_M = 0.02
#: Shoulders rise and sink by this much (slouch, reach), and one that is off by more than its gate (chi-square of three
#: degrees of freedom, 0.99) belongs to somebody else.
_SLOUCH_M, _SHOULDER_GATE2 = 0.06, 11.3
#: How far a wrist hangs or swings behind its shoulder, metres: the arms' swing of a slow walk, 15-20 degrees.
_BEHIND_M = 0.15
#: Steps along a ray, and how far around the shoulder joints are looked for, metres.
_STEP_M, _REACH_M = 0.02, 1.0
#: A hand this little outside a goods' space is in it: boards of shelves are 2-3 cm.
_EDGE_M = 0.03


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A joint: ``point`` (3,) world metres, standard deviation along its worst axis, score, and how many views."""

    point: Floats
    sigma_m: float
    score: float
    views: int

    def joint(self) -> Joint:
        """The record."""
        x, y, z = (float(value) for value in self.point)
        return Joint(x, y, z, min(1.0, max(0.0, self.score)), self.sigma_m)


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One joint in one picture."""

    camera: CameraModel
    pixel: Floats
    sigma_px: float
    score: float


def skeleton(
    seen: Sequence[Lifted],
    cameras: Mapping[str, CameraModel],
    place: Floats,
    head_m: float,
    place_sigma_m: float,
    goods: "Goods",
) -> dict[str, Found]:
    """Every joint that can be told, by name: head, shoulders, elbows, wrists, hands, hips, knees, ankles.

    ``place`` (2,) and ``head_m`` are where the person stands and how high the head is, +- ``place_sigma_m``.
    """
    views = {number: _views(seen, cameras, joints) for number, joints in _JOINTS.items()}
    solid = _triangulated(views)
    found = {name: solid[number] for number, name in NAMES.items() if number in solid}
    head = solid.get(HEAD) or _one_view_head(views[HEAD], head_m)
    if head is not None:
        found["head"] = head
    roots = {}
    for side, (shoulder, _, _) in SIDES.items():
        roots[side] = solid.get(shoulder) or _one_view_shoulder(views[shoulder], place, head_m, place_sigma_m)
        if roots[side].views:
            found[f"{side}_shoulder"] = roots[side]
    body = Body(head_m, _facing(roots["left"], roots["right"]), goods)
    for side, (_, elbow, wrist) in SIDES.items():
        arm = _arm(views[elbow], views[wrist], solid.get(elbow), solid.get(wrist), roots[side], body)
        found.update({f"{side}_{name}": joint for name, joint in arm.items()})
    return found


def _views(seen: Sequence[Lifted], cameras: Mapping[str, CameraModel], joints: tuple[int, ...]) -> list[View]:
    """The pictures in which the joint (the mean of several) is seen well."""
    found = []
    for one in seen:
        keypoints, camera = one.detection.keypoints, cameras[one.camera_id]
        chosen = [joint for joint in joints if one.keypoints_seen[joint]]
        if keypoints is None or not chosen:
            continue
        sigma_px = float(keypoint_sigma_px(one.detection)[chosen].mean())
        score = float(keypoints[chosen, 2].mean())
        found.append(View(camera, keypoints[chosen, :2].mean(axis=0), sigma_px, score))
    return found


def _triangulated(views: Mapping[int, Sequence[View]]) -> dict[int, Found]:
    """The joints that two views or more see; views that do not fit are left out, the worst first."""
    left = {number: list(those) for number, those in views.items() if len(those) >= 2}
    found: dict[int, Found] = {}
    while left:
        numbers = sorted(left)
        models = {view.camera.camera_id: view.camera for number in numbers for view in left[number]}
        names = sorted(models)
        pixels = np.full((len(names), len(numbers), 2), np.nan)
        sigmas = np.ones((len(names), len(numbers)))
        for column, number in enumerate(numbers):
            for view in left[number]:
                row = names.index(view.camera.camera_id)
                pixels[row, column], sigmas[row, column] = view.pixel, view.sigma_px
        points, covariances, residuals = triangulate_many([models[name] for name in names], pixels, sigmas)
        again: dict[int, list[View]] = {}
        for column, number in enumerate(numbers):
            those = left[number]
            limit_px = _PART_SIGMAS * float(np.mean([view.sigma_px for view in those]))
            if residuals[column] <= limit_px:
                sigma_m = max(_LEAST_M, float(np.sqrt(np.linalg.eigvalsh(covariances[column])[-1])))
                score = float(np.mean([view.score for view in those]))
                found[number] = Found(points[column], sigma_m, score, len(those))
            elif len(those) > 2:
                worst = int(np.argmax(_misses(those, points[column])))
                again[number] = those[:worst] + those[worst + 1 :]
        left = again
    return found


def _misses(views: Sequence[View], point: Floats) -> list[float]:
    if not np.isfinite(point).all():
        return [-view.score for view in views]
    return [
        float(np.nan_to_num(np.linalg.norm(view.camera.project(point[None])[0][0] - view.pixel), nan=1e6))
        / view.sigma_px
        for view in views
    ]


def _one_view_head(views: Sequence[View], head_m: float) -> Found | None:
    if not views:
        return None
    view = max(views, key=lambda one: one.score)
    points, covariances = view.camera.at_height(view.pixel[None], head_m, 0.05, view.sigma_px)
    if not np.isfinite(points).all():
        return None
    return Found(points[0], float(np.sqrt(np.linalg.eigvalsh(covariances[0])[-1])), view.score, 1)


def _one_view_shoulder(views: Sequence[View], place: Floats, head_m: float, place_sigma_m: float) -> Found:
    """A shoulder on its ray: about as high as shoulders are, about as far from the axis; unseen, on the axis."""
    axis = np.array([place[0], place[1], SHOULDER * head_m])
    aside_m = float(np.hypot(place_sigma_m, HALF_WIDTH * head_m))
    for view in sorted(views, key=lambda one: -one.score):
        points = _ray_near(view, axis)
        if len(points):
            off = (points - axis) / np.array([aside_m, aside_m, _SLOUCH_M])
            fit = -0.5 * np.sum(off * off, axis=1)
            if fit.max() > -_SHOULDER_GATE2 / 2.0:
                return _mean(points, fit, view)
    return Found(axis, aside_m, 0.0, 0)


def _facing(left: Found, right: Found) -> Floats | None:
    """Unit vector (3,) to the front of somebody with these shoulders; None where they do not tell."""
    across = (left.point - right.point)[:2]
    width = float(np.linalg.norm(across))
    if not left.views or not right.views or not 0.15 < width < 0.7:
        return None
    return np.array([across[1], -across[0], 0.0]) / width


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """What limits an arm: the height of the head, the front of the body (3,) where known, and the furniture."""

    head_m: float
    front: Floats | None
    goods: "Goods"

    def backwards(self, points: Floats, root: Floats) -> Floats:
        """Log weight (n,) of wrists at ``points``: few hands are behind their shoulders, none far behind."""
        if self.front is None:
            return np.zeros(len(points))
        behind = np.maximum(0.0, -(points - root) @ self.front)
        weights: Floats = -0.5 * (behind / _BEHIND_M) ** 2
        return weights


def _arm(
    elbows: Sequence[View],
    wrists: Sequence[View],
    elbow: Found | None,
    wrist: Found | None,
    root: Found,
    body: Body,
) -> dict[str, Found]:
    """Elbow, wrist and hand of one side, as far as they can be told; ``elbow`` and ``wrist`` are the triangulated."""
    reach_m = (UPPER_ARM + FOREARM) * body.head_m + 2.0 * LIMB_SIGMA_M + root.sigma_m
    if wrist is not None and np.linalg.norm(wrist.point - root.point) > reach_m + 2.0 * wrist.sigma_m:
        wrist = None
    if elbow is not None and np.linalg.norm(elbow.point - root.point) > reach_m:
        elbow = None
    if elbow is None and elbows:
        elbow = _along(max(elbows, key=lambda one: one.score), root, UPPER_ARM * body.head_m, body)
    if wrist is None and wrists:
        wrist = _one_view_wrist(max(wrists, key=lambda one: one.score), elbows, elbow, root, body)
    found = {}
    if elbow is not None:
        found["elbow"] = elbow
    if wrist is not None:
        found["wrist"] = wrist
        found["hand"] = _hand(wrist, elbow, root, body.head_m)
    return found


def _one_view_wrist(view: View, elbows: Sequence[View], elbow: Found | None, root: Found, body: Body) -> Found | None:
    """A wrist that one camera sees: a forearm from an elbow seen by two, or both bones along both rays."""
    if elbow is not None and elbow.views > 1:
        return _along(view, elbow, FOREARM * body.head_m, body)
    same = [one for one in elbows if one.camera.camera_id == view.camera.camera_id]
    if not same:
        return _along(view, root, 0.8 * (UPPER_ARM + FOREARM) * body.head_m, body, 0.12)
    bends, ends = _ray_near(same[0], root.point), _ray_near(view, root.point)
    if not len(bends) or not len(ends):
        return None
    upper = np.linalg.norm(bends - root.point, axis=1) - UPPER_ARM * body.head_m
    lower = np.linalg.norm(ends[None] - bends[:, None], axis=2) - FOREARM * body.head_m
    sigma_u = float(np.hypot(LIMB_SIGMA_M, root.sigma_m))
    log_weight = -0.5 * (upper[:, None] / sigma_u) ** 2 - 0.5 * (lower / LIMB_SIGMA_M) ** 2
    return _best(ends, log_weight.max(axis=0) + body.backwards(ends, root.point), view, body)


def _along(view: View, root: Found, length_m: float, body: Body, spread_m: float = LIMB_SIGMA_M) -> Found | None:
    """The joint on its ray that is a limb's length from ``root``."""
    points = _ray_near(view, root.point)
    if not len(points):
        return None
    off = np.linalg.norm(points - root.point, axis=1) - length_m
    fit = -0.5 * (off / float(np.hypot(spread_m, root.sigma_m))) ** 2
    return _best(points, fit + body.backwards(points, root.point), view, body)


def _ray_near(view: View, center: Floats) -> Floats:
    """Points (n, 3) of the view's ray around ``center``, within an arm's reach and above the floor."""
    origin, directions, valid = view.camera.rays(view.pixel[None])
    if not valid[0]:
        return np.empty((0, 3))
    middle = float((center - origin) @ directions[0])
    steps = np.arange(max(0.1, middle - _REACH_M), middle + _REACH_M, _STEP_M)
    points: Floats = origin + steps[:, None] * directions[0]
    near = (np.linalg.norm(points - center, axis=1) < _REACH_M) & (points[:, 2] > 0.0)
    kept: Floats = points[near]
    return kept


def _best(points: Floats, log_weight: Floats, view: View, body: Body) -> Found | None:
    """Where on the ray on average, and the spread: with two bends of an arm possible, in between and honest."""
    free = ~body.goods.blocked(points)
    if not free.any():
        return None
    return _mean(points[free], log_weight[free], view)


def _mean(points: Floats, log_weight: Floats, view: View) -> Found:
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    mean = weight @ points
    spread = float(weight @ np.sum((points - mean) ** 2, axis=1))
    return Found(mean, float(np.hypot(np.sqrt(spread), _LEAST_M)), view.score, 1)


def _hand(wrist: Found, elbow: Found | None, root: Found, head_m: float) -> Found:
    """The grip: a palm beyond the wrist along the forearm; an arm stretched out points where its forearm points."""
    start = elbow
    if start is None and np.linalg.norm(wrist.point - root.point) > 0.75 * (UPPER_ARM + FOREARM) * head_m:
        start = root
    if start is None:
        return Found(wrist.point, float(np.hypot(wrist.sigma_m, PALM_M)), wrist.score, wrist.views)
    along = wrist.point - start.point
    length = float(np.linalg.norm(along))
    if length < 0.05:
        return Found(wrist.point, float(np.hypot(wrist.sigma_m, PALM_M)), wrist.score, wrist.views)
    return Found(wrist.point + PALM_M / length * along, wrist.sigma_m, wrist.score, wrist.views)


class Goods:
    """The goods' spaces of a store, and what is behind them.

    A plate's box has x along the shelf, y into it, z up.
    """

    def __init__(self, layout: Layout) -> None:
        self._shelves = [plate.shelf_id for plate in layout.boxes]
        boxes = list(layout.boxes.values())
        self._corners = np.array([box.pose.translation for box in boxes]).reshape(-1, 3)
        self._turns = np.array([box.pose.rotation for box in boxes]).reshape(-1, 3, 3)
        self._sizes = np.array([box.size for box in boxes]).reshape(-1, 3)
        backs: dict[str, list[tuple[Floats, Floats, Floats]]] = {}
        for shelf_id, corner, turn, size in zip(self._shelves, self._corners, self._turns, self._sizes, strict=True):
            backs.setdefault(shelf_id.gondola, []).append((corner, turn, size))
        self._backs = [_back(plates) for plates in backs.values()]

    def over(self, point: Floats) -> ShelfId | None:
        """The shelf whose goods' space holds the point."""
        if not self._shelves:
            return None
        local = np.einsum("ni,nij->nj", point - self._corners, self._turns)
        distances = np.linalg.norm(np.maximum(np.maximum(-local, local - self._sizes), 0.0), axis=1)
        best = int(np.argmin(distances))
        return self._shelves[best] if distances[best] <= _EDGE_M else None

    def blocked(self, points: Floats) -> NDArray[np.bool_]:
        """Which points (n, 3) lie behind a gondola's goods, where nobody reaches."""
        blocked = np.zeros(len(points), dtype=np.bool_)
        for turn, low, high in self._backs:
            local = points @ turn
            blocked |= np.all((local[:, :2] >= low) & (local[:, :2] <= high), axis=1)
        return blocked


def _back(plates: Sequence[tuple[Floats, Floats, Floats]]) -> tuple[Floats, Floats, Floats]:
    """A gondola's axes (3, 3), and in them the stretch (2,) to (2,) along and into it that is behind all its goods."""
    turn = plates[0][1]
    ends = np.array([[corner @ turn, (corner + own @ size) @ turn] for corner, own, size in plates])
    low, high = ends.min(axis=(0, 1)), ends.max(axis=(0, 1))
    return turn, np.array([low[0], high[1]]), np.array([high[0], high[1] + 1.0])
