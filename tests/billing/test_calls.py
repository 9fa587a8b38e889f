"""Manners of the service: who may call, what an error says, drains, watchers, limits, metrics."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import grpc
import pytest
import sqlalchemy as sa
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from walkout.app.billing_client import BillingClient
from walkout.billing import audit
from walkout.billing.aftersale import Change
from walkout.billing.calls import Calls, Metrics
from walkout.billing.records import Charge, Direction, VisitStatus
from walkout.billing.security import PERMISSIONS, Certificate, development_certificates
from walkout.billing.server import LARGEST_MESSAGE, start_server
from walkout.billing.service import BillingService
from walkout.billing.visits import get_visit
from walkout.billing.wallet import WalletProvider
from walkout.domain.clock import ManualClock
from walkout.domain.money import Money
from walkout.domain.shopping import BasketEvent, BasketEventKind, Product, VisitClosed
from walkout.errors import BadRequest, BillingUnavailable, NotFoundError, PermissionDenied
from walkout.v1 import billing_pb2 as pb

CLOCK = ManualClock(1_000)
WATER = Product("w", "WATER", 500.0, Money(100, "USD"))


def enter(client: BillingClient, visit: str = "v") -> None:
    """Ann, with 10.00, takes a bottle of water."""
    client.upsert_prices("shop", "USD", [WATER])
    client.top_up_wallet("t", "ann", Money(1000, "USD"))
    client.open_visit(visit, "shop", "ann", "USD", 1)
    client.append_basket_events([BasketEvent(f"e-{visit}", visit, 2, BasketEventKind.PICK, "w", 1, 0.9)])


def refused(address: str, call: str, message: bytes, **options: object) -> grpc.RpcError:
    """The error that a raw call ends with."""
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary(f"/walkout.v1.Billing/{call}")(message, timeout=10, **options)
    return raised.value


def details(error: grpc.RpcError) -> dict[str, object]:
    """The parts of google.rpc.Status, by their short name."""
    trailing = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    assert (status.code, status.message) == (error.code().value[0], error.details())
    found: dict[str, object] = {}
    for part in status.details:
        kind = getattr(error_details_pb2, part.TypeName().rpartition(".")[2])
        found[kind.DESCRIPTOR.name] = message = kind()
        part.Unpack(message)
    return found


def test_an_error_says_what_is_wrong_so_that_a_program_can_read_it(address: str) -> None:
    request = pb.OpenVisitRequest(visit_id="", store="s", account_id="a", currency="USD")
    error = refused(address, "OpenVisit", request.SerializeToString(), metadata=(("x-request-id", "r-7"),))
    found = details(error)
    assert (found["ErrorInfo"].domain, found["ErrorInfo"].reason) == ("walkout", "BadRequest")
    assert found["BadRequest"].field_violations[0].field == "visit_id"
    assert found["RequestInfo"].request_id == "r-7"
    assert dict(error.trailing_metadata())["x-request-id"] == "r-7"


def test_the_request_id_stands_in_the_log(address: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "walkout.billing.calls")
    request = pb.GetVisitRequest(visit_id="nobody").SerializeToString()
    refused(address, "GetVisit", request, metadata=(("x-request-id", "r-8"),))
    assert any("r-8 GetVisit by local: NOT_FOUND" in line for line in caplog.messages)


def test_a_message_of_ten_megabytes_is_refused_and_the_books_stay_as_they_are(
    address: str, client: BillingClient, books: sa.Engine
) -> None:
    name = "x" * (10 * 1024 * 1024)
    request = pb.UpsertPricesRequest(store="shop", currency="USD", prices=[{"barcode": "1", "name": name}])
    error = refused(address, "UpsertPrices", request.SerializeToString())
    assert (error.code(), str(LARGEST_MESSAGE) in error.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
    with pytest.raises(NotFoundError):
        client.settlement_report("shop", "2026-01-05")
    assert audit.check_books(books).balanced


class LateContext(grpc.ServicerContext):
    """The server's side of a call whose deadline is over."""

    def __init__(self) -> None:
        self.status: grpc.Status | None = None

    def time_remaining(self) -> float:
        return 0.0

    def abort_with_status(self, status: grpc.Status) -> NoReturn:
        self.status = status
        raise grpc.RpcError

    def _nothing(self, *_: object) -> dict[str, object]:
        return {}

    invocation_metadata = auth_context = set_trailing_metadata = _nothing
    is_active = cancel = add_callback = peer = peer_identities = peer_identity_key = _nothing
    send_initial_metadata = abort = set_code = set_details = _nothing


def test_a_deadline_that_has_passed_begins_nothing(books: sa.Engine) -> None:
    service = BillingService(books, WalletProvider(books, CLOCK), CLOCK)
    request = pb.OpenVisitRequest(visit_id="late", store="shop", account_id="ann", currency="USD")
    open_visit = Calls(service, Metrics())._unary("OpenVisit", service.open_visit, pb.OpenVisitRequest)
    context = LateContext()
    with pytest.raises(grpc.RpcError):
        open_visit(request.SerializeToString(), context)
    assert context.status is not None
    assert context.status.code is grpc.StatusCode.DEADLINE_EXCEEDED
    with pytest.raises(NotFoundError):
        get_visit(books, "late")


def test_health_and_reflection_answer(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        assert check(health_pb2.HealthCheckRequest(service="walkout.v1.Billing"), timeout=10).status == 1
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([ask]), timeout=10)
        names = {service.name for service in next(iter(answers)).list_services_response.service}
    assert {"walkout.v1.Billing", "grpc.health.v1.Health"} <= names


class SlowProvider(WalletProvider):
    """Wallets that take until ``go`` is set, and tell that somebody is waiting."""

    def __init__(self, books: sa.Engine) -> None:
        super().__init__(books, CLOCK)
        self.asked, self.go = threading.Event(), threading.Event()

    def authorize(self, charge: Charge) -> str:
        self.asked.set()
        assert self.go.wait(30)
        return super().authorize(charge)


def test_a_service_that_is_asked_to_go_finishes_the_call_in_hand_and_takes_no_other(books: sa.Engine) -> None:
    provider = SlowProvider(books)
    server, address = start_server(books, provider, CLOCK, "127.0.0.1:0")
    answers: list[VisitStatus] = []
    with BillingClient(address, patience_s=0.0) as client, BillingClient(address, patience_s=0.0) as late:
        enter(client)
        late.get_visit("v")
        closing = threading.Thread(
            target=lambda: answers.append(client.close_visit(VisitClosed("v", 9, 1, 0.9)).status)
        )
        closing.start()
        assert provider.asked.wait(30)
        stopping = threading.Thread(target=server.stop, args=(30,))
        stopping.start()
        while True:
            try:
                late.get_visit("v")
                time.sleep(0.01)
            except BillingUnavailable:
                break
        assert not answers
        provider.go.set()
        closing.join()
        stopping.join()
    assert answers == [VisitStatus.CAPTURED]


def test_a_watcher_sees_each_change_of_the_basket_and_the_end(client: BillingClient) -> None:
    client.upsert_prices("shop", "USD", [WATER])
    client.top_up_wallet("t", "ann", Money(1000, "USD"))
    client.open_visit("v", "shop", "ann", "USD", 1)
    seen = client.watch_visit("v", timeout_s=30)
    assert next(seen)[1].lines == ()
    client.append_basket_events([BasketEvent("e1", "v", 2, BasketEventKind.PICK, "w", 2, 0.9)])
    assert next(seen)[1].lines == (("w", 2),)
    client.close_visit(VisitClosed("v", 9, 1, 0.9))
    assert list(seen)[-1][0].status is VisitStatus.CAPTURED


def test_watching_nobody_is_not_found(client: BillingClient) -> None:
    with pytest.raises(NotFoundError):
        next(client.watch_visit("nobody", timeout_s=30))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Certificate]:
    """A development authority and what it signed."""
    return development_certificates(tmp_path_factory.mktemp("tls"), datetime.now(UTC))


@pytest.fixture
def secure(books: sa.Engine, certificates: dict[str, Certificate]) -> Iterator[str]:
    """A service that wants certificates."""
    server, address = start_server(books, WalletProvider(books, CLOCK), CLOCK, "localhost:0", certificates["server"])
    yield address
    server.stop(0)


def test_each_caller_may_do_its_own_and_nothing_else(secure: str, certificates: dict[str, Certificate]) -> None:
    def as_caller(name: str) -> BillingClient:
        return BillingClient(secure, patience_s=0.0, certificate=certificates[name])

    with as_caller("edge") as edge, as_caller("console") as console, as_caller("app") as app, as_caller("gate") as gate:
        edge.upsert_prices("shop", "USD", [WATER])
        app.top_up_wallet("t", "ann", Money(1000, "USD"))
        gate.open_visit("v", "shop", "ann", "USD", 1)
        with pytest.raises(PermissionDenied, match="gate may not call AppendBasketEvents"):
            gate.append_basket_events([BasketEvent("e", "v", 2, BasketEventKind.PICK, "w", 1, 0.9)])
        edge.append_basket_events([BasketEvent("e", "v", 2, BasketEventKind.PICK, "w", 1, 0.9)])
        edge.close_visit(VisitClosed("v", 9, 1, 0.9))
        with pytest.raises(PermissionDenied):
            app.refund("r", "v", {"w": 1}, "returned", "mine", "ann")
        assert console.refund("r", "v", {"w": 1}, "returned", "unopened", "staff:kim").status is VisitStatus.CAPTURED
        assert console.check_books().balanced


def test_a_stranger_s_certificate_gets_nowhere(
    secure: str, certificates: dict[str, Certificate], tmp_path: Path, books: sa.Engine
) -> None:
    theirs = development_certificates(tmp_path / "theirs", datetime.now(UTC))["console"]
    ours = certificates["console"]
    for wrong in (theirs, Certificate(theirs.certificate, theirs.key, ours.authority)):
        with (
            BillingClient(secure, deadline_s=5, patience_s=0.0, certificate=wrong) as client,
            pytest.raises(BillingUnavailable),
        ):
            client.open_visit("v", "shop", "ann", "USD", 1)
    with BillingClient(secure, deadline_s=5, patience_s=0.0) as bare, pytest.raises(BillingUnavailable):
        bare.open_visit("v", "shop", "ann", "USD", 1)
    with BillingClient(secure, patience_s=0.0, certificate=ours) as client, pytest.raises(NotFoundError):
        client.get_visit("v")
    assert audit.check_books(books).balanced


def test_every_call_stands_in_the_table_of_permissions_for_somebody_besides_the_machine_itself() -> None:
    calls = {method.name for method in pb.DESCRIPTOR.services_by_name["Billing"].methods}
    assert PERMISSIONS["local"] == calls
    assert set().union(*(allowed for name, allowed in PERMISSIONS.items() if name != "local")) == calls


def test_development_keys_are_readable_by_their_owner_only(certificates: dict[str, Certificate]) -> None:
    folder = certificates["server"].key.parent
    assert {path.stat().st_mode & 0o077 for path in folder.iterdir()} == {0}
    assert development_certificates(folder, datetime.now(UTC)) == certificates


def test_money_calls_over_the_wire(client: BillingClient) -> None:
    enter(client)
    client.close_visit(VisitClosed("v", 9, 1, 0.9))
    assert client.adjust_charge("a", "v", [Change("w", 2)], "two more on the clip", "staff:kim").status == "captured"
    client.open_dispute("d", "v", Direction.OVERCHARGED, "only one", "ann")
    assert client.resolve_dispute("d", [Change("w", -2)], "true", "staff:kim").status == "accepted"
    receipt = client.get_receipt("v")
    assert (receipt.total, [payment.amount.minor for payment in receipt.payments]) == (
        Money(100, "USD"),
        [100, 200, -200],
    )
    report = client.settlement_report("shop", "1970-01-01")
    assert (report.net, report.visits, report.outstanding) == (Money(100, "USD"), 1, Money(0, "USD"))
    assert [(row.provider, row.captures, row.refunds) for row in report.rows] == [("wallet", 2, 1)]
    with pytest.raises(BadRequest, match="no day"):
        client.settlement_report("shop", "yesterday")


def test_codes_and_dated_prices_over_the_wire(client: BillingClient) -> None:
    client.upsert_prices("shop", "USD", [WATER, Product("j", "JUICE", None, Money(250, "USD"))])
    client.set_barcodes("shop", "w", ["w-old", "w-box"])
    client.set_price_periods("shop", "USD", "w", [(5, 20, Money(80, "USD"))])
    client.top_up_wallet("t", "ann", Money(1000, "USD"))
    for visit, closed_ns, total in (("a", 4, 200), ("b", 5, 160), ("c", 20, 200)):
        client.open_visit(visit, "shop", "ann", "USD", 1)
        picks = [
            BasketEvent(f"{visit}{n}", visit, n, BasketEventKind.PICK, code, 1, 0.9)
            for n, code in enumerate(("w", "w-old"))
        ]
        client.append_basket_events(picks)
        client.close_visit(VisitClosed(visit, closed_ns, 2, 0.9))
        assert client.get_receipt(visit).total == Money(total, "USD")
    assert (client.archive_products("shop", ["j", "nothing"]), client.archive_products("shop", ["j"])) == (1, 0)
    with pytest.raises(BadRequest, match="two prices"):
        client.set_price_periods("shop", "USD", "w", [(1, 9, Money(1, "USD")), (8, None, Money(2, "USD"))])
    with pytest.raises(NotFoundError):
        client.set_barcodes("shop", "nothing", ["x"])
