"""A running service over throw-away books of each kind, and a client."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from walkout.app.billing_client import BillingClient
from walkout.billing.server import start_server
from walkout.billing.wallet import WalletProvider
from walkout.domain.clock import ManualClock


@pytest.fixture
def address(books: sa.Engine) -> Iterator[str]:
    """Where a service with prepaid wallets answers."""
    clock = ManualClock(1_000)
    server, bound = start_server(books, WalletProvider(books, clock), clock, "127.0.0.1:0")
    yield bound
    server.stop(0)


@pytest.fixture
def client(address: str) -> Iterator[BillingClient]:
    """A client of that service that gives up at once."""
    with BillingClient(address, patience_s=0.0) as found:
        yield found
