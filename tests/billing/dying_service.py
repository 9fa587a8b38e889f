"""A real billing service that SIGKILLs itself at a chosen point of settling, once: run as its own process.

Usage: dying_service.py DATABASE_URL ADDRESS POINT. POINT is "before X" or "after X" with X one of authorize,
capture; or "never".
"""

import os
import signal
import sys

from walkout.billing.database import open_books
from walkout.billing.provider import PaymentProvider
from walkout.billing.records import Charge
from walkout.billing.service import run
from walkout.billing.wallet import WalletProvider
from walkout.domain.clock import SystemClock


class DyingProvider:
    """Wallets, until the point is reached: then the whole process is gone, as by a power cut."""

    name = "wallet"

    def __init__(self, inner: PaymentProvider, point: str) -> None:
        self._inner = inner
        self._point = point

    def authorize(self, charge: Charge) -> str:
        self._die("before authorize")
        reference = self._inner.authorize(charge)
        self._die("after authorize")
        return reference

    def capture(self, charge: Charge) -> None:
        self._die("before capture")
        self._inner.capture(charge)
        self._die("after capture")

    def void(self, charge: Charge) -> None:
        self._inner.void(charge)

    def _die(self, point: str) -> None:
        if point == self._point:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    url, address, point = sys.argv[1:]
    clock = SystemClock()
    books = open_books(url)
    run(books, DyingProvider(WalletProvider(books, clock), point), address, clock)
