"""Fitting camera models to marks: points of known, partly known or unknown place, seen at stated pixels.

One kind of record serves floor marks (all known), corners of printed boards (all known), and walking people: the
same ankle or shoulder seen by two cameras at one moment is a mark whose place, or all of it but the height, is
unknown. All cameras are fitted at once: least squares of reprojection with priors on what is known before, a
robust loss, and marks that lie far off dropped and named (bundle adjustment; Triggs et al. 2000).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from walkout.domain.geometry import Pose, rodrigues
from walkout.errors import StoreError
from walkout.store.calibration import CameraModel, Floats, nearest_rotation, triangulate

#: Hand-picked corners in the public 640x360 recordings lie 1.1 to 2.8 px (median) from their best fit.
MARK_SIGMA_PX = 1.5
#: A mark this many standard deviations off is a wrong mark: one right one in a million is that far off.
_WRONG = 5.0
#: A mark that the lens cannot see counts as so many pixels off, so that a step which loses it is refused.
_UNSEEN_PX = 200.0
#: Focal lengths (in widths of the picture) and k1 to start from: ceiling cameras from 36 to 96 degrees wide.
_FOCAL_GUESSES = (0.45, 0.6, 0.8, 1.1, 1.5)
_K1_GUESSES = (0.0, -0.3)
#: The best so many guesses are fitted to the end: some end in a hollow that is not the deepest.
_TRIED = 5
#: Samples of four or six marks per guess: with a fifth of the marks wrong, one of them is clean but once in 10^10.
_SAMPLES = 80
#: More shared points than this say little new and make the dense solver slow (its cost grows with their cube).
_MAX_SHARED = 120


@dataclass(frozen=True, slots=True)
class Mark:
    """One point as one camera sees it. ``world_m`` has None for what is unknown.

    Marks of the same ``name`` are the same point: of one moment, where the point moves.
    """

    camera_id: str
    name: str
    pixel: tuple[float, float]
    world_m: tuple[float | None, float | None, float | None]
    sigma_px: float = MARK_SIGMA_PX


@dataclass(frozen=True, slots=True)
class Freedom:
    """How far, as standard deviations, a camera may lie from its start: 0 holds it fast, infinite knows nothing.

    ``focal`` is relative, ``center`` in widths of the picture, the rest in radians, metres and OpenCV's k and p.
    """

    rotation_rad: float
    position_m: float
    focal: float
    center: float
    k1: float
    k2: float
    tangential: float = 0.0
    k3: float = 0.0

    def spread(self) -> Floats:
        """One per parameter, in the order of ``_moved``."""
        turn, place, lens = [self.rotation_rad] * 3, [self.position_m] * 3, [self.focal, self.center, self.center]
        return np.array([*turn, *place, *lens, self.k1, self.k2, self.tangential, self.tangential, self.k3])


#: Nothing is known of where it hangs; the lens is one as they are sold. Spread of f, k1 and k2 over the 27 cameras of
#: the nanostore: 0.52 to 0.80 widths, -0.71 to -0.13, 0.08 to 0.79 (mostly 0.2).
NEW_CAMERA = Freedom(np.inf, np.inf, 0.3, 0.01, 0.3, 0.2)
#: As before, but the plan says where it hangs: mounts are measured with a tape, to a few centimetres.
PLANNED_CAMERA = replace(NEW_CAMERA, position_m=0.05)
#: A camera that was touched: it turns (of 8 re-aimed ones the least by 4 degrees), its mount gives a little, its lens
#: stays. Measured with camera 3 of the public recording turned by 4 degrees and 20 s of one walk: pixels 26 px off
#: come back to 6 px, to 17 px with a position free to 0.10 m and a focal length to 2 %.
REFINE = Freedom(0.07, 0.03, 0.005, 0.002, 0.01, 0.01)


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Fitted ``cameras`` by id, the reprojection errors in pixels of the marks each one used, and what was dropped.

    ``points`` (3,) are the places found for marks that were not fully known, by name. ``position_sigma_m`` is how far,
    as a standard deviation along the worst axis, a camera may hang elsewhere and agree as well: floor marks below a
    camera hardly tell a long lens up high from a short one farther down. ``cost`` is the robust sum made least.
    """

    cameras: dict[str, CameraModel]
    errors_px: dict[str, Floats]
    wrong: tuple[Mark, ...]
    points: dict[str, Floats]
    position_sigma_m: dict[str, float]
    cost: float


def fit_cameras(
    starts: Mapping[str, CameraModel],
    marks: Sequence[Mark],
    freedom: Freedom,
    rng: np.random.Generator,
    held: Collection[str] = (),
) -> Fit:
    """Cameras that agree with ``marks`` as well as may be, and with ``starts`` as ``freedom`` says.

    With a rotation free without bound the pose is found from the marks of known place, four in a plane or six; a
    position known within bounds (where the plan has the camera) then still counts. ``rng`` chooses the samples.
    Cameras ``held`` stay as they are and help to place the others. Raises ``StoreError`` where the marks are too few.
    """
    cameras = dict(starts)
    unknown = sorted({mark.camera_id for mark in marks} - set(cameras))
    if unknown:
        raise StoreError(f"marks name cameras that are not there: {', '.join(unknown)}; name one of the given")
    seen = {mark.camera_id for mark in marks}
    cameras = {name: model for name, model in cameras.items() if name in seen}
    begin: dict[str, Floats] = {}
    if np.isinf(freedom.rotation_rad):
        for name, model in cameras.items():
            cameras[name], begin[name] = _found(model, marks, freedom, rng)
    return _fit_without_wrong(cameras, marks, freedom, begin, held)


def _fit_without_wrong(
    cameras: dict[str, CameraModel],
    marks: Sequence[Mark],
    freedom: Freedom,
    begin: Mapping[str, Floats],
    held: Collection[str],
) -> Fit:
    used, wrong = list(marks), list[Mark]()
    while True:
        problem = _Problem(cameras, used, freedom, begin, held)
        fit = problem.solve()
        off = [mark for mark, bad in zip(problem.marks, _far_off(problem.marks, fit), strict=True) if bad]
        if not off:
            return replace(fit, wrong=tuple(wrong))
        wrong += off
        used = [mark for mark in used if mark not in off]


def _far_off(marks: Sequence[Mark], fit: Fit) -> list[bool]:
    """Which marks lie too far from their reprojection for the scatter of their own camera."""
    errors = {name: iter(values) for name, values in fit.errors_px.items()}
    # The median of a length with two normal parts is 1.18 sigma (Rayleigh).
    scatter = {name: float(np.median(values)) / 1.18 for name, values in fit.errors_px.items()}
    return [next(errors[mark.camera_id]) > _WRONG * max(mark.sigma_px, scatter[mark.camera_id]) for mark in marks]


def _moved(model: CameraModel, change: Floats) -> CameraModel:
    """``model`` turned, moved and with another lens: see ``Freedom.spread`` for the order."""
    K = model.K.copy()  # noqa: N806
    K[:2, :2] *= np.exp(change[6])
    K[:2, 2] += change[7:9] * model.size_px[0]
    pose = Pose(model.pose.rotation @ rodrigues(change[:3]), model.pose.translation + change[3:6])
    return replace(model, K=K, dist=model.dist + change[9:14], pose=pose)


class _Problem:
    """All unknowns in one vector: the free parameters of every camera, then the unknown coordinates of points."""

    def __init__(
        self,
        cameras: dict[str, CameraModel],
        marks: Sequence[Mark],
        freedom: Freedom,
        begin: Mapping[str, Floats] | None = None,
        held: Collection[str] = (),
    ) -> None:
        """``cameras`` are what the priors are about; ``begin`` has changes to start from (``Freedom.spread``)."""
        self.cameras = cameras
        self.begin = begin or {}
        begun = {
            name: _moved(model, self.begin[name]) if name in self.begin else model for name, model in cameras.items()
        }
        spread = freedom.spread()
        self.spread = {name: np.where(name in held, 0.0, spread) for name in cameras}
        self.free = {name: np.flatnonzero(self.spread[name] > 0.0) for name in cameras}
        #: The columns of each camera's free parameters.
        ends = np.cumsum([0, *(len(free) for free in self.free.values())])
        self.own = {name: slice(*pair) for name, pair in zip(cameras, pairwise(ends.tolist()), strict=True)}
        places = _places(begun, marks)
        self.marks = [mark for mark in marks if mark.name in places]
        for name in cameras:
            if not any(mark.camera_id == name for mark in self.marks):
                raise StoreError(f"camera {name} has no mark that says where it hangs; give more marks")
        self.names = list(places)
        self.start = np.array([places[name][0] for name in self.names])
        self.open = np.array([places[name][1] for name in self.names])
        number = {name: index for index, name in enumerate(self.names)}
        self.point = np.array([number[mark.name] for mark in self.marks])
        self.pixels = np.array([mark.pixel for mark in self.marks])
        self.sigma = np.array([mark.sigma_px for mark in self.marks])
        self.rows = {
            name: np.array([i for i, mark in enumerate(self.marks) if mark.camera_id == name]) for name in cameras
        }
        self.first_point = int(ends[-1])
        #: The column of every unknown coordinate.
        self.column = np.full(self.start.shape, -1)
        self.column[self.open] = self.first_point + np.arange(int(self.open.sum()))

    def solve(self) -> Fit:
        """The least robust squares."""
        # Kept out of the module's head: scipy.optimize takes 0.3 s to load and only fitting needs it.
        from scipy.optimize import least_squares

        begin = np.zeros(self.first_point + int(self.open.sum()))
        for name, change in self.begin.items():
            begin[self.own[name]] = change[self.free[name]]
        # A linear loss far out finds the hollow from afar, Cauchy's forgets the wrong marks once near.
        for loss in ("soft_l1", "cauchy"):
            found = least_squares(
                self.residuals, begin, jac=self.jacobian, loss=loss, x_scale="jac", max_nfev=200, xtol=1e-10
            )
            begin = found.x
        models, points = self.unpack(found.x)
        errors = {
            name: np.linalg.norm(self._errors(models[name], points, rows), axis=1) for name, rows in self.rows.items()
        }
        shared = np.flatnonzero(self.open.any(axis=1))
        places = {self.names[index]: points[index] for index in shared}
        return Fit(models, errors, (), places, self._position_sigma_m(found.jac), float(found.cost))

    def _position_sigma_m(self, jacobian: Floats) -> dict[str, float]:
        covariance = np.linalg.pinv(jacobian.T @ jacobian, hermitian=True)
        found = {}
        for name, free in self.free.items():
            columns = self.own[name].start + np.flatnonzero((free >= 3) & (free < 6))
            block = covariance[np.ix_(columns, columns)]
            found[name] = float(np.sqrt(max(0.0, np.linalg.eigvalsh(block)[-1]))) if len(columns) else 0.0
        return found

    def unpack(self, vector: Floats) -> tuple[dict[str, CameraModel], Floats]:
        """Cameras and points (n, 3) that a vector stands for."""
        models = {name: _moved(model, self._change(vector, name)) for name, model in self.cameras.items()}
        points = self.start.copy()
        points[self.open] += vector[self.first_point :]
        return models, points

    def _change(self, vector: Floats, name: str) -> Floats:
        change = np.zeros(len(self.spread[name]))
        change[self.free[name]] = vector[self.own[name]]
        return change

    def _errors(self, model: CameraModel, points: Floats, rows: NDArray[np.int64]) -> Floats:
        where, visible = model.project(points[self.point[rows]])
        return np.where(visible[:, None], where - self.pixels[rows], _UNSEEN_PX)

    def residuals(self, vector: Floats) -> Floats:
        """Reprojection errors, two a mark, and departures from the priors, all in standard deviations."""
        models, points = self.unpack(vector)
        errors = np.empty((len(self.marks), 2))
        for name, rows in self.rows.items():
            errors[rows] = self._errors(models[name], points, rows) / self.sigma[rows, None]
        return np.concatenate([errors.ravel(), vector[: self.first_point] / self._prior()])

    def _prior(self) -> Floats:
        """Standard deviations of all free camera parameters, in their columns."""
        return np.concatenate([self.spread[name][free] for name, free in self.free.items()])

    def jacobian(self, vector: Floats) -> Floats:
        """Points by the exact derivative, cameras by central differences."""
        models, points = self.unpack(vector)
        count = 2 * len(self.marks)
        matrix = np.zeros((count + self.first_point, len(vector)))
        matrix[count + np.arange(self.first_point), np.arange(self.first_point)] = 1.0 / self._prior()
        for name, model in self.cameras.items():
            rows = self.rows[name]
            lines = np.stack([2 * rows, 2 * rows + 1], axis=1)
            change = self._change(vector, name)
            for column, parameter in enumerate(self.free[name], self.own[name].start):
                step = np.zeros(len(change))
                step[parameter] = 1e-6
                ahead = self._errors(_moved(model, change + step), points, rows)
                behind = self._errors(_moved(model, change - step), points, rows)
                slope = (ahead - behind) / 2e-6 / self.sigma[rows, None]
                matrix[lines, column] = slope
            _, by_point, visible = models[name].project_with_jacobian(points[self.point[rows]])
            by_point = np.where(visible[:, None, None], by_point, 0.0) / self.sigma[rows, None, None]
            columns = self.column[self.point[rows]]
            for axis in range(3):
                open_rows = columns[:, axis] >= 0
                matrix[lines[open_rows], columns[open_rows, axis][:, None]] = by_point[open_rows, :, axis]
        return matrix


def _places(cameras: Mapping[str, CameraModel], marks: Sequence[Mark]) -> dict[str, tuple[Floats, NDArray[np.bool_]]]:
    """Where each named point starts, and which coordinates are unknown; points that say nothing are left out."""
    groups: dict[str, list[Mark]] = {}
    for mark in marks:
        groups.setdefault(mark.name, []).append(mark)
    known = {name: group for name, group in groups.items() if None not in group[0].world_m}
    shared = [name for name in groups if name not in known]
    if len(shared) > _MAX_SHARED:
        shared = [shared[index] for index in np.linspace(0, len(shared) - 1, _MAX_SHARED).astype(int)]
    found = {}
    for name in [*known, *shared]:
        group = groups[name]
        given = [np.nan if value is None else value for value in group[0].world_m]
        unknown = np.isnan(given)
        start = _start(cameras, group, np.array(given)) if unknown.any() else np.array(given)
        if np.isfinite(start).all() and 2 * len(group) > unknown.sum():
            found[name] = (start, unknown)
    return found


def _start(cameras: Mapping[str, CameraModel], group: Sequence[Mark], given: Floats) -> Floats:
    """A first place for a point that is not fully known; NaN where the rays do not meet."""
    if np.isnan(given[:2]).all() and np.isfinite(given[2]):
        landed = [
            cameras[mark.camera_id].on_plane(np.array([mark.pixel]), float(given[2]), mark.sigma_px)[0][0]
            for mark in group
        ]
        return np.asarray(np.mean([place for place in landed if np.isfinite(place).all()] or [given], axis=0))
    models = [cameras[mark.camera_id] for mark in group]
    place, _, _ = triangulate(models, [mark.pixel for mark in group], [mark.sigma_px for mark in group])
    return np.where(np.isnan(given), place, given)


def _found(
    start: CameraModel, marks: Sequence[Mark], freedom: Freedom, rng: np.random.Generator
) -> tuple[CameraModel, Floats]:
    """A camera of unknown place from its known marks: the best of many small samples, over guesses of the lens.

    Gives the camera where it seems to hang, its lens as it was, and the change of the lens that goes with it.
    """
    own = [mark for mark in marks if mark.camera_id == start.camera_id and None not in mark.world_m]
    world = np.array([mark.world_m for mark in own], dtype=np.float64).reshape(-1, 3)
    pixels = np.array([mark.pixel for mark in own]).reshape(-1, 2)
    center = world.mean(axis=0) if len(world) else np.zeros(3)
    # Floor marks lie in a plane up to the unevenness of a floor.
    flat = len(world) < 4 or float(np.linalg.svd(world - center)[1][2]) < 0.02 * np.sqrt(len(world))
    need = 4 if flat else 6
    if len(own) < need:
        where = "in one plane" if flat else "that are not in one plane"
        raise StoreError(f"camera {start.camera_id} has {len(own)} known marks {where}; it needs {need}, better ten")
    guesses = _lens_guesses(start, freedom)
    posed = [_posed(_moved(start, change), world, pixels, need, rng) for change in guesses]
    tried = [
        (one[0], *_begun(start, one[1], change, freedom))
        for one, change in zip(posed, guesses, strict=True)
        if one is not None
    ]
    if not tried:
        raise StoreError(f"camera {start.camera_id}: no pose fits its marks; check their order and their units")
    tried.sort(key=lambda one: one[0])
    return min(tried[:_TRIED], key=lambda one: _cost(one[1], own, freedom, one[2]))[1:]


def _begun(start: CameraModel, pose: Pose, change: Floats, freedom: Freedom) -> tuple[CameraModel, Floats]:
    """``start`` turned to the pose found, where its position is free moved there too, and the change that is left."""
    if np.isinf(freedom.position_m):
        return replace(start, pose=pose), change
    left = change.copy()
    left[3:6] = pose.translation - start.position_m
    return replace(start, pose=Pose(pose.rotation, start.position_m)), left


def _cost(model: CameraModel, own: Sequence[Mark], freedom: Freedom, change: Floats) -> float:
    return _Problem({model.camera_id: model}, own, freedom, {model.camera_id: change}).solve().cost


def _lens_guesses(start: CameraModel, freedom: Freedom) -> list[Floats]:
    """Changes of the lens to start from; what is held fast stays."""
    relative = start.size_px[0] / start.K[0, 0]
    changes = []
    for focal in [np.log(factor * relative) for factor in _FOCAL_GUESSES] if freedom.focal else [0.0]:
        for k1 in [k1 - start.dist[0] for k1 in _K1_GUESSES] if freedom.k1 else [0.0]:
            change = np.zeros(len(freedom.spread()))
            change[6], change[9] = focal, k1
            changes.append(change)
    return changes


def _posed(
    lens: CameraModel, world: Floats, pixels: Floats, need: int, rng: np.random.Generator
) -> tuple[float, Pose] | None:
    """The pose with the least median error over samples of ``need``, for one lens, and that error in pixels."""
    at_origin = replace(lens, pose=Pose(np.eye(3), np.zeros(3)))
    _, directions, valid = at_origin.rays(pixels)
    ideal = directions[:, :2] / directions[:, 2:]
    usable = np.flatnonzero(valid)
    best: tuple[float, Pose] | None = None
    if len(usable) < need:
        return None
    for _ in range(_SAMPLES):
        chosen = rng.choice(usable, need, replace=False)
        pose = (_pose_in_plane if need == 4 else _pose_in_space)(world[chosen], ideal[chosen])
        if pose is None:
            continue
        model = replace(lens, pose=pose)
        where, visible = model.project(world)
        off = np.where(visible[:, None], where - pixels, _UNSEEN_PX)
        error = float(np.median(np.linalg.norm(off, axis=1)))
        if best is None or error < best[0]:
            best = (error, pose)
    return best


def _pose_in_plane(world: Floats, ideal: Floats) -> Pose | None:
    """Camera pose from points in a plane and their ideal image points, by a homography (Zhang 2000, section 3.1)."""
    center = world.mean(axis=0)
    axes = np.linalg.svd(world - center)[2]
    axes[2] = np.cross(axes[0], axes[1])
    local = (world - center) @ axes.T
    homography = _homogeneous_solution(np.column_stack([local[:, :2], np.ones(len(local))]), ideal)
    lengths = np.linalg.norm(homography[:, :2], axis=0)
    if lengths.min() < 1e-9:
        return None
    homography *= np.sign(homography[2, 2] or 1.0) / lengths.mean()
    turned = np.column_stack([homography[:, 0], homography[:, 1], np.cross(homography[:, 0], homography[:, 1])])
    return _from_camera(nearest_rotation(turned) @ axes, homography[:, 2], center)


def _pose_in_space(world: Floats, ideal: Floats) -> Pose | None:
    """Camera pose from six or more points by the direct linear transform (Hartley and Zisserman 2004, section 7.1)."""
    center = world.mean(axis=0)
    matrix = _homogeneous_solution(np.column_stack([world - center, np.ones(len(world))]), ideal)
    determinant = float(np.linalg.det(matrix[:, :3]))
    if abs(determinant) < 1e-12:
        return None
    matrix = matrix / np.cbrt(determinant)
    return _from_camera(nearest_rotation(matrix[:, :3]), matrix[:, 3], center)


def _homogeneous_solution(source: Floats, ideal: Floats) -> Floats:
    """The matrix M (3, k) with M source ~ (x, y, 1) up to scale, by the smallest singular vector."""
    rows = np.concatenate(
        [
            np.hstack([source, np.zeros_like(source), -ideal[:, :1] * source]),
            np.hstack([np.zeros_like(source), source, -ideal[:, 1:] * source]),
        ]
    )
    solution: Floats = np.linalg.svd(rows)[2][-1].reshape(3, -1)
    return solution


def _from_camera(rotation: Floats, translation: Floats, center: Floats) -> Pose | None:
    """World pose of a camera that sees ``X - center`` at ``rotation (X - center) + translation``."""
    if not np.isfinite(rotation).all() or translation[2] <= 0.0:
        return None
    return Pose(rotation.T, center - rotation.T @ translation)
