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
    __slots__ = ("barcode", "name", "quantity", "unit_minor", "total_minor", "grams", "listed_minor", "tax_class", "tax_rate", "tax_minor", "tax_included", "reasons")
    class Reason(_message.Message):
        __slots__ = ("code", "source", "label", "amount_minor")
        CODE_FIELD_NUMBER: _ClassVar[int]
        SOURCE_FIELD_NUMBER: _ClassVar[int]
        LABEL_FIELD_NUMBER: _ClassVar[int]
        AMOUNT_MINOR_FIELD_NUMBER: _ClassVar[int]
        code: str
        source: str
        label: str
        amount_minor: int
        def __init__(self, code: _Optional[str] = ..., source: _Optional[str] = ..., label: _Optional[str] = ..., amount_minor: _Optional[int] = ...) -> None: ...
    BARCODE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    UNIT_MINOR_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MINOR_FIELD_NUMBER: _ClassVar[int]
    GRAMS_FIELD_NUMBER: _ClassVar[int]
    LISTED_MINOR_FIELD_NUMBER: _ClassVar[int]
    TAX_CLASS_FIELD_NUMBER: _ClassVar[int]
    TAX_RATE_FIELD_NUMBER: _ClassVar[int]
    TAX_MINOR_FIELD_NUMBER: _ClassVar[int]
    TAX_INCLUDED_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    barcode: str
    name: str
    quantity: int
    unit_minor: int
    total_minor: int
    grams: int
    listed_minor: int
    tax_class: str
    tax_rate: str
    tax_minor: int
    tax_included: bool
    reasons: _containers.RepeatedCompositeFieldContainer[ReceiptLine.Reason]
    def __init__(self, barcode: _Optional[str] = ..., name: _Optional[str] = ..., quantity: _Optional[int] = ..., unit_minor: _Optional[int] = ..., total_minor: _Optional[int] = ..., grams: _Optional[int] = ..., listed_minor: _Optional[int] = ..., tax_class: _Optional[str] = ..., tax_rate: _Optional[str] = ..., tax_minor: _Optional[int] = ..., tax_included: _Optional[bool] = ..., reasons: _Optional[_Iterable[_Union[ReceiptLine.Reason, _Mapping]]] = ...) -> None: ...

class Payment(_message.Message):
    __slots__ = ("method", "amount_minor", "reference", "at_ns")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_MINOR_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    AT_NS_FIELD_NUMBER: _ClassVar[int]
    method: str
    amount_minor: int
    reference: str
    at_ns: int
    def __init__(self, method: _Optional[str] = ..., amount_minor: _Optional[int] = ..., reference: _Optional[str] = ..., at_ns: _Optional[int] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("visit", "lines", "total_minor", "confidence", "adjustments", "payments", "terms_json")
    VISIT_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_MINOR_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    ADJUSTMENTS_FIELD_NUMBER: _ClassVar[int]
    PAYMENTS_FIELD_NUMBER: _ClassVar[int]
    TERMS_JSON_FIELD_NUMBER: _ClassVar[int]
    visit: BilledVisit
    lines: _containers.RepeatedCompositeFieldContainer[ReceiptLine]
    total_minor: int
    confidence: float
    adjustments: _containers.RepeatedCompositeFieldContainer[Adjustment]
    payments: _containers.RepeatedCompositeFieldContainer[Payment]
    terms_json: str
    def __init__(self, visit: _Optional[_Union[BilledVisit, _Mapping]] = ..., lines: _Optional[_Iterable[_Union[ReceiptLine, _Mapping]]] = ..., total_minor: _Optional[int] = ..., confidence: _Optional[float] = ..., adjustments: _Optional[_Iterable[_Union[Adjustment, _Mapping]]] = ..., payments: _Optional[_Iterable[_Union[Payment, _Mapping]]] = ..., terms_json: _Optional[str] = ...) -> None: ...

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
    __slots__ = ("event_id", "visit_id", "t_ns", "kind", "barcode", "quantity", "probability", "weight_event_id", "grams")
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
    GRAMS_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    visit_id: str
    t_ns: int
    kind: AppendBasketEventsRequest.Kind
    barcode: str
    quantity: int
    probability: float
    weight_event_id: str
    grams: int
    def __init__(self, event_id: _Optional[str] = ..., visit_id: _Optional[str] = ..., t_ns: _Optional[int] = ..., kind: _Optional[_Union[AppendBasketEventsRequest.Kind, str]] = ..., barcode: _Optional[str] = ..., quantity: _Optional[int] = ..., probability: _Optional[float] = ..., weight_event_id: _Optional[str] = ..., grams: _Optional[int] = ...) -> None: ...

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
        __slots__ = ("barcode", "name", "price_minor", "member_price_minor", "tax_class", "per_kg", "tare_g")
        BARCODE_FIELD_NUMBER: _ClassVar[int]
        NAME_FIELD_NUMBER: _ClassVar[int]
        PRICE_MINOR_FIELD_NUMBER: _ClassVar[int]
        MEMBER_PRICE_MINOR_FIELD_NUMBER: _ClassVar[int]
        TAX_CLASS_FIELD_NUMBER: _ClassVar[int]
        PER_KG_FIELD_NUMBER: _ClassVar[int]
        TARE_G_FIELD_NUMBER: _ClassVar[int]
        barcode: str
        name: str
        price_minor: int
        member_price_minor: int
        tax_class: str
        per_kg: bool
        tare_g: int
        def __init__(self, barcode: _Optional[str] = ..., name: _Optional[str] = ..., price_minor: _Optional[int] = ..., member_price_minor: _Optional[int] = ..., tax_class: _Optional[str] = ..., per_kg: _Optional[bool] = ..., tare_g: _Optional[int] = ...) -> None: ...
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

class WatchVisitRequest(_message.Message):
    __slots__ = ("visit_id",)
    VISIT_ID_FIELD_NUMBER: _ClassVar[int]
    visit_id: str
    def __init__(self, visit_id: _Optional[str] = ...) -> None: ...

class WatchVisitResponse(_message.Message):
    __slots__ = ("visit", "basket")
    class BasketLine(_message.Message):
        __slots__ = ("barcode", "quantity")
        BARCODE_FIELD_NUMBER: _ClassVar[int]
        QUANTITY_FIELD_NUMBER: _ClassVar[int]
        barcode: str
        quantity: int
        def __init__(self, barcode: _Optional[str] = ..., quantity: _Optional[int] = ...) -> None: ...
    VISIT_FIELD_NUMBER: _ClassVar[int]
    BASKET_FIELD_NUMBER: _ClassVar[int]
    visit: BilledVisit
    basket: _containers.RepeatedCompositeFieldContainer[WatchVisitResponse.BasketLine]
    def __init__(self, visit: _Optional[_Union[BilledVisit, _Mapping]] = ..., basket: _Optional[_Iterable[_Union[WatchVisitResponse.BasketLine, _Mapping]]] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("barcode", "quantity", "amount_minor")
    BARCODE_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_MINOR_FIELD_NUMBER: _ClassVar[int]
    barcode: str
    quantity: int
    amount_minor: int
    def __init__(self, barcode: _Optional[str] = ..., quantity: _Optional[int] = ..., amount_minor: _Optional[int] = ...) -> None: ...

class Adjustment(_message.Message):
    __slots__ = ("adjustment_id", "kind", "amount_minor", "reason_code", "reason", "actor", "at_ns", "changes")
    ADJUSTMENT_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_MINOR_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    AT_NS_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    adjustment_id: str
    kind: str
    amount_minor: int
    reason_code: str
    reason: str
    actor: str
    at_ns: int
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    def __init__(self, adjustment_id: _Optional[str] = ..., kind: _Optional[str] = ..., amount_minor: _Optional[int] = ..., reason_code: _Optional[str] = ..., reason: _Optional[str] = ..., actor: _Optional[str] = ..., at_ns: _Optional[int] = ..., changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ...) -> None: ...

class AdjustChargeRequest(_message.Message):
    __slots__ = ("adjustment_id", "visit_id", "changes", "reason", "actor")
    ADJUSTMENT_ID_FIELD_NUMBER: _ClassVar[int]
    VISIT_ID_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    adjustment_id: str
    visit_id: str
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    reason: str
    actor: str
    def __init__(self, adjustment_id: _Optional[str] = ..., visit_id: _Optional[str] = ..., changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., reason: _Optional[str] = ..., actor: _Optional[str] = ...) -> None: ...

class AdjustChargeResponse(_message.Message):
    __slots__ = ("visit", "adjustment")
    VISIT_FIELD_NUMBER: _ClassVar[int]
    ADJUSTMENT_FIELD_NUMBER: _ClassVar[int]
    visit: BilledVisit
    adjustment: Adjustment
    def __init__(self, visit: _Optional[_Union[BilledVisit, _Mapping]] = ..., adjustment: _Optional[_Union[Adjustment, _Mapping]] = ...) -> None: ...

class RefundRequest(_message.Message):
    __slots__ = ("refund_id", "visit_id", "items", "reason_code", "reason", "actor")
    class Item(_message.Message):
        __slots__ = ("barcode", "quantity")
        BARCODE_FIELD_NUMBER: _ClassVar[int]
        QUANTITY_FIELD_NUMBER: _ClassVar[int]
        barcode: str
        quantity: int
        def __init__(self, barcode: _Optional[str] = ..., quantity: _Optional[int] = ...) -> None: ...
    REFUND_ID_FIELD_NUMBER: _ClassVar[int]
    VISIT_ID_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    REASON_CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    refund_id: str
    visit_id: str
    items: _containers.RepeatedCompositeFieldContainer[RefundRequest.Item]
    reason_code: str
    reason: str
    actor: str
    def __init__(self, refund_id: _Optional[str] = ..., visit_id: _Optional[str] = ..., items: _Optional[_Iterable[_Union[RefundRequest.Item, _Mapping]]] = ..., reason_code: _Optional[str] = ..., reason: _Optional[str] = ..., actor: _Optional[str] = ...) -> None: ...

class RefundResponse(_message.Message):
    __slots__ = ("visit", "adjustment")
    VISIT_FIELD_NUMBER: _ClassVar[int]
    ADJUSTMENT_FIELD_NUMBER: _ClassVar[int]
    visit: BilledVisit
    adjustment: Adjustment
    def __init__(self, visit: _Optional[_Union[BilledVisit, _Mapping]] = ..., adjustment: _Optional[_Union[Adjustment, _Mapping]] = ...) -> None: ...

class Dispute(_message.Message):
    __slots__ = ("dispute_id", "visit_id", "direction", "status", "claim", "opened_by", "opened_ns", "adjustment_id")
    class Direction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        DIRECTION_UNSPECIFIED: _ClassVar[Dispute.Direction]
        DIRECTION_OVERCHARGED: _ClassVar[Dispute.Direction]
        DIRECTION_UNDERCHARGED: _ClassVar[Dispute.Direction]
    DIRECTION_UNSPECIFIED: Dispute.Direction
    DIRECTION_OVERCHARGED: Dispute.Direction
    DIRECTION_UNDERCHARGED: Dispute.Direction
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[Dispute.Status]
        STATUS_OPEN: _ClassVar[Dispute.Status]
        STATUS_ACCEPTED: _ClassVar[Dispute.Status]
        STATUS_REJECTED: _ClassVar[Dispute.Status]
    STATUS_UNSPECIFIED: Dispute.Status
    STATUS_OPEN: Dispute.Status
    STATUS_ACCEPTED: Dispute.Status
    STATUS_REJECTED: Dispute.Status
    DISPUTE_ID_FIELD_NUMBER: _ClassVar[int]
    VISIT_ID_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    OPENED_BY_FIELD_NUMBER: _ClassVar[int]
    OPENED_NS_FIELD_NUMBER: _ClassVar[int]
    ADJUSTMENT_ID_FIELD_NUMBER: _ClassVar[int]
    dispute_id: str
    visit_id: str
    direction: Dispute.Direction
    status: Dispute.Status
    claim: str
    opened_by: str
    opened_ns: int
    adjustment_id: str
    def __init__(self, dispute_id: _Optional[str] = ..., visit_id: _Optional[str] = ..., direction: _Optional[_Union[Dispute.Direction, str]] = ..., status: _Optional[_Union[Dispute.Status, str]] = ..., claim: _Optional[str] = ..., opened_by: _Optional[str] = ..., opened_ns: _Optional[int] = ..., adjustment_id: _Optional[str] = ...) -> None: ...

class OpenDisputeRequest(_message.Message):
    __slots__ = ("dispute_id", "visit_id", "direction", "claim", "opened_by")
    DISPUTE_ID_FIELD_NUMBER: _ClassVar[int]
    VISIT_ID_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    OPENED_BY_FIELD_NUMBER: _ClassVar[int]
    dispute_id: str
    visit_id: str
    direction: Dispute.Direction
    claim: str
    opened_by: str
    def __init__(self, dispute_id: _Optional[str] = ..., visit_id: _Optional[str] = ..., direction: _Optional[_Union[Dispute.Direction, str]] = ..., claim: _Optional[str] = ..., opened_by: _Optional[str] = ...) -> None: ...

class OpenDisputeResponse(_message.Message):
    __slots__ = ("dispute",)
    DISPUTE_FIELD_NUMBER: _ClassVar[int]
    dispute: Dispute
    def __init__(self, dispute: _Optional[_Union[Dispute, _Mapping]] = ...) -> None: ...

class ResolveDisputeRequest(_message.Message):
    __slots__ = ("dispute_id", "accepted", "changes", "reason", "actor")
    DISPUTE_ID_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    dispute_id: str
    accepted: bool
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    reason: str
    actor: str
    def __init__(self, dispute_id: _Optional[str] = ..., accepted: _Optional[bool] = ..., changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., reason: _Optional[str] = ..., actor: _Optional[str] = ...) -> None: ...

class ResolveDisputeResponse(_message.Message):
    __slots__ = ("dispute",)
    DISPUTE_FIELD_NUMBER: _ClassVar[int]
    dispute: Dispute
    def __init__(self, dispute: _Optional[_Union[Dispute, _Mapping]] = ...) -> None: ...

class GetSettlementReportRequest(_message.Message):
    __slots__ = ("store", "day")
    STORE_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    store: str
    day: str
    def __init__(self, store: _Optional[str] = ..., day: _Optional[str] = ...) -> None: ...

class GetSettlementReportResponse(_message.Message):
    __slots__ = ("currency", "start_ns", "end_ns", "rows", "net_minor", "visits", "in_review", "outstanding_minor")
    class Row(_message.Message):
        __slots__ = ("provider", "captures", "captured_minor", "refunds", "refunded_minor")
        PROVIDER_FIELD_NUMBER: _ClassVar[int]
        CAPTURES_FIELD_NUMBER: _ClassVar[int]
        CAPTURED_MINOR_FIELD_NUMBER: _ClassVar[int]
        REFUNDS_FIELD_NUMBER: _ClassVar[int]
        REFUNDED_MINOR_FIELD_NUMBER: _ClassVar[int]
        provider: str
        captures: int
        captured_minor: int
        refunds: int
        refunded_minor: int
        def __init__(self, provider: _Optional[str] = ..., captures: _Optional[int] = ..., captured_minor: _Optional[int] = ..., refunds: _Optional[int] = ..., refunded_minor: _Optional[int] = ...) -> None: ...
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    START_NS_FIELD_NUMBER: _ClassVar[int]
    END_NS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    NET_MINOR_FIELD_NUMBER: _ClassVar[int]
    VISITS_FIELD_NUMBER: _ClassVar[int]
    IN_REVIEW_FIELD_NUMBER: _ClassVar[int]
    OUTSTANDING_MINOR_FIELD_NUMBER: _ClassVar[int]
    currency: str
    start_ns: int
    end_ns: int
    rows: _containers.RepeatedCompositeFieldContainer[GetSettlementReportResponse.Row]
    net_minor: int
    visits: int
    in_review: int
    outstanding_minor: int
    def __init__(self, currency: _Optional[str] = ..., start_ns: _Optional[int] = ..., end_ns: _Optional[int] = ..., rows: _Optional[_Iterable[_Union[GetSettlementReportResponse.Row, _Mapping]]] = ..., net_minor: _Optional[int] = ..., visits: _Optional[int] = ..., in_review: _Optional[int] = ..., outstanding_minor: _Optional[int] = ...) -> None: ...

class ArchiveProductsRequest(_message.Message):
    __slots__ = ("store", "barcodes")
    STORE_FIELD_NUMBER: _ClassVar[int]
    BARCODES_FIELD_NUMBER: _ClassVar[int]
    store: str
    barcodes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, store: _Optional[str] = ..., barcodes: _Optional[_Iterable[str]] = ...) -> None: ...

class ArchiveProductsResponse(_message.Message):
    __slots__ = ("archived",)
    ARCHIVED_FIELD_NUMBER: _ClassVar[int]
    archived: int
    def __init__(self, archived: _Optional[int] = ...) -> None: ...

class SetBarcodesRequest(_message.Message):
    __slots__ = ("store", "barcode", "codes")
    STORE_FIELD_NUMBER: _ClassVar[int]
    BARCODE_FIELD_NUMBER: _ClassVar[int]
    CODES_FIELD_NUMBER: _ClassVar[int]
    store: str
    barcode: str
    codes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, store: _Optional[str] = ..., barcode: _Optional[str] = ..., codes: _Optional[_Iterable[str]] = ...) -> None: ...

class SetBarcodesResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SetPricePeriodsRequest(_message.Message):
    __slots__ = ("store", "currency", "barcode", "periods")
    class Period(_message.Message):
        __slots__ = ("valid_from_ns", "valid_to_ns", "price_minor")
        VALID_FROM_NS_FIELD_NUMBER: _ClassVar[int]
        VALID_TO_NS_FIELD_NUMBER: _ClassVar[int]
        PRICE_MINOR_FIELD_NUMBER: _ClassVar[int]
        valid_from_ns: int
        valid_to_ns: int
        price_minor: int
        def __init__(self, valid_from_ns: _Optional[int] = ..., valid_to_ns: _Optional[int] = ..., price_minor: _Optional[int] = ...) -> None: ...
    STORE_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    BARCODE_FIELD_NUMBER: _ClassVar[int]
    PERIODS_FIELD_NUMBER: _ClassVar[int]
    store: str
    currency: str
    barcode: str
    periods: _containers.RepeatedCompositeFieldContainer[SetPricePeriodsRequest.Period]
    def __init__(self, store: _Optional[str] = ..., currency: _Optional[str] = ..., barcode: _Optional[str] = ..., periods: _Optional[_Iterable[_Union[SetPricePeriodsRequest.Period, _Mapping]]] = ...) -> None: ...

class SetPricePeriodsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SetStoreTermsRequest(_message.Message):
    __slots__ = ("store", "currency", "terms_json")
    STORE_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    TERMS_JSON_FIELD_NUMBER: _ClassVar[int]
    store: str
    currency: str
    terms_json: str
    def __init__(self, store: _Optional[str] = ..., currency: _Optional[str] = ..., terms_json: _Optional[str] = ...) -> None: ...

class SetStoreTermsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

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
