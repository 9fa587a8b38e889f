"""What each store sells and for how much: products, their other barcodes, and prices with the time they hold."""

from collections.abc import Iterable

import sqlalchemy as sa

from walkout.billing.database import insert_new, writing
from walkout.billing.records import PricedProduct, money
from walkout.billing.schema import prices, stores
from walkout.domain.money import Money
from walkout.errors import BadRequest, ConflictError


def ensure_store(connection: sa.Connection, store: str, currency: str) -> None:
    """Know ``store`` and its one currency; raises ``ConflictError`` where it already has another."""
    money(0, currency)
    insert_new(connection, stores, [{"store": store, "currency": currency}])
    found = connection.execute(sa.select(stores.c.currency).where(stores.c.store == store)).scalar_one()
    if found != currency:
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
