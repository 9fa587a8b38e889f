"""The worker processes: each one step of the route between two stretches of the log.

``python -m walkout.app.workers NAME FOLDER`` is what the supervisor runs. A worker may be killed at any instant;
its successor finds in the log what was not acknowledged, works it off again, and says the same things under the
same ids. What has been said twice is told apart by those ids, in fusion as in billing.
"""

import logging
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from walkout.app.build import Run, open_billing, open_log, open_recording, read_run
from walkout.app.supervisor import stay_on_the_line
from walkout.bus.log import EventLog
from walkout.bus.topics import Entry, Record
from walkout.domain.clock import NS_PER_S, SystemClock
from walkout.domain.sensing import Watermark
from walkout.errors import BillingUnavailable, EventsMissing, NotFoundError, WalkoutError

log = logging.getLogger("walkout")

SENSED_TOPICS = ("gate_events", "observations", "weight_events", "gaps", "watermarks")
BILLED_TOPICS = ("gate_events", "basket_events", "visits")
#: A read waits this long for news; also how soon a worker notices that it should go.
BLOCK_S = 0.2
#: Pause before billing is asked again for what it could not do yet.
RETRY_S = 0.2
#: How long one call waits for a billing worker that is being restarted; afterwards it is made anew.
BILLING_PATIENCE_S = 2.0
#: The sensor side runs at most this far ahead of fusion in recording time, well below the shortest retention of
#: the topic table (10 min): nothing is trimmed unread however fast a recording is played.
LEAD_NS = 120 * NS_PER_S


def edge(run: Run, events: EventLog) -> None:
    """Play the recording into the log; done at its end. A successor goes on after the last watermark."""
    from walkout.app.pipeline import SensorStep

    source = open_recording(run)
    resume_ns = _last_mark_ns(events, "edge")
    step = SensorStep(run.gates)
    pace = _Pace(events, run)

    def told() -> Iterator[Record]:
        for record in source.records():
            yield from step.feed(record)
        yield from step.finish(run.end_ns)

    silent = resume_ns is not None
    for record in told():
        if silent:
            # Everything up to the last watermark in the log was said by our predecessor, in this very order.
            silent = not (isinstance(record, Watermark) and record.t_ns == resume_ns)
            continue
        if isinstance(record, Watermark):
            pace.wait_for(record.t_ns)
        events.append(record)


class _Pace:
    """Holds the player back: to the wished speed, and to what fusion can follow."""

    def __init__(self, events: EventLog, run: Run) -> None:
        self._events, self._run = events, run
        self._begun: tuple[float, int] | None = None
        self._told_ns = self._followed_ns = run.start_ns

    def wait_for(self, t_ns: int) -> None:
        """Return when recording time ``t_ns`` may be told; each call's time must then be told."""
        t_ns = min(t_ns, self._run.end_ns)
        if self._run.speed is not None:
            now_s = time.monotonic()
            if self._begun is None:
                self._begun = (now_s, t_ns)
            due_s = self._begun[0] + (t_ns - self._begun[1]) / NS_PER_S / self._run.speed
            time.sleep(max(0.0, due_s - now_s))
        # Measured at what has been told, not at what is due: a silent stretch may be longer than any lead.
        while self._told_ns - self._followed_ns > LEAD_NS:
            self._followed_ns = max(self._followed_ns, _last_mark_ns(self._events, "fusion") or 0)
            if self._told_ns - self._followed_ns > LEAD_NS:
                time.sleep(BLOCK_S)
        self._told_ns = t_ns


def _last_mark_ns(events: EventLog, source: str) -> int | None:
    marks = (entry.record for entry in events.scan("watermarks"))
    return max((mark.t_ns for mark in marks if isinstance(mark, Watermark) and mark.source == source), default=None)


def fusion(run: Run, events: EventLog) -> None:
    """Read what was sensed, publish who took what, and keep the log's entries until no successor needs them."""
    from walkout.app.pipeline import FusionStep, event_end_ns

    step = FusionStep(open_recording(run).store)
    told_ns = acked_ns = -(2**63)
    held: list[Entry] = []
    fresh = events.claim("fusion", "fusion", SENSED_TOPICS)
    while True:
        # Read until nothing comes: then everything that the watermarks promise has been taken.
        while fresh:
            for entry in fresh:
                step.take(entry.record)
            held.extend(fresh)
            fresh = events.read("fusion", "fusion", SENSED_TOPICS)
        for record in step.advance():
            events.append(record)
        if step.mark_ns > told_ns:
            told_ns = step.mark_ns
            events.append(Watermark("fusion", told_ns))
        if step.horizon_ns() >= acked_ns + NS_PER_S:
            acked_ns = step.horizon_ns()
            events.ack("fusion", [entry for entry in held if event_end_ns(entry.record) < acked_ns])
            held = [entry for entry in held if event_end_ns(entry.record) >= acked_ns]
        fresh = events.read("fusion", "fusion", SENSED_TOPICS, block_s=BLOCK_S)


def settler(run: Run, events: EventLog) -> None:
    """Carry visits to billing; acknowledge what billing has written down, offer the rest again."""
    from walkout.app.pipeline import SettlingStep

    step = SettlingStep(open_billing(run, BILLING_PATIENCE_S), open_recording(run).store)
    waiting = events.claim("settler", "settler", BILLED_TOPICS)
    while True:
        if waiting:
            try:
                step.take([entry.record for entry in waiting])
            except (BillingUnavailable, EventsMissing, NotFoundError) as error:
                log.info("billing cannot yet: %s", error)
                time.sleep(RETRY_S)
            else:
                events.ack("settler", waiting)
                waiting = []
        waiting += events.read("settler", "settler", BILLED_TOPICS, block_s=BLOCK_S)


def billing(run: Run, _events: EventLog) -> None:
    """Serve the books."""
    from walkout.billing.server import serve

    serve(run.database_url, run.billing_address, SystemClock())


WORKERS = {"billing": billing, "settler": settler, "fusion": fusion, "edge": edge}


def main() -> None:
    """Entry point of a worker process: its name and the run's folder; standard input is the lifeline."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    stay_on_the_line()
    if name != "billing":  # which stops by itself, after the call in hand
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        run = read_run(folder)
        WORKERS[name](run, open_log(run))
    except WalkoutError as error:
        log.error("%s stops: %s", name, error)
        sys.exit(1)


if __name__ == "__main__":
    main()
