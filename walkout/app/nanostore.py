"""Recordings in the public nanostore format (CPS-IoT Week 2020, AutoCheckout) as records of ours.

A folder holds ``plate_data.json`` (one batch of one gondola a line: base64 float32 of shape [samples, shelves + 1,
plates + 1] in grams, row and column 0 unused) and ``full_targets.json`` (one body frame a line, in inches), each
plain or ``.xz``, each may be missing. Files are read as streams and no line is trusted: what cannot be used becomes
a ``Gap`` that names file and line. The store beside them is read by ``walkout.store.nanostore``.

Times: ``header.t_origin`` is when the last sample of a batch was taken. Where only ``t_issue`` (or ``timestamp``, the
same moment) is given, the batch was sent then: the shortest way is not known, the lower envelope of the sending times
is taken for the end of the batch, and a constant offset of up to 0.3 s against the bodies remains.
"""

import csv
import heapq
import lzma
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from walkout.app.nanostore_lines import BODY_FILE, PLATE_FILE, BodyFile, PlateFile, Refused, Sensed, parse_object
from walkout.bus.recording import RecordingMeta, RecordingWriter
from walkout.bus.topics import event_time_ns
from walkout.domain.clock import NS_PER_S
from walkout.domain.sensing import BodyFrame, Gap
from walkout.errors import RecordingError
from walkout.store.layout import Layout
from walkout.store.loader import write_store
from walkout.store.nanostore import Anomaly, existing, find_store_files, read_nanostore, with_cameras

Progress = Callable[[float], None]
"""Told the share of the files' bytes that has been read, 0 to 1."""

#: A line of the public recordings has 7 kB, one with ten bodies would have 40 kB.
_MAX_LINE = 1_000_000
#: A controller that is this far behind the others in its own time is not waited for.
_BEHIND_NS = 30 * NS_PER_S
#: So far a line may lie ahead of the last record that is certain: a second each for order and clock, and a jump.
_READ_AHEAD_NS = 10 * NS_PER_S
#: So many unusable lines of one file are listed; more say nothing new and would fill memory and review.
_TOLD = 1000


def nanostore_records(folder: Path, layout: Layout, progress: Progress | None = None) -> Iterator[Sensed]:
    """Everything in ``folder`` in order of event time (when a record begins); an empty recording yields nothing.

    At most a few seconds are held in memory. Raises ``RecordingError`` when there is neither of the two files.
    """
    plates, bodies = existing(folder / PLATE_FILE), existing(folder / BODY_FILE)
    if plates is None and bodies is None:
        raise RecordingError(f"{folder}: holds neither {PLATE_FILE} nor {BODY_FILE}, plain or .xz; check the folder")
    meter = _Meter(progress, sum(path.stat().st_size for path in (plates, bodies) if path is not None))
    streams: list[Iterator[Sensed]] = []
    if bodies is not None:
        streams.append(_in_time_order(bodies, BodyFile(), meter))
    if plates is not None:
        streams.append(_in_time_order(plates, PlateFile(layout), meter))
    return heapq.merge(*streams, key=event_time_ns)


def import_nanostore(
    src: Path, dst: Path, created_ns: int, store_dir: Path | None = None, progress: Progress | None = None
) -> tuple[list[Anomaly], list[Gap]]:
    """Make a recording folder of ours at ``dst`` from the nanostore recording in ``src``, its store beside it.

    ``dst/store/`` holds the store, ``dst/anomalies.csv`` what was odd about its description, ``dst/truth.json`` the
    labels when there are any. Gives the anomalies of the store and the gaps of the recording. Raises
    ``StoreError`` or ``RecordingError`` before anything is written, and when nothing was recorded.
    """
    files = find_store_files(src, store_dir)
    store, anomalies = read_nanostore(files)
    gaps: list[Gap] = []
    with RecordingWriter(dst, RecordingMeta(src.resolve().name, "nanostore", created_ns)) as writer:
        first_ns: int | None = None
        for record in nanostore_records(src, store.layout, progress):
            writer.write(record)
            if isinstance(record, Gap):
                gaps.append(record)
            elif first_ns is None:
                first_ns = event_time_ns(record)
        if first_ns is None:
            raise RecordingError(f"{src}: not one reading of a plate or a body in it; check the files")
        write_store(with_cameras(store, files, store.local_day(first_ns)), dst / "store")
        _write_anomalies(dst / "anomalies.csv", anomalies)
        if (src / "truth.json").is_file():
            shutil.copyfile(src / "truth.json", dst / "truth.json")
    return anomalies, gaps


def _write_anomalies(path: Path, anomalies: list[Anomaly]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("kind", "file", "line", "subject", "message"))
        writer.writerows((one.kind, one.file, one.line, one.subject, one.message) for one in anomalies)


class _Meter:
    """Tells the progress over all files, in steps of a hundredth."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total = progress, max(1, total)
        self._read: dict[Path, int] = {}
        self._told = 0.0

    def at(self, path: Path, position: int) -> None:
        """So many bytes of ``path`` have been read."""
        if self._progress is None:
            return
        self._read[path] = position
        share = min(1.0, sum(self._read.values()) / self._total)
        if share >= self._told + 0.01 or (share == 1.0 and self._told < 1.0):
            self._told = share
            self._progress(share)


def _lines(path: Path, meter: _Meter) -> Iterator[tuple[int, bytes | str]]:
    """Numbered lines; in place of what cannot be read a text that says why."""
    number = 0
    try:
        with path.open("rb") as raw, lzma.open(raw) if path.suffix == ".xz" else raw as file:
            while line := file.readline(_MAX_LINE):
                number += 1
                meter.at(path, raw.tell())
                if len(line) == _MAX_LINE and not line.endswith(b"\n"):
                    _skip_line(file)
                    yield number, f"the line is longer than {_MAX_LINE} bytes"
                elif not line.isspace():
                    yield number, line
    except (OSError, EOFError, lzma.LZMAError) as error:
        yield number + 1, f"the file cannot be read on ({error})"


def _skip_line(file: BinaryIO | lzma.LZMAFile) -> None:
    while (rest := file.readline(_MAX_LINE)) and not rest.endswith(b"\n"):
        pass


def _in_time_order(path: Path, reader: PlateFile | BodyFile, meter: _Meter) -> Iterator[Sensed]:
    """The records of one file whose senders come interleaved, each in order by itself."""
    order = _Interleave()
    unplaced: list[str] = []
    bad = 0
    for number, line in _lines(path, meter):
        try:
            if isinstance(line, str):
                raise Refused(line)
            order.add(reader.read(parse_object(line), number))
        except Refused as reason:
            bad += 1
            if bad <= _TOLD:
                unplaced.append(f"line {number}: {reason}" + ("; no more are listed" if bad == _TOLD else ""))
        if order.newest_ns:
            at_ns = min(max(reader.read_ns, order.newest_ns), order.newest_ns + _READ_AHEAD_NS)
            order.notice([*reader.notices(), *(Gap(path.name, at_ns, at_ns, text) for text in unplaced)])
            unplaced = []
        yield from order.ready()
    order.add(reader.flush())
    order.notice(reader.notices())
    order.notice([Gap(path.name, order.newest_ns, order.newest_ns, text) for text in unplaced])
    yield from order.ready(everything=True)


class _Interleave:
    """Senders' records, each in order by itself, put into one order of time; late ones become a Gap."""

    def __init__(self) -> None:
        self.newest_ns = 0
        self._heap: list[tuple[int, int, Sensed]] = []
        self._count = 0
        self._reached: dict[str, int] = {}
        self._handed_ns = 0
        self._behind: set[str] = set()

    def add(self, found: tuple[str, list[Sensed]] | list[Sensed]) -> None:
        """Take the next records of one sender, named even where nothing is certain yet, or the rest of them all."""
        source, records = found if isinstance(found, tuple) else ("", found)
        if source:
            self._reached.setdefault(source, 0)
        for record in records:
            t_ns = event_time_ns(record)
            self.newest_ns = max(self.newest_ns, t_ns)
            if source:
                self._reached[source] = max(self._reached[source], t_ns)
            self._push(t_ns, record)

    def notice(self, gaps: list[Gap]) -> None:
        """Take gaps that belong to no sender's order; one about what has been handed on moves to the present."""
        for gap in gaps:
            start_ns = max(gap.start_ns, self._handed_ns)
            self._push(start_ns, replace(gap, start_ns=start_ns, end_ns=max(gap.end_ns, start_ns)))

    def _push(self, t_ns: int, record: Sensed) -> None:
        self._count += 1
        heapq.heappush(self._heap, (t_ns, self._count, record))

    def ready(self, everything: bool = False) -> Iterator[Sensed]:
        """What no sender can undercut any more."""
        for source, t_ns in self._reached.items():
            if t_ns == 0 < self.newest_ns:
                self._reached[source] = self.newest_ns - _READ_AHEAD_NS
        safe_ns = min((t for t in self._reached.values() if t > self.newest_ns - _BEHIND_NS), default=0)
        while self._heap and (everything or self._heap[0][0] <= safe_ns):
            t_ns, _, record = heapq.heappop(self._heap)
            if t_ns >= self._handed_ns:
                self._handed_ns = t_ns
                yield record
                continue
            source = record.source if not isinstance(record, BodyFrame) else BODY_FILE
            if source not in self._behind:
                self._behind.add(source)
                behind_s = (self._handed_ns - t_ns) / NS_PER_S
                reason = f"its clock is {behind_s:.1f} s behind the others; what comes late is left out"
                yield Gap(source, self._handed_ns, self._handed_ns, reason)
