"""Pixel <-> ray <-> world for one calibrated camera, and points from several of them, all with covariance.

The model is OpenCV's: a point (X, Y, Z) of the camera frame (x right, y down, z forward) has the ideal image point
(x, y) = (X/Z, Y/Z); with r2 = x^2 + y^2 and f = 1 + k1 r2 + k2 r2^2 + k3 r2^3 it is seen at
``xd = x f + 2 p1 x y + p2 (r2 + 2 x^2)``, ``yd = y f + p1 (r2 + 2 y^2) + 2 p2 x y``, and the pixel is K (xd, yd, 1).
(Brown 1966; docs.opencv.org, "Camera Calibration and 3D Reconstruction".)

With k1 < 0 the polynomial may fold: beyond the first zero of d(r f)/dr = 1 + 3 k1 r2 + 5 k2 r2^2 + 7 k3 r2^3 a point
farther out is painted nearer to the middle, over another one. Nothing beyond the fold is projected, and a pixel that
only the folded part reaches has no ray. Covariances are first order: J C J^T with the exact derivatives.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from walkout.domain.geometry import Pose
from walkout.errors import StoreError

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

#: Nearer than this to the camera's plane, in metres, nothing is projected: the lens itself is thicker.
_NEAR_M = 0.01
#: Newton stops below this step in units of the focal length: 1e-9 px at any picture size of today.
_STEP = 1e-13
#: A solution may miss the wanted image point by this much: 1e-5 px at a focal length of 1000 px.
_MISS = 1e-8
#: A ray that dips less than this against a surface (sine of the angle) gives no point: its error has no bound.
_GRAZING = 1e-3
#: Rays are joined by Gauss-Newton; from their middle, three rounds reach 1e-6 px, the rest is for poor angles.
_ROUNDS = 8


@dataclass(frozen=True, slots=True, eq=False)
class CameraModel:
    """One camera: ``size_px`` (width, height), ``K`` (3, 3) in pixels, ``dist`` (5,) = k1 k2 p1 p2 k3.

    ``pose`` maps the camera frame (x right, y down, z forward) to the world, metres.
    """

    camera_id: str
    size_px: tuple[int, int]
    K: Floats
    dist: Floats
    pose: Pose

    @property
    def position_m(self) -> Floats:
        """Where it hangs: world position of its centre, shape (3,), metres."""
        return self.pose.translation

    @property
    def fold_r2(self) -> float:
        """Squared ideal radius at which the distortion folds; infinite where it never does."""
        return _fold_r2(float(self.dist[0]), float(self.dist[1]), float(self.dist[4]))

    def scaled(self, size_px: tuple[int, int]) -> "CameraModel":
        """The same camera with pictures of another size (width, height), resized as a whole, not cropped."""
        ratio = np.array([size_px[0] / self.size_px[0], size_px[1] / self.size_px[1], 1.0])
        return replace(self, size_px=size_px, K=ratio[:, None] * self.K)

    def project(self, points: ArrayLike) -> tuple[Floats, Flags]:
        """World points (n, 3) as pixels (n, 2), and which of them the lens can see.

        False, with a pixel of NaN, behind the camera and beyond the fold of the distortion. True says nothing about
        the border of the picture: see ``in_picture``.
        """
        pixels, _, visible = self._project(points)
        return pixels, visible

    def project_with_jacobian(self, points: ArrayLike) -> tuple[Floats, Floats, Flags]:
        """As ``project``, with d pixel / d world point, shape (n, 2, 3), pixels per metre."""
        pixels, ideal, visible = self._project(points)
        local = (np.asarray(points, dtype=np.float64) - self.pose.translation) @ self.pose.rotation
        depth = np.where(visible, local[:, 2], np.nan)
        lens = np.zeros((len(depth), 2, 3))
        lens[:, 0, 0] = lens[:, 1, 1] = 1.0 / depth
        lens[:, :, 2] = -ideal / depth[:, None]
        jacobian = self.K[:2, :2] @ _distort(ideal, self.dist)[1] @ lens @ self.pose.rotation.T
        return pixels, jacobian, visible

    def in_picture(self, pixels: ArrayLike, border_px: float = 0.0) -> Flags:
        """Which of the pixels (n, 2) lie in the picture, at least ``border_px`` away from its border."""
        place = np.asarray(pixels, dtype=np.float64).reshape(-1, 2)
        high = np.array(self.size_px, dtype=np.float64) - border_px
        inside: Flags = np.all((place >= border_px) & (place <= high), axis=1)
        return inside

    def rays(self, pixels: ArrayLike) -> tuple[Floats, Floats, Flags]:
        """Origin (3,), unit directions (n, 3) in world axes, and which pixels (n, 2) have a ray.

        A pixel beyond the fold has none; its direction is NaN.
        """
        ideal, valid = self._ideal(pixels)
        directions = self._directions(ideal)
        return self.pose.translation, directions / np.linalg.norm(directions, axis=1, keepdims=True), valid

    def on_plane(self, pixels: ArrayLike, height_m: float, sigma_px: ArrayLike) -> tuple[Floats, Floats]:
        """Where the rays of pixels (n, 2) meet the level ``height_m`` above the floor.

        World points (n, 3) in metres and the covariance of x and y, (n, 2, 2) in square metres, from
        ``sigma_px``, the standard deviation of a pixel's two coordinates (one number or (n,)). NaN where a ray does
        not exist, rises away from the level or grazes it.
        """
        points, covariances = self.at_height(pixels, height_m, 0.0, sigma_px)
        return points, covariances[:, :2, :2]

    def at_height(
        self, pixels: ArrayLike, height_m: ArrayLike, sigma_height_m: ArrayLike, sigma_px: ArrayLike
    ) -> tuple[Floats, Floats]:
        """A point seen by this camera alone whose height is known as ``height_m`` +- ``sigma_height_m``, e.g. a head.

        World points (n, 3) and covariances (n, 3, 3), as ``on_surface``.
        """
        up = np.array([0.0, 0.0, 1.0])
        return self.on_surface(pixels, up, height_m, sigma_px, sigma_height_m)

    def on_surface(
        self,
        pixels: ArrayLike,
        normal: ArrayLike,
        offset_m: ArrayLike,
        sigma_px: ArrayLike,
        sigma_offset_m: ArrayLike = 0.0,
    ) -> tuple[Floats, Floats]:
        """Where rays meet the plane ``normal . X = offset_m`` (a floor, a shelf front), known to ``sigma_offset_m``.

        ``normal`` (3,) is a unit vector; offset and the sigmas are one number or (n,). World points (n, 3) in metres
        and covariances (n, 3, 3) in square metres; NaN where the ray does not exist, leads away or grazes.
        """
        ideal, valid = self._ideal(pixels)
        n = len(ideal)
        plane = np.asarray(normal, dtype=np.float64)
        directions = self._directions(ideal)
        along = directions @ plane
        with np.errstate(invalid="ignore", divide="ignore"):
            reach = (np.broadcast_to(offset_m, n) - plane @ self.pose.translation) / along
            meets = valid & (reach > 0.0) & (np.abs(along) > _GRAZING * np.linalg.norm(directions, axis=1))
        reach, along = np.where(meets, reach, np.nan), np.where(meets, along, np.nan)
        points = self.pose.translation + directions * reach[:, None]
        # X = C + t d with t = (c - n.C) / n.d: a change of d moves X in the plane, a change of c along the ray.
        slide = np.eye(3) - directions[:, :, None] * plane / along[:, None, None]
        by_pixel = reach[:, None, None] * slide @ self.pose.rotation[:, :2] @ self._ideal_by_pixel(ideal)
        by_offset = directions / along[:, None]
        variance = np.broadcast_to(np.asarray(sigma_px, dtype=np.float64) ** 2, n)
        offset_variance = np.broadcast_to(np.asarray(sigma_offset_m, dtype=np.float64) ** 2, n)
        covariances = variance[:, None, None] * (by_pixel @ by_pixel.transpose(0, 2, 1))
        covariances = covariances + offset_variance[:, None, None] * (by_offset[:, :, None] * by_offset[:, None, :])
        return points, covariances

    def _project(self, points: ArrayLike) -> tuple[Floats, Floats, Flags]:
        world = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        local = (world - self.pose.translation) @ self.pose.rotation
        ahead = local[:, 2] > _NEAR_M
        ideal = local[:, :2] / np.where(ahead, local[:, 2], np.nan)[:, None]
        with np.errstate(invalid="ignore"):
            visible = ahead & (np.sum(ideal * ideal, axis=1) < self.fold_r2)
        ideal[~visible] = np.nan
        return _distort(ideal, self.dist)[0] @ self.K[:2, :2].T + self.K[:2, 2], ideal, visible

    def _directions(self, ideal: Floats) -> Floats:
        """Directions (n, 3) in world axes of ideal points (n, 2), one unit long along the optical axis."""
        return ideal @ self.pose.rotation[:, :2].T + self.pose.rotation[:, 2]

    def _ideal(self, pixels: ArrayLike) -> tuple[Floats, Flags]:
        """Ideal points (n, 2) of pixels (n, 2), NaN where there is none."""
        offset = np.asarray(pixels, dtype=np.float64).reshape(-1, 2) - self.K[:2, 2]
        seen: Floats = offset @ np.linalg.inv(self.K[:2, :2]).T
        return _undistort(seen, self.dist, self.fold_r2)

    def _ideal_by_pixel(self, ideal: Floats) -> Floats:
        """d ideal point / d pixel, (n, 2, 2): grows without bound towards the fold."""
        (a, b), (c, d) = np.moveaxis(self.K[:2, :2] @ _distort(ideal, self.dist)[1], 0, -1)
        inverse: Floats = np.moveaxis(np.array([[d, -b], [-c, a]]) / (a * d - b * c), -1, 0)
        return inverse


def triangulate(models: Sequence[CameraModel], pixels: ArrayLike, sigma_px: ArrayLike) -> tuple[Floats, Floats, float]:
    """The world point that cameras ``models`` see at ``pixels`` (views, 2): point (3,), covariance (3, 3), residual.

    ``sigma_px`` is one number or one per view; the residual is the root mean square distance in pixels between
    seen and reprojected over the views used. All NaN and the residual infinite when fewer than two views have a ray
    or the rays part in front of the cameras. See ``triangulate_many``.
    """
    views = len(models)
    sigma = np.broadcast_to(np.asarray(sigma_px, dtype=np.float64), views)[:, None]
    points, covariances, residuals = triangulate_many(models, np.asarray(pixels).reshape(views, 1, 2), sigma)
    return points[0], covariances[0], float(residuals[0])


def triangulate_many(
    models: Sequence[CameraModel], pixels: ArrayLike, sigma_px: ArrayLike
) -> tuple[Floats, Floats, Floats]:
    """As ``triangulate`` for n points at once: ``pixels`` (views, n, 2), NaN where a view does not see a point.

    ``sigma_px`` broadcasts to (views, n). Points (n, 3), covariances (n, 3, 3), residuals (n,). The least squares of
    reprojection, weighted by 1 / sigma^2 (Hartley and Zisserman 2004, ch. 12), from the point nearest to all rays.
    """
    seen = np.asarray(pixels, dtype=np.float64)
    views, n = len(models), seen.shape[1]
    sigma = np.broadcast_to(np.asarray(sigma_px, dtype=np.float64), (views, n))
    points, used = _nearest_to_rays(models, seen)
    enough = used.sum(axis=0) >= 2
    weights = np.where(used & enough, 1.0 / sigma**2, 0.0)
    normal, gradient, cost, residuals = _normal_equations(models, seen, weights, points)
    for _ in range(_ROUNDS):
        with np.errstate(invalid="ignore"):
            step = np.einsum("nij,nj->ni", _inverse(normal), gradient)
            step[~np.isfinite(step).all(axis=1)] = 0.0
            if np.all(np.linalg.norm(step, axis=1) < 1e-9):
                break
            moved = _normal_equations(models, seen, weights, points + step)
            better = moved[2] < cost
        if not better.any():
            break
        points[better] += step[better]
        normal[better], gradient[better] = moved[0][better], moved[1][better]
        cost[better], residuals[better] = moved[2][better], moved[3][better]
    covariances = _inverse(normal)
    lost = ~enough | ~np.isfinite(cost) | ~np.isfinite(covariances).all(axis=(1, 2))
    points[lost], covariances[lost], residuals[lost] = np.nan, np.nan, np.inf
    return points, covariances, residuals


def _nearest_to_rays(models: Sequence[CameraModel], seen: Floats) -> tuple[Floats, Flags]:
    """The points (n, 3) with the least sum of squared distances to their rays, and which rays exist (views, n)."""
    n = seen.shape[1]
    left, right, used = np.zeros((n, 3, 3)), np.zeros((n, 3)), np.zeros(seen.shape[:2], dtype=np.bool_)
    for view, model in enumerate(models):
        origin, directions, valid = model.rays(seen[view])
        used[view] = valid
        across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
        across[~valid] = 0.0
        left += across
        right += across @ origin
    return np.einsum("nij,nj->ni", _inverse(left), right), used


def _normal_equations(
    models: Sequence[CameraModel], seen: Floats, weights: Floats, points: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """J^T W J (n, 3, 3), J^T W e (n, 3), cost (n,) and root mean square distance in pixels (n,) at ``points``."""
    n = len(points)
    normal, gradient = np.zeros((n, 3, 3)), np.zeros((n, 3))
    cost, squares, count = np.zeros(n), np.zeros(n), np.zeros(n)
    for model, pixels, weight in zip(models, seen, weights, strict=True):
        where, jacobian, visible = model.project_with_jacobian(points)
        used = weight > 0.0
        error, jacobian = np.where(used[:, None], pixels - where, 0.0), np.where(used[:, None, None], jacobian, 0.0)
        turned = jacobian.transpose(0, 2, 1) * weight[:, None, None]
        normal += turned @ jacobian
        gradient += np.einsum("nij,nj->ni", turned, error)
        square = np.where(used & ~visible, np.inf, np.sum(error * error, axis=1))
        cost += np.where(used, weight * square, 0.0)
        squares += square
        count += used
    return normal, gradient, cost, np.sqrt(squares / np.maximum(count, 1.0))


def _inverse(matrices: Floats) -> Floats:
    """Inverses of symmetric (n, 3, 3) by cofactors, NaN where a matrix is singular (parallel rays)."""
    a, b, c = matrices[:, 0], matrices[:, 1], matrices[:, 2]
    columns = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=2)
    determinant = np.sum(a * columns[:, :, 0], axis=1)
    scale = np.trace(matrices, axis1=1, axis2=2) ** 3
    with np.errstate(invalid="ignore"):
        sound = determinant > 1e-15 * scale
    inverse: Floats = columns / np.where(sound, determinant, np.nan)[:, None, None]
    return inverse


@lru_cache(maxsize=256)
def _fold_r2(k1: float, k2: float, k3: float) -> float:
    """The smallest positive zero of 1 + 3 k1 r2 + 5 k2 r2^2 + 7 k3 r2^3, infinite where there is none."""
    roots = np.polynomial.Polynomial([1.0, 3.0 * k1, 5.0 * k2, 7.0 * k3]).roots()
    # A double root that touches zero is a fold too; rounding splits it off the real axis by some 1e-8.
    real = [root.real for root in map(complex, roots) if abs(root.imag) <= 1e-7 * abs(root) and root.real > 0.0]
    return min(real, default=np.inf)


def _distort(ideal: Floats, dist: Floats) -> tuple[Floats, Floats]:
    """Seen image points (n, 2) of ideal ones (n, 2), and the derivative (n, 2, 2)."""
    k1, k2, p1, p2, k3 = dist
    x, y = ideal[:, 0], ideal[:, 1]
    r2 = x * x + y * y
    radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))
    slope = 2.0 * (k1 + r2 * (2.0 * k2 + 3.0 * r2 * k3))
    seen = np.empty_like(ideal)
    seen[:, 0] = x * radial + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x)
    seen[:, 1] = y * radial + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y
    derivative = np.empty((len(ideal), 2, 2))
    derivative[:, 0, 0] = radial + x * x * slope + 2.0 * p1 * y + 6.0 * p2 * x
    derivative[:, 1, 1] = radial + y * y * slope + 6.0 * p1 * y + 2.0 * p2 * x
    derivative[:, 0, 1] = derivative[:, 1, 0] = x * y * slope + 2.0 * p1 * x + 2.0 * p2 * y
    return seen, derivative


def _undistort(seen: Floats, dist: Floats, fold_r2: float) -> tuple[Floats, Flags]:
    """Ideal points (n, 2) of seen ones (n, 2) on this side of the fold, NaN where there is none, and which exist."""
    wanted = np.linalg.norm(seen, axis=1)
    radius = _radius(wanted, dist, fold_r2)
    ideal = seen * np.where(wanted > 0.0, radius / np.where(wanted > 0.0, wanted, 1.0), 1.0)[:, None]
    if dist[2] or dist[3]:
        # The tangential part is small: Newton in two dimensions from the radial solution.
        for _ in range(10):
            there, derivative = _distort(ideal, dist)
            (a, b), (c, d) = np.moveaxis(derivative, 0, -1)
            error, determinant = seen - there, a * d - b * c
            determinant = np.where(np.abs(determinant) > 1e-9, determinant, np.nan)
            step = np.stack([d * error[:, 0] - b * error[:, 1], a * error[:, 1] - c * error[:, 0]], axis=1)
            step /= determinant[:, None]
            ideal = ideal + step
            if not np.any(np.abs(step) > _STEP):
                break
    with np.errstate(invalid="ignore", over="ignore"):
        miss = np.linalg.norm(_distort(ideal, dist)[0] - seen, axis=1)
        valid = (miss < _MISS * np.maximum(1.0, wanted)) & (np.sum(ideal * ideal, axis=1) < fold_r2)
    ideal[~valid] = np.nan
    return ideal, valid


def _radius(wanted: Floats, dist: Floats, fold_r2: float) -> Floats:
    """Ideal radii (n,) of seen radii (n,) by Newton kept in a bracket; the fold's own radius where none is enough."""
    k1, k2, k3 = dist[0], dist[1], dist[4]
    if not (k1 or k2 or k3):
        return wanted.copy()

    def at(radius: Floats) -> tuple[Floats, Floats]:
        r2 = radius * radius
        seen = radius * (1.0 + r2 * (k1 + r2 * (k2 + r2 * k3)))
        return seen, 1.0 + r2 * (3.0 * k1 + r2 * (5.0 * k2 + r2 * 7.0 * k3))

    low, high = np.zeros_like(wanted), np.full_like(wanted, np.sqrt(fold_r2))
    if np.isinf(fold_r2):
        high = np.maximum(wanted, 1.0)
        while np.any(short := at(high)[0] < wanted):
            high = np.where(short, 2.0 * high, high)
    radius = np.minimum(wanted, high)
    for _ in range(60):
        seen, slope = at(radius)
        low, high = np.where(seen < wanted, radius, low), np.where(seen > wanted, radius, high)
        with np.errstate(invalid="ignore", divide="ignore"):
            new = radius - (seen - wanted) / slope
            new = np.where((new > low) & (new < high), new, (low + high) / 2.0)
        new = np.where(seen == wanted, radius, new)
        still = np.abs(new - radius) <= _STEP * np.maximum(1.0, radius)
        radius = new
        if np.all(still | np.isnan(wanted)):
            break
    return radius


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_SET_NAME = re.compile(rf"({'|'.join(_MONTHS)})(\d{{4}})_(\w+)")
#: The public recordings of that store; a model scales to any other size.
_NANOSTORE_SIZE_PX = (640, 360)


def read_nanostore_cameras(
    path: Path,
    set_name: str | None = None,
    day: date | None = None,
    size_px: tuple[int, int] = _NANOSTORE_SIZE_PX,
) -> dict[str, CameraModel]:
    """The cameras of ``calibration/cameras.json`` by id, for pictures of ``size_px``.

    ``path`` is that file, or a folder in which (or in whose parents) it lies. ``set_name`` names one set. Else the
    recording's ``day`` chooses: of the months that sets are named after (``jan2020_refit``) the latest that is not
    after the day's (else the first of all); of that month each camera of the nominal set, the
    refitted one where there is one. Raises ``StoreError``.
    """
    file = _cameras_file(path)
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{file}: cannot be read ({error}); fetch the file again") from error
    if not isinstance(document, dict):
        raise StoreError(f"{file}: holds no camera sets; fetch the file again")
    names = [set_name] if set_name is not None else _sets_of(day, sorted(document), file)
    found: dict[str, CameraModel] = {}
    for name in names:
        cameras = document[name].get("cameras") if isinstance(document.get(name), dict) else None
        if not isinstance(cameras, dict):
            raise StoreError(f"{file}: has no camera set {name!r}; there are {', '.join(sorted(document))}")
        for camera_id, entry in cameras.items():
            found[camera_id] = _nanostore_camera(camera_id, entry, size_px, f"{file}: {name}: camera {camera_id}")
    return found


def _cameras_file(path: Path) -> Path:
    if path.is_file():
        return path
    start = path.resolve()
    for folder in (start, *start.parents):
        for candidate in (folder / "cameras.json", folder / "calibration" / "cameras.json"):
            if candidate.is_file():
                return candidate
    raise StoreError(f"{path}: no calibration/cameras.json from here upwards; name the file")


def _sets_of(day: date | None, names: Sequence[str], file: Path) -> list[str]:
    """The sets that hold on ``day``, those that win last."""
    months: dict[tuple[int, int], list[str]] = {}
    for name in names:
        if match := _SET_NAME.fullmatch(name):
            months.setdefault((int(match[2]), _MONTHS.index(match[1]) + 1), []).append(name)
    if not months or (day is None and len(months) > 1):
        raise StoreError(f"{file}: without a day any camera set may be meant; name one of {', '.join(names)}")
    past = [month for month in months if day is None or month <= (day.year, day.month)]
    return sorted(months[max(past, default=min(months))], key=lambda name: (name.endswith("_refit"), name))


def _nanostore_camera(camera_id: str, entry: Any, size_px: tuple[int, int], where: str) -> CameraModel:
    try:
        unit = np.array(entry["K_normalised"], dtype=np.float64).reshape(3, 3)
        pose = np.array(entry["T_world_from_cam_m"], dtype=np.float64).reshape(4, 4)
        dist = np.array(entry["dist_k1k2p1p2k3"], dtype=np.float64).reshape(5)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{where}: is no camera ({error!r}); fetch the file again") from error
    rotation = nearest_rotation(pose[:3, :3])
    # Published to seven digits, which bends a rotation by less than 1e-6.
    if not np.isfinite(pose).all() or np.abs(rotation - pose[:3, :3]).max() > 1e-4:
        raise StoreError(f"{where}: its pose is no rotation; fetch the file again")
    K = np.array([[size_px[0]], [size_px[1]], [1.0]]) * unit  # noqa: N806
    return CameraModel(camera_id, size_px, K, dist, Pose(rotation, pose[:3, 3].copy()))


def nearest_rotation(matrix: Floats) -> Floats:
    """The rotation (3, 3) nearest to a matrix that rounding has bent, by its singular values."""
    if not np.isfinite(matrix).all():
        return np.full((3, 3), np.nan)
    left, _, right = np.linalg.svd(matrix)
    rotation: Floats = left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right
    return rotation
