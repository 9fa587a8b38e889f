"""A recording as the rest of the program wants it: its records, its store, and who visited.

Recordings of ours and folders in the public nanostore format look alike from here on. Recordings made before
there was a gate carry no gate events: whoever is seen at second 0 is inside, a visit starts at the first and
ends at the last record of its shopper, and a recording in which nobody was ever seen is one anonymous visit.
"""

import hashlib
import heapq
import lzma
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from walkout.app.nanostore import nanostore_records
from walkout.app.nanostore_lines import BODY_FILE, PLATE_FILE
from walkout.app.video import NAMELESS, Say, VideoBodies, is_video, kept_bodies, video_files
from walkout.bus.recording import Sensed, read_recording
from walkout.bus.topics import event_time_ns
from walkout.domain.ids import derived_id
from walkout.domain.sensing import BodyFrame, Gap, GateEvent, GateEventKind, LoadCellBatch
from walkout.domain.shopping import Visit
from walkout.errors import RecordingError
from walkout.store.catalog import Store
from walkout.store.loader import read_store
from walkout.store.nanostore import existing, find_store_files, read_nanostore

_CHUNK = 1 << 20
#: Holds the id of the recording that an imported one was made from: they are one recording and one visit.
_IDENTITY = "identity.txt"


@dataclass(frozen=True, slots=True)
class Source:
    """One recording. ``records`` starts a fresh pass in event-time order.

    ``bodies`` finds the shoppers where they are in videos alone; its ``keep`` saves others the looking.
    """

    path: Path
    store: Store
    records: Callable[[], Iterator[Sensed]]
    bodies: VideoBodies | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass over a recording told: its identity, its stretch of time, who visited and when.

    ``gates`` are the gate events that the recording itself does not hold, in order of time.
    """

    recording_id: str
    start_ns: int
    end_ns: int
    visits: tuple[Visit, ...]
    gates: tuple[GateEvent, ...]


def is_ours(path: Path) -> bool:
    """Whether ``path`` is a recording folder of this project."""
    return (path / "recording.toml").is_file()


def open_source(
    path: Path,
    store_dir: Path | None = None,
    kept: Path | None = None,
    models_dir: Path | None = None,
    say: Say | None = None,
) -> Source:
    """A recording of either format with its store; ``store_dir`` wins over what lies beside the recording.

    Of a recording whose shoppers are in videos, ``kept`` are the bodies that were found before (``VideoBodies.keep``);
    else models are looked for in ``models_dir`` too, and ``say`` is told how far the looking is. Raises
    ``RecordingError`` or ``StoreError`` when there is nothing to read.
    """
    if not path.is_dir():
        raise RecordingError(f"{path}: no such folder; give the folder of a recording")
    if not is_ours(path):
        store = read_nanostore(find_store_files(path, store_dir))[0]
        if is_video(path):
            return _video_source(path, store, store_dir or path, kept, models_dir, say)
        return Source(path, store, lambda: nanostore_records(path, store.layout))
    folder = store_dir or path / "store"
    if not folder.is_dir():
        raise RecordingError(f"{path}: no store/ folder beside the recording; name one by --store")
    return Source(path, read_store(folder), lambda: _sensed(path))


def _video_source(
    path: Path, store: Store, home: Path, kept: Path | None, models_dir: Path | None, say: Say | None
) -> Source:
    def plates() -> Iterator[Sensed]:
        return iter(()) if existing(path / PLATE_FILE) is None else nanostore_records(path, store.layout)

    if kept is not None:
        found = kept_bodies(kept)
        return Source(path, store, lambda: heapq.merge(plates(), found, key=event_time_ns))
    bodies = VideoBodies(path, store, home, lambda: next(map(event_time_ns, plates()), None), models_dir, say)
    return Source(path, store, lambda: heapq.merge(plates(), bodies.records(), key=event_time_ns), bodies)


def target_id(visit: Visit) -> str | None:
    """Whom the recording itself calls this visit's shopper; None where it names nobody."""
    return None if visit.track_id is None or visit.track_id.startswith(NAMELESS) else visit.track_id


def _sensed(path: Path) -> Iterator[Sensed]:
    for record in read_recording(path).records():
        if isinstance(record, LoadCellBatch | BodyFrame | GateEvent | Gap):
            yield record


def recording_id(path: Path) -> str:
    """An id of what was sensed: the same recording under another path, or unpacked, is the same recording."""
    if (path / _IDENTITY).is_file():
        return (path / _IDENTITY).read_text(encoding="ascii", errors="replace").strip()
    digest = hashlib.sha256()
    for file in _sensor_files(path):
        digest.update(file.name.removesuffix(".xz").encode() + b"\0")
        opener = lzma.open if file.suffix == ".xz" else open
        try:
            with opener(file, "rb") as stream:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
        except (lzma.LZMAError, EOFError):
            digest.update(file.read_bytes())  # torn: what can be read of it is flagged when it is read
    return derived_id("recording", digest.hexdigest())


def keep_identity(path: Path, identity: str) -> None:
    """Let the recording at ``path`` go by the id of the one it was made from: nobody is charged for both."""
    (path / _IDENTITY).write_text(identity + "\n", encoding="ascii")


def _sensor_files(path: Path) -> list[Path]:
    if is_ours(path):
        return sorted((path / "records").glob("*.frames"))
    names = (PLATE_FILE, BODY_FILE)
    packed = [path / f"{name}.xz" for name in names if not (path / name).is_file()]
    plain = [path / name for name in names if (path / name).is_file()]
    videos = list(video_files(path).values()) if is_video(path) else []
    return sorted(file for file in plain + packed + videos if file.is_file())


def survey(identity: str, records: Iterable[Sensed]) -> Survey:
    """One pass over all records. Raises ``RecordingError`` when there is not one reading of a plate or body."""
    seen: dict[str, list[int]] = {}
    gates: list[GateEvent] = []
    spans: list[tuple[int, int]] = []
    lost: list[Gap] = []
    for record in records:
        if isinstance(record, LoadCellBatch):
            spans = _widen(spans, record.t0_ns, record.end_ns)
        elif isinstance(record, BodyFrame):
            spans = _widen(spans, record.t_ns, record.t_ns)
            for body in record.bodies:
                seen.setdefault(body.track_id, [record.t_ns, record.t_ns])[1] = record.t_ns
        elif isinstance(record, GateEvent):
            spans = _widen(spans, record.t_ns, record.t_ns)
            gates.append(record)
        else:
            lost.append(record)
    if not spans:
        why = f" ({lost[0].source}: {lost[0].reason})" if lost else ""
        raise RecordingError(f"the recording is empty: not one reading of a plate or a body in it{why}")
    start_ns, end_ns = spans[0]
    if gates:
        visits = _visits_of_gates(gates, end_ns)
        return Survey(identity, start_ns, end_ns, visits, _missing_leaves(visits, gates))
    visits = _visits_of_tracks(identity, seen, start_ns, end_ns)
    return Survey(identity, start_ns, end_ns, visits, _gates_of(visits))


def _widen(spans: list[tuple[int, int]], start_ns: int, end_ns: int) -> list[tuple[int, int]]:
    if not spans:
        return [(start_ns, end_ns)]
    return [(min(spans[0][0], start_ns), max(spans[0][1], end_ns))]


def _visits_of_tracks(identity: str, seen: dict[str, list[int]], start_ns: int, end_ns: int) -> tuple[Visit, ...]:
    if not seen:
        visit_id = derived_id("visit", identity)
        return (Visit(visit_id, None, account_of(visit_id), start_ns, end_ns),)
    visits = []
    for track_id, (first_ns, last_ns) in sorted(seen.items()):
        visit_id = derived_id("visit", identity, track_id)
        visits.append(Visit(visit_id, track_id, account_of(visit_id), first_ns, last_ns))
    return tuple(visits)


def _visits_of_gates(gates: list[GateEvent], end_ns: int) -> tuple[Visit, ...]:
    left = {gate.visit_id: gate.t_ns for gate in gates if gate.kind is GateEventKind.LEFT}
    entered = {gate.visit_id: gate for gate in reversed(gates) if gate.kind is GateEventKind.ENTERED}
    return tuple(
        Visit(visit_id, gate.track_id, account_of(visit_id), gate.t_ns, left.get(visit_id, end_ns))
        for visit_id, gate in sorted(entered.items(), key=lambda pair: (pair[1].t_ns, pair[0]))
    )


def _missing_leaves(visits: tuple[Visit, ...], gates: list[GateEvent]) -> tuple[GateEvent, ...]:
    """The recording stopped while somebody was inside: that visit ends with it."""
    left = {gate.visit_id for gate in gates if gate.kind is GateEventKind.LEFT}
    return tuple(gate for gate in _gates_of(visits) if gate.kind is GateEventKind.LEFT and gate.visit_id not in left)


def _gates_of(visits: tuple[Visit, ...]) -> tuple[GateEvent, ...]:
    gates = [GateEvent(v.entered_ns, GateEventKind.ENTERED, v.visit_id, v.track_id) for v in visits]
    gates += [GateEvent(v.left_ns, GateEventKind.LEFT, v.visit_id, v.track_id) for v in visits if v.left_ns is not None]
    return tuple(sorted(gates, key=lambda gate: (gate.t_ns, gate.kind is GateEventKind.LEFT, gate.visit_id)))


def account_of(visit_id: str) -> str:
    """The account of a replayed shopper: one per visit, so that one replay never spends another's money."""
    return f"replay-{visit_id}"
