"""What a basket costs: prices per store, and basket and prices to lines, total and the reasons to have a look."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from walkout.billing.records import LARGEST_MINOR, Line, PricedProduct, money
from walkout.billing.schema import prices, stores, writing
from walkout.domain.money import Money
from walkout.domain.shopping import Basket
from walkout.errors import BadRequest, ConflictError


@dataclass(frozen=True, slots=True)
class PricedBasket:
    """Lines sorted by barcode, the sum of the priced ones, and one reason per doubt (empty: charge it)."""

    lines: tuple[Line, ...]
    total: Money
    doubts: tuple[str, ...]


def price_basket(basket: Basket, products: Mapping[str, PricedProduct], currency: str) -> PricedBasket:
    """Price every line of ``basket`` in ``currency``; exact, in minor units.

    An unknown product, one without a price, one priced in another currency, and one that was put back more often
    than it was taken each give a doubt; such lines stay on the receipt with what is known of them.
    """
    lines: list[Line] = []
    total = Money(0, currency)
    doubts = [f"{barcode}: put back more often than it was taken" for barcode in basket.doubtful]
    for barcode, quantity in basket.lines:
        product = products.get(barcode)
        doubt = _doubt(barcode, quantity, product, total)
        unit = product.price if product is not None and product.price is not None and doubt is None else None
        line_total = unit * quantity if unit is not None else None
        line = Line(barcode, product.name if product is not None else "", quantity, unit, line_total)
        lines.append(line)
        if doubt is not None:
            doubts.append(doubt)
        if line.total is not None:
            total += line.total
    return PricedBasket(tuple(lines), total, tuple(doubts))


def _doubt(barcode: str, quantity: int, product: PricedProduct | None, total: Money) -> str | None:
    """Why this line cannot be priced, or None."""
    if product is None:
        return f"{barcode}: unknown product"
    if product.price is None:
        return f"{barcode}: {product.name or 'product'} has no price"
    if product.price.currency != total.currency:
        return f"{barcode}: priced in {product.price.currency}, the visit pays in {total.currency}"
    if total.minor + product.price.minor * quantity > LARGEST_MINOR:
        return f"{barcode}: {quantity} x {product.price} is more than the books hold"
    return None


def ensure_store(connection: sa.Connection, store: str, currency: str) -> None:
    """Know ``store`` and its one currency; raises ``ConflictError`` where it already has another."""
    money(0, currency)
    found = connection.execute(sa.select(stores.c.currency).where(stores.c.store == store)).scalar_one_or_none()
    if found is None:
        connection.execute(stores.insert().values(store=store, currency=currency))
    elif found != currency:
        raise ConflictError(f"store {store} keeps its books in {found}, not in {currency}")


def upsert_prices(engine: sa.Engine, store: str, currency: str, products: Iterable[PricedProduct]) -> int:
    """Set names and prices of the products named, all or none; how many products the store has then.

    Raises ``BadRequest`` for a negative price and ``ConflictError`` for a currency that is not the store's. A
    receipt that is already written keeps its prices.
    """
    with writing(engine) as connection:
        ensure_store(connection, store, currency)
        for product in products:
            _upsert(connection, store, currency, product)
        mine = sa.select(sa.func.count()).select_from(prices).where(prices.c.store == store)
        return connection.execute(mine).scalar_one()


def _upsert(connection: sa.Connection, store: str, currency: str, product: PricedProduct) -> None:
    price = product.price
    if price is not None and price.currency != currency:
        raise ConflictError(f"{product.barcode} is priced in {price.currency}, the store in {currency}")
    if price is not None and price.minor < 0:
        raise BadRequest(f"{product.barcode} costs {price}; a price is zero or more, or absent where unknown")
    values = {"name": product.name, "price_minor": None if price is None else price.minor}
    here = sa.and_(prices.c.store == store, prices.c.barcode == product.barcode)
    if connection.execute(prices.update().where(here).values(**values)).rowcount == 0:
        row = {"store": store, "barcode": product.barcode, "currency": currency, **values}
        connection.execute(prices.insert().values(**row))


def products_of(connection: sa.Connection, store: str, barcodes: Iterable[str]) -> dict[str, PricedProduct]:
    """What billing knows of these products in ``store``; unknown ones are left out."""
    query = sa.select(prices).where(prices.c.store == store, prices.c.barcode.in_(list(barcodes)))
    return {
        row.barcode: PricedProduct(
            row.barcode, row.name, None if row.price_minor is None else Money(row.price_minor, row.currency)
        )
        for row in connection.execute(query)
    }
