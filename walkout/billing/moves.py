"""Status moves as rows: the event first, then the status, several of the same kind at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from walkout.billing.records import Status, check_move
from walkout.billing.schema import charges, disputes, refunds, status_events, visits
from walkout.errors import IllegalMove

#: Who moves what nobody else has moved.
BILLING = "billing"

_KEYS = {
    "visit": visits.c.visit_id,
    "charge": charges.c.charge_id,
    "refund": refunds.c.refund_id,
    "dispute": disputes.c.dispute_id,
}


@dataclass(frozen=True, slots=True)
class Move:
    """One row on its way: which, why, and the other columns that change with its status."""

    subject_id: str
    reason: str
    values: Mapping[str, Any] = field(default_factory=dict)


def tell(
    connection: sa.Connection,
    subject: str,
    ids: Sequence[str],
    new: Status,
    at_ns: int,
    reason: str,
    actor: str = BILLING,
) -> None:
    """Append the events of rows that were just born."""
    _append(connection, subject, "", new, [Move(subject_id, reason) for subject_id in ids], at_ns, actor)


def move(
    connection: sa.Connection,
    subject: str,
    old: Status,
    new: Status,
    moves: Sequence[Move],
    at_ns: int,
    actor: str = BILLING,
) -> None:
    """Move rows from ``old`` to ``new``, all or none; the database wants the events before the statuses.

    Raises ``IllegalMove`` for a move outside the table and for a row that is no longer ``old``.
    """
    if not moves:
        return
    check_move(old, new)
    _append(connection, subject, old, new, moves, at_ns, actor)
    key = _KEYS[subject]
    statement = key.table.update().where(key.table.c.status == old)
    names = sorted(moves[0].values)
    if names:
        changed: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in names}
        rows = [{"the_id": one.subject_id, **{f"new_{name}": one.values[name] for name in names}} for one in moves]
        one_row = statement.where(key == sa.bindparam("the_id")).values(status=new, **changed)
        done = connection.execute(one_row, rows if len(rows) > 1 else rows[0]).rowcount
    else:
        done = connection.execute(
            statement.where(key.in_([one.subject_id for one in moves])).values(status=new)
        ).rowcount
    if done != len(moves):
        raise IllegalMove(f"{subject} {', '.join(one.subject_id for one in moves)}: no longer {old}; read it again")


def _append(
    connection: sa.Connection, subject: str, old: str, new: Status, moves: Sequence[Move], at_ns: int, actor: str
) -> None:
    if not moves:
        return
    alike = {"subject": subject, "old_status": str(old), "new_status": str(new), "at_ns": at_ns, "actor": actor}
    rows = [{**alike, "subject_id": one.subject_id, "reason": one.reason} for one in moves]
    connection.execute(status_events.insert(), rows)
