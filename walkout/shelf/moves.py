"""What happened on one plate between two rests: level before, level after, when, and how surely."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Series = NDArray[np.float64]

#: Hops in a settle window: 0.6 s of rest. The difference of two such means errs by 0.2-0.35 g (median of real plates).
REST_HOPS = 6
#: A rest may differ this many sigmas between its halves, and span this many in all. The range of six normal values is
#: below 4.6 sigma in 99 of 100; a drift of three sigmas of the difference of half-window means is kept likewise.
_HALF_SIGMAS = 3.0 * (2 / 3) ** 0.5
_RANGE_SIGMAS = 5.5
#: Two and four counts of the converter: what a perfectly quiet plate may still show.
_HALF_FLOOR_G = 0.5
_RANGE_FLOOR_G = 1.0
#: Hops beyond this many sigmas of the old level belong to the move.
_ONSET_SIGMAS = 3.0
_ONSET_FLOOR_G = 1.0
#: The longest run-up before a trigger: slow moves begin up to 1.7 s before the mass is gone (labelled visits).
RUN_UP_HOPS = 20
#: Hops of the two-window test on either side.
WINDOW_HOPS = 7
#: Readings averaged for the moment of the step: one period of the lowest measured shelf mode (8 Hz).
_SMOOTH = 7


@dataclass(frozen=True, slots=True)
class Move:
    """One plate's change. Times are sample numbers of the controller's grid; grams.

    ``peak_g``: the farthest that the reading went from both levels; ``quiet_g``: what the plate's own noise and the
    shaking of the shelf may reach without anybody touching it.
    """

    column: int
    start: int
    step: int
    end: int
    delta_g: float
    sigma_g: float
    peak_g: float
    quiet_g: float
    settled: bool


def is_rest(window: Series, sigma: Series) -> NDArray[np.bool_]:
    """Whether hops ``window``, shape (m, plates), lie at one level, given the noise ``sigma`` of a hop, (plates,)."""
    half = window.shape[0] // 2
    drift = np.abs(window[-half:].mean(axis=0) - window[:half].mean(axis=0))
    span = window.max(axis=0) - window.min(axis=0)
    calm: NDArray[np.bool_] = drift <= np.maximum(_HALF_SIGMAS * sigma, _HALF_FLOOR_G)
    return calm & (span <= np.maximum(_RANGE_SIGMAS * sigma, _RANGE_FLOOR_G))


@dataclass(frozen=True, slots=True)
class Look:
    """What the detector knows of a plate that has come to rest (or ran out of patience).

    ``hops``, ``samples``: the newest readings, ``first`` the number of the first hop among them; ``trigger``: the hop
    at which the move was noticed; ``rest_since``: hop since which the plate had rested before; ``level``: the running
    level then. ``sigma_hop`` and ``sigma_step``: noise of a hop and of a difference of windows, shaking included.
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
    settled: bool


def measure(look: Look) -> Move:
    """The move that ends with the newest hop of ``look``."""
    before_from, before_to = _rest_before(look)
    before, before_sigma = _mean(look.hops[before_from:before_to], look)
    if not np.isfinite(before):
        before, before_sigma = look.level, look.sigma_hop
    start = _onset(look, before, before_to)
    if start - before_to > 1:
        before, before_sigma = _mean(look.hops[max(before_from, start - 1 - 10) : start - 1], look)
        if not np.isfinite(before):
            before, before_sigma = look.level, look.sigma_hop
    after_from = max(start, look.hops.size - REST_HOPS)
    after, after_sigma = _mean(look.hops[after_from:], look)
    if not np.isfinite(after):
        after, after_sigma = before, look.sigma_hop
    end = _settled_from(look, after, start, after_from)
    inside = look.hops[start:end] if end > start else look.hops[start:]
    low, high = min(before, after), max(before, after)
    peak = float(np.nanmax(np.maximum(inside - high, low - inside), initial=0.0))
    at = look.first * look.hop_n
    return Move(
        column=look.column,
        start=at + start * look.hop_n,
        step=at + _moment(look, before, after, start, end),
        end=at + end * look.hop_n,
        delta_g=after - before,
        sigma_g=float(
            np.hypot(max(before_sigma, look.sigma_step / 2**0.5), max(after_sigma, look.sigma_step / 2**0.5))
        ),
        peak_g=peak,
        quiet_g=look.sigma_hop,
        settled=look.settled,
    )


def _rest_before(look: Look) -> tuple[int, int]:
    """Positions (from, to) in ``look.hops`` of the last rest before the move, as the two-window test saw it."""
    lowest = max(0, look.rest_since - look.first)
    trigger = look.trigger - look.first
    newest = max(trigger - WINDOW_HOPS, 0)
    for to in range(newest, max(newest - RUN_UP_HOPS, lowest + REST_HOPS - 1), -1):
        window = look.hops[to - REST_HOPS : to]
        if window.size == REST_HOPS and is_rest(window[:, None], np.array([look.sigma_hop]))[0]:
            return to - REST_HOPS, to
    to = max(newest, min(lowest + REST_HOPS, trigger - 1), 1)
    return max(lowest, to - REST_HOPS), to


def _mean(hops: Series, look: Look) -> tuple[float, float]:
    """Mean of a rest and its standard deviation; hops two apart count as independent (measured correlation)."""
    known = hops[np.isfinite(hops)]
    if known.size == 0:
        return float("nan"), float("nan")
    spread = float(known.std(ddof=1)) if known.size > 1 else look.sigma_hop
    return float(known.mean()), max(spread, 0.0) / max(known.size / 2, 1.0) ** 0.5


def _onset(look: Look, before: float, search_from: int) -> int:
    """Position of the first hop of the move: two in a row away from the old level on the same side."""
    off = look.hops[search_from:] - before
    far = np.where(np.abs(off) > max(_ONSET_SIGMAS * look.sigma_hop, _ONSET_FLOOR_G), np.sign(off), 0.0)
    runs = np.flatnonzero((far[:-1] != 0) & (far[:-1] == far[1:]))
    return search_from + int(runs[0]) if runs.size else min(look.trigger - look.first, look.hops.size - 1)


def _settled_from(look: Look, after: float, start: int, rest_from: int) -> int:
    """Position of the first hop from which the plate stayed at its new level."""
    limit = max(_ONSET_SIGMAS * look.sigma_hop, _ONSET_FLOOR_G)
    end = rest_from
    while end > start + 1 and abs(look.hops[end - 1] - after) <= limit:
        end -= 1
    return end


def _moment(look: Look, before: float, after: float, start: int, end: int) -> int:
    """Sample position at which the reading last crossed half way from the old level to the new one."""
    low = max(0, (start - 1) * look.hop_n)
    part = look.samples[low : (end + 1) * look.hop_n]
    part = (
        np.interp(np.arange(part.size), np.flatnonzero(np.isfinite(part)), part[np.isfinite(part)])
        if np.isnan(part).any() and np.isfinite(part).any()
        else part
    )
    if part.size <= _SMOOTH:
        return start * look.hop_n
    smooth = np.convolve(part - before, np.full(_SMOOTH, 1 / _SMOOTH), mode="valid")
    beyond = np.abs(smooth) if after == before else smooth / (after - before)
    under = np.flatnonzero(beyond < 0.5)
    return low + _SMOOTH // 2 + (int(under[-1]) + 1 if under.size else 0)
