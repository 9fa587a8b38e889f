"""A closed visit to its final state: lines, charge row, authorize, capture, sale, receipt.

Row first, provider second. Every arrow is one transaction or one call with our row's id as key, so a crash between
any two leaves rows that say what to do next, and doing a step again changes nothing::

    close    visit open -> closing, lines, charge created | -> review | -> released       one transaction
    created      -> provider.authorize -> charge authorized                               | declined, visit review
    authorized   -> provider.capture   -> charge captured, sale, visit captured           | voided, visit review

An answer that got lost is asked for again with the same key, by whoever calls next or by ``sweep``, which finds every
charge and refund that is not final. Visits that settle at the same time share transactions (``together``).
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from walkout.billing import closing, ledger
from walkout.billing.accounts import take_back_points
from walkout.billing.aftersale import Refund, read_refund, record_refund
from walkout.billing.database import reading, writing
from walkout.billing.moves import Move, move
from walkout.billing.provider import PaymentProvider
from walkout.billing.records import BilledVisit, Charge, ChargeStatus, RefundStatus, VisitStatus
from walkout.billing.schema import charges, refunds
from walkout.billing.together import MOST_TOGETHER, Together
from walkout.billing.visits import add_reasons, charge_of_row, charges_query, get_visit
from walkout.domain.clock import NS_PER_S, Clock
from walkout.domain.shopping import VisitClosed
from walkout.errors import BillingUnavailable, IllegalMove, PaymentDeclined

log = logging.getLogger(__name__)

#: Visits that settle at once without waiting for each other; many times the threads of the service, so that two
#: visits rarely share one.
_LOCKS = 1024
#: Pauses before a provider that did not answer is asked again by the sweep: doubling from the first to the longest.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 900.0

_ON_THE_WAY = (ChargeStatus.CREATED, ChargeStatus.AUTHORIZED)


@dataclass(frozen=True, slots=True)
class _Step:
    """What the provider answered about a charge: ``new`` is where the charge goes, ``word`` its reference or reason."""

    charge: Charge
    new: ChargeStatus
    word: str


class Settler:
    """Settles visits with one provider. Safe to call from several threads; one process per books.

    ``together`` is how many visits may share a transaction; ``told`` is called with the id of a visit whose money
    moved.
    """

    def __init__(
        self,
        engine: sa.Engine,
        provider: PaymentProvider,
        clock: Clock,
        together: int = MOST_TOGETHER,
        told: Callable[[str], object] = lambda _visit_id: None,
    ) -> None:
        self._engine = engine
        self._provider = provider
        self._clock = clock
        self._told = told
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        # SQLite has one writer anyway and no commit to share between connections; it gains as much.
        self._close: Together[VisitClosed, closing.Closed] = Together(self._close_all, together)
        self._record: Together[_Step, Charge] = Together(self._record_all, together)

    def close(self, closed: VisitClosed) -> BilledVisit:
        """Price the basket, then charge it or send it to review; the visit in its final state.

        Raises ``NotFoundError``, ``EventsMissing`` while fewer basket events have arrived than announced,
        ``ConflictError`` when it was closed before with other contents, ``BillingUnavailable`` when the provider
        does not answer: the visit stays ``closing``, the sweep goes on from there, and so does the same call.
        """
        with self._lock_of(closed.visit_id):
            found = self._close.ask(closed)
            self._told(closed.visit_id)
            if found.charge is None or found.charge.status not in _ON_THE_WAY:
                return found.visit
            charge = self._drive(found.charge)
        self._told(closed.visit_id)
        if charge.status is ChargeStatus.CAPTURED:
            return replace(found.visit, status=VisitStatus.CAPTURED)
        return get_visit(self._engine, closed.visit_id)

    def finish(self, visit_id: str) -> None:
        """Drive every charge and refund of the visit that is on its way to its final state.

        Raises ``BillingUnavailable`` where the provider does not answer, ``IllegalMove`` where it is not ours.
        """
        with self._lock_of(visit_id):
            self._finish(visit_id)
        self._told(visit_id)

    def sweep(self, *, all_at_once: bool = False) -> int:
        """Drive on whatever is not final and whose pause is over; how many visits came to an end of it.

        With ``all_at_once`` pauses are not kept, as after a start. A provider that does not answer, or is not the one
        the charge began with, leaves its visit for the next time.
        """
        due_ns = self._clock.now_ns()
        settled = 0
        for visit_id in self._due(None if all_at_once else due_ns):
            lock = self._lock_of(visit_id)
            if not lock.acquire(blocking=False):
                continue  # somebody is at it
            try:
                self._finish(visit_id)
                settled += 1
            except (BillingUnavailable, IllegalMove) as error:
                log.warning("visit %s is not final yet: %s", visit_id, error)
            finally:
                lock.release()
            self._told(visit_id)
        return settled

    def _due(self, at_ns: int | None) -> list[str]:
        charged = sa.select(charges.c.visit_id, charges.c.next_attempt_ns).where(charges.c.status.in_(_ON_THE_WAY))
        back = sa.select(charges.c.visit_id, refunds.c.next_attempt_ns).join(
            charges, charges.c.charge_id == refunds.c.charge_id
        )
        both = charged.union_all(back.where(refunds.c.status == RefundStatus.CREATED)).subquery()
        query = sa.select(both.c.visit_id).order_by(both.c.next_attempt_ns, both.c.visit_id)
        if at_ns is not None:
            query = query.where(both.c.next_attempt_ns <= at_ns)
        with reading(self._engine) as connection:
            return list(dict.fromkeys(connection.execute(query).scalars()))

    def _lock_of(self, visit_id: str) -> threading.Lock:
        return self._locks[hash(visit_id) % _LOCKS]

    def _finish(self, visit_id: str) -> None:
        with reading(self._engine) as connection:
            on_the_way = charges.c.status.in_(_ON_THE_WAY)
            rows = connection.execute(charges_query().where(charges.c.visit_id == visit_id, on_the_way)).all()
        for row in rows:
            self._drive(charge_of_row(row))
        query = sa.select(refunds.c.refund_id).join(charges, charges.c.charge_id == refunds.c.charge_id)
        mine = query.where(charges.c.visit_id == visit_id, refunds.c.status == RefundStatus.CREATED)
        with reading(self._engine) as connection:
            back = [read_refund(connection, refund_id) for refund_id in connection.execute(mine).scalars().all()]
        for refund in back:
            self._give_back(refund)

    def _drive(self, charge: Charge) -> Charge:
        """Step by step to the end; a silent provider is noted for the sweep and raised."""
        self._require_provider(charge.charge_id, charge.provider)
        steps = {ChargeStatus.CREATED: self._authorize, ChargeStatus.AUTHORIZED: self._capture}
        while charge.status in steps:
            try:
                step = steps[charge.status](charge)
            except BillingUnavailable as error:
                self._note(charges, charges.c.charge_id == charge.charge_id, error)
                raise
            charge = self._record.ask(step)
        return charge

    def _authorize(self, charge: Charge) -> _Step:
        try:
            return _Step(charge, ChargeStatus.AUTHORIZED, self._provider.authorize(charge))
        except PaymentDeclined as error:
            return _Step(charge, ChargeStatus.DECLINED, str(error))

    def _capture(self, charge: Charge) -> _Step:
        try:
            reference = self._provider.capture(charge) or charge.reference
        except PaymentDeclined as error:
            self._provider.release(charge)
            return _Step(charge, ChargeStatus.VOIDED, str(error))
        return _Step(charge, ChargeStatus.CAPTURED, reference)

    def _give_back(self, refund: Refund) -> None:
        self._require_provider(refund.charge.charge_id, refund.charge.provider)
        new, word = RefundStatus.REFUNDED, ""
        try:
            word = self._provider.refund(refund.charge, refund.refund_id, refund.amount)
        except PaymentDeclined as error:
            new, word = RefundStatus.DECLINED, str(error)
        except BillingUnavailable as error:
            self._note(refunds, refunds.c.refund_id == refund.refund_id, error)
            raise
        with writing(self._engine) as connection:
            record_refund(connection, refund, new, word, self._clock.now_ns())

    def _require_provider(self, charge_id: str, provider: str) -> None:
        """A charge stays with the provider that was asked first; another one would take the money again."""
        if provider != self._provider.name:
            raise IllegalMove(
                f"charge {charge_id} began with provider {provider!r}, this service runs with"
                f" {self._provider.name!r}; start it with {provider!r} to finish the charge"
            )

    def _note(self, table: sa.Table, mine: "sa.ColumnElement[bool]", error: Exception) -> None:
        """Nobody answered: when to ask again, and what was wrong."""
        with writing(self._engine) as connection:
            attempts = connection.execute(sa.select(table.c.attempts).where(mine)).scalar_one()
            pause_s = min(_FIRST_PAUSE_S * 2.0 ** min(attempts, 30), _LONGEST_PAUSE_S)
            again_ns = self._clock.now_ns() + round(pause_s * NS_PER_S)
            values = {"attempts": attempts + 1, "next_attempt_ns": again_ns, "trouble": str(error)}
            connection.execute(table.update().where(mine).values(**values))

    def _close_all(self, closes: Sequence[VisitClosed]) -> Sequence[closing.Closed | Exception]:
        with writing(self._engine) as connection:
            return closing.close_visits(connection, closes, self._provider.name, self._clock.now_ns())

    def _record_all(self, steps: Sequence[_Step]) -> Sequence[Charge | Exception]:
        """Write down what the provider answered, for several charges at once."""
        now_ns = self._clock.now_ns()
        with writing(self._engine) as connection:
            taken = [step.charge for step in steps if step.new is ChargeStatus.CAPTURED]
            ledger.post_all(connection, [ledger.sale_of(charge, now_ns) for charge in taken])
            for old, new in sorted({(step.charge.status, step.new) for step in steps}):
                alike = [step for step in steps if (step.charge.status, step.new) == (old, new)]
                moved = [Move(step.charge.charge_id, step.word, _reference(step)) for step in alike]
                move(connection, "charge", old, new, moved, now_ns)
            paid = [Move(charge.visit_id, "paid") for charge in taken if charge.pays_visit]
            move(connection, "visit", VisitStatus.CLOSING, VisitStatus.CAPTURED, paid, now_ns)
            refused = [step for step in steps if step.new in (ChargeStatus.DECLINED, ChargeStatus.VOIDED)]
            for step in refused:
                if step.charge.pays_visit:
                    take_back_points(connection, step.charge.account_id, step.charge.visit_id, now_ns)
                    why = f"payment declined: {step.word}"
                    add_reasons(connection, step.charge.visit_id, [why], from_request=False)
                    again = [Move(step.charge.visit_id, why)]
                    move(connection, "visit", VisitStatus.CLOSING, VisitStatus.REVIEW, again, now_ns)
        return [
            replace(step.charge, status=step.new, reference=_reference(step).get("reference", step.charge.reference))
            for step in steps
        ]


def _reference(step: _Step) -> dict[str, str]:
    return {"reference": step.word} if step.new in (ChargeStatus.AUTHORIZED, ChargeStatus.CAPTURED) else {}
