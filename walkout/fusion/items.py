"""Grams and facings to item hypotheses: which multisets of products explain a change of these plates, and how well.

All hypotheses of one event are scored on the same numbers, the change summed per facing (and over the plates that
belong to no facing), so that one product, two products and a stranger to the shelf can be compared. Without the
count and variety penalty "n times the same light thing" explains every mass.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from walkout.domain.sensing import PlateId, WeightEvent
from walkout.domain.shopping import Facing, Item, Product

#: Relative spread of a unit's true weight about its label. Legal tolerances for prepackages are 1.5-9 % (directive
#: 76/211/EEC, a limit at about two sigma); lots differ from the label together, so it does not shrink with the count.
PACK_SIGMA = 0.03
#: Share of goods whose label is simply off by more, and by how much.
PACK_TAIL = 0.1
PACK_TAIL_SIGMA = 0.10
#: Grams that a level can move without goods: settling, creep, a neighbour's cross-talk of up to 1.8 % of the step.
SETTLE_SIGMA_G = 1.5
CROSSTALK = 0.018
#: A density for "some other mass": as likely as anything up to two kilograms, with this weight.
OUTLIER = 0.005
OUTLIER_RANGE_G = 2000.0
#: log P(count) of units moved at once, and the price of each further distinct product.
COUNT_LOG_PRIOR = tuple(math.log(p) for p in (0.85, 0.11, 0.03, 0.007, 0.002, 0.001))
VARIETY_LOG_PRIOR = -1.5
#: Share of goods that stand where the planogram does not put them, before any put-back told us so.
MISPLACED = 0.02
#: Labels below this are typing errors of the catalog (kilograms, pounds), not weights; nothing that light is sold.
LIGHTEST_G = 5.0
#: Unknown unit weight: log-normal, median 200 g, a factor of three either way covers a shop's goods.
UNKNOWN_MEDIAN_G = 200.0
UNKNOWN_LOG_SIGMA = 1.0


@dataclass(frozen=True, slots=True)
class ItemHypothesis:
    """``items`` moved, each product's unit weight as measured here; ``log_likelihood`` includes the count prior."""

    items: tuple[Item, ...]
    unit_g: tuple[float, ...]
    log_likelihood: float

    @property
    def units(self) -> tuple[tuple[str, float], ...]:
        """Every single unit: barcode and grams."""
        return tuple(
            (item.barcode, grams)
            for item, grams in zip(self.items, self.unit_g, strict=True)
            for _ in range(item.quantity)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """A weight event summed per facing: ``barcodes[i]`` owns ``grams[i]`` (positive: amount that moved).

    The last entry of ``grams`` is what moved on plates without a facing; ``sigma`` has the same shape (k + 1,).
    """

    barcodes: tuple[str, ...]
    grams: NDArray[np.float64]
    sigma: NDArray[np.float64]

    @property
    def total(self) -> float:
        """All that moved, grams."""
        return float(self.grams.sum())


def change_of(event: WeightEvent, by_plate: Mapping[PlateId, Sequence[Facing]]) -> Change:
    """Sum the event per facing, signed so that the whole is positive."""
    sign = 1.0 if event.total_g >= 0 else -1.0
    sums: dict[str, float] = {}
    variances: dict[str, float] = {}
    for plate, delta, sigma in zip(event.plates, event.delta_g, event.sigma_g, strict=True):
        for barcode in [facing.barcode for facing in by_plate.get(plate, ())][:1] or [""]:
            sums[barcode] = sums.get(barcode, 0.0) + sign * delta
            variances[barcode] = variances.get(barcode, 0.0) + sigma**2
    barcodes = tuple(sorted(barcode for barcode in sums if barcode))
    keys = (*barcodes, "")
    talk = CROSSTALK * abs(event.total_g)
    floor = SETTLE_SIGMA_G**2 + talk**2
    return Change(
        barcodes,
        np.array([sums.get(key, 0.0) for key in keys]),
        np.sqrt([variances.get(key, 0.0) + floor for key in keys]),
    )


def picks(
    change: Change,
    catalog: Mapping[str, Product],
    strangers: Sequence[str],
    keep: int = 12,
) -> list[ItemHypothesis]:
    """The best explanations of mass that left, most likely first.

    Up to three units of each of up to two products whose facings moved, more units of one product, and one or two
    units of a stranger: any of ``strangers`` that stands where it does not belong.
    """
    found = [_facing_hypothesis(change, catalog, counts) for counts in _counts(change, catalog)]
    found += [_stranger_hypothesis(change, catalog, barcode, count) for barcode in strangers for count in (1, 2)]
    found = [one for one in found if one.log_likelihood > -np.inf]
    found.sort(key=lambda one: (-one.log_likelihood, one.items[0].barcode))
    return found[:keep]


def _counts(change: Change, catalog: Mapping[str, Product]) -> list[dict[str, int]]:
    """Multisets worth scoring: counts near what the grams say, of one or two products."""
    options: dict[str, list[int]] = {}
    for barcode, grams in zip(change.barcodes, change.grams, strict=False):
        weight = label_weight(catalog.get(barcode))
        near = 1 if weight is None else round(grams / weight)
        most = len(COUNT_LOG_PRIOR)
        options[barcode] = sorted({min(max(near + step, 1), most) for step in (-1, 0, 1)})
    found = [{barcode: count} for barcode, counts in options.items() for count in counts]
    for one, two in combinations(options, 2):
        found += [{one: a, two: b} for a in options[one] for b in options[two]]
    return found


def _facing_hypothesis(change: Change, catalog: Mapping[str, Product], counts: Mapping[str, int]) -> ItemHypothesis:
    """Each product left its own plates; plates of the others did not move."""
    log_likelihood = count_log_prior(counts.values())
    units: list[float] = []
    for barcode, grams, sigma in zip((*change.barcodes, ""), change.grams, change.sigma, strict=True):
        if barcode in counts:
            weight = label_weight(catalog.get(barcode))
            log_likelihood += log_mass(grams, weight, counts[barcode], sigma)
            units.append(grams / counts[barcode])
        else:
            log_likelihood += math.log(math.exp(_log_normal(grams, 0.0, sigma)) + OUTLIER / OUTLIER_RANGE_G)
    items = tuple(Item(barcode, counts[barcode]) for barcode in change.barcodes if barcode in counts)
    return ItemHypothesis(items, tuple(units), log_likelihood)


def _stranger_hypothesis(change: Change, catalog: Mapping[str, Product], barcode: str, count: int) -> ItemHypothesis:
    """A product that does not belong here stood across these plates: only the whole mass speaks."""
    weight = label_weight(catalog.get(barcode))
    log_likelihood = stranger_log_likelihood(change, weight, count) + math.log(MISPLACED / max(len(catalog), 1))
    return ItemHypothesis((Item(barcode, count),), (change.total / count,), log_likelihood + count_log_prior([count]))


def stranger_log_likelihood(
    change: Change, unit_g: float | None, count: int = 1, pack_sigma: float | None = None
) -> float:
    """Log density of the whole mass for goods that stand anywhere on these plates.

    How the mass splits over the facings is free, so every entry but one is uniform over the mass that moved.
    ``pack_sigma`` replaces the spread of labels where a unit has been weighed before.
    """
    sigma = float(np.sqrt((change.sigma**2).sum()))
    return log_mass(change.total, unit_g, count, sigma, pack_sigma) + free_split_log(change)


def free_split_log(change: Change) -> float:
    """Log density of how a mass splits over the facings when nothing says how: uniform in every entry but one."""
    return -(len(change.grams) - 1) * math.log(max(abs(change.total), 20.0))


def count_log_prior(counts: Iterable[int]) -> float:
    """Occam: log P(number of units) and a price for every further distinct product."""
    values = list(counts)
    total = min(sum(values), len(COUNT_LOG_PRIOR))
    return COUNT_LOG_PRIOR[total - 1] + VARIETY_LOG_PRIOR * (len(values) - 1)


def label_weight(product: Product | None) -> float | None:
    """The catalog's unit weight in grams, or None where it is missing or cannot be true."""
    if product is None or product.weight_g is None or product.weight_g < LIGHTEST_G:
        return None
    return product.weight_g


def log_mass(grams: float, unit_g: float | None, count: int, sigma_g: float, pack_sigma: float | None = None) -> float:
    """Log density (per gram) of measuring ``grams`` when ``count`` units of label weight ``unit_g`` moved.

    A mixture of the ordinary pack spread, a share of labels that are further off, and anything at all; for an
    unknown unit weight a log-normal of a shop's goods.
    """
    outlier = OUTLIER / OUTLIER_RANGE_G
    if grams <= 0.0:
        return math.log(outlier * 0.01)
    if unit_g is None:
        z = math.log(grams / count / UNKNOWN_MEDIAN_G) / UNKNOWN_LOG_SIGMA
        return math.log(math.exp(-0.5 * z * z) / (grams * UNKNOWN_LOG_SIGMA * math.sqrt(2 * math.pi)) + outlier)
    expected = count * unit_g
    narrow = math.hypot(sigma_g, (PACK_SIGMA if pack_sigma is None else pack_sigma) * expected)
    wide = math.hypot(sigma_g, PACK_TAIL_SIGMA * expected)
    density = (1.0 - PACK_TAIL) * math.exp(_log_normal(grams, expected, narrow))
    density += PACK_TAIL * math.exp(_log_normal(grams, expected, wide))
    return math.log(density + outlier)


def _log_normal(x: float, mean: float, sigma: float) -> float:
    z = (x - mean) / sigma
    return -0.5 * z * z - math.log(sigma) - 0.5 * math.log(2.0 * math.pi)
