"""The gRPC servicer: requests checked and turned into records, errors into status codes. Thin over the rest.

Status codes and their meaning are documented in ``protos/walkout/v1/billing.proto``. A request that is no message
of ours is answered INVALID_ARGUMENT, anything nobody thought of INTERNAL; the process lives on.
"""

import logging
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NoReturn

import grpc
import sqlalchemy as sa
from google.protobuf.message import DecodeError, Message

from walkout.billing import audit, ledger
from walkout.billing.catalog import upsert_prices
from walkout.billing.database import open_books
from walkout.billing.provider import PROVIDERS, PaymentProvider
from walkout.billing.records import BilledVisit, Line, PricedProduct, Receipt, VisitStatus, money
from walkout.billing.settle import Settler
from walkout.billing.visits import append_events, get_receipt, get_visit, list_visits, open_visit
from walkout.domain.clock import Clock
from walkout.domain.shopping import BasketEvent, BasketEventKind, VisitClosed
from walkout.errors import (
    BadRequest,
    BillingError,
    BillingUnavailable,
    ConflictError,
    EventsMissing,
    IllegalMove,
    NotFoundError,
    SettingsError,
    WalkoutError,
)
from walkout.v1 import billing_pb2 as pb

log = logging.getLogger(__name__)

#: Trailing metadata key that names the error's class.
ERROR_KEY = "walkout-error"

_CODES: dict[type[WalkoutError], grpc.StatusCode] = {
    BadRequest: grpc.StatusCode.INVALID_ARGUMENT,
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    ConflictError: grpc.StatusCode.ALREADY_EXISTS,
    EventsMissing: grpc.StatusCode.FAILED_PRECONDITION,
    IllegalMove: grpc.StatusCode.FAILED_PRECONDITION,
    BillingError: grpc.StatusCode.FAILED_PRECONDITION,
    BillingUnavailable: grpc.StatusCode.UNAVAILABLE,
}

#: Basket events of one stream that share a transaction: a commit costs a disk sync, a visit has tens of events.
_BATCH = 256
#: Calls served at once. Writers queue for one lock anyway; the others mostly wait for the provider.
_THREADS = 8
#: Seconds that calls in flight get when the service is told to stop.
_GRACE_S = 5.0
#: Longest id, barcode or name taken; ids are UUIDs (36), the longest GS1 element string has 90 characters.
_LONGEST_TEXT = 200
#: Longest review reason taken.
_LONGEST_REASON = 2_000
#: Longest text of an error. gRPC carries it as a header, 8 KiB by default, in which a Korean letter takes 9 bytes.
_LONGEST_ERROR = 500


def visit_status_name(status: VisitStatus) -> str:
    """The wire's name of a status."""
    return f"BILLED_VISIT_STATUS_{status.name}"


class BillingService:
    """One method per call of the service, each a message in, a message out."""

    def __init__(self, engine: sa.Engine, provider: PaymentProvider, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self.settler = Settler(engine, provider, clock)

    def open_visit(self, request: pb.OpenVisitRequest) -> pb.OpenVisitResponse:
        """Begin a visit."""
        visit = open_visit(
            self._engine,
            _text("visit_id", request.visit_id),
            _text("store", request.store),
            _text("account_id", request.account_id),
            request.currency,
            _time("entered_ns", request.entered_ns),
            self._clock.now_ns(),
        )
        return pb.OpenVisitResponse(visit=_visit(visit))

    def append_basket_events(self, requests: Iterator[pb.AppendBasketEventsRequest]) -> pb.AppendBasketEventsResponse:
        """Add lines of change; batch by batch, so that a long stream holds no lock for long."""
        added = total = 0
        while batch := [_basket_event(request) for request in islice(requests, _BATCH)]:
            added += append_events(self._engine, batch)
            total += len(batch)
        return pb.AppendBasketEventsResponse(added=added, known=total - added)

    def close_visit(self, request: pb.CloseVisitRequest) -> pb.CloseVisitResponse:
        """Price and settle."""
        if request.basket_events < 0:
            raise BadRequest(f"basket_events: {request.basket_events} is no number of events")
        closed = VisitClosed(
            _text("visit_id", request.visit_id),
            _time("closed_ns", request.closed_ns),
            request.basket_events,
            _probability("confidence", request.confidence),
            tuple(_text("review_reasons", reason, _LONGEST_REASON) for reason in request.review_reasons),
        )
        return pb.CloseVisitResponse(visit=_visit(self.settler.close(closed)))

    def get_visit(self, request: pb.GetVisitRequest) -> pb.GetVisitResponse:
        """The visit as it stands."""
        return pb.GetVisitResponse(visit=_visit(get_visit(self._engine, _text("visit_id", request.visit_id))))

    def get_receipt(self, request: pb.GetReceiptRequest) -> pb.GetReceiptResponse:
        """The receipt of a settled visit."""
        return pb.GetReceiptResponse(receipt=_receipt(get_receipt(self._engine, _text("visit_id", request.visit_id))))

    def list_visits(self, request: pb.ListVisitsRequest) -> pb.ListVisitsResponse:
        """Visits by time of entry."""
        statuses = {pb.BilledVisitStatus.Value(visit_status_name(status)): status for status in VisitStatus}
        if request.status and request.status not in statuses:
            raise BadRequest(f"status: {request.status} is not known; leave it out to list all")
        found = list_visits(self._engine, request.store, statuses.get(request.status))
        return pb.ListVisitsResponse(visits=[_visit(visit) for visit in found])

    def upsert_prices(self, request: pb.UpsertPricesRequest) -> pb.UpsertPricesResponse:
        """Set names and prices."""
        products = [
            PricedProduct(
                _text("barcode", price.barcode),
                price.name[:_LONGEST_TEXT],
                money(price.price_minor, request.currency) if price.HasField("price_minor") else None,
            )
            for price in request.prices
        ]
        number = upsert_prices(self._engine, _text("store", request.store), request.currency, products)
        return pb.UpsertPricesResponse(products=number)

    def top_up_wallet(self, request: pb.TopUpWalletRequest) -> pb.TopUpWalletResponse:
        """Add prepaid money."""
        balance = ledger.top_up(
            self._engine,
            _text("topup_id", request.topup_id),
            _text("account_id", request.account_id),
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

    def methods(self) -> dict[str, Callable[[Any], Message]]:
        """The call's name in the proto -> what answers it."""
        return {
            "OpenVisit": self.open_visit,
            "AppendBasketEvents": self.append_basket_events,
            "CloseVisit": self.close_visit,
            "GetVisit": self.get_visit,
            "GetReceipt": self.get_receipt,
            "ListVisits": self.list_visits,
            "UpsertPrices": self.upsert_prices,
            "TopUpWallet": self.top_up_wallet,
            "CheckBooks": self.check_books,
        }


def _text(field: str, value: str, longest: int = _LONGEST_TEXT) -> str:
    if not value or len(value) > longest or not value.isprintable():
        raise BadRequest(f"{field}: {value[:40]!r} must have 1 to {longest} printable characters")
    return value


def _time(field: str, t_ns: int) -> int:
    if t_ns < 0:
        raise BadRequest(f"{field}: {t_ns} lies before 1970; times are nanoseconds UTC since then")
    return t_ns


def _probability(field: str, value: float) -> float:
    if math.isnan(value) or not 0.0 <= value <= 1.0:
        raise BadRequest(f"{field}: {value} is no probability between 0 and 1")
    return value


def _basket_event(request: pb.AppendBasketEventsRequest) -> BasketEvent:
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
        _text("event_id", request.event_id),
        _text("visit_id", request.visit_id),
        _time("t_ns", request.t_ns),
        kind,
        _text("barcode", request.barcode),
        request.quantity,
        _probability("probability", request.probability),
        _text("weight_event_id", request.weight_event_id) if request.weight_event_id else "",
    )


def _visit(visit: BilledVisit) -> pb.BilledVisit:
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


def _receipt(receipt: Receipt) -> pb.Receipt:
    return pb.Receipt(
        visit=_visit(receipt.visit),
        lines=[_line(line) for line in receipt.lines],
        total_minor=receipt.total.minor,
        confidence=receipt.confidence,
    )


def _line(line: Line) -> pb.ReceiptLine:
    return pb.ReceiptLine(
        barcode=line.barcode,
        name=line.name,
        quantity=line.quantity,
        unit_minor=None if line.unit is None else line.unit.minor,
        total_minor=None if line.total is None else line.total.minor,
    )


def handlers(service: BillingService) -> "grpc.GenericRpcHandler[Any, Any]":
    """Handlers that parse requests themselves: gRPC would answer bytes that are no message with INTERNAL."""
    found = {}
    for name, answer in service.methods().items():
        method = pb.DESCRIPTOR.services_by_name["Billing"].methods_by_name[name]
        request_class = getattr(pb, method.input_type.name)
        if method.client_streaming:
            found[name] = grpc.stream_unary_rpc_method_handler(
                _streamed(answer, request_class), response_serializer=_to_bytes
            )
        else:
            found[name] = grpc.unary_unary_rpc_method_handler(
                _single(answer, request_class), response_serializer=_to_bytes
            )
    return grpc.method_handlers_generic_handler("walkout.v1.Billing", found)


def _to_bytes(message: Message) -> bytes:
    return message.SerializeToString()


def _parse(request_class: Any, data: bytes) -> Any:
    try:
        return request_class.FromString(data)
    except DecodeError as error:
        raise BadRequest(f"{len(data)} bytes that are no {request_class.__name__}: {error}") from error


def _single(answer: Callable[[Any], Message], request_class: Any) -> Callable[[bytes, grpc.ServicerContext], Message]:
    def handle(data: bytes, context: grpc.ServicerContext) -> Message:
        try:
            return answer(_parse(request_class, data))
        except Exception as error:  # the worker's edge
            _abort(context, error)

    return handle


def _streamed(
    answer: Callable[[Any], Message], request_class: Any
) -> Callable[[Iterator[bytes], grpc.ServicerContext], Message]:
    def handle(stream: Iterator[bytes], context: grpc.ServicerContext) -> Message:
        try:
            return answer(_parse(request_class, data) for data in stream)
        except Exception as error:  # the worker's edge
            _abort(context, error)

    return handle


def _abort(context: grpc.ServicerContext, error: Exception) -> NoReturn:
    """Answer with the status that the table names; only what nobody expected is logged with its traceback."""
    if isinstance(error, grpc.RpcError):
        raise error  # the caller went away in the middle of its stream
    if isinstance(error, sa.exc.OperationalError):
        error = BillingUnavailable(f"the books do not answer ({error.orig}); make the same call again")
    for kind in type(error).__mro__:
        if kind in _CODES:
            context.set_trailing_metadata(((ERROR_KEY, type(error).__name__),))
            context.abort(_CODES[kind], str(error)[:_LONGEST_ERROR])
    log.error("a call failed for a reason nobody expected", exc_info=error)
    context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: see the log of the billing service")


def start_server(engine: sa.Engine, provider: PaymentProvider, clock: Clock, address: str) -> tuple[grpc.Server, str]:
    """A running server and the address it got; finishes what a crash left on its way before it takes calls.

    ``address`` is ``unix:/path`` (readable by this user only) or ``127.0.0.1:port`` (0: any free port). Calls carry
    no credentials, so any other address is refused with ``SettingsError``. The caller stops the server. Start it
    in a fresh process, never in a fork of one that has used gRPC.
    """
    if not address.startswith(("unix:", "127.0.0.1:")):
        raise SettingsError(f"billing address {address!r}: write unix:/path or 127.0.0.1:port, others can be reached")
    service = BillingService(engine, provider, clock)
    settled = service.settler.sweep(all_at_once=True)
    if settled:
        log.warning("%d visits that a crash had left on their way are settled", settled)
    # Without so_reuseport a second service on the same port is refused instead of sharing its calls.
    server = grpc.server(ThreadPoolExecutor(_THREADS, "billing"), options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((handlers(service),))
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise SettingsError(f"billing address {address!r} cannot be bound; is another service on it?") from error
    server.start()
    if address.startswith("unix:"):
        os.chmod(address.removeprefix("unix:"), 0o600)
        return server, address
    return server, f"127.0.0.1:{port}"


def serve(
    database_url: str,
    address: str,
    clock: Clock,
    provider: str = "wallet",
    stop: threading.Event | None = None,
) -> None:
    """Serve billing until ``stop`` is set; without one, until SIGTERM or SIGINT (main thread only).

    Raises ``SettingsError`` for an address, database or provider name that cannot be used.
    """
    if provider not in PROVIDERS:
        raise SettingsError(f"provider: no {provider!r}; choose one of {', '.join(PROVIDERS)}")
    engine = open_books(database_url)
    run(engine, PROVIDERS[provider](engine, clock), address, clock, stop)


def run(
    engine: sa.Engine, provider: PaymentProvider, address: str, clock: Clock, stop: threading.Event | None = None
) -> None:
    """``serve`` over books and a provider that are already there."""
    wait = _until_signal() if stop is None else stop.wait
    server, _ = start_server(engine, provider, clock, address)
    wait()
    server.stop(_GRACE_S).wait()
    engine.dispose()


def _until_signal() -> Callable[[], object]:
    """What to call to wait for SIGTERM or SIGINT, which are noted from now on.

    Signals come through a pipe. A lock (``Event.wait``, a queue) would miss one that arrives just before the main
    thread falls asleep on it: Python runs handlers in the main thread only, and nothing would wake it.
    """
    ours = {signal.SIGTERM, signal.SIGINT}
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in ours:
        signal.signal(number, lambda *_: None)

    def wait() -> None:
        while os.read(reader, 1)[0] not in ours:
            pass

    return wait
