"""What one store earned on one day, read from the books."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import sqlalchemy as sa

from walkout.billing.catalog import terms_of
from walkout.billing.database import reading
from walkout.billing.records import ChargeStatus, RefundStatus, VisitStatus
from walkout.billing.schema import charges, refunds, status_events, stores, visits
from walkout.domain.clock import NS_PER_S
from walkout.domain.money import Money
from walkout.errors import BadRequest, NotFoundError


@dataclass(frozen=True, slots=True)
class ReportRow:
    """What went through one provider."""

    provider: str
    captures: int
    captured: Money
    refunds: int
    refunded: Money


@dataclass(frozen=True, slots=True)
class SettlementReport:
    """One store, from ``start_ns`` to before ``end_ns``: money by when it moved, visits by when they closed.

    ``outstanding`` was asked for and not taken, whenever that was; the report of a past day never changes but for it
    and ``in_review``.
    """

    currency: str
    start_ns: int
    end_ns: int
    rows: tuple[ReportRow, ...]
    visits: int
    in_review: int
    outstanding: Money

    @property
    def net(self) -> Money:
        """Captured minus refunded."""
        minor = sum(row.captured.minor - row.refunded.minor for row in self.rows)
        return Money(minor, self.currency)


def settlement_report(engine: sa.Engine, store: str, day: str) -> SettlementReport:
    """The report of ``day`` (YYYY-MM-DD, in the time zone of the store's terms, UTC where they name none).

    Raises ``NotFoundError`` for an unknown store, ``BadRequest`` for what is no day.
    """
    with reading(engine) as connection:
        currency = connection.execute(sa.select(stores.c.currency).where(stores.c.store == store)).scalar_one_or_none()
        if currency is None:
            raise NotFoundError(f"no store {store}")
        start_ns, end_ns = _bounds(day, terms_of(connection, store).timezone)
        taken = _moved(connection, store, "charge", ChargeStatus.CAPTURED, (start_ns, end_ns))
        back = _moved(connection, store, "refund", RefundStatus.REFUNDED, (start_ns, end_ns))
        here = sa.and_(visits.c.store == store, visits.c.closed_ns >= start_ns, visits.c.closed_ns < end_ns)
        counted = sa.select(visits.c.status, sa.func.count()).where(here).group_by(visits.c.status)
        closed = {status: int(number) for status, number in connection.execute(counted)}
        waiting = sa.select(sa.func.coalesce(sa.func.sum(charges.c.amount_minor), 0)).join(
            visits, visits.c.visit_id == charges.c.visit_id
        )
        on_the_way = charges.c.status.in_([ChargeStatus.CREATED, ChargeStatus.AUTHORIZED])
        outstanding = connection.execute(waiting.where(visits.c.store == store, on_the_way)).scalar_one()
    nothing = (0, 0)
    rows = tuple(
        ReportRow(
            provider,
            taken.get(provider, nothing)[0],
            Money(taken.get(provider, nothing)[1], currency),
            back.get(provider, nothing)[0],
            Money(back.get(provider, nothing)[1], currency),
        )
        for provider in sorted({*taken, *back})
    )
    in_review = closed.get(VisitStatus.REVIEW, 0)
    total = sum(closed.values())
    return SettlementReport(currency, start_ns, end_ns, rows, total, in_review, Money(int(outstanding), currency))


def _bounds(day: str, timezone: str) -> tuple[int, int]:
    try:
        first = date.fromisoformat(day)
        zone = ZoneInfo(timezone) if timezone else UTC
    except (ValueError, ZoneInfoNotFoundError) as error:
        raise BadRequest(f"day: {day!r} in {timezone or 'UTC'} is no day; write YYYY-MM-DD") from error
    edges = [datetime.combine(first + timedelta(days=days), time(), zone) for days in (0, 1)]
    start_ns, end_ns = (round(edge.timestamp()) * NS_PER_S for edge in edges)
    return start_ns, end_ns


def _moved(
    connection: sa.Connection, store: str, subject: str, status: str, bounds: tuple[int, int]
) -> dict[str, tuple[int, int]]:
    """Number and sum of what reached ``status`` within ``bounds``, by provider."""
    amount = charges.c.amount_minor if subject == "charge" else refunds.c.amount_minor
    query = sa.select(charges.c.provider, sa.func.count(), sa.func.sum(amount)).select_from(charges)
    key = charges.c.charge_id
    if subject == "refund":
        query, key = query.join(refunds, refunds.c.charge_id == charges.c.charge_id), refunds.c.refund_id
    told = sa.and_(
        status_events.c.subject == subject,
        status_events.c.subject_id == key,
        status_events.c.new_status == status,
        status_events.c.at_ns >= bounds[0],
        status_events.c.at_ns < bounds[1],
    )
    query = query.join(status_events, told).join(visits, visits.c.visit_id == charges.c.visit_id)
    rows = connection.execute(query.where(visits.c.store == store).group_by(charges.c.provider))
    return {provider: (int(number), int(minor)) for provider, number, minor in rows}
