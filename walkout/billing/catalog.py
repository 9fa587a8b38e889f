"""What each store sells and for how much: products, their other barcodes, and prices with the time they hold."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from walkout.billing.database import insert_new, writing
from walkout.billing.records import PricedProduct, money
from walkout.billing.schema import barcodes, price_periods, prices, stores
from walkout.billing.terms import terms_from_json, terms_to_json
from walkout.domain.money import Money
from walkout.domain.selling import StoreTerms
from walkout.errors import BadRequest, ConflictError, NotFoundError

#: Products of one statement; ten columns each stay below the 32,766 parameters that SQLite takes.
_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class PricePeriod:
    """``price`` holds from ``from_ns`` to before ``to_ns`` (ns UTC; None: open)."""

    from_ns: int
    to_ns: int | None
    price: Money


def ensure_store(connection: sa.Connection, store: str, currency: str) -> None:
    """Know ``store`` and its one currency; raises ``ConflictError`` where it already has another."""
    money(0, currency)
    insert_new(connection, stores, [{"store": store, "currency": currency}])
    found = connection.execute(sa.select(stores.c.currency).where(stores.c.store == store)).scalar_one()
    if found != currency:
        raise ConflictError(f"store {store} keeps its books in {found}, not in {currency}")


def upsert_prices(engine: sa.Engine, store: str, currency: str, products: Iterable[PricedProduct]) -> int:
    """Set what the products named are and cost, all or none; how many products the store has then.

    An archived product that is named again is offered again. Raises ``BadRequest`` for a negative price and
    ``ConflictError`` for a currency that is not the store's. A receipt that is already written keeps its prices.
    """
    given = {product.barcode: product for product in products}
    with writing(engine) as connection:
        ensure_store(connection, store, currency)
        rows = [_row(store, currency, given[barcode]) for barcode in sorted(given)]
        if rows:
            _upsert(connection, rows)
        mine = sa.select(sa.func.count()).select_from(prices).where(prices.c.store == store)
        return connection.execute(mine).scalar_one()


def _row(store: str, currency: str, product: PricedProduct) -> dict[str, Any]:
    for price in (product.price, product.member_price):
        if price is not None and price.currency != currency:
            raise ConflictError(f"{product.barcode} is priced in {price.currency}, the store in {currency}")
        if price is not None and price.minor < 0:
            raise BadRequest(f"{product.barcode} costs {price}; a price is zero or more, or absent where unknown")
    if product.tare_g < 0:
        raise BadRequest(f"{product.barcode}: a container of {product.tare_g} g weighs less than nothing")
    return {
        "store": store,
        "barcode": product.barcode,
        "currency": currency,
        "name": product.name,
        "price_minor": None if product.price is None else product.price.minor,
        "member_price_minor": None if product.member_price is None else product.member_price.minor,
        "tax_class": product.tax_class,
        "per_kg": product.per_kg,
        "tare_g": product.tare_g,
        "archived": False,
    }


def _upsert(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    on_postgres = connection.dialect.name == "postgresql"
    for start in range(0, len(rows), _ROWS):
        statement: Any = (postgresql.insert if on_postgres else sqlite.insert)(prices)
        statement = statement.values(list(rows[start : start + _ROWS]))
        changed = {name: statement.excluded[name] for name in rows[0] if name not in ("store", "barcode", "currency")}
        connection.execute(statement.on_conflict_do_update(index_elements=["store", "barcode"], set_=changed))


def archive(engine: sa.Engine, store: str, barcodes_gone: Iterable[str]) -> int:
    """Offer these products no longer; how many were offered before. They keep their prices for who still has one."""
    mine = sa.and_(prices.c.store == store, prices.c.barcode.in_(list(barcodes_gone)), sa.not_(prices.c.archived))
    with writing(engine) as connection:
        return connection.execute(prices.update().where(mine).values(archived=True)).rowcount


def set_barcodes(engine: sa.Engine, store: str, barcode: str, codes: Iterable[str]) -> None:
    """Let ``codes`` stand for the product, beside its own barcode and in place of any codes before.

    Raises ``NotFoundError`` for an unknown product, ``ConflictError`` for a code that means another product.
    """
    wanted = sorted(set(codes) - {barcode})
    with writing(engine) as connection:
        _require_product(connection, store, barcode)
        taken = connection.execute(
            sa.select(prices.c.barcode).where(prices.c.store == store, prices.c.barcode.in_(wanted))
        ).scalar()
        if taken is not None:
            raise ConflictError(f"{taken} is a product of its own; archive it before the code means {barcode}")
        mine = sa.and_(barcodes.c.store == store, barcodes.c.barcode == barcode)
        connection.execute(barcodes.delete().where(mine))
        if insert_new(connection, barcodes, [{"store": store, "code": c, "barcode": barcode} for c in wanted]) != len(
            wanted
        ):
            raise ConflictError(f"one of {', '.join(wanted)} already stands for another product than {barcode}")


def set_price_periods(engine: sa.Engine, store: str, barcode: str, periods: Sequence[PricePeriod]) -> None:
    """Let other prices hold for a time, in place of any periods before; outside of them the ordinary price holds.

    Raises ``NotFoundError`` for an unknown product, ``BadRequest`` for periods that overlap or are empty.
    """
    ordered = sorted(periods, key=lambda period: period.from_ns)
    for period in ordered:
        if period.price.minor < 0 or (period.to_ns is not None and period.to_ns <= period.from_ns):
            raise BadRequest(f"{barcode}: {period} is no period with a price of zero or more")
    for one, next_one in pairwise(ordered):
        if one.to_ns is None or one.to_ns > next_one.from_ns:
            raise BadRequest(f"{barcode}: two prices at {next_one.from_ns} ns")
    with writing(engine) as connection:
        currency = _require_product(connection, store, barcode)
        if any(period.price.currency != currency for period in ordered):
            raise ConflictError(f"{barcode} is priced in {currency}")
        mine = sa.and_(price_periods.c.store == store, price_periods.c.barcode == barcode)
        connection.execute(price_periods.delete().where(mine))
        rows = [
            {
                "store": store,
                "barcode": barcode,
                "valid_from_ns": period.from_ns,
                "valid_to_ns": period.to_ns,
                "price_minor": period.price.minor,
            }
            for period in ordered
        ]
        if rows:
            connection.execute(price_periods.insert().values(rows))


def _require_product(connection: sa.Connection, store: str, barcode: str) -> str:
    mine = sa.and_(prices.c.store == store, prices.c.barcode == barcode)
    currency = connection.execute(sa.select(prices.c.currency).where(mine).with_for_update()).scalar_one_or_none()
    if currency is None:
        raise NotFoundError(f"store {store} has no product {barcode}; set its price first")
    return str(currency)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a store sells of some codes, at any time: read once, asked for many visits."""

    meant: Mapping[str, str]
    known: Mapping[str, Any]
    periods: Mapping[str, Sequence[Any]]

    def products(self, codes: Iterable[str], at_ns: int) -> dict[str, PricedProduct]:
        """The products at ``at_ns``, by the code asked for; unknown ones are left out.

        A code that stands for another product brings that product's name and price under the code that was seen.
        """
        found = {}
        for code in codes:
            row = self.known.get(self.meant.get(code, code))
            if row is not None:
                found[code] = _product(code, row, self._minor(row, at_ns))
        return found

    def _minor(self, row: Any, at_ns: int) -> int | None:
        for period in self.periods.get(row.barcode, ()):
            if period.valid_from_ns <= at_ns and (period.valid_to_ns is None or at_ns < period.valid_to_ns):
                return int(period.price_minor)
        return None if row.price_minor is None else int(row.price_minor)


def offer_of(connection: sa.Connection, store: str, codes: Iterable[str]) -> Offer:
    """What billing knows of these codes in ``store``."""
    wanted = sorted(set(codes))
    alias = sa.select(barcodes.c.code, barcodes.c.barcode).where(barcodes.c.store == store, barcodes.c.code.in_(wanted))
    meant = {row.code: row.barcode for row in connection.execute(alias)}
    ids = sorted({meant.get(code, code) for code in wanted})
    rows = connection.execute(sa.select(prices).where(prices.c.store == store, prices.c.barcode.in_(ids)))
    known = {row.barcode: row for row in rows}
    dated = sa.select(price_periods).where(price_periods.c.store == store, price_periods.c.barcode.in_(ids))
    periods: dict[str, list[Any]] = {}
    for row in connection.execute(dated):
        periods.setdefault(row.barcode, []).append(row)
    return Offer(meant, known, periods)


def products_of(connection: sa.Connection, store: str, codes: Iterable[str], at_ns: int) -> dict[str, PricedProduct]:
    """What billing knows of these products in ``store`` at ``at_ns``, see ``Offer.products``."""
    wanted = list(codes)
    return offer_of(connection, store, wanted).products(wanted, at_ns)


def _product(code: str, row: Any, minor: int | None) -> PricedProduct:
    member = None if row.member_price_minor is None else Money(row.member_price_minor, row.currency)
    price = None if minor is None else Money(minor, row.currency)
    return PricedProduct(code, row.name, price, member, row.tax_class, row.per_kg, row.tare_g)


def set_terms(engine: sa.Engine, store: str, currency: str, terms: StoreTerms) -> None:
    """Set on what terms the store sells from now on; receipts that are written keep their lines."""
    with writing(engine) as connection:
        ensure_store(connection, store, currency)
        connection.execute(stores.update().where(stores.c.store == store).values(terms=terms_to_json(terms)))


def terms_of(connection: sa.Connection, store: str) -> StoreTerms:
    """On what terms the store sells; empty terms where nobody set any."""
    text = connection.execute(sa.select(stores.c.terms).where(stores.c.store == store)).scalar_one_or_none()
    return terms_from_json(text or "")
