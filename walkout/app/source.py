"""A recording as the rest of the program wants it: its records, its store, and who visited.

Recordings of ours and folders in the public nanostore format look alike from here on. Recordings made before
there was a gate carry no gate events: whoever is seen at second 0 is inside, a visit starts at the first and
ends at the last record of its shopper, and a recording in which nobody was ever seen is one anonymous visit.
"""

import hashlib
import lzma
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from walkout.app.nanostore import nanostore_records
from walkout.bus.recording import Sensed, read_recording
from walkout.domain.ids import derived_id
from walkout.domain.sensing import BodyFrame, Gap, GateEvent, GateEventKind, LoadCellBatch
from walkout.domain.shopping import Visit
from walkout.errors import RecordingError
from walkout.store.catalog import Store
from walkout.store.loader import read_store
from walkout.store.nanostore import find_store_files, read_nanostore

_CHUNK = 1 << 20
#: Holds the id of the recording that an imported one was made from: they are one recording and one visit.
_IDENTITY = "identity.txt"


@dataclass(frozen=True, slots=True)
class Source:
    """One recording. ``records`` starts a fresh pass in event-time order."""

    path: Path
    store: Store
    records: Callable[[], Iterator[Sensed]]


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


def open_source(path: Path, store_dir: Path | None = None) -> Source:
    """A recording of either format with its store; ``store_dir`` wins over what lies beside the recording.

    Raises ``RecordingError`` or ``StoreError`` when there is nothing to read.
    """
    if not path.is_dir():
        raise RecordingError(f"{path}: no such folder; give the folder of a recording")
    if not is_ours(path):
        store = read_nanostore(find_store_files(path, store_dir))[0]
        return Source(path, store, lambda: nanostore_records(path, store.layout))
    folder = store_dir or path / "store"
    if not folder.is_dir():
        raise RecordingError(f"{path}: no store/ folder beside the recording; name one by --store")
    return Source(path, read_store(folder), lambda: _sensed(path))


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
    names = ("plate_data.json", "full_targets.json")
    packed = [path / f"{name}.xz" for name in names if not (path / name).is_file()]
    plain = [path / name for name in names if (path / name).is_file()]
    return sorted(file for file in plain + packed if file.is_file())


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
