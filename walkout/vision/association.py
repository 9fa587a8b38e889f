"""What every tracker needs, on the floor or in the picture: predict, compare, pair, update.

A belief is a mean (d,) with a covariance (d, d); all functions take any number of them stacked in front. Measurements
are linear: ``values = rows @ mean`` + noise. Kalman 1960; the update is Joseph's form, which keeps covariances
positive whatever the rounding.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.float64]


def predicted(mean: Floats, covariance: Floats, move: Floats, noise: Floats) -> tuple[Floats, Floats]:
    """Beliefs (..., d), (..., d, d) after ``move`` (..., d, d) with process noise (..., d, d)."""
    return (move @ mean[..., None])[..., 0], move @ covariance @ np.swapaxes(move, -1, -2) + noise


def updated(mean: Floats, covariance: Floats, rows: Floats, values: Floats, noise: Floats) -> tuple[Floats, Floats]:
    """Beliefs after one measurement each: ``rows`` (..., m, d), ``values`` (..., m), ``noise`` (..., m, m)."""
    turned = np.swapaxes(rows, -1, -2)
    spread = rows @ covariance @ turned + noise
    gain = np.swapaxes(np.linalg.solve(spread, rows @ covariance), -1, -2)
    kept = np.eye(mean.shape[-1]) - gain @ rows
    error = values - (rows @ mean[..., None])[..., 0]
    moved = mean + (gain @ error[..., None])[..., 0]
    return moved, kept @ covariance @ np.swapaxes(kept, -1, -2) + gain @ noise @ np.swapaxes(gain, -1, -2)


def squared_distances(
    mean: Floats, covariance: Floats, rows: Floats, values: Floats, noise: Floats
) -> tuple[Floats, Floats]:
    """How far each of n beliefs is from each of k measurements: Mahalanobis squared and log det of the spread, (n, k).

    ``mean`` (n, d), ``covariance`` (n, d, d), ``rows`` (m, d), ``values`` (k, m), ``noise`` (k, m, m).
    """
    expected = mean @ rows.T
    spread = (rows @ covariance @ rows.T)[:, None] + noise[None]
    error = values[None] - expected[:, None]
    squares = np.sum(error * np.linalg.solve(spread, error[..., None])[..., 0], axis=2)
    return squares, np.linalg.slogdet(spread)[1]


def gated_pairs(cost: Floats, alone: float) -> list[tuple[int, int]]:
    """Rows paired with columns so that the sum of costs is least, by row; infinite cost is no pair.

    A row and a column that could be paired stay alone where that costs less: ``alone`` is the price of one such pair.
    """
    if not cost.size:
        return []
    bounded = np.where(cost < alone, cost, alone)
    return [(int(r), int(c)) for r, c in zip(*linear_sum_assignment(bounded), strict=True) if cost[r, c] < alone]
