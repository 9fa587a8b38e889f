"""SIGKILL in the middle of settling: the next service finishes the charge, once, and the books balance."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from walkout.app.billing_client import BillingClient
from walkout.billing import ledger
from walkout.billing.database import open_books
from walkout.billing.records import VisitStatus
from walkout.domain.money import Money
from walkout.domain.shopping import BasketEvent, BasketEventKind, Product, VisitClosed
from walkout.errors import BillingUnavailable

Start = Callable[[str], "subprocess.Popen[bytes]"]
GONE = VisitClosed("v", 99, 2, 0.98)
EVENTS = [BasketEvent(f"e{n}", "v", n, BasketEventKind.PICK, "071142008582", 1, 0.9, "w") for n in (1, 2)]


@pytest.fixture
def start(tmp_path: Path, database_url: str) -> Iterator[Start]:
    """Starts services that die at the given point, over the same books and address; none outlives the test."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(point: str) -> "subprocess.Popen[bytes]":
        script = Path(__file__).parent / "dying_service.py"
        words = [database_url, f"unix:{tmp_path / 's'}", point]
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


@pytest.mark.parametrize(
    ("point", "left", "held"),
    [
        ("before authorize", "created", 0),
        ("after authorize", "created", 200),
        ("before capture", "authorized", 200),
        ("after capture", "authorized", 0),
    ],
)
def test_a_service_killed_while_settling_is_finished_by_the_next_one(
    tmp_path: Path, database_url: str, start: Start, point: str, left: str, held: int
) -> None:
    dying = start(point)
    with BillingClient(f"unix:{tmp_path / 's'}") as client:
        visit(client)
    with BillingClient(f"unix:{tmp_path / 's'}", patience_s=0.0) as client, pytest.raises(BillingUnavailable):
        client.close_visit(GONE)
    assert dying.wait() == -signal.SIGKILL

    books = open_books(database_url)
    between = ledger.check_books(books)
    assert (between.problems, between.unfinished, between.charges) == ((), 1, {left: 1})
    with books.connect() as connection:
        holds = "SELECT coalesce(-sum(amount_minor), 0) FROM postings WHERE kind = 'hold'"
        assert connection.exec_driver_sql(holds).scalar_one() == held
    books.dispose()

    start("never")
    with BillingClient(f"unix:{tmp_path / 's'}") as client:
        assert client.get_visit("v").status is VisitStatus.CAPTURED, "settled before anybody asked again"
        visit(client)
        assert client.close_visit(GONE).status is VisitStatus.CAPTURED
        report = client.check_books()
        assert (report.problems, report.charges, report.captured) == ((), {"captured": 1}, {"USD": 200})
        assert client.top_up_wallet("t1", "ann", Money(1000, "USD")) == Money(800, "USD")


def test_sigterm_stops_the_service_cleanly(tmp_path: Path, start: Start) -> None:
    service = start("never")
    with BillingClient(f"unix:{tmp_path / 's'}") as client:
        assert client.check_books().balanced
        service.send_signal(signal.SIGTERM)
        assert service.wait(30) == 0
