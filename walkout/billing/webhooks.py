"""What providers tell of their own accord: verified, taken once, applied.

A webhook is a hint to look, not a reason to book: what it says about a charge or refund of ours makes us drive that
charge on, which asks the provider itself. So late, doubled, reordered and early ones (before the answer to the call
that caused them) do no harm. Only the bank's own steps in a dispute are booked from the signed event, for nobody asked
for them::

    disputed   disputes:provider +x   clearing:provider -x      the bank took the money back for now
    won        clearing:provider +x   disputes:provider -x
    lost       loss:provider +x       disputes:provider -x
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import sqlalchemy as sa

from walkout.billing import ledger
from walkout.billing.aftersale import Dispute, open_dispute, resolve_dispute
from walkout.billing.database import insert_new, reading, writing
from walkout.billing.ledger import Account
from walkout.billing.provider import PaymentProvider
from walkout.billing.records import Direction, DisputeStatus, EventKind, ProviderEvent
from walkout.billing.schema import charges, disputes, webhooks
from walkout.billing.settle import Settler
from walkout.domain.clock import Clock
from walkout.domain.ids import derived_id
from walkout.errors import BadRequest, BillingError, BillingUnavailable, SettingsError

log = logging.getLogger(__name__)

#: Largest body taken. Stripe's own events are a few kilobytes.
_LARGEST = 256 * 1024
#: Seconds a sender may be silent in the middle of a request.
_PATIENCE_S = 10.0

_DRIVE_ON = (EventKind.HELD, EventKind.CAPTURED, EventKind.RELEASED, EventKind.DECLINED, EventKind.REFUNDED)
_DISPUTES = (EventKind.DISPUTED, EventKind.DISPUTE_WON, EventKind.DISPUTE_LOST)


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Takes the webhooks of one provider into the books."""

    engine: sa.Engine
    provider: PaymentProvider
    settler: Settler
    clock: Clock

    def receive(self, headers: Mapping[str, str], body: bytes) -> str:
        """What came of it, in a few words.

        Raises ``BadRequest`` for one that the provider did not just sign, and ``BillingUnavailable`` where it cannot
        be applied yet: the provider sends it again.
        """
        now_ns = self.clock.now_ns()
        event = self.provider.parse_webhook(headers, body, now_ns)
        mine = sa.and_(webhooks.c.provider == self.provider.name, webhooks.c.event_id == event.event_id)
        with writing(self.engine) as connection:
            row = {"provider": self.provider.name, "event_id": event.event_id, "kind": event.kind.value}
            row |= {"reference": event.reference, "charge_id": event.charge_id}
            insert_new(connection, webhooks, [{**row, "received_ns": now_ns}])
            known = connection.execute(sa.select(webhooks).where(mine)).one()
        if known.applied_ns is not None:
            return f"known: {known.outcome}"
        outcome = self._apply(event)
        with writing(self.engine) as connection:
            done = webhooks.update().where(mine, webhooks.c.applied_ns.is_(None))
            connection.execute(done.values(applied_ns=now_ns, outcome=outcome))
        return outcome

    def _apply(self, event: ProviderEvent) -> str:
        charge = self._charge_of(event)
        if charge is None:
            return "about no charge of ours"
        if event.kind in _DRIVE_ON:
            self.settler.finish(charge.visit_id)
            return "looked"
        if event.kind in _DISPUTES and event.amount is not None and event.amount.minor > 0:
            return self._dispute(event, charge)
        return "nothing to do"

    def _charge_of(self, event: ProviderEvent) -> Any:
        """The row of the charge that the event is about: by our own id, else by the provider's name of it."""
        ours = charges.c.charge_id == event.charge_id
        if not event.charge_id:
            ours = sa.and_(charges.c.reference == event.reference, charges.c.reference != "")
        with reading(self.engine) as connection:
            query = sa.select(charges).where(ours, charges.c.provider == self.provider.name)
            return connection.execute(query).one_or_none()

    def _dispute(self, event: ProviderEvent, charge: Any) -> str:
        """Book the bank's step and open, or close, the dispute; whatever comes first brings what went before."""
        dispute_id = derived_id("chargeback", self.provider.name, event.reference)
        contested = Account("disputes", self.provider.name)
        clearing = Account("clearing", self.provider.name)
        steps = [("taken", contested, clearing)]
        if event.kind is EventKind.DISPUTE_WON:
            steps.append(("returned", clearing, contested))
        if event.kind is EventKind.DISPUTE_LOST:
            steps.append(("lost", Account("loss", self.provider.name), contested))
        with writing(self.engine) as connection:
            for step, debit, credit in steps:
                key = f"chargeback/{dispute_id}/{step}"
                if event.amount is not None and not ledger.is_posted(connection, key):
                    moved = ledger.transfer(debit, credit, event.amount)
                    ledger.post(connection, key, "chargeback", moved, event.at_ns)
        return self._note_dispute(event, charge, dispute_id)

    def _note_dispute(self, event: ProviderEvent, charge: Any, dispute_id: str) -> str:
        with reading(self.engine) as connection:
            query = sa.select(disputes.c.status).where(disputes.c.dispute_id == dispute_id)
            status = connection.execute(query).scalar_one_or_none()
        if status is None:
            claim = f"the bank contests payment {event.reference}"
            try:
                open_dispute(
                    self.engine,
                    Dispute(
                        dispute_id,
                        charge.visit_id,
                        Direction.OVERCHARGED,
                        DisputeStatus.OPEN,
                        claim,
                        self.provider.name,
                        event.at_ns,
                        None,
                    ),
                )
            except BillingUnavailable:
                raise
            except BillingError as error:
                return f"booked; no dispute opened: {error}"
        if event.kind is EventKind.DISPUTE_WON and status in (None, DisputeStatus.OPEN):
            name = self.provider.name
            resolve_dispute(self.engine, dispute_id, None, "the bank decided for the store", name, name, event.at_ns)
        return event.kind.value


@contextmanager
def serving_webhooks(webhooks_of: Mapping[str, Callable[[Mapping[str, str], bytes], str]], port: int) -> Iterator[int]:
    """Take POSTs to ``/webhooks/<provider>`` on this machine's ``port`` (0: any free one); the port it got.

    200: taken, 400: not signed, 404: no such provider, 413: too large, 503: not yet, send again. A proxy that speaks
    TLS stands in front of it; signatures, not the network, say who speaks. Raises ``SettingsError`` for a port that
    is taken.
    """
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), _handler(webhooks_of))
    except OSError as error:
        raise SettingsError(f"webhook port {port} cannot be bound ({error.strerror}); choose another one") from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="webhooks", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(
    webhooks_of: Mapping[str, Callable[[Mapping[str, str], bytes], str]],
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _PATIENCE_S

        def do_POST(self) -> None:
            """Take one webhook."""
            length = self.headers.get("Content-Length", "")
            receive = webhooks_of.get(self.path.removeprefix("/webhooks/"))
            if receive is None:
                self._say(404, "no such provider")
            elif not length.isdigit() or int(length) > _LARGEST:
                self._say(413, f"send at most {_LARGEST} bytes with a Content-Length")
            else:
                self._say(*_answer(receive, dict(self.headers.items()), self.rfile.read(int(length))))

        def _say(self, status: int, text: str) -> None:
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
            """Into our log instead of stderr."""
            log.debug(format, *args)

    return Handler


def _answer(
    receive: Callable[[Mapping[str, str], bytes], str], headers: Mapping[str, str], body: bytes
) -> tuple[int, str]:
    """Status and text; the sender learns no more than it needs."""
    try:
        return 200, receive(headers, body)
    except BadRequest as error:
        log.warning("a webhook was refused: %s", error)
        return 400, "refused"
    except (BillingError, sa.exc.OperationalError) as error:
        log.warning("a webhook could not be applied yet: %s", error)
        return 503, "not yet; send it again"
    except Exception:  # the worker's edge
        log.exception("a webhook failed for a reason nobody expected")
        return 500, "failed; send it again"
