"""The service over a real channel: status codes, hostile bytes, restarts."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import sqlalchemy as sa

from walkout.app.billing_client import BillingClient
from walkout.billing import triggers
from walkout.billing.database import writing
from walkout.billing.records import VisitStatus
from walkout.billing.server import RunningServer, serve, start_server
from walkout.billing.triggers import Trigger
from walkout.billing.wallet import WalletProvider
from walkout.domain.clock import ManualClock, SystemClock
from walkout.domain.money import Money
from walkout.domain.shopping import BasketEvent, BasketEventKind, Product, VisitClosed
from walkout.errors import (
    BadRequest,
    BillingError,
    BillingUnavailable,
    ConflictError,
    EventsMissing,
    IllegalMove,
    NotFoundError,
    SettingsError,
)
from walkout.v1 import billing_pb2 as pb

WATER = Product("071142008582", "ARRWHD SPRNG WTR", 500.0, Money(100, "USD"))
GONE = VisitClosed("v", 99, 1, 0.98)


def pick(number: int = 1, visit: str = "v") -> BasketEvent:
    """One bottle of water taken."""
    return BasketEvent(f"{visit}-e{number}", visit, number, BasketEventKind.PICK, WATER.barcode, 1, 0.9, "w")


def enter(client: BillingClient, visit: str = "v") -> None:
    """Ann, with 10.00, enters a shop that sells water; may be said twice."""
    client.upsert_prices("shop", "USD", [WATER, Product("0", "NAMELESS", None, None)])
    client.top_up_wallet("t1", "ann", Money(1000, "USD"))
    client.open_visit(visit, "shop", "ann", "USD", 1)


def test_every_call_may_be_made_twice(client: BillingClient) -> None:
    for _ in range(2):
        assert client.upsert_prices("shop", "USD", [WATER]) == 1
        assert client.top_up_wallet("t1", "ann", Money(1000, "USD")) in (Money(1000, "USD"), Money(900, "USD"))
        client.open_visit("v", "shop", "ann", "USD", 1)
        client.append_basket_events([pick(), pick()])
        assert client.close_visit(GONE).status is VisitStatus.CAPTURED
    assert client.get_receipt("v").total == Money(100, "USD")
    assert client.get_visit("v").basket_events == 1
    report = client.check_books()
    assert (report.balanced, report.charges, report.captured) == (True, {"captured": 1}, {"USD": 100})


def test_events_of_several_visits_share_a_long_stream(client: BillingClient) -> None:
    enter(client, "a")
    enter(client, "b")
    events = [pick(number, visit) for number in range(300) for visit in ("b", "a")]
    assert client.append_basket_events(events) == 600
    assert client.append_basket_events(reversed(events)) == 0
    assert [visit.basket_events for visit in client.list_visits("shop")] == [300, 300]


def test_a_receipt_comes_over_the_wire_as_it_is_in_the_books(client: BillingClient) -> None:
    enter(client)
    unknown = BasketEvent("e2", "v", 2, BasketEventKind.PICK, "0", 3, 0.9)
    client.append_basket_events([pick(), unknown])
    visit = client.close_visit(VisitClosed("v", 99, 2, 0.5, ("a person should look",)))
    assert visit.review == ("a person should look", "0: NAMELESS has no price")
    receipt = client.get_receipt("v")
    assert [(line.barcode, line.quantity, line.total) for line in receipt.lines] == [
        ("0", 3, None),
        ("071142008582", 1, Money(100, "USD")),
    ]
    assert (receipt.visit, receipt.confidence, receipt.total) == (visit, 0.5, Money(100, "USD"))
    assert client.list_visits(status=VisitStatus.REVIEW) == [visit]
    assert client.list_visits(status=VisitStatus.CAPTURED) == []


def test_errors_come_back_as_our_own(client: BillingClient) -> None:
    with pytest.raises(NotFoundError, match="open it first"):
        client.close_visit(GONE)
    enter(client)
    with pytest.raises(EventsMissing, match="0 of 1"):
        client.close_visit(GONE)
    with pytest.raises(ConflictError):
        client.open_visit("v", "shop", "bob", "USD", 1)
    with pytest.raises(BadRequest, match="unknown currency"):
        client.open_visit("w", "other shop", "ann", "XXX", 1)
    client.append_basket_events([pick()])
    client.close_visit(GONE)
    with pytest.raises(IllegalMove, match="closed"):
        client.append_basket_events([pick(2)])


Event = pb.AppendBasketEventsRequest
FORGED = [
    ("OpenVisit", pb.OpenVisitRequest(visit_id="", store="s", account_id="a", currency="USD"), "INVALID_ARGUMENT"),
    ("OpenVisit", pb.OpenVisitRequest(visit_id="v\x00", store="s", account_id="a"), "INVALID_ARGUMENT"),
    ("OpenVisit", pb.OpenVisitRequest(visit_id="v" * 201, store="s", account_id="a"), "INVALID_ARGUMENT"),
    ("OpenVisit", pb.OpenVisitRequest(visit_id="v", store="s", account_id="a", currency="usd"), "INVALID_ARGUMENT"),
    (
        "OpenVisit",
        pb.OpenVisitRequest(visit_id="v", store="s", account_id="a", currency="USD", entered_ns=-1),
        "INVALID_ARGUMENT",
    ),
    ("CloseVisit", pb.CloseVisitRequest(visit_id="v", confidence=float("nan")), "INVALID_ARGUMENT"),
    ("CloseVisit", pb.CloseVisitRequest(visit_id="v", basket_events=-1), "INVALID_ARGUMENT"),
    ("CloseVisit", pb.CloseVisitRequest(visit_id="v", review_reasons=[""]), "INVALID_ARGUMENT"),
    ("CloseVisit", pb.CloseVisitRequest(visit_id="nobody"), "NOT_FOUND"),
    ("GetReceipt", pb.GetReceiptRequest(visit_id="nobody"), "NOT_FOUND"),
    ("ListVisits", pb.ListVisitsRequest(status="BILLED_VISIT_STATUS_UNSPECIFIED"), "OK"),
    (
        "TopUpWallet",
        pb.TopUpWalletRequest(topup_id="t", account_id="a", amount_minor=-5, currency="USD"),
        "INVALID_ARGUMENT",
    ),
    (
        "TopUpWallet",
        pb.TopUpWalletRequest(topup_id="t", account_id="a", amount_minor=2**63 - 1, currency="USD"),
        "INVALID_ARGUMENT",
    ),
    (
        "UpsertPrices",
        pb.UpsertPricesRequest(
            store="s", currency="USD", prices=[pb.UpsertPricesRequest.Price(barcode="1", price_minor=-1)]
        ),
        "INVALID_ARGUMENT",
    ),
    ("NoSuchCall", pb.GetVisitRequest(), "UNIMPLEMENTED"),
]
FORGED_EVENTS = [
    Event(event_id="e", visit_id="v", barcode="1", quantity=1, probability=0.5),
    Event(event_id="e", visit_id="v", barcode="1", quantity=-1, probability=0.5, kind="KIND_PICK"),
    Event(event_id="e", visit_id="v", barcode="1", quantity=1, probability=0.5, kind="KIND_PUT_BACK"),
    Event(event_id="e", visit_id="v", barcode="1", quantity=0, probability=0.5, kind="KIND_CORRECTION"),
    Event(event_id="e", visit_id="v", barcode="1", quantity=1, probability=1.5, kind="KIND_PICK"),
    Event(event_id="e", visit_id="v", barcode="", quantity=1, probability=0.5, kind="KIND_PICK"),
    Event(event_id="e", visit_id="v", barcode="1", quantity=1, probability=0.5, kind="KIND_PICK", t_ns=-1),
]


def ask(address: str, call: str, *messages: bytes) -> str:
    """The status that raw bytes get."""
    with grpc.insecure_channel(address) as channel:
        path = f"/walkout.v1.Billing/{call}"
        try:
            if call == "AppendBasketEvents":
                channel.stream_unary(path)(iter(messages), timeout=10)
            else:
                channel.unary_unary(path)(messages[0], timeout=10)
        except grpc.RpcError as error:
            return str(error.code().name) if error.details() else "no text"
        return "OK"


@pytest.mark.parametrize(("call", "message", "status"), FORGED)
def test_a_forged_request_gets_a_clear_status(
    address: str, client: BillingClient, call: str, message: pb.OpenVisitRequest, status: str
) -> None:
    assert ask(address, call, message.SerializeToString()) == status
    assert client.check_books().balanced


@pytest.mark.parametrize("forged", FORGED_EVENTS)
def test_a_forged_basket_event_is_refused_with_its_batch(
    address: str, client: BillingClient, forged: pb.AppendBasketEventsRequest
) -> None:
    enter(client)
    good = Event(event_id="g", visit_id="v", barcode="1", quantity=1, probability=0.5, kind="KIND_PICK")
    assert (
        ask(address, "AppendBasketEvents", good.SerializeToString(), forged.SerializeToString()) == "INVALID_ARGUMENT"
    )
    assert client.get_visit("v").basket_events == 0


@pytest.mark.parametrize("call", ["OpenVisit", "AppendBasketEvents", "CloseVisit", "UpsertPrices"])
def test_bytes_that_are_no_message_are_an_invalid_argument_and_the_service_lives(
    address: str, client: BillingClient, call: str
) -> None:
    whole = pb.OpenVisitRequest(visit_id="v", store="shop", account_id="ann", currency="USD").SerializeToString()
    assert ask(address, call, whole[:-1]) == "INVALID_ARGUMENT"
    assert ask(address, call, b"\xff" * 100) == "INVALID_ARGUMENT"
    assert client.list_visits() == []


def test_a_failure_that_nobody_expected_is_logged_and_told_without_details(
    client: BillingClient, books: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    enter(client)
    with writing(books) as connection:
        for statement in triggers.in_dialect(
            connection, Trigger("disk_full", "INSERT", "basket_events", "1 = 1", "secret")
        ):
            connection.exec_driver_sql(statement)
    with pytest.raises(BillingError, match="IntegrityError: see the log"):
        client.append_basket_events([pick()])
    assert "secret" in caplog.text
    assert client.get_visit("v").basket_events == 0


def test_eight_clients_closing_one_visit_charge_it_once(client: BillingClient, address: str) -> None:
    enter(client)
    client.append_basket_events([pick()])

    def close(_: int) -> VisitStatus:
        with BillingClient(address) as mine:
            return mine.close_visit(GONE).status

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(close, range(8))) == {VisitStatus.CAPTURED}
    report = client.check_books()
    assert (report.balanced, report.captured) == (True, {"USD": 100})


def test_a_client_waits_for_a_service_that_restarts(books: sa.Engine, tmp_path: Path) -> None:
    clock = ManualClock(1)
    address = f"unix:{tmp_path / 'billing.sock'}"
    running: list[RunningServer] = []

    def start_while_the_client_pauses(seconds: float) -> None:
        if not running:
            running.append(start_server(books, WalletProvider(books, clock), clock, address)[0])
        time.sleep(seconds)

    with BillingClient(address, sleep=start_while_the_client_pauses) as client:
        assert client.check_books().balanced
        assert (tmp_path / "billing.sock").stat().st_mode & 0o077 == 0, "no other user may charge"
    running[0].stop(0)


def test_a_client_gives_up_with_a_remedy(tmp_path: Path) -> None:
    slept: list[float] = []
    with (
        BillingClient(f"unix:{tmp_path / 'nobody.sock'}", patience_s=3.0, sleep=slept.append) as client,
        pytest.raises(BillingUnavailable, match="see that its worker runs"),
    ):
        client.check_books()
    assert sum(slept) >= 3.0
    assert max(slept) <= 1.0


@pytest.mark.parametrize("address", ["0.0.0.0:5000", "[::]:5000", "shop.example:5000", "5000"])
def test_an_address_that_others_can_reach_is_refused(books: sa.Engine, address: str) -> None:
    with pytest.raises(SettingsError, match="write unix:/path"):
        start_server(books, WalletProvider(books, ManualClock()), ManualClock(), address)


def test_an_address_that_is_taken_is_refused(books: sa.Engine, address: str) -> None:
    with pytest.raises(SettingsError, match="another service"):
        start_server(books, WalletProvider(books, ManualClock()), ManualClock(), address)


def test_long_korean_reasons_do_not_hide_an_error(client: BillingClient) -> None:
    enter(client)
    reasons = tuple(f"{number}: 두 고객의 손이 동시에 닿았습니다 " * 20 for number in range(20))
    client.append_basket_events([pick()])
    assert client.close_visit(VisitClosed("v", 99, 1, 0.9, reasons)).review == reasons
    with pytest.raises(ConflictError, match="closed before with other contents"):
        client.close_visit(VisitClosed("v", 98, 1, 0.9, reasons))


def test_an_unknown_provider_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="wallet, fake"):
        serve(f"sqlite:///{tmp_path / 'b.db'}", f"unix:{tmp_path / 's'}", SystemClock(), provider="cash")
