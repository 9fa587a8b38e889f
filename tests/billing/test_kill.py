"""SIGKILL after every single step of settling: the next service finishes, once, and the books balance."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from walkout.app.billing_client import BillingClient
from walkout.billing import audit
from walkout.billing.database import open_books, reading
from walkout.billing.records import VisitStatus
from walkout.domain.money import Money
from walkout.domain.shopping import BasketEvent, BasketEventKind, Product, VisitClosed
from walkout.errors import BillingUnavailable

Start = Callable[[str], "subprocess.Popen[bytes]"]
#: Just now, or the refund would come after its window.
GONE = VisitClosed("v", time.time_ns(), 2, 0.98)
EVENTS = [BasketEvent(f"e{n}", "v", n, BasketEventKind.PICK, "071142008582", 1, 0.9, "w") for n in (1, 2)]

#: Where settling stands after each step, in order: the transactions are the close with its charge, the wallet's hold,
#: the answer written down, the wallet's take, the capture written down with sale and visit.
SETTLING = [
    ("commit 1", {}, "nothing is written yet"),
    ("before authorize", {"created": 1}, "the charge is written, nobody asked"),
    ("commit 2", {"created": 1}, "the hold is not there yet"),
    ("after authorize", {"created": 1}, "the hold is there, we do not know"),
    ("commit 3", {"created": 1}, "we know, and have not written it"),
    ("before capture", {"authorized": 1}, "the hold is written"),
    ("commit 4", {"authorized": 1}, "nothing is taken yet"),
    ("after capture", {"authorized": 1}, "it is taken, we do not know"),
    ("commit 5", {"authorized": 1}, "we know, and have not written it"),
]
#: The same of a refund: the adjustment with its refund, the wallet's own, the answer written down.
REFUNDING = ["commit 1", "before refund", "commit 2", "after refund", "commit 3"]


@pytest.fixture
def start(tmp_path: Path, database_url: str) -> Iterator[Start]:
    """Starts services that die at the given point, over the same books and address; none outlives the test."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(point: str) -> "subprocess.Popen[bytes]":
        script = Path(__file__).parent / "dying_service.py"
        words = [database_url, f"unix:{tmp_path / 's'}", str(tmp_path / "flag"), point]
        running.append(subprocess.Popen([sys.executable, str(script), *words]))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.wait()


def visit(client: BillingClient) -> None:
    """Ann takes two bottles of water; everything may be said again after a crash."""
    client.upsert_prices("shop", "USD", [Product("071142008582", "ARRWHD SPRNG WTR", None, Money(100, "USD"))])
    client.top_up_wallet("t1", "ann", Money(1000, "USD"))
    client.open_visit("v", "shop", "ann", "USD", 1)
    client.append_basket_events(EVENTS)


def numbers(books: sa.Engine) -> dict[str, int]:
    """How many transactions of each kind the journal holds."""
    with reading(books) as connection:
        rows = connection.exec_driver_sql("SELECT kind, count(*) FROM transactions GROUP BY kind").all()
    return {row[0]: row[1] for row in rows}


@pytest.mark.parametrize(("point", "left", "where"), SETTLING)
def test_a_service_killed_at_any_step_of_settling_captures_once(
    tmp_path: Path, database_url: str, start: Start, point: str, left: dict[str, int], where: str
) -> None:
    dying = start(point)
    with BillingClient(f"unix:{tmp_path / 's'}") as client:
        visit(client)
    (tmp_path / "flag").touch()
    with BillingClient(f"unix:{tmp_path / 's'}", patience_s=0.0) as client, pytest.raises(BillingUnavailable):
        client.close_visit(GONE)
    assert dying.wait() == -signal.SIGKILL
    books = open_books(database_url)
    between = audit.check_books(books)
    assert (between.problems, between.charges) == ((), left), where

    start("never")
    with BillingClient(f"unix:{tmp_path / 's'}") as client:
        if left:
            assert client.get_visit("v").status is VisitStatus.CAPTURED, "settled before anybody asked again"
        visit(client)
        for _ in range(2):
            assert client.close_visit(GONE).status is VisitStatus.CAPTURED
        receipt = client.get_receipt("v")
        assert (receipt.total, client.top_up_wallet("t1", "ann", Money(1000, "USD"))) == (
            Money(200, "USD"),
            Money(800, "USD"),
        )
    report = audit.check_books(books)
    assert (report.problems, report.charges, report.captured) == ((), {"captured": 1}, {"USD": 200})
    assert numbers(books) == {"top-up": 1, "hold": 1, "take": 1, "sale": 1}
    books.dispose()


@pytest.mark.parametrize("point", REFUNDING)
def test_a_service_killed_at_any_step_of_a_refund_gives_back_once(
    tmp_path: Path, database_url: str, start: Start, point: str
) -> None:
    dying = start(point)
    with BillingClient(f"unix:{tmp_path / 's'}") as client:
        visit(client)
        client.close_visit(GONE)
    (tmp_path / "flag").touch()
    back = ("r1", "v", {"071142008582": 1}, "returned", "unopened", "staff:kim")
    with BillingClient(f"unix:{tmp_path / 's'}", patience_s=0.0) as client, pytest.raises(BillingUnavailable):
        client.refund(*back)
    assert dying.wait() == -signal.SIGKILL

    start("never")
    with BillingClient(f"unix:{tmp_path / 's'}") as client:
        for _ in range(2):
            client.refund(*back)
        assert client.get_receipt("v").total == Money(100, "USD")
        assert client.top_up_wallet("t1", "ann", Money(1000, "USD")) == Money(900, "USD")
    books = open_books(database_url)
    assert audit.check_books(books).problems == ()
    assert numbers(books)["refund"] == 1
    books.dispose()


def test_sigterm_stops_the_service_cleanly(tmp_path: Path, start: Start) -> None:
    service = start("never")
    with BillingClient(f"unix:{tmp_path / 's'}") as client:
        assert client.check_books().balanced
        service.send_signal(signal.SIGTERM)
        assert service.wait(30) == 0
