"""What the log has not taken yet, on disk: bounded, in order, whole after a crash.

Everything that the edge has to say goes through here, whether the log is there or not: one path, so the order never
breaks and a killed process leaves its words to its successor. A killed process loses nothing; a power cut what the
kernel still held, about half a minute. Records leave within milliseconds while the log answers, and small segments
are removed as soon as they are empty, so the disk hardly notices.

::

    000000000017.frames    a segment: frames as in a recording (bus/frames.py); the highest number is being written
    cursor                 how far the lowest one has been taken (its number, byte offset)
    lost.json              the stretch that had to go because the spool was full

Where it is full, the oldest segment goes and a ``Gap`` stands in its place. After a crash the last record taken may
come a second time; readers of the log expect that.
"""

import contextlib
import fcntl
import json
import os
import struct
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from walkout.bus.codec import decode, encode
from walkout.bus.frames import HEAD_SIZE, frame, frames
from walkout.bus.topics import event_time_ns
from walkout.domain.sensing import BodyFrame, Gap, Watermark
from walkout.errors import CodecError, WorkerError

Said = BodyFrame | Gap | Watermark
"""What the camera side says to the log."""

LOST_SOURCE = "edge/spool"
_CURSOR, _LOST, _LOCK = "cursor", "lost.json", "lock"
_PLACE = struct.Struct("<QQ")
#: A segment is a sixteenth of the bound, so that little more than needed goes; within these limits.
_SHARES, _LEAST_SEGMENT, _MOST_SEGMENT = 16, 16_384, 1_048_576


@dataclass(frozen=True, slots=True)
class SpoolState:
    """What waits now, and ``lost`` records so far because there was no room; ``message``: the disk's last complaint."""

    records: int
    bytes_on_disk: int
    lost: int
    message: str


@dataclass(slots=True)
class _Segment:
    number: int
    size: int
    records: int
    first_ns: int | None
    last_ns: int | None


@dataclass(slots=True)
class _Lost:
    """What had to go and nobody was told of yet."""

    start_ns: int
    end_ns: int
    records: int

    def gap(self) -> Gap:
        reason = f"the log was away and the spool was full or could not be written: {self.records} records are lost"
        return Gap(LOST_SOURCE, self.start_ns, self.end_ns, reason)


class Spool:
    """A queue on disk in ``folder`` of at most ``most_bytes``; one thread may ``append``, one other may take.

    Raises ``WorkerError`` where another process uses the folder or it cannot be written at all.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder, self._most_bytes = folder, most_bytes
        self._segment_bytes = min(max(most_bytes // _SHARES, _LEAST_SEGMENT), _MOST_SEGMENT)
        self._changed = threading.Condition()
        self._message = ""
        self._lost_ever = 0
        self._taken: tuple[int, int] | _Lost | None = None
        self._ahead: deque[tuple[int, bytes | None]] = deque()  # of the oldest segment: end, payload or damage
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _locked(folder / _LOCK)
            self._cursor_file = os.open(folder / _CURSOR, os.O_RDWR | os.O_CREAT, 0o600)
            self._lost = _read_lost(folder / _LOST)
            self._segments, self._offset = self._take_stock()
            self._file = self._open_segment(self._segments[-1].number)
        except OSError as error:
            raise WorkerError(f"{folder}: no spool can be kept here ({error.strerror}); name another folder") from None

    def append(self, record: Said) -> None:
        """Keep ``record`` until it is taken. Raises ``CodecError`` for one that breaks its contract."""
        t_ns = record.t_ns if isinstance(record, Watermark) else event_time_ns(record)
        data = frame(t_ns, encode(record))
        with self._changed:
            while self._bytes() + len(data) > self._most_bytes and self._drop_oldest():
                pass
            if self._write(data) or (self._drop_oldest() and self._write(data)):
                last = self._segments[-1]
                last.first_ns = t_ns if last.first_ns is None else min(t_ns, last.first_ns)
                last.last_ns = t_ns if last.last_ns is None else max(t_ns, last.last_ns)
                last.records += 1
                if last.size >= self._segment_bytes:
                    self._start_segment()
            else:
                self._lose(t_ns, t_ns, 1)
            self._changed.notify_all()

    def take(self, timeout_s: float) -> Said | None:
        """The oldest record that is not done, waiting for one; the same again until ``done`` is called."""
        with self._changed:
            self._changed.wait_for(self._waits, timeout_s)
            if self._lost is not None:
                self._taken = _Lost(self._lost.start_ns, self._lost.end_ns, self._lost.records)
                return self._taken.gap()
            return self._next()

    def done(self) -> None:
        """The record that ``take`` gave is in the log."""
        with self._changed:
            taken, self._taken = self._taken, None
            if isinstance(taken, _Lost):
                if self._lost == taken:  # else more was lost meanwhile: it will be told once more, longer
                    self._lost = None
                    (self._folder / _LOST).unlink(missing_ok=True)
            elif taken is not None and self._segments[0].number == taken[0]:
                self._segments[0].records -= 1
                self._advance(taken[1])

    def state(self) -> SpoolState:
        """How much waits."""
        with self._changed:
            records = sum(segment.records for segment in self._segments)
            return SpoolState(records, self._bytes(), self._lost_ever, self._message)

    def close(self) -> None:
        """Let go of the folder; what waits stays for the next process."""
        with self._changed:
            with contextlib.suppress(OSError):
                os.fsync(self._file)
            for descriptor in (self._file, self._cursor_file, self._lock):
                os.close(descriptor)

    # -- writing ---------------------------------------------------------------------------------------------------

    def _write(self, data: bytes) -> bool:
        """Add to the newest segment, whole or not at all; False where the disk refuses."""
        size = self._segments[-1].size
        try:
            if os.pwrite(self._file, data, size) != len(data):
                raise OSError(0, "no space left for a whole record")
        except OSError as error:
            self._message = f"{self._folder}: {error.strerror}"
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, size)
            return False
        self._segments[-1].size = size + len(data)
        self._message = ""
        return True

    def _start_segment(self) -> None:
        """Close the newest segment and begin another; where the disk refuses, the newest just goes on growing."""
        number = self._segments[-1].number + 1
        try:
            os.fsync(self._file)
            file = self._open_segment(number)
        except OSError as error:
            self._message = f"{self._folder}: {error.strerror}"
            return
        os.close(self._file)
        self._file = file
        self._segments.append(_Segment(number, 0, 0, None, None))
        self._advance(self._offset)

    def _open_segment(self, number: int) -> int:
        return os.open(self._path(number), os.O_RDWR | os.O_CREAT, 0o600)

    def _drop_oldest(self) -> bool:
        """Let the oldest segment go and remember what was in it; False where nothing is left to go."""
        if not self._segments[0].size:
            return False
        number = self._segments[0].number
        if len(self._segments) == 1:
            self._start_segment()
        if self._segments[0].number != number:  # all of it had been taken
            return True
        if len(self._segments) == 1:
            return False
        oldest = self._segments.pop(0)
        self._offset = 0
        self._ahead.clear()
        self._path(oldest.number).unlink(missing_ok=True)
        if oldest.records and oldest.first_ns is not None and oldest.last_ns is not None:
            self._lose(oldest.first_ns, oldest.last_ns, oldest.records)
        self._note_cursor()
        return True

    def _lose(self, start_ns: int, end_ns: int, records: int) -> None:
        self._lost_ever += records
        lost = self._lost
        if lost is None:
            lost = _Lost(start_ns, end_ns, 0)
        self._lost = _Lost(min(lost.start_ns, start_ns), max(lost.end_ns, end_ns), lost.records + records)
        told = {"start_ns": self._lost.start_ns, "end_ns": self._lost.end_ns, "records": self._lost.records}
        draft = self._folder / f"{_LOST}.part"
        with contextlib.suppress(OSError):  # a disk that is full; it is still told, unless we are killed too
            draft.write_text(json.dumps(told), encoding="ascii")
            draft.replace(self._folder / _LOST)

    # -- reading ---------------------------------------------------------------------------------------------------

    def _waits(self) -> bool:
        return self._lost is not None or self._offset < self._segments[0].size or len(self._segments) > 1

    def _next(self) -> Said | None:
        """The record at the cursor, past whatever is damaged; None where nothing waits."""
        while self._offset < self._segments[0].size:
            if not self._ahead:
                self._read_on()
            end, payload = self._ahead[0]
            record = _record(payload)
            if record is not None:
                self._taken = (self._segments[0].number, end)
                return record
            segment = self._segments[0]
            if segment.first_ns is not None and segment.last_ns is not None:
                self._lose(segment.first_ns, segment.last_ns, 1)
            self._advance(end)
        return None

    def _read_on(self) -> None:
        """Look at what of the oldest segment lies between cursor and end; what cannot be read counts as damaged."""
        segment, begin = self._segments[0], self._offset
        try:
            with self._path(segment.number).open("rb") as file:
                file.seek(begin)
                data = file.read(segment.size - begin)
        except OSError as error:
            self._message, data = f"{self._folder}: {error.strerror}", b""
        for start, end, t_ns in frames(data):
            self._ahead.append((begin + end, None if t_ns is None else data[start + HEAD_SIZE : end]))
        if not self._ahead:
            self._ahead.append((segment.size, None))

    def _advance(self, offset: int) -> None:
        """Everything before ``offset`` of the oldest segment is done; it goes when empty, unless it is the newest."""
        self._offset = offset
        while self._ahead and self._ahead[0][0] <= offset:
            self._ahead.popleft()
        while len(self._segments) > 1 and self._offset >= self._segments[0].size:
            self._path(self._segments.pop(0).number).unlink(missing_ok=True)
            self._offset = 0
            self._ahead.clear()
        self._note_cursor()

    def _note_cursor(self) -> None:
        with contextlib.suppress(OSError):
            os.pwrite(self._cursor_file, _PLACE.pack(self._segments[0].number, self._offset), 0)

    def _bytes(self) -> int:
        return sum(segment.size for segment in self._segments)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:012d}.frames"

    # -- after a restart -------------------------------------------------------------------------------------------

    def _take_stock(self) -> tuple[list[_Segment], int]:
        """The segments that a predecessor left, and how far the oldest has been taken. A torn tail is cut off."""
        said = os.pread(self._cursor_file, _PLACE.size, 0)
        number, offset = _PLACE.unpack(said) if len(said) == _PLACE.size else (0, 0)
        segments = []
        for path in sorted(self._folder.glob("*.frames")):
            if not path.stem.isdigit() or int(path.stem) < number:
                path.unlink()
                continue
            segments.append(_counted(path, offset if int(path.stem) == number else 0))
        if not segments:
            segments = [_Segment(number, 0, 0, None, None)]
        return segments, min(offset, segments[0].size) if segments[0].number == number else 0


def _counted(path: Path, done: int) -> _Segment:
    """A segment as it lies on disk, with the records from byte ``done`` on; what was torn at its end is cut off."""
    data = path.read_bytes()
    found = list(frames(data))
    whole = [(start, end, t_ns) for start, end, t_ns in found if t_ns is not None]
    size = max((end for _, end, _ in whole), default=0)
    if size < len(data):
        os.truncate(path, size)
    times = [t_ns for start, _, t_ns in whole if start >= done and t_ns is not None]
    return _Segment(int(path.stem), size, len(times), min(times, default=None), max(times, default=None))


def _record(payload: bytes | None) -> Said | None:
    """What a payload holds; None for damage and for what the camera side never says."""
    try:
        record = None if payload is None else decode(payload)
    except CodecError:
        return None
    return record if isinstance(record, BodyFrame | Gap | Watermark) else None


def _locked(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise WorkerError(f"{path.parent}: another edge writes there; give each its own spool folder") from None
    return descriptor


def _read_lost(path: Path) -> _Lost | None:
    try:
        told = json.loads(path.read_bytes())
        return _Lost(int(told["start_ns"]), int(told["end_ns"]), int(told["records"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        path.unlink(missing_ok=True)
        return None
