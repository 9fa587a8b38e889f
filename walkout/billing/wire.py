"""Messages to records and back: every field of a request checked once, here."""

import math
from collections.abc import Sequence

from walkout.billing.aftersale import Adjustment, Change, Dispute
from walkout.billing.records import (
    LARGEST_MINOR,
    BilledVisit,
    Direction,
    Line,
    PricedProduct,
    Receipt,
    VisitStatus,
    money,
)
from walkout.billing.report import SettlementReport
from walkout.billing.terms import terms_to_json
from walkout.domain.money import Money
from walkout.domain.shopping import BasketEvent, BasketEventKind
from walkout.errors import BadRequest
from walkout.v1 import billing_pb2 as pb

#: Longest id, barcode or name taken; ids are UUIDs (36), the longest GS1 element string has 90 characters.
LONGEST_TEXT = 200
#: Longest reason or claim taken.
LONGEST_REASON = 2_000
#: Most units of one product in one change: what an int32 of a basket event holds.
LARGEST_QUANTITY = 2**31 - 1


def visit_status_name(status: VisitStatus) -> str:
    """The wire's name of a status."""
    return f"BILLED_VISIT_STATUS_{status.name}"


def text(field: str, value: str, longest: int = LONGEST_TEXT) -> str:
    """A text that may be an id, a name or a reason; ``BadRequest`` for an empty, long or unprintable one."""
    if not value or len(value) > longest or not value.isprintable():
        raise BadRequest(f"{field}: {value[:40]!r} must have 1 to {longest} printable characters")
    return value


def time(field: str, t_ns: int) -> int:
    """A moment after 1970."""
    if t_ns < 0:
        raise BadRequest(f"{field}: {t_ns} lies before 1970; times are nanoseconds UTC since then")
    return t_ns


def probability(field: str, value: float) -> float:
    """A number between 0 and 1."""
    if math.isnan(value) or not 0.0 <= value <= 1.0:
        raise BadRequest(f"{field}: {value} is no probability between 0 and 1")
    return value


def basket_event(request: pb.AppendBasketEventsRequest) -> BasketEvent:
    """One line of change."""
    kinds = {
        pb.AppendBasketEventsRequest.KIND_PICK: (BasketEventKind.PICK, request.quantity > 0),
        pb.AppendBasketEventsRequest.KIND_PUT_BACK: (BasketEventKind.PUT_BACK, request.quantity < 0),
        pb.AppendBasketEventsRequest.KIND_CORRECTION: (BasketEventKind.CORRECTION, request.quantity != 0),
    }
    kind, sign_fits = kinds.get(request.kind, (None, False))
    if kind is None or not sign_fits:
        raise BadRequest(
            f"kind {request.kind}, quantity {request.quantity}: a pick is positive, a put-back negative, a correction"
            " not zero"
        )
    return BasketEvent(
        text("event_id", request.event_id),
        text("visit_id", request.visit_id),
        time("t_ns", request.t_ns),
        kind,
        text("barcode", request.barcode),
        request.quantity,
        probability("probability", request.probability),
        text("weight_event_id", request.weight_event_id) if request.weight_event_id else "",
        request.grams,
    )


def visit_message(visit: BilledVisit) -> pb.BilledVisit:
    """A visit."""
    return pb.BilledVisit(
        visit_id=visit.visit_id,
        store=visit.store,
        account_id=visit.account_id,
        currency=visit.currency,
        entered_ns=visit.entered_ns,
        closed_ns=visit.closed_ns or 0,
        status=visit_status_name(visit.status),
        basket_events=visit.basket_events,
        review_reasons=visit.review,
    )


def receipt_message(receipt: Receipt, adjusted: Sequence[Adjustment]) -> pb.Receipt:
    """A receipt with everything that happened to it since."""
    return pb.Receipt(
        visit=visit_message(receipt.visit),
        lines=[_line(line) for line in receipt.lines],
        total_minor=receipt.total.minor,
        confidence=receipt.confidence,
        adjustments=[adjustment_message(one) for one in adjusted],
        payments=[
            pb.Payment(method=one.method, amount_minor=one.amount.minor, reference=one.reference, at_ns=one.at_ns)
            for one in receipt.payments
        ],
        terms_json=terms_to_json(receipt.terms),
    )


def _line(line: Line) -> pb.ReceiptLine:
    found = pb.ReceiptLine(
        barcode=line.barcode,
        name=line.name,
        quantity=line.quantity,
        unit_minor=_minor(line.unit),
        total_minor=_minor(line.total),
        grams=line.grams,
        listed_minor=_minor(line.listed),
        reasons=[
            pb.ReceiptLine.Reason(
                code=reason.code, source=reason.source, label=reason.label, amount_minor=reason.amount.minor
            )
            for reason in line.reasons
        ],
    )
    if line.tax is not None:
        found.tax_class, found.tax_rate = line.tax.name, str(line.tax.rate)
        found.tax_minor, found.tax_included = line.tax.amount.minor, line.tax.included
    return found


def _minor(amount: Money | None) -> int | None:
    return None if amount is None else amount.minor


def priced_product(price: pb.UpsertPricesRequest.Price, currency: str) -> PricedProduct:
    """A product of the catalog."""
    member = money(price.member_price_minor, currency) if price.HasField("member_price_minor") else None
    return PricedProduct(
        text("barcode", price.barcode),
        price.name[:LONGEST_TEXT],
        money(price.price_minor, currency) if price.HasField("price_minor") else None,
        member,
        price.tax_class[:LONGEST_TEXT],
        price.per_kg,
        price.tare_g,
    )


def change(message: pb.Change) -> Change:
    """What an adjustment does to one product."""
    amount = message.amount_minor if message.HasField("amount_minor") else None
    if (amount is not None and abs(amount) > LARGEST_MINOR) or abs(message.quantity) > LARGEST_QUANTITY:
        raise BadRequest(f"changes: {message.quantity} units or their amount are more than any visit holds")
    return Change(text("barcode", message.barcode), message.quantity, amount)


def adjustment_message(made: Adjustment) -> pb.Adjustment:
    """An adjustment."""
    return pb.Adjustment(
        adjustment_id=made.adjustment_id,
        kind=made.kind,
        amount_minor=made.amount.minor,
        reason_code=made.reason_code,
        reason=made.reason,
        actor=made.actor,
        at_ns=made.at_ns,
        changes=[
            pb.Change(barcode=barcode, quantity=quantity, amount_minor=amount.minor)
            for barcode, quantity, amount in made.lines
        ],
    )


def direction(wanted: int) -> Direction:
    """Who was wronged."""
    known: dict[int, Direction] = {
        pb.Dispute.DIRECTION_OVERCHARGED: Direction.OVERCHARGED,
        pb.Dispute.DIRECTION_UNDERCHARGED: Direction.UNDERCHARGED,
    }
    if wanted not in known:
        raise BadRequest(f"direction: {wanted} is not known; too much was charged, or too little")
    return known[wanted]


def dispute_message(dispute: Dispute) -> pb.Dispute:
    """A dispute."""
    return pb.Dispute(
        dispute_id=dispute.dispute_id,
        visit_id=dispute.visit_id,
        direction=f"DIRECTION_{dispute.direction.name}",
        status=f"STATUS_{dispute.status.name}",
        claim=dispute.claim,
        opened_by=dispute.opened_by,
        opened_ns=dispute.opened_ns,
        adjustment_id=dispute.adjustment_id or "",
    )


def report_message(report: SettlementReport) -> pb.GetSettlementReportResponse:
    """What a store earned on a day."""
    return pb.GetSettlementReportResponse(
        currency=report.currency,
        start_ns=report.start_ns,
        end_ns=report.end_ns,
        rows=[
            pb.GetSettlementReportResponse.Row(
                provider=row.provider,
                captures=row.captures,
                captured_minor=row.captured.minor,
                refunds=row.refunds,
                refunded_minor=row.refunded.minor,
            )
            for row in report.rows
        ],
        net_minor=report.net.minor,
        visits=report.visits,
        in_review=report.in_review,
        outstanding_minor=report.outstanding.minor,
    )
