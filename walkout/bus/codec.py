"""Records to protobuf bytes and back; the only importer of the generated stream messages.

Both directions check the same contract, so a record that could not be read back is never written: times and
probabilities are numbers, shapes agree, enums are known. What a field means stands in the domain's docstrings.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, astuple
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError, EncodeError, Message

from walkout.bus.topics import Record
from walkout.domain import sensing, shopping
from walkout.errors import CodecError
from walkout.v1 import sensing_pb2, shopping_pb2

_WEIGHT_KINDS = {
    sensing.WeightEventKind.STEP: sensing_pb2.WEIGHT_EVENT_KIND_STEP,
    sensing.WeightEventKind.TOUCH: sensing_pb2.WEIGHT_EVENT_KIND_TOUCH,
}
_GATE_KINDS = {
    sensing.GateEventKind.ENTERED: sensing_pb2.GATE_EVENT_KIND_ENTERED,
    sensing.GateEventKind.LEFT: sensing_pb2.GATE_EVENT_KIND_LEFT,
}
_BASKET_KINDS = {
    shopping.BasketEventKind.PICK: shopping_pb2.BASKET_EVENT_KIND_PICK,
    shopping.BasketEventKind.PUT_BACK: shopping_pb2.BASKET_EVENT_KIND_PUT_BACK,
    shopping.BasketEventKind.CORRECTION: shopping_pb2.BASKET_EVENT_KIND_CORRECTION,
}
_WEIGHT_KIND_OF = {number: kind for kind, number in _WEIGHT_KINDS.items()}
_GATE_KIND_OF = {number: kind for kind, number in _GATE_KINDS.items()}
_BASKET_KIND_OF = {number: kind for kind, number in _BASKET_KINDS.items()}


def encode(record: Record) -> bytes:
    """The payload of one log entry or recording frame; the same record always gives the same bytes.

    Raises ``CodecError`` for what is no record of ours or breaks its contract (shape, NaN, out of range).
    """
    codec = _CODECS.get(type(record))
    if codec is None:
        raise CodecError(f"{type(record).__name__} is no record of the log; walkout/bus/topics.py lists them")
    try:
        codec.check(record)
        fields: dict[str, Any] = {codec.field: codec.pack(record)}
        return shopping_pb2.StreamRecord(**fields).SerializeToString(deterministic=True)
    except (ValueError, TypeError, AttributeError, EncodeError) as problem:
        raise CodecError(f"{codec.field} cannot be written: {problem}") from problem


def decode(payload: bytes) -> Record:
    """The record in ``payload``. ``LoadCellBatch.grams`` is a read-only view of the payload's readings.

    Raises ``CodecError`` for torn or foreign bytes, for a kind of record or enum value that this version does
    not know, and for a record that breaks its contract.
    """
    try:
        envelope = shopping_pb2.StreamRecord.FromString(payload)
    except DecodeError as problem:
        raise CodecError(f"{len(payload)} bytes are torn or no record of ours: {problem}") from problem
    field = envelope.WhichOneof("record")
    if field is None:
        raise CodecError(f"{len(payload)} bytes hold no record that this version knows; is the writer newer?")
    codec = _CODEC_OF_FIELD[field]
    try:
        record = codec.unpack(getattr(envelope, field))
        codec.check(record)
    except ValueError as problem:
        raise CodecError(f"{field} cannot be read: {problem}") from problem
    return record


def _finite(what: str, value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(f"{what} is {value}, not a number we can use")


def _known(what: str, value: Any, kinds: dict[Any, Any]) -> Any:
    if value not in kinds:
        raise ValueError(f"{what} {value!r} is unknown to this version")
    return kinds[value]


def _pack_plate(plate: sensing.PlateId) -> sensing_pb2.PlateId:
    return sensing_pb2.PlateId(gondola=plate.gondola, shelf=plate.shelf, plate=plate.plate)


def _unpack_plate(message: sensing_pb2.PlateId) -> sensing.PlateId:
    return sensing.PlateId(message.gondola, message.shelf, message.plate)


def _check_batch(record: sensing.LoadCellBatch) -> None:
    _finite("rate_hz", record.rate_hz)
    if record.rate_hz <= 0.0:
        raise ValueError(f"rate_hz is {record.rate_hz}; it must be positive")
    if not record.plates or len(set(record.plates)) != len(record.plates):
        raise ValueError("plates must name at least one plate and none twice")
    if record.grams.ndim != 2 or record.grams.shape[1] != len(record.plates):
        raise ValueError(f"grams has shape {record.grams.shape} for {len(record.plates)} plates")


def _pack_batch(record: sensing.LoadCellBatch) -> sensing_pb2.LoadCellBatch:
    return sensing_pb2.LoadCellBatch(
        source=record.source,
        plates=[_pack_plate(plate) for plate in record.plates],
        t0_ns=record.t0_ns,
        rate_hz=record.rate_hz,
        grams=np.ascontiguousarray(record.grams, dtype="<f4").tobytes(),
    )


def _unpack_batch(message: sensing_pb2.LoadCellBatch) -> sensing.LoadCellBatch:
    plates = tuple(_unpack_plate(plate) for plate in message.plates)
    row_bytes = 4 * len(plates)
    if not row_bytes or len(message.grams) % row_bytes:
        raise ValueError(f"{len(message.grams)} bytes of grams are no whole rows of {len(plates)} plates")
    grams = np.frombuffer(message.grams, dtype="<f4").reshape(-1, len(plates))
    return sensing.LoadCellBatch(message.source, plates, message.t0_ns, message.rate_hz, grams)


def _check_joint(joint: sensing.Joint) -> None:
    # One sum is not finite as soon as one of its parts is not.
    _finite("a joint's position or score", joint.x_m + joint.y_m + joint.z_m + joint.score + joint.sigma_m)


def _check_frame(record: sensing.BodyFrame) -> None:
    for body in record.bodies:
        if body.head is not None:
            _check_joint(body.head)
        for joint in (*body.hands, *body.joints.values()):
            _check_joint(joint)
        if body.floor is not None:
            _finite("a place on the floor", sum(astuple(body.floor)))
        if body.over and len(body.over) != len(body.hands):
            raise ValueError(f"{len(body.over)} shelves for {len(body.hands)} hands")


def _pack_joint(joint: sensing.Joint) -> sensing_pb2.Joint:
    return sensing_pb2.Joint(x_m=joint.x_m, y_m=joint.y_m, z_m=joint.z_m, score=joint.score, sigma_m=joint.sigma_m)


def _unpack_joint(message: sensing_pb2.Joint) -> sensing.Joint:
    return sensing.Joint(message.x_m, message.y_m, message.z_m, message.score, message.sigma_m)


def _pack_body(body: sensing.Body) -> sensing_pb2.Body:
    return sensing_pb2.Body(
        track_id=body.track_id,
        head=None if body.head is None else _pack_joint(body.head),
        hands=[_pack_joint(hand) for hand in body.hands],
        joints=[
            sensing_pb2.NamedJoint(name=name, joint=_pack_joint(joint)) for name, joint in sorted(body.joints.items())
        ],
        floor=None if body.floor is None else sensing_pb2.FloorPosition(**asdict(body.floor)),
        over=[
            sensing_pb2.ShelfBelow(gondola=shelf.gondola, shelf=shelf.shelf) if shelf else sensing_pb2.ShelfBelow()
            for shelf in body.over
        ],
    )


def _unpack_body(message: sensing_pb2.Body) -> sensing.Body:
    return sensing.Body(
        track_id=message.track_id,
        head=_unpack_joint(message.head) if message.HasField("head") else None,
        hands=tuple(_unpack_joint(hand) for hand in message.hands),
        joints={named.name: _unpack_joint(named.joint) for named in message.joints},
        floor=_unpack_floor(message.floor) if message.HasField("floor") else None,
        over=tuple(sensing.ShelfId(one.gondola, one.shelf) if one.gondola else None for one in message.over),
    )


def _unpack_floor(message: sensing_pb2.FloorPosition) -> sensing.FloorPosition:
    return sensing.FloorPosition(message.x_m, message.y_m, message.xx_m2, message.xy_m2, message.yy_m2)


def _pack_frame(record: sensing.BodyFrame) -> sensing_pb2.BodyFrame:
    return sensing_pb2.BodyFrame(t_ns=record.t_ns, bodies=[_pack_body(body) for body in record.bodies])


def _unpack_frame(message: sensing_pb2.BodyFrame) -> sensing.BodyFrame:
    return sensing.BodyFrame(message.t_ns, tuple(_unpack_body(body) for body in message.bodies))


def _check_weight_event(record: sensing.WeightEvent) -> None:
    count = len(record.plates)
    if not count or len(record.delta_g) != count or len(record.sigma_g) != count:
        raise ValueError(f"{count} plates, {len(record.delta_g)} deltas, {len(record.sigma_g)} sigmas")
    if len({plate.shelf_id for plate in record.plates}) != 1:
        raise ValueError("its plates lie on several shelves")
    for delta, sigma in zip(record.delta_g, record.sigma_g, strict=True):
        _finite("delta_g", delta)
        _finite("sigma_g", sigma)
        if sigma < 0.0:
            raise ValueError(f"sigma_g is {sigma}; a standard deviation is never negative")
    _check_span(record)


def _check_span(record: sensing.WeightEvent | sensing.Gap) -> None:
    if record.end_ns < record.start_ns:
        raise ValueError(f"it ends ({record.end_ns}) before it starts ({record.start_ns})")


def _pack_weight_event(record: sensing.WeightEvent) -> sensing_pb2.WeightEvent:
    return sensing_pb2.WeightEvent(
        event_id=record.event_id,
        plates=[_pack_plate(plate) for plate in record.plates],
        delta_g=record.delta_g,
        sigma_g=record.sigma_g,
        start_ns=record.start_ns,
        step_ns=record.step_ns,
        end_ns=record.end_ns,
        kind=_known("kind", record.kind, _WEIGHT_KINDS),
        settled=record.settled,
    )


def _unpack_weight_event(message: sensing_pb2.WeightEvent) -> sensing.WeightEvent:
    return sensing.WeightEvent(
        event_id=message.event_id,
        plates=tuple(_unpack_plate(plate) for plate in message.plates),
        delta_g=tuple(message.delta_g),
        sigma_g=tuple(message.sigma_g),
        start_ns=message.start_ns,
        step_ns=message.step_ns,
        end_ns=message.end_ns,
        kind=_known("kind", message.kind, _WEIGHT_KIND_OF),
        settled=message.settled,
    )


def _pack_gap(record: sensing.Gap) -> sensing_pb2.Gap:
    return sensing_pb2.Gap(source=record.source, start_ns=record.start_ns, end_ns=record.end_ns, reason=record.reason)


def _unpack_gap(message: sensing_pb2.Gap) -> sensing.Gap:
    return sensing.Gap(message.source, message.start_ns, message.end_ns, message.reason)


def _pack_gate_event(record: sensing.GateEvent) -> sensing_pb2.GateEvent:
    return sensing_pb2.GateEvent(
        t_ns=record.t_ns,
        kind=_known("kind", record.kind, _GATE_KINDS),
        visit_id=record.visit_id,
        track_id=record.track_id,
    )


def _unpack_gate_event(message: sensing_pb2.GateEvent) -> sensing.GateEvent:
    track_id = message.track_id if message.HasField("track_id") else None
    kind = _known("kind", message.kind, _GATE_KIND_OF)
    return sensing.GateEvent(message.t_ns, kind, message.visit_id, track_id)


def _pack_watermark(record: sensing.Watermark) -> sensing_pb2.Watermark:
    return sensing_pb2.Watermark(source=record.source, t_ns=record.t_ns)


def _unpack_watermark(message: sensing_pb2.Watermark) -> sensing.Watermark:
    return sensing.Watermark(message.source, message.t_ns)


def _pack_basket_event(record: shopping.BasketEvent) -> shopping_pb2.BasketEvent:
    return shopping_pb2.BasketEvent(
        event_id=record.event_id,
        visit_id=record.visit_id,
        t_ns=record.t_ns,
        kind=_known("kind", record.kind, _BASKET_KINDS),
        barcode=record.barcode,
        quantity=record.quantity,
        probability=record.probability,
        weight_event_id=record.weight_event_id,
        grams=record.grams,
    )


def _unpack_basket_event(message: shopping_pb2.BasketEvent) -> shopping.BasketEvent:
    return shopping.BasketEvent(
        event_id=message.event_id,
        visit_id=message.visit_id,
        t_ns=message.t_ns,
        kind=_known("kind", message.kind, _BASKET_KIND_OF),
        barcode=message.barcode,
        quantity=message.quantity,
        probability=message.probability,
        weight_event_id=message.weight_event_id,
        grams=message.grams,
    )


def _pack_part(part: shopping.Part) -> shopping_pb2.Part:
    items = [shopping_pb2.Item(barcode=item.barcode, quantity=item.quantity) for item in part.items]
    return shopping_pb2.Part(visit_id=part.visit_id, items=items)


def _unpack_part(message: shopping_pb2.Part) -> shopping.Part:
    return shopping.Part(
        visit_id=message.visit_id if message.HasField("visit_id") else None,
        items=tuple(shopping.Item(item.barcode, item.quantity) for item in message.items),
    )


def _pack_candidate(candidate: shopping.Candidate) -> shopping_pb2.Candidate:
    return shopping_pb2.Candidate(
        parts=[_pack_part(part) for part in candidate.parts],
        sign=candidate.sign,
        probability=candidate.probability,
    )


def _unpack_candidate(message: shopping_pb2.Candidate) -> shopping.Candidate:
    parts = tuple(_unpack_part(part) for part in message.parts)
    return shopping.Candidate(parts, message.sign, message.probability)


def _check_candidates(candidates: tuple[shopping.Candidate, ...]) -> None:
    for candidate in candidates:
        _finite("probability", candidate.probability)
        if candidate.sign not in (-1, 0, 1):
            raise ValueError(f"sign is {candidate.sign}; it is -1 (pick), 0 (nothing) or +1 (put-back)")


def _pack_assignment(record: shopping.Assignment) -> shopping_pb2.Assignment:
    return shopping_pb2.Assignment(
        weight_event_id=record.weight_event_id,
        chosen=_pack_candidate(record.chosen),
        others=[_pack_candidate(other) for other in record.others],
    )


def _unpack_assignment(message: shopping_pb2.Assignment) -> shopping.Assignment:
    if not message.HasField("chosen"):
        raise ValueError("the chosen explanation is missing")
    others = tuple(_unpack_candidate(other) for other in message.others)
    return shopping.Assignment(message.weight_event_id, _unpack_candidate(message.chosen), others)


def _pack_undecided(record: shopping.Undecided) -> shopping_pb2.Undecided:
    return shopping_pb2.Undecided(
        weight_event_id=record.weight_event_id,
        candidates=[_pack_candidate(candidate) for candidate in record.candidates],
        reason=record.reason,
    )


def _unpack_undecided(message: shopping_pb2.Undecided) -> shopping.Undecided:
    candidates = tuple(_unpack_candidate(candidate) for candidate in message.candidates)
    return shopping.Undecided(message.weight_event_id, candidates, message.reason)


def _pack_visit_closed(record: shopping.VisitClosed) -> shopping_pb2.VisitClosed:
    return shopping_pb2.VisitClosed(
        visit_id=record.visit_id,
        t_ns=record.t_ns,
        basket_events=record.basket_events,
        confidence=record.confidence,
        review=record.review,
    )


def _unpack_visit_closed(message: shopping_pb2.VisitClosed) -> shopping.VisitClosed:
    return shopping.VisitClosed(
        message.visit_id, message.t_ns, message.basket_events, message.confidence, tuple(message.review)
    )


class _Codec(NamedTuple):
    """How one kind of record travels: field of the envelope, both directions, contract (ValueError)."""

    field: str
    pack: Callable[[Any], Message]
    unpack: Callable[[Any], Record]
    check: Callable[[Any], None]


def _anything(_record: Any) -> None:
    """Types say it all."""


def _check_number(field: str, record: Any) -> None:
    _finite(field, getattr(record, field))


_CODECS: dict[type, _Codec] = {
    sensing.LoadCellBatch: _Codec("load_cell_batch", _pack_batch, _unpack_batch, _check_batch),
    sensing.BodyFrame: _Codec("body_frame", _pack_frame, _unpack_frame, _check_frame),
    sensing.WeightEvent: _Codec("weight_event", _pack_weight_event, _unpack_weight_event, _check_weight_event),
    sensing.Gap: _Codec("gap", _pack_gap, _unpack_gap, _check_span),
    sensing.GateEvent: _Codec("gate_event", _pack_gate_event, _unpack_gate_event, _anything),
    sensing.Watermark: _Codec("watermark", _pack_watermark, _unpack_watermark, _anything),
    shopping.BasketEvent: _Codec(
        "basket_event", _pack_basket_event, _unpack_basket_event, partial(_check_number, "probability")
    ),
    shopping.VisitClosed: _Codec(
        "visit_closed", _pack_visit_closed, _unpack_visit_closed, partial(_check_number, "confidence")
    ),
    shopping.Assignment: _Codec(
        "assignment",
        _pack_assignment,
        _unpack_assignment,
        lambda record: _check_candidates((record.chosen, *record.others)),
    ),
    shopping.Undecided: _Codec(
        "undecided",
        _pack_undecided,
        _unpack_undecided,
        lambda record: _check_candidates(record.candidates),
    ),
}
_CODEC_OF_FIELD: dict[str, _Codec] = {codec.field: codec for codec in _CODECS.values()}
