"""The one table of topics: which records each carries, how many are expected, how long they are kept."""

import math
from dataclasses import dataclass

from walkout.domain.sensing import BodyFrame, Gap, GateEvent, LoadCellBatch, Watermark, WeightEvent
from walkout.domain.shopping import Assignment, BasketEvent, Undecided, VisitClosed

Record = (
    LoadCellBatch
    | BodyFrame
    | WeightEvent
    | GateEvent
    | Gap
    | Watermark
    | BasketEvent
    | VisitClosed
    | Assignment
    | Undecided
)
"""Everything that the log carries."""

MINUTE_S = 60.0
HOUR_S = 60.0 * MINUTE_S
DAY_S = 24.0 * HOUR_S


@dataclass(frozen=True, slots=True)
class Topic:
    """One stream of records.

    ``rate_hz`` is the highest sustained rate expected of one store, ``retention_s`` how long an entry must
    stay readable at that rate; together they bound the stream. ``recorded`` topics are what a recording folder
    holds: what was sensed. The rest is computed from them again at every replay.
    """

    name: str
    records: tuple[type, ...]
    rate_hz: float
    retention_s: float
    recorded: bool

    @property
    def max_entries(self) -> int:
        """How many entries the log keeps at least; older ones may be trimmed."""
        return math.ceil(self.rate_hz * self.retention_s)


# Rates: the public nanostore recording has 4 controllers of 60 Hz in batches of 12 samples (20 batches a
# second) and about 15 body frames a second; events are bounded by ten shoppers each moving something every two
# seconds. Retention: raw readings only bridge a restart of their reader. Bodies must outlive the longest visit,
# because a restarted fusion worker reads open visits again: two hours. What leads to money survives a long
# weekend.
# The order of this table breaks ties between records of the same time: who is inside comes first.
TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic("gate_events", (GateEvent,), 0.2, 4 * DAY_S, recorded=True),
        Topic("observations", (BodyFrame,), 15.0, 2 * HOUR_S, recorded=True),
        Topic("plate_batches", (LoadCellBatch,), 20.0, 10 * MINUTE_S, recorded=True),
        Topic("gaps", (Gap,), 0.2, DAY_S, recorded=True),
        Topic("weight_events", (WeightEvent,), 5.0, 2 * HOUR_S, recorded=False),
        Topic("watermarks", (Watermark,), 20.0, 10 * MINUTE_S, recorded=False),
        Topic("decisions", (Assignment, Undecided), 5.0, 2 * HOUR_S, recorded=False),
        Topic("basket_events", (BasketEvent,), 1.0, 4 * DAY_S, recorded=False),
        Topic("visits", (VisitClosed,), 0.1, 4 * DAY_S, recorded=False),
    )
}

_TOPIC_OF: dict[type, str] = {kind: topic.name for topic in TOPICS.values() for kind in topic.records}


@dataclass(frozen=True, slots=True)
class Entry:
    """One record as the log delivered it. Ids grow within a topic; they say nothing across topics.

    A payload that cannot be read, and a delivered entry that was trimmed before it was acknowledged, arrive as
    a ``Gap`` with source ``log/<topic>``.
    """

    topic: str
    entry_id: str
    record: Record


def topic_of(record: Record) -> str:
    """The name of the topic that carries ``record``; ``KeyError`` for what is no record."""
    return _TOPIC_OF[type(record)]


def event_time_ns(record: LoadCellBatch | BodyFrame | GateEvent | Gap) -> int:
    """When a recorded record begins, nanoseconds UTC: first sample, instant of the frame, start of the gap.

    The beginning, so that whoever has read up to ``t`` has met everything that began before ``t``.
    """
    match record:
        case LoadCellBatch():
            return record.t0_ns
        case Gap():
            return record.start_ns
        case BodyFrame() | GateEvent():
            return record.t_ns
