"""Prices are exact, and what cannot be priced is a doubt, never a guess."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walkout.billing.pricing import price_basket
from walkout.billing.records import LARGEST_MINOR, PricedProduct
from walkout.domain.money import Money
from walkout.domain.shopping import Basket

WATER = PricedProduct("071142008582", "ARRWHD SPRNG WTR", Money(100, "USD"))
GUM = PricedProduct("4", "GUM", Money(7, "USD"))


def test_a_total_is_the_exact_sum_of_quantity_times_unit_price() -> None:
    basket = Basket("v", (("071142008582", 3), ("4", 11)))
    priced = price_basket(basket, {p.barcode: p for p in (WATER, GUM)}, "USD")
    assert [line.total for line in priced.lines] == [Money(300, "USD"), Money(77, "USD")]
    assert priced.total == Money(377, "USD")
    assert priced.doubts == ()


@given(st.lists(st.tuples(st.integers(1, 99), st.integers(0, 10**7)), max_size=20))
def test_totals_never_round(rows: list[tuple[int, int]]) -> None:
    products = {f"{i:03}": PricedProduct(f"{i:03}", "x", Money(unit, "KRW")) for i, (_, unit) in enumerate(rows)}
    basket = Basket("v", tuple((f"{i:03}", count) for i, (count, _) in enumerate(rows)))
    assert price_basket(basket, products, "KRW").total.minor == sum(count * unit for count, unit in rows)


@pytest.mark.parametrize(
    ("product", "doubt"),
    [
        (None, "unknown product"),
        (PricedProduct("4", "GUM", None), "GUM has no price"),
        (PricedProduct("4", "GUM", Money(500, "KRW")), "priced in KRW, the visit pays in USD"),
        (PricedProduct("4", "GUM", Money(LARGEST_MINOR, "USD")), "more than the books hold"),
    ],
)
def test_a_line_without_a_usable_price_stays_on_the_receipt_and_asks_for_a_look(
    product: PricedProduct | None, doubt: str
) -> None:
    products = {WATER.barcode: WATER} | ({"4": product} if product else {})
    priced = price_basket(Basket("v", (("071142008582", 1), ("4", 2))), products, "USD")
    assert priced.total == Money(100, "USD")
    assert (priced.lines[1].barcode, priced.lines[1].quantity, priced.lines[1].total) == ("4", 2, None)
    assert len(priced.doubts) == 1
    assert doubt in priced.doubts[0]


def test_more_put_backs_than_picks_ask_for_a_look() -> None:
    priced = price_basket(Basket("v", (), ("4",)), {}, "USD")
    assert priced.doubts == ("4: put back more often than it was taken",)


def test_a_free_product_has_a_price() -> None:
    priced = price_basket(Basket("v", (("4", 2),)), {"4": PricedProduct("4", "LEAFLET", Money(0, "USD"))}, "USD")
    assert priced.lines[0].total == Money(0, "USD")
    assert priced.doubts == ()
