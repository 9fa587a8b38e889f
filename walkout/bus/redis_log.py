"""The event log over Redis Streams: durable, shared by processes, trimmed by the topic table.

Any server that speaks the Redis 7 protocol will do (Redis, Valkey). One stream per topic, one consumer group per
reading part, one field per entry: the protobuf payload. Delivery is at least once; consumers tell repeats by id.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from walkout.bus.codec import decode, encode
from walkout.bus.topics import TOPICS, Entry, Record, topic_of
from walkout.domain.sensing import Gap
from walkout.errors import CodecError, LogError

#: One blocking read ends after this long, so that a dead connection is noticed; ``read`` then starts another.
_BLOCK_S = 2.0
#: A server that holds an answer back longer than this, blocking aside, counts as lost.
_ANSWER_S = 10.0
#: Waits between attempts double from the first to the last of these.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 1.0
_PAGE = 512
_FIELD = b"r"

_Answer = TypeVar("_Answer")
_Rows = list[tuple[bytes, dict[bytes, bytes] | None]]


class RedisLog:
    """The log at ``url`` (``redis://``, ``rediss://``, ``unix://``); ``namespace`` keeps stores and tests apart.

    A lost connection is retried with growing waits that add up to ``retry_s``, then ``LogError`` is raised; a
    refusal that waiting cannot mend raises it at once. An append whose answer got lost is sent again and may then
    stand twice in the log. Safe to share between threads, not across ``fork``.
    """

    def __init__(
        self, url: str, namespace: str, retry_s: float = 30.0, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._url, self._namespace, self._retry_s, self._sleep = url, namespace, retry_s, sleep
        self._client = _connect(url)
        self._keys = {topic: _key(namespace, topic) for topic in TOPICS}
        self._joined: set[tuple[str, str]] = set()
        # A reader is in doubt from asking until the answer is here: what the server then counts as delivered
        # beyond the last id that arrived never reached us, and is asked for again.
        self._in_doubt: set[tuple[str, str]] = set()
        self._arrived: dict[tuple[str, str, str], bytes] = {}

    def append(self, record: Record) -> str:
        """Write ``record`` to its topic and return the entry's id. ``CodecError`` for what cannot be written."""
        payload, topic = encode(record), topic_of(record)
        key, limit = self._keys[topic], TOPICS[topic].max_entries
        entry_id: bytes = self._ask(lambda: self._client.xadd(key, {_FIELD: payload}, maxlen=limit))
        return entry_id.decode()

    def read(
        self, group: str, consumer: str, topics: Sequence[str], max_count: int = 256, block_s: float = 0.0
    ) -> list[Entry]:
        """New entries for ``group``, at most ``max_count`` per topic, by one atomic XREADGROUP over all topics."""
        while True:
            wait_s = max(0.0, min(block_s, _BLOCK_S))
            found = self._ask(partial(self._read_once, group, consumer, topics, max_count, wait_s))
            block_s -= _BLOCK_S
            if found or block_s <= 0.0:
                return found

    def claim(self, group: str, consumer: str, topics: Sequence[str], min_idle_s: float = 0.0) -> list[Entry]:
        """Take over what others of ``group`` left for ``min_idle_s``; return it with all own unfinished entries."""
        found: list[Entry] = []
        for topic in topics:
            found += self._ask(partial(self._take_over, group, consumer, topic, round(min_idle_s * 1000)))
            found += self._unfinished(group, consumer, topic)
        return found

    def ack(self, group: str, entries: Iterable[Entry]) -> None:
        """Mark ``entries`` as done for ``group``; once more does no harm."""
        by_topic: dict[str, list[str]] = {}
        for entry in entries:
            by_topic.setdefault(entry.topic, []).append(entry.entry_id)
        for topic, ids in by_topic.items():
            for start in range(0, len(ids), _PAGE):
                page = ids[start : start + _PAGE]
                self._ask(partial(self._client.xack, self._keys[topic], group, *page))

    def scan(self, topic: str) -> Iterator[Entry]:
        """Everything of ``topic`` still retained, oldest first; takes no part in any group."""
        start = "-"
        while True:
            rows: _Rows = self._ask(partial(self._client.xrange, self._keys[topic], min=start, count=_PAGE))
            yield from _entries(topic, rows)
            if len(rows) < _PAGE:
                return
            start = "(" + rows[-1][0].decode()

    def close(self) -> None:
        """Drop the connections; the log itself stays."""
        self._client.close()

    def _read_once(
        self, group: str, consumer: str, topics: Sequence[str], max_count: int, wait_s: float
    ) -> list[Entry]:
        self._join(group, topics)
        if (group, consumer) in self._in_doubt:
            after = {topic: self._arrived.get((group, consumer, topic), b"0") for topic in topics}
            found = self._read_group(group, consumer, after, max_count, None)
            if found:
                return found
        self._in_doubt.add((group, consumer))
        fresh = dict.fromkeys(topics, b">")
        found = self._read_group(group, consumer, fresh, max_count, round(wait_s * 1000) or None)
        self._in_doubt.discard((group, consumer))
        return found

    def _read_group(
        self, group: str, consumer: str, after: dict[str, bytes], max_count: int, block_ms: int | None
    ) -> list[Entry]:
        streams: dict[Any, Any] = {self._keys[topic]: start for topic, start in after.items()}
        answer = self._client.xreadgroup(group, consumer, streams, count=max_count, block=block_ms)
        found: list[Entry] = []
        for key, rows in answer or []:
            topic = key.decode().rpartition(":")[2]
            if rows:
                self._arrived[group, consumer, topic] = rows[-1][0]
            found += _entries(topic, rows)
        return found

    def _take_over(self, group: str, consumer: str, topic: str, idle_ms: int) -> list[Entry]:
        """Make idle entries our own; returns only those that were trimmed meanwhile, as gaps."""
        self._join(group, (topic,))
        key, start, trimmed = self._keys[topic], b"0-0", []
        while True:
            start, _taken, gone = self._client.xautoclaim(key, group, consumer, idle_ms, start, count=_PAGE)
            trimmed += gone
            if start == b"0-0":
                return list(_entries(topic, [(entry_id, None) for entry_id in trimmed]))

    def _unfinished(self, group: str, consumer: str, topic: str) -> list[Entry]:
        """All own entries of ``topic`` that were delivered and not acknowledged, oldest first."""
        found: list[Entry] = []
        after: Any = b"0"
        while True:
            streams = {self._keys[topic]: after}
            answer = self._ask(partial(self._client.xreadgroup, group, consumer, streams, count=_PAGE))
            rows = answer[0][1] if answer else []
            if not rows:
                return found
            found += _entries(topic, rows)
            after = rows[-1][0]

    def _join(self, group: str, topics: Sequence[str]) -> None:
        """Create the group where it is missing, at the oldest entry still retained."""
        for topic in topics:
            if (group, topic) in self._joined:
                continue
            try:
                self._client.xgroup_create(self._keys[topic], group, id="0", mkstream=True)
            except redis.ResponseError as problem:
                if not str(problem).startswith("BUSYGROUP"):
                    raise
            self._joined.add((group, topic))

    def _ask(self, command: Callable[[], _Answer]) -> _Answer:
        """Run ``command`` until it is answered; every command here may run twice."""
        waits = _waits(self._retry_s)
        while True:
            try:
                return command()
            except redis.AuthenticationError as problem:
                raise self._error(problem, "check user and password in the URL") from problem
            except (redis.ConnectionError, redis.TimeoutError) as problem:
                wait_s = next(waits, None)
                if wait_s is None:
                    raise self._error(problem, f"tried for {self._retry_s:g} s; is the server running?") from problem
                self._sleep(wait_s)
            except redis.ResponseError as problem:
                # The server lost its data or the namespace was dropped: join anew, once per joining.
                if not str(problem).startswith("NOGROUP") or not self._joined:
                    raise self._error(problem, "see the server's log") from problem
                self._joined.clear()

    def _error(self, problem: Exception, remedy: str) -> LogError:
        return LogError(f"event log at {_without_password(self._url)}: {problem}; {remedy}")


def drop_namespace(url: str, namespace: str) -> None:
    """Delete every stream and group of ``namespace``; raises ``LogError`` where the server cannot be reached."""
    client = _connect(url)
    try:
        client.unlink(*(_key(namespace, topic) for topic in TOPICS))
    except redis.RedisError as problem:
        raise LogError(f"event log at {_without_password(url)}: {problem}; is the server running?") from problem
    finally:
        client.close()


def _connect(url: str) -> Any:
    """A client that fails fast; waiting and trying again is ours to decide, per command.

    ``Any``, because redis-py types every answer as the union over two protocols; ours is version 2, in bytes.
    """
    try:
        return redis.Redis.from_url(url, protocol=2, socket_timeout=_ANSWER_S, retry=Retry(NoBackoff(), 0))
    except ValueError as problem:
        raise LogError(
            f"event log at {_without_password(url)}: {problem}; write redis://HOST:PORT/0 or unix:///PATH"
        ) from problem


def _key(namespace: str, topic: str) -> str:
    """The stream's key. The braces keep all topics of a namespace on one node of a cluster."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", namespace):
        raise LogError(f"namespace {namespace!r} of the event log: use letters, digits, dot, dash and underscore")
    return f"walkout:{{{namespace}}}:{topic}"


def _waits(total_s: float) -> Iterator[float]:
    wait_s = _FIRST_WAIT_S
    while total_s > 0.0:
        yield min(wait_s, total_s)
        total_s -= wait_s
        wait_s = min(2.0 * wait_s, _LONGEST_WAIT_S)


def _entries(topic: str, rows: _Rows) -> Iterator[Entry]:
    for entry_id, fields in rows:
        yield Entry(topic, entry_id.decode(), _record(topic, entry_id, fields))


def _record(topic: str, entry_id: bytes, fields: dict[bytes, bytes] | None) -> Record:
    """The record, or the gap it left; its time is then that of its arrival, which the server put in the id."""
    if not fields:
        reason = f"entry {entry_id.decode()} was trimmed before it was read to the end"
    else:
        try:
            return decode(fields.get(_FIELD, b""))
        except CodecError as problem:
            reason = f"entry {entry_id.decode()} cannot be read: {problem}"
    arrived_ns = int(entry_id.partition(b"-")[0]) * 1_000_000
    return Gap(f"log/{topic}", arrived_ns, arrived_ns, reason)


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
