"""What a basket costs: basket and prices to lines, total and the reasons to have a look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor

from walkout.billing.promotions import AccountTerms, OpenLine, apply_coupons, apply_promotions, spend_points
from walkout.billing.records import LARGEST_MINOR, Line, LineTax, PricedProduct, Reason
from walkout.billing.tax import half_up, split, tax_on
from walkout.domain.money import Money
from walkout.domain.selling import StoreTerms
from walkout.domain.shopping import Basket


@dataclass(frozen=True, slots=True)
class PricedBasket:
    """Lines sorted by barcode, the sum of the priced ones, and one reason per doubt (empty: charge it).

    ``coupons`` are the ids of those used, ``points_spent`` and ``points_earned`` what the account's points do.
    """

    lines: tuple[Line, ...]
    total: Money
    doubts: tuple[str, ...]
    coupons: tuple[str, ...] = ()
    points_spent: int = 0
    points_earned: int = 0


def price_basket(
    basket: Basket,
    products: Mapping[str, PricedProduct],
    currency: str,
    terms: StoreTerms = StoreTerms(),  # noqa: B008 - frozen
    account: AccountTerms = AccountTerms(),  # noqa: B008 - frozen
    at_ns: int = 0,
) -> PricedBasket:
    """Price every line of ``basket`` in ``currency`` as at ``at_ns`` (ns UTC); exact, in minor units.

    List price, then the member's price, promotions, coupons, points, then tax. The same contents give the same
    prices, whatever the order of promotions, coupons and products. An unknown product or tax class, a product
    without a price, one priced in another currency, one sold by weight that nobody weighed, and one that was put
    back more often than it was taken each give a doubt; such lines stay on the receipt with what is known of them.
    """
    doubts = [f"{barcode}: put back more often than it was taken" for barcode in basket.doubtful]
    grams = dict(basket.grams)
    known: list[PricedProduct] = []
    lines: dict[str, Line] = {}
    total = Money(0, currency)
    for barcode, quantity in basket.lines:
        product = products.get(barcode)
        line = _listed(barcode, quantity, grams.get(barcode, 0), product)
        doubt = _doubt(line, product, total, terms)
        if doubt is not None or product is None or line.listed is None:
            lines[barcode] = Line(barcode, line.name, quantity, None, None)
            doubts.append(doubt or f"{barcode}: unknown product")
            continue
        lines[barcode] = line
        known.append(product)
        total += line.listed
    return _discounted(lines, known, tuple(doubts), currency, terms, account, at_ns)


def _listed(barcode: str, quantity: int, gross_g: int, product: PricedProduct | None) -> Line:
    """The line at its list price. A price by weight is rounded to the nearest minor unit (OIML R 76-1, 4.14)."""
    if product is None or product.price is None:
        return Line(barcode, "" if product is None else product.name, quantity, None, None)
    if not product.per_kg:
        listed = product.price * quantity
        return Line(barcode, product.name, quantity, product.price, listed, listed=listed)
    net_g = gross_g - product.tare_g * quantity
    listed = _by_weight(product.price, net_g)
    return Line(barcode, product.name, quantity, product.price, listed, grams=net_g, listed=listed)


def _by_weight(per_kg: Money, net_g: int) -> Money:
    return Money(half_up(Fraction(per_kg.minor * net_g, 1000)), per_kg.currency)


def _doubt(line: Line, product: PricedProduct | None, total: Money, terms: StoreTerms) -> str | None:
    """Why this line cannot be priced, or None."""
    if product is None:
        return f"{line.barcode}: unknown product"
    if product.price is None:
        return f"{line.barcode}: {product.name or 'product'} has no price"
    if product.price.currency != total.currency:
        return f"{line.barcode}: priced in {product.price.currency}, the visit pays in {total.currency}"
    if product.per_kg and line.grams <= 0:
        return f"{line.barcode}: sold by weight, and nobody weighed it"
    if product.tax_class and product.tax_class not in {tax.name for tax in terms.tax_classes}:
        return f"{line.barcode}: the store has no tax class {product.tax_class!r}"
    # Half of it: tax on top may double a price at most.
    if line.listed is not None and total.minor + line.listed.minor > LARGEST_MINOR // 2:
        return f"{line.barcode}: {line.quantity} x {product.price} is more than the books hold"
    return None


def _discounted(
    lines: dict[str, Line],
    products: Sequence[PricedProduct],
    doubts: tuple[str, ...],
    currency: str,
    terms: StoreTerms,
    account: AccountTerms,
    at_ns: int,
) -> PricedBasket:
    """Everything after the list prices."""
    opened = [_open(lines[product.barcode], product, account.member) for product in products]
    valid = [one for one in terms.promotions if one.holds_at(at_ns) and (account.member or not one.members_only)]
    apply_promotions(opened, valid, currency)
    coupons = apply_coupons(opened, account.coupons, currency, at_ns)
    spent = spend_points(opened, account.spend_points, terms.points, currency) if terms.points else 0
    taxes = _taxes(opened, products, terms, currency)
    for line, tax in zip(opened, taxes, strict=True):
        on_top = 0 if tax is None or tax.included else tax.amount.minor
        paid = Money(line.amount + on_top, currency)
        lines[line.barcode] = replace(lines[line.barcode], total=paid, reasons=tuple(line.reasons), tax=tax)
    total = sum((line.total for line in lines.values() if line.total is not None), Money(0, currency))
    earned = floor(total.minor * terms.points.earned_per_minor) if terms.points and account.member else 0
    return PricedBasket(tuple(lines.values()), total, doubts, coupons, spent, earned)


def _open(line: Line, product: PricedProduct, member: bool) -> OpenLine:
    """The line ready for promotions, at the member's price where that is lower."""
    listed = line.listed.minor if line.listed is not None else 0
    units = 1 if product.per_kg else line.quantity
    cheaper = product.member_price
    if not member or cheaper is None or product.price is None or cheaper.currency != product.price.currency:
        return OpenLine(line.barcode, listed, units, product.per_kg)
    theirs = _by_weight(cheaper, line.grams) if product.per_kg else cheaper * line.quantity
    opened = OpenLine(line.barcode, min(listed, theirs.minor), units, product.per_kg)
    if theirs.minor < listed:
        off = Money(listed - theirs.minor, theirs.currency)
        opened.reasons.append(Reason("member", "member", f"member price {cheaper}", -off))
    return opened


def _taxes(
    opened: Sequence[OpenLine], products: Sequence[PricedProduct], terms: StoreTerms, currency: str
) -> list[LineTax | None]:
    """The tax of each line: reckoned once per tax class, then split so that the parts add up to it."""
    if not terms.tax_classes:
        return [None] * len(opened)
    country = terms.seller.country if terms.seller is not None else ""
    default = terms.tax_classes[0].name
    taxes: list[LineTax | None] = [None] * len(opened)
    for tax in terms.tax_classes:
        mine = [index for index, product in enumerate(products) if (product.tax_class or default) == tax.name]
        amounts = [opened[index].amount for index in mine]
        whole = tax_on(sum(amounts), tax, country)
        for index, share in zip(mine, split(whole, amounts), strict=True):
            taxes[index] = LineTax(tax.name, tax.rate, tax.included, Money(share, currency))
    return taxes
