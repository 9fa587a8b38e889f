"""Moves of single plates to actions of people: what belongs together on one shelf."""

from collections.abc import Callable, Sequence

from walkout.shelf.grid import HOP_S
from walkout.shelf.moves import Move

#: Plates this far apart or nearer can carry one action: a product over several plates, of which one may not have
#: noticed. Two people's hands are farther apart (a plate is 10 cm wide, shoulders 40 cm).
REACH_PLATES = 2
#: Plates under one product move together: half-way moments of real and labelled picks differ by less than this.
TOGETHER_S = 0.3
#: Cross-talk to neighbours reaches 1.8 % of the step (measured), a finger beside the product somewhat more.
_CROSS_TALK = 0.1

#: Goods that settle, packs that slump and cells that creep follow a step slowly and by a few percent of it at most (the
#: cell itself: 0.7 of the permissible error in half an hour, OIML R60, class C3).
_CREEP = 0.02
_CREEP_S = 1.0


def gather(moves: Sequence[Move], position: Callable[[int], int], rate_hz: float) -> list[list[Move]]:
    """Moves of one shelf in groups, one per action, ordered by time. ``position`` numbers the plate of a column."""
    ordered = sorted(moves, key=lambda move: (move.step, move.column))
    group_of = list(range(len(ordered)))
    for i, first in enumerate(ordered):
        for j in range(i + 1, len(ordered)):
            other = ordered[j]
            if abs(position(first.column) - position(other.column)) <= REACH_PLATES and _belong(first, other, rate_hz):
                old, new = group_of[j], group_of[i]
                group_of = [new if g == old else g for g in group_of]
    groups: dict[int, list[Move]] = {}
    for move, group in zip(ordered, group_of, strict=True):
        groups.setdefault(group, []).append(move)
    return list(groups.values())


def _belong(first: Move, other: Move, rate_hz: float) -> bool:
    if first.column == other.column:
        return False
    if abs(first.step - other.step) <= TOGETHER_S * rate_hz:
        return True
    small, large = sorted((first, other), key=lambda move: abs(move.delta_g))
    overlap = min(first.end, other.end) - max(first.start, other.start)
    return overlap > 0 and abs(small.delta_g) <= max(_CROSS_TALK * abs(large.delta_g), 3 * small.sigma_g)


def is_echo(move: Move, told: Move, position: Callable[[int], int], rate_hz: float) -> bool:
    """Whether ``move`` is the aftermath of the step ``told``: late trembling beside it, or its own slow creep."""
    distance = abs(position(move.column) - position(told.column))
    if distance == 0:
        slow = move.end - move.start >= _CREEP_S * rate_hz
        return slow and move.delta_g * told.delta_g > 0 and abs(move.delta_g) <= _CREEP * abs(told.delta_g)
    overlaps = move.start <= told.end + HOP_S * rate_hz and move.end > told.start
    return distance <= REACH_PLATES and overlaps and abs(move.delta_g) <= _CROSS_TALK * abs(told.delta_g)
