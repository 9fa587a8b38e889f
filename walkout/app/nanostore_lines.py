"""Lines of the public nanostore format as batches and body frames; no line is trusted (see ``nanostore.py``)."""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from walkout.app.recorded_time import WINDOW_NS, Line, SampleClock, Sequence, Timed
from walkout.domain.clock import NS_PER_S, to_ns
from walkout.domain.sensing import Body, BodyFrame, Gap, Joint, LoadCellBatch, PlateId
from walkout.store.layout import Layout
from walkout.store.nanostore import INCH_M

Sensed = LoadCellBatch | BodyFrame | Gap
"""What such a recording holds."""

PLATE_FILE, BODY_FILE = "plate_data.json", "full_targets.json"
#: Load cells of 20 kg, gondolas of 9 plates: beyond this a reading is no mass. Such cells count as "said nothing".
_MAX_GRAMS = 1e6
#: Rates that a scale may have; the public recordings have 60 Hz.
_DEFAULT_RATE_HZ, _MAX_RATE_HZ = 60.0, 10_000.0
#: No store is larger; joints beyond it are garbage.
_MAX_COORDINATE_M = 50.0
#: Bodies come about 15 times a second even when nobody is there; the longest pause in the public recordings is 0.2 s.
_BODY_SILENCE_NS = NS_PER_S
#: Times from 1970 to 2116 fit into 63 bits with room for arithmetic.
_MAX_TIME_NS = 1 << 62
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Refused(ValueError):
    """A line that cannot be used; the message says why, in no more than a line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason[:200])


@dataclass(frozen=True, slots=True, eq=False)
class _Readings:
    """One batch as its line has it: grams (n, plates) float32 of the plates that the layout knows."""

    gondola: str
    plates: tuple[PlateId, ...]
    rate_hz: float
    grams: NDArray[np.float32]


def parse_object(line: bytes) -> dict[str, Any]:
    """The JSON object of one line. Raises ``Refused``."""
    try:
        body = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Refused(f"no JSON ({error})") from error
    if not isinstance(body, dict):
        raise Refused("no JSON object")
    return body


def _table(value: object, *keys: str) -> dict[str, Any]:
    """The object under ``keys``; empty where there is none (protobuf's JSON leaves empty ones out)."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _time_ns(document: dict[str, Any]) -> tuple[int, bool]:
    """Nanoseconds UTC, and whether they are the capture (``t_origin``) rather than the sending. Raises ``Refused``."""
    header = _table(document, "document", "header")
    for key in ("t_origin", "t_issue"):
        text = header.get(key)
        if isinstance(text, str):
            try:
                t_ns = _parse_time(text)
            except (ValueError, OverflowError):
                continue
            if 0 < t_ns < _MAX_TIME_NS:
                return t_ns, key == "t_origin"
    seconds = _float(document.get("timestamp"))
    if seconds is not None and 0.0 < seconds < _MAX_TIME_NS / NS_PER_S:
        return to_ns(seconds), False
    raise Refused("no time that can be read")


def _parse_time(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def _float(value: object) -> float | None:
    """A finite float, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if -np.inf < number < np.inf else None


class PlateFile:
    """Reads ``plate_data.json``: one sender for each gondola. ``read_ns`` is the time of the newest usable line."""

    def __init__(self, layout: Layout) -> None:
        self._plates: dict[str, list[PlateId]] = {}
        for plate in layout.boxes:
            self._plates.setdefault(plate.gondola, []).append(plate)
        self._cells: dict[tuple[str, int, int], _Cells] = {}
        self._sequences: dict[str, Sequence[_Readings]] = {}
        self._clocks: dict[str, SampleClock[_Readings]] = {}
        self._unknown: set[str] = set()
        self._notices: list[Gap] = []
        self.read_ns = 0

    def read(self, document: dict[str, Any], number: int) -> tuple[str, list[Sensed]] | list[Sensed]:
        """What one line makes certain, with its sender. Raises ``Refused``."""
        t_ns, captured = _time_ns(document)
        data = _table(document, "document", "plate_data")
        gondola = _table(data, "plate_id", "shelf_id", "gondola_id").get("id", 0)
        if not isinstance(gondola, int) or isinstance(gondola, bool):
            raise Refused(f"gondola {gondola!r} is no number")
        name = str(gondola)
        if name not in self._plates:
            self._notice(f"gondola-{name}", t_ns, "the layout does not have this gondola; its plates are left out")
            return []
        rate_hz = _float(data.get("freq_samp", _DEFAULT_RATE_HZ))
        if rate_hz is None or not 0.0 < rate_hz <= _MAX_RATE_HZ:
            raise Refused(f"freq_samp is {data.get('freq_samp')!r}")
        array, raw = _array(_table(data, "values"))
        readings = self._readings(name, rate_hz, array, t_ns)
        # Identical bytes are a double, however late, unless nothing moves in them: a dead controller repeats itself.
        moves = array.shape[0] > 1 and bool(np.any(readings.grams[0] != readings.grams[-1]))
        key = raw if moves and not np.isnan(readings.grams).all() else (raw, t_ns)
        end_ns = t_ns + round(NS_PER_S / rate_hz) if captured else t_ns
        source, self.read_ns = f"gondola-{name}", t_ns
        sequence = self._sequences.setdefault(source, Sequence(source, PLATE_FILE))
        return source, self._time(source, sequence.push(Line(end_ns, number, key, readings)))

    def flush(self) -> list[Sensed]:
        """What the end of the file makes certain."""
        found: list[Sensed] = []
        for source, sequence in self._sequences.items():
            found += self._time(source, sequence.flush())
            found += [_batch(source, timed) for timed in self._clock(source).flush()]
        return found

    def notices(self) -> list[Gap]:
        """What came to light beside the records, each once."""
        notices, self._notices = self._notices, []
        return notices

    def _clock(self, source: str) -> SampleClock[_Readings]:
        return self._clocks.setdefault(source, SampleClock(source))

    def _time(self, source: str, lines: list[Line[_Readings] | Gap]) -> list[Sensed]:
        clock = self._clock(source)
        found: list[Sensed] = []
        for line in lines:
            if isinstance(line, Gap):
                self._notices.append(line)
                continue
            readings = line.payload
            timed_ones = clock.push(line.t_ns, readings.grams.shape[0], readings.rate_hz, readings)
            found += [_batch(source, timed) for timed in timed_ones]
        return found

    def _readings(self, gondola: str, rate_hz: float, array: NDArray[np.float32], t_ns: int) -> _Readings:
        rows, columns = array.shape[1:]
        cells = self._cells.get((gondola, rows, columns))
        if cells is None:
            cells = self._cells[gondola, rows, columns] = _Cells(self._plates[gondola], rows, columns)
        flat = array.reshape(array.shape[0], rows * columns)
        for cell in cells.newly_alive(flat):
            plate = PlateId(gondola, *divmod(cell, columns))
            self._notice(f"plate {plate}", t_ns, "the layout does not have this plate; its readings are left out")
        grams = flat[:, cells.known]
        grams[~(np.abs(grams) <= _MAX_GRAMS)] = np.nan
        return _Readings(gondola, cells.plates, rate_hz, grams)

    def _notice(self, source: str, t_ns: int, reason: str) -> None:
        if source not in self._unknown:
            self._unknown.add(source)
            self._notices.append(Gap(source, t_ns - WINDOW_NS, t_ns, f"{PLATE_FILE}: {reason}"))


class _Cells:
    """Where the plates of one gondola stand in its arrays of one shape, and which other cells carry readings.

    Places without a plate are NaN, a constant, or a channel that wanders by a step now and then (at most 2 of the 11
    steps of a batch in the public recordings, where a plate at rest has 9). One whose readings change at most steps
    is a plate that the layout does not know. Raises ``Refused`` when the layout's plates do not fit into the array.
    """

    def __init__(self, plates: list[PlateId], rows: int, columns: int) -> None:
        if max(plate.plate for plate in plates) >= columns:
            raise Refused(f"the array has {columns} columns, too few for the gondola's plates")
        self.plates = tuple(plate for plate in plates if plate.shelf < rows)
        if not self.plates:
            raise Refused(f"the array has {rows} rows, too few for the gondola's shelves")
        self.known = np.array([plate.shelf * columns + plate.plate for plate in self.plates])
        self._others = np.setdiff1d(np.arange(rows * columns), self.known)

    def newly_alive(self, flat: NDArray[np.float32]) -> list[int]:
        """Cells without a plate that read like one; each is told once."""
        values = flat[:, self._others]
        changes = np.count_nonzero((values[1:] != values[:-1]) & np.isfinite(values[1:]), axis=0)
        alive = 2 * changes > values.shape[0] - 1
        if not alive.any():
            return []
        told: list[int] = self._others[alive].tolist()
        self._others = self._others[~alive]
        return told


def _array(values: dict[str, Any]) -> tuple[NDArray[np.float32], bytes]:
    """The samples of one line, (n, rows, columns) float32, and their bytes. Raises ``Refused``."""
    shape, text = values.get("shape"), values.get("data")
    if values.get("type", "DATATYPE_FLOAT32") != "DATATYPE_FLOAT32":
        raise Refused(f"values of type {values.get('type')!r}, not DATATYPE_FLOAT32")
    if not isinstance(text, str):
        raise Refused("no data")
    if not isinstance(shape, list) or len(shape) != 3 or not all(type(n) is int and 0 < n < 1000 for n in shape):
        raise Refused(f"the shape {shape!r} is not [samples, rows, columns]")
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(f"torn data ({error})") from error
    if len(raw) != 4 * shape[0] * shape[1] * shape[2]:
        raise Refused(f"{len(raw)} bytes of data do not make the shape {shape}")
    return np.frombuffer(raw, "<f4").reshape(shape), raw


def _batch(source: str, timed: Timed[_Readings] | Gap) -> LoadCellBatch | Gap:
    if isinstance(timed, Gap):
        return timed
    readings = timed.payload
    return LoadCellBatch(source, readings.plates, timed.t0_ns, readings.rate_hz, readings.grams)


class BodyFile:
    """Reads ``full_targets.json``: one sender, the tracker. ``read_ns`` is the time of the newest usable line."""

    def __init__(self) -> None:
        self._sequence: Sequence[tuple[Body, ...]] = Sequence(BODY_FILE, BODY_FILE)
        self._last_ns: int | None = None
        self._notices: list[Gap] = []
        self._told: set[str] = set()
        self.read_ns = 0

    def read(self, document: dict[str, Any], number: int) -> tuple[str, list[Sensed]] | list[Sensed]:
        """What one line makes certain, with its sender. Raises ``Refused``."""
        t_ns, _ = _time_ns(document)
        targets = _table(document, "document", "targets").get("targets", [])
        if not isinstance(targets, list):
            raise Refused("targets are no list")
        bodies: dict[str, Body] = {}
        for target in targets:
            body = _body(target)
            if body is None:
                self._notice(t_ns, f"line {number}: a shopper without an id is left out")
            elif body.track_id in bodies:
                self._notice(t_ns, f"line {number}: shopper {body.track_id} is there twice; the first one stays")
            else:
                bodies[body.track_id] = body
        seen, self.read_ns = tuple(bodies.values()), t_ns
        return BODY_FILE, self._time(self._sequence.push(Line(t_ns, number, (t_ns, seen), seen)))

    def flush(self) -> list[Sensed]:
        """What the end of the file makes certain."""
        return self._time(self._sequence.flush())

    def notices(self) -> list[Gap]:
        """What came to light beside the records, each kind once."""
        notices, self._notices = self._notices, []
        return notices

    def _notice(self, t_ns: int, reason: str) -> None:
        kind = reason.partition(": ")[2]
        if kind not in self._told:
            self._told.add(kind)
            self._notices.append(Gap(BODY_FILE, t_ns - WINDOW_NS, t_ns, reason))

    def _time(self, lines: list[Line[tuple[Body, ...]] | Gap]) -> list[Sensed]:
        found: list[Sensed] = []
        for line in lines:
            if isinstance(line, Gap):
                self._notices.append(line)
                continue
            last_ns, self._last_ns = self._last_ns, line.t_ns
            if last_ns == line.t_ns:
                reason = f"line {line.number}: another frame of the same time; the first one stays"
                found.append(Gap(BODY_FILE, line.t_ns, line.t_ns, reason))
                continue
            if last_ns is not None and line.t_ns - last_ns > _BODY_SILENCE_NS:
                silence_s = (line.t_ns - last_ns) / NS_PER_S
                found.append(Gap(BODY_FILE, last_ns, line.t_ns, f"no bodies for {silence_s:.1f} s"))
            found.append(BodyFrame(line.t_ns, line.payload))
        return found


def _body(target: object) -> Body | None:
    """One target as a body in metres; None without an id."""
    table = _table(target)
    name = _table(table, "target_id").get("id")
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if not isinstance(name, str) or not name:
        return None
    hands = table.get("hands", [])
    joints = {key: _joint(value) for key, value in table.items() if key not in ("head", "hands")}
    return Body(
        _clean(name),
        _joint(table.get("head")),
        tuple(joint for joint in map(_joint, hands if isinstance(hands, list) else []) if joint is not None),
        {_clean(key): joint for key, joint in joints.items() if joint is not None},
    )


def _clean(text: str) -> str:
    """The text with what UTF-8 cannot hold (lone surrogates) replaced."""
    return text.encode("utf-8", "replace").decode()


def _joint(value: object) -> Joint | None:
    """A joint in metres; None where there is no point or its coordinates are absurd. Missing numbers are zero."""
    point = value.get("point") if isinstance(value, dict) else None
    # The public recordings write {"point": {}} for a joint that no camera saw: it is not at the origin.
    if not isinstance(value, dict) or not isinstance(point, dict) or not point:
        return None
    x, y, z = (_float(point.get(axis, 0.0)) for axis in "xyz")
    if x is None or y is None or z is None:
        return None
    if max(abs(x), abs(y), abs(z)) * INCH_M > _MAX_COORDINATE_M:
        return None
    score = _float(value.get("score", 0.0)) or 0.0
    return Joint(x * INCH_M, y * INCH_M, z * INCH_M, min(1.0, max(0.0, score)))
