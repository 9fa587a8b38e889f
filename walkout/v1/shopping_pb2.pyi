from walkout.v1 import sensing_pb2 as _sensing_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BasketEventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BASKET_EVENT_KIND_UNSPECIFIED: _ClassVar[BasketEventKind]
    BASKET_EVENT_KIND_PICK: _ClassVar[BasketEventKind]
    BASKET_EVENT_KIND_PUT_BACK: _ClassVar[BasketEventKind]
    BASKET_EVENT_KIND_CORRECTION: _ClassVar[BasketEventKind]
BASKET_EVENT_KIND_UNSPECIFIED: BasketEventKind
BASKET_EVENT_KIND_PICK: BasketEventKind
BASKET_EVENT_KIND_PUT_BACK: BasketEventKind
BASKET_EVENT_KIND_CORRECTION: BasketEventKind

class BasketEvent(_message.Message):
    __slots__ = ("event_id", "visit_id", "t_ns", "kind", "barcode", "quantity", "probability", "weight_event_id", "grams")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    VISIT_ID_FIELD_NUMBER: _ClassVar[int]
    T_NS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    BARCODE_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    GRAMS_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    visit_id: str
    t_ns: int
    kind: BasketEventKind
    barcode: str
    quantity: int
    probability: float
    weight_event_id: str
    grams: int
    def __init__(self, event_id: _Optional[str] = ..., visit_id: _Optional[str] = ..., t_ns: _Optional[int] = ..., kind: _Optional[_Union[BasketEventKind, str]] = ..., barcode: _Optional[str] = ..., quantity: _Optional[int] = ..., probability: _Optional[float] = ..., weight_event_id: _Optional[str] = ..., grams: _Optional[int] = ...) -> None: ...

class Item(_message.Message):
    __slots__ = ("barcode", "quantity")
    BARCODE_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    barcode: str
    quantity: int
    def __init__(self, barcode: _Optional[str] = ..., quantity: _Optional[int] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("visit_id", "items")
    VISIT_ID_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    visit_id: str
    items: _containers.RepeatedCompositeFieldContainer[Item]
    def __init__(self, visit_id: _Optional[str] = ..., items: _Optional[_Iterable[_Union[Item, _Mapping]]] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("parts", "sign", "probability")
    PARTS_FIELD_NUMBER: _ClassVar[int]
    SIGN_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    parts: _containers.RepeatedCompositeFieldContainer[Part]
    sign: int
    probability: float
    def __init__(self, parts: _Optional[_Iterable[_Union[Part, _Mapping]]] = ..., sign: _Optional[int] = ..., probability: _Optional[float] = ...) -> None: ...

class Assignment(_message.Message):
    __slots__ = ("weight_event_id", "chosen", "others")
    WEIGHT_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    CHOSEN_FIELD_NUMBER: _ClassVar[int]
    OTHERS_FIELD_NUMBER: _ClassVar[int]
    weight_event_id: str
    chosen: Candidate
    others: _containers.RepeatedCompositeFieldContainer[Candidate]
    def __init__(self, weight_event_id: _Optional[str] = ..., chosen: _Optional[_Union[Candidate, _Mapping]] = ..., others: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ...) -> None: ...

class Undecided(_message.Message):
    __slots__ = ("weight_event_id", "candidates", "reason")
    WEIGHT_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    weight_event_id: str
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    reason: str
    def __init__(self, weight_event_id: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., reason: _Optional[str] = ...) -> None: ...

class VisitClosed(_message.Message):
    __slots__ = ("visit_id", "t_ns", "basket_events", "confidence", "review")
    VISIT_ID_FIELD_NUMBER: _ClassVar[int]
    T_NS_FIELD_NUMBER: _ClassVar[int]
    BASKET_EVENTS_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    REVIEW_FIELD_NUMBER: _ClassVar[int]
    visit_id: str
    t_ns: int
    basket_events: int
    confidence: float
    review: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, visit_id: _Optional[str] = ..., t_ns: _Optional[int] = ..., basket_events: _Optional[int] = ..., confidence: _Optional[float] = ..., review: _Optional[_Iterable[str]] = ...) -> None: ...

class StreamRecord(_message.Message):
    __slots__ = ("load_cell_batch", "body_frame", "weight_event", "gap", "gate_event", "watermark", "basket_event", "visit_closed", "assignment", "undecided")
    LOAD_CELL_BATCH_FIELD_NUMBER: _ClassVar[int]
    BODY_FRAME_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_EVENT_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    GATE_EVENT_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_FIELD_NUMBER: _ClassVar[int]
    BASKET_EVENT_FIELD_NUMBER: _ClassVar[int]
    VISIT_CLOSED_FIELD_NUMBER: _ClassVar[int]
    ASSIGNMENT_FIELD_NUMBER: _ClassVar[int]
    UNDECIDED_FIELD_NUMBER: _ClassVar[int]
    load_cell_batch: _sensing_pb2.LoadCellBatch
    body_frame: _sensing_pb2.BodyFrame
    weight_event: _sensing_pb2.WeightEvent
    gap: _sensing_pb2.Gap
    gate_event: _sensing_pb2.GateEvent
    watermark: _sensing_pb2.Watermark
    basket_event: BasketEvent
    visit_closed: VisitClosed
    assignment: Assignment
    undecided: Undecided
    def __init__(self, load_cell_batch: _Optional[_Union[_sensing_pb2.LoadCellBatch, _Mapping]] = ..., body_frame: _Optional[_Union[_sensing_pb2.BodyFrame, _Mapping]] = ..., weight_event: _Optional[_Union[_sensing_pb2.WeightEvent, _Mapping]] = ..., gap: _Optional[_Union[_sensing_pb2.Gap, _Mapping]] = ..., gate_event: _Optional[_Union[_sensing_pb2.GateEvent, _Mapping]] = ..., watermark: _Optional[_Union[_sensing_pb2.Watermark, _Mapping]] = ..., basket_event: _Optional[_Union[BasketEvent, _Mapping]] = ..., visit_closed: _Optional[_Union[VisitClosed, _Mapping]] = ..., assignment: _Optional[_Union[Assignment, _Mapping]] = ..., undecided: _Optional[_Union[Undecided, _Mapping]] = ...) -> None: ...
