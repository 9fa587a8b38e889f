"""The way to billing: one method per call, deadlines, repeats while the service is away, and our own errors back.

Every call of the service may be made twice, so a call whose answer got lost is simply made again. Missing basket
events (``EventsMissing``) are the caller's to append.
"""

import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

import grpc

from walkout import errors
from walkout.billing.records import BilledVisit, BooksReport, Line, Receipt, VisitStatus
from walkout.domain.money import Money
from walkout.domain.shopping import BasketEvent, BasketEventKind, Product, VisitClosed
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
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class BillingClient:
    """A channel to billing at ``unix:/path`` or ``127.0.0.1:port``; use it as a context manager.

    Methods raise the classes of ``walkout.errors`` that the service raised, and ``BillingUnavailable`` when it has
    been away for ``patience_s`` seconds.
    """

    def __init__(
        self,
        address: str,
        deadline_s: float = DEADLINE_S,
        patience_s: float = PATIENCE_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        # gRPC's own pause before it dials again grows to two minutes; a worker is back sooner.
        pauses = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 500))
        self._channel = grpc.insecure_channel(address, options=(*pauses, ("grpc.min_reconnect_backoff_ms", 50)))
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
                price_minor=None if product.price is None else product.price.minor,
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
    kind = getattr(errors, str(name), errors.BillingError)
    if not (isinstance(kind, type) and issubclass(kind, errors.WalkoutError)):
        kind = errors.BillingError
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
    lines = tuple(
        Line(
            line.barcode,
            line.name,
            line.quantity,
            Money(line.unit_minor, visit.currency) if line.HasField("unit_minor") else None,
            Money(line.total_minor, visit.currency) if line.HasField("total_minor") else None,
        )
        for line in message.lines
    )
    return Receipt(visit, lines, Money(message.total_minor, visit.currency), message.confidence)
