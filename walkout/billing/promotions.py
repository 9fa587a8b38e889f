"""What is cheaper than listed: promotions, coupons and points, spread over the lines they belong to.

Every unit takes part in one promotion at most. Of all promotions the one that saves most on the units still free
goes first, then the next; the best of all combinations is a set packing problem, this is its usual greedy answer.
It depends on contents alone, never on an order of arrival, and nothing is ever dearer than listed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from walkout.billing.records import Reason
from walkout.billing.tax import half_up, split
from walkout.domain.money import Money
from walkout.domain.selling import PointsRule, Promotion


@dataclass(frozen=True, slots=True)
class Coupon:
    """Something off once: ``off`` an amount or ``percent`` a part (0 to 1), until before ``expires_ns`` (ns UTC).

    It counts from a total of ``minimum`` on, after promotions and before other coupons.
    """

    coupon_id: str
    label: str
    expires_ns: int
    off: Money | None = None
    percent: Fraction | None = None
    minimum: Money | None = None

    def __post_init__(self) -> None:
        if (self.off is None) == (self.percent is None):
            raise ValueError(f"coupon {self.coupon_id}: give an amount or a percentage, one of them")
        if self.off is not None and self.off.minor <= 0:
            raise ValueError(f"coupon {self.coupon_id} must take something off, not {self.off}")
        if self.percent is not None and not 0 < self.percent <= 1:
            raise ValueError(f"coupon {self.coupon_id}: percent must lie above 0 and at most at 100")


@dataclass(frozen=True, slots=True)
class AccountTerms:
    """What pricing needs to know of who pays: membership, coupons at hand, points and how many may be spent."""

    member: bool = False
    coupons: tuple[Coupon, ...] = ()
    spend_points: int = 0


@dataclass(slots=True)
class OpenLine:
    """One line while it is being priced: ``amount`` minor units now, of which ``free`` units take part in nothing.

    Goods sold by weight are one unit that costs the whole amount, and take no part in several-for-a-price.
    """

    barcode: str
    amount: int
    units: int
    by_weight: bool
    reasons: list[Reason] = field(default_factory=list)
    free: int = 0
    unit_minor: int = 0

    def __post_init__(self) -> None:
        self.free = self.units
        self.unit_minor = self.amount // self.units

    def take_off(self, code: str, source: str, label: str, off: Money) -> None:
        """Make the line cheaper by ``off``, told on the receipt."""
        if off.minor:
            self.amount -= off.minor
            self.reasons.append(Reason(code, source, label, -off))


@dataclass(frozen=True, slots=True)
class _Saving:
    """What a promotion would do now: minor units off and units used, by line."""

    promotion: Promotion
    off: Mapping[int, int]
    used: Mapping[int, int]

    @property
    def total(self) -> int:
        return sum(self.off.values())


def apply_promotions(lines: Sequence[OpenLine], promotions: Iterable[Promotion], currency: str) -> None:
    """Take off what promotions save, the greatest saving first; those of another currency are passed over."""
    waiting = sorted(promotions, key=lambda promotion: promotion.promotion_id)
    waiting = [one for one in waiting if one.price is None or one.price.currency == currency]
    while waiting:
        best = max((_saving(lines, one) for one in waiting), key=lambda saving: saving.total)
        if best.total <= 0:
            return
        waiting.remove(best.promotion)
        for index, off in best.off.items():
            lines[index].take_off("promotion", best.promotion.promotion_id, best.promotion.label, Money(off, currency))
        for index, used in best.used.items():
            lines[index].free -= used


def _saving(lines: Sequence[OpenLine], promotion: Promotion) -> _Saving:
    there = [
        index
        for index, line in enumerate(lines)
        if line.free and (not promotion.barcodes or line.barcode in promotion.barcodes)
    ]
    if promotion.price is not None:
        return _several(lines, [index for index in there if not lines[index].by_weight], promotion, promotion.price)
    percent = promotion.percent or Fraction(0)
    off = {index: half_up(lines[index].unit_minor * lines[index].free * percent) for index in there}
    return _Saving(promotion, off, {index: lines[index].free for index in there})


def _several(lines: Sequence[OpenLine], there: Sequence[int], promotion: Promotion, price: Money) -> _Saving:
    """Groups of ``count`` units, the dearest together, as long as a group costs more one by one."""
    order = sorted(there, key=lambda index: (-lines[index].unit_minor, lines[index].barcode))
    off: dict[int, int] = {}
    used: dict[int, int] = {}
    for group in _groups([(index, lines[index].free) for index in order], promotion.count):
        listed = [lines[index].unit_minor * units for index, units in group]
        saved = sum(listed) - price.minor
        if saved <= 0:
            break  # later groups are cheaper still
        for (index, units), share in zip(group, split(saved, listed), strict=True):
            off[index] = off.get(index, 0) + share
            used[index] = used.get(index, 0) + units
    return _Saving(promotion, off, used)


def _groups(stock: Sequence[tuple[int, int]], count: int) -> Iterable[list[tuple[int, int]]]:
    """``stock`` of (line, units) cut into groups of ``count`` units in its order; what does not fill one stays."""
    group: list[tuple[int, int]] = []
    missing = count
    for index, left in stock:
        while left:
            taken = min(left, missing)
            group.append((index, taken))
            left -= taken
            missing -= taken
            if missing == 0:
                yield group
                group, missing = [], count


def apply_coupons(lines: Sequence[OpenLine], coupons: Iterable[Coupon], currency: str, at_ns: int) -> tuple[str, ...]:
    """Take off what coupons are worth, the one that expires first first; ids of those that were used.

    Expired ones, those of another currency, those whose minimum is not reached and those that would take off
    nothing stay with the shopper. No total goes below zero: what is left of a coupon then is lost.
    """
    used = []
    for coupon in sorted(coupons, key=lambda one: (one.expires_ns, one.coupon_id)):
        total = sum(line.amount for line in lines)
        least = coupon.minimum or Money(0, currency)
        worth = _worth(coupon, total, currency)
        if at_ns >= coupon.expires_ns or least.currency != currency or total < least.minor or worth <= 0:
            continue
        _spread(lines, "coupon", coupon.coupon_id, coupon.label, Money(worth, currency))
        used.append(coupon.coupon_id)
    return tuple(used)


def _worth(coupon: Coupon, total: int, currency: str) -> int:
    if coupon.percent is not None:
        return half_up(total * coupon.percent)
    return min(total, coupon.off.minor) if coupon.off is not None and coupon.off.currency == currency else 0


def spend_points(lines: Sequence[OpenLine], points: int, rule: PointsRule, currency: str) -> int:
    """Pay with up to ``points`` points; how many were spent. Points buy whole minor units only.

    Points that the seller itself gave out lower the taxable amount (Korea: VAT Act Enforcement Decree art. 61,
    자기적립마일리지; EU: Directive 2006/112/EC art. 79 b), so they come off before tax like a discount.
    """
    total = sum(line.amount for line in lines)
    spent = min(points, total // rule.worth_minor)
    if spent > 0:
        _spread(lines, "points", "points", f"{spent} points", Money(spent * rule.worth_minor, currency))
    return max(spent, 0)


def _spread(lines: Sequence[OpenLine], code: str, source: str, label: str, off: Money) -> None:
    """Spread ``off`` over the lines by what they cost now, so that a returned item gives back its own part."""
    for line, share in zip(lines, split(off.minor, [line.amount for line in lines]), strict=True):
        line.take_off(code, source, label, Money(share, off.currency))
