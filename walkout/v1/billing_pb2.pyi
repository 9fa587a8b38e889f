from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BilledVisitStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BILLED_VISIT_STATUS_UNSPECIFIED: _ClassVar[BilledVisitStatus]
    BILLED_VISIT_STATUS_OPEN: _ClassVar[BilledVisitStatus]
    BILLED_VISIT_STATUS_CLOSING: _ClassVar[BilledVisitStatus]
    BILLED_VISIT_STATUS_CAPTURED: _ClassVar[BilledVisitStatus]
    BILLED_VISIT_STATUS_REVIEW: _ClassVar[BilledVisitStatus]
    BILLED_VISIT_STATUS_RELEASED: _ClassVar[BilledVisitStatus]
BILLED_VISIT_STATUS_UNSPECIFIED: BilledVisitStatus
BILLED_VISIT_STATUS_OPEN: BilledVisitStatus
BILLED_VISIT_STATUS_CLOSING: BilledVisitStatus
BILLED_VISIT_STATUS_CAPTURED: BilledVisitStatus
BILLED_VISIT_STATUS_REVIEW: BilledVisitStatus
BILLED_VISIT_STATUS_RELEASED: BilledVisitStatus

class BilledVisit(_message.Message):
    __slots__ = ("visit_id", "store", "account_id", "currency", "entered_ns", "closed_ns", "status", "basket_events", "review_reasons")
    VISIT_ID_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    ENTERED_NS_FIELD_NUMBER: _ClassVar[int]
    CLOSED_NS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    BASKET_EVENTS_FIELD_NUMBER: _ClassVar[int]
    REVIEW_REASONS_FIELD_NUMBER: _ClassVar[int]
    visit_id: str
    store: str
    account_id: str
    currency: str
    entered_ns: int
    closed_ns: int
    status: BilledVisitStatus
    basket_events: int
    review_reasons: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, visit_id: _Optional[str] = ..., store: _Optional[str] = ..., account_id: _Optional[str] = ..., currency: _Optional[str] = ..., entered_ns: _Optional[int] = ..., closed_ns: _Optional[int] = ..., status: _Optional[_Union[BilledVisitStatus, str]] = ..., basket_events: _Optional[int] = ..., review_reasons: _Optional[_Iterable[str]] = ...) -> None: ...

class ReceiptLine(_message.Message):
    __slots__ = ("barcode", "name", "quantity", "unit_minor", "total_minor")
    BARCODE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    UNIT_MINOR_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MINOR_FIELD_NUMBER: _ClassVar[int]
    barcode: str
    name: str
    quantity: int
    unit_minor: int
    total_minor: int
    def __init__(self, barcode: _Optional[str] = ..., name: _Optional[str] = ..., quantity: _Optional[int] = ..., unit_minor: _Optional[int] = ..., total_minor: _Optional[int] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("visit", "lines", "total_minor", "confidence")
    VISIT_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MINOR_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    visit: BilledVisit
    lines: _containers.RepeatedCompositeFieldContainer[ReceiptLine]
    total_minor: int
    confidence: float
    def __init__(self, visit: _Optional[_Union[BilledVisit, _Mapping]] = ..., lines: _Optional[_Iterable[_Union[ReceiptLine, _Mapping]]] = ..., total_minor: _Optional[int] = ..., confidence: _Optional[float] = ...) -> None: ...

class OpenVisitRequest(_message.Message):
    __slots__ = ("visit_id", "store", "account_id", "currency", "entered_ns")
    VISIT_ID_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    ENTERED_NS_FIELD_NUMBER: _ClassVar[int]
    visit_id: str
    store: str
    account_id: str
    currency: str
    entered_ns: int
    def __init__(self, visit_id: _Optional[str] = ..., store: _Optional[str] = ..., account_id: _Optional[str] = ..., currency: _Optional[str] = ..., entered_ns: _Optional[int] = ...) -> None: ...

class OpenVisitResponse(_message.Message):
    __slots__ = ("visit",)
    VISIT_FIELD_NUMBER: _ClassVar[int]
    visit: BilledVisit
    def __init__(self, visit: _Optional[_Union[BilledVisit, _Mapping]] = ...) -> None: ...

class AppendBasketEventsRequest(_message.Message):
    __slots__ = ("event_id", "visit_id", "t_ns", "kind", "barcode", "quantity", "probability", "weight_event_id")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[AppendBasketEventsRequest.Kind]
        KIND_PICK: _ClassVar[AppendBasketEventsRequest.Kind]
        KIND_PUT_BACK: _ClassVar[AppendBasketEventsRequest.Kind]
        KIND_CORRECTION: _ClassVar[AppendBasketEventsRequest.Kind]
    KIND_UNSPECIFIED: AppendBasketEventsRequest.Kind
    KIND_PICK: AppendBasketEventsRequest.Kind
    KIND_PUT_BACK: AppendBasketEventsRequest.Kind
    KIND_CORRECTION: AppendBasketEventsRequest.Kind
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    VISIT_ID_FIELD_NUMBER: _ClassVar[int]
    T_NS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    BARCODE_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    visit_id: str
    t_ns: int
    kind: AppendBasketEventsRequest.Kind
    barcode: str
    quantity: int
    probability: float
    weight_event_id: str
    def __init__(self, event_id: _Optional[str] = ..., visit_id: _Optional[str] = ..., t_ns: _Optional[int] = ..., kind: _Optional[_Union[AppendBasketEventsRequest.Kind, str]] = ..., barcode: _Optional[str] = ..., quantity: _Optional[int] = ..., probability: _Optional[float] = ..., weight_event_id: _Optional[str] = ...) -> None: ...

class AppendBasketEventsResponse(_message.Message):
    __slots__ = ("added", "known")
    ADDED_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    added: int
    known: int
    def __init__(self, added: _Optional[int] = ..., known: _Optional[int] = ...) -> None: ...

class CloseVisitRequest(_message.Message):
    __slots__ = ("visit_id", "closed_ns", "basket_events", "confidence", "review_reasons")
    VISIT_ID_FIELD_NUMBER: _ClassVar[int]
    CLOSED_NS_FIELD_NUMBER: _ClassVar[int]
    BASKET_EVENTS_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    REVIEW_REASONS_FIELD_NUMBER: _ClassVar[int]
    visit_id: str
    closed_ns: int
    basket_events: int
    confidence: float
    review_reasons: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, visit_id: _Optional[str] = ..., closed_ns: _Optional[int] = ..., basket_events: _Optional[int] = ..., confidence: _Optional[float] = ..., review_reasons: _Optional[_Iterable[str]] = ...) -> None: ...

class CloseVisitResponse(_message.Message):
    __slots__ = ("visit",)
    VISIT_FIELD_NUMBER: _ClassVar[int]
    visit: BilledVisit
    def __init__(self, visit: _Optional[_Union[BilledVisit, _Mapping]] = ...) -> None: ...

class GetVisitRequest(_message.Message):
    __slots__ = ("visit_id",)
    VISIT_ID_FIELD_NUMBER: _ClassVar[int]
    visit_id: str
    def __init__(self, visit_id: _Optional[str] = ...) -> None: ...

class GetVisitResponse(_message.Message):
    __slots__ = ("visit",)
    VISIT_FIELD_NUMBER: _ClassVar[int]
    visit: BilledVisit
    def __init__(self, visit: _Optional[_Union[BilledVisit, _Mapping]] = ...) -> None: ...

class GetReceiptRequest(_message.Message):
    __slots__ = ("visit_id",)
    VISIT_ID_FIELD_NUMBER: _ClassVar[int]
    visit_id: str
    def __init__(self, visit_id: _Optional[str] = ...) -> None: ...

class GetReceiptResponse(_message.Message):
    __slots__ = ("receipt",)
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    receipt: Receipt
    def __init__(self, receipt: _Optional[_Union[Receipt, _Mapping]] = ...) -> None: ...

class ListVisitsRequest(_message.Message):
    __slots__ = ("store", "status")
    STORE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    store: str
    status: BilledVisitStatus
    def __init__(self, store: _Optional[str] = ..., status: _Optional[_Union[BilledVisitStatus, str]] = ...) -> None: ...

class ListVisitsResponse(_message.Message):
    __slots__ = ("visits",)
    VISITS_FIELD_NUMBER: _ClassVar[int]
    visits: _containers.RepeatedCompositeFieldContainer[BilledVisit]
    def __init__(self, visits: _Optional[_Iterable[_Union[BilledVisit, _Mapping]]] = ...) -> None: ...

class UpsertPricesRequest(_message.Message):
    __slots__ = ("store", "currency", "prices")
    class Price(_message.Message):
        __slots__ = ("barcode", "name", "price_minor")
        BARCODE_FIELD_NUMBER: _ClassVar[int]
        NAME_FIELD_NUMBER: _ClassVar[int]
        PRICE_MINOR_FIELD_NUMBER: _ClassVar[int]
        barcode: str
        name: str
        price_minor: int
        def __init__(self, barcode: _Optional[str] = ..., name: _Optional[str] = ..., price_minor: _Optional[int] = ...) -> None: ...
    STORE_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    PRICES_FIELD_NUMBER: _ClassVar[int]
    store: str
    currency: str
    prices: _containers.RepeatedCompositeFieldContainer[UpsertPricesRequest.Price]
    def __init__(self, store: _Optional[str] = ..., currency: _Optional[str] = ..., prices: _Optional[_Iterable[_Union[UpsertPricesRequest.Price, _Mapping]]] = ...) -> None: ...

class UpsertPricesResponse(_message.Message):
    __slots__ = ("products",)
    PRODUCTS_FIELD_NUMBER: _ClassVar[int]
    products: int
    def __init__(self, products: _Optional[int] = ...) -> None: ...

class TopUpWalletRequest(_message.Message):
    __slots__ = ("topup_id", "account_id", "amount_minor", "currency")
    TOPUP_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_MINOR_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    topup_id: str
    account_id: str
    amount_minor: int
    currency: str
    def __init__(self, topup_id: _Optional[str] = ..., account_id: _Optional[str] = ..., amount_minor: _Optional[int] = ..., currency: _Optional[str] = ...) -> None: ...

class TopUpWalletResponse(_message.Message):
    __slots__ = ("balance_minor",)
    BALANCE_MINOR_FIELD_NUMBER: _ClassVar[int]
    balance_minor: int
    def __init__(self, balance_minor: _Optional[int] = ...) -> None: ...

class CheckBooksRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CheckBooksResponse(_message.Message):
    __slots__ = ("balanced", "problems", "transactions", "postings", "unfinished_visits", "charges", "captured_minor")
    class ChargesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class CapturedMinorEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    BALANCED_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    TRANSACTIONS_FIELD_NUMBER: _ClassVar[int]
    POSTINGS_FIELD_NUMBER: _ClassVar[int]
    UNFINISHED_VISITS_FIELD_NUMBER: _ClassVar[int]
    CHARGES_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_MINOR_FIELD_NUMBER: _ClassVar[int]
    balanced: bool
    problems: _containers.RepeatedScalarFieldContainer[str]
    transactions: int
    postings: int
    unfinished_visits: int
    charges: _containers.ScalarMap[str, int]
    captured_minor: _containers.ScalarMap[str, int]
    def __init__(self, balanced: _Optional[bool] = ..., problems: _Optional[_Iterable[str]] = ..., transactions: _Optional[int] = ..., postings: _Optional[int] = ..., unfinished_visits: _Optional[int] = ..., charges: _Optional[_Mapping[str, int]] = ..., captured_minor: _Optional[_Mapping[str, int]] = ...) -> None: ...
