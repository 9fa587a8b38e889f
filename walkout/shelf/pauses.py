"""Where a plate paused inside a move: what parts several picks within one long touch."""

import numpy as np

from walkout.shelf.grid import HOP_S
from walkout.shelf.rest import RUN_UP_HOPS, Level, Look, Series, approach, is_rest

#: The shortest pause between two picks by one hand: hands repeat after 0.6 s at the fastest, of which lifting (0.1 s)
#: and pressing down again (0.25 s, both measured) leave a quarter.
_PAUSE_S = 0.2
#: A pause shorter than a settle window counts only between brisk moves: goods lifted off leave in 0.06 to 0.3 s, while
#: a hand that slides or a pack that slumps shows moments of calm anywhere.
_BRISK_S = 0.3
_LONG_S = 0.6
#: Plates swing beyond a new level by 0.5-3 % of the step, packs that drop by somewhat more.
_RING = 0.1
#: Goods off the plate for a second have been picked and put back; for less, lifted and set down (a touch).
_LIFTED_S = 1.0
#: A level inside a move must differ from those beside it by this much: as for a whole move.
_LEAST_SIGMAS = 6.0
_LEAST_G = 6.0


def pauses(look: Look, before: float, after: float, start: int, end: int) -> list[Level]:
    """Levels at which the plate paused inside a move, in order; ``start`` and ``end`` are positions in ``look.hops``.

    Hands push and never pull, so a reading below both outer levels for a second is goods lifted off; a pause between
    the outer levels counts if it is at least as long as its approach, the moves on both sides go the same way, and both
    are brisk if it is short. Anything above both levels is a hand at rest on the goods, and no level.
    """
    fine = _Fine(look, start, end)
    found: list[Level] = []
    at, stop = start * fine.per_hop, end * fine.per_hop
    while at < stop:
        last, since = (found[-1].mean, found[-1].stop // fine.step) if found else (before, 0)
        level = fine.lifted(min(before, after), at, stop) or fine.ledge(last, after, since, at, stop)
        if level is None:
            at += 1
        else:
            found.append(level)
            at = level.stop // fine.step + 1
    return fine.between_brisk_moves([Level(before, 0.0, 0, start * look.hop_n), *found], Level(after, 0.0), stop)


class _Fine:
    """The readings of a look in half hops, 50 ms: short against the shortest pause."""

    def __init__(self, look: Look, start: int, end: int) -> None:
        self.per_hop = 2 if look.hop_n % 2 == 0 else 1
        self.step = look.hop_n // self.per_hop
        self.second = round(self.per_hop / HOP_S)
        self.y: Series = look.samples.reshape(-1, self.step).mean(axis=1)
        quiet = (
            self.y[max(0, (start - RUN_UP_HOPS // 2) * self.per_hop) : start * self.per_hop],
            self.y[end * self.per_hop :],
        )
        self.noise = max(
            look.noise_g, *(float(part[np.isfinite(part)].std()) for part in quiet if np.isfinite(part).any()), 0.0
        )
        self.least = max(_LEAST_SIGMAS * self.noise, _LEAST_G)

    def lifted(self, floor: float, at: int, end: int) -> Level | None:
        """A run from ``at`` on that lies below ``floor`` by more than noise, for long enough to be goods in a hand."""
        needed = round(_LIFTED_S * self.second)
        above = np.flatnonzero(~(self.y[at:end] < floor - self.least))
        run = self.y[at : at + int(above[0])] if above.size else self.y[at:end]
        if run.size < needed:
            return None
        deep = np.flatnonzero(run < 0.5 * (floor + run.min()))
        start, stop = int(deep[0]), int(deep[-1]) + 1
        if stop - start < needed:
            return None
        core = run[start + 1 : stop - 1]
        quarter = core.size // 4
        calmest = min(range(core.size - quarter), key=lambda i: float(np.ptp(core[i : i + quarter])))
        level = float(core[calmest : calmest + quarter].mean())
        return Level(level, max(self.noise, float(core.std()) / 2), (at + start) * self.step, (at + stop) * self.step)

    def ledge(self, last: float, after: float, since: int, at: int, end: int) -> Level | None:
        """A pause that begins with reading ``at``, between the last level and the final one."""
        noise = np.array([self.noise])
        stop = at + max(2, round(_PAUSE_S * self.second))
        if stop >= end or not is_rest(self.y[at:stop, None], noise)[0]:
            return None
        while stop + 1 < end and is_rest(self.y[at : stop + 1, None], noise)[0]:
            stop += 1
        level = float(self.y[at:stop].mean())
        way = np.sign(after - last)
        if (level - last) * way < self.least or (after - level) * way < self.least:
            return None
        if approach(self.y[since:stop], last, newest=2) > stop - at:
            return None
        return Level(level, self.noise / (stop - at) ** 0.5, at * self.step, stop * self.step)

    def between_brisk_moves(self, levels: list[Level], after: Level, end: int) -> list[Level]:
        """``levels`` without the first one and without short pauses beside a move that no lifted goods make."""
        long = round(_LONG_S * self.second) * self.step
        while len(levels) > 1:
            ends = [*(level.start // self.step + 1 for level in levels[1:]), end]
            brisk = [
                self._is_brisk(old, new, stop)
                for old, new, stop in zip(levels, [*levels[1:], after], ends, strict=True)
            ]
            doubtful = [
                i
                for i in range(1, len(levels))
                if levels[i].stop - levels[i].start < long and not (brisk[i - 1] and brisk[i])
            ]
            if not doubtful:
                break
            del levels[min(doubtful, key=lambda i: levels[i].stop - levels[i].start)]
        return levels[1:]

    def _is_brisk(self, old: Level, new: Level, end: int) -> bool:
        """Whether the move between two levels is quick, and never below both: that one would be the hand's."""
        if abs(new.mean - old.mean) < self.least:
            return False
        inside = self.y[old.stop // self.step : end]
        slack = max(self.least, _RING * (old.mean - new.mean))
        if np.fmin.reduce(inside, initial=np.inf) < min(old.mean, new.mean) - slack:
            return False
        return self._rise(old, new, end) <= round(_BRISK_S * self.second)

    def _rise(self, old: Level, new: Level, end: int) -> int:
        """Readings from a tenth to nine tenths of the way between two levels."""
        way = (self.y[old.stop // self.step : end] - old.mean) / (new.mean - old.mean)
        under = np.flatnonzero(way < 0.1)
        left = int(under[-1]) if under.size else 0
        there = np.flatnonzero(way[left:] >= 0.9)
        return int(there[0]) if there.size else way.size - left
