"""Where head, arms and hands are, from all that is known of one person at one moment.

Two views of a joint are triangulated. One view is a ray: along it a joint lies where the arm of the body that stands
here can hold it, upper arm and forearm as long as people's are, and not in what is behind the goods.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from walkout.domain.geometry import Box
from walkout.domain.sensing import Joint, PlateId, ShelfId
from walkout.store.calibration import CameraModel, Floats, triangulate
from walkout.store.layout import Layout
from walkout.vision.floor import Lifted, keypoint_sigma_px, seen_keypoints

#: COCO numbers of a side's shoulder, elbow and wrist.
SIDES = {"left": (5, 7, 9), "right": (6, 8, 10)}
NAMES = {
    11: "left_hip", 12: "right_hip", 13: "left_knee", 14: "right_knee", 15: "left_ankle", 16: "right_ankle"
}  # fmt: skip
HEAD = (0, 1, 2, 3, 4)
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
    found: dict[str, Found] = {}
    head = _head(seen, cameras, head_m)
    if head is not None:
        found["head"] = head
    for index, name in NAMES.items():
        joint = _triangulated(_views(seen, cameras, (index,)))
        if joint is not None:
            found[name] = joint
    for side, (shoulder, elbow, wrist) in SIDES.items():
        root = _shoulder(_views(seen, cameras, (shoulder,)), place, head_m, place_sigma_m)
        if root.views:
            found[f"{side}_shoulder"] = root
        arm = _arm(_views(seen, cameras, (elbow,)), _views(seen, cameras, (wrist,)), root, head_m, goods)
        found.update({f"{side}_{name}": joint for name, joint in arm.items()})
    return found


def _views(seen: Sequence[Lifted], cameras: Mapping[str, CameraModel], joints: tuple[int, ...]) -> list[View]:
    """The pictures in which the joint (the mean of several) is seen well."""
    found = []
    for one in seen:
        keypoints, camera = one.detection.keypoints, cameras[one.camera_id]
        chosen = [joint for joint in joints if seen_keypoints(camera, one.detection)[joint]]
        if keypoints is None or not chosen:
            continue
        sigma_px = float(keypoint_sigma_px(one.detection)[chosen].mean())
        score = float(keypoints[chosen, 2].mean())
        found.append(View(camera, keypoints[chosen, :2].mean(axis=0), sigma_px, score))
    return found


def _triangulated(views: Sequence[View]) -> Found | None:
    """The joint from two views or more; views that do not fit are left out, the worst first."""
    left = list(views)
    while len(left) >= 2:
        pixels = np.array([view.pixel for view in left])
        sigmas = np.array([view.sigma_px for view in left])
        point, covariance, residual = triangulate([view.camera for view in left], pixels, sigmas)
        if residual <= _PART_SIGMAS * float(sigmas.mean()):
            sigma_m = max(_LEAST_M, float(np.sqrt(np.linalg.eigvalsh(covariance)[-1])))
            return Found(point, sigma_m, float(np.mean([view.score for view in left])), len(left))
        if len(left) == 2:
            return None
        left.pop(int(np.argmax(_misses(left, point))))
    return None


def _misses(views: Sequence[View], point: Floats) -> list[float]:
    if not np.isfinite(point).all():
        return [-view.score for view in views]
    return [
        float(np.nan_to_num(np.linalg.norm(view.camera.project(point[None])[0][0] - view.pixel), nan=1e6))
        / view.sigma_px
        for view in views
    ]


def _head(seen: Sequence[Lifted], cameras: Mapping[str, CameraModel], head_m: float) -> Found | None:
    views = _views(seen, cameras, HEAD)
    found = _triangulated(views)
    if found is not None or not views:
        return found
    view = max(views, key=lambda one: one.score)
    points, covariances = view.camera.at_height(view.pixel[None], head_m, 0.05, view.sigma_px)
    if not np.isfinite(points).all():
        return None
    return Found(points[0], float(np.sqrt(np.linalg.eigvalsh(covariances[0])[-1])), view.score, 1)


def _shoulder(views: Sequence[View], place: Floats, head_m: float, place_sigma_m: float) -> Found:
    """A shoulder; unseen it is somewhere around the body's axis (no views)."""
    found = _triangulated(views)
    if found is not None:
        return found
    axis = np.array([place[0], place[1], SHOULDER * head_m])
    for view in sorted(views, key=lambda one: -one.score):
        points, covariances = view.camera.at_height(view.pixel[None], axis[2], 0.06, view.sigma_px)
        # A reach bends the trunk, but no shoulder is farther from the axis than the neck bent at the hips.
        if np.isfinite(points).all() and np.linalg.norm(points[0] - axis) < 0.5:
            return Found(points[0], float(np.sqrt(np.linalg.eigvalsh(covariances[0])[-1])), view.score, 1)
    return Found(axis, float(np.hypot(place_sigma_m, HALF_WIDTH * head_m)), 0.0, 0)


def _arm(
    elbows: Sequence[View], wrists: Sequence[View], root: Found, head_m: float, goods: "Goods"
) -> dict[str, Found]:
    """Elbow, wrist and hand of one side, as far as they can be told."""
    reach_m = (UPPER_ARM + FOREARM) * head_m + 2.0 * LIMB_SIGMA_M + root.sigma_m
    elbow, wrist = _triangulated(elbows), _triangulated(wrists)
    if wrist is not None and np.linalg.norm(wrist.point - root.point) > reach_m + 2.0 * wrist.sigma_m:
        wrist = None
    if elbow is not None and np.linalg.norm(elbow.point - root.point) > reach_m:
        elbow = None
    if elbow is None and elbows:
        elbow = _along(max(elbows, key=lambda one: one.score), root, UPPER_ARM * head_m, goods)
    if wrist is None and wrists:
        wrist = _one_view_wrist(max(wrists, key=lambda one: one.score), elbows, elbow, root, head_m, goods)
    found = {}
    if elbow is not None:
        found["elbow"] = elbow
    if wrist is not None:
        found["wrist"] = wrist
        found["hand"] = _hand(wrist, elbow, root, head_m)
    return found


def _one_view_wrist(
    view: View, elbows: Sequence[View], elbow: Found | None, root: Found, head_m: float, goods: "Goods"
) -> Found | None:
    """A wrist that one camera sees: a forearm from an elbow seen by two, or both bones along both rays."""
    if elbow is not None and elbow.views > 1:
        return _along(view, elbow, FOREARM * head_m, goods)
    same = [one for one in elbows if one.camera.camera_id == view.camera.camera_id]
    if not same:
        return _along(view, root, 0.8 * (UPPER_ARM + FOREARM) * head_m, goods, 0.12)
    bends, ends = _ray_near(same[0], root.point), _ray_near(view, root.point)
    if not len(bends) or not len(ends):
        return None
    upper = np.linalg.norm(bends - root.point, axis=1) - UPPER_ARM * head_m
    lower = np.linalg.norm(ends[None] - bends[:, None], axis=2) - FOREARM * head_m
    sigma_u = float(np.hypot(LIMB_SIGMA_M, root.sigma_m))
    log_weight = -0.5 * (upper[:, None] / sigma_u) ** 2 - 0.5 * (lower / LIMB_SIGMA_M) ** 2
    return _best(ends, log_weight.max(axis=0), view, goods)


def _along(view: View, root: Found, length_m: float, goods: "Goods", spread_m: float = LIMB_SIGMA_M) -> Found | None:
    """The joint on its ray that is a limb's length from ``root``."""
    points = _ray_near(view, root.point)
    if not len(points):
        return None
    off = np.linalg.norm(points - root.point, axis=1) - length_m
    return _best(points, -0.5 * (off / float(np.hypot(spread_m, root.sigma_m))) ** 2, view, goods)


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


def _best(points: Floats, log_weight: Floats, view: View, goods: "Goods") -> Found | None:
    """The likeliest point, and how far the others are spread around it."""
    free = ~goods.blocked(points)
    if not free.any():
        return None
    points, log_weight = points[free], log_weight[free]
    top = int(np.argmax(log_weight))
    weight = np.exp(log_weight - log_weight[top])
    spread = float(np.sum(weight * np.sum((points - points[top]) ** 2, axis=1)) / np.sum(weight))
    return Found(points[top], float(np.hypot(np.sqrt(spread), _LEAST_M)), view.score, 1)


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
    """The goods' spaces of a store, and what is behind them."""

    def __init__(self, layout: Layout) -> None:
        self._shelves: list[tuple[ShelfId, Box]] = []
        by_shelf: dict[ShelfId, list[PlateId]] = {}
        for plate in layout.boxes:
            by_shelf.setdefault(plate.shelf_id, []).append(plate)
        for shelf_id, plates in sorted(by_shelf.items()):
            self._shelves += [(shelf_id, layout.boxes[plate]) for plate in plates]

    def over(self, point: Floats) -> ShelfId | None:
        """The shelf whose goods' space holds the point."""
        if not self._shelves:
            return None
        distances = [float(box.distance(point)) for _, box in self._shelves]
        best = int(np.argmin(distances))
        return self._shelves[best][0] if distances[best] <= _EDGE_M else None

    def blocked(self, points: Floats) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which points (n, 3) lie behind goods: between the ends of a plate, deeper than its back. Nobody reaches them.

        A plate's box has x along the shelf, y into it, z up.
        """
        blocked = np.zeros(len(points), dtype=np.bool_)
        for _, box in self._shelves:
            local = (points - box.pose.translation) @ box.pose.rotation
            across = (local[:, 0] >= 0.0) & (local[:, 0] <= box.size[0])
            blocked |= across & (local[:, 1] > box.size[1]) & (local[:, 1] < box.size[1] + 1.0)
        return blocked
