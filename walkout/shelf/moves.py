"""What happened on one plate between two rests: level before, level after, when, and how surely."""

from dataclasses import dataclass

import numpy as np

from walkout.shelf.grid import HOP_S
from walkout.shelf.pauses import pauses
from walkout.shelf.rest import REST_HOPS, RUN_UP_HOPS, WINDOW_HOPS, Level, Look, Series, is_rest

#: Half a count of the converter: what a plate without any noise still hides.
_COUNT_G = 0.12
#: Levels wander: real plates drift 0.25 g (median) to 2 g (one in ten) in 17 s; as a random walk 0.15 g/sqrt(s).
_DRIFT_G2_PER_S = 0.15**2
#: Hops beyond this many sigmas of the old level belong to the move.
_ONSET_SIGMAS = 3.0
_ONSET_FLOOR_G = 1.0


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


def measure(look: Look) -> list[Move]:
    """The moves that end with the newest hop of ``look``: one, or several where the plate paused in between."""
    before, start = _level_before(look)
    after = _level(look.hops[max(start, look.hops.size - REST_HOPS) :], look, before)
    end = _settled_from(look, after.mean, start)
    after = _level(look.hops[max(end + 1, look.hops.size - look.level_hops) :], look, after)
    if not look.settled:
        after = _unsettled(look, start, after)
    levels = [before, *pauses(look, before.mean, after.mean, start, end), after]
    inner = [border for level in levels[1:-1] for border in (level.start, level.stop)]
    borders = [start * look.hop_n, *inner, end * look.hop_n]
    return [_move(look, levels[i], levels[i + 1], borders[2 * i], borders[2 * i + 1]) for i in range(len(levels) - 1)]


def compare(look: Look, start: int, end: int) -> Move:
    """The change of a plate that was never seen moving, across a move of its neighbours (hop numbers)."""
    before_to, after_from = start - 1 - look.first, end + 1 - look.first
    before = _level(look.hops[max(0, before_to - look.level_hops) : before_to], look, None)
    after = _level(look.hops[max(after_from, look.hops.size - look.level_hops) :], look, before)
    return _move(look, before, after, (before_to + 1) * look.hop_n, (after_from - 1) * look.hop_n)


def _unsettled(look: Look, start: int, fallback: Level) -> Level:
    """Where a plate is that never came to rest: its last readings, as uncertain as they scatter."""
    tail = look.hops[min(max(start + 2, look.hops.size - REST_HOPS), look.hops.size - 2) :]
    known = tail[np.isfinite(tail)]
    if known.size < 2:
        return fallback
    return Level(float(known.mean()), max(float(known.std(ddof=1)), look.noise_g))


def _move(look: Look, before: Level, after: Level, start: int, end: int) -> Move:
    """The move between two levels; ``start`` and ``end`` are positions in ``look.samples``."""
    first, last = start // look.hop_n, -(-end // look.hop_n)
    inside = look.hops[first : max(last, first + 1)]
    low, high = min(before.mean, after.mean), max(before.mean, after.mean)
    at = look.first * look.hop_n
    wander = _DRIFT_G2_PER_S * (last - first + REST_HOPS) * HOP_S
    return Move(
        column=look.column,
        start=at + start,
        step=at + _moment(look, before.mean, after.mean, start, end),
        end=at + end,
        delta_g=after.mean - before.mean,
        sigma_g=(before.sigma**2 + after.sigma**2 + _COUNT_G**2 + wander) ** 0.5,
        peak_g=float(np.nanmax(np.maximum(inside - high, low - inside), initial=0.0)),
        quiet_g=look.sigma_hop * look.shaken,
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
    split = _best_split(look.hops, search_from, REST_HOPS if look.settled else 2)
    return min(search_from + int(runs[0]), split) if runs.size else split


def _best_split(hops: Series, search_from: int, rest: int) -> int:
    """Where the means of the windows before and after differ most; the last ``rest`` hops are taken as after it."""
    edges = range(search_from, hops.size - rest + 1)
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


def _moment(look: Look, before: float, after: float, start: int, end: int) -> int:
    """Position in ``look.samples`` at which the reading last crossed half way from the old level to the new one.

    Readings are averaged over a hop and a bit: one period of the lowest measured shelf mode (8 Hz).
    """
    smoothing = look.hop_n + 1
    low = max(0, start - look.hop_n)
    part = look.samples[low : end + look.hop_n]
    known = np.flatnonzero(np.isfinite(part))
    if part.size <= smoothing or known.size == 0:
        return start
    part = np.interp(np.arange(part.size), known, part[known])
    smooth = np.convolve(part - before, np.full(smoothing, 1 / smoothing), mode="valid")
    beyond = np.abs(smooth) if after == before else smooth / (after - before)
    under = np.flatnonzero(beyond < 0.5)
    return low + smoothing // 2 + (int(under[-1]) + 1 if under.size else 0)
