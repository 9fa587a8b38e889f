"""The way to billing: one method per call, deadlines, repeats while the service is away, and our own errors back.

Every call of the service may be made twice, so a call whose answer got lost is simply made again. Missing basket
events (``EventsMissing``) are the caller's to append.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from types import TracebackType
from typing import Any

import grpc

from walkout import errors
from walkout.billing.aftersale import Change, Dispute
from walkout.billing.records import (
    BilledVisit,
    BooksReport,
    Direction,
    DisputeStatus,
    Line,
    LineTax,
    Payment,
    Reason,
    Receipt,
    VisitStatus,
)
from walkout.billing.report import ReportRow, SettlementReport
from walkout.billing.security import Certificate
from walkout.billing.terms import terms_from_json, terms_to_json
from walkout.domain.money import Money
from walkout.domain.selling import StoreTerms
from walkout.domain.shopping import Basket, BasketEvent, BasketEventKind, Product, VisitClosed
from walkout.v1 import billing_pb2 as pb
from walkout.v1.billing_pb2_grpc import BillingStub

#: A call settles within milliseconds on the prepaid wallet; outside providers answer within ten seconds or never.
DEADLINE_S = 15.0
#: How long a call is repeated while the service is away; a restarted billing worker answers within two seconds.
PATIENCE_S = 30.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0

_KINDS = {
    BasketEventKind.PICK: pb.AppendBasketEventsRequest.KIND_PICK,
    BasketEventKind.PUT_BACK: pb.AppendBasketEventsRequest.KIND_PUT_BACK,
    BasketEventKind.CORRECTION: pb.AppendBasketEventsRequest.KIND_CORRECTION,
}
#: A server that is being stopped cancels what arrives at its last moment.
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class BillingClient:
    """A channel to billing at ``unix:/path`` or ``127.0.0.1:port``, with a ``certificate`` anywhere; a context manager.

    Methods raise the classes of ``walkout.errors`` that the service raised, and ``BillingUnavailable`` when it has
    been away for ``patience_s`` seconds.
    """

    def __init__(
        self,
        address: str,
        deadline_s: float = DEADLINE_S,
        patience_s: float = PATIENCE_S,
        sleep: Callable[[float], None] = time.sleep,
        certificate: Certificate | None = None,
    ) -> None:
        # gRPC's own pause before it dials again grows to two minutes; a worker is back sooner.
        pauses = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 500))
        options = (*pauses, ("grpc.min_reconnect_backoff_ms", 50))
        if certificate is None:
            self._channel = grpc.insecure_channel(address, options=options)
        else:
            self._channel = grpc.secure_channel(address, certificate.channel_credentials(), options=options)
        self._stub: Any = BillingStub(self._channel)  # type: ignore[no-untyped-call]
        self._address = address
        self._deadline_s = deadline_s
        self._patience_s = patience_s
        self._sleep = sleep

    def __enter__(self) -> "BillingClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def open_visit(self, visit_id: str, store: str, account_id: str, currency: str, entered_ns: int) -> BilledVisit:
        """Begin a visit."""
        request = pb.OpenVisitRequest(
            visit_id=visit_id, store=store, account_id=account_id, currency=currency, entered_ns=entered_ns
        )
        return _visit(self._call(self._stub.OpenVisit, request).visit)

    def append_basket_events(self, events: Iterable[BasketEvent]) -> int:
        """Add basket events of any visits in any order; how many were new to billing."""
        requests = [_event(event) for event in events]
        return int(
            self._call(
                lambda given, timeout: self._stub.AppendBasketEvents(iter(given), timeout=timeout), requests
            ).added
        )

    def close_visit(self, closed: VisitClosed) -> BilledVisit:
        """Price and settle; the visit in its final state. ``EventsMissing``: append the others, close again."""
        request = pb.CloseVisitRequest(
            visit_id=closed.visit_id,
            closed_ns=closed.t_ns,
            basket_events=closed.basket_events,
            confidence=closed.confidence,
            review_reasons=closed.review,
        )
        return _visit(self._call(self._stub.CloseVisit, request).visit)

    def adjust_charge(
        self, adjustment_id: str, visit_id: str, changes: Iterable[Change], reason: str, actor: str
    ) -> BilledVisit:
        """Decide a visit in review, or take or give back the difference; no changes: it is right as it is."""
        request = pb.AdjustChargeRequest(
            adjustment_id=adjustment_id, visit_id=visit_id, changes=_changes(changes), reason=reason, actor=actor
        )
        return _visit(self._call(self._stub.AdjustCharge, request).visit)

    def refund(
        self, refund_id: str, visit_id: str, items: Mapping[str, int], reason_code: str, reason: str, actor: str
    ) -> BilledVisit:
        """Give back what was paid for ``items``, units by barcode."""
        goods = [pb.RefundRequest.Item(barcode=barcode, quantity=count) for barcode, count in sorted(items.items())]
        request = pb.RefundRequest(
            refund_id=refund_id, visit_id=visit_id, items=goods, reason_code=reason_code, reason=reason, actor=actor
        )
        return _visit(self._call(self._stub.Refund, request).visit)

    def open_dispute(self, dispute_id: str, visit_id: str, direction: Direction, claim: str, opened_by: str) -> Dispute:
        """Contest a visit."""
        request = pb.OpenDisputeRequest(
            dispute_id=dispute_id,
            visit_id=visit_id,
            direction=f"DIRECTION_{direction.name}",
            claim=claim,
            opened_by=opened_by,
        )
        return _dispute(self._call(self._stub.OpenDispute, request).dispute)

    def resolve_dispute(self, dispute_id: str, changes: Iterable[Change] | None, reason: str, actor: str) -> Dispute:
        """Decide a dispute: ``changes`` make it right, None rejects it."""
        request = pb.ResolveDisputeRequest(
            dispute_id=dispute_id,
            accepted=changes is not None,
            changes=_changes(changes or ()),
            reason=reason,
            actor=actor,
        )
        return _dispute(self._call(self._stub.ResolveDispute, request).dispute)

    def watch_visit(self, visit_id: str, timeout_s: float | None = None) -> Iterator[tuple[BilledVisit, Basket]]:
        """The visit and its basket now and after every change, until its money is settled. Watch again where it ends
        with ``BillingUnavailable``.
        """
        try:
            for answer in self._stub.WatchVisit(pb.WatchVisitRequest(visit_id=visit_id), timeout=timeout_s):
                lines = tuple((line.barcode, line.quantity) for line in answer.basket)
                yield _visit(answer.visit), Basket(visit_id, lines)
        except grpc.RpcError as error:
            raise _our_error(error) from error

    def archive_products(self, store: str, barcodes: Iterable[str]) -> int:
        """Offer these products no longer; how many were offered before."""
        request = pb.ArchiveProductsRequest(store=store, barcodes=barcodes)
        return int(self._call(self._stub.ArchiveProducts, request).archived)

    def set_barcodes(self, store: str, barcode: str, codes: Iterable[str]) -> None:
        """Replace the other barcodes of a product."""
        self._call(self._stub.SetBarcodes, pb.SetBarcodesRequest(store=store, barcode=barcode, codes=codes))

    def set_price_periods(
        self, store: str, currency: str, barcode: str, periods: Iterable[tuple[int, int | None, Money]]
    ) -> None:
        """Replace the times (from, to before; ns UTC, None open) at which a product has another price."""
        found = [
            pb.SetPricePeriodsRequest.Period(valid_from_ns=start, valid_to_ns=end, price_minor=price.minor)
            for start, end, price in periods
        ]
        request = pb.SetPricePeriodsRequest(store=store, currency=currency, barcode=barcode, periods=found)
        self._call(self._stub.SetPricePeriods, request)

    def set_store_terms(self, store: str, currency: str, terms: StoreTerms) -> None:
        """Replace on what terms a store sells."""
        text = terms_to_json(terms)
        self._call(self._stub.SetStoreTerms, pb.SetStoreTermsRequest(store=store, currency=currency, terms_json=text))

    def settlement_report(self, store: str, day: str) -> SettlementReport:
        """What a store earned on ``day`` (YYYY-MM-DD)."""
        request = pb.GetSettlementReportRequest(store=store, day=day)
        return _report(self._call(self._stub.GetSettlementReport, request))

    def get_visit(self, visit_id: str) -> BilledVisit:
        """The visit as it stands."""
        return _visit(self._call(self._stub.GetVisit, pb.GetVisitRequest(visit_id=visit_id)).visit)

    def get_receipt(self, visit_id: str) -> Receipt:
        """The receipt of a settled visit; ``NotFoundError`` before that."""
        return _receipt(self._call(self._stub.GetReceipt, pb.GetReceiptRequest(visit_id=visit_id)).receipt)

    def list_visits(self, store: str = "", status: VisitStatus | None = None) -> list[BilledVisit]:
        """Visits by time of entry; an empty ``store`` and no ``status`` match all."""
        wanted = "BILLED_VISIT_STATUS_" + ("UNSPECIFIED" if status is None else status.name)
        answer = self._call(self._stub.ListVisits, pb.ListVisitsRequest(store=store, status=wanted))
        return [_visit(visit) for visit in answer.visits]

    def upsert_prices(self, store: str, currency: str, products: Iterable[Product]) -> int:
        """Set names and prices; how many products of the store billing knows then."""
        prices = [
            pb.UpsertPricesRequest.Price(
                barcode=product.barcode,
                name=product.name,
                price_minor=_minor(product.price),
                member_price_minor=_minor(product.member_price),
                tax_class=product.tax_class,
                per_kg=product.per_kg,
                tare_g=product.tare_g,
            )
            for product in products
        ]
        request = pb.UpsertPricesRequest(store=store, currency=currency, prices=prices)
        return int(self._call(self._stub.UpsertPrices, request).products)

    def top_up_wallet(self, topup_id: str, account_id: str, amount: Money) -> Money:
        """Add prepaid money once per ``topup_id``; the balance afterwards."""
        request = pb.TopUpWalletRequest(
            topup_id=topup_id, account_id=account_id, amount_minor=amount.minor, currency=amount.currency
        )
        return Money(self._call(self._stub.TopUpWallet, request).balance_minor, amount.currency)

    def check_books(self) -> BooksReport:
        """Add every posting up and compare."""
        found = self._call(self._stub.CheckBooks, pb.CheckBooksRequest())
        return BooksReport(
            tuple(found.problems),
            found.transactions,
            found.postings,
            found.unfinished_visits,
            dict(found.charges),
            dict(found.captured_minor),
        )

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        """Call until it answers, with growing pauses, for ``patience_s`` seconds of pauses at most."""
        waited, pause = 0.0, _FIRST_PAUSE_S
        while True:
            try:
                return method(request, timeout=self._deadline_s)
            except grpc.RpcError as error:
                if error.code() not in _AWAY:
                    raise _our_error(error) from error
                if waited >= self._patience_s:
                    raise errors.BillingUnavailable(
                        f"billing at {self._address} has been away for {waited:.0f} s ({error.details()}); see that"
                        " its worker runs, then make the same call again"
                    ) from error
            self._sleep(pause)
            waited, pause = waited + pause, min(pause * 2, _LONGEST_PAUSE_S)


def _our_error(error: Any) -> errors.WalkoutError:
    """The class that the service named, or ``BillingError`` for what it did not expect."""
    name = dict(error.trailing_metadata() or ()).get("walkout-error", "")
    away = errors.BillingUnavailable if error.code() in _AWAY else errors.BillingError
    kind = getattr(errors, str(name), away)
    if not (isinstance(kind, type) and issubclass(kind, errors.WalkoutError)):
        kind = away
    return kind(error.details() or str(error.code()))


def _event(event: BasketEvent) -> pb.AppendBasketEventsRequest:
    return pb.AppendBasketEventsRequest(
        event_id=event.event_id,
        visit_id=event.visit_id,
        t_ns=event.t_ns,
        kind=_KINDS[event.kind],
        barcode=event.barcode,
        quantity=event.quantity,
        probability=event.probability,
        weight_event_id=event.weight_event_id,
        grams=event.grams,
    )


def _visit(message: pb.BilledVisit) -> BilledVisit:
    name = pb.BilledVisitStatus.Name(message.status).removeprefix("BILLED_VISIT_STATUS_")
    status = VisitStatus[name]
    return BilledVisit(
        message.visit_id,
        message.store,
        message.account_id,
        message.currency,
        message.entered_ns,
        None if status is VisitStatus.OPEN else message.closed_ns,
        status,
        message.basket_events,
        tuple(message.review_reasons),
    )


def _receipt(message: pb.Receipt) -> Receipt:
    visit = _visit(message.visit)
    unit = visit.currency
    payments = tuple(
        Payment(one.method, Money(one.amount_minor, unit), one.reference, one.at_ns) for one in message.payments
    )
    lines = tuple(_line(line, unit) for line in message.lines)
    total = Money(message.total_minor, unit)
    return Receipt(visit, lines, total, message.confidence, payments, terms_from_json(message.terms_json))


def _line(line: pb.ReceiptLine, currency: str) -> Line:
    def amount(field: str) -> Money | None:
        return Money(getattr(line, field), currency) if line.HasField(field) else None

    tax = None
    if line.HasField("tax_minor"):
        tax = LineTax(line.tax_class, Fraction(line.tax_rate), line.tax_included, Money(line.tax_minor, currency))
    reasons = tuple(Reason(one.code, one.source, one.label, Money(one.amount_minor, currency)) for one in line.reasons)
    unit, total, listed = amount("unit_minor"), amount("total_minor"), amount("listed_minor")
    return Line(line.barcode, line.name, line.quantity, unit, total, line.grams, listed, reasons, tax)


def _minor(amount: Money | None) -> int | None:
    return None if amount is None else amount.minor


def _changes(changes: Iterable[Change]) -> list[pb.Change]:
    return [
        pb.Change(barcode=change.barcode, quantity=change.quantity, amount_minor=change.amount_minor)
        for change in changes
    ]


def _dispute(message: pb.Dispute) -> Dispute:
    return Dispute(
        message.dispute_id,
        message.visit_id,
        Direction[pb.Dispute.Direction.Name(message.direction).removeprefix("DIRECTION_")],
        DisputeStatus[pb.Dispute.Status.Name(message.status).removeprefix("STATUS_")],
        message.claim,
        message.opened_by,
        message.opened_ns,
        message.adjustment_id or None,
    )


def _report(found: pb.GetSettlementReportResponse) -> SettlementReport:
    unit = found.currency
    rows = tuple(
        ReportRow(
            row.provider, row.captures, Money(row.captured_minor, unit), row.refunds, Money(row.refunded_minor, unit)
        )
        for row in found.rows
    )
    owed = Money(found.outstanding_minor, unit)
    return SettlementReport(unit, found.start_ns, found.end_ns, rows, found.visits, found.in_review, owed)
