"""Books that the first version wrote are brought up to date with everything in them, on both databases."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from walkout.billing import audit, ledger, triggers
from walkout.billing.database import connect, migrate, open_books, writing
from walkout.billing.migrations.versions import v0001_first
from walkout.billing.records import VisitStatus
from walkout.billing.schema import HEAD, metadata
from walkout.billing.visits import get_receipt, get_visit
from walkout.domain.money import Money

#: What the first version left after one paid visit of ann's, who had 10.00 and took two bottles of water.
FIRST = """
INSERT INTO schema_version VALUES (1);
INSERT INTO stores VALUES ('shop', 'USD');
INSERT INTO prices VALUES ('shop', '071142008582', 'WATER', 100, 'USD');
INSERT INTO visits VALUES ('v', 'shop', 'ann', 'USD', 1, 'captured', 99, 1, 0.98, 200);
INSERT INTO basket_events VALUES ('e1', 'v', 5, 'pick', '071142008582', 2, 0.9, 'w1');
INSERT INTO receipt_lines VALUES ('v', '071142008582', 'WATER', 2, 100, 200);
INSERT INTO charges VALUES ('c', 'v', 200, 'USD', 'captured', 'wallet', 'charge/c/hold');
INSERT INTO status_events VALUES (1, 'visit', 'v', '', 'open', 1, 'billing', 'entered');
INSERT INTO ledger_accounts VALUES ('funding', '', 'USD'), ('wallet', 'ann', 'USD'), ('clearing', 'wallet', 'USD'),
  ('sales', 'shop', 'USD');
INSERT INTO wallets VALUES ('ann', 'USD', 800);
INSERT INTO transactions VALUES ('topup/t', 'top-up', 1, 1), ('charge/c/paid', 'take', 2, 1),
  ('charge/c/sale', 'sale', 2, 1);
INSERT INTO postings VALUES ('topup/t', 'funding', '', 'USD', 1000, 1), ('topup/t', 'wallet', 'ann', 'USD', -1000, 1),
  ('charge/c/paid', 'wallet', 'ann', 'USD', 200, 1), ('charge/c/paid', 'clearing', 'wallet', 'USD', -200, 1),
  ('charge/c/sale', 'clearing', 'wallet', 'USD', 200, 1), ('charge/c/sale', 'sales', 'shop', 'USD', -200, 1)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def first_version(request: pytest.FixtureRequest, tmp_path: Path, new_database: Callable[[str], str]) -> str:
    """The address of books as the first version left them."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'old.db'}"
    else:
        url = new_database("postgresql")
        with connect(url).begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    engine = connect(url)
    with writing(engine) as connection:
        v0001_first.metadata.create_all(connection)
        for statement in FIRST.split(";"):
            connection.exec_driver_sql(statement)
        if request.param == "sqlite":
            connection.exec_driver_sql(
                "CREATE TRIGGER visits_no_delete BEFORE DELETE ON visits WHEN 1 BEGIN SELECT RAISE(ABORT, 'kept'); END"
            )
    engine.dispose()
    return url


def test_books_of_the_first_version_keep_everything_and_balance(first_version: str) -> None:
    books = open_books(first_version)
    assert get_visit(books, "v").status is VisitStatus.CAPTURED
    assert get_receipt(books, "v").total == Money(200, "USD")
    report = audit.check_books(books)
    assert (report.problems, report.captured) == ((), {"USD": 200})
    assert ledger.top_up(books, "t", "ann", Money(1000, "USD"), 1) == Money(800, "USD"), "known from before"
    assert ledger.top_up(books, "u", "ann", Money(1, "USD"), 1) == Money(801, "USD")
    with pytest.raises(sa.exc.IntegrityError, match="never deleted"), writing(books) as connection:
        connection.exec_driver_sql("DELETE FROM charges")
    books.dispose()


def test_eight_openers_of_old_books_migrate_them_once(first_version: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(open_books, [first_version] * 8))
    assert audit.check_books(opened[0]).charges == {"captured": 1}
    for engine in opened:
        engine.dispose()


def test_migrated_and_new_books_have_the_tables_that_the_code_states(first_version: str, books: sa.Engine) -> None:
    for engine in (open_books(first_version), books):
        with engine.connect() as connection:
            differences = compare_metadata(MigrationContext.configure(connection), metadata)
            names = {trigger.name for trigger in triggers.TRIGGERS}
            assert names <= set(triggers.names(connection))
        assert differences == []
        assert migrate(engine) == (HEAD, HEAD), "nothing is left to do"
        engine.dispose()


def test_the_newest_migration_is_the_one_that_the_code_expects() -> None:
    scripts = ScriptDirectory(str(Path(v0001_first.__file__).parents[1]))
    assert scripts.get_current_head() == HEAD
