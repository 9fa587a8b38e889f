"""Many clients and a service that keeps dying: one receipt and one capture per visit, proven from the database."""

from collections.abc import Callable
from pathlib import Path

from benchmarks.billing_crowd import PRICE, crowd

VISITS = 200


def test_a_crowd_is_charged_once_each_while_billing_is_killed_five_times(
    new_database: Callable[[str], str], tmp_path: Path
) -> None:
    """Ten thousand of them: ``python benchmarks/billing_crowd.py``."""
    found = crowd(new_database("postgresql"), tmp_path, visits=VISITS, clients=32, kills=5)
    assert found.report.problems == ()
    assert (found.receipts, found.report.charges, found.total_minor) == (VISITS, {"captured": VISITS}, 0)
    assert found.report.captured == {"KRW": VISITS * 2 * PRICE.minor}
