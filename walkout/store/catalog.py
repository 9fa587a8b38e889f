"""Products and the dated planogram: what lies on which plate, what it weighs, what it costs."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from zoneinfo import ZoneInfo

from walkout.domain.clock import NS_PER_S
from walkout.domain.selling import StoreTerms
from walkout.domain.sensing import PlateId
from walkout.domain.shopping import Facing, PriceList, Product
from walkout.store.calibration import CameraModel
from walkout.store.layout import Layout


@dataclass(frozen=True, slots=True)
class Planogram:
    """All facings of a store with their validity dates."""

    facings: tuple[Facing, ...]

    def on(self, day: date) -> tuple[Facing, ...]:
        """The facings valid on ``day``."""
        return tuple(
            facing
            for facing in self.facings
            if (facing.valid_from is None or facing.valid_from <= day)
            and (facing.valid_to is None or day < facing.valid_to)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Store:
    """One store: name, currency, layout, products by barcode, planogram; ``timezone`` is an IANA name.

    ``cameras`` are those that were calibrated, by id. ``terms``: who sells, which tax is on what, what is cheaper.
    """

    name: str
    currency: str
    layout: Layout
    products: dict[str, Product]
    planogram: Planogram = field(default_factory=lambda: Planogram(()))
    timezone: str = "UTC"
    cameras: dict[str, CameraModel] = field(default_factory=dict)
    terms: StoreTerms = field(default_factory=StoreTerms)

    def local_day(self, t_ns: int) -> date:
        """The calendar day at the store; planogram dates are meant in it. ``t_ns``: nanoseconds UTC."""
        return datetime.fromtimestamp(t_ns // NS_PER_S, ZoneInfo(self.timezone)).date()

    def price_list(self) -> PriceList:
        """The prices that the catalog holds; a product without one is left out."""
        return PriceList(
            self.currency,
            {barcode: product.price for barcode, product in self.products.items() if product.price is not None},
        )


def facings_by_plate(facings: Iterable[Facing]) -> dict[PlateId, tuple[Facing, ...]]:
    """Which facings stand on each plate."""
    found: dict[PlateId, list[Facing]] = {}
    for facing in facings:
        for plate in facing.plates:
            found.setdefault(plate, []).append(facing)
    return {plate: tuple(there) for plate, there in found.items()}


def barcode_fault(barcode: str) -> str | None:
    """Why ``barcode`` is no GTIN-8, -12, -13, -14 or UPC-E with a right check digit; None when it is one.

    A fault is told, never mended: receipts carry the barcode as recorded. Digits and weights by
    the GS1 General Specifications, section 7.9; the expansion of UPC-E by figure 5.2.2.4.2-1 there.
    """
    if not barcode.isascii() or not barcode.isdigit():
        return "is not made of digits alone"
    if len(barcode) in (8, 12, 13, 14) and _check_digit_fits(barcode):
        return None
    if len(barcode) == 8 and barcode[0] in "01" and _check_digit_fits(_expand_upc_e(barcode)):
        return None
    if 9 <= len(barcode) < 12 and _check_digit_fits(barcode.zfill(12)):
        return f"has lost its leading zeros, it would be right as {barcode.zfill(12)}"
    if len(barcode) in (8, 12, 13, 14):
        return "has a wrong check digit"
    return f"has {len(barcode)} digits, a GTIN has 8, 12, 13 or 14"


def _check_digit_fits(digits: str) -> bool:
    """Weights 3, 1, 3, ... from the right of the body, the sum with the check digit a multiple of ten."""
    body = sum(int(digit) * (3 if index % 2 == 0 else 1) for index, digit in enumerate(reversed(digits[:-1])))
    return (body + int(digits[-1])) % 10 == 0


def _expand_upc_e(code: str) -> str:
    """The twelve digits that eight digits of UPC-E (number system, six digits, check digit) stand for."""
    system, body, check = code[0], code[1:7], code[7]
    rule = int(body[5])
    if rule <= 2:
        middle = body[:2] + body[5] + "0000" + body[2:5]
    elif rule == 3:
        middle = body[:3] + "00000" + body[3:5]
    elif rule == 4:
        middle = body[:4] + "00000" + body[4]
    else:
        middle = body[:5] + "0000" + body[5]
    return system + middle + check
