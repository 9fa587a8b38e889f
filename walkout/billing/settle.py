"""A closed visit to its final state: lines, charge row, authorize, capture, sale, receipt.

Row first, provider second. Every arrow is one transaction or one call with our row's id as key, so a crash between
any two leaves rows that say what to do next, and doing a step again changes nothing::

    close    visit open -> closing, lines, charge created | -> review | -> released       one transaction
    created      -> provider.authorize -> charge authorized                               | declined, visit review
    authorized   -> provider.capture   -> charge captured, sale, visit captured           | voided, visit review
"""

import logging
import math
import threading
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from walkout.billing import ledger
from walkout.billing.catalog import products_of
from walkout.billing.database import reading, writing
from walkout.billing.ledger import Account
from walkout.billing.pricing import PricedBasket, price_basket
from walkout.billing.provider import PaymentProvider
from walkout.billing.records import BilledVisit, Charge, ChargeStatus, VisitStatus, check_move
from walkout.billing.schema import charges, receipt_lines, review_reasons, visits
from walkout.billing.visits import (
    SAME_PROBABILITY,
    events_of,
    get_visit,
    read_visit,
    reasons_of,
    require_visit,
    tell,
)
from walkout.domain.clock import Clock
from walkout.domain.ids import derived_id
from walkout.domain.money import Money
from walkout.domain.shopping import VisitClosed, fold_basket
from walkout.errors import BillingUnavailable, ConflictError, EventsMissing, IllegalMove, PaymentDeclined

log = logging.getLogger(__name__)

#: Visits that settle at once without waiting for each other; more than the service has threads, so that two
#: visits rarely share one.
_LOCKS = 64


class Settler:
    """Settles visits with one provider. Safe to call from several threads; one process per books."""

    def __init__(self, engine: sa.Engine, provider: PaymentProvider, clock: Clock) -> None:
        self._engine = engine
        self._provider = provider
        self._clock = clock
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def close(self, closed: VisitClosed) -> BilledVisit:
        """Price the basket, then charge it or send it to review; the visit in its final state.

        Raises ``NotFoundError``, ``EventsMissing`` while fewer basket events have arrived than announced,
        ``ConflictError`` when it was closed before with other contents, ``BillingUnavailable`` when the provider
        does not answer: the visit stays ``closing`` and the same call goes on from there.
        """
        with writing(self._engine) as connection:
            visit = require_visit(connection, closed.visit_id, lock=True)
            if visit.status == VisitStatus.OPEN:
                self._close(connection, visit, closed)
            else:
                _require_same(connection, visit, closed)
        return self.finish(closed.visit_id)

    def finish(self, visit_id: str) -> BilledVisit:
        """Drive the visit's charge, if it has one on its way, to its final state."""
        steps = {ChargeStatus.CREATED: self._authorize, ChargeStatus.AUTHORIZED: self._capture}
        with self._locks[hash(visit_id) % _LOCKS]:
            while (charge := _charge_of(self._engine, visit_id)) is not None and charge.status in steps:
                steps[charge.status](charge)
        return get_visit(self._engine, visit_id)

    def resume(self) -> int:
        """Finish what a crash left on its way; how many visits are settled now that were not.

        A provider that does not answer, or is not the one the charge began with, leaves its visit ``closing``; the
        next call that closes it goes on.
        """
        query = sa.select(visits.c.visit_id).where(visits.c.status == VisitStatus.CLOSING)
        with reading(self._engine) as connection:
            unfinished = connection.execute(query.order_by(visits.c.closed_ns)).scalars().all()
        settled = 0
        for visit_id in unfinished:
            try:
                self.finish(visit_id)
                settled += 1
            except (BillingUnavailable, IllegalMove) as error:
                log.warning("visit %s stays closing: %s", visit_id, error)
        return settled

    def _close(self, connection: sa.Connection, visit: Any, closed: VisitClosed) -> None:
        """Everything that is decided without the provider, in one transaction."""
        events = events_of(connection, closed.visit_id)
        if len(events) < closed.basket_events:
            raise EventsMissing(
                f"visit {closed.visit_id}: {len(events)} of {closed.basket_events} basket events have arrived;"
                " append the others and close again"
            )
        basket = fold_basket(closed.visit_id, events)
        products = products_of(connection, visit.store, [barcode for barcode, _ in basket.lines])
        priced = price_basket(basket, products, visit.currency)
        doubts = list(priced.doubts)
        if len(events) > closed.basket_events:
            doubts.append(f"{len(events)} basket events arrived, {closed.basket_events} were announced")
        status = _status_after_close([*closed.review, *doubts], priced.total)
        _write_lines(connection, closed.visit_id, priced)
        _add_reasons(connection, closed.visit_id, closed.review, from_request=True)
        _add_reasons(connection, closed.visit_id, doubts, from_request=False)
        if status == VisitStatus.CLOSING:
            self._create_charge(connection, closed.visit_id, priced.total)
        self._move_visit(
            connection,
            closed.visit_id,
            VisitStatus.OPEN,
            status,
            "closed",
            closed_ns=closed.t_ns,
            expected_events=closed.basket_events,
            confidence=closed.confidence,
            total_minor=priced.total.minor,
        )

    def _create_charge(self, connection: sa.Connection, visit_id: str, total: Money) -> None:
        charge_id = derived_id("charge", visit_id)
        connection.execute(
            charges.insert().values(
                charge_id=charge_id,
                visit_id=visit_id,
                cause="visit",
                amount_minor=total.minor,
                currency=total.currency,
                status=ChargeStatus.CREATED,
                provider=self._provider.name,
                reference="",
            )
        )
        tell(connection, "charge", charge_id, "", ChargeStatus.CREATED, self._clock.now_ns(), "visit closed")

    def _authorize(self, charge: Charge) -> None:
        self._require_provider(charge)
        try:
            reference = self._provider.authorize(charge)
        except PaymentDeclined as error:
            with writing(self._engine) as connection:
                self._move_charge(connection, charge, ChargeStatus.DECLINED, str(error))
                self._to_review(connection, charge, f"payment declined: {error}")
            return
        with writing(self._engine) as connection:
            self._move_charge(connection, charge, ChargeStatus.AUTHORIZED, "held", reference=reference)

    def _capture(self, charge: Charge) -> None:
        self._require_provider(charge)
        try:
            self._provider.capture(charge)
        except PaymentDeclined as error:
            self._provider.void(charge)
            with writing(self._engine) as connection:
                self._move_charge(connection, charge, ChargeStatus.VOIDED, str(error))
                self._to_review(connection, charge, f"payment declined: {error}")
            return
        with writing(self._engine) as connection:
            clearing, sales = Account("clearing", charge.provider), Account("sales", charge.store)
            sale = ledger.transfer(debit=clearing, credit=sales, amount=charge.amount)
            ledger.post(connection, ledger.sale_id(charge.charge_id), "sale", sale, self._clock.now_ns())
            self._move_charge(connection, charge, ChargeStatus.CAPTURED, "taken")
            self._move_visit(connection, charge.visit_id, VisitStatus.CLOSING, VisitStatus.CAPTURED, "paid")

    def _require_provider(self, charge: Charge) -> None:
        """A charge stays with the provider that was asked first; another one would take the money again."""
        if charge.provider != self._provider.name:
            raise IllegalMove(
                f"charge {charge.charge_id} began with provider {charge.provider!r}, this service runs with"
                f" {self._provider.name!r}; start it with {charge.provider!r} to finish the charge"
            )

    def _to_review(self, connection: sa.Connection, charge: Charge, reason: str) -> None:
        _add_reasons(connection, charge.visit_id, [reason], from_request=False)
        self._move_visit(connection, charge.visit_id, VisitStatus.CLOSING, VisitStatus.REVIEW, reason)

    def _move_visit(
        self,
        connection: sa.Connection,
        visit_id: str,
        old: VisitStatus,
        new: VisitStatus,
        reason: str,
        **values: int | float,
    ) -> None:
        check_move(old, new)
        tell(connection, "visit", visit_id, old, new, self._clock.now_ns(), reason)
        here = sa.and_(visits.c.visit_id == visit_id, visits.c.status == old)
        if connection.execute(visits.update().where(here).values(status=new, **values)).rowcount != 1:
            raise IllegalMove(f"visit {visit_id} is no longer {old}; read it again")

    def _move_charge(
        self, connection: sa.Connection, charge: Charge, new: ChargeStatus, reason: str, **values: str
    ) -> None:
        check_move(charge.status, new)
        tell(connection, "charge", charge.charge_id, charge.status, new, self._clock.now_ns(), reason)
        here = sa.and_(charges.c.charge_id == charge.charge_id, charges.c.status == charge.status)
        if connection.execute(charges.update().where(here).values(status=new, **values)).rowcount != 1:
            raise IllegalMove(f"charge {charge.charge_id} is no longer {charge.status}; read it again")


def _status_after_close(reasons: Sequence[str], total: Money) -> VisitStatus:
    if reasons:
        return VisitStatus.REVIEW
    return VisitStatus.CLOSING if total.minor > 0 else VisitStatus.RELEASED


def _require_same(connection: sa.Connection, visit: Any, closed: VisitClosed) -> None:
    """The call that closed this visit was the same one; probabilities may differ by rounding."""
    before = (visit.closed_ns, visit.expected_events, reasons_of(connection, visit.visit_id, from_request=True))
    same = before == (closed.t_ns, closed.basket_events, tuple(closed.review))
    if not same or not math.isclose(visit.confidence, closed.confidence, abs_tol=SAME_PROBABILITY):
        raise ConflictError(
            f"visit {visit.visit_id} was closed before with other contents: at {before[0]} ns, {before[1]} basket"
            f" events, confidence {visit.confidence}, reasons {list(before[2])}"
        )


def _write_lines(connection: sa.Connection, visit_id: str, priced: PricedBasket) -> None:
    for line in priced.lines:
        connection.execute(
            receipt_lines.insert().values(
                visit_id=visit_id,
                barcode=line.barcode,
                name=line.name,
                quantity=line.quantity,
                unit_minor=None if line.unit is None else line.unit.minor,
                total_minor=None if line.total is None else line.total.minor,
            )
        )


def _add_reasons(connection: sa.Connection, visit_id: str, reasons: Sequence[str], *, from_request: bool) -> None:
    start = len(reasons_of(connection, visit_id))
    for position, reason in enumerate(reasons, start):
        row = {"visit_id": visit_id, "position": position, "reason": reason, "from_request": from_request}
        connection.execute(review_reasons.insert().values(**row))


def _charge_of(engine: sa.Engine, visit_id: str) -> Charge | None:
    query = sa.select(charges).where(charges.c.visit_id == visit_id)
    with reading(engine) as connection:
        row = connection.execute(query).one_or_none()
        if row is None:
            return None
        visit = read_visit(connection, visit_id)
    return Charge(
        row.charge_id,
        visit_id,
        visit.account_id,
        visit.store,
        Money(row.amount_minor, row.currency),
        row.status,
        row.provider,
        row.reference,
    )
