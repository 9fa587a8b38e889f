"""Everything about closing a visit that is decided without the provider: basket, price, doubts, the charge row."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from walkout.billing.accounts import account_terms, redeem
from walkout.billing.catalog import Offer, offer_of, terms_of
from walkout.billing.lines import write_lines
from walkout.billing.moves import Move, move, tell
from walkout.billing.pricing import PricedBasket, price_basket
from walkout.billing.promotions import AccountTerms
from walkout.billing.records import BilledVisit, Charge, ChargeStatus, VisitStatus
from walkout.billing.schema import charges, review_reasons
from walkout.billing.visits import SAME_PROBABILITY, charge_of, events_of, lock_visits, read_visit, reasons_of
from walkout.domain.ids import derived_id
from walkout.domain.money import Money
from walkout.domain.selling import StoreTerms
from walkout.domain.shopping import BasketEvent, VisitClosed, fold_basket
from walkout.errors import ConflictError, EventsMissing, NotFoundError

VISIT_CAUSE = "visit"


@dataclass(frozen=True, slots=True)
class Closed:
    """A visit after its closing, and the charge that is on its way for it, if any."""

    visit: BilledVisit
    charge: Charge | None


@dataclass(frozen=True, slots=True)
class _Plan:
    """What closing one visit is going to write."""

    row: Any
    closed: VisitClosed
    number: int
    priced: PricedBasket
    doubts: tuple[str, ...]
    status: VisitStatus


def close_visits(
    connection: sa.Connection, closes: Sequence[VisitClosed], provider: str, now_ns: int
) -> list[Closed | Exception]:
    """Close several visits in this transaction; what is wrong with one (``NotFoundError``, ``EventsMissing``,
    ``ConflictError``) is its answer and leaves the others alone. A visit that is closed already is told as it is.
    """
    rows = {row.visit_id: row for row in lock_visits(connection, {closed.visit_id for closed in closes})}
    opened = [row.visit_id for row in rows.values() if row.status == VisitStatus.OPEN]
    events = events_of(connection, opened)
    offers = _offers(connection, [row for row in rows.values() if row.status == VisitStatus.OPEN], events)
    accounts = account_terms(connection, {(row.account_id, row.currency) for row in rows.values()})
    answers: dict[int, Closed | Exception] = {}
    plans: dict[str, _Plan] = {}
    again: list[int] = []
    for index, closed in enumerate(closes):
        row = rows.get(closed.visit_id)
        if row is None:
            answers[index] = NotFoundError(f"no visit {closed.visit_id}; open it first")
        elif row.status != VisitStatus.OPEN or closed.visit_id in plans:
            again.append(index)
        elif len(mine := events.get(closed.visit_id, [])) < closed.basket_events:
            answers[index] = EventsMissing(
                f"visit {closed.visit_id}: {len(mine)} of {closed.basket_events} basket events have arrived;"
                " append the others and close again"
            )
        else:
            account = accounts[row.account_id, row.currency]
            plans[closed.visit_id] = plan = _plan(offers[row.store], row, closed, mine, account)
            # The next visit of this account in the same transaction cannot use them again.
            unused = tuple(coupon for coupon in account.coupons if coupon.coupon_id not in plan.priced.coupons)
            accounts[row.account_id, row.currency] = replace(account, coupons=unused)
    made = _write(connection, list(plans.values()), provider, now_ns)
    for index, closed in enumerate(closes):
        if index not in answers and index not in again:
            answers[index] = made[closed.visit_id]
    for index in again:
        answers[index] = _known(connection, closes[index])
    return [answers[index] for index in range(len(closes))]


def _offers(
    connection: sa.Connection, rows: Sequence[Any], events: Mapping[str, Sequence[BasketEvent]]
) -> dict[str, tuple[Offer, StoreTerms]]:
    """What each store sells and on what terms, read once for all its visits."""
    codes: dict[str, set[str]] = {row.store: set() for row in rows}
    for row in rows:
        codes[row.store].update(event.barcode for event in events.get(row.visit_id, ()))
    return {
        store: (offer_of(connection, store, wanted), terms_of(connection, store)) for store, wanted in codes.items()
    }


def _plan(
    offered: tuple[Offer, StoreTerms],
    row: Any,
    closed: VisitClosed,
    events: Sequence[BasketEvent],
    account: AccountTerms,
) -> _Plan:
    offer, terms = offered
    basket = fold_basket(closed.visit_id, events)
    products = offer.products([barcode for barcode, _ in basket.lines], closed.t_ns)
    priced = price_basket(basket, products, row.currency, terms, account, closed.t_ns)
    doubts = list(priced.doubts)
    if len(events) > closed.basket_events:
        doubts.append(f"{len(events)} basket events arrived, {closed.basket_events} were announced")
    status = _status_after_close([*closed.review, *doubts], priced.total)
    return _Plan(row, closed, len(events), priced, tuple(doubts), status)


def _status_after_close(reasons: Sequence[str], total: Money) -> VisitStatus:
    if reasons:
        return VisitStatus.REVIEW
    return VisitStatus.CLOSING if total.minor > 0 else VisitStatus.RELEASED


def _write(connection: sa.Connection, plans: Sequence[_Plan], provider: str, now_ns: int) -> Mapping[str, Closed]:
    """One statement per table, however many visits there are."""
    write_lines(connection, {plan.closed.visit_id: plan.priced.lines for plan in plans})
    reasons = [
        {"visit_id": plan.closed.visit_id, "position": position, "reason": reason, "from_request": from_request}
        for plan in plans
        for position, (reason, from_request) in enumerate(
            [*((reason, True) for reason in plan.closed.review), *((doubt, False) for doubt in plan.doubts)]
        )
    ]
    if reasons:
        connection.execute(review_reasons.insert(), reasons)
    due = [plan for plan in plans if plan.status is VisitStatus.CLOSING]
    made = {plan.closed.visit_id: _charge(plan, provider) for plan in due}
    create_charges(connection, list(made.values()), "visit closed", now_ns)
    for plan in plans:
        earned = plan.priced.points_earned if plan.status is VisitStatus.CLOSING else 0
        used = replace(plan.priced, points_earned=earned)
        redeem(connection, plan.row.account_id, plan.closed.visit_id, used, now_ns)
    for status in sorted({plan.status for plan in plans}):
        moved = [Move(plan.closed.visit_id, "closed", _closed_values(plan)) for plan in plans if plan.status is status]
        move(connection, "visit", VisitStatus.OPEN, status, moved, now_ns)
    return {plan.closed.visit_id: Closed(_visit(plan), made.get(plan.closed.visit_id)) for plan in plans}


def create_charges(connection: sa.Connection, made: Sequence[Charge], reason: str, now_ns: int) -> None:
    """Write down what is going to be taken, before anybody is asked for it."""
    if not made:
        return
    rows = [
        {
            "charge_id": charge.charge_id,
            "visit_id": charge.visit_id,
            "cause": charge.cause,
            "amount_minor": charge.amount.minor,
            "currency": charge.amount.currency,
            "status": ChargeStatus.CREATED,
            "provider": charge.provider,
            "reference": "",
        }
        for charge in made
    ]
    connection.execute(charges.insert(), rows)
    tell(connection, "charge", [charge.charge_id for charge in made], ChargeStatus.CREATED, now_ns, reason)


def _closed_values(plan: _Plan) -> dict[str, int | float]:
    return {
        "closed_ns": plan.closed.t_ns,
        "expected_events": plan.closed.basket_events,
        "confidence": plan.closed.confidence,
        "total_minor": plan.priced.total.minor,
    }


def _charge(plan: _Plan, provider: str) -> Charge:
    visit_id = plan.closed.visit_id
    return Charge(
        derived_id("charge", visit_id),
        visit_id,
        plan.row.account_id,
        plan.row.store,
        plan.priced.total,
        ChargeStatus.CREATED,
        provider,
    )


def _visit(plan: _Plan) -> BilledVisit:
    row, closed = plan.row, plan.closed
    reasons = (*closed.review, *plan.doubts)
    return BilledVisit(
        row.visit_id,
        row.store,
        row.account_id,
        row.currency,
        row.entered_ns,
        closed.t_ns,
        plan.status,
        plan.number,
        reasons,
    )


def _known(connection: sa.Connection, closed: VisitClosed) -> Closed | Exception:
    """The call that closed this visit was the same one; probabilities may differ by rounding."""
    row = lock_visits(connection, [closed.visit_id])[0]
    before = (row.closed_ns, row.expected_events, reasons_of(connection, closed.visit_id, from_request=True))
    same = before == (closed.t_ns, closed.basket_events, tuple(closed.review))
    if not same or not math.isclose(row.confidence, closed.confidence, abs_tol=SAME_PROBABILITY):
        return ConflictError(
            f"visit {closed.visit_id} was closed before with other contents: at {before[0]} ns, {before[1]} basket"
            f" events, confidence {row.confidence}, reasons {list(before[2])}"
        )
    return Closed(read_visit(connection, closed.visit_id), charge_of(connection, closed.visit_id))
