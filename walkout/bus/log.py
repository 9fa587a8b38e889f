"""The event log: what happened, in order, delivered at least once to every group of readers.

``RedisLog`` is the one a store runs on; ``MemoryLog`` lives in one process and forgets, for tests and replays.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from walkout.bus.codec import decode, encode
from walkout.bus.private_server import private_server
from walkout.bus.redis_log import RedisLog, drop_namespace
from walkout.bus.topics import TOPICS, Entry, Record, topic_of
from walkout.domain.sensing import Gap

__all__ = ["LOGS", "Entry", "EventLog", "MemoryLog", "RedisLog", "drop_namespace", "private_server"]


class EventLog(Protocol):
    """An append-only log with one stream per topic (``walkout/bus/topics.py``).

    A *group* is one reading part of the system and gets every entry once; its *consumers* share the entries among
    them. An entry is *pending* from its delivery until it is acknowledged, also across restarts. A group that
    reads a topic for the first time starts at the oldest entry retained.
    """

    def append(self, record: Record) -> str:
        """Write ``record`` to the topic of its type; returns the entry's id, which grows within the topic.

        Raises ``CodecError`` for a record that breaks its contract, ``LogError`` where the log stays away.
        """
        ...

    def read(
        self, group: str, consumer: str, topics: Sequence[str], max_count: int = 256, block_s: float = 0.0
    ) -> list[Entry]:
        """New entries for ``group``: topic by topic in the order asked for, oldest first, up to ``max_count`` each.

        All topics are read at one instant. So, after some entry has been read, reading until nothing comes back
        has returned everything that was appended before it. Waits up to ``block_s`` for a first entry.
        What was trimmed before the group came to it is passed over without a word: a writer that runs ahead of
        its readers by more than a topic's retention has to wait for them.
        """
        ...

    def claim(self, group: str, consumer: str, topics: Sequence[str], min_idle_s: float = 0.0) -> list[Entry]:
        """Everything pending of ``consumer``, and what other consumers left lying for ``min_idle_s`` as its own.

        Topic by topic, oldest first. With the default it also takes from consumers that are alive.
        """
        ...

    def ack(self, group: str, entries: Iterable[Entry]) -> None:
        """``group`` is done with ``entries``; they are never delivered to it again."""
        ...

    def scan(self, topic: str) -> Iterator[Entry]:
        """Everything of ``topic`` still retained, oldest first, read or not."""
        ...


class _Group:
    """How far one group has read one topic: entries before ``next`` are delivered, those in ``pending`` not done."""

    def __init__(self) -> None:
        self.next = 0
        self.pending: dict[int, tuple[str, float]] = {}


class MemoryLog:
    """The log in one process; safe between threads. Payloads are encoded as everywhere, so they are checked too.

    ``now_s`` tells idle time (any steady clock in seconds).
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._changed = threading.Condition()
        self._payloads: dict[str, list[bytes | None]] = {topic: [] for topic in TOPICS}
        self._groups: dict[tuple[str, str], _Group] = {}

    def append(self, record: Record) -> str:
        """As ``EventLog``; keeps exactly as many entries as the topic table says."""
        payload, topic = encode(record), topic_of(record)
        with self._changed:
            payloads = self._payloads[topic]
            payloads.append(payload)
            surplus = len(payloads) - TOPICS[topic].max_entries
            if surplus > 0:
                payloads[surplus - 1] = None
            self._changed.notify_all()
            return _id(len(payloads) - 1)

    def read(
        self, group: str, consumer: str, topics: Sequence[str], max_count: int = 256, block_s: float = 0.0
    ) -> list[Entry]:
        """As ``EventLog``."""
        with self._changed:
            self._changed.wait_for(lambda: any(self._behind(group, topic) for topic in topics), block_s)
            found: list[Entry] = []
            for topic in topics:
                found += self._deliver(self._group(group, topic), consumer, topic, max_count)
            return found

    def claim(self, group: str, consumer: str, topics: Sequence[str], min_idle_s: float = 0.0) -> list[Entry]:
        """As ``EventLog``."""
        found: list[Entry] = []
        with self._changed:
            now_s = self._now_s()
            for topic in topics:
                pending = self._group(group, topic).pending
                for index, (owner, since_s) in sorted(pending.items()):
                    if owner == consumer or now_s - since_s >= min_idle_s:
                        pending[index] = (consumer, now_s)
                        found.append(self._entry(topic, index))
        return found

    def ack(self, group: str, entries: Iterable[Entry]) -> None:
        """As ``EventLog``."""
        with self._changed:
            for entry in entries:
                self._group(group, entry.topic).pending.pop(_index(entry.entry_id), None)

    def scan(self, topic: str) -> Iterator[Entry]:
        """As ``EventLog``; what is appended while scanning is not met."""
        with self._changed:
            end = len(self._payloads[topic])
        for index in range(self._oldest(topic), end):
            if self._payloads[topic][index] is not None:
                yield self._entry(topic, index)

    def _group(self, group: str, topic: str) -> _Group:
        return self._groups.setdefault((group, topic), _Group())

    def _oldest(self, topic: str) -> int:
        return max(0, len(self._payloads[topic]) - TOPICS[topic].max_entries)

    def _behind(self, group: str, topic: str) -> bool:
        return self._group(group, topic).next < len(self._payloads[topic])

    def _deliver(self, state: _Group, consumer: str, topic: str, max_count: int) -> list[Entry]:
        start = max(state.next, self._oldest(topic))
        state.next = min(start + max_count, len(self._payloads[topic]))
        now_s = self._now_s()
        state.pending.update((index, (consumer, now_s)) for index in range(start, state.next))
        return [self._entry(topic, index) for index in range(start, state.next)]

    def _entry(self, topic: str, index: int) -> Entry:
        payload = self._payloads[topic][index]
        if payload is None:
            gap = Gap(f"log/{topic}", 0, 0, f"entry {_id(index)} was trimmed before it was read to the end")
            return Entry(topic, _id(index), gap)
        return Entry(topic, _id(index), decode(payload))


def _id(index: int) -> str:
    """Ids look like those of a stream: the number of the entry, counted from one."""
    return f"{index + 1}-0"


def _index(entry_id: str) -> int:
    return int(entry_id.partition("-")[0]) - 1


LOGS: dict[str, Callable[..., EventLog]] = {"memory": MemoryLog, "redis": RedisLog}
"""Every implementation by name; the contract test runs over this table."""
