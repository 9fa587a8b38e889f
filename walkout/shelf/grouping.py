"""Moves of single plates to actions of people: what belongs together on one shelf."""

from collections.abc import Callable, Sequence

from walkout.shelf.grid import HOP_S
from walkout.shelf.moves import Move

#: A product, its trembling and its cross-talk reach this many plates, of which the middle one may not notice. Two
#: people's hands are farther apart: a plate is 10 cm wide, shoulders are 40.
REACH_PLATES = 2
#: Neighbouring plates under one product pass half way within this time of each other (picks by one hand 0.6 s apart
#: must not meet); with a plate between them that noticed nothing, within this much (a rigid pack, one moment).
TOGETHER_S = 0.3
_RIGID_S = 0.1
#: Cross-talk to neighbours reaches 1.8 % of the step (measured), a finger beside the product somewhat more.
_CROSS_TALK = 0.1

#: Goods that settle, packs that slump and cells that creep follow a step slowly and by a few percent of it at most (the
#: cell itself: 0.7 of the permissible error in half an hour, OIML R60, class C3).
_CREEP = 0.02
_CREEP_S = 1.0


def gather(moves: Sequence[Move], place: Callable[[int], int], rate_hz: float) -> list[list[Move]]:
    """Moves of one shelf in groups, one per action, ordered by time. ``place`` numbers the living plates of a shelf."""
    ordered = sorted(moves, key=lambda move: (move.step, move.column))
    group_of = list(range(len(ordered)))
    for i, first in enumerate(ordered):
        for j in range(i + 1, len(ordered)):
            other = ordered[j]
            if _belong(first, other, abs(place(first.column) - place(other.column)), rate_hz):
                old, new = group_of[j], group_of[i]
                group_of = [new if g == old else g for g in group_of]
    groups: dict[int, list[Move]] = {}
    for move, group in zip(ordered, group_of, strict=True):
        groups.setdefault(group, []).append(move)
    return list(groups.values())


def _belong(first: Move, other: Move, distance: int, rate_hz: float) -> bool:
    """Neighbours that step together, or a plate that trembles while another one nearby steps."""
    if distance == 0 or distance > REACH_PLATES:
        return False
    apart = abs(first.step - other.step)
    if apart <= (TOGETHER_S if distance == 1 else _RIGID_S) * rate_hz:
        return True
    small, large = sorted((first, other), key=lambda move: abs(move.delta_g))
    overlap = min(first.end, other.end) - max(first.start, other.start)
    trembles = abs(small.delta_g) <= max(_CROSS_TALK * abs(large.delta_g), 3 * small.sigma_g)
    return trembles and (apart <= TOGETHER_S * rate_hz or overlap > 0)


def is_echo(move: Move, told: Move, place: Callable[[int], int], rate_hz: float) -> bool:
    """Whether ``move`` is the aftermath of the step ``told``: late trembling beside it, or its own slow creep."""
    distance = abs(place(move.column) - place(told.column))
    if distance == 0:
        slow = move.end - move.start >= _CREEP_S * rate_hz
        return slow and move.delta_g * told.delta_g > 0 and abs(move.delta_g) <= _CREEP * abs(told.delta_g)
    overlaps = move.start <= told.end + HOP_S * rate_hz and move.end > told.start
    return distance <= REACH_PLATES and overlaps and abs(move.delta_g) <= _CROSS_TALK * abs(told.delta_g)
