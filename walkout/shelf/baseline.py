"""Level, noise and health of every plate behind one controller, kept up while the plates are at rest.

All arrays have shape (plates,), grams unless said otherwise. Everything is robust: a step or a knock must not teach
the detector that the shelf is noisy, and a shelf that has become noisy must be believed after a few seconds.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from walkout.shelf.grid import Hops

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

#: Mean absolute value to standard deviation of a normal variable, sqrt(pi / 2).
_ABS_TO_SIGMA = 1.2533
#: Median absolute value to standard deviation of a normal variable, 1 / 0.6745.
_MEDIAN_TO_SIGMA = 1.4826
#: One count of the converter, measured on every plate of the nanostore (and AIM3S weight_calibration.json).
QUANTUM_G = 0.241
#: Standard deviation of a hop that only quantisation disturbs: quantum / sqrt(12).
_FLOOR_G = QUANTUM_G / 12**0.5
#: Level follows drift with this time constant: measured drift is below 2.1 g in 17 s (90 %), so it lags by < 0.2 g,
#: while mass that leaves over two seconds still stands out.
_LEVEL_S = 1.5
#: Noise follows with this time constant: several strides (0.7 s each) and vibration bursts are averaged.
_NOISE_S = 5.0
#: One look adds at most this many sigmas to the noise estimate.
_CLIP = 4.0
#: How long the shelf's momentary shaking is averaged: a fifth of what the measured knock lasted (1.5 s).
_SHAKE_S = 0.3
#: Rated load 20 kg; the measured resting offsets reach 9.6 kg beside it.
_CAPACITY_G = 32_000.0
#: No change at all for this long on a plate that was alive: its converter is stuck (live ones repeat 7-18 % only).
_STUCK_S = 10.0
#: Per-hop noise above which 10 g steps are no longer safe (measured: p99 of real plates is 9.4 g a sample).
_NOISY_G = 10.0


class PlateHealth(StrEnum):
    """What a plate's readings say about the plate."""

    GOOD = "good"
    MISSING = "missing"
    CONSTANT = "constant"
    STUCK = "stuck"
    SATURATED = "saturated"
    NOISY = "noisy"


class Baseline:
    """Running level and noise of ``plates`` plates; ``shelves[i]`` numbers the shelf of plate ``i``."""

    def __init__(self, shelves: NDArray[np.intp], hop_s: float) -> None:
        n = shelves.size
        self.level = np.full(n, np.nan)
        self.sigma_hop = np.full(n, _FLOOR_G)
        self.sigma_step = np.full(n, _FLOOR_G)
        self.shake = np.ones(n)
        self.jolt = np.ones(n)
        self._shelves = shelves
        self._rows, self._columns = _rows_and_columns(shelves)
        self._padded = np.full((int(shelves.max(initial=0)) + 1, int(self._columns.max(initial=0)) + 1), np.nan)
        self._shelf_shake = np.ones(self._padded.shape[0])
        self._hop_s = hop_s
        self._still_s = np.zeros(n)
        self.alive = np.zeros(n, bool)

    def learn(self, hops: Hops, window: int) -> None:
        """First level and noise from the opening hops, shape (m, plates); robust to a move among them."""
        levels = hops.astype(np.float64)
        known = np.isfinite(levels)
        with_data = (known.sum(axis=0) >= window) & known[-window:].any(axis=0)
        if not with_data.any():
            return
        seen = levels[:, with_data]
        self.level[with_data] = np.nanmedian(seen[-window:], axis=0)
        wiggle = hop_scatter(seen)
        self.sigma_hop[with_data] = np.maximum(wiggle, _FLOOR_G)
        self.sigma_step[with_data] = np.maximum(wiggle * (2 / window) ** 0.5, _FLOOR_G)

    def shaking(self, deviation: Floats) -> None:
        """Update ``shake``, the factor (at least 1) by which each shelf is shaken beyond its own noise; ``jolt``: the
        same for this very hop.

        ``deviation``: latest hop minus the mean of the hops before it. The median over a shelf's plates ignores the few
        that carry an action and rises when everything moves: a knock, footsteps, somebody leaning on the frame.
        """
        score = np.abs(deviation) / self.sigma_hop
        self._padded[self._rows, self._columns] = score
        ordered = np.sort(self._padded, axis=1)
        count = np.isfinite(ordered).sum(axis=1)
        middle = ordered[np.arange(count.size), np.maximum(count - 1, 0) // 2]
        now = np.where(count >= 4, np.nan_to_num(middle * _MEDIAN_TO_SIGMA), 1.0)
        self._shelf_shake += (now - self._shelf_shake) * min(1.0, self._hop_s / _SHAKE_S)
        self.shake = np.maximum(1.0, self._shelf_shake)[self._shelves]
        self.jolt = np.maximum(1.0, now)[self._shelves]

    def follow(self, hop: Floats, deviation: Floats, step: Floats, resting: Flags, steady: Flags) -> None:
        """Let level and noise of ``resting`` plates follow one hop.

        ``step``: the difference of two adjoining windows; it teaches ``sigma_step`` only where ``steady`` says that
        both windows lie in one rest.
        """
        ok = resting & np.isfinite(deviation) & np.isfinite(hop)
        gain = self._hop_s / _LEVEL_S
        self.level = np.where(ok, self.level + gain * (hop - self.level), self.level)
        rate = self._hop_s / _NOISE_S
        look = np.minimum(np.abs(deviation) * _ABS_TO_SIGMA, _CLIP * self.sigma_hop)
        self.sigma_hop = np.where(
            ok, np.maximum(self.sigma_hop + rate * (look - self.sigma_hop), _FLOOR_G), self.sigma_hop
        )
        ok &= steady & np.isfinite(step)
        look = np.minimum(np.abs(step) * _ABS_TO_SIGMA, _CLIP * self.sigma_step)
        grown = np.maximum(self.sigma_step + rate * (look - self.sigma_step), _FLOOR_G)
        self.sigma_step = np.where(ok, grown, self.sigma_step)

    def observe_health(self, hop: Floats, deviation: Floats) -> None:
        """Count how long each plate has said exactly the same."""
        moving = np.abs(deviation) > 0
        self.alive |= moving
        self._still_s = np.where(moving, 0.0, self._still_s + self._hop_s)
        self._last = hop

    def health(self) -> list[PlateHealth]:
        """Health of each plate as of the latest hop."""
        last = getattr(self, "_last", np.full(self.level.size, np.nan))
        found = [PlateHealth.GOOD] * self.level.size
        for i in range(self.level.size):
            if not np.isfinite(last[i]):
                found[i] = PlateHealth.MISSING
            elif abs(last[i]) >= _CAPACITY_G:
                found[i] = PlateHealth.SATURATED
            elif self._still_s[i] >= _STUCK_S:
                found[i] = PlateHealth.STUCK if self.alive[i] else PlateHealth.CONSTANT
            elif self.sigma_hop[i] > _NOISY_G:
                found[i] = PlateHealth.NOISY
        return found


def hop_scatter(hops: Floats) -> Floats:
    """Noise of a hop from the differences of neighbouring ones, shape (m, plates) to (plates,); blind to slow moves."""
    change = np.abs(np.diff(hops, axis=0))
    change[:, np.isnan(change).all(axis=0)] = 0.0
    return np.asarray(np.nanmedian(change, axis=0) * _MEDIAN_TO_SIGMA / 2**0.5)


def _rows_and_columns(shelves: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where each plate goes in a table with one row per shelf."""
    columns = np.zeros(shelves.size, np.intp)
    for shelf in np.unique(shelves):
        mask = shelves == shelf
        columns[mask] = np.arange(mask.sum())
    return shelves, columns
