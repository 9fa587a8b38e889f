"""Throw-away books on a file, a running service over them, and a client."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from walkout.app.billing_client import BillingClient
from walkout.billing.schema import open_books
from walkout.billing.service import start_server
from walkout.billing.wallet import WalletProvider
from walkout.domain.clock import ManualClock


@pytest.fixture
def books(tmp_path: Path) -> Iterator[sa.Engine]:
    """Empty books on a file."""
    engine = open_books(f"sqlite:///{tmp_path / 'books.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def address(books: sa.Engine) -> Iterator[str]:
    """Where a service with prepaid wallets answers."""
    clock = ManualClock(1_000)
    server, bound = start_server(books, WalletProvider(books, clock), clock, "127.0.0.1:0")
    yield bound
    server.stop(0).wait()


@pytest.fixture
def client(address: str) -> Iterator[BillingClient]:
    """A client of that service that gives up at once."""
    with BillingClient(address, patience_s=0.0) as found:
        yield found
