"""Play a recording through the real processes: log, edge, fusion, settler, billing; then tell the receipts.

The books decide what is true: a replay that is in them already prints the same receipts and charges nothing.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from walkout.app.billing_client import BillingClient
from walkout.app.build import Run, log_server, open_billing, open_log, plan_run
from walkout.app.pipeline import fund, is_settled
from walkout.app.source import Source, Survey, open_source, recording_id, survey, target_id
from walkout.app.supervisor import Supervisor, alone, orderly_signals, python_worker, run_folder
from walkout.billing.records import BooksReport, Receipt
from walkout.bus.log import EventLog, drop_namespace
from walkout.bus.topics import Record
from walkout.domain.sensing import Gap, Watermark
from walkout.domain.shopping import Visit, VisitClosed
from walkout.errors import BillingUnavailable, NotFoundError, WorkerError
from walkout.settings import Settings

#: What the command itself follows while the processes work.
WATCHED_TOPICS = ("gate_events", "basket_events", "decisions", "visits", "gaps", "watermarks")
#: How often the processes are looked after.
LOOK_S = 0.05
#: Nothing new for this long after the recording has been played, and something is stuck: a settling step, its
#: retries and a worker's longest restart pause together stay below it.
STALL_S = 60.0

Answer = TypeVar("Answer")
Watch = Callable[[float, Sequence[Record]], None]
"""Called with the share of the recording that has been worked off, 0 to 1, and with what is new in the log."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay came to: ``receipts[i]`` is that of ``visits[i]``."""

    visits: tuple[Visit, ...]
    receipts: tuple[Receipt, ...]
    gaps: tuple[Gap, ...]
    books: BooksReport


def replay(
    settings: Settings,
    recording: Path,
    store: Path | None,
    speed: float | None,
    say: Callable[[str], None],
    watch: Watch,
) -> Replayed:
    """Replay the recording folder ``recording``; ``speed`` None is as fast as it goes.

    Raises ``RecordingError`` or ``StoreError`` before anything is started, ``WorkerError`` when a process will
    not stay up or the visits will not settle, and leaves nothing running or lying about in either case.
    """
    source = open_source(recording, store, models_dir=settings.models_dir, say=say)
    found = survey(recording_id(recording), source.records())
    with orderly_signals(), ExitStack() as stack:
        folder = stack.enter_context(run_folder(settings.data_dir))
        redis_url = stack.enter_context(log_server(settings, folder))
        run = plan_run(folder, redis_url, settings, source, store, found, speed)
        run.write()
        stack.enter_context(alone(folder, run.namespace, run.redis_url))
        drop_namespace(run.redis_url, run.namespace)  # what an earlier run left when it was killed
        with Supervisor(run.folder / "logs", settings.worker_restarts, say) as supervisor:
            books = _Books(supervisor, open_billing(run, patience_s=0.0))
            _start(run, supervisor, books, source, found)
            gaps = _follow(supervisor, open_log(run), books, found, watch)
            receipts = tuple(books.ask(partial(_receipt, visit_id=visit.visit_id)) for visit in found.visits)
            report = books.ask(BillingClient.check_books)
        drop_namespace(run.redis_url, run.namespace)
    return Replayed(found.visits, receipts, gaps, report)


class _Books:
    """Billing as the command asks it: while it is down, it is us who must start it again, so never wait in a call."""

    def __init__(self, supervisor: Supervisor, client: BillingClient) -> None:
        self._supervisor, self._client = supervisor, client

    def ask(self, question: Callable[[BillingClient], Answer]) -> Answer:
        """The answer, however often billing has to be restarted for it."""
        while True:
            self._supervisor.check()
            try:
                return question(self._client)
            except BillingUnavailable:
                time.sleep(LOOK_S)

    def settled(self, visit_id: str) -> bool:
        """Whether the visit is in the books with its money in a final state."""
        try:
            return self.ask(lambda client: is_settled(client.get_visit(visit_id)))
        except NotFoundError:
            return False


def _receipt(client: BillingClient, visit_id: str) -> Receipt:
    return client.get_receipt(visit_id)


def _start(run: Run, supervisor: Supervisor, books: _Books, source: Source, found: Survey) -> None:
    """All processes of a run. The edge worker comes last: nothing is sold before billing knows the prices."""
    for name in ("billing", "settler", "fusion", "edge"):
        if name == "edge":
            books.ask(lambda client: fund(client, source.store, found.visits))
        supervisor.start(name, python_worker("walkout.app.workers", name, str(run.folder)))


def _follow(supervisor: Supervisor, events: EventLog, books: _Books, found: Survey, watch: Watch) -> tuple[Gap, ...]:
    """Look after the processes until every visit is closed in the log and settled in the books."""
    open_ids = {visit.visit_id for visit in found.visits}
    unsettled = set(open_ids)
    gaps: dict[Gap, None] = {}
    share, news_s = 0.0, time.monotonic()
    records: list[Record] = []
    # Once more after the last visit has settled, until nothing comes: no gap is left unread.
    while records or open_ids or unsettled or not supervisor.finished("edge"):
        supervisor.check()
        entries = events.read("console", "console", WATCHED_TOPICS, block_s=LOOK_S)
        events.ack("console", entries)
        records = [entry.record for entry in entries]
        gaps.update((record, None) for record in records if isinstance(record, Gap))
        open_ids -= {record.visit_id for record in records if isinstance(record, VisitClosed)}
        share = max([share, *(_share(record, found) for record in records)])
        watch(share, records)
        if not open_ids:
            unsettled = {visit_id for visit_id in unsettled if not books.settled(visit_id)}
        if records or not supervisor.finished("edge"):
            news_s = time.monotonic()
        elif time.monotonic() - news_s > STALL_S:
            raise _stuck(supervisor, open_ids or unsettled)
    return tuple(sorted(gaps, key=lambda gap: (gap.start_ns, gap.end_ns, gap.source, gap.reason)))


def _share(record: Record, found: Survey) -> float:
    """How much of the recording fusion has worked off, as its watermark tells."""
    if not isinstance(record, Watermark) or record.source != "fusion":
        return 0.0
    length_ns = max(1, found.end_ns - found.start_ns)
    return min(1.0, max(0.0, (record.t_ns - found.start_ns) / length_ns))


def _stuck(supervisor: Supervisor, visit_ids: set[str]) -> WorkerError:
    said = "\n".join(f"{name}:\n{supervisor.last_lines(name)}" for name in ("fusion", "settler", "billing"))
    return WorkerError(f"{len(visit_ids)} visits did not settle within {STALL_S:.0f} s; last words of\n{said}")


def as_json(replayed: Replayed) -> dict[str, object]:
    """What ``walkout replay --json`` prints: read by tools outside the project, its keys are kept stable."""
    return {
        "receipts": [
            {
                "visit_id": visit.visit_id,
                "target_id": target_id(visit),
                "status": str(receipt.visit.status),
                "currency": receipt.total.currency,
                "total_minor": receipt.total.minor,
                "lines": [{"barcode": line.barcode, "quantity": line.quantity} for line in receipt.lines],
            }
            for visit, receipt in zip(replayed.visits, replayed.receipts, strict=True)
        ],
        "books_balanced": replayed.books.balanced,
        "gaps": [
            {"source": gap.source, "start_ns": gap.start_ns, "end_ns": gap.end_ns, "reason": gap.reason}
            for gap in replayed.gaps
        ],
    }
