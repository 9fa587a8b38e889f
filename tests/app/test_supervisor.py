"""The supervisor with small processes of its own: restarts, giving up, stopping, and what a dead run leaves."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from walkout.app.supervisor import Supervisor, alone, run_folder
from walkout.errors import WorkerError

STAYS = "import time; time.sleep(600)"
LIFELINE = "from walkout.app.supervisor import stay_on_the_line as s; s(); import time; time.sleep(600)"


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def until(supervisor: Supervisor, happened: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60.0
    while not happened():
        assert time.monotonic() < deadline_s
        supervisor.check()
        time.sleep(0.01)


def test_a_worker_that_leaves_with_status_0_is_done(tmp_path: Path) -> None:
    with Supervisor(tmp_path, 0, lambda _: None) as supervisor:
        supervisor.start("short", python("pass"))
        until(supervisor, lambda: supervisor.finished("short"))


def test_a_dead_worker_is_started_again_and_told(tmp_path: Path) -> None:
    said: list[str] = []
    mark = tmp_path / "mark"
    code = f"import os, sys, pathlib; p = pathlib.Path({str(mark)!r}); seen = p.exists(); p.touch(); sys.exit(not seen)"
    with Supervisor(tmp_path / "logs", 1, said.append) as supervisor:
        supervisor.start("twice", python(code))
        until(supervisor, lambda: supervisor.finished("twice"))
    assert [line.split()[0] for line in said] == ["started", "twice", "restarted"]
    assert "exit status 1" in said[1]


def test_one_that_dies_too_often_is_given_up_with_its_last_words(tmp_path: Path) -> None:
    with Supervisor(tmp_path, 1, lambda _: None) as supervisor:
        supervisor.start("sick", python("import sys; sys.exit('the shelf is on fire')"))
        with pytest.raises(WorkerError, match="sick died 2 times") as caught:
            until(supervisor, lambda: False)
    assert "the shelf is on fire" in str(caught.value)


def test_stop_ends_also_those_who_will_not_listen(tmp_path: Path) -> None:
    said: list[str] = []
    deaf = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); {STAYS}"
    supervisor = Supervisor(tmp_path, 0, said.append)
    supervisor.start("polite", python(STAYS))
    supervisor.start("deaf", python(deaf))
    until(supervisor, lambda: (tmp_path / "deaf.log").read_text() == "deaf\n")
    supervisor.stop()
    for line in said:
        with pytest.raises(ProcessLookupError):
            os.kill(int(line.split("pid ")[1].rstrip(")")), 0)


def test_a_worker_on_the_line_leaves_when_the_other_end_is_gone() -> None:
    worker = subprocess.Popen(python(LIFELINE), stdin=subprocess.PIPE)
    assert worker.stdin
    worker.stdin.close()
    assert worker.wait(60.0) == 0


def test_a_run_folder_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    with run_folder(tmp_path / "top") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_a_place_too_long_for_sockets_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="data_dir"), run_folder(tmp_path / ("x" * 90)):
        pass


def test_two_runs_beside_each_other_do_not_do_the_same_thing_at_once(tmp_path: Path) -> None:
    one, other = tmp_path / "run-1", tmp_path / "run-2"
    with alone(one, "the replay", "here"):
        with pytest.raises(WorkerError, match="another command runs the replay"), alone(other, "the replay", "here"):
            pass
        with alone(other, "another replay", "here"), alone(other, "the replay", "there"):
            pass
    with alone(other, "the replay", "here"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_run_is_removed_by_the_next_but_a_living_one_is_kept(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time; from walkout.app.supervisor import run_folder\n"
        f"with run_folder(pathlib.Path({str(tmp_path)!r})) as folder: print(folder, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout
        left = Path(killed.stdout.readline().strip())
        with run_folder(tmp_path):
            assert left.exists()
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    assert left.exists()
    with run_folder(tmp_path):
        assert not left.exists()
