"""What books promise whoever keeps them, over each database: proof, backup and restore, across the two as well."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from walkout.app.books import backup, restore, verify
from walkout.billing import ledger, triggers
from walkout.billing.catalog import upsert_prices
from walkout.billing.database import open_books, writing
from walkout.billing.records import PricedProduct, VisitStatus
from walkout.billing.settle import Settler
from walkout.billing.visits import append_events, get_receipt, list_visits, open_visit
from walkout.billing.wallet import WalletProvider
from walkout.cli import app
from walkout.domain.clock import ManualClock
from walkout.domain.money import Money
from walkout.domain.shopping import BasketEvent, BasketEventKind, VisitClosed
from walkout.errors import SettingsError


def trade(books: sa.Engine, visits: int = 3) -> None:
    """Visits of ann's, each a bottle of water for 1.00; one more is still open."""
    clock = ManualClock(7)
    upsert_prices(books, "가게", "USD", [PricedProduct("w", "생수 500 ml", Money(100, "USD"))])
    ledger.top_up(books, "t", "ann", Money(1000, "USD"), 1)
    settler = Settler(books, WalletProvider(books, clock), clock)
    for number in range(visits + 1):
        open_visit(books, f"v{number}", "가게", "ann", "USD", number, 1)
        append_events(books, [BasketEvent(f"e{number}", f"v{number}", 2, BasketEventKind.PICK, "w", 1, 1 / 3)])
        if number < visits:
            settler.close(VisitClosed(f"v{number}", 99, 1, 0.1 + 0.2))


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_a_backup_restores_into_either_database_and_trade_goes_on(
    books: sa.Engine, database_url: str, new_database: Callable[[str], str], tmp_path: Path, target: str
) -> None:
    trade(books)
    file = tmp_path / "books.jsonl.gz"
    assert backup(database_url, file) > 20
    assert file.stat().st_mode & 0o077 == 0, "it names shoppers and their money"
    url = new_database(target)
    assert restore(file, url) == verify(database_url)
    there = open_books(url)
    assert [get_receipt(there, f"v{n}") for n in range(3)] == [get_receipt(books, f"v{n}") for n in range(3)]
    settler = Settler(there, WalletProvider(there, ManualClock(8)), ManualClock(8))
    assert settler.close(VisitClosed("v3", 99, 1, 0.3)).status is VisitStatus.CAPTURED
    with pytest.raises(sa.exc.IntegrityError, match="never deleted"), writing(there) as connection:
        connection.exec_driver_sql("DELETE FROM visits")
    there.dispose()
    assert verify(url).captured == {"USD": 400}


def test_a_damaged_backup_or_full_books_restore_nothing(
    books: sa.Engine, database_url: str, new_database: Callable[[str], str], tmp_path: Path
) -> None:
    trade(books)
    file = tmp_path / "books.jsonl.gz"
    backup(database_url, file)
    with pytest.raises(SettingsError, match="holds books already"):
        restore(file, database_url)
    with pytest.raises(SettingsError, match="never overwrites"):
        backup(database_url, file)
    lines = gzip.decompress(file.read_bytes()).decode().splitlines(keepends=True)
    for name, damaged in (
        ("short", lines[:-5]),
        ("changed", [line.replace("-100", "-900") for line in lines]),
        ("empty", []),
        ("other version", [lines[0].replace("version", "edition"), *lines[1:]]),
    ):
        wrong = tmp_path / name
        wrong.write_bytes(gzip.compress("".join(damaged).encode()))
        url = new_database(books.dialect.name)
        with pytest.raises(SettingsError, match=name):
            restore(wrong, url)
        fresh = open_books(url)
        assert list_visits(fresh) == []
        fresh.dispose()
    cut = tmp_path / "cut"
    cut.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(SettingsError, match="no whole backup"):
        restore(cut, new_database(books.dialect.name))


def test_the_command_proves_good_books_and_convicts_bad_ones(books: sa.Engine, database_url: str) -> None:
    trade(books)
    good = CliRunner().invoke(app, ["verify-books", "--database", database_url])
    assert (good.exit_code, "3 captured" in good.stdout, "the books balance" in good.stdout) == (0, True, True)
    with writing(books) as connection:
        triggers.drop(connection)
        connection.exec_driver_sql("UPDATE charges SET amount_minor = 999 WHERE visit_id = 'v1'")
    bad = CliRunner().invoke(app, ["verify-books", "--database", database_url])
    assert (bad.exit_code, "its sale says" in bad.stdout, "do not balance" in bad.stdout) == (1, True, True)


def test_books_that_are_not_there_are_not_proven(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no books that can be read"):
        verify(f"sqlite:///{tmp_path / 'none.db'}")


def test_commands_take_care_of_books(database_url: str, new_database: Callable[[str], str], tmp_path: Path) -> None:
    def run(*words: str) -> str:
        result = CliRunner().invoke(app, ["books", *words])
        assert result.exit_code == 0, result.output
        return result.stdout

    file = str(tmp_path / "b.gz")
    assert " -> " in run("migrate", "--database", database_url)
    assert "0 rows" in run("backup", file, "--database", database_url)
    assert "the books balance" in run("restore", file, "--database", new_database("sqlite"))
