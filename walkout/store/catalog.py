"""Products and the dated planogram: what lies on which plate, what it weighs, what it costs."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date

from walkout.domain.sensing import PlateId
from walkout.domain.shopping import Facing, PriceList, Product
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
    """One store: its name and currency, layout, products by barcode and planogram."""

    name: str
    currency: str
    layout: Layout
    products: dict[str, Product]
    planogram: Planogram = field(default_factory=lambda: Planogram(()))

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
