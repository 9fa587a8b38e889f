"""Receipt lines as rows: written once when the visit closes, read back as they were."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from walkout.billing.records import Line, LineTax, Reason
from walkout.billing.schema import line_reasons, receipt_lines
from walkout.domain.money import Money


def write_lines(connection: sa.Connection, lines: Mapping[str, Sequence[Line]]) -> None:
    """Write the lines of visits that are still open, by visit, and why they cost what they cost."""
    rows = [_row(visit_id, line) for visit_id, mine in lines.items() for line in mine]
    if rows:
        connection.execute(receipt_lines.insert(), rows)
    reasons = [row for visit_id, mine in lines.items() for line in mine for row in _reason_rows(visit_id, line)]
    if reasons:
        connection.execute(line_reasons.insert(), reasons)


def _row(visit_id: str, line: Line) -> dict[str, Any]:
    return {
        "visit_id": visit_id,
        "barcode": line.barcode,
        "name": line.name,
        "quantity": line.quantity,
        "unit_minor": _minor(line.unit),
        "total_minor": _minor(line.total),
        "grams": line.grams,
        # A line that nobody priced otherwise was listed at what it costs.
        "listed_minor": _minor(line.total if line.listed is None else line.listed),
        "tax_class": "" if line.tax is None else line.tax.name,
        "tax_rate": "0" if line.tax is None else str(line.tax.rate),
        "tax_included": True if line.tax is None else line.tax.included,
        "tax_minor": None if line.tax is None else line.tax.amount.minor,
    }


def _reason_rows(visit_id: str, line: Line) -> list[dict[str, Any]]:
    return [
        {
            "visit_id": visit_id,
            "barcode": line.barcode,
            "position": position,
            "code": reason.code,
            "source": reason.source,
            "label": reason.label,
            "amount_minor": reason.amount.minor,
        }
        for position, reason in enumerate(line.reasons)
    ]


def read_lines(connection: sa.Connection, visit_id: str, currency: str) -> tuple[Line, ...]:
    """The lines of a visit, by barcode."""
    reasons: dict[str, list[Reason]] = {}
    query = sa.select(line_reasons).where(line_reasons.c.visit_id == visit_id)
    for row in connection.execute(query.order_by(line_reasons.c.barcode, line_reasons.c.position)):
        reason = Reason(row.code, row.source, row.label, Money(row.amount_minor, currency))
        reasons.setdefault(row.barcode, []).append(reason)
    mine = sa.select(receipt_lines).where(receipt_lines.c.visit_id == visit_id).order_by(receipt_lines.c.barcode)
    return tuple(_line(row, currency, tuple(reasons.get(row.barcode, ()))) for row in connection.execute(mine))


def _line(row: Any, currency: str, reasons: tuple[Reason, ...]) -> Line:
    tax = None
    if row.tax_minor is not None:
        tax = LineTax(row.tax_class, Fraction(row.tax_rate), row.tax_included, Money(row.tax_minor, currency))
    return Line(
        row.barcode,
        row.name,
        row.quantity,
        _money(row.unit_minor, currency),
        _money(row.total_minor, currency),
        row.grams,
        _money(row.listed_minor, currency),
        reasons,
        tax,
    )


def _minor(amount: Money | None) -> int | None:
    return None if amount is None else amount.minor


def _money(minor: int | None, currency: str) -> Money | None:
    return None if minor is None else Money(minor, currency)
