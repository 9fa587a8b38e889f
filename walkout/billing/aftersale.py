"""What happens after a visit was closed: staff corrections, goods that come back, disputes in both directions.

All three are adjustments: lines with a signed quantity and amount beside the receipt, which itself never changes. A
visit in review takes its corrected total for the first time; after the capture an adjustment leads to a refund or to a
further charge of the difference. Rows first: ``settle.Settler.finish`` then moves the money, as often as needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from walkout.billing import ledger
from walkout.billing.catalog import products_of
from walkout.billing.closing import create_charges
from walkout.billing.database import reading, writing
from walkout.billing.moves import Move, move, tell
from walkout.billing.records import (
    LARGEST_MINOR,
    AdjustmentKind,
    Charge,
    ChargeStatus,
    Direction,
    DisputeStatus,
    RefundStatus,
    VisitStatus,
)
from walkout.billing.schema import adjustment_lines, adjustments, charges, disputes, receipt_lines, refunds
from walkout.billing.visits import charge_of_row, charges_query, due_of, require_visit
from walkout.domain.clock import NS_PER_S
from walkout.domain.ids import derived_id
from walkout.domain.money import Money
from walkout.errors import BadRequest, ConflictError, IllegalMove, NotFoundError

#: Why goods come back; ``goodwill`` is for what no other word fits.
REASON_CODES = ("returned", "damaged", "wrong_item", "price_error", "not_taken", "goodwill")
#: Goods come back for this long after the exit, unless the caller says otherwise: the longest period that consumers
#: have by law where we sell (14 days, Directive 2011/83/EU art. 9; Korea: 7 days, E-Commerce Act art. 17).
REFUND_WINDOW_S = 14 * 86_400


@dataclass(frozen=True, slots=True)
class Change:
    """What an adjustment does to one product: signed units, and the signed amount where staff names it themselves."""

    barcode: str
    quantity: int
    amount_minor: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """An adjustment as it was asked for; ``request_id`` makes it happen once."""

    request_id: str
    visit_id: str
    kind: AdjustmentKind
    changes: tuple[Change, ...]
    reason_code: str
    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What the books hold of an adjustment: ``amount`` is signed, negative where the shopper gets money back."""

    adjustment_id: str
    visit_id: str
    kind: AdjustmentKind
    amount: Money
    reason_code: str
    reason: str
    actor: str
    at_ns: int
    lines: tuple[tuple[str, int, Money], ...]


@dataclass(frozen=True, slots=True)
class Refund:
    """Money on its way back from one charge; ``refund_id`` is the idempotency key that the provider gets."""

    refund_id: str
    charge: Charge
    amount: Money
    status: RefundStatus


@dataclass(frozen=True, slots=True)
class Dispute:
    """A contested visit; ``adjustment_id`` is what an accepted one led to."""

    dispute_id: str
    visit_id: str
    direction: Direction
    status: DisputeStatus
    claim: str
    opened_by: str
    opened_ns: int
    adjustment_id: str | None = None


def adjust(engine: sa.Engine, request: Request, provider: str, now_ns: int) -> Adjustment:
    """Write the adjustment down with the charge or the refunds that it makes necessary, once per ``request_id``.

    Raises ``NotFoundError``, ``ConflictError`` for the same id with other contents, ``IllegalMove`` while the visit is
    open or its money on the way, ``BadRequest`` for more units than were bought and for what has no price.
    """
    with writing(engine) as connection:
        return _adjust(connection, request, provider, now_ns)


def refund(
    engine: sa.Engine, request: Request, provider: str, now_ns: int, window_s: float = REFUND_WINDOW_S
) -> Adjustment:
    """Give back what was paid for some units. Raises as ``adjust``, and ``IllegalMove`` after the window."""
    if not request.changes or any(change.quantity >= 0 for change in request.changes):
        raise BadRequest("a refund names the goods that come back, each with a positive number of units")
    if request.reason_code not in REASON_CODES:
        raise BadRequest(f"reason_code: no {request.reason_code!r}; choose one of {', '.join(REASON_CODES)}")
    with writing(engine) as connection:
        visit = require_visit(connection, request.visit_id, lock=True)
        late = visit.closed_ns is not None and now_ns - visit.closed_ns > window_s * NS_PER_S
        if late and _find(connection, request.request_id) is None:
            raise IllegalMove(f"visit {visit.visit_id} ended more than {window_s / 86_400:g} days ago")
        if visit.status != VisitStatus.CAPTURED:
            raise IllegalMove(f"visit {visit.visit_id} is {visit.status}; only what was taken can be given back")
        return _adjust(connection, request, provider, now_ns)


def open_dispute(engine: sa.Engine, dispute: Dispute) -> Dispute:
    """Note that somebody contests a visit, once per id.

    Raises ``NotFoundError``, ``ConflictError`` for the same id with other contents, ``IllegalMove`` while nothing was
    decided about the visit's money.
    """
    with writing(engine) as connection:
        visit = require_visit(connection, dispute.visit_id, lock=True)
        row = connection.execute(sa.select(disputes).where(disputes.c.dispute_id == dispute.dispute_id)).one_or_none()
        if row is not None:
            if (row.visit_id, row.direction, row.claim) != (dispute.visit_id, dispute.direction, dispute.claim):
                raise ConflictError(f"dispute {dispute.dispute_id} was opened before with other contents")
            return get_dispute(connection, dispute.dispute_id)
        if visit.status not in (VisitStatus.CAPTURED, VisitStatus.RELEASED):
            raise IllegalMove(f"visit {visit.visit_id} is {visit.status}; adjust it instead of disputing it")
        connection.execute(
            disputes.insert().values(
                dispute_id=dispute.dispute_id,
                visit_id=dispute.visit_id,
                direction=dispute.direction,
                status=DisputeStatus.OPEN,
                claim=dispute.claim,
                opened_by=dispute.opened_by,
                opened_ns=dispute.opened_ns,
            )
        )
        ids = [dispute.dispute_id]
        tell(connection, "dispute", ids, DisputeStatus.OPEN, dispute.opened_ns, dispute.claim, dispute.opened_by)
        return get_dispute(connection, dispute.dispute_id)


def resolve_dispute(
    engine: sa.Engine,
    dispute_id: str,
    changes: Sequence[Change] | None,
    reason: str,
    actor: str,
    provider: str,
    now_ns: int,
) -> Dispute:
    """Decide a dispute: ``changes`` make it right, None rejects it. The same decision again changes nothing.

    Raises ``NotFoundError``, ``IllegalMove`` where it was decided otherwise, ``BadRequest`` where the changes go
    against the direction of the dispute, and as ``adjust``.
    """
    with writing(engine) as connection:
        dispute = get_dispute(connection, dispute_id)
        require_visit(connection, dispute.visit_id, lock=True)
        dispute = get_dispute(connection, dispute_id)
        wanted = DisputeStatus.REJECTED if changes is None else DisputeStatus.ACCEPTED
        if dispute.status is not DisputeStatus.OPEN and dispute.status is not wanted:
            raise IllegalMove(f"dispute {dispute_id} was {dispute.status} before")
        values: dict[str, str] = {}
        if changes is not None:
            adjustment_id = derived_id("dispute", dispute_id)
            kind = AdjustmentKind.DISPUTE
            request = Request(adjustment_id, dispute.visit_id, kind, tuple(changes), dispute.direction, reason, actor)
            made = _adjust(connection, request, provider, now_ns)
            if (made.amount.minor < 0) != (dispute.direction is Direction.OVERCHARGED) or made.amount.minor == 0:
                raise BadRequest(f"the changes come to {made.amount}, and the dispute says {dispute.direction}")
            values = {"adjustment_id": adjustment_id}
        if dispute.status is DisputeStatus.OPEN:
            moved = [Move(dispute_id, reason, values)]
            move(connection, "dispute", DisputeStatus.OPEN, wanted, moved, now_ns, actor)
        return get_dispute(connection, dispute_id)


def get_dispute(connection: sa.Connection, dispute_id: str) -> Dispute:
    """The dispute as it stands; raises ``NotFoundError``."""
    row = connection.execute(sa.select(disputes).where(disputes.c.dispute_id == dispute_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"no dispute {dispute_id}; open it first")
    return Dispute(
        row.dispute_id,
        row.visit_id,
        Direction(row.direction),
        DisputeStatus(row.status),
        row.claim,
        row.opened_by,
        row.opened_ns,
        row.adjustment_id,
    )


def adjustments_of(engine: sa.Engine, visit_id: str) -> list[Adjustment]:
    """Every adjustment of the visit, oldest first."""
    query = sa.select(adjustments.c.adjustment_id).where(adjustments.c.visit_id == visit_id)
    with reading(engine) as connection:
        ids = connection.execute(query.order_by(adjustments.c.at_ns, adjustments.c.adjustment_id)).scalars().all()
        return [found for found in (_find(connection, one) for one in ids) if found is not None]


def read_refund(connection: sa.Connection, refund_id: str) -> Refund:
    """The refund as it stands, with its charge."""
    row = connection.execute(sa.select(refunds).where(refunds.c.refund_id == refund_id)).one()
    charge = connection.execute(charges_query().where(charges.c.charge_id == row.charge_id)).one()
    amount = Money(row.amount_minor, row.currency)
    return Refund(refund_id, charge_of_row(charge), amount, RefundStatus(row.status))


def record_refund(connection: sa.Connection, done: Refund, new: RefundStatus, word: str, now_ns: int) -> None:
    """Write down what the provider answered; ``word`` is its reference, or why it said no."""
    if new is RefundStatus.REFUNDED:
        ledger.post_all(connection, [ledger.refund_of(done.charge, done.refund_id, done.amount, now_ns)])
    values = {"reference": word} if new is RefundStatus.REFUNDED else {}
    move(connection, "refund", RefundStatus.CREATED, new, [Move(done.refund_id, word, values)], now_ns)


def _adjust(connection: sa.Connection, request: Request, provider: str, now_ns: int) -> Adjustment:
    visit = require_visit(connection, request.visit_id, lock=True)
    known = _find(connection, request.request_id)
    if known is not None:
        _require_same(known, request)
        return known
    if visit.status in (VisitStatus.OPEN, VisitStatus.CLOSING):
        raise IllegalMove(f"visit {visit.visit_id} is {visit.status}; it can be adjusted once its money is settled")
    in_review = visit.status == VisitStatus.REVIEW
    if not request.changes and not in_review:
        raise BadRequest("an adjustment without changes only lets a visit in review go on")
    lines = [_priced(connection, visit, change) for change in request.changes]
    amount = Money(sum(line["amount_minor"] for line in lines), visit.currency)
    due = due_of(connection, visit.visit_id) + amount.minor
    if not 0 <= due <= LARGEST_MINOR:
        raise BadRequest(f"the visit would come to {due} minor units")
    connection.execute(
        adjustments.insert().values(
            adjustment_id=request.request_id,
            visit_id=visit.visit_id,
            currency=visit.currency,
            kind=request.kind,
            before_capture=in_review,
            amount_minor=amount.minor,
            reason_code=request.reason_code,
            reason=request.reason,
            actor=request.actor,
            at_ns=now_ns,
        )
    )
    rows = [{"adjustment_id": request.request_id, "position": n, **line} for n, line in enumerate(lines)]
    if rows:
        connection.execute(adjustment_lines.insert(), rows)
    charge_amount = Money(due, visit.currency) if in_review else amount
    if charge_amount.minor > 0:
        _charge_for(connection, visit, request, charge_amount, provider, now_ns)
    elif not in_review and amount.minor < 0:
        _refund_for(connection, request, -amount, now_ns)
    if in_review:
        new = VisitStatus.CLOSING if due > 0 else VisitStatus.RELEASED
        moved = [Move(visit.visit_id, request.reason)]
        move(connection, "visit", VisitStatus.REVIEW, new, moved, now_ns, request.actor)
    found = _find(connection, request.request_id)
    assert found is not None
    return found


def _charge_for(
    connection: sa.Connection,
    visit: Any,
    request: Request,
    amount: Money,
    provider: str,
    at_ns: int,
) -> None:
    charge_id = derived_id("charge", request.visit_id, request.request_id)
    charge = Charge(
        charge_id,
        request.visit_id,
        visit.account_id,
        visit.store,
        amount,
        ChargeStatus.CREATED,
        provider,
        cause=request.request_id,
    )
    create_charges(connection, [charge], request.reason, at_ns)


def _refund_for(connection: sa.Connection, request: Request, amount: Money, now_ns: int) -> None:
    """Spread the refund over what was captured, the newest charge first."""
    query = charges_query().where(charges.c.visit_id == request.visit_id, charges.c.status == ChargeStatus.CAPTURED)
    taken = [charge_of_row(row) for row in connection.execute(query)]
    given = sa.select(refunds.c.charge_id, sa.func.sum(refunds.c.amount_minor)).where(
        refunds.c.charge_id.in_([charge.charge_id for charge in taken]), refunds.c.status != RefundStatus.DECLINED
    )
    back = {charge_id: int(minor) for charge_id, minor in connection.execute(given.group_by(refunds.c.charge_id))}
    open_minor = amount.minor
    rows: list[dict[str, Any]] = []
    for charge in sorted(taken, key=lambda one: (one.pays_visit, one.charge_id)):
        part = min(open_minor, charge.amount.minor - back.get(charge.charge_id, 0))
        if part > 0:
            open_minor -= part
            refund_id = derived_id("refund", request.request_id, charge.charge_id)
            row = {"refund_id": refund_id, "adjustment_id": request.request_id, "charge_id": charge.charge_id}
            values = {"amount_minor": part, "currency": amount.currency, "status": RefundStatus.CREATED}
            rows.append({**row, **values, "reference": ""})
    if open_minor:
        raise IllegalMove(f"{amount} cannot be given back: {open_minor} minor units of it were not taken yet")
    connection.execute(refunds.insert(), rows)
    tell(connection, "refund", [row["refund_id"] for row in rows], RefundStatus.CREATED, now_ns, request.reason)


def _priced(connection: sa.Connection, visit: Any, change: Change) -> dict[str, Any]:
    """The line that a change makes: by what was paid for such units, by the price list, or as staff named it."""
    name, held, paid = _held(connection, visit.visit_id, change.barcode)
    if change.quantity == 0 or held + change.quantity < 0:
        raise BadRequest(f"{change.barcode}: {change.quantity:+} units, the visit has {held}")
    if change.amount_minor is not None:
        amount = change.amount_minor
        if (amount < 0) != (change.quantity < 0) and amount != 0:
            raise BadRequest(f"{change.barcode}: {change.quantity:+} units cannot come to {amount}")
        if paid + amount < 0:
            raise BadRequest(f"{change.barcode}: {-amount} minor units are more than the {paid} that were charged")
    elif held > 0:
        # The last unit takes what rounding left, so that all units together give back exactly what they cost.
        amount = -paid if held + change.quantity == 0 else paid * change.quantity // held
        if change.quantity < 0:
            amount = max(amount, -paid)
    else:
        product = products_of(connection, visit.store, [change.barcode], visit.closed_ns).get(change.barcode)
        if product is None or product.price is None or product.per_kg:
            raise BadRequest(f"{change.barcode} has no price per unit here; name the amount")
        name, amount = product.name, product.price.minor * change.quantity
    return {"barcode": change.barcode, "name": name, "quantity": change.quantity, "amount_minor": amount}


def _held(connection: sa.Connection, visit_id: str, barcode: str) -> tuple[str, int, int]:
    """Name, units and minor units that the visit stands at for one product, after every adjustment so far."""
    mine = sa.and_(receipt_lines.c.visit_id == visit_id, receipt_lines.c.barcode == barcode)
    line = connection.execute(sa.select(receipt_lines).where(mine)).one_or_none()
    later = sa.select(
        sa.func.coalesce(sa.func.sum(adjustment_lines.c.quantity), 0),
        sa.func.coalesce(sa.func.sum(adjustment_lines.c.amount_minor), 0),
        sa.func.coalesce(sa.func.max(adjustment_lines.c.name), ""),
    ).join(adjustments, adjustments.c.adjustment_id == adjustment_lines.c.adjustment_id)
    here = later.where(adjustments.c.visit_id == visit_id, adjustment_lines.c.barcode == barcode)
    quantity, minor, name = connection.execute(here).one()
    if line is None:
        return name, int(quantity), int(minor)
    return line.name, line.quantity + int(quantity), (line.total_minor or 0) + int(minor)


def _find(connection: sa.Connection, adjustment_id: str) -> Adjustment | None:
    row = connection.execute(sa.select(adjustments).where(adjustments.c.adjustment_id == adjustment_id)).one_or_none()
    if row is None:
        return None
    query = sa.select(adjustment_lines).where(adjustment_lines.c.adjustment_id == adjustment_id)
    rows = connection.execute(query.order_by(adjustment_lines.c.position))
    return Adjustment(
        row.adjustment_id,
        row.visit_id,
        AdjustmentKind(row.kind),
        Money(row.amount_minor, row.currency),
        row.reason_code,
        row.reason,
        row.actor,
        row.at_ns,
        tuple((line.barcode, line.quantity, Money(line.amount_minor, row.currency)) for line in rows),
    )


def _require_same(known: Adjustment, request: Request) -> None:
    before = (known.visit_id, known.kind, known.reason_code, tuple((code, count) for code, count, _ in known.lines))
    asked = tuple((change.barcode, change.quantity) for change in request.changes)
    if before != (request.visit_id, request.kind, request.reason_code, asked):
        raise ConflictError(f"adjustment {request.request_id} is in the books with other contents")
    for (code, _, amount), change in zip(known.lines, request.changes, strict=True):
        if change.amount_minor not in (None, amount.minor):
            raise ConflictError(f"adjustment {request.request_id} has {amount} for {code}, not {change.amount_minor}")
