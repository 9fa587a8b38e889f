"""Recorded times made into event times: order, doubles, strays, clock steps, and the sample clock of a controller.

A recording holds when a line was *sent*. On the way lines were lost, doubled, swapped and delayed, and clocks were
set. ``Sequence`` puts one sender's lines into order; ``SampleClock`` then finds the regular clock behind a load-cell
controller's batches. Both look ahead by a second at most and hold no more than that in memory.
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from typing import Generic, TypeVar

from walkout.domain.clock import NS_PER_S
from walkout.domain.sensing import Gap

Payload = TypeVar("Payload")

#: Lines that swapped places on the way are set right within this time.
WINDOW_NS = NS_PER_S
#: A sender silent for longer than this may have restarted, and lines that jump further need others to agree: the
#: longest loss in the public recordings is 0.6 s.
_JUMP_NS = 5 * NS_PER_S
#: So many consecutive lines must agree on a jump of the time before it is believed: one may be garbage, two doubled.
_AGREE = 3
#: Lines that agree lie within this time of each other.
_AGREE_NS = 60 * NS_PER_S
#: Doubles are looked for among so many lines, 13 s of batches or 4 s of bodies: longer than any line waits.
_REMEMBERED = 64


@dataclass(frozen=True, slots=True, eq=False)
class Line(Generic[Payload]):
    """One line of one sender: when, by its own clock (ns UTC), where in the file, what makes it a double."""

    t_ns: int
    number: int
    key: Hashable
    payload: Payload


class Sequence(Generic[Payload]):
    """One sender's lines in order of time, each once.

    Lines swapped within a second are put in order. A line more than five seconds ahead, or older than what has been
    handed on, waits until three in a row agree: then a jump ahead is a loss, a step back of the clock moves all later
    lines so that time goes on (with a Gap). Without such company it is a stray and becomes a Gap.
    """

    def __init__(self, source: str, file: str) -> None:
        self.doubled = 0
        self._source, self._file = source, file
        self._newest: int | None = None
        self._handed: int | None = None
        self._shift = 0
        self._waiting: list[tuple[int, int, Line[Payload]]] = []
        self._doubtful: list[Line[Payload]] = []
        # Strays from before the first believed time wait for one, or their Gaps would lie in 1970.
        self._early: list[Line[Payload]] = []
        self._keys: deque[Hashable] = deque(maxlen=_REMEMBERED)

    def push(self, line: Line[Payload]) -> list[Line[Payload] | Gap]:
        """Take one line as it comes; give what is now certain to be in order."""
        if line.key in self._keys:
            self.doubled += 1
            return []
        self._keys.append(line.key)
        told: list[Line[Payload] | Gap] = []
        if self._shift and self._newest is not None and -WINDOW_NS <= line.t_ns - self._newest <= _JUMP_NS:
            told.append(self._gap(self._newest, "the clock was set right again"))
            self._shift = 0
        if self._expects(line.t_ns + self._shift):
            told += self._strays()
            self._accept(line)
        else:
            told += self._doubt(line)
        return told + self._ready()

    def flush(self) -> list[Line[Payload] | Gap]:
        """The rest, when the file is at its end."""
        told: list[Line[Payload] | Gap] = []
        if self._newest is None:
            for line in self._doubtful:
                self._accept(line)
            self._doubtful = []
        told += self._strays()
        return told + self._ready(everything=True)

    def _expects(self, t_ns: int) -> bool:
        if self._newest is None:
            return False
        return (self._handed is None or t_ns >= self._handed) and t_ns <= self._newest + _JUMP_NS

    def _accept(self, line: Line[Payload]) -> None:
        t_ns = line.t_ns + self._shift
        self._newest = t_ns if self._newest is None else max(self._newest, t_ns)
        heappush(self._waiting, (t_ns, line.number, line))

    def _doubt(self, line: Line[Payload]) -> list[Line[Payload] | Gap]:
        told: list[Line[Payload] | Gap] = []
        if self._doubtful and not -WINDOW_NS <= line.t_ns - self._doubtful[-1].t_ns <= _AGREE_NS:
            told += self._strays()
        self._doubtful.append(line)
        if len(self._doubtful) < _AGREE:
            return told
        believed, self._doubtful = sorted(self._doubtful, key=lambda other: other.t_ns), []
        first_ns = believed[0].t_ns
        if self._newest is None:
            # Good lines that a stray had parted from their company.
            believed += [early for early in self._early if abs(early.t_ns - first_ns) <= _JUMP_NS]
            self._early = [early for early in self._early if abs(early.t_ns - first_ns) > _JUMP_NS]
        elif not self._expects(first_ns + self._shift):
            if first_ns + self._shift < self._newest:
                back_ns = self._newest - first_ns - self._shift
                told.append(self._gap(self._newest, f"the clock stepped back by {back_ns / NS_PER_S:.3f} s"))
                self._shift = self._newest + min(believed[1].t_ns - first_ns, WINDOW_NS) - first_ns
            else:
                told += self._ready(everything=True)
        for other in believed:
            self._accept(other)
        return told + self._strays()

    def _strays(self) -> list[Line[Payload] | Gap]:
        if self._newest is None:
            self._early += self._doubtful
            self._doubtful = []
            return []
        strays, at_ns = [*self._early, *self._doubtful], self._newest
        self._early, self._doubtful = [], []
        return [self._gap(at_ns, f"line {line.number} has a time that fits no other; left out") for line in strays]

    def _gap(self, at_ns: int, reason: str) -> Gap:
        return Gap(self._source, at_ns, at_ns, f"{self._file}: {reason}")

    def _ready(self, everything: bool = False) -> list[Line[Payload] | Gap]:
        ready: list[Line[Payload] | Gap] = []
        while self._waiting and (everything or self._waiting[0][0] + WINDOW_NS <= (self._newest or 0)):
            t_ns, _, line = heappop(self._waiting)
            self._handed = t_ns
            ready.append(replace(line, t_ns=t_ns))
        return ready


@dataclass(frozen=True, slots=True, eq=False)
class Timed(Generic[Payload]):
    """A batch whose first sample was taken at ``t0_ns``; ``end_ns`` is when the sample after its last is due."""

    t0_ns: int
    end_ns: int
    payload: Payload


class SampleClock(Generic[Payload]):
    """The regular clock behind batches that were each sent some time after their last sample.

    A batch of duration d ends d after the one before it, and is never sent before its end. So the lower envelope of
    the sending times, over the second to come and what came before, is the sample clock plus the shortest way. It is
    followed by a tenth of a sample a batch at most, ahead of any crystal (0.8 % against 0.01 %), so samples of
    consecutive batches neither overlap nor leave a gap; a loss moves the clock by whole batches and is a Gap.
    Sending times scatter by 2.5 ms (standard deviation) in the public recordings, latest by 15 ms.
    """

    #: Batches over which the clock may be found slow: 10 s of them, time enough for one that came without delay.
    _BLOCK = 50
    #: Share of a sample by which one batch may move the clock.
    _SLEW = 0.1

    def __init__(self, source: str) -> None:
        self._source = source
        self._ahead: deque[tuple[int, int, float, Payload]] = deque()
        self._ahead_ns = 0
        self._end: int | None = None
        self._shift = 0
        self._floor: int | None = None
        self._count = 0

    def push(self, sent_ns: int, samples: int, rate_hz: float, payload: Payload) -> list[Timed[Payload] | Gap]:
        """Take one batch in order of sending; give those whose time is now certain, and the Gaps between them."""
        duration_ns = round(samples * NS_PER_S / rate_hz)
        self._ahead.append((sent_ns, duration_ns, rate_hz, payload))
        self._ahead_ns += duration_ns
        told: list[Timed[Payload] | Gap] = []
        while self._ahead_ns - self._ahead[0][1] >= WINDOW_NS:
            told += self._settle()
        return told

    def flush(self) -> list[Timed[Payload] | Gap]:
        """The rest, when the file is at its end."""
        told: list[Timed[Payload] | Gap] = []
        while self._ahead:
            told += self._settle()
        return told

    def _settle(self) -> list[Timed[Payload] | Gap]:
        latest_ns = self._latest_end()
        _, duration_ns, rate_hz, payload = self._ahead.popleft()
        self._ahead_ns -= duration_ns
        told: list[Timed[Payload] | Gap] = []
        if self._end is None:
            self._end = latest_ns
        else:
            told += self._advance(latest_ns + self._shift, duration_ns, rate_hz)
        return [*told, Timed(self._end - duration_ns, self._end, payload)]

    def _latest_end(self) -> int:
        """The latest time at which the first batch can have ended, by its own sending and those to come."""
        latest_ns, after_ns = self._ahead[0][0], 0
        for sent_ns, duration_ns, _, _ in list(self._ahead)[1:]:
            after_ns += duration_ns
            latest_ns = min(latest_ns, sent_ns - after_ns)
        return latest_ns

    def _advance(self, latest_ns: int, duration_ns: int, rate_hz: float) -> list[Gap]:
        before_ns = self._end or 0
        late_ns = latest_ns - before_ns - duration_ns
        lost = round(late_ns / duration_ns)
        self._end = before_ns + duration_ns
        if lost > 0:
            gap_ns = lost * duration_ns if lost * duration_ns <= _JUMP_NS else late_ns
            self._end += gap_ns
            reason = f"{lost} batch{'es' if lost > 1 else ''} lost"
            self._follow(late_ns - gap_ns, rate_hz)
            return [Gap(self._source, before_ns, before_ns + gap_ns, reason)]
        if 2 * late_ns < -duration_ns:
            self._shift -= late_ns
            reason = f"the clock stepped back by {-late_ns / NS_PER_S:.3f} s"
            return [Gap(self._source, before_ns, before_ns, reason)]
        self._follow(late_ns, rate_hz)
        return []

    def _follow(self, late_ns: int, rate_hz: float) -> None:
        """Move the clock: back at once where a batch was sent before its end, forth when none came on time."""
        assert self._end is not None
        limit_ns = round(self._SLEW * NS_PER_S / rate_hz)
        self._floor = late_ns if self._floor is None else min(self._floor, late_ns)
        self._count += 1
        if self._floor >= 0 and self._count < self._BLOCK:
            return
        self._end += max(-limit_ns, min(limit_ns, self._floor))
        self._floor, self._count = None, 0
