"""Rest: when a plate lies still, how long it must, and what is known of it when it does."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float64]

#: Hops in a settle window: 0.6 s of rest. The difference of two such means errs by 0.2-0.35 g (median of real plates).
REST_HOPS = 6
#: Hops of the two-window test on either side: 0.7 s (the measured test ran with 0.75 s).
WINDOW_HOPS = 7
#: The longest run-up before a trigger: slow moves begin up to 1.7 s before the mass is gone (labelled visits).
RUN_UP_HOPS = 20
#: A rest may differ this many sigmas between its halves, and span this many in all (the range of six normal values is
#: below 4.6 sigma in 99 of 100 cases).
_HALF_SIGMAS = 3.0
_RANGE_SIGMAS = 5.5
#: Two and four counts of the converter: what a perfectly quiet plate may still show.
_HALF_FLOOR_G = 0.5
_RANGE_FLOOR_G = 1.0
#: Hops of rest from which a level is read: on a quiet plate the nine that four settle windows in a row span (the first
#: ones may still hold the tail of the move), on a noisy one up to two seconds, where drift begins to eat the gain.
_LEVEL_HOPS = (9, 20)
#: Noise of a difference of windows up to which the shorter reading is enough for 10 g at several sigmas.
_QUIET_STEP_G = 1.0


def level_hops(sigma_step: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many hops of rest a level needs: the variance of its mean falls with their number."""
    return np.clip(np.ceil(_LEVEL_HOPS[0] * (sigma_step / _QUIET_STEP_G) ** 2), *_LEVEL_HOPS).astype(np.int64)


def is_rest(window: Series, sigma: Series) -> NDArray[np.bool_]:
    """Whether readings ``window``, shape (m, plates), lie at one level, given the noise ``sigma`` of one, (plates,)."""
    half = window.shape[0] // 2
    drift = np.abs(window[-half:].mean(axis=0) - window[:half].mean(axis=0))
    span = window.max(axis=0) - window.min(axis=0)
    level = drift <= np.maximum(_HALF_SIGMAS * (2 / half) ** 0.5 * sigma, _HALF_FLOOR_G)
    return np.asarray(level & (span <= np.maximum(_RANGE_SIGMAS * sigma, _RANGE_FLOOR_G)))


def approach(readings: Series, before: float, newest: int = REST_HOPS // 2) -> int:
    """How many readings the last move took to come to where the ``newest`` ones lie: from 90 % of its height to 10 %.

    ``readings`` begin with the disturbance. A rest must last as long as the move that led to it: the top of a slow
    press looks flat for a fraction of the time in which the hand came down, whatever the noise.
    """
    away = np.abs(np.concatenate(([before], readings)) - float(np.nanmean(readings[-newest:])))
    height = float(np.nanmax(away))
    far = np.flatnonzero(away >= 0.9 * height)
    near = np.flatnonzero(away >= 0.1 * height)
    return int(near[-1] - far[-1]) if far.size else 0


@dataclass(frozen=True, slots=True)
class Look:
    """What the detector knows of a plate that has come to rest (or ran out of patience).

    ``hops``, ``samples``: the newest readings, ``first`` the number of the first hop among them; ``trigger``: the
    hop at which the move was noticed; ``rest_since``: hop since which the plate had rested before; ``level``: the
    running level then. ``sigma_hop`` and ``sigma_step``: usual noise of a hop and of a difference of two windows;
    ``shake``: the factor by which the shelf is shaken beyond that now, ``shaken``: at worst during the move.
    """

    column: int
    hops: Series
    samples: Series
    first: int
    hop_n: int
    trigger: int
    rest_since: int
    level: float
    sigma_hop: float
    sigma_step: float
    shake: float
    shaken: float
    settled: bool

    @property
    def level_hops(self) -> int:
        """Hops of rest from which its levels are read."""
        return int(level_hops(np.array([self.sigma_step * self.shake]))[0])

    @property
    def noise_g(self) -> float:
        """What a hop may scatter just now."""
        return self.sigma_hop * self.shake


@dataclass(frozen=True, slots=True)
class Level:
    """Where a plate lay: mean and its standard deviation, grams; positions in ``Look.samples`` for a pause."""

    mean: float
    sigma: float
    start: int = 0
    stop: int = 0
