"""Time comes in as an argument: integer nanoseconds UTC. Only wiring code names a real clock."""

import time
from typing import Protocol

NS_PER_S = 1_000_000_000


def to_ns(seconds: float) -> int:
    """Seconds since the epoch as integer nanoseconds, rounded to the microsecond that a float can carry."""
    return round(seconds * 1_000_000) * 1_000


def to_s(t_ns: int) -> float:
    """Nanoseconds as float seconds, for differences and display; never for ordering."""
    return t_ns / NS_PER_S


class Clock(Protocol):
    """Where "now" comes from."""

    def now_ns(self) -> int:
        """Nanoseconds UTC since the epoch."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ns(self) -> int:
        """Nanoseconds UTC since the epoch."""
        return time.time_ns()


class ManualClock:
    """A clock that stands still until it is told to move; recordings and tests run on it."""

    def __init__(self, t_ns: int = 0) -> None:
        self._t_ns = t_ns

    def now_ns(self) -> int:
        """The time it was last set to."""
        return self._t_ns

    def advance_to(self, t_ns: int) -> None:
        """Move forward to ``t_ns``; a time in the past is ignored, this clock never runs backwards."""
        self._t_ns = max(self._t_ns, t_ns)
