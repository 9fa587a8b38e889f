"""What the database refuses by itself, as triggers of both dialects made from one list.

They belong to the code of today, not to a migration: ``install`` drops what an older version left and makes these.
A refusal reaches Python as ``sqlalchemy.exc.IntegrityError`` with the complaint in its text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from walkout.billing.records import CHARGE_MOVES, DISPUTE_MOVES, REFUND_MOVES, VISIT_MOVES

_FROZEN = (
    "basket_events",
    "receipt_lines",
    "line_reasons",
    "review_reasons",
    "status_events",
    "postings",
    "adjustments",
    "adjustment_lines",
    "coupons",
    "coupon_redemptions",
    "points_moves",
    "payment_splits",
)


@dataclass(frozen=True, slots=True)
class Trigger:
    """Refuses the change ``verb`` of a row of ``table`` where ``condition`` holds, saying ``complaint``.

    ``verb`` is INSERT, DELETE, UPDATE or UPDATE OF columns; ``condition`` is SQL that both dialects read, over NEW
    and OLD.
    """

    name: str
    verb: str
    table: str
    condition: str
    complaint: str


def _frozen(table: str) -> list[Trigger]:
    return [
        Trigger(f"{table}_no_{verb.lower()}", verb, table, "1 = 1", f"{table} are never changed")
        for verb in ("UPDATE", "DELETE")
    ]


def _moves(table: str, subject: str, key: str, moves: Mapping[Any, Sequence[Any]]) -> list[Trigger]:
    """Refuse moves outside the table, and moves whose status event was not written just before."""
    legal = " OR ".join(
        f"(OLD.status = '{old}' AND NEW.status IN ({', '.join(repr(new.value) for new in news)}))"
        for old, news in moves.items()
    )
    last = (
        f"(SELECT old_status || '>' || new_status FROM status_events WHERE subject = '{subject}'"
        f" AND subject_id = NEW.{key} ORDER BY number DESC LIMIT 1)"
    )
    said = f"coalesce({last}, '') <> OLD.status || '>' || NEW.status"
    first = next(iter(moves))
    return [
        Trigger(f"{table}_legal", "UPDATE OF status", table, f"NOT ({legal})", f"illegal move of a {subject}"),
        Trigger(f"{table}_told", "UPDATE OF status", table, said, f"a {subject} moves only with its status event"),
        Trigger(f"{table}_born", "INSERT", table, f"NEW.status <> '{first}'", f"born {first}"),
        Trigger(f"{table}_no_delete", "DELETE", table, "1 = 1", f"{table} are never deleted"),
    ]


_UNBALANCED = (
    "NEW.posted = 1 AND ((SELECT count(*) FROM postings WHERE transaction_id = NEW.transaction_id) < 2 OR EXISTS"
    " (SELECT 1 FROM postings WHERE transaction_id = NEW.transaction_id GROUP BY currency"
    " HAVING sum(amount_minor) <> 0))"
)
_IS_POSTED = "EXISTS (SELECT 1 FROM transactions t WHERE t.transaction_id = NEW.transaction_id AND t.posted = 1)"
_VISIT_NOT_OPEN = "(SELECT status FROM visits WHERE visit_id = NEW.visit_id) <> 'open'"
#: What a transaction brought to sales and tax; a sale credits them, a refund debits them.
_EARNED = (
    "coalesce((SELECT sum(-p.amount_minor) FROM postings p JOIN transactions t ON t.transaction_id = p.transaction_id"
    " WHERE t.transaction_id = {transaction} AND t.posted = 1 AND p.kind IN ('sales', 'tax')"
    " AND p.currency = NEW.currency), 0)"
)
_NOT_SOLD = (
    "NEW.status = 'captured' AND "
    + _EARNED.format(transaction="'charge/' || NEW.charge_id || '/sale'")
    + " <> NEW.amount_minor"
)
_NOT_GIVEN_BACK = (
    "NEW.status = 'refunded' AND "
    + _EARNED.format(transaction="'refund/' || NEW.refund_id || '/sale'")
    + " <> -NEW.amount_minor"
)
#: What the visit comes to before any money moved: its lines and what staff corrected.
_DUE = (
    "(NEW.total_minor + coalesce((SELECT sum(a.amount_minor) FROM adjustments a"
    " WHERE a.visit_id = NEW.visit_id AND a.before_capture), 0))"
)
_NOT_PAID = (
    "NEW.status = 'captured' AND NOT EXISTS (SELECT 1 FROM charges c WHERE c.visit_id = NEW.visit_id"
    f" AND c.status = 'captured' AND c.amount_minor = {_DUE})"
)
_NO_CAUSE = (
    "NEW.cause <> 'visit' AND NOT EXISTS (SELECT 1 FROM adjustments a WHERE a.adjustment_id = NEW.cause"
    " AND a.visit_id = NEW.visit_id AND (a.before_capture OR a.amount_minor = NEW.amount_minor))"
)
_TOO_MUCH_BACK = (
    "NEW.amount_minor + coalesce((SELECT sum(r.amount_minor) FROM refunds r WHERE r.charge_id = NEW.charge_id"
    " AND r.status <> 'declined'), 0) > (SELECT c.amount_minor FROM charges c WHERE c.charge_id = NEW.charge_id)"
    " OR (SELECT c.status FROM charges c WHERE c.charge_id = NEW.charge_id) <> 'captured'"
)
_TOTAL_CHANGED = (
    "OLD.total_minor IS NOT NULL AND (coalesce(NEW.total_minor, -1) <> OLD.total_minor"
    " OR coalesce(NEW.closed_ns, -1) <> OLD.closed_ns OR NEW.account_id <> OLD.account_id"
    " OR NEW.visit_id <> OLD.visit_id)"
)

TRIGGERS = (
    *(trigger for table in _FROZEN for trigger in _frozen(table)),
    *_moves("visits", "visit", "visit_id", VISIT_MOVES),
    *_moves("charges", "charge", "charge_id", CHARGE_MOVES),
    *_moves("refunds", "refund", "refund_id", REFUND_MOVES),
    *_moves("disputes", "dispute", "dispute_id", DISPUTE_MOVES),
    Trigger("basket_events_open", "INSERT", "basket_events", _VISIT_NOT_OPEN, "the visit is closed"),
    Trigger("line_reasons_open", "INSERT", "line_reasons", _VISIT_NOT_OPEN, "the visit is closed"),
    Trigger("receipt_lines_open", "INSERT", "receipt_lines", _VISIT_NOT_OPEN, "the visit is closed"),
    Trigger(
        "charges_amount",
        "UPDATE OF charge_id, visit_id, cause, amount_minor, currency, provider",
        "charges",
        "1 = 1",
        "a charge keeps its amount",
    ),
    Trigger(
        "refunds_amount",
        "UPDATE OF refund_id, adjustment_id, charge_id, amount_minor, currency",
        "refunds",
        "1 = 1",
        "a refund keeps its amount",
    ),
    Trigger("visits_total", "UPDATE", "visits", _TOTAL_CHANGED, "a closed visit keeps its total"),
    Trigger("charges_cause", "INSERT", "charges", _NO_CAUSE, "a further charge needs its adjustment"),
    Trigger("charges_sold", "UPDATE OF status", "charges", _NOT_SOLD, "a captured charge needs its sale"),
    Trigger("visits_paid", "UPDATE OF status", "visits", _NOT_PAID, "a captured visit needs its charge"),
    Trigger("refunds_covered", "INSERT", "refunds", _TOO_MUCH_BACK, "more would be refunded than was captured"),
    Trigger("refunds_posted", "UPDATE OF status", "refunds", _NOT_GIVEN_BACK, "a refund needs its postings"),
    Trigger("transactions_born", "INSERT", "transactions", "NEW.posted <> 0", "born unposted"),
    Trigger("transactions_kept", "UPDATE", "transactions", "OLD.posted = 1", "posted stays as it is"),
    Trigger("transactions_no_delete", "DELETE", "transactions", "1 = 1", "transactions are never deleted"),
    Trigger("transactions_balance", "UPDATE", "transactions", _UNBALANCED, "postings do not sum to zero"),
    Trigger("postings_late", "INSERT", "postings", _IS_POSTED, "already posted"),
)


def install(connection: sa.Connection) -> None:
    """Make the triggers of this version, in place of any that were there."""
    drop(connection)
    for trigger in TRIGGERS:
        for statement in in_dialect(connection, trigger):
            connection.exec_driver_sql(statement)


def in_dialect(connection: sa.Connection, trigger: Trigger) -> list[str]:
    """The statements that make ``trigger`` in this database."""
    return _sqlite(trigger) if connection.dialect.name == "sqlite" else _postgresql(trigger)


def drop(connection: sa.Connection) -> None:
    """Remove every trigger, ours or an older version's; only migrations may want this."""
    for name, table in names(connection).items():
        where = "" if connection.dialect.name == "sqlite" else f' ON "{table}"'
        connection.exec_driver_sql(f'DROP TRIGGER "{name}"{where}')


def names(connection: sa.Connection) -> dict[str, str]:
    """The triggers that the database holds: name -> table."""
    query = "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger'"
    if connection.dialect.name == "postgresql":
        query = (
            "SELECT t.tgname, c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
            " WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace"
        )
    return {row[0]: row[1] for row in connection.exec_driver_sql(query)}


def _sqlite(trigger: Trigger) -> list[str]:
    return [
        f"CREATE TRIGGER {trigger.name} BEFORE {trigger.verb} ON {trigger.table} WHEN {trigger.condition}"
        f" BEGIN SELECT RAISE(ABORT, '{trigger.complaint}'); END"
    ]


def _postgresql(trigger: Trigger) -> list[str]:
    """A function and its trigger; what may not be deleted may not be truncated either."""
    row = "OLD" if trigger.verb == "DELETE" else "NEW"
    refuse = f"RAISE EXCEPTION '{trigger.complaint}' USING ERRCODE = 'check_violation'"
    function = f"CREATE OR REPLACE FUNCTION refuse_{trigger.name}() RETURNS trigger LANGUAGE plpgsql AS"
    made = [
        f"{function} $$ BEGIN IF {trigger.condition} THEN {refuse}; END IF; RETURN {row}; END $$",
        f"CREATE TRIGGER {trigger.name} BEFORE {trigger.verb} ON {trigger.table}"
        f" FOR EACH ROW EXECUTE FUNCTION refuse_{trigger.name}()",
    ]
    if trigger.verb == "DELETE":
        made.append(
            f"CREATE TRIGGER {trigger.name}_all BEFORE TRUNCATE ON {trigger.table}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION refuse_{trigger.name}()"
        )
    return made
