"""What a script may ask for, and what must then be true."""

from collections import Counter
from dataclasses import replace

import pytest

from walkout.domain.sensing import PlateId
from walkout.errors import SceneError
from walkout.sim.kiosk import kiosk_barcode, kiosk_store
from walkout.sim.scene import check_scene, kiosk_scene, simulated_moves
from walkout.sim.script import STOCK_PER_PLATE, Act, ActKind, Scene, Shopper, truth

JUICE, NOODLES, GUM = kiosk_barcode(103), kiosk_barcode(203), kiosk_barcode(115)
JUICE_PLATE = (PlateId("1", 2, 2),)
GUM_PLATES = (PlateId("1", 5, 7), PlateId("1", 5, 8))
WRONG_PLATE = (PlateId("1", 5, 4),)


def act(
    t_s: float,
    kind: ActKind,
    barcode: str = JUICE,
    quantity: int = 1,
    plates: tuple[PlateId, ...] = JUICE_PLATE,
    who: str = "a",
    hold_s: float = 0.0,
) -> Act:
    return Act(who, t_s, kind, barcode, quantity, plates, hold_s)


def scene(*acts: Act) -> Scene:
    people = (Shopper("a", "track-a", 1.0, 50.0), Shopper("b", "track-b", 1.0, 50.0))
    return Scene("test", kiosk_store(), people, acts, 60.0)


def test_basket_is_what_was_taken_less_what_was_put_back() -> None:
    script = scene(
        act(10.0, ActKind.PICK, quantity=2),
        act(14.0, ActKind.PICK, GUM, 1, GUM_PLATES),
        act(20.0, ActKind.PUT),
    )
    assert truth(script).baskets == {"a": tuple(sorted([(JUICE, 1), (GUM, 1)])), "b": ()}
    assert len(truth(script).events) == 3


def test_touching_lifting_and_reaching_leave_every_basket_empty() -> None:
    script = scene(
        act(10.0, ActKind.TOUCH, quantity=0, hold_s=0.5),
        act(14.0, ActKind.TOUCH, quantity=1, hold_s=1.0),
        act(20.0, ActKind.REACH, quantity=0, hold_s=0.5),
    )
    assert truth(script).baskets == {"a": (), "b": ()}
    assert truth(script).events == ()


def test_misplaced_goods_belong_to_whoever_takes_them_next() -> None:
    script = scene(
        act(10.0, ActKind.PICK),
        act(20.0, ActKind.PUT, plates=WRONG_PLATE),
        act(30.0, ActKind.PICK, plates=WRONG_PLATE, who="b"),
    )
    assert truth(script).baskets == {"a": (), "b": ((JUICE, 1),)}


def test_a_unit_keeps_its_own_mass_on_its_way_through_hands() -> None:
    script = scene(
        act(10.0, ActKind.PICK),
        act(20.0, ActKind.PUT, plates=WRONG_PLATE),
        act(30.0, ActKind.PICK, plates=WRONG_PLATE, who="b"),
        act(36.0, ActKind.PICK, who="b"),
    )
    first, put, again, other = (sum(move.grams) for move in simulated_moves(script, 5))
    assert put == pytest.approx(-first)
    assert again == pytest.approx(first)
    assert abs(other - first) > 0.1


def test_goods_across_two_plates_share_their_mass_between_them() -> None:
    (move,) = simulated_moves(scene(act(10.0, ActKind.PICK, GUM, 1, GUM_PLATES)), 5)
    assert sum(move.grams) == pytest.approx(-27.0, rel=0.06)
    assert all(part < -0.3 * 27.0 for part in move.grams)


def test_baskets_of_the_demo_are_its_picks_less_its_puts() -> None:
    script = kiosk_scene()
    for shopper in script.shoppers:
        counts: Counter[str] = Counter()
        for one in script.acts:
            if one.shopper == shopper.name:
                counts[one.barcode] += {ActKind.PICK: 1, ActKind.PUT: -1}.get(one.kind, 0) * one.quantity
        assert dict(truth(script).baskets[shopper.name]) == dict(+counts)


@pytest.mark.parametrize(
    ("acts", "why"),
    [
        ([act(10.0, ActKind.PUT)], "holds 0"),
        ([act(10.0, ActKind.PICK), act(14.0, ActKind.PUT, who="b")], "b holds 0"),
        ([act(10.0, ActKind.PICK, quantity=3 * STOCK_PER_PLATE + 1)], "only 0 of 13"),
        ([act(10.0, ActKind.PICK, plates=WRONG_PLATE)], "only 0 of 1"),
        ([act(10.0, ActKind.PICK, barcode="2000000000000")], "no product"),
        ([act(10.0, ActKind.PICK, plates=(PlateId("9", 1, 1),))], "no plate 9/1/1"),
        ([act(10.0, ActKind.PICK, plates=())], "no plate"),
        ([act(10.0, ActKind.PICK, plates=(PlateId("1", 2, 1), PlateId("1", 2, 3)))], "neighbouring"),
        ([act(10.0, ActKind.PICK, plates=(PlateId("1", 2, 1), PlateId("1", 3, 2)))], "neighbouring"),
        ([act(10.0, ActKind.PICK, quantity=0)], "at least one unit"),
        ([act(10.0, ActKind.PICK, hold_s=1.0)], "only touches"),
        ([act(10.0, ActKind.TOUCH, quantity=-1)], "at least one unit"),
        ([act(10.0, ActKind.REACH)], "moves nothing"),
        ([act(10.0, ActKind.PICK, who="nobody")], "nobody of that name"),
        ([act(0.5, ActKind.PICK)], "inside from"),
        ([act(49.5, ActKind.TOUCH, hold_s=2.0)], "inside from"),
        ([act(20.0, ActKind.PICK), act(10.0, ActKind.PICK)], "sort the acts"),
        ([act(20.0, ActKind.PICK), act(20.4, ActKind.PICK)], "allow 0.6 s"),
        ([act(20.0, ActKind.PICK), act(21.5, ActKind.PICK, NOODLES, 1, (PlateId("2", 2, 1),))], "allow 1.9"),
        ([act(20.0, ActKind.PICK), act(22.5, ActKind.PICK, NOODLES, 1, (PlateId("2", 2, 3),))], "cannot walk"),
        ([act(2.5, ActKind.PICK)], "cannot walk"),
    ],
)
def test_what_could_not_happen_in_a_store_is_refused(acts: list[Act], why: str) -> None:
    with pytest.raises(SceneError, match=why):
        check_scene(scene(*acts))


@pytest.mark.parametrize(
    ("people", "why"),
    [
        ((Shopper("a", "t1", 1.0, 50.0), Shopper("a", "t2", 1.0, 50.0)), "share a name"),
        ((Shopper("a", "t1", 1.0, 50.0), Shopper("b", "t1", 1.0, 50.0)), "share a name or a track"),
        ((Shopper("a", "t1", 9.0, 9.0),), "must enter before leaving"),
        ((Shopper("a", "t1", 9.0, 99.0),), "must enter before leaving"),
    ],
)
def test_people_who_could_not_be_told_apart_or_never_come_are_refused(people: tuple[Shopper, ...], why: str) -> None:
    with pytest.raises(SceneError, match=why):
        check_scene(replace(scene(), shoppers=people))
