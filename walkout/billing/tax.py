"""Which part of a price is tax: once per tax class and receipt, then handed to the lines to the last unit."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from math import floor

from walkout.domain.selling import TaxClass


def half_up(exact: Fraction) -> int:
    """The nearest integer, halves away from zero."""
    return floor(exact + Fraction(1, 2)) if exact >= 0 else -floor(-exact + Fraction(1, 2))


def down(exact: Fraction) -> int:
    """The integer part."""
    return floor(exact) if exact >= 0 else -floor(-exact)


#: How tax is brought to whole minor units, by country; any other rounds half up. Where the sum is taken (here: once
#: per tax class and receipt) is as free as the direction in all of them unless said otherwise.
#:
#: EU  no common rule, the member states decide (CJEU C-484/06 Ahold and C-302/07 Wetherspoon); half up is the rule
#:     for cents in Council Regulation (EC) No 1103/97 art. 5 and what the member states' own offices print.
#: GB  to the nearest penny, never only downwards for retailers (HMRC VAT Notice 700, 17.5 and 17.6).
#: KR  no statute for receipts between seller and shopper; card slips print total / 11 to the nearest won.
#: US  to the third decimal and up where that is above 4: half up (Streamlined Sales and Use Tax Agreement, s. 324).
#: JP  once per rate and receipt, direction free (Consumption Tax Act Enforcement Order art. 70-10); down is usual.
TAX_ROUNDING: Mapping[str, Callable[[Fraction], int]] = {
    "GB": half_up,
    "JP": down,
    "KR": half_up,
    "US": half_up,
}


def tax_on(minor: int, tax: TaxClass, country: str) -> int:
    """The tax in (or on top of, where it is not included) ``minor`` units, whole minor units of the same currency."""
    exact = minor * tax.rate / (1 + tax.rate) if tax.included else minor * tax.rate
    return TAX_ROUNDING.get(country, half_up)(exact)


def split(whole: int, weights: Sequence[int]) -> list[int]:
    """``whole`` (zero or more) in integer shares as near to ``weights`` (zero or more) as they can be, adding up to it.

    Largest remainder (Hamilton's method); equal remainders go to the earlier one. No share is more than a unit
    away from its exact one. All weights zero: the first one gets everything.
    """
    total = sum(weights)
    if total == 0:
        return [whole if index == 0 else 0 for index in range(len(weights))]
    shares = [whole * weight // total for weight in weights]
    rest = whole - sum(shares)
    nearest = sorted(range(len(weights)), key=lambda index: (-(whole * weights[index] % total), index))
    for index in nearest[:rest]:
        shares[index] += 1
    return shares
