"""The books balance because the database does not let them do otherwise."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from walkout.billing import audit, ledger, triggers
from walkout.billing.database import open_books, reading, writing
from walkout.billing.ledger import FUNDING, Account, Posting, transfer
from walkout.domain.money import Money
from walkout.errors import BadRequest, ConflictError, SettingsError

USD10 = Money(1000, "USD")
ANN = Account("wallet", "ann")


@pytest.fixture
def raw(books: sa.Engine) -> Iterator[sa.Connection]:
    """The same books through the plain driver, as a careless program would open them (foreign keys on)."""
    engine = sa.create_engine(books.url)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")
        yield connection
        connection.rollback()
    engine.dispose()


def test_a_top_up_moves_money_once_per_id(books: sa.Engine) -> None:
    for _ in range(2):
        assert ledger.top_up(books, "t1", "ann", USD10, 1) == USD10
    assert ledger.top_up(books, "t2", "ann", USD10, 1) == Money(2000, "USD")
    report = audit.check_books(books)
    assert (report.balanced, report.transactions, report.postings) == (True, 2, 4)


def test_the_same_top_up_with_another_amount_is_a_conflict(books: sa.Engine) -> None:
    ledger.top_up(books, "t1", "ann", USD10, 1)
    with pytest.raises(ConflictError):
        ledger.top_up(books, "t1", "ann", Money(999, "USD"), 1)
    with pytest.raises(ConflictError):
        ledger.top_up(books, "t1", "bob", USD10, 1)


@pytest.mark.parametrize("minor", [0, -1])
def test_a_top_up_adds_something(books: sa.Engine, minor: int) -> None:
    with pytest.raises(BadRequest):
        ledger.top_up(books, "t1", "ann", Money(minor, "USD"), 1)


@pytest.mark.parametrize(
    "lines",
    [
        (Posting(FUNDING, USD10), Posting(ANN, Money(-999, "USD"))),
        (Posting(FUNDING, USD10), Posting(ANN, Money(-1000, "EUR"))),
        (Posting(FUNDING, USD10),),
    ],
)
def test_the_database_refuses_postings_that_do_not_sum_to_zero(books: sa.Engine, lines: tuple[Posting, ...]) -> None:
    with pytest.raises(sa.exc.IntegrityError, match="sum to zero"), writing(books) as connection:
        ledger.post(connection, "x", "test", lines, 1)
    assert audit.check_books(books).transactions == 0


def test_a_wallet_never_goes_below_zero(books: sa.Engine) -> None:
    ledger.top_up(books, "t1", "ann", USD10, 1)
    with pytest.raises(sa.exc.IntegrityError), writing(books) as connection:
        ledger.post(connection, "x", "test", transfer(ANN, FUNDING, Money(1001, "USD")), 1)
    with reading(books) as connection:
        assert ledger.balance(connection, "ann", "USD") == USD10


def test_raw_sql_cannot_commit_an_unbalanced_transaction(books: sa.Engine, raw: sa.Connection) -> None:
    ledger.top_up(books, "t1", "ann", USD10, 1)
    lines = (
        "INSERT INTO transactions VALUES ('x', 'test', 1, 0)",
        "INSERT INTO postings VALUES ('x', 'wallet', 'ann', 'USD', -5000, 1)",
    )
    for last, complaint in (
        ("UPDATE transactions SET posted = 1 WHERE transaction_id = 'x'", "sum to zero"),
        (None, ""),
    ):
        for line in lines:
            raw.exec_driver_sql(line)
        with pytest.raises(sa.exc.IntegrityError, match=complaint or "(?i)foreign key"):
            raw.exec_driver_sql(last) if last else raw.commit()
        raw.rollback()
    assert audit.check_books(books).balanced


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE postings SET amount_minor = amount_minor * 2",
        "DELETE FROM postings",
        "DELETE FROM transactions",
        "UPDATE transactions SET posted = 0",
        "UPDATE transactions SET kind = 'other'",
        "INSERT INTO transactions VALUES ('x', 'test', 1, 1)",
        "INSERT INTO postings VALUES ('topup/t1', 'hold', 'ann', 'USD', 1, 1)",
        "INSERT INTO postings VALUES ('topup/t1', 'hold', 'ann', 'USD', 1, 0)",
        "UPDATE wallets SET balance_minor = -1",
        "INSERT INTO ledger_accounts VALUES ('sweets', 'ann', 'USD')",
    ],
)
def test_raw_sql_cannot_rewrite_history(books: sa.Engine, raw: sa.Connection, statement: str) -> None:
    ledger.top_up(books, "t1", "ann", USD10, 1)
    with pytest.raises(sa.exc.IntegrityError):
        raw.exec_driver_sql(statement)


def test_the_check_finds_a_wallet_that_somebody_edited(books: sa.Engine, raw: sa.Connection) -> None:
    ledger.top_up(books, "t1", "ann", USD10, 1)
    raw.exec_driver_sql("UPDATE wallets SET balance_minor = 999999")
    raw.commit()
    report = audit.check_books(books)
    assert report.problems == ("wallet ann shows 999999 USD, its postings say 1000",)


def test_the_check_finds_what_was_forced_past_the_triggers(books: sa.Engine, raw: sa.Connection) -> None:
    ledger.top_up(books, "t1", "ann", USD10, 1)
    triggers.drop(raw)
    raw.exec_driver_sql("UPDATE postings SET amount_minor = amount_minor + 1 WHERE kind = 'funding'")
    raw.exec_driver_sql("INSERT INTO transactions VALUES ('x', 'test', 1, 0)")
    raw.commit()
    problems = "\n".join(audit.check_books(books).problems)
    assert "all postings in USD sum to 1" in problems
    assert "the postings of topup/t1 in USD sum to 1" in problems
    assert "transaction x was never posted" in problems


def test_books_survive_being_opened_again_and_refuse_a_newer_version(books: sa.Engine, raw: sa.Connection) -> None:
    ledger.top_up(books, "t1", "ann", USD10, 1)
    url = books.url.render_as_string(hide_password=False)
    again = open_books(url)
    assert audit.check_books(again).transactions == 1
    again.dispose()
    raw.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    raw.commit()
    with pytest.raises(SettingsError, match="version 9999"):
        open_books(url)


def test_eight_callers_may_open_new_books_at_once(tmp_path: Path) -> None:
    for attempt in range(5):
        url = f"sqlite:///{tmp_path / f'{attempt}.db'}"
        with ThreadPoolExecutor(8) as pool:
            engines = list(pool.map(open_books, [url] * 8))
        ledger.top_up(engines[0], "t1", "ann", USD10, 1)
        assert audit.check_books(engines[7]).transactions == 1
        for engine in engines:
            engine.dispose()


@pytest.mark.parametrize("url", ["nonsense", "sqlite://", "sqlite:///:memory:", "mysql://x/y"])
def test_books_that_would_not_last_are_refused_with_a_remedy(url: str) -> None:
    with pytest.raises(SettingsError, match="write sqlite:///"):
        open_books(url)


def test_a_server_that_does_not_answer_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="check the path or address"):
        open_books(f"postgresql://ann:secret@/books?host={tmp_path}")


def test_a_password_in_the_address_is_never_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        open_books(f"postgresql://ann:secret@/books?host={tmp_path}")
    assert "secret" not in str(refused.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"milk, eggs, not a database\n" * 100)
    with pytest.raises(SettingsError, match="does not open as books"):
        open_books(f"sqlite:///{tmp_path / 'notes.txt'}")
    with pytest.raises(SettingsError, match="does not open as books"):
        open_books(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.db'}")
