"""Persons and items chosen together over the events of a visit.

A hypothesis is one complete story so far: who holds what, what stands where it does not belong, and how probable the
story is. Every weight event multiplies the stories by its explanations and the best ``BEAM`` survive (multiple
hypothesis tracking, Reid 1979). A put-back must come out of somebody's basket, and what was put on a foreign plate
may be taken from there again, so later events correct the reading of earlier ones for free. Nothing is charged
before the exit, so nothing needs to be decided before.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeVar

import numpy as np

from walkout.domain.sensing import PlateId, WeightEvent
from walkout.domain.shopping import Facing, Item, Part, Product
from walkout.fusion.evidence import LOG_RATIO_LIMIT, log_sum
from walkout.fusion.items import (
    OUTLIER_RANGE_G,
    VARIETY_LOG_PRIOR,
    Change,
    ItemHypothesis,
    change_of,
    count_log_prior,
    free_split_log,
    picks,
    stranger_log_likelihood,
)

#: Stories carried from event to event; and how far behind the best one a story may fall (1e-5 relative).
BEAM = 96
PRUNE_LOG = math.log(1e-5)
#: Mass that changes with nobody's hand in it (a shock, a stranger's arm, staff).
NOBODY_LOG_PRIOR = math.log(2e-3)
#: Goods taken by somebody who is no visit of ours: more likely than an arm of three metres, less than a lost hand.
UNKNOWN_LOG_PRIOR = math.log(3e-3)
#: A net change that is no goods at all: a plate knocked askew, creep after a lean.
NOISE_LOG_PRIOR = math.log(2e-3)
NOISE_SIGMA_G = 6.0
#: Two shoppers who take from the same plates within the same second.
TOGETHER_LOG_PRIOR = math.log(0.05)
#: Mass that is no goods of ours comes to rest on a plate: a hand that leans, an own bag, a bottle brought along.
#: Most of it is a press of some hundred grams (exponential), and it leaves as it came, give or take a tremor.
FOREIGN_LOG_PRIOR = math.log(5e-3)
FOREIGN_MEAN_G = 300.0
RELEASE_SIGMA = 0.05
FOREIGN = ""
#: A put-back comes out of another shopper's basket: handed over before.
HANDED_LOG_PRIOR = math.log(0.02)
#: Share of put-backs that go home; the rest spreads over the other shelves of the store.
HOME_SHARE = 0.6
#: Spread of a unit weighed twice by this store's plates, relative: the same unit, so only the sensor.
REWEIGH_SIGMA = 0.012
#: Goods that a shopper put on these plates are as likely to be taken from there as what belongs there.
STRAY_LOG_PRIOR = math.log(0.5)
#: Where one unit of a kind went astray under our eyes, another may have done so before.
UNSEEN_LOG_PRIOR = math.log(0.02)
#: Two or more units put back at once.
PAIR_PUT_LOG_PRIOR = math.log(0.08)


@dataclass(frozen=True, slots=True, order=True)
class Held:
    """One unit in a basket: what it is and what it weighed when it left the shelf (grams)."""

    barcode: str
    grams: float


@dataclass(frozen=True, slots=True, order=True)
class Placed:
    """One unit that a shopper put where the planogram does not expect it."""

    barcode: str
    grams: float
    plates: tuple[PlateId, ...]


@dataclass(frozen=True, slots=True)
class Cause:
    """One explanation of one event: who moved which units. ``sign`` -1 pick, +1 put-back, 0 nothing of ours."""

    sign: int
    parts: tuple[Part, ...]

    @property
    def visits(self) -> tuple[str, ...]:
        """The visits that took part."""
        return tuple(part.visit_id for part in self.parts if part.visit_id is not None)

    def moved_by(self, visit_id: str) -> tuple[Item, ...]:
        """What one visit moved."""
        return next((part.items for part in self.parts if part.visit_id == visit_id), ())


Unit = TypeVar("Unit", Held, Placed)

NOTHING = Cause(0, (Part(None, ()),))


@dataclass(frozen=True, slots=True)
class Link:
    """One event and its cause, and all that came before: stories share their past."""

    event_id: str
    cause: Cause
    before: "Link | None"


@dataclass(frozen=True, slots=True)
class Story:
    """One complete hypothesis: baskets, misplaced goods, causes so far, log weight."""

    baskets: tuple[tuple[str, tuple[Held, ...]], ...] = ()
    misplaced: tuple[Placed, ...] = ()
    causes: Link | None = None
    log_weight: float = 0.0

    def basket(self, visit_id: str) -> tuple[Held, ...]:
        """The units that ``visit_id`` holds in this story."""
        return next((held for visit, held in self.baskets if visit == visit_id), ())

    def cause_of(self, event_id: str) -> Cause | None:
        """How this story explains an event, None where it has not seen it."""
        return self.all_causes().get(event_id)

    def all_causes(self) -> dict[str, Cause]:
        """Every event that this story has seen, newest first, and how it explains it."""
        found: dict[str, Cause] = {}
        link = self.causes
        while link is not None:
            found[link.event_id], link = link.cause, link.before
        return found

    def with_basket(self, visit_id: str, held: tuple[Held, ...]) -> "tuple[tuple[str, tuple[Held, ...]], ...]":
        """``baskets`` with one visit's units replaced, units sorted so that equal baskets compare equal."""
        others = [pair for pair in self.baskets if pair[0] != visit_id]
        ordered = tuple(sorted(held, key=lambda one: (one.barcode, one.grams)))
        return tuple(sorted([*others, (visit_id, ordered)] if held else others))


@dataclass(frozen=True, slots=True, eq=False)
class Clue:
    """One weight event with what the hands say: log ratio per visit (clock offset already marginalised)."""

    event: WeightEvent
    hands: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Shelves:
    """What stands where: catalog, facings per plate, and how many shelves a stray item can end up on."""

    products: Mapping[str, Product]
    by_plate: Mapping[PlateId, Sequence[Facing]]
    stocked: tuple[str, ...]
    shelf_count: int


def tell(stories: Sequence[Story], clue: Clue, shelves: Shelves) -> list[Story]:
    """All stories after one more event, best first, equal ones merged, at most ``BEAM``."""
    change = change_of(clue.event, shelves.by_plate)
    put = clue.event.total_g > 0
    # What the plates alone suggest is the same in every story: scored once.
    options = [] if put else picks(change, shelves.products, shelves.stocked)
    grown: list[Story] = []
    floor = -math.inf  # what falls below would be pruned anyway, so it is not even told
    for story in stories:
        grown.append(_extend(story, clue, NOTHING, _noise_log(change), story.baskets, story.misplaced))
        room = floor - story.log_weight
        if put:
            grown.extend(_explain_put(story, change, clue, shelves, room))
        else:
            grown.extend(_explain_pick(story, change, clue, options, room))
        floor = max(floor, max(one.log_weight for one in grown) + PRUNE_LOG)
    return prune(grown)


def prune(stories: Iterable[Story]) -> list[Story]:
    """Merge stories that hold the same, keep the best ``BEAM`` within ``PRUNE_LOG``, weights relative to the sum."""
    merged: dict[object, tuple[Story, float]] = {}
    for story in stories:
        key = (
            tuple((visit, tuple(one.barcode for one in held)) for visit, held in story.baskets),
            tuple(sorted((one.barcode, one.plates) for one in story.misplaced)),
        )
        old = merged.get(key)
        if old is None:
            merged[key] = (story, story.log_weight)
        else:
            better = old[0] if old[0].log_weight >= story.log_weight else story
            merged[key] = (better, float(np.logaddexp(old[1], story.log_weight)))
    ranked = sorted(
        (replace(story, log_weight=weight) for story, weight in merged.values()),
        key=lambda story: (-story.log_weight, story.baskets, story.misplaced),
    )
    kept = [one for one in ranked[:BEAM] if one.log_weight >= ranked[0].log_weight + PRUNE_LOG]
    total = log_sum(np.array([one.log_weight for one in kept]))
    return [replace(one, log_weight=one.log_weight - total) for one in kept]


def _noise_log(change: Change) -> float:
    """No goods of ours moved: noise of the plate for small changes, nobody's doing for large ones."""
    z = change.total / NOISE_SIGMA_G
    noise = NOISE_LOG_PRIOR - 0.5 * z * z - math.log(NOISE_SIGMA_G * math.sqrt(2 * math.pi))
    nobody = NOBODY_LOG_PRIOR - math.log(OUTLIER_RANGE_G)
    return float(np.logaddexp(noise, nobody)) + free_split_log(change)


def _extend(
    story: Story,
    clue: Clue,
    cause: Cause,
    gain: float,
    baskets: "tuple[tuple[str, tuple[Held, ...]], ...]",
    misplaced: tuple[Placed, ...],
) -> Story:
    """The story with one more cause."""
    return Story(baskets, misplaced, Link(clue.event.event_id, cause, story.causes), story.log_weight + gain)


def _persons(clue: Clue) -> list[tuple[str, float]]:
    """Visits whose hands may have done it, with the log prior of one among so many."""
    share = -math.log(max(len(clue.hands), 1))
    return [(visit, ratio + share) for visit, ratio in sorted(clue.hands.items())]


def _explain_pick(story: Story, change: Change, clue: Clue, base: Sequence[ItemHypothesis], room: float) -> list[Story]:
    """Each likely multiset, taken by each person, or by two of them at once."""
    told = _releases(story, change, clue)
    persons = _persons(clue)
    options: list[tuple[ItemHypothesis, tuple[Placed, ...]]] = [(one, ()) for one in base]
    for strays in _strays_on(story, clue.event):
        options.append((_from_strays(change, strays), strays))
        if len(strays) == 1:
            options.append((_from_strays(change, strays, unseen=1), strays))
    for option, strays in options:
        misplaced = tuple(one for one in story.misplaced if all(one is not stray for stray in strays))
        for visit, ratio in persons:
            if option.log_likelihood + ratio < room:
                continue
            taken = tuple(Held(barcode, grams) for barcode, grams in option.units)
            baskets = story.with_basket(visit, story.basket(visit) + taken)
            cause = Cause(-1, (Part(visit, option.items),))
            told.append(_extend(story, clue, cause, option.log_likelihood + ratio, baskets, misplaced))
        if option.log_likelihood + UNKNOWN_LOG_PRIOR >= room:
            cause = Cause(-1, (Part(None, option.items),))
            gain = option.log_likelihood + UNKNOWN_LOG_PRIOR
            told.append(_extend(story, clue, cause, gain, story.baskets, misplaced))
        if not strays and len(clue.hands) > 1:
            told.extend(_shared_picks(story, clue, option, room))
    return told


def _shared_picks(story: Story, clue: Clue, option: ItemHypothesis, room: float) -> list[Story]:
    """One step that is two hands: the units split between two people who both had a hand in there."""
    units = option.units
    if len(units) < 2:
        return []
    told = []
    log_pair = -math.log(len(clue.hands) * (len(clue.hands) - 1) / 2)
    # The count prior speaks of one person's handful; two people take theirs separately.
    counts = [item.quantity for item in option.items]
    for (one, first), (two, second) in combinations(sorted(clue.hands.items()), 2):
        if first + second < -LOG_RATIO_LIMIT:
            continue
        for cut in range(1, len(units)):
            for mine, theirs in {(units[:cut], units[cut:]), (units[cut:], units[:cut])}:
                parts = (Part(one, _as_items(mine)), Part(two, _as_items(theirs)))
                gain = option.log_likelihood - count_log_prior(counts)
                gain += sum(count_log_prior([item.quantity for item in part.items]) for part in parts)
                gain += first + second + log_pair + TOGETHER_LOG_PRIOR - math.log(2 * (len(units) - 1))
                if gain < room:
                    continue
                held = tuple(Held(barcode, grams) for barcode, grams in mine)
                middle = replace(story, baskets=story.with_basket(one, story.basket(one) + held))
                held = tuple(Held(barcode, grams) for barcode, grams in theirs)
                baskets = middle.with_basket(two, middle.basket(two) + held)
                told.append(_extend(story, clue, Cause(-1, parts), gain, baskets, story.misplaced))
    return told


def _as_items(units: Iterable[tuple[str, float]]) -> tuple[Item, ...]:
    counts: dict[str, int] = {}
    for barcode, _ in units:
        counts[barcode] = counts.get(barcode, 0) + 1
    return tuple(Item(barcode, count) for barcode, count in sorted(counts.items()))


def _strays_on(story: Story, event: WeightEvent) -> list[tuple[Placed, ...]]:
    """Misplaced goods on the plates that moved, singly and in pairs, one of each kind."""
    moved = set(event.plates)
    return _bundles(tuple(one for one in story.misplaced if one.barcode != FOREIGN and moved & set(one.plates)))


def _releases(story: Story, change: Change, clue: Clue) -> list[Story]:
    """What leaned or stood on these plates without being ours is gone again."""
    moved = set(clue.event.plates)
    best = max((ratio for _, ratio in _persons(clue)), default=0.0)
    told = []
    for one in dict.fromkeys(one for one in story.misplaced if one.barcode == FOREIGN and moved & set(one.plates)):
        gain = stranger_log_likelihood(change, one.grams, 1, RELEASE_SIGMA) + STRAY_LOG_PRIOR + max(best, 0.0)
        left = list(story.misplaced)
        left.remove(one)
        told.append(_extend(story, clue, NOTHING, gain, story.baskets, tuple(left)))
    return told


def _from_strays(change: Change, strays: tuple[Placed, ...], unseen: int = 0) -> ItemHypothesis:
    """Somebody takes what somebody had put there: its weight is known from when it was put.

    ``unseen`` more units of the first kind stood there too, since before anybody watched.
    """
    strays = strays + strays[:1] * unseen
    expected = sum(stray.grams for stray in strays)
    items = _as_items((stray.barcode, stray.grams) for stray in strays)
    log_likelihood = stranger_log_likelihood(change, expected, 1, REWEIGH_SIGMA) + STRAY_LOG_PRIOR
    log_likelihood += UNSEEN_LOG_PRIOR * unseen
    log_likelihood += count_log_prior([item.quantity for item in items])
    unit_g = tuple(
        change.total * sum(one.grams for one in strays if one.barcode == item.barcode) / expected / item.quantity
        for item in items
    )
    return ItemHypothesis(items, unit_g, log_likelihood)


def _explain_put(story: Story, change: Change, clue: Clue, shelves: Shelves, room: float) -> list[Story]:
    """Each unit (or two) of every basket, put down by each person; or something nobody took here."""
    told: list[Story] = []
    persons = _persons(clue)
    best = max((ratio for _, ratio in persons), default=0.0)
    for owner, held in story.baskets:
        for units in _bundles(held):
            what = _put_log(change, clue.event, units, shelves)
            if what + best < room:
                continue
            rest = list(held)
            for unit in units:
                rest.remove(unit)
            baskets = story.with_basket(owner, tuple(rest))
            strays = tuple(
                Placed(unit.barcode, change.total / len(units), clue.event.plates)
                for unit in units
                if not _is_home(clue.event, unit.barcode, shelves)
            )
            items = _as_items((unit.barcode, unit.grams) for unit in units)
            for visit, ratio in persons:
                gain = what + ratio + (0.0 if visit == owner else HANDED_LOG_PRIOR)
                # Credited to the basket it came out of; the hand that put it down may be another's.
                cause = Cause(1, (Part(owner, items),))
                told.append(_extend(story, clue, cause, gain, baskets, story.misplaced + strays))
    foreign = FOREIGN_LOG_PRIOR - math.log(FOREIGN_MEAN_G) - change.total / FOREIGN_MEAN_G + free_split_log(change)
    left = (*story.misplaced, Placed(FOREIGN, change.total, clue.event.plates))
    told.append(_extend(story, clue, NOTHING, foreign + max(best, 0.0), story.baskets, left))
    return told


def _bundles(units: tuple[Unit, ...]) -> list[tuple[Unit, ...]]:
    """Single units and pairs that can be told apart by kind."""
    singles: dict[str, tuple[Unit, ...]] = {one.barcode: (one,) for one in units}
    pairs: dict[tuple[str, ...], tuple[Unit, ...]] = {
        tuple(sorted((a.barcode, b.barcode))): (a, b) for a, b in combinations(units, 2)
    }
    return list(singles.values()) + list(pairs.values())


def _put_log(change: Change, event: WeightEvent, units: tuple[Held, ...], shelves: Shelves) -> float:
    """Log likelihood that exactly these units arrived: they were weighed when they left."""
    expected = sum(unit.grams for unit in units)
    log_likelihood = stranger_log_likelihood(change, expected, 1, REWEIGH_SIGMA)
    if len(units) > 1:
        log_likelihood += PAIR_PUT_LOG_PRIOR
        if len({unit.barcode for unit in units}) > 1:
            log_likelihood += VARIETY_LOG_PRIOR
    home = all(_is_home(event, unit.barcode, shelves) for unit in units)
    return log_likelihood + math.log(HOME_SHARE if home else (1.0 - HOME_SHARE) / max(shelves.shelf_count, 1))


def _is_home(event: WeightEvent, barcode: str, shelves: Shelves) -> bool:
    """Whether the planogram expects this product on one of the plates that moved."""
    return any(facing.barcode == barcode for plate in event.plates for facing in shelves.by_plate.get(plate, ()))


Feature = TypeVar("Feature")


def marginal(stories: Sequence[Story], what: Callable[[Story], Feature]) -> dict[Feature, float]:
    """Probability of each value of ``what`` over the stories (their weights sum to one)."""
    totals: dict[Feature, float] = {}
    for story in stories:
        key = what(story)
        totals[key] = totals.get(key, 0.0) + math.exp(story.log_weight)
    return totals
