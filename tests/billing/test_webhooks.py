"""Webhooks late, twice, out of order, early, forged, replayed: the books end as if each came once, or unchanged."""

import http.client
import random
import threading
from collections.abc import Iterator, Mapping

import pytest
import sqlalchemy as sa

from tests.billing.psp import KEY, SECRET, Psp, running_psp
from walkout.billing.accounts import PaymentMethod, save_method
from walkout.billing.audit import check_books
from walkout.billing.catalog import upsert_prices
from walkout.billing.fake_provider import FakeProvider
from walkout.billing.provider import PaymentProvider
from walkout.billing.records import PricedProduct, VisitStatus
from walkout.billing.schema import metadata
from walkout.billing.server import run
from walkout.billing.settle import Settler
from walkout.billing.stripe_provider import StripeAccess, StripeProvider
from walkout.billing.visits import append_events, get_visit, open_visit
from walkout.billing.wallet import WalletProvider
from walkout.billing.webhooks import Webhooks, serving_webhooks
from walkout.domain.clock import ManualClock
from walkout.domain.money import Money
from walkout.domain.shopping import BasketEvent, BasketEventKind, VisitClosed
from walkout.errors import BadRequest, BillingUnavailable, SettingsError

CLOCK = ManualClock(1_800_000_000 * 10**9)
CLOSED = VisitClosed("v", 99, 1, 0.98)


@pytest.fixture
def psp() -> Iterator[Psp]:
    """A card processor behind a socket."""
    with running_psp() as found:
        yield found


@pytest.fixture
def shop(books: sa.Engine) -> sa.Engine:
    """Ann took one bottle for 4.00 and pays by card."""
    upsert_prices(books, "shop", "USD", [PricedProduct("1", "water", Money(400, "USD"))])
    save_method(books, "stripe", "ann", PaymentMethod("cus_ann", "pm_card_visa", "card"), 1)
    open_visit(books, "v", "shop", "ann", "USD", 1, 1)
    append_events(books, [BasketEvent("e1", "v", 1, BasketEventKind.PICK, "1", 1, 0.9, "w1")])
    return books


@pytest.fixture
def webhooks(shop: sa.Engine, psp: Psp) -> Webhooks:
    """What takes Stripe's webhooks, beside what settles."""
    return taker(shop, StripeProvider(shop, CLOCK, StripeAccess(KEY, SECRET, psp.url)))


def taker(books: sa.Engine, provider: PaymentProvider) -> Webhooks:
    """Webhooks of that provider into those books."""
    return Webhooks(books, provider, Settler(books, provider, CLOCK), CLOCK)


def everything(books: sa.Engine, but: str = "webhooks") -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table."""
    with books.connect() as connection:
        return {
            name: sorted(map(tuple, connection.execute(sa.select(table))), key=repr)
            for name, table in metadata.tables.items()
            if name != but
        }


def send(port: int, webhook: tuple[Mapping[str, str], bytes], path: str = "/webhooks/stripe") -> int:
    """The status that a POST over HTTP gets."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", path, webhook[1], dict(webhook[0]))
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_webhook_finishes_what_a_lost_answer_left_open(webhooks: Webhooks, psp: Psp) -> None:
    psp.faults += ["ok", "late"]
    with pytest.raises(BillingUnavailable):
        webhooks.settler.close(CLOSED)
    assert get_visit(webhooks.engine, "v").status is VisitStatus.CLOSING
    assert [webhooks.receive(*psp.signed(event)) for event in psp.events] == ["looked", "looked"]
    assert get_visit(webhooks.engine, "v").status is VisitStatus.CAPTURED
    report = check_books(webhooks.engine)
    assert (report.problems, psp.captured_minor(), report.captured) == ((), 400, {"USD": 400})


def test_webhooks_late_twice_and_out_of_order_change_nothing_that_is_settled(webhooks: Webhooks, psp: Psp) -> None:
    webhooks.settler.close(CLOSED)
    before = everything(webhooks.engine)
    sent = [psp.signed(event) for event in psp.events] * 3
    random.Random(7).shuffle(sent)
    with serving_webhooks({"stripe": webhooks.receive}, 0) as port:
        assert [send(port, webhook) for webhook in sent] == [200] * len(sent)
    assert everything(webhooks.engine) == before
    assert (psp.captured_minor(), len(psp.posts)) == (400, 2)


def test_many_copies_at_once_are_applied_once(webhooks: Webhooks, psp: Psp) -> None:
    psp.faults += ["ok", "late"]
    with pytest.raises(BillingUnavailable):
        webhooks.settler.close(CLOSED)
    webhook = psp.signed(psp.events[-1])
    statuses: list[int] = []
    with serving_webhooks({"stripe": webhooks.receive}, 0) as port:
        threads = [threading.Thread(target=lambda: statuses.append(send(port, webhook))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(statuses) == {200}
    assert get_visit(webhooks.engine, "v").status is VisitStatus.CAPTURED
    assert (check_books(webhooks.engine).problems, psp.captured_minor()) == ((), 400)


def test_a_webhook_before_the_answer_does_not_charge_twice(shop: sa.Engine) -> None:
    provider = FakeProvider(["early", "early"], CLOCK)
    webhooks = taker(shop, provider)
    said: list[str] = []
    threads: list[threading.Thread] = []

    def deliver(headers: dict[str, str], body: bytes) -> None:
        threads.append(threading.Thread(target=lambda: said.append(webhooks.receive(headers, body))))
        threads[-1].start()

    provider.deliver = deliver
    assert webhooks.settler.close(CLOSED).status is VisitStatus.CAPTURED
    for thread in threads:
        thread.join()
    assert said == ["looked", "looked"]
    assert (provider.taken_minor, check_books(shop).problems) == (400, ())


def test_a_webhook_that_comes_twice_is_known(shop: sa.Engine) -> None:
    provider = FakeProvider(["twice", "twice"], CLOCK)
    webhooks = taker(shop, provider)
    webhooks.settler.close(CLOSED)
    said = [webhooks.receive(*webhook) for webhook in provider.outbox]
    assert said == ["looked", "known: looked", "looked", "known: looked"]


def test_forged_and_replayed_webhooks_are_refused_and_leave_the_books_unchanged(webhooks: Webhooks, psp: Psp) -> None:
    psp.faults += ["ok", "late"]
    with pytest.raises(BillingUnavailable):
        webhooks.settler.close(CLOSED)
    before = everything(webhooks.engine, but="")
    event = psp.events[-1]
    headers, body = psp.signed(event)
    refused = [
        (psp.signed(event, secret="whsec_other"), 400),
        ((headers, body.replace(b"400", b"999")), 400),
        (psp.signed(event, at_s=psp.now_s - 301), 400),
        (({}, body), 400),
        ((headers, b"x" * (300 * 1024)), 413),
    ]
    with serving_webhooks({"stripe": webhooks.receive}, 0) as port:
        assert [send(port, webhook) for webhook, _ in refused] == [status for _, status in refused]
        assert send(port, (headers, body), "/webhooks/other") == 404
    assert everything(webhooks.engine, but="") == before


def test_a_body_without_end_is_refused_before_it_is_read(webhooks: Webhooks) -> None:
    with serving_webhooks({"stripe": webhooks.receive}, 0) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.putrequest("POST", "/webhooks/stripe")
        connection.putheader("Content-Length", str(10 * 1024 * 1024))
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()


def test_a_webhook_that_cannot_be_applied_yet_is_asked_for_again(webhooks: Webhooks, psp: Psp) -> None:
    psp.faults += ["ok", "late"]
    with pytest.raises(BillingUnavailable):
        webhooks.settler.close(CLOSED)
    webhook = psp.signed(psp.events[-1])
    url, psp_away = psp.url, "http://127.0.0.1:9"
    away = taker(webhooks.engine, StripeProvider(webhooks.engine, CLOCK, StripeAccess(KEY, SECRET, psp_away)))
    with serving_webhooks({"stripe": away.receive}, 0) as port:
        assert send(port, webhook) == 503
    assert url != psp_away
    assert webhooks.receive(*webhook) == "looked"
    assert get_visit(webhooks.engine, "v").status is VisitStatus.CAPTURED


def test_a_webhook_about_somebody_elses_payment_is_taken_and_left_alone(webhooks: Webhooks, psp: Psp) -> None:
    before = everything(webhooks.engine)
    psp.tell("payment_intent.succeeded", {"id": "pi_other", "metadata": {"charge_id": "nobody"}, "amount": 5})
    assert webhooks.receive(*psp.signed(psp.events[0])) == "about no charge of ours"
    assert everything(webhooks.engine) == before


def clearing(books: sa.Engine) -> dict[str, int]:
    """What the accounts around a dispute come to, in cents."""
    table = metadata.tables["postings"]
    query = sa.select(table.c.kind, sa.func.sum(table.c.amount_minor)).group_by(table.c.kind)
    with books.connect() as connection:
        return {kind: int(minor) for kind, minor in connection.execute(query) if minor}


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (1, 1, 0, 0), (0, 1, 0, 1)])
@pytest.mark.parametrize(
    ("verdict", "left"),
    [
        ("won", {"sales": -400, "clearing": 400}),
        ("lost", {"sales": -400, "loss": 400}),
    ],
)
def test_a_dispute_at_the_bank_is_booked_once_in_any_order(
    webhooks: Webhooks, psp: Psp, order: tuple[int, ...], verdict: str, left: dict[str, int]
) -> None:
    webhooks.settler.close(CLOSED)
    (payment,) = psp.intents
    psp.dispute(payment)
    psp.dispute(payment, verdict)
    told = psp.events[-2:]
    for number in order:
        webhooks.receive(*psp.signed(told[number]))
    assert clearing(webhooks.engine) == left
    assert check_books(webhooks.engine).problems == ()
    (dispute,) = everything(webhooks.engine)["disputes"]
    assert ("rejected" in dispute) == (verdict == "won")


def test_an_open_dispute_stands_apart_from_what_the_processor_owes(webhooks: Webhooks, psp: Psp) -> None:
    webhooks.settler.close(CLOSED)
    psp.dispute(next(iter(psp.intents)))
    webhooks.receive(*psp.signed(psp.events[-1]))
    assert clearing(webhooks.engine) == {"sales": -400, "disputes": 400}


def test_the_wallet_takes_no_webhooks(shop: sa.Engine) -> None:
    with pytest.raises(BadRequest):
        taker(shop, WalletProvider(shop, CLOCK)).receive({}, b"")


def test_a_running_service_takes_webhooks_beside_calls(shop: sa.Engine, psp: Psp) -> None:
    provider = StripeProvider(shop, CLOCK, StripeAccess(KEY, SECRET, psp.url))
    with serving_webhooks({}, 0) as port:
        pass  # free again now
    stop = threading.Event()
    service = threading.Thread(
        target=run, args=(shop, provider, "127.0.0.1:0", CLOCK, stop), kwargs={"webhook_port": port}
    )
    service.start()
    try:
        psp.tell("payment_intent.succeeded", {"id": "pi_other"})
        webhook = psp.signed(psp.events[-1])
        for _ in range(200):
            try:
                assert send(port, webhook) == 200
                break
            except ConnectionRefusedError:
                threading.Event().wait(0.05)
        else:
            raise AssertionError("nobody listens")
    finally:
        stop.set()
        service.join()


def test_a_port_that_is_taken_is_named() -> None:
    with (
        serving_webhooks({}, 0) as port,
        pytest.raises(SettingsError, match=f"webhook port {port}"),
        serving_webhooks({}, port),
    ):
        pass
