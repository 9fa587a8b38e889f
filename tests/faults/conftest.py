"""A simulated scene recorded once, and the command as an operator runs it: a process of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import psutil
import pytest

from walkout.cli import record_kiosk

STARTED = re.compile(r"^(?:re)?started (\w+) \(pid (\d+)\)")
#: Far longer than anything here takes; only a hang gets there.
PATIENCE_S = 120.0


def wait_until(happens: Callable[[], bool], what: str, goes_on: Callable[[], bool] = lambda: True) -> None:
    """Return once ``happens()``; fail the test where it never does, or nothing goes on any more."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not happens():
        assert goes_on(), f"it ended before there was {what}"
        assert time.monotonic() < deadline_s, f"never came: {what}"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class Command:
    """``walkout ARGUMENTS`` running; ``workers`` maps names to the pids that it has told so far."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WALKOUT_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "walkout.cli", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**kept, **environment},
        )
        self.workers: dict[str, list[int]] = {}
        self.errors: list[str] = []
        self._output: list[str] = []
        self._readers = [threading.Thread(target=self._read_errors), threading.Thread(target=self._read_output)]
        for reader in self._readers:
            reader.start()

    def _read_errors(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.errors.append(line)
            if found := STARTED.match(line):
                self.workers.setdefault(found[1], []).append(int(found[2]))

    def _read_output(self) -> None:
        assert self.process.stdout
        self._output.extend(self.process.stdout)

    def wait_until(self, happens: Callable[[], bool], what: str) -> None:
        """Return once ``happens()`` while the command runs; what it said, where it ends before."""
        try:
            wait_until(happens, what, lambda: self.process.poll() is None)
        except AssertionError as error:
            raise AssertionError(f"{error}; it said:\n{''.join(self.errors)}") from error

    def kill(self, name: str) -> None:
        """SIGKILL the worker ``name``."""
        os.kill(self.workers[name][-1], signal.SIGKILL)

    def finish(self) -> str:
        """Wait for the end; what it printed."""
        self.process.wait(PATIENCE_S)
        for reader in self._readers:
            reader.join(PATIENCE_S)
        return "".join(self._output)

    def result(self) -> dict[str, Any]:
        """Wait for a good end; its last line of JSON."""
        output = self.finish()
        assert self.process.returncode == 0, "".join(self.errors)
        answer = json.loads(output.splitlines()[-1])
        assert isinstance(answer, dict)
        return answer

    def family(self) -> list[int]:
        """The pids of the command and everything under it."""
        parent = psutil.Process(self.process.pid)
        return [parent.pid, *(child.pid for child in parent.children(recursive=True))]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.finish()


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A temporary folder of the command's own, with a name short enough for sockets in it."""
    folder = Path(tempfile.mkdtemp(prefix="w-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated kiosk as a recording folder."""
    folder = tmp_path_factory.mktemp("scene") / "kiosk"
    record_kiosk(folder)
    return folder


@pytest.fixture(scope="session")
def undisturbed(recording: Path) -> dict[str, Any]:
    """What a replay comes to when nothing happens to it."""
    with Command(["replay", str(recording), "--json"], {}) as command:
        return command.result()
