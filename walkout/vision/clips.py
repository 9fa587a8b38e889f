"""Evidence: the last hours of every camera on disk, and clips cut out of them.

A camera's H.264 pictures are gathered in memory until a few seconds are full, then written at once as one small MP4,
first under another name: what bears the name of a segment is whole, and a crash costs at most one segment. The name
tells camera and capture time: ``FOLDER/CAMERA/FIRST-LAST.mp4`` in nanoseconds UTC. The oldest go when room runs out.

Pictures are copied, never encoded again, unless somebody draws on them. A frame's time in a segment or clip is its
capture time minus the start that the name or the comment tells, to the microsecond.
"""

import itertools
import json
import logging
import os
import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import av
import numpy as np
from numpy.typing import NDArray

from walkout.domain.sensing import Frame, Gap
from walkout.errors import ClipError
from walkout.vision.h264 import (
    EncodedPicture,
    H264Encoder,
    Track,
    decode,
    mp4_bytes,
    parameter_sets,
    read_mp4,
)

log = logging.getLogger(__name__)

#: Draws on a picture: gets the frame, gives the image to show instead, of the same size.
Overlay = Callable[[Frame], NDArray[np.uint8]]
#: Puts bytes at a path, whole or not at all. Raises OSError.
Write = Callable[[Path, bytes], None]

PART = ".part"
CLIPS = "clips"


@dataclass(frozen=True, slots=True)
class ClipSettings:
    """How much is kept. Bytes on disk (a camera of 1 Mbit/s fills 0.45 GB an hour), seconds in time.

    ``keep_free_bytes`` is left to the rest of the machine. ``most_pending_bytes`` bounds what waits in memory for
    a slow disk. ``gap_s``: a camera without a picture for longer has a gap (cameras here send at least 5 a second).
    """

    segment_s: float = 4.0
    most_bytes: int = 20_000_000_000
    keep_free_bytes: int = 1_000_000_000
    most_pending_bytes: int = 64_000_000
    gap_s: float = 1.0
    longest_clip_s: float = 600.0


@dataclass(frozen=True, slots=True)
class ClipHealth:
    """The recorder now: ``well`` is False from a failed write until one succeeds; ``message`` says why."""

    well: bool
    message: str
    segments: int
    bytes_on_disk: int
    oldest_ns: int | None
    pictures_lost: int


@dataclass(frozen=True, slots=True)
class ClipNote:
    """What a clip says of itself: frame time plus ``start_ns`` is capture time; ``cameras`` names its tracks in order.

    ``gaps`` are the stretches of the time asked for that no picture covers.
    """

    start_ns: int
    t0_ns: int
    t1_ns: int
    cameras: tuple[str, ...]
    gaps: tuple[Gap, ...]


class Segment(NamedTuple):
    """A written segment, by its name."""

    first_ns: int
    last_ns: int
    path: Path


def segments(folder: Path, camera_id: str) -> list[Segment]:
    """Whole segments of a camera in the order of time."""
    return sorted(_segments_in(folder / _folder_name(camera_id)))


def cut(
    folder: Path,
    t0_ns: int,
    t1_ns: int,
    cameras: Sequence[str],
    out: Path,
    overlay: Overlay | None = None,
    *,
    recent: dict[str, tuple[EncodedPicture, ...]] | None = None,
    settings: ClipSettings | None = None,
) -> Path:
    """Write an MP4 of ``cameras`` from ``t0_ns`` to ``t1_ns`` to ``out``, one track per camera, and give its path.

    A copied track begins at the key picture before ``t0_ns``; one drawn on begins at ``t0_ns``. A camera that changed
    its picture's size has a track for each. ``recent`` are pictures that are not on disk yet. What is missing is told
    in the clip's note (``read_note``). Raises ClipError where no camera has anything, or the clip cannot be written.
    """
    settings = settings or ClipSettings()
    if not 0 < t1_ns - t0_ns <= settings.longest_clip_s * 1e9:
        raise ClipError(
            f"a clip of {(t1_ns - t0_ns) / 1e9:g} s: ask for more than 0, at most {settings.longest_clip_s:g}"
        )
    tracks: list[Track] = []
    gaps: list[Gap] = []
    for camera_id in cameras:
        held = [*_held(folder, camera_id, t0_ns, t1_ns), *(recent or {}).get(camera_id, ())]
        pictures = _between(held, t0_ns, t1_ns)
        gaps += _gaps(camera_id, pictures, t0_ns, t1_ns, settings.gap_s)
        tracks += _tracks(camera_id, pictures)
    if overlay is not None:
        tracks = [drawn for track in tracks if (drawn := _drawn(track, overlay, t0_ns)).pictures]
    if not tracks:
        raise ClipError(f"no picture of {', '.join(cameras)} from {t0_ns} to {t1_ns}; {_what_is_held(folder, cameras)}")
    start_ns, _ = _span([picture for track in tracks for picture in track.pictures])
    note = ClipNote(start_ns, t0_ns, t1_ns, tuple(track.camera_id for track in tracks), tuple(gaps))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, mp4_bytes(tracks, start_ns, _note_text(note)))
    except OSError as error:
        raise ClipError(f"{out}: cannot be written ({error.strerror}); make room or name another place") from None
    return out


def read_note(path: Path) -> ClipNote:
    """What the clip at ``path`` says of itself. Raises ClipError where it is no clip of ours."""
    try:
        with av.open(str(path)) as container:
            said = json.loads(container.metadata["comment"])
        gaps = tuple(Gap(**gap) for gap in said["gaps"])
        return ClipNote(said["start_ns"], said["t0_ns"], said["t1_ns"], tuple(said["cameras"]), gaps)
    except (OSError, av.FFmpegError, KeyError, TypeError, ValueError) as error:
        raise ClipError(f"{path}: is no clip of ours ({error})") from None


def read_clip(path: Path) -> Iterator[Frame]:
    """Every picture of a clip with camera and capture time, track after track. Raises ClipError as ``read_note``."""
    note = read_note(path)
    for index, camera_id in enumerate(note.cameras):
        with av.open(str(path)) as container:
            for frame in container.decode(container.streams.video[index]):
                if frame.pts is not None and frame.time_base is not None:
                    t_ns = note.start_ns + round(frame.pts * frame.time_base * 1_000_000_000)
                    yield Frame(camera_id, t_ns, frame.to_ndarray(format="bgr24").astype(np.uint8, copy=False))


def write_whole(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path``, whole or not at all, also over a crash. Raises OSError."""
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


class ClipRecorder:
    """Keeps the last pictures of all cameras; its ``put`` is a camera's ``on_picture``.

    One thread writes, so no camera ever waits for the disk.
    """

    def __init__(self, folder: Path, settings: ClipSettings | None = None, write: Write = write_whole) -> None:
        self._folder, self._settings, self._write = folder, settings or ClipSettings(), write
        self._lock = threading.Condition()
        self._open: dict[str, list[EncodedPicture]] = {}
        self._full: deque[Track] = deque()
        self._pending_bytes = 0
        self._lost = 0
        self._message = ""
        self._ending = False
        self._index = self._take_stock()
        self._bytes = sum(size for _, size in self._index)
        self._thread = threading.Thread(target=self._run, name="clips", daemon=True)
        self._thread.start()

    def put(self, camera_id: str, picture: EncodedPicture) -> None:
        """Keep one more picture; pictures of a camera come in decoding order. Never waits for the disk."""
        with self._lock:
            gathered = self._open.get(camera_id)
            if picture.key and gathered and self._is_full(gathered, picture):
                self._hand_over(camera_id)
                gathered = None
            too_much = self._pending_bytes + len(picture.data) > self._settings.most_pending_bytes
            if too_much or (not gathered and not picture.key):
                self._lost += 1
                if gathered:
                    self._hand_over(camera_id)  # what follows cannot be decoded before the next key picture
                return
            self._open.setdefault(camera_id, []).append(picture)
            self._pending_bytes += len(picture.data)

    def clip(
        self, t0_ns: int, t1_ns: int, cameras: Sequence[str], overlay: Overlay | None = None, out: Path | None = None
    ) -> Path:
        """``cut`` with what is still in memory; by default to ``FOLDER/clips/``, which the bound leaves alone."""
        if out is None:
            names = "+".join(_folder_name(camera_id) for camera_id in cameras)
            out = self._folder / CLIPS / f"{t0_ns}-{t1_ns}-{names}{'-drawn' if overlay else ''}.mp4"
        with self._lock:
            recent = {c: tuple(self._pending(c)) for c in cameras}
        return cut(self._folder, t0_ns, t1_ns, cameras, out, overlay, recent=recent, settings=self._settings)

    def health(self) -> ClipHealth:
        """How recording goes now."""
        with self._lock:
            oldest = self._index[0][0].first_ns if self._index else None
            return ClipHealth(not self._message, self._message, len(self._index), self._bytes, oldest, self._lost)

    def flush(self) -> None:
        """Close every open segment and wait until all are on disk, or were given up; the next begin at key pictures."""
        with self._lock:
            for camera_id in list(self._open):
                self._hand_over(camera_id)
            self._lock.wait_for(lambda: not self._full)

    def close(self) -> None:
        """Flush and end the thread."""
        self.flush()
        with self._lock:
            self._ending = True
            self._lock.notify_all()
        self._thread.join()

    def _is_full(self, gathered: list[EncodedPicture], key: EncodedPicture) -> bool:
        old_enough = key.decode_ns - gathered[0].decode_ns >= self._settings.segment_s * 1e9
        return old_enough or parameter_sets(key.data) != parameter_sets(gathered[0].data)

    def _hand_over(self, camera_id: str) -> None:
        pictures = self._open.pop(camera_id)
        if pictures:
            self._full.append(Track(camera_id, tuple(pictures)))
            self._lock.notify_all()

    def _pending(self, camera_id: str) -> Iterator[EncodedPicture]:
        for track in self._full:
            if track.camera_id == camera_id:
                yield from track.pictures
        yield from self._open.get(camera_id, ())

    def _run(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._full or self._ending)
                if not self._full:
                    return
                track = self._full[0]
            try:
                self._save(track)
            except Exception as error:  # a worker's edge: a bad picture or disk must not end the recording
                log.exception("segment of %s", track.camera_id)
                self._give_up(track, f"unexpected: {error!r}")
            with self._lock:
                # It leaves memory only now, so that a clip always finds it in one place or the other.
                self._full.popleft()
                self._pending_bytes -= sum(len(picture.data) for picture in track.pictures)
                self._lock.notify_all()

    def _save(self, track: Track) -> None:
        """Write one segment; where the disk refuses, once more with the oldest segments gone."""
        first_ns, last_ns = _span(track.pictures)
        path = self._folder / _folder_name(track.camera_id) / f"{first_ns}-{last_ns}.mp4"
        data = mp4_bytes([track], first_ns, "")
        for last_try in (False, True):
            try:
                self._make_room(len(data) * (2 if last_try else 1), refused=last_try)
                path.parent.mkdir(parents=True, exist_ok=True)
                self._write(path, data)
                break
            except OSError as error:
                if last_try:
                    self._give_up(
                        track, f"{path.parent}: {error.strerror or error}; nothing is recorded; make room there"
                    )
                    return
        with self._lock:
            self._index.append((Segment(first_ns, last_ns, path), len(data)))
            self._bytes += len(data)
            self._message = ""

    def _give_up(self, track: Track, message: str) -> None:
        with self._lock:
            if message != self._message:
                log.error("clips: %s", message)
            self._lost += len(track.pictures)
            self._message = message

    def _make_room(self, needed: int, refused: bool) -> None:
        """Let the oldest segments go until ``needed`` bytes more are within the bound.

        Where the disk ``refused``, or others have filled it, as much goes as comes: the rest of the past is kept.
        """
        freed = 0
        while self._index:
            full = refused or self._free_bytes() - needed < self._settings.keep_free_bytes
            if self._bytes + needed <= self._settings.most_bytes and not (full and freed < needed):
                return
            with self._lock:
                segment, size = self._index.pop(0)
                self._bytes -= size
            segment.path.unlink(missing_ok=True)
            freed += size

    def _free_bytes(self) -> int:
        try:
            return shutil.disk_usage(self._folder).free
        except FileNotFoundError:
            return self._settings.keep_free_bytes * 2  # no folder yet: the first write makes it

    def _take_stock(self) -> list[tuple[Segment, int]]:
        """What an earlier run left: whole segments count, half-written ones go."""
        found = []
        for folder in self._folder.iterdir() if self._folder.is_dir() else ():
            if folder.name == CLIPS or not folder.is_dir():
                continue
            for part in folder.glob(f"*{PART}"):
                part.unlink(missing_ok=True)
            found += [(segment, segment.path.stat().st_size) for segment in _segments_in(folder)]
        return sorted(found)


def _folder_name(camera_id: str) -> str:
    """A camera's name as the name of a folder: nothing in it can lead elsewhere."""
    return quote(camera_id, safe=" ").replace(".", "%2E") if camera_id != CLIPS else "%63lips"


def _segments_in(folder: Path) -> Iterator[Segment]:
    for path in folder.glob("*.mp4"):
        first, _, last = path.stem.partition("-")
        if first.isdigit() and last.isdigit():
            yield Segment(int(first), int(last), path)


def _span(pictures: Sequence[EncodedPicture]) -> tuple[int, int]:
    """First and last capture time in whole microseconds, as an MP4 holds them."""
    times = [picture.t_ns for picture in pictures]
    return min(times) // 1000 * 1000, max(times) // 1000 * 1000


def _held(folder: Path, camera_id: str, t0_ns: int, t1_ns: int) -> Iterator[EncodedPicture]:
    """Pictures of the segments that touch the time; one that cannot be read is a gap, not a failure."""
    for segment in segments(folder, camera_id):
        if segment.last_ns >= t0_ns and segment.first_ns <= t1_ns:
            try:
                yield from read_mp4(segment.path, segment.first_ns)
            except (OSError, av.FFmpegError, IndexError) as error:
                log.warning("%s: cannot be read (%s)", segment.path, error)


def _between(held: Iterable[EncodedPicture], t0_ns: int, t1_ns: int) -> list[EncodedPicture]:
    """Up to the last picture that ``t1_ns`` needs, from the key picture without which ``t0_ns`` cannot be decoded."""
    # By decoding time, each once: a segment may be on disk and still in memory.
    pictures = {p.decode_ns // 1000: p for p in sorted(held, key=lambda p: p.decode_ns)}.values()
    groups: list[list[EncodedPicture]] = []
    for picture in pictures:
        if picture.key:
            groups.append([])
        if groups and picture.decode_ns <= t1_ns:
            groups[-1].append(picture)
    wanted = [group for group in groups if any(picture.t_ns >= t0_ns for picture in group)]
    return [picture for group in wanted for picture in group]


def _gaps(camera_id: str, pictures: Sequence[EncodedPicture], t0_ns: int, t1_ns: int, gap_s: float) -> list[Gap]:
    times = [t0_ns, *sorted(p.t_ns for p in pictures if t0_ns < p.t_ns < t1_ns), t1_ns]
    reason = "no picture was kept"
    return [Gap(camera_id, a, b, reason) for a, b in itertools.pairwise(times) if b - a > gap_s * 1e9]


def _tracks(camera_id: str, pictures: Sequence[EncodedPicture]) -> list[Track]:
    """One track for each run of pictures with the same parameter sets."""
    runs: list[list[EncodedPicture]] = []
    sets = b""
    for picture in pictures:
        told = parameter_sets(picture.data) if picture.key else sets
        if not runs or told != sets:
            runs.append([])
            sets = told
        runs[-1].append(picture)
    return [Track(camera_id, tuple(run)) for run in runs]


def _drawn(track: Track, overlay: Overlay, t0_ns: int) -> Track:
    """The track with every picture drawn on, from ``t0_ns`` on."""
    encoder = H264Encoder()
    pictures: list[EncodedPicture] = []
    for t_ns, image in decode(track):
        if t_ns >= t0_ns // 1000 * 1000:
            pictures += encoder.encode(t_ns, overlay(Frame(track.camera_id, t_ns, image)))
    return replace(track, pictures=tuple(pictures))


def _what_is_held(folder: Path, cameras: Sequence[str]) -> str:
    held = [segment for camera_id in cameras for segment in segments(folder, camera_id)]
    if not held:
        return "nothing of them is kept"
    return f"kept is {min(s.first_ns for s in held)} to {max(s.last_ns for s in held)}"


def _note_text(note: ClipNote) -> str:
    gaps = [{"source": g.source, "start_ns": g.start_ns, "end_ns": g.end_ns, "reason": g.reason} for g in note.gaps]
    said = {"start_ns": note.start_ns, "t0_ns": note.t0_ns, "t1_ns": note.t1_ns, "cameras": note.cameras, "gaps": gaps}
    return json.dumps(said)
