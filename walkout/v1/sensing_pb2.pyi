from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WeightEventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WEIGHT_EVENT_KIND_UNSPECIFIED: _ClassVar[WeightEventKind]
    WEIGHT_EVENT_KIND_STEP: _ClassVar[WeightEventKind]
    WEIGHT_EVENT_KIND_TOUCH: _ClassVar[WeightEventKind]

class GateEventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GATE_EVENT_KIND_UNSPECIFIED: _ClassVar[GateEventKind]
    GATE_EVENT_KIND_ENTERED: _ClassVar[GateEventKind]
    GATE_EVENT_KIND_LEFT: _ClassVar[GateEventKind]
WEIGHT_EVENT_KIND_UNSPECIFIED: WeightEventKind
WEIGHT_EVENT_KIND_STEP: WeightEventKind
WEIGHT_EVENT_KIND_TOUCH: WeightEventKind
GATE_EVENT_KIND_UNSPECIFIED: GateEventKind
GATE_EVENT_KIND_ENTERED: GateEventKind
GATE_EVENT_KIND_LEFT: GateEventKind

class PlateId(_message.Message):
    __slots__ = ("gondola", "shelf", "plate")
    GONDOLA_FIELD_NUMBER: _ClassVar[int]
    SHELF_FIELD_NUMBER: _ClassVar[int]
    PLATE_FIELD_NUMBER: _ClassVar[int]
    gondola: str
    shelf: int
    plate: int
    def __init__(self, gondola: _Optional[str] = ..., shelf: _Optional[int] = ..., plate: _Optional[int] = ...) -> None: ...

class LoadCellBatch(_message.Message):
    __slots__ = ("source", "plates", "t0_ns", "rate_hz", "grams")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PLATES_FIELD_NUMBER: _ClassVar[int]
    T0_NS_FIELD_NUMBER: _ClassVar[int]
    RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    GRAMS_FIELD_NUMBER: _ClassVar[int]
    source: str
    plates: _containers.RepeatedCompositeFieldContainer[PlateId]
    t0_ns: int
    rate_hz: float
    grams: bytes
    def __init__(self, source: _Optional[str] = ..., plates: _Optional[_Iterable[_Union[PlateId, _Mapping]]] = ..., t0_ns: _Optional[int] = ..., rate_hz: _Optional[float] = ..., grams: _Optional[bytes] = ...) -> None: ...

class Joint(_message.Message):
    __slots__ = ("x_m", "y_m", "z_m", "score", "sigma_m")
    X_M_FIELD_NUMBER: _ClassVar[int]
    Y_M_FIELD_NUMBER: _ClassVar[int]
    Z_M_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    SIGMA_M_FIELD_NUMBER: _ClassVar[int]
    x_m: float
    y_m: float
    z_m: float
    score: float
    sigma_m: float
    def __init__(self, x_m: _Optional[float] = ..., y_m: _Optional[float] = ..., z_m: _Optional[float] = ..., score: _Optional[float] = ..., sigma_m: _Optional[float] = ...) -> None: ...

class FloorPosition(_message.Message):
    __slots__ = ("x_m", "y_m", "xx_m2", "xy_m2", "yy_m2")
    X_M_FIELD_NUMBER: _ClassVar[int]
    Y_M_FIELD_NUMBER: _ClassVar[int]
    XX_M2_FIELD_NUMBER: _ClassVar[int]
    XY_M2_FIELD_NUMBER: _ClassVar[int]
    YY_M2_FIELD_NUMBER: _ClassVar[int]
    x_m: float
    y_m: float
    xx_m2: float
    xy_m2: float
    yy_m2: float
    def __init__(self, x_m: _Optional[float] = ..., y_m: _Optional[float] = ..., xx_m2: _Optional[float] = ..., xy_m2: _Optional[float] = ..., yy_m2: _Optional[float] = ...) -> None: ...

class ShelfBelow(_message.Message):
    __slots__ = ("gondola", "shelf")
    GONDOLA_FIELD_NUMBER: _ClassVar[int]
    SHELF_FIELD_NUMBER: _ClassVar[int]
    gondola: str
    shelf: int
    def __init__(self, gondola: _Optional[str] = ..., shelf: _Optional[int] = ...) -> None: ...

class NamedJoint(_message.Message):
    __slots__ = ("name", "joint")
    NAME_FIELD_NUMBER: _ClassVar[int]
    JOINT_FIELD_NUMBER: _ClassVar[int]
    name: str
    joint: Joint
    def __init__(self, name: _Optional[str] = ..., joint: _Optional[_Union[Joint, _Mapping]] = ...) -> None: ...

class Body(_message.Message):
    __slots__ = ("track_id", "head", "hands", "joints", "floor", "over")
    TRACK_ID_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    HANDS_FIELD_NUMBER: _ClassVar[int]
    JOINTS_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    OVER_FIELD_NUMBER: _ClassVar[int]
    track_id: str
    head: Joint
    hands: _containers.RepeatedCompositeFieldContainer[Joint]
    joints: _containers.RepeatedCompositeFieldContainer[NamedJoint]
    floor: FloorPosition
    over: _containers.RepeatedCompositeFieldContainer[ShelfBelow]
    def __init__(self, track_id: _Optional[str] = ..., head: _Optional[_Union[Joint, _Mapping]] = ..., hands: _Optional[_Iterable[_Union[Joint, _Mapping]]] = ..., joints: _Optional[_Iterable[_Union[NamedJoint, _Mapping]]] = ..., floor: _Optional[_Union[FloorPosition, _Mapping]] = ..., over: _Optional[_Iterable[_Union[ShelfBelow, _Mapping]]] = ...) -> None: ...

class BodyFrame(_message.Message):
    __slots__ = ("t_ns", "bodies")
    T_NS_FIELD_NUMBER: _ClassVar[int]
    BODIES_FIELD_NUMBER: _ClassVar[int]
    t_ns: int
    bodies: _containers.RepeatedCompositeFieldContainer[Body]
    def __init__(self, t_ns: _Optional[int] = ..., bodies: _Optional[_Iterable[_Union[Body, _Mapping]]] = ...) -> None: ...

class WeightEvent(_message.Message):
    __slots__ = ("event_id", "plates", "delta_g", "sigma_g", "start_ns", "step_ns", "end_ns", "kind", "settled")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    PLATES_FIELD_NUMBER: _ClassVar[int]
    DELTA_G_FIELD_NUMBER: _ClassVar[int]
    SIGMA_G_FIELD_NUMBER: _ClassVar[int]
    START_NS_FIELD_NUMBER: _ClassVar[int]
    STEP_NS_FIELD_NUMBER: _ClassVar[int]
    END_NS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SETTLED_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    plates: _containers.RepeatedCompositeFieldContainer[PlateId]
    delta_g: _containers.RepeatedScalarFieldContainer[float]
    sigma_g: _containers.RepeatedScalarFieldContainer[float]
    start_ns: int
    step_ns: int
    end_ns: int
    kind: WeightEventKind
    settled: bool
    def __init__(self, event_id: _Optional[str] = ..., plates: _Optional[_Iterable[_Union[PlateId, _Mapping]]] = ..., delta_g: _Optional[_Iterable[float]] = ..., sigma_g: _Optional[_Iterable[float]] = ..., start_ns: _Optional[int] = ..., step_ns: _Optional[int] = ..., end_ns: _Optional[int] = ..., kind: _Optional[_Union[WeightEventKind, str]] = ..., settled: _Optional[bool] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("source", "start_ns", "end_ns", "reason")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    START_NS_FIELD_NUMBER: _ClassVar[int]
    END_NS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    source: str
    start_ns: int
    end_ns: int
    reason: str
    def __init__(self, source: _Optional[str] = ..., start_ns: _Optional[int] = ..., end_ns: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class GateEvent(_message.Message):
    __slots__ = ("t_ns", "kind", "visit_id", "track_id")
    T_NS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VISIT_ID_FIELD_NUMBER: _ClassVar[int]
    TRACK_ID_FIELD_NUMBER: _ClassVar[int]
    t_ns: int
    kind: GateEventKind
    visit_id: str
    track_id: str
    def __init__(self, t_ns: _Optional[int] = ..., kind: _Optional[_Union[GateEventKind, str]] = ..., visit_id: _Optional[str] = ..., track_id: _Optional[str] = ...) -> None: ...

class Watermark(_message.Message):
    __slots__ = ("source", "t_ns")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    T_NS_FIELD_NUMBER: _ClassVar[int]
    source: str
    t_ns: int
    def __init__(self, source: _Optional[str] = ..., t_ns: _Optional[int] = ...) -> None: ...
