"""Visits and their basket events as billing keeps them: opened, added to, read back, never charged here."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from walkout.billing.catalog import ensure_store, terms_of
from walkout.billing.database import insert_new, reading, writing
from walkout.billing.lines import read_lines
from walkout.billing.moves import tell
from walkout.billing.records import (
    BilledVisit,
    Charge,
    ChargeStatus,
    Payment,
    Receipt,
    RefundStatus,
    VisitStatus,
)
from walkout.billing.schema import (
    adjustments,
    basket_events,
    charges,
    refunds,
    review_reasons,
    status_events,
    visits,
)
from walkout.domain.money import Money
from walkout.domain.shopping import Basket, BasketEvent, fold_basket
from walkout.errors import ConflictError, IllegalMove, NotFoundError

#: A rebuilt worker may add the same probabilities in another order; rounding then differs in the last digits of a
#: double (2**-52), never by as much as this. Everything else of a repeated event must be equal.
SAME_PROBABILITY = 1e-9


def open_visit(
    engine: sa.Engine, visit_id: str, store: str, account_id: str, currency: str, entered_ns: int, now_ns: int
) -> BilledVisit:
    """Begin a visit, once; raises ``ConflictError`` for the same id with other contents or a foreign currency."""
    wanted = {"store": store, "account_id": account_id, "currency": currency, "entered_ns": entered_ns}
    with writing(engine) as connection:
        ensure_store(connection, store, currency)
        if insert_new(connection, visits, [{"visit_id": visit_id, "status": VisitStatus.OPEN, **wanted}]):
            tell(connection, "visit", [visit_id], VisitStatus.OPEN, now_ns, "entered")
        else:
            row = require_visit(connection, visit_id)
            if any(row._mapping[name] != value for name, value in wanted.items()):
                raise ConflictError(f"visit {visit_id} was opened before with other contents: {dict(row._mapping)}")
        return read_visit(connection, visit_id)


def append_events(engine: sa.Engine, events: Sequence[BasketEvent]) -> int:
    """Add basket events of any visits in any order, all or none; how many of them were new.

    Raises ``NotFoundError`` for an unknown visit, ``ConflictError`` for a known id with other contents and
    ``IllegalMove`` for a new event of a visit that is closed.
    """
    distinct = _distinct(events)
    with writing(engine) as connection:
        found = {row.visit_id: row for row in lock_visits(connection, {event.visit_id for event in distinct})}
        known = _known_events(connection, distinct)
        fresh = [event for event in distinct if event.event_id not in known]
        for event in distinct:
            if event.event_id in known and not _same_event(known[event.event_id], event):
                raise ConflictError(
                    f"basket event {event.event_id} is known with other contents: {known[event.event_id]}"
                )
        for event in fresh:
            _require_open(found.get(event.visit_id), event)
        if fresh:
            connection.execute(basket_events.insert(), [_row(event) for event in fresh])
    return len(fresh)


def _distinct(events: Sequence[BasketEvent]) -> list[BasketEvent]:
    """Each event once; raises ``ConflictError`` where one id stands for two."""
    seen: dict[str, BasketEvent] = {}
    for event in events:
        if not _same_event(seen.setdefault(event.event_id, event), event):
            raise ConflictError(f"basket event {event.event_id} is known with other contents: {seen[event.event_id]}")
    return list(seen.values())


def _known_events(connection: sa.Connection, events: Sequence[BasketEvent]) -> dict[str, BasketEvent]:
    ids = [event.event_id for event in events]
    rows = connection.execute(sa.select(basket_events).where(basket_events.c.event_id.in_(ids)))
    return {row.event_id: _event(row) for row in rows}


def _require_open(visit: Any, event: BasketEvent) -> None:
    if visit is None:
        raise NotFoundError(f"no visit {event.visit_id}; open it first")
    if visit.status != VisitStatus.OPEN:
        raise IllegalMove(
            f"visit {event.visit_id} is {visit.status}; basket event {event.event_id} came after it was closed"
        )


def _row(event: BasketEvent) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "visit_id": event.visit_id,
        "t_ns": event.t_ns,
        "kind": event.kind,
        "barcode": event.barcode,
        "quantity": event.quantity,
        "probability": event.probability,
        "weight_event_id": event.weight_event_id,
        "grams": event.grams,
    }


def _same_event(one: BasketEvent, other: BasketEvent) -> bool:
    return _key(one) == _key(other) and math.isclose(one.probability, other.probability, abs_tol=SAME_PROBABILITY)


def _key(event: BasketEvent) -> tuple[str, int, str, str, int, str, int]:
    """All of an event that must be equal when it comes again."""
    return (event.visit_id, event.t_ns, event.kind, event.barcode, event.quantity, event.weight_event_id, event.grams)


def _event(row: Any) -> BasketEvent:
    return BasketEvent(
        row.event_id,
        row.visit_id,
        row.t_ns,
        row.kind,
        row.barcode,
        row.quantity,
        row.probability,
        row.weight_event_id,
        row.grams,
    )


def events_of(connection: sa.Connection, visit_ids: Sequence[str]) -> dict[str, list[BasketEvent]]:
    """Every basket event of these visits that has arrived, by visit and time."""
    found: dict[str, list[BasketEvent]] = {}
    if visit_ids:
        query = sa.select(basket_events).where(basket_events.c.visit_id.in_(visit_ids))
        for row in connection.execute(query.order_by(basket_events.c.t_ns, basket_events.c.event_id)):
            found.setdefault(row.visit_id, []).append(_event(row))
    return found


def basket_of(connection: sa.Connection, visit_id: str) -> tuple[BilledVisit, Basket]:
    """The visit and what is in its basket now; raises ``NotFoundError``."""
    visit = read_visit(connection, visit_id)
    return visit, fold_basket(visit_id, events_of(connection, [visit_id]).get(visit_id, []))


def get_visit(engine: sa.Engine, visit_id: str) -> BilledVisit:
    """The visit as it stands; raises ``NotFoundError``."""
    with reading(engine) as connection:
        return read_visit(connection, visit_id)


def list_visits(engine: sa.Engine, store: str = "", status: VisitStatus | None = None) -> list[BilledVisit]:
    """Visits by time of entry; an empty ``store`` and no ``status`` match all."""
    query = sa.select(visits.c.visit_id).order_by(visits.c.entered_ns, visits.c.visit_id)
    if store:
        query = query.where(visits.c.store == store)
    if status is not None:
        query = query.where(visits.c.status == status)
    with reading(engine) as connection:
        return [read_visit(connection, visit_id) for visit_id in connection.execute(query).scalars().all()]


def get_receipt(engine: sa.Engine, visit_id: str) -> Receipt:
    """The receipt of a settled visit; raises ``NotFoundError`` before that."""
    with reading(engine) as connection:
        row = require_visit(connection, visit_id)
        visit = read_visit(connection, visit_id)
        if visit.status in (VisitStatus.OPEN, VisitStatus.CLOSING):
            raise NotFoundError(f"visit {visit_id} is {visit.status}; its receipt comes when it is settled")
        lines = read_lines(connection, visit_id, visit.currency)
        paid = payments_of(connection, visit_id)
        terms = terms_of(connection, visit.store)
        due = due_of(connection, visit_id)
    total = Money(due, visit.currency)
    return Receipt(visit, lines, total, row.confidence, paid, terms)


def due_of(connection: sa.Connection, visit_id: str) -> int:
    """What the visit comes to in minor units: the total of its lines and every adjustment since."""
    changed = sa.select(sa.func.coalesce(sa.func.sum(adjustments.c.amount_minor), 0))
    later = connection.execute(changed.where(adjustments.c.visit_id == visit_id)).scalar_one()
    total = connection.execute(sa.select(visits.c.total_minor).where(visits.c.visit_id == visit_id)).scalar_one()
    return int(total or 0) + int(later)


def payments_of(connection: sa.Connection, visit_id: str) -> tuple[Payment, ...]:
    """What was taken for the visit and given back, oldest first."""
    taken = sa.select(
        charges.c.provider,
        charges.c.amount_minor,
        charges.c.currency,
        charges.c.reference,
        status_events.c.at_ns,
        status_events.c.number,
    ).join(
        status_events,
        sa.and_(status_events.c.subject == "charge", status_events.c.subject_id == charges.c.charge_id),
    )
    back = (
        sa.select(
            charges.c.provider,
            -refunds.c.amount_minor,
            charges.c.currency,
            refunds.c.reference,
            status_events.c.at_ns,
            status_events.c.number,
        )
        .join(charges, charges.c.charge_id == refunds.c.charge_id)
        .join(
            status_events,
            sa.and_(status_events.c.subject == "refund", status_events.c.subject_id == refunds.c.refund_id),
        )
    )
    mine = charges.c.visit_id == visit_id
    both = sa.union_all(
        taken.where(mine, status_events.c.new_status == ChargeStatus.CAPTURED),
        back.where(mine, status_events.c.new_status == RefundStatus.REFUNDED),
    )
    rows = sorted(connection.execute(both).all(), key=lambda row: row[5])
    return tuple(Payment(row[0], Money(row[1], row[2]), row[3], row[4]) for row in rows)


def lock_visits(connection: sa.Connection, visit_ids: Iterable[str]) -> Sequence[Any]:
    """The rows of those visits that exist, locked until the transaction ends; one order, so nobody waits in a ring."""
    query = sa.select(visits).where(visits.c.visit_id.in_(sorted(visit_ids))).order_by(visits.c.visit_id)
    return connection.execute(query.with_for_update()).all()


def require_visit(connection: sa.Connection, visit_id: str, *, lock: bool = False) -> Any:
    """The visit's row, with ``lock`` kept as it is until the transaction ends; raises ``NotFoundError``."""
    query = sa.select(visits).where(visits.c.visit_id == visit_id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFoundError(f"no visit {visit_id}; open it first")
    return row


def reasons_of(connection: sa.Connection, visit_id: str, *, from_request: bool | None = None) -> tuple[str, ...]:
    """Why a person should look, oldest first; with ``from_request`` only those that closed the visit (or not)."""
    query = sa.select(review_reasons.c.reason).where(review_reasons.c.visit_id == visit_id)
    if from_request is not None:
        query = query.where(review_reasons.c.from_request == from_request)
    return tuple(connection.execute(query.order_by(review_reasons.c.position)).scalars())


def read_visit(connection: sa.Connection, visit_id: str) -> BilledVisit:
    """The visit as it stands; raises ``NotFoundError``."""
    row = require_visit(connection, visit_id)
    number = sa.select(sa.func.count()).select_from(basket_events).where(basket_events.c.visit_id == visit_id)
    return BilledVisit(
        row.visit_id,
        row.store,
        row.account_id,
        row.currency,
        row.entered_ns,
        row.closed_ns,
        row.status,
        connection.execute(number).scalar_one(),
        reasons_of(connection, visit_id),
    )


def add_reasons(connection: sa.Connection, visit_id: str, reasons: Sequence[str], *, from_request: bool) -> None:
    """Further reasons why a person should look, after those there are."""
    start = len(reasons_of(connection, visit_id))
    for position, reason in enumerate(reasons, start):
        row = {"visit_id": visit_id, "position": position, "reason": reason, "from_request": from_request}
        connection.execute(review_reasons.insert().values(**row))


def charges_query() -> "sa.Select[Any]":
    """Charges with what their records want of visits and adjustments."""
    pays_visit = sa.or_(charges.c.cause == "visit", adjustments.c.before_capture)
    return (
        sa.select(charges, visits.c.account_id, visits.c.store, pays_visit.label("pays_visit"))
        .join(visits, visits.c.visit_id == charges.c.visit_id)
        .outerjoin(adjustments, adjustments.c.adjustment_id == charges.c.cause)
    )


def charge_of_row(row: Any) -> Charge:
    """A charge from a row of ``charges_query``."""
    return Charge(
        row.charge_id,
        row.visit_id,
        row.account_id,
        row.store,
        Money(row.amount_minor, row.currency),
        ChargeStatus(row.status),
        row.provider,
        row.reference,
        cause=row.cause,
        attempts=row.attempts,
        pays_visit=row.pays_visit,
    )


def charge_of(connection: sa.Connection, visit_id: str) -> Charge | None:
    """The charge that is on its way for the visit's own total, None where there is none."""
    on_the_way = charges.c.status.in_([ChargeStatus.CREATED, ChargeStatus.AUTHORIZED])
    rows = connection.execute(charges_query().where(charges.c.visit_id == visit_id, on_the_way)).all()
    found = [charge_of_row(row) for row in rows]
    return next((charge for charge in found if charge.pays_visit), None)
