"""A real billing service that SIGKILLs itself at a chosen point of its work, once: run as its own process.

Usage: dying_service.py DATABASE_URL ADDRESS FLAG POINT. From the moment the file FLAG is there, points are counted.
POINT is "never", "before X" or "after X" with X a call of the provider (authorize, capture, refund), or "commit N":
just before the N-th transaction that writes is committed.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from walkout.billing.database import open_books
from walkout.billing.server import run
from walkout.billing.wallet import WalletProvider
from walkout.domain.clock import SystemClock

PROVIDER_CALLS = ("authorize", "capture", "refund")


class Death:
    """Waits for its point."""

    def __init__(self, flag: Path, point: str) -> None:
        self._flag, self._point = flag, point
        self._commits = 0

    def at(self, point: str) -> None:
        if point == self._point and self._flag.exists():
            os.kill(os.getpid(), signal.SIGKILL)

    def at_commit(self, connection: sa.Connection) -> None:
        if self._flag.exists() and not connection.get_execution_options().get("reading_only", False):
            self._commits += 1
            self.at(f"commit {self._commits}")

    def around(self, call: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*arguments: Any) -> Any:
            self.at(f"before {call}")
            answer = inner(*arguments)
            self.at(f"after {call}")
            return answer

        return asked


def main(url: str, address: str, flag: str, point: str) -> None:
    """Serve wallets until the point is reached: then the whole process is gone, as by a power cut."""
    clock = SystemClock()
    books = open_books(url)
    death = Death(Path(flag), point)
    sa.event.listen(books, "commit", death.at_commit)
    provider: Any = WalletProvider(books, clock)
    for call in PROVIDER_CALLS:
        setattr(provider, call, death.around(call, getattr(provider, call)))
    run(books, provider, address, clock)


if __name__ == "__main__":
    main(*sys.argv[1:])
