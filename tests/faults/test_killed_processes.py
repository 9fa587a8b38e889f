"""SIGKILL for every process of a replay: the same receipts, every visit charged once, nobody left behind."""

import contextlib
import os
import signal
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Command, is_alive, wait_until
from walkout.app.source import recording_id
from walkout.bus.log import RedisLog, private_server


def column(books: Path, query: str) -> list[str]:
    """The first column of what the books answer."""
    with contextlib.closing(sqlite3.connect(books, timeout=30.0)) as connection:
        return [row[0] for row in connection.execute(query)]


def charges_by_visit(books: Path) -> Counter[str]:
    """How many charges every visit has in the books."""
    return Counter(column(books, "SELECT visit_id FROM charges"))


def charged_visits(answer: dict[str, Any]) -> Counter[str]:
    """One charge for each visit whose money was taken."""
    return Counter(receipt["visit_id"] for receipt in answer["receipts"] if receipt["status"] == "captured")


def test_an_undisturbed_replay_is_the_same_every_time(recording: Path, undisturbed: dict[str, Any]) -> None:
    with Command(["replay", str(recording), "--json"], {}) as command:
        assert command.result() == undisturbed
    assert undisturbed["books_balanced"]
    assert len(undisturbed["receipts"]) == 3
    assert any(receipt["status"] == "captured" for receipt in undisturbed["receipts"])


@pytest.mark.parametrize(
    ("name", "topic", "entries"),
    [
        ("fusion", "basket_events", 3),
        ("fusion", "visits", 1),
        ("edge", "weight_events", 3),
        ("settler", "basket_events", 3),
        ("billing", "visits", 1),
    ],
)
def test_a_killed_worker_is_followed_by_one_that_gives_the_same_receipts(
    recording: Path, undisturbed: dict[str, Any], temporary: Path, name: str, topic: str, entries: int
) -> None:
    books = temporary / "books.db"
    with private_server(temporary / "log") as url:
        environment = {"WALKOUT_REDIS_URL": url, "WALKOUT_DATABASE_URL": f"sqlite:///{books}"}
        log = RedisLog(url, f"replay-{recording_id(recording)}")
        with Command(["replay", str(recording), "--json", "--speed", "10"], environment) as command:
            command.wait_until(lambda: len(list(log.scan(topic))) >= entries, f"{entries} of {topic}")
            command.kill(name)
            answer = command.result()
    assert answer == undisturbed
    assert len(command.workers[name]) == 2, "it was started again"
    assert charges_by_visit(books) == charged_visits(answer)
    assert [pid for pids in command.workers.values() for pid in pids if is_alive(pid)] == []


def test_a_killed_command_takes_everything_along_and_runs_again_to_the_same_receipts(
    recording: Path, undisturbed: dict[str, Any], temporary: Path
) -> None:
    books = temporary / "books.db"
    environment = {"TMPDIR": str(temporary), "WALKOUT_DATABASE_URL": f"sqlite:///{books}"}
    with Command(["replay", str(recording), "--json", "--speed", "10"], environment) as command:
        command.wait_until(lambda: books.exists() and bool(visits_in(books)), "a visit in the books")
        family = command.family()
        command.process.kill()
        wait_until(lambda: not any(is_alive(pid) for pid in family), "the end of all its processes")
    assert len(family) == 6, "command, log server, billing, settler, fusion, edge"
    with Command(["replay", str(recording), "--json"], environment) as command:
        assert command.result() == undisturbed
    assert charges_by_visit(books) == charged_visits(undisturbed)
    assert list(temporary.glob("walkout-*/run-*")) == [], "what the killed run left is gone"


def visits_in(books: Path) -> list[str]:
    """The visits that the books know; none before there is a table of them."""
    try:
        return column(books, "SELECT visit_id FROM visits")
    except sqlite3.OperationalError:
        return []


def test_a_command_killed_after_money_was_taken_takes_none_again(
    recording: Path, undisturbed: dict[str, Any], temporary: Path
) -> None:
    books = temporary / "books.db"
    with private_server(temporary / "log") as url:
        environment = {"WALKOUT_REDIS_URL": url, "WALKOUT_DATABASE_URL": f"sqlite:///{books}"}
        with Command(["replay", str(recording), "--json", "--speed", "10"], environment) as command:
            command.wait_until(lambda: books.exists() and bool(charged_in(books)), "a charge in the books")
            command.process.kill()
        log = RedisLog(url, f"replay-{recording_id(recording)}")
        assert list(log.scan("observations")), "a killed run leaves its log in a server that is not its own"
        with Command(["replay", str(recording), "--json"], environment) as command:
            assert command.result() == undisturbed
        assert list(log.scan("observations")) == []
    assert charges_by_visit(books) == charged_visits(undisturbed)


def test_billing_killed_between_hold_and_capture_takes_the_money_once(
    recording: Path, undisturbed: dict[str, Any], temporary: Path
) -> None:
    books = temporary / "books.db"
    environment = {"WALKOUT_DATABASE_URL": f"sqlite:///{books}", "WALKOUT_WORKER_RESTARTS": "100"}
    hold_back = (
        "CREATE TRIGGER held_back BEFORE UPDATE OF status ON charges WHEN NEW.status = 'captured' "
        "BEGIN SELECT RAISE(ABORT, 'held back by the test'); END"
    )
    with Command(["replay", str(recording), "--json", "--speed", "10"], environment) as command:
        command.wait_until(lambda: books.exists() and bool(visits_in(books)), "a visit in the books")
        change(books, hold_back)
        command.wait_until(lambda: "authorized" in statuses(books), "a charge that is held and not yet captured")
        command.kill("billing")
        assert "captured" not in statuses(books)
        change(books, "DROP TRIGGER held_back")
        assert command.result() == undisturbed
    assert len(command.workers["billing"]) >= 2
    assert charges_by_visit(books) == charged_visits(undisturbed)
    assert set(statuses(books)) == {"captured"}


def change(books: Path, statement: str) -> None:
    """Run one statement on the books, waiting for whoever writes."""
    with contextlib.closing(sqlite3.connect(books, timeout=30.0)) as connection, connection:
        connection.execute(statement)


def statuses(books: Path) -> list[str]:
    """The status of every charge."""
    return column(books, "SELECT status FROM charges")


def charged_in(books: Path) -> list[str]:
    """The visits with a charge; none before there is a table of them."""
    try:
        return sorted(charges_by_visit(books))
    except sqlite3.OperationalError:
        return []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_leaves_no_process_and_no_folder(recording: Path, temporary: Path, number: int) -> None:
    with Command(["replay", str(recording), "--speed", "2"], {"TMPDIR": str(temporary)}) as command:
        command.wait_until(lambda: "edge" in command.workers, "the start of the edge worker")
        family = command.family()
        os.kill(command.process.pid, number)
        command.finish()
    assert command.process.returncode != 0
    assert "Traceback" not in "".join(command.errors)
    assert [pid for pid in family if is_alive(pid)] == []
    assert list(temporary.glob("walkout-*/run-*")) == []


def test_a_replay_that_is_in_the_books_prints_the_same_receipts_and_charges_nothing(
    recording: Path, undisturbed: dict[str, Any], temporary: Path
) -> None:
    books = temporary / "books.db"
    environment = {"WALKOUT_DATABASE_URL": f"sqlite:///{books}"}
    for _ in range(2):
        with Command(["replay", str(recording), "--json"], environment) as command:
            assert command.result() == undisturbed
        assert charges_by_visit(books) == charged_visits(undisturbed)
