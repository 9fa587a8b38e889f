"""The simulated store is a store like any other: plates, goods, prices and zones fit together."""

import pytest

from walkout.domain.sensing import ShelfId
from walkout.sim.kiosk import ean13, kiosk_store
from walkout.store.catalog import facings_by_plate
from walkout.store.layout import ZoneKind


@pytest.mark.parametrize(
    "published", ["4006381333931", "9780201379624", "5901234123457"], ids=["pen", "book", "example of GS1"]
)
def test_check_digit_agrees_with_published_barcodes(published: str) -> None:
    assert ean13(published[:12]) == published


def test_barcodes_are_distinct_and_of_the_range_left_to_stores() -> None:
    store = kiosk_store()
    assert len(store.products) == 26
    for barcode in store.products:
        assert len(barcode) == 13
        assert 20 <= int(barcode[:2]) <= 29
        assert ean13(barcode[:12]) == barcode


def test_every_product_has_a_name_in_two_languages_a_weight_and_a_price_in_won() -> None:
    for product in kiosk_store().products.values():
        korean, english = product.name.split(" / ")
        assert any("가" <= letter <= "힣" for letter in korean)
        assert english.isascii()
        assert product.weight_g is not None
        assert product.weight_g > 0.0
        assert product.price is not None
        assert product.price.currency == "KRW"
        assert product.price.minor > 0


def test_each_plate_carries_one_facing_at_most_and_some_stay_empty() -> None:
    store = kiosk_store()
    there = facings_by_plate(store.planogram.facings)
    assert set(there) < set(store.layout.boxes)
    assert all(len(facings) == 1 for facings in there.values())
    assert {facing.barcode for facing in store.planogram.facings} == set(store.products)


def test_plates_run_from_left_to_right_and_shelves_from_the_floor_up() -> None:
    layout = kiosk_store().layout
    assert len(layout.boxes) == 72
    row = layout.centers_m(layout.plates_of(ShelfId("1", 2)))
    assert (row[1:, 0] - row[:-1, 0]).tolist() == pytest.approx([0.15] * 7)
    column = [layout.centers_m(layout.plates_of(ShelfId("1", level)))[0, 2] for level in range(1, 6)]
    assert column == sorted(column)


def test_shelves_do_not_run_through_the_goods_below_them() -> None:
    for gondola in kiosk_store().layout.gondolas:
        heights = [float(shelf.pose.translation[2]) for shelf in gondola.shelves]
        for shelf, above in zip(gondola.shelves, [*heights[1:], gondola.size_m[2]], strict=True):
            assert float(shelf.pose.translation[2]) + shelf.size_m[2] <= above


def test_there_is_a_way_in_a_way_out_and_a_floor() -> None:
    assert {zone.kind for zone in kiosk_store().layout.zones} == set(ZoneKind)
