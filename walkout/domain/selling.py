"""On what terms a store sells: who the seller is, which tax is on what, and what is cheaper when."""

from dataclasses import dataclass
from fractions import Fraction

from walkout.domain.money import Money


@dataclass(frozen=True, slots=True)
class Seller:
    """Who sells, as a receipt must name it.

    ``country`` is ISO 3166-1 alpha-2. ``business_number`` is what the country's tax office gave out for receipts
    (Korea: 사업자등록번호, ten digits as 000-00-00000), ``vat_number`` the EU's VAT identification number with its
    country prefix. ``representative`` is the person who answers for the business (대표자). The refund policy is
    one text per language.
    """

    name: str
    country: str
    business_number: str = ""
    vat_number: str = ""
    representative: str = ""
    address: str = ""
    phone: str = ""
    refund_policy_ko: str = ""
    refund_policy_en: str = ""


@dataclass(frozen=True, slots=True)
class TaxClass:
    """One kind of goods to the tax office: ``rate`` as a fraction (1/10 for 10 %), 0 for exempt goods.

    ``included`` says whether the shelf price already holds the tax, as it must towards consumers in Korea
    (물가안정에 관한 법률, price marking) and the EU (Directive 98/6/EC art. 2 a), or is added, as in the US.
    """

    name: str
    rate: Fraction
    included: bool = True

    def __post_init__(self) -> None:
        if not self.name or not 0 <= self.rate <= 1:
            raise ValueError(f"tax class {self.name}: give a name and a rate between 0 and 100 percent")


@dataclass(frozen=True, slots=True)
class Promotion:
    """Something cheaper from ``valid_from_ns`` to before ``valid_to_ns`` (ns UTC; None: open).

    ``barcodes`` are the products it is about, empty for all. Exactly one of two kinds: with ``price`` it is
    "``count`` for ``price``", mixed freely among its products; with ``percent`` that part of the price (0 to 1) off.
    """

    promotion_id: str
    label: str
    barcodes: frozenset[str] = frozenset()
    count: int = 1
    price: Money | None = None
    percent: Fraction | None = None
    valid_from_ns: int | None = None
    valid_to_ns: int | None = None
    members_only: bool = False

    def __post_init__(self) -> None:
        if (self.price is None) == (self.percent is None):
            raise ValueError(f"promotion {self.promotion_id}: give a price for several or a percentage, one of them")
        if self.price is not None and (self.price.minor < 0 or self.count < 1 or not self.barcodes):
            raise ValueError(f"promotion {self.promotion_id}: several for a price needs products, a count and a price")
        if self.percent is not None and not 0 < self.percent <= 1:
            raise ValueError(f"promotion {self.promotion_id}: percent must lie above 0 and at most at 100")

    def holds_at(self, at_ns: int) -> bool:
        """Whether it is valid at ``at_ns``, ns UTC."""
        started = self.valid_from_ns is None or self.valid_from_ns <= at_ns
        return started and (self.valid_to_ns is None or at_ns < self.valid_to_ns)


@dataclass(frozen=True, slots=True)
class PointsRule:
    """Members earn ``earned_per_minor`` points for each minor unit they pay; a point pays ``worth_minor`` units."""

    earned_per_minor: Fraction
    worth_minor: int = 1

    def __post_init__(self) -> None:
        if self.earned_per_minor < 0 or self.worth_minor < 1:
            raise ValueError("points: earn zero or more for a minor unit, and let a point be worth one or more")


@dataclass(frozen=True, slots=True)
class StoreTerms:
    """Everything above for one store. A product that names no tax class is in the first one.

    Without tax classes a receipt shows no tax, without a seller no seller: right for a test, never for a shop.
    """

    seller: Seller | None = None
    tax_classes: tuple[TaxClass, ...] = ()
    promotions: tuple[Promotion, ...] = ()
    points: PointsRule | None = None
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        for kind, names in (
            ("tax class", [tax.name for tax in self.tax_classes]),
            ("promotion", [promotion.promotion_id for promotion in self.promotions]),
        ):
            if len(set(names)) < len(names):
                raise ValueError(f"a {kind} is there twice: {', '.join(names)}")
