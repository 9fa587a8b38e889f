"""The one place that names every concrete class: what a run is made of, told to its processes as one file.

The command that starts a run resolves settings, servers and recording, and writes ``run.json`` into the run's
private folder; every worker builds from that file alone, also the one that follows a dead one.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from walkout.app.billing_client import BillingClient
from walkout.app.source import Source, Survey, open_source
from walkout.app.supervisor import run_folder
from walkout.bus.log import EventLog, RedisLog, private_server
from walkout.domain.clock import SystemClock
from walkout.domain.sensing import GateEvent, GateEventKind
from walkout.errors import WorkerError
from walkout.settings import Settings

RUN_FILE = "run.json"


@dataclass(frozen=True, slots=True)
class Run:
    """What every process of one run must know. ``speed`` is recording seconds per second, None: no waiting.

    ``bodies`` is where the shoppers lie who were found in the recording's videos, None where it has none to look at.
    """

    folder: Path
    redis_url: str
    namespace: str
    billing_address: str
    database_url: str
    recording: Path
    store: Path | None
    start_ns: int
    end_ns: int
    gates: tuple[GateEvent, ...]
    speed: float | None
    bodies: Path | None = None

    def write(self) -> None:
        """Put it where the workers look; readable by its owner only, for addresses may hold passwords."""
        path = self.folder / RUN_FILE
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(asdict(self), file, default=str)


def read_run(folder: Path) -> Run:
    """The run whose private folder this is. Raises ``WorkerError`` when there is none."""
    try:
        fields = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WorkerError(f"{folder}: no run here ({error}); workers are started by a command") from error
    fields["gates"] = tuple(
        GateEvent(gate["t_ns"], GateEventKind(gate["kind"]), gate["visit_id"], gate["track_id"])
        for gate in fields["gates"]
    )
    fields["folder"] = Path(fields["folder"])
    fields["recording"] = Path(fields["recording"])
    fields["store"] = Path(fields["store"]) if fields["store"] else None
    fields["bodies"] = Path(fields["bodies"]) if fields["bodies"] else None
    return Run(**fields)


def plan_run(
    folder: Path,
    redis_url: str,
    settings: Settings,
    source: Source,
    store: Path | None,
    found: Survey,
    speed: float | None,
) -> Run:
    """A replay: its name in the log and its books follow from the recording and the settings."""
    bodies = folder / "bodies" if source.bodies is not None else None
    if source.bodies is not None and bodies is not None:
        source.bodies.keep(bodies)
    return Run(
        folder=folder,
        redis_url=redis_url,
        namespace=f"replay-{found.recording_id}",
        billing_address=f"unix:{folder / 'billing.sock'}",
        database_url=settings.database_url or f"sqlite:///{folder / 'books.db'}",
        recording=source.path.resolve(),
        store=store.resolve() if store else None,
        start_ns=found.start_ns,
        end_ns=found.end_ns,
        gates=found.gates,
        speed=speed,
        bodies=bodies,
    )


@contextlib.contextmanager
def log_server(settings: Settings, folder: Path) -> Iterator[str]:
    """The address of the log's server: the operator's own, else a private one that ends with the run."""
    if settings.redis_url is not None:
        yield settings.redis_url
        return
    with private_server(folder / "log") as url:
        yield url


def open_log(run: Run) -> EventLog:
    """The event log of a run."""
    return RedisLog(run.redis_url, run.namespace)


def open_billing(run: Run, patience_s: float) -> BillingClient:
    """The client of the billing process of a run; it waits ``patience_s`` for one that is being restarted."""
    return BillingClient(run.billing_address, patience_s=patience_s)


@contextlib.contextmanager
def in_process_billing(settings: Settings) -> Iterator[BillingClient]:
    """The real service on a socket of its own, without a process of its own; its books end with it unless set."""
    from walkout.billing.database import open_books
    from walkout.billing.provider import PROVIDERS
    from walkout.billing.server import start_server

    with run_folder(settings.data_dir) as folder:
        engine = open_books(settings.database_url or f"sqlite:///{folder / 'books.db'}")
        clock = SystemClock()
        provider = PROVIDERS["wallet"](engine, clock)
        server, address = start_server(engine, provider, clock, f"unix:{folder / 'billing.sock'}")
        try:
            with BillingClient(address) as client:
                yield client
        finally:
            server.stop(None)
            engine.dispose()


def open_recording(run: Run) -> Source:
    """The recording of a run, with its store."""
    return open_source(run.recording, run.store, run.bodies)
