"""The servicer: one method per call, a message in, a message out. Thin over the rest; ``calls`` gives it manners."""

import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import sqlalchemy as sa
from google.protobuf.message import Message

from walkout.billing import aftersale, audit, catalog, ledger, wire
from walkout.billing.aftersale import Dispute, Request
from walkout.billing.database import reading
from walkout.billing.provider import PaymentProvider
from walkout.billing.records import AdjustmentKind, DisputeStatus, VisitStatus, money
from walkout.billing.report import settlement_report
from walkout.billing.settle import Settler
from walkout.billing.terms import terms_from_json
from walkout.billing.together import MOST_TOGETHER
from walkout.billing.visits import append_events, basket_of, get_receipt, get_visit, list_visits, open_visit
from walkout.billing.wire import LONGEST_REASON, text, visit_message
from walkout.domain.clock import Clock
from walkout.domain.shopping import VisitClosed
from walkout.errors import BadRequest, BillingUnavailable
from walkout.v1 import billing_pb2 as pb

#: Basket events of one stream that share a transaction: a commit costs a disk sync, a visit has tens of events.
_BATCH = 256
#: Visits watched at once; each keeps one thread of the service.
MOST_WATCHERS = 32
#: A watcher looks at the books this often, for what another process wrote.
_WATCH_S = 0.5

_FINAL = (VisitStatus.CAPTURED, VisitStatus.REVIEW, VisitStatus.RELEASED)


class BillingService:
    """Everything that the proto's service promises. ``stopping`` is set when the process is asked to go."""

    def __init__(
        self, engine: sa.Engine, provider: PaymentProvider, clock: Clock, together: int = MOST_TOGETHER
    ) -> None:
        self._engine = engine
        self._provider = provider
        self._clock = clock
        self._news = threading.Condition()
        self._watchers = threading.BoundedSemaphore(MOST_WATCHERS)
        self.stopping = threading.Event()
        self.settler = Settler(engine, provider, clock, together, self._tell)

    def open_visit(self, request: pb.OpenVisitRequest) -> pb.OpenVisitResponse:
        """Begin a visit."""
        visit = open_visit(
            self._engine,
            text("visit_id", request.visit_id),
            text("store", request.store),
            text("account_id", request.account_id),
            request.currency,
            wire.time("entered_ns", request.entered_ns),
            self._clock.now_ns(),
        )
        return pb.OpenVisitResponse(visit=visit_message(visit))

    def append_basket_events(self, requests: Iterator[pb.AppendBasketEventsRequest]) -> pb.AppendBasketEventsResponse:
        """Add lines of change; batch by batch, so that a long stream holds no lock for long."""
        added = total = 0
        while batch := [wire.basket_event(request) for request in islice(requests, _BATCH)]:
            added += append_events(self._engine, batch)
            total += len(batch)
            self._tell("")
        return pb.AppendBasketEventsResponse(added=added, known=total - added)

    def close_visit(self, request: pb.CloseVisitRequest) -> pb.CloseVisitResponse:
        """Price and settle."""
        if request.basket_events < 0:
            raise BadRequest(f"basket_events: {request.basket_events} is no number of events")
        closed = VisitClosed(
            text("visit_id", request.visit_id),
            wire.time("closed_ns", request.closed_ns),
            request.basket_events,
            wire.probability("confidence", request.confidence),
            tuple(text("review_reasons", reason, LONGEST_REASON) for reason in request.review_reasons),
        )
        return pb.CloseVisitResponse(visit=visit_message(self.settler.close(closed)))

    def get_visit(self, request: pb.GetVisitRequest) -> pb.GetVisitResponse:
        """The visit as it stands."""
        visit_id = text("visit_id", request.visit_id)
        return pb.GetVisitResponse(visit=visit_message(get_visit(self._engine, visit_id)))

    def watch_visit(self, request: pb.WatchVisitRequest, alive: Callable[[], bool]) -> Iterator[pb.WatchVisitResponse]:
        """The visit now and after every change, until its money is settled, the caller leaves or we stop."""
        visit_id = text("visit_id", request.visit_id)
        if not self._watchers.acquire(blocking=False):
            raise BillingUnavailable(f"{MOST_WATCHERS} visits are being watched already; come back later")
        try:
            last = None
            while alive() and not self.stopping.is_set():
                with reading(self._engine) as connection:
                    visit, basket = basket_of(connection, visit_id)
                if (visit, basket) != last:
                    last = (visit, basket)
                    lines = [pb.WatchVisitResponse.BasketLine(barcode=code, quantity=n) for code, n in basket.lines]
                    yield pb.WatchVisitResponse(visit=visit_message(visit), basket=lines)
                if visit.status in _FINAL:
                    return
                with self._news:
                    self._news.wait(_WATCH_S)
            if self.stopping.is_set():
                raise BillingUnavailable("the billing service is being stopped; watch again")
        finally:
            self._watchers.release()

    def get_receipt(self, request: pb.GetReceiptRequest) -> pb.GetReceiptResponse:
        """The receipt of a settled visit."""
        visit_id = text("visit_id", request.visit_id)
        receipt = get_receipt(self._engine, visit_id)
        adjusted = aftersale.adjustments_of(self._engine, visit_id)
        return pb.GetReceiptResponse(receipt=wire.receipt_message(receipt, adjusted))

    def list_visits(self, request: pb.ListVisitsRequest) -> pb.ListVisitsResponse:
        """Visits by time of entry."""
        statuses = {pb.BilledVisitStatus.Value(wire.visit_status_name(status)): status for status in VisitStatus}
        if request.status and request.status not in statuses:
            raise BadRequest(f"status: {request.status} is not known; leave it out to list all")
        found = list_visits(self._engine, request.store, statuses.get(request.status))
        return pb.ListVisitsResponse(visits=[visit_message(visit) for visit in found])

    def adjust_charge(self, request: pb.AdjustChargeRequest) -> pb.AdjustChargeResponse:
        """Staff decides or corrects a visit."""
        asked = Request(
            text("adjustment_id", request.adjustment_id),
            text("visit_id", request.visit_id),
            AdjustmentKind.CORRECTION,
            tuple(wire.change(change) for change in request.changes),
            "",
            text("reason", request.reason, LONGEST_REASON),
            text("actor", request.actor),
        )
        made = aftersale.adjust(self._engine, asked, self._provider.name, self._clock.now_ns())
        return pb.AdjustChargeResponse(visit=self._settled(asked.visit_id), adjustment=wire.adjustment_message(made))

    def refund(self, request: pb.RefundRequest) -> pb.RefundResponse:
        """Goods come back."""
        if any(item.quantity <= 0 for item in request.items):
            raise BadRequest("items: the number of units that come back is above zero")
        changes = (pb.Change(barcode=item.barcode, quantity=-item.quantity) for item in request.items)
        asked = Request(
            text("refund_id", request.refund_id),
            text("visit_id", request.visit_id),
            AdjustmentKind.REFUND,
            tuple(wire.change(change) for change in changes),
            request.reason_code,
            text("reason", request.reason, LONGEST_REASON),
            text("actor", request.actor),
        )
        made = aftersale.refund(self._engine, asked, self._provider.name, self._clock.now_ns())
        return pb.RefundResponse(visit=self._settled(asked.visit_id), adjustment=wire.adjustment_message(made))

    def open_dispute(self, request: pb.OpenDisputeRequest) -> pb.OpenDisputeResponse:
        """Somebody contests a visit."""
        asked = Dispute(
            text("dispute_id", request.dispute_id),
            text("visit_id", request.visit_id),
            wire.direction(request.direction),
            DisputeStatus.OPEN,
            text("claim", request.claim, LONGEST_REASON),
            text("opened_by", request.opened_by),
            self._clock.now_ns(),
            None,
        )
        return pb.OpenDisputeResponse(dispute=wire.dispute_message(aftersale.open_dispute(self._engine, asked)))

    def resolve_dispute(self, request: pb.ResolveDisputeRequest) -> pb.ResolveDisputeResponse:
        """Decide a dispute."""
        if request.changes and not request.accepted:
            raise BadRequest("changes: a dispute that is rejected changes nothing")
        found = aftersale.resolve_dispute(
            self._engine,
            text("dispute_id", request.dispute_id),
            [wire.change(change) for change in request.changes] if request.accepted else None,
            text("reason", request.reason, LONGEST_REASON),
            text("actor", request.actor),
            self._provider.name,
            self._clock.now_ns(),
        )
        self._settled(found.visit_id)
        return pb.ResolveDisputeResponse(dispute=wire.dispute_message(found))

    def get_settlement_report(self, request: pb.GetSettlementReportRequest) -> pb.GetSettlementReportResponse:
        """What a store earned on a day."""
        return wire.report_message(settlement_report(self._engine, text("store", request.store), request.day))

    def upsert_prices(self, request: pb.UpsertPricesRequest) -> pb.UpsertPricesResponse:
        """Set names and prices."""
        products = [wire.priced_product(price, request.currency) for price in request.prices]
        number = catalog.upsert_prices(self._engine, text("store", request.store), request.currency, products)
        return pb.UpsertPricesResponse(products=number)

    def archive_products(self, request: pb.ArchiveProductsRequest) -> pb.ArchiveProductsResponse:
        """Offer products no longer."""
        gone = [text("barcodes", barcode) for barcode in request.barcodes]
        return pb.ArchiveProductsResponse(archived=catalog.archive(self._engine, text("store", request.store), gone))

    def set_barcodes(self, request: pb.SetBarcodesRequest) -> pb.SetBarcodesResponse:
        """Replace the other barcodes of a product."""
        codes = [text("codes", code) for code in request.codes]
        catalog.set_barcodes(self._engine, text("store", request.store), text("barcode", request.barcode), codes)
        return pb.SetBarcodesResponse()

    def set_price_periods(self, request: pb.SetPricePeriodsRequest) -> pb.SetPricePeriodsResponse:
        """Replace the times at which a product has another price."""
        periods = [
            catalog.PricePeriod(
                wire.time("valid_from_ns", one.valid_from_ns),
                one.valid_to_ns if one.HasField("valid_to_ns") else None,
                money(one.price_minor, request.currency),
            )
            for one in request.periods
        ]
        barcode = text("barcode", request.barcode)
        catalog.set_price_periods(self._engine, text("store", request.store), barcode, periods)
        return pb.SetPricePeriodsResponse()

    def set_store_terms(self, request: pb.SetStoreTermsRequest) -> pb.SetStoreTermsResponse:
        """Replace on what terms a store sells."""
        terms = terms_from_json(request.terms_json)
        catalog.set_terms(self._engine, text("store", request.store), request.currency, terms)
        return pb.SetStoreTermsResponse()

    def top_up_wallet(self, request: pb.TopUpWalletRequest) -> pb.TopUpWalletResponse:
        """Add prepaid money."""
        balance = ledger.top_up(
            self._engine,
            text("topup_id", request.topup_id),
            text("account_id", request.account_id),
            money(request.amount_minor, request.currency),
            self._clock.now_ns(),
        )
        return pb.TopUpWalletResponse(balance_minor=balance.minor)

    def check_books(self, _request: pb.CheckBooksRequest) -> pb.CheckBooksResponse:
        """Add everything up."""
        report = audit.check_books(self._engine)
        return pb.CheckBooksResponse(
            balanced=report.balanced,
            problems=report.problems,
            transactions=report.transactions,
            postings=report.postings,
            unfinished_visits=report.unfinished,
            charges=dict(report.charges),
            captured_minor=dict(report.captured),
        )

    def stop(self) -> None:
        """Let watchers go; calls in flight end by themselves."""
        self.stopping.set()
        self._tell("")

    def method(self, name: str) -> Callable[..., Any]:
        """What answers the call that the proto names so."""
        snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)[1:]
        found: Callable[..., Message | Iterator[Message]] = getattr(self, snake)
        return found

    def _settled(self, visit_id: str) -> pb.BilledVisit:
        """Move the money that the rows ask for; the visit afterwards."""
        self.settler.finish(visit_id)
        return visit_message(get_visit(self._engine, visit_id))

    def _tell(self, _visit_id: str) -> None:
        with self._news:
            self._news.notify_all()
