"""What billing speaks of: visits, charges, receipt lines, receipts, the state of the books, and legal moves.

``VISIT_MOVES`` and ``CHARGE_MOVES`` are the only statement of which status may follow which; the database's
triggers are made from them (``schema``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Any

from walkout.domain.money import Money
from walkout.domain.selling import StoreTerms
from walkout.errors import BadRequest, IllegalMove

#: Largest amount that every reader of JSON holds exactly (RFC 8259 section 6: 2**53 - 1).
LARGEST_MINOR = 2**53 - 1


class VisitStatus(StrEnum):
    """Where a visit's money stands; everything after ``closing`` is told outside and final here."""

    OPEN = "open"
    CLOSING = "closing"
    CAPTURED = "captured"
    REVIEW = "review"
    RELEASED = "released"


class ChargeStatus(StrEnum):
    """Where a charge stands; the provider has been asked at least once from ``authorized`` on."""

    CREATED = "created"
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    VOIDED = "voided"
    DECLINED = "declined"


class RefundStatus(StrEnum):
    """Where money on its way back stands."""

    CREATED = "created"
    REFUNDED = "refunded"
    DECLINED = "declined"


class DisputeStatus(StrEnum):
    """Where a contested visit stands."""

    OPEN = "open"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


class Direction(StrEnum):
    """Who was wronged: the shopper paid too much, or too little was charged."""

    OVERCHARGED = "overcharged"
    UNDERCHARGED = "undercharged"


class AdjustmentKind(StrEnum):
    """Why a settled visit changed: staff corrected it, goods came back, a dispute was accepted."""

    CORRECTION = "correction"
    REFUND = "refund"
    DISPUTE = "dispute"


VISIT_MOVES: Mapping[VisitStatus, tuple[VisitStatus, ...]] = {
    VisitStatus.OPEN: (VisitStatus.CLOSING, VisitStatus.REVIEW, VisitStatus.RELEASED),
    VisitStatus.CLOSING: (VisitStatus.CAPTURED, VisitStatus.REVIEW),
    VisitStatus.REVIEW: (VisitStatus.CLOSING, VisitStatus.RELEASED),
}

CHARGE_MOVES: Mapping[ChargeStatus, tuple[ChargeStatus, ...]] = {
    ChargeStatus.CREATED: (ChargeStatus.AUTHORIZED, ChargeStatus.DECLINED),
    ChargeStatus.AUTHORIZED: (ChargeStatus.CAPTURED, ChargeStatus.VOIDED),
}

REFUND_MOVES: Mapping[RefundStatus, tuple[RefundStatus, ...]] = {
    RefundStatus.CREATED: (RefundStatus.REFUNDED, RefundStatus.DECLINED),
}

DISPUTE_MOVES: Mapping[DisputeStatus, tuple[DisputeStatus, ...]] = {
    DisputeStatus.OPEN: (DisputeStatus.ACCEPTED, DisputeStatus.REJECTED),
}

Status = VisitStatus | ChargeStatus | RefundStatus | DisputeStatus

_MOVES: Mapping[type[Any], Mapping[Any, tuple[Any, ...]]] = {
    VisitStatus: VISIT_MOVES,
    ChargeStatus: CHARGE_MOVES,
    RefundStatus: REFUND_MOVES,
    DisputeStatus: DISPUTE_MOVES,
}


def check_move(old: Status, new: Status) -> None:
    """Raise ``IllegalMove`` unless the tables hold the move ``old`` -> ``new``."""
    if type(old) is type(new) and new in _MOVES[type(old)].get(old, ()):
        return
    raise IllegalMove(f"no way from {old!r} to {new!r}; walkout/billing/records.py holds the legal moves")


@dataclass(frozen=True, slots=True)
class BilledVisit:
    """One visit as the books know it. Times in ns UTC; ``closed_ns`` is None while it is open.

    ``basket_events`` counts the distinct basket events that have arrived; ``review`` holds one reason per doubt.
    """

    visit_id: str
    store: str
    account_id: str
    currency: str
    entered_ns: int
    closed_ns: int | None
    status: VisitStatus
    basket_events: int
    review: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Charge:
    """The intent to take ``amount`` for a visit. ``charge_id`` is the idempotency key that the provider gets.

    ``reference`` is the provider's own name of the hold, empty before ``authorized``. ``cause`` is what it is for:
    ``"visit"``, or the id of the adjustment that made more due; ``pays_visit`` whether the visit's own state
    hangs on it. ``attempts`` counts calls that were not answered.
    """

    charge_id: str
    visit_id: str
    account_id: str
    store: str
    amount: Money
    status: ChargeStatus
    provider: str
    reference: str = ""
    cause: str = "visit"
    pays_visit: bool = True
    attempts: int = 0


class EventKind(StrEnum):
    """What a provider tells of its own accord; a hint to look, never a reason to book."""

    HELD = "held"
    CAPTURED = "captured"
    RELEASED = "released"
    DECLINED = "declined"
    REFUNDED = "refunded"
    DISPUTED = "disputed"
    DISPUTE_WON = "dispute_won"
    DISPUTE_LOST = "dispute_lost"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """One verified webhook: ``event_id`` is the provider's, ``reference`` its own name of the hold, payment or dispute.

    ``charge_id`` and ``refund_id`` are our ids as we gave them to it, empty where it does not say; ``amount`` is None
    where the event is about none.
    """

    event_id: str
    kind: EventKind
    reference: str
    charge_id: str
    refund_id: str
    amount: Money | None
    at_ns: int


@dataclass(frozen=True, slots=True)
class PricedProduct:
    """A product as billing knows it: ``price`` is None where the catalog holds none.

    With ``per_kg`` prices are per kilogram and each container weighs ``tare_g`` whole grams. An empty ``tax_class``
    is the store's first one.
    """

    barcode: str
    name: str
    price: Money | None
    member_price: Money | None = None
    tax_class: str = ""
    per_kg: bool = False
    tare_g: int = 0


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a line costs less than listed: ``code`` is member, promotion, coupon or points, ``amount`` negative.

    ``source`` is the promotion's or coupon's id.
    """

    code: str
    source: str
    label: str
    amount: Money


@dataclass(frozen=True, slots=True)
class LineTax:
    """The tax of one line: its class, rate as a fraction, whether the shelf price held it, and how much it is."""

    name: str
    rate: Fraction
    included: bool
    amount: Money


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a receipt: ``barcode`` as recorded, ``name`` empty where unknown, prices None where missing.

    ``unit`` is the list price of one, or of a kilogram where ``grams`` (net) is not zero. ``listed`` is what that
    makes, and ``listed + sum(reasons) + tax on top = total``, the line's part of the receipt's total.
    """

    barcode: str
    name: str
    quantity: int
    unit: Money | None
    total: Money | None
    grams: int = 0
    listed: Money | None = None
    reasons: tuple[Reason, ...] = ()
    tax: LineTax | None = None


@dataclass(frozen=True, slots=True)
class Payment:
    """Money that moved for a receipt: ``method`` such as wallet, card, kakao_pay; negative for a refund.

    ``reference`` is the provider's own name of it, ``at_ns`` when (ns UTC).
    """

    method: str
    amount: Money
    reference: str
    at_ns: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the shopper gets. Lines are the best guess whatever the visit's status; ``total`` sums the priced ones.

    Money moved only where ``visit.status`` is ``captured``. ``confidence`` is the probability that the whole
    basket is right. ``terms`` are the store's, ``payments`` what was taken and given back, oldest first.
    """

    visit: BilledVisit
    lines: tuple[Line, ...]
    total: Money
    confidence: float
    payments: tuple[Payment, ...] = ()
    terms: StoreTerms = field(default_factory=StoreTerms)


@dataclass(frozen=True, slots=True)
class BooksReport:
    """The state of the books: ``problems`` in one sentence each (empty: balanced), and how much is in them.

    ``charges`` counts charges by status, ``captured`` is what was taken, in minor units by currency.
    ``unfinished`` visits are closing: their money is on its way.
    """

    problems: tuple[str, ...]
    transactions: int
    postings: int
    unfinished: int
    charges: Mapping[str, int]
    captured: Mapping[str, int]

    @property
    def balanced(self) -> bool:
        """True when every check passed."""
        return not self.problems


def money(minor: int, currency: str) -> Money:
    """An amount in a currency we know and of a size every reader holds; ``BadRequest`` otherwise."""
    if abs(minor) > LARGEST_MINOR:
        raise BadRequest(f"{minor} minor units are more than the {LARGEST_MINOR} that every reader holds exactly")
    try:
        return Money(minor, currency)
    except ValueError as error:
        raise BadRequest(str(error)) from error
