"""A recording folder: what was sensed, to be replayed with the same result as often as one likes.

::

    recording.toml              format version, name, source, times, how many records of each topic; written last
    records/<topic>.frames      one file per recorded topic, in the order of arrival
    store/, truth.json          may lie beside; written and read by others

Frames are those of ``bus/frames.py``. ``recording.toml`` appears by one rename after
everything else is on disk: a folder without it is no recording, however its writer ended.
"""

import fcntl
import json
import mmap
import os
import shutil
import tomllib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from walkout.bus.codec import decode, encode
from walkout.bus.frames import HEAD_SIZE, frame, frames
from walkout.bus.topics import TOPICS, Record, event_time_ns, topic_of
from walkout.domain.sensing import BodyFrame, Gap, GateEvent, LoadCellBatch
from walkout.errors import CodecError, RecordingError

FORMAT_VERSION = 1
_META, _RECORDS, _PARTIAL = "recording.toml", "records", "records.partial"

Sensed = LoadCellBatch | BodyFrame | GateEvent | Gap
"""What a recording holds; everything else is computed from it again."""


@dataclass(frozen=True, slots=True)
class RecordingMeta:
    """``name`` of the recording, ``source``: what it was made from or by, ``created_ns`` UTC."""

    name: str
    source: str
    created_ns: int


class RecordingWriter:
    """Context manager that writes a recording into the folder ``path``, which may hold other files already.

    Leaving it normally finishes the recording; leaving it by an exception (Ctrl-C too) takes back what was written.
    A killed writer leaves ``records.partial``, which is no recording and which the next writer clears away.
    Raises ``RecordingError`` where ``path`` holds a recording already or another writer is at work there.
    """

    def __init__(self, path: Path, meta: RecordingMeta) -> None:
        self._path, self._meta = path, meta
        self._files: dict[str, BinaryIO] = {}
        self._counts: dict[str, int] = {}
        self._first_ns: int | None = None
        self._last_ns: int | None = None

    def __enter__(self) -> "RecordingWriter":
        self._made_path = not self._path.exists()
        if (self._path / _META).exists():
            raise RecordingError(f"{self._path} holds a recording already; choose another folder or remove it")
        partial = self._path / _PARTIAL
        partial.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            os.close(self._lock)
            raise RecordingError(f"{self._path} is being written by another command; wait for it") from problem
        for left_over in partial.iterdir():
            left_over.unlink()
        return self

    def write(self, record: Sensed) -> None:
        """Add one record. ``RecordingError`` for a kind that is never recorded, ``CodecError`` for a broken one."""
        topic = topic_of(record)
        if not TOPICS[topic].recorded:
            raise RecordingError(f"{topic} are computed at every replay and never recorded; leave them out")
        t_ns = event_time_ns(record)
        if topic not in self._files:
            self._files[topic] = (self._path / _PARTIAL / f"{topic}.frames").open("wb")
        self._files[topic].write(frame(t_ns, encode(record)))
        self._counts[topic] = self._counts.get(topic, 0) + 1
        self._first_ns = t_ns if self._first_ns is None else min(t_ns, self._first_ns)
        self._last_ns = t_ns if self._last_ns is None else max(t_ns, self._last_ns)

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._close()

    def _finish(self) -> None:
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        records = self._path / _RECORDS
        if records.exists():  # of a writer that was killed between the two renames
            shutil.rmtree(records)
        (self._path / _PARTIAL).rename(records)
        draft = self._path / f"{_META}.partial"
        with draft.open("w", encoding="utf-8") as text:
            text.write(_meta_text(self._meta, self._first_ns, self._last_ns, self._counts))
            text.flush()
            os.fsync(text.fileno())
        draft.rename(self._path / _META)

    def _close(self) -> None:
        for file in self._files.values():
            file.close()
        if not (self._path / _META).exists():
            shutil.rmtree(self._path / _PARTIAL, ignore_errors=True)
            if self._made_path and not any(self._path.iterdir()):
                self._path.rmdir()
        os.close(self._lock)


@dataclass(frozen=True, slots=True)
class Recording:
    """A finished recording. ``counts``: records by topic; times are None where nothing was recorded."""

    path: Path
    meta: RecordingMeta
    first_ns: int | None
    last_ns: int | None
    counts: dict[str, int]

    def records(self) -> Iterator[Record]:
        """Everything in order of event time; ties in the order of the topic table, then as they arrived.

        Event time is when a record begins. A stretch that cannot be read is yielded as a ``Gap`` with source
        ``recording/<topic>``, in the place of what is missing; it never ends the reading.
        """
        indexes = [_index(self, topic) for topic in TOPICS if topic in self.counts]
        unknown = sorted(set(self.counts) - set(TOPICS))
        for topic in unknown:
            yield _gap(self, topic, self.first_ns, self.last_ns, "this version does not know such records")
        if not indexes:
            return
        times = np.concatenate([index.times for index in indexes])
        owners = np.repeat(np.arange(len(indexes)), [len(index.times) for index in indexes])
        places = np.concatenate([np.arange(len(index.times)) for index in indexes])
        for row in np.lexsort((places, owners, times)):
            yield indexes[owners[row]].record(int(places[row]))


def read_recording(path: Path) -> Recording:
    """Open the recording in the folder ``path``.

    Raises ``RecordingError`` where there is none, where it was never finished, or where it is of a newer format.
    """
    try:
        data = tomllib.loads((path / _META).read_text(encoding="utf-8"))
    except FileNotFoundError as problem:
        unfinished = (path / _PARTIAL).exists() or (path / _RECORDS).exists()
        what = "its writer never finished; make it again" if unfinished else "walkout import makes one"
        raise RecordingError(f"{path} holds no {_META}, so it is no recording: {what}") from problem
    except (OSError, ValueError) as problem:
        raise RecordingError(f"{path / _META} cannot be read: {problem}") from problem
    return _recording(path, data)


def _recording(path: Path, data: dict[str, Any]) -> Recording:
    version = data.get("format_version")
    if not isinstance(version, int) or version < 1:
        raise RecordingError(f"{path / _META}: format_version is {version!r}; a recording of ours says 1 or more")
    if version > FORMAT_VERSION:
        raise RecordingError(
            f"{path} is a recording of format {version}, this version reads up to {FORMAT_VERSION}; update walkout"
        )
    try:
        meta = RecordingMeta(str(data["name"]), str(data["source"]), int(data["created_ns"]))
        counts = {str(topic): int(count) for topic, count in data["counts"].items()}
        times = [None if data.get(key) is None else int(data[key]) for key in ("first_ns", "last_ns")]
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise RecordingError(f"{path / _META}: {problem!r}; restore the file from a copy") from problem
    return Recording(path, meta, times[0], times[1], counts)


class _Index:
    """Where the frames of one topic lie; ``times`` (n,) int64. A negative offset stands for ``gaps[-offset - 1]``."""

    def __init__(self, topic: str, data: bytes | mmap.mmap) -> None:
        self.topic = topic
        self._data = data
        self._times, self._offsets, self._lengths = array("q"), array("q"), array("q")
        self.gaps: list[Gap] = []

    @property
    def times(self) -> "np.ndarray[Any, np.dtype[np.int64]]":
        return np.array(self._times, dtype=np.int64)

    def add(self, t_ns: int, offset: int, length: int) -> None:
        self._times.append(t_ns)
        self._offsets.append(offset)
        self._lengths.append(length)

    def add_gap(self, gap: Gap) -> None:
        self.gaps.append(gap)
        self.add(gap.start_ns, -len(self.gaps), 0)

    def record(self, place: int) -> Record:
        """The record at ``place``, or the gap there; also where the payload is intact but not ours to read."""
        offset, length, t_ns = self._offsets[place], self._lengths[place], self._times[place]
        if offset < 0:
            return self.gaps[-offset - 1]
        try:
            record = decode(self._data[offset : offset + length])
        except CodecError as problem:
            return Gap(f"recording/{self.topic}", t_ns, t_ns, str(problem))
        return record


def _index(recording: Recording, topic: str) -> _Index:
    """Walk over the frames of one topic once; damage becomes gaps between its good neighbours' times."""
    path = recording.path / _RECORDS / f"{topic}.frames"
    data, missing = _bytes_of(path)
    index = _Index(topic, data)
    before: int | None = None
    damage: list[str] = [missing] if missing else []
    good = 0
    for start, end, t_ns in frames(data):
        if t_ns is None:
            damage.append(f"{end - start} bytes at {start} of {path.name} are damaged or cut short")
            continue
        for reason in damage:
            index.add_gap(_gap(recording, topic, before, t_ns, reason))
        damage, before, good = [], t_ns, good + 1
        index.add(t_ns, start + HEAD_SIZE, end - start - HEAD_SIZE)
    lost = recording.counts[topic] - good
    if lost > 0 and not index.gaps and not damage:
        damage.append(f"{path.name} ends early")
    for reason in damage:
        text = f"{reason}; {lost} of {recording.counts[topic]} records are missing"
        index.add_gap(_gap(recording, topic, before, recording.last_ns, text))
    return index


def _gap(recording: Recording, topic: str, start_ns: int | None, end_ns: int | None, reason: str) -> Gap:
    if start_ns is None:
        start_ns = recording.meta.created_ns if recording.first_ns is None else recording.first_ns
    return Gap(f"recording/{topic}", start_ns, max(start_ns, end_ns or start_ns), reason)


def _bytes_of(path: Path) -> tuple[bytes | mmap.mmap, str]:
    """The file's bytes, mapped rather than read, and what is wrong with it as a whole (empty: nothing)."""
    try:
        with path.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                return b"", ""
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), ""
    except OSError as problem:
        return b"", f"{path.name} cannot be read: {problem.strerror}"


def _meta_text(meta: RecordingMeta, first_ns: int | None, last_ns: int | None, counts: dict[str, int]) -> str:
    lines = [
        "# A recording of walkout: docs in walkout/bus/recording.py. Times are nanoseconds UTC.",
        f"format_version = {FORMAT_VERSION}",
        f"name = {_quoted(meta.name)}",
        f"source = {_quoted(meta.source)}",
        f"created_ns = {meta.created_ns}",
    ]
    if first_ns is not None:
        lines += [f"first_ns = {first_ns}", f"last_ns = {last_ns}"]
    lines += ["", "[counts]", *(f"{topic} = {counts[topic]}" for topic in TOPICS if topic in counts)]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's rules, and DEL escaped too (TOML 1.0, section String)."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
