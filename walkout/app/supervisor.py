"""Real processes under one command: start them, restart the dead, and leave nothing behind.

Three promises, whatever ends the command:

* A child never outlives us. Its standard input is a pipe whose other end only we hold; when we go, even by
  SIGKILL, the kernel closes that end, the child reads end-of-file and leaves (``stay_on_the_line``). That is
  plain POSIX, where ``PR_SET_PDEATHSIG`` is Linux only and bound to the thread that forked.
* A run folder never outlives us for long: its lock dies with us, and the next run removes what is unlocked.
* A worker that dies is started again after a growing pause, and given up when it dies too often.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import IO, Self

from walkout.errors import WorkerError

#: Deaths are counted over this stretch; a worker that lives longer between them is merely restarted.
DEATHS_WINDOW_S = 60.0
#: First pause before a restart; doubled at each further death up to the longest one.
BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 5.0
#: How long an orderly stop may take before we kill: a settling step is one short transaction.
STOP_S = 5.0
#: sockaddr_un holds 108 bytes with the closing zero (man 7 unix).
SOCKET_PATH_BYTES = 107
#: The longest name of a socket in a run folder.
_LONGEST = Path("run-12345678") / "billing.sock"
#: How much of a dead worker's log goes into the error.
LAST_LINES = 12

#: One thread per process: two spinning OpenMP pools on one box are twenty times slower than one thread each.
PROCESS_HINTS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "YOLO_OFFLINE": "true",
    "YOLO_AUTOINSTALL": "false",
    "PYTHONUNBUFFERED": "1",
    # gRPC logs every fork and shutdown otherwise.
    "GRPC_VERBOSITY": "ERROR",
}


@dataclass(slots=True)
class _Worker:
    name: str
    command: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None
    restart_at_s: float = 0.0
    deaths_s: list[float] = field(default_factory=list)
    finished: bool = False


class Supervisor:
    """The workers of one command. Use it as a context manager and call ``check`` often."""

    def __init__(self, logs: Path, max_deaths: int, say: Callable[[str], None]) -> None:
        """``logs`` gets a file per worker; ``max_deaths`` within a minute are forgiven; ``say`` tells the user."""
        self._logs = logs
        self._max_deaths = max_deaths
        self._say = say
        self._workers: dict[str, _Worker] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, command: tuple[str, ...]) -> None:
        """Start a worker; it is kept up until it exits with status 0 or ``stop`` is called."""
        worker = self._workers[name] = _Worker(name, command)
        self._launch(worker, "started")

    def check(self) -> None:
        """Restart who died. Raises ``WorkerError`` with the last log lines of one that dies too often."""
        now_s = time.monotonic()
        for worker in self._workers.values():
            if worker.finished:
                continue
            if worker.process is None:
                if now_s >= worker.restart_at_s:
                    self._launch(worker, "restarted")
            elif (status := worker.process.poll()) is not None:
                self._mourn(worker, status, now_s)

    def finished(self, name: str) -> bool:
        """Whether the worker has done its work and left with status 0."""
        return self._workers[name].finished

    def stop(self) -> None:
        """SIGTERM to all in reverse order of their start, a short wait, then SIGKILL. Safe to repeat."""
        workers = list(reversed(self._workers.values()))
        running = [worker.process for worker in workers if worker.process is not None]
        for process in running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline_s = time.monotonic() + STOP_S
        for process in running:
            try:
                process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _close(process.stdin)
        for worker in workers:
            worker.process = None
            worker.finished = True

    def _launch(self, worker: _Worker, verb: str) -> None:
        environment = {**os.environ, **PROCESS_HINTS}
        with (self._logs / f"{worker.name}.log").open("ab") as log:
            # Its own session, so that Ctrl-C reaches us alone and the stop stays orderly.
            worker.process = subprocess.Popen(
                worker.command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
            )
        self._say(f"{verb} {worker.name} (pid {worker.process.pid})")

    def _mourn(self, worker: _Worker, status: int, now_s: float) -> None:
        if worker.process is not None:
            _close(worker.process.stdin)
        worker.process = None
        if status == 0:
            worker.finished = True
            return
        worker.deaths_s = [t_s for t_s in worker.deaths_s if now_s - t_s < DEATHS_WINDOW_S] + [now_s]
        deaths = len(worker.deaths_s)
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        if deaths > self._max_deaths:
            raise WorkerError(
                f"{worker.name} died {deaths} times within {DEATHS_WINDOW_S:.0f} s (last: {how}); "
                f"its last words:\n{self.last_lines(worker.name)}"
            )
        pause_s = min(BACKOFF_S * 2 ** (deaths - 1), LONGEST_BACKOFF_S)
        worker.restart_at_s = now_s + pause_s
        self._say(f"{worker.name} died ({how}); starting it again in {pause_s:.1f} s")

    def last_lines(self, name: str) -> str:
        """The end of a worker's log, indented."""
        path = self._logs / f"{name}.log"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        return "\n".join("    " + line for line in lines[-LAST_LINES:]) or "    (it said nothing)"


def _close(stream: IO[bytes] | None) -> None:
    if stream is not None:
        with contextlib.suppress(OSError):
            stream.close()


def python_worker(module: str, *arguments: str) -> tuple[str, ...]:
    """The command of a worker that is a module of ours, run by this very interpreter."""
    return (sys.executable, "-m", module, *arguments)


def stay_on_the_line() -> None:
    """In a worker: leave at once when the supervisor is gone, however it went.

    Waits in a thread of its own for end-of-file on standard input, whose other end the supervisor holds.
    """

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        os._exit(0)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


@contextlib.contextmanager
def orderly_signals() -> Iterator[None]:
    """While inside, SIGTERM and SIGHUP unwind the stack as Ctrl-C does, so that every ``with`` cleans up."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def ending_signals(end: Callable[[], None]) -> Iterator[None]:
    """While inside, Ctrl-C, SIGTERM and SIGHUP call ``end`` and nothing else: a loop ends after the round in hand."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: end()) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def run_folder(root: Path | None = None) -> Iterator[Path]:
    """A private folder for sockets, logs and throw-away books of one run, gone at the end.

    Made under ``root``, else under the temporary folder. What killed runs left there goes first. Raises
    ``WorkerError`` where that place belongs to somebody else or its name is too long for a socket in it.
    """
    top = root or _place()
    if len(os.fsencode(top.absolute() / _LONGEST)) > SOCKET_PATH_BYTES:
        raise WorkerError(f"{top}: too long a name for a socket in it; set data_dir to a shorter one")
    top.mkdir(mode=0o700, parents=True, exist_ok=True)
    if top.stat().st_uid != os.getuid():
        raise WorkerError(f"{top} belongs to somebody else; remove it or set TMPDIR to a folder of your own")
    with (top / "lock").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        _sweep(top)
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=top.absolute()))
        lock = (folder / "lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


@contextlib.contextmanager
def alone(folder: Path, what: str, within: str) -> Iterator[None]:
    """While inside, no other run with a folder beside ``folder`` does ``what`` within the same server.

    Raises ``WorkerError`` where one does; ``within`` may hold a password and is never shown.
    """
    path = folder.parent / f"{sha256(f'{what} {within}'.encode()).hexdigest()[:16]}.lock"
    while True:
        with path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise WorkerError(f"another command runs {what}; wait for it, or stop it") from None
            # A lock on a file that its last holder has just removed protects nothing.
            if not path.exists() or path.stat().st_ino != os.fstat(lock.fileno()).st_ino:
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _place() -> Path:
    """Our corner of the temporary folder; of ``/tmp`` where the former's name is too long for a socket in it."""
    corner = f"walkout-{os.getuid()}"
    top = Path(tempfile.gettempdir()) / corner
    return top if len(os.fsencode(top / _LONGEST)) <= SOCKET_PATH_BYTES else Path("/tmp") / corner


def _sweep(top: Path) -> None:
    """Remove the folders of runs whose lock is free: their process is dead."""
    for folder in top.glob("run-*"):
        with contextlib.suppress(OSError), (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
