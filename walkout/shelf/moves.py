"""What happened on one plate between two rests: level before, level after, when, and how surely."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from walkout.shelf.grid import HOP_S

Series = NDArray[np.float64]

#: Hops in a settle window: 0.6 s of rest. The difference of two such means errs by 0.2-0.35 g (median of real plates).
REST_HOPS = 6
#: Half a count of the converter: what a plate without any noise still hides.
_COUNT_G = 0.12
#: Levels wander: real plates drift 0.25 g (median) to 2 g (one in ten) in 17 s; as a random walk 0.15 g/sqrt(s).
_DRIFT_G2_PER_S = 0.15**2
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
#: Hops of rest from which a level is read: on a quiet plate the nine that four settle windows in a row span (the first
#: ones may still hold the tail of the move), on a noisy one up to two seconds, where drift begins to eat the gain.
_LEVEL_HOPS = (9, 20)
#: Noise of a difference of windows up to which the shorter reading is enough for 10 g at several sigmas.
_QUIET_STEP_G = 1.0
#: The shortest pause between two picks by one hand: a quarter of a second (fastest repeats are 0.6 s apart).
_PAUSE_HOPS = 3
#: Goods off the plate for a second have been picked and put back; for less, lifted and set down (a touch).
_LIFTED_HOPS = 10
#: A level inside a move must differ from those beside it by this much.
_LIFTED_SIGMAS = 6.0
_LIFTED_G = 6.0
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


def level_hops(sigma_step: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many hops of rest a level needs: the variance of its mean falls with their number."""
    return np.clip(np.ceil(_LEVEL_HOPS[0] * (sigma_step / _QUIET_STEP_G) ** 2), *_LEVEL_HOPS).astype(np.int64)


def is_rest(window: Series, sigma: Series) -> NDArray[np.bool_]:
    """Whether hops ``window``, shape (m, plates), lie at one level, given the noise ``sigma`` of a hop, (plates,)."""
    half = window.shape[0] // 2
    drift = np.abs(window[-half:].mean(axis=0) - window[:half].mean(axis=0))
    span = window.max(axis=0) - window.min(axis=0)
    level = drift <= np.maximum(_HALF_SIGMAS * sigma, _HALF_FLOOR_G)
    return np.asarray(level & (span <= np.maximum(_RANGE_SIGMAS * sigma, _RANGE_FLOOR_G)))


def approach_hops(hops: Series, before: float) -> int:
    """How many hops the last move took to come to where the newest hops lie: from 90 % of its height to 10 %.

    ``hops`` begins with the disturbance. A rest must last as long as the move that led to it: the top of a slow press
    looks flat for a fraction of the time in which the hand came down, whatever the noise.
    """
    newest = float(np.nanmean(hops[-REST_HOPS // 2 :]))
    away = np.abs(np.concatenate(([before], hops)) - newest)
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
    ``shake``: the factor by which the shelf was shaken beyond that when the plate came to rest.
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
    """Where a plate lay: mean and its standard deviation, grams; positions in ``Look.hops`` for a pause."""

    mean: float
    sigma: float
    start: int = 0
    stop: int = 0


def measure(look: Look) -> list[Move]:
    """The moves that end with the newest hop of ``look``: one, or several where the plate paused in between."""
    before, start = _level_before(look)
    after = _level(look.hops[max(start, look.hops.size - REST_HOPS) :], look, before)
    end = _settled_from(look, after.mean, start)
    after = _level(look.hops[max(end + 1, look.hops.size - look.level_hops) :], look, after)
    if not look.settled:
        after = Level(after.mean, max(after.sigma, _spread(look.hops[-2 * REST_HOPS :])))
    levels = [before, *pauses(look, before.mean, after.mean, start, end), after]
    borders = [start, *(border for level in levels[1:-1] for border in (level.start, level.stop)), end]
    return [_move(look, levels[i], levels[i + 1], borders[2 * i], borders[2 * i + 1]) for i in range(len(levels) - 1)]


def compare(look: Look, start: int, end: int) -> Move:
    """The change of a plate that was never seen moving, across a move of its neighbours (hop numbers)."""
    before_to, after_from = start - 1 - look.first, end + 1 - look.first
    before = _level(look.hops[max(0, before_to - look.level_hops) : before_to], look, None)
    after = _level(look.hops[max(after_from, look.hops.size - look.level_hops) :], look, before)
    return _move(look, before, after, before_to + 1, after_from - 1)


def _spread(hops: Series) -> float:
    known = hops[np.isfinite(hops)]
    return float(known.std()) if known.size else 0.0


def _move(look: Look, before: Level, after: Level, start: int, end: int) -> Move:
    """The move between two levels; ``start`` and ``end`` are positions in ``look.hops``."""
    inside = look.hops[start:end] if end > start else look.hops[start : start + 1]
    low, high = min(before.mean, after.mean), max(before.mean, after.mean)
    at = look.first * look.hop_n
    return Move(
        column=look.column,
        start=at + start * look.hop_n,
        step=at + _moment(look, before.mean, after.mean, start, end),
        end=at + end * look.hop_n,
        delta_g=after.mean - before.mean,
        sigma_g=(before.sigma**2 + after.sigma**2 + _COUNT_G**2 + _DRIFT_G2_PER_S * (end - start + REST_HOPS) * HOP_S)
        ** 0.5,
        peak_g=float(np.nanmax(np.maximum(inside - high, low - inside), initial=0.0)),
        quiet_g=look.noise_g,
        settled=look.settled and not bool(np.isnan(inside).any()),
    )


def _level_before(look: Look) -> tuple[Level, int]:
    """Level before the move and the position of its first hop."""
    rest_from, rest_to = _rest_before(look)
    level = _level(look.hops[rest_from:rest_to], look, None)
    start = _onset(look, level.mean, rest_to)
    since = max(0, look.rest_since - look.first)
    return _level(look.hops[max(since, start - 1 - look.level_hops) : max(start - 1, rest_to)], look, level), start


def _rest_before(look: Look) -> tuple[int, int]:
    """Positions (from, to) in ``look.hops`` of the last rest before the move, as the two-window test saw it."""
    lowest = max(0, look.rest_since - look.first)
    trigger = look.trigger - look.first
    newest = max(trigger - WINDOW_HOPS, 0)
    for to in range(newest, max(newest - RUN_UP_HOPS, lowest + REST_HOPS - 1), -1):
        window = look.hops[to - REST_HOPS : to]
        if window.size == REST_HOPS and is_rest(window[:, None], np.array([look.noise_g]))[0]:
            return to - REST_HOPS, to
    to = max(newest, min(lowest + REST_HOPS, trigger - 1), 1)
    return max(lowest, to - REST_HOPS), to


def _level(hops: Series, look: Look, fallback: Level | None) -> Level:
    """Mean of a rest with its standard deviation.

    The variance is what the plate's own history says of such windows (which knows how far vibration averages out), and
    beside it whatever this window's scatter shows beyond the usual: noise comes and goes with the people at the shelf.
    """
    known = hops[np.isfinite(hops)]
    if known.size == 0:
        return fallback or Level(look.level, look.sigma_hop)
    usual = look.sigma_step**2 / 2 * WINDOW_HOPS / known.size
    scatter = float(known.var(ddof=1)) if known.size > 1 else look.sigma_hop**2
    return Level(float(known.mean()), (usual + max(0.0, scatter - look.sigma_hop**2) / known.size) ** 0.5)


def _onset(look: Look, before: float, search_from: int) -> int:
    """Position of the first hop of the move: two in a row away from the old level on the same side.

    A step that is small against the noise of a hop never shows so; its onset is where two levels fit best.
    """
    off = look.hops[search_from:] - before
    far = np.where(np.abs(off) > max(_ONSET_SIGMAS * look.noise_g, _ONSET_FLOOR_G), np.sign(off), 0.0)
    runs = np.flatnonzero((far[:-1] != 0) & (far[:-1] == far[1:]))
    split = _best_split(look.hops, search_from)
    return min(search_from + int(runs[0]), split) if runs.size else split


def _best_split(hops: Series, search_from: int) -> int:
    """Where the means of the windows before and after differ most."""
    edges = range(search_from, hops.size - REST_HOPS + 1)
    jumps = [
        abs(float(hops[edge : edge + WINDOW_HOPS].mean() - hops[max(0, edge - WINDOW_HOPS) : edge].mean()))
        for edge in edges
        if edge > 0
    ]
    if not jumps or not np.isfinite(jumps).any():
        return min(search_from, hops.size - 1)
    return max(search_from, 1) + int(np.nanargmax(jumps))


def _settled_from(look: Look, after: float, start: int) -> int:
    """Position of the first hop from which the plate stayed at its new level."""
    limit = max(_ONSET_SIGMAS * look.noise_g, _ONSET_FLOOR_G)
    end = max(start, look.hops.size - REST_HOPS)
    while end > start + 1 and abs(look.hops[end - 1] - after) <= limit:
        end -= 1
    return end


def pauses(look: Look, before: float, after: float, start: int, end: int) -> list[Level]:
    """Levels at which the plate paused inside a move, in order: what parts several picks within one long touch.

    Hands push and never pull, so a reading below both outer levels for ``_LIFTED_HOPS`` is goods lifted off; a pause
    between the outer levels counts if it is at least as long as its approach and the moves on both sides go the same
    way. Anything above both levels is a hand at rest on the goods, and no level.
    """
    found: list[Level] = []
    at = start
    while at < end:
        level = _lifted(look, min(before, after), at, end) or _ledge(look, before, after, at, end, found)
        if level is None:
            at += 1
            continue
        found.append(level)
        at = level.stop + 1
    return found


def _lifted(look: Look, floor: float, at: int, end: int) -> Level | None:
    """A run of hops from ``at`` on that lie below ``floor`` by more than noise, long enough to be goods in a hand."""
    depth = max(_LIFTED_SIGMAS * look.noise_g, _LIFTED_G)
    run = at
    while run < end and look.hops[run] < floor - depth:
        run += 1
    if run - at < _LIFTED_HOPS:
        return None
    inside = look.hops[at:run]
    half = inside < floor - 0.5 * (floor - inside.min())
    start, stop = at + int(np.argmax(half)), at + int(half.size - np.argmax(half[::-1]))
    if stop - start < _LIFTED_HOPS:
        return None
    quarter = max(2, (stop - start) // 4)
    core = look.hops[start + 1 : stop - 1]
    calmest = min(range(core.size - quarter + 1), key=lambda i: float(np.ptp(core[i : i + quarter])))
    rest = core[calmest : calmest + quarter]
    return Level(float(rest.mean()), max(look.noise_g, float(core.std()) / 2), start, stop)


def _ledge(look: Look, before: float, after: float, at: int, end: int, found: list[Level]) -> Level | None:
    """A pause that begins with hop ``at``, between the last level and the final one."""
    last = found[-1].mean if found else before
    since = found[-1].stop if found else max(0, at - RUN_UP_HOPS)
    noise = np.array([look.noise_g])
    stop = at + _PAUSE_HOPS
    if stop >= end or not is_rest(look.hops[at:stop, None], noise)[0]:
        return None
    while stop + 1 < end and is_rest(look.hops[at : stop + 1, None], noise)[0]:
        stop += 1
    level = float(look.hops[at:stop].mean())
    least = max(_LIFTED_SIGMAS * look.noise_g, _LIFTED_G)
    if not (least <= (level - last) * np.sign(after - last) and least <= (after - level) * np.sign(after - last)):
        return None
    if approach_hops(look.hops[since:stop], last) > stop - at:
        return None
    return Level(level, max(look.noise_g, float(look.hops[at:stop].std())) / (stop - at) ** 0.5, at, stop)


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
