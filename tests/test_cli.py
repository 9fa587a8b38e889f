"""The command line as its users meet it: help, results, errors and what goes where."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from walkout.bus.recording import RecordingMeta, RecordingWriter
from walkout.cli import record_kiosk
from walkout.sim.kiosk import kiosk_store
from walkout.store.loader import write_store

NANOSTORE = Path(__file__).parents[1].parent / "shared" / "data" / "nanostore"
WATER = [{"barcode": "071142008582", "quantity": 1}]
needs_nanostore = pytest.mark.skipif(
    not NANOSTORE.is_dir(), reason="the public nanostore recordings are not beside the repository"
)


def walkout(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WALKOUT_")}
    command = [sys.executable, "-m", "walkout.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**kept, **environment}, check=False)


@pytest.fixture
def kiosk(tmp_path: Path) -> Path:
    record_kiosk(tmp_path / "kiosk")
    return tmp_path / "kiosk"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], ["demo", "replay", "store", "import", "--config", "WALKOUT_DATABASE_URL"]),
        (["replay"], ["--speed", "--store", "--json", "throw"]),
        (["demo"], ["--speed", "simulated"]),
        (["store", "check"], ["file, line and remedy"]),
        (["import", "nanostore"], ["SRC", "DST", "--store"]),
    ],
)
def test_help_says_what_a_command_needs(command: list[str], words: list[str]) -> None:
    done = walkout(*command, "--help", COLUMNS="200")
    assert done.returncode == 0
    assert [word for word in words if word not in done.stdout] == []


def test_demo_shows_live_baskets_then_receipts_then_the_books() -> None:
    done = walkout("demo", "--speed", "fast")
    assert done.returncode == 0, done.stderr
    places = [
        done.stdout.find(word) for word in ("enters", "basket:", "has left", "영수증 / Receipt", "Books: balanced")
    ]
    assert -1 not in places
    assert places == sorted(places)
    for name in ("billing", "settler", "fusion", "edge"):
        assert f"started {name} (pid " in done.stderr


def test_replay_prints_receipts_to_standard_output_and_all_else_to_standard_error(kiosk: Path) -> None:
    done = walkout("replay", kiosk)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("영수증 / Receipt") == 3
    assert "started" not in done.stdout
    assert "started fusion" in done.stderr


def test_json_is_the_last_line_and_has_exactly_the_keys_that_others_read(kiosk: Path) -> None:
    done = walkout("replay", kiosk, "--json")
    answer = json.loads(done.stdout.splitlines()[-1])
    assert set(answer) == {"receipts", "books_balanced", "gaps"}
    assert answer["books_balanced"] is True
    assert answer["gaps"] == []
    for receipt in answer["receipts"]:
        assert set(receipt) == {"visit_id", "target_id", "status", "currency", "total_minor", "lines"}
        assert receipt["status"] in {"captured", "review", "released"}
        assert receipt["currency"] == "KRW"
        assert all(set(line) == {"barcode", "quantity"} for line in receipt["lines"])
    assert [receipt["target_id"] for receipt in answer["receipts"]] == ["track-1", "track-2", "track-3"]


def test_a_damaged_stretch_is_a_gap_and_no_failure(kiosk: Path) -> None:
    path = kiosk / "records" / "plate_batches.frames"
    torn = bytearray(path.read_bytes())
    torn[len(torn) // 2 : len(torn) // 2 + 200] = bytes(200)
    path.write_bytes(bytes(torn[:-50]))
    done = walkout("replay", kiosk, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert len(answer["receipts"]) == 3
    torn_gaps = [gap for gap in answer["gaps"] if gap["source"] == "recording/plate_batches"]
    assert len(torn_gaps) >= 2
    assert all(set(gap) == {"source", "start_ns", "end_ns", "reason"} for gap in answer["gaps"])


def test_an_empty_recording_is_an_error_that_says_so(tmp_path: Path) -> None:
    with RecordingWriter(tmp_path / "empty", RecordingMeta("empty", "test", 0)):
        pass
    write_store(kiosk_store(), tmp_path / "empty" / "store")
    done = walkout("replay", tmp_path / "empty", "--json")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "the recording is empty" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "words"),
    [
        (["replay", "no-such-folder"], {}, 1, ["error:", "no-such-folder", "no such folder"]),
        (["replay", "x", "--speed", "slow"], {}, 2, ["--speed", "slow", "fast"]),
        (["replay", "x"], {"WALKOUT_REDIS_URI": "redis://a"}, 1, ["WALKOUT_REDIS_URI", "WALKOUT_REDIS_URL"]),
        (["--config", "none.toml", "demo"], {}, 1, ["none.toml", "--config"]),
        (["store", "check", "no-such-folder"], {}, 1, ["no-such-folder"]),
    ],
)
def test_an_error_is_told_in_plain_words_without_a_traceback(
    arguments: list[str], environment: dict[str, str], status: int, words: list[str]
) -> None:
    done = walkout(*arguments, **environment, COLUMNS="200")
    assert done.returncode == status
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert [word for word in words if word not in said] == []


def test_store_check_is_content_with_a_good_store_and_names_file_and_line_of_a_bad_one(tmp_path: Path) -> None:
    write_store(kiosk_store(), tmp_path)
    assert walkout("store", "check", tmp_path).returncode == 0
    products = tmp_path / "products.csv"
    lines = products.read_text(encoding="utf-8").splitlines()
    products.write_text("\n".join([*lines, lines[1]]) + "\n", encoding="utf-8")
    done = walkout("store", "check", tmp_path)
    assert done.returncode == 1
    assert f"products.csv:{len(lines) + 1}" in done.stdout


@needs_nanostore
def test_an_imported_recording_is_charged_as_the_original_and_only_once(tmp_path: Path) -> None:
    done = walkout("import", "nanostore", NANOSTORE / "BENCHMARK-1", tmp_path / "imported")
    assert done.returncode == 0, done.stderr
    books = f"sqlite:///{tmp_path / 'books.db'}"
    answers = []
    for folder in (NANOSTORE / "BENCHMARK-1", tmp_path / "imported"):
        done = walkout("replay", folder, "--json", WALKOUT_DATABASE_URL=books)
        answers.append(json.loads(done.stdout.splitlines()[-1]))
    assert answers[0]["receipts"] == answers[1]["receipts"]
    assert [receipt["lines"] for receipt in answers[0]["receipts"]] == [WATER]
    assert [receipt["status"] for receipt in answers[0]["receipts"]] == ["captured"]
    printed = walkout("replay", tmp_path / "imported", WALKOUT_DATABASE_URL=books).stdout
    assert "charges: 1 captured; taken: 1.00 USD" in printed


@needs_nanostore
def test_a_nanostore_folder_with_torn_doubled_and_swapped_lines_is_read_with_gaps(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(NANOSTORE / "BENCHMARK-1", damaged)
    for path in (damaged, *damaged.iterdir()):
        path.chmod(0o700)  # the original may be read-only
    plates = (damaged / "plate_data.json").read_bytes().splitlines(keepends=True)
    plates[40:44] = [plates[41], plates[40], plates[42][:300] + b"\n", plates[43], plates[43]]
    bodies = (damaged / "full_targets.json").read_bytes().splitlines(keepends=True)
    bodies[20:22] = [b"{torn\n", bodies[21]]
    (damaged / "plate_data.json").write_bytes(b"".join(plates))
    (damaged / "full_targets.json").write_bytes(b"".join(bodies))
    done = walkout("replay", damaged, "--json", "--store", NANOSTORE)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert [receipt["lines"] for receipt in answer["receipts"]] == [WATER]
    told = " ".join(f"{gap['source']} {gap['reason']}" for gap in answer["gaps"])
    assert [
        words for words in ("plate_data.json", "line 43", "full_targets.json", "line 21") if words not in told
    ] == []
