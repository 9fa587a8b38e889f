"""What grams and facings say about which goods moved."""

import pytest

from tests.fusion.shop import CRISPS, GUM, MYSTERY, TEA, WATER, event, plate, shop
from walkout.domain.shopping import Item, Product
from walkout.fusion.items import ItemHypothesis, change_of, count_log_prior, label_weight, log_mass, picks
from walkout.store.catalog import facings_by_plate

STORE = shop()
BY_PLATE = facings_by_plate(STORE.planogram.facings)
STOCKED = tuple(sorted(STORE.products))


def best(deltas: dict[int, float]) -> ItemHypothesis:
    change = change_of(event(1.0, {plate(number): grams for number, grams in deltas.items()}), BY_PLATE)
    return picks(change, STORE.products, STOCKED)[0]


@pytest.mark.parametrize(
    ("deltas", "items"),
    [
        ({1: -500.0, 2: -118.0}, (Item(WATER, 1),)),
        ({1: -1235.0}, (Item(WATER, 2),)),
        ({3: -601.0}, (Item(TEA, 1),)),
        ({4: -136.0}, (Item(CRISPS, 3),)),
        ({3: -590.0, 4: -45.5}, (Item(TEA, 1), Item(CRISPS, 1))),
        ({4: -46.0, 5: -67.0}, (Item(CRISPS, 1), Item(GUM, 2))),
        ({6: -310.0}, (Item(MYSTERY, 1),)),
    ],
)
def test_the_plates_and_their_mass_name_the_goods(deltas: dict[int, float], items: tuple[Item, ...]) -> None:
    assert best(deltas).items == items


def test_a_product_on_a_foreign_plate_is_named_by_its_mass() -> None:
    assert best({4: -621.0}).items == (Item(WATER, 1),)


def test_crosstalk_on_the_neighbour_is_not_a_second_product() -> None:
    assert best({2: -620.0, 3: -9.0}).items == (Item(WATER, 1),)


def test_a_label_that_is_a_little_off_is_still_one_unit() -> None:
    assert best({3: -640.0}).items == (Item(TEA, 1),)


def test_many_light_things_do_not_explain_any_mass() -> None:
    """Six packs of gum weigh 204 g: on the mystery product's plate that is still one mystery product."""
    assert best({6: -204.0}).items == (Item(MYSTERY, 1),)


def test_units_carry_the_weight_that_was_measured() -> None:
    assert best({1: -1236.0}).units == ((WATER, 618.0), (WATER, 618.0))


def test_more_units_and_more_kinds_cost_more() -> None:
    assert count_log_prior([1]) > count_log_prior([2]) > count_log_prior([1, 1]) > count_log_prior([3, 3])


def test_labels_that_cannot_be_true_count_as_unknown() -> None:
    assert label_weight(Product("1", "kilograms by mistake", 1.6, None)) is None
    assert label_weight(None) is None
    assert label_weight(Product("1", "crisps", 30.0, None)) == 30.0


def test_mass_likelihood_falls_away_from_the_label_but_never_to_nothing() -> None:
    near, far, absurd = (log_mass(grams, 600.0, 1, 1.0) for grams in (605.0, 700.0, 1900.0))
    assert near > far > absurd > -20.0
    assert log_mass(-3.0, 600.0, 1, 1.0) < absurd
