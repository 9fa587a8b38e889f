"""Who took what, over whole visits."""

import random

import pytest

from tests.fusion.shop import (
    CRISPS,
    GUM,
    MYSTERY,
    TEA,
    WATER,
    Walker,
    baskets,
    closed,
    event,
    gates,
    ns,
    plate,
    run,
    shop,
    visit,
)
from walkout.domain.sensing import Gap, GateEvent, GateEventKind, WeightEvent, WeightEventKind
from walkout.domain.shopping import Assignment, BasketEvent, BasketEventKind, Undecided, VisitClosed, fold_basket
from walkout.fusion.engine import Engine


def reach(t_s: float, number: int, shelf: int = 1) -> tuple[float, object, float]:
    return t_s, plate(number, shelf), 0.35


def test_each_shopper_gets_what_their_own_hand_took() -> None:
    anna, ben = Walker("anna", 0.1, (reach(5, 1),)), Walker("ben", 0.4, (reach(9, 4),))
    out = run(visit([anna, ben], [event(5, {plate(1): -622.0}), event(9, {plate(4): -45.0})]))
    assert baskets(out) == {"anna": {WATER: 1}, "ben": {CRISPS: 1}}
    assert all(not closed(out, name).review and closed(out, name).confidence > 0.9 for name in ("anna", "ben"))


def test_put_back_on_a_neighbouring_plate_is_credited_once() -> None:
    anna = Walker("anna", 0.2, (reach(5, 1), reach(9, 4)))
    out = run(visit([anna], [event(5, {plate(1): -622.0}), event(9, {plate(4): 621.5})]))
    assert baskets(out) == {"anna": {}}


def test_goods_left_on_a_foreign_shelf_are_paid_by_whoever_takes_them_from_there() -> None:
    anna = Walker("anna", 0.2, (reach(4, 3), reach(7, 2, 2)))
    ben = Walker("ben", 0.2, (reach(12, 2, 2),))
    steps = [event(4, {plate(3): -598.0}), event(7, {plate(2, 2): 597.5}), event(12, {plate(2, 2): -598.0})]
    assert baskets(run(visit([anna, ben], steps))) == {"anna": {}, "ben": {TEA: 1}}


def test_one_step_of_two_weights_with_two_hands_in_it_is_one_each() -> None:
    anna, ben = Walker("anna", 0.1, (reach(6, 1),)), Walker("ben", 0.2, (reach(6, 1),))
    out = run(visit([anna, ben], [event(6, {plate(1): -1240.0})]))
    assert baskets(out) == {"anna": {WATER: 1}, "ben": {WATER: 1}}
    decision = next(one for one in out if isinstance(one, Assignment | Undecided))
    best = decision.chosen if isinstance(decision, Assignment) else decision.candidates[0]
    assert {part.visit_id for part in best.parts} == {"visit-anna", "visit-ben"}


def test_a_handful_of_two_is_one_hands_when_the_other_stands_by() -> None:
    anna, ben = Walker("anna", 0.1, (reach(6, 1),)), Walker("ben", 0.4)
    assert baskets(run(visit([anna, ben], [event(6, {plate(1): -1240.0})]))) == {"anna": {WATER: 2}, "ben": {}}


def test_who_took_it_from_the_shelf_pays_until_somebody_puts_it_back() -> None:
    """Anna takes, hands over, Ben puts it back where it belongs: nobody pays."""
    anna, ben = Walker("anna", 0.1, (reach(5, 3),)), Walker("ben", 0.3, (reach(11, 3),))
    out = run(visit([anna, ben], [event(5, {plate(3): -590.0}), event(11, {plate(3): 590.5})]))
    assert baskets(out) == {"anna": {}, "ben": {}}


def test_what_leans_on_a_plate_and_leaves_again_is_nobodys_goods() -> None:
    anna = Walker("anna", 0.2, ((8, plate(5), 3.0),))
    assert baskets(run(visit([anna], [event(6, {plate(5): 210.0}), event(9, {plate(5): -212.0})]))) == {"anna": {}}


def test_mass_that_leaves_out_of_everybodys_reach_is_charged_to_nobody() -> None:
    anna = Walker("anna", 4.0)
    out = run(visit([anna], [event(6, {plate(3): -593.0})]))
    assert baskets(out) == {"anna": {}}
    decision = next(one for one in out if isinstance(one, Assignment))
    assert decision.chosen.parts[0].visit_id is None
    assert decision.chosen.parts[0].items[0].barcode == TEA


def test_hands_and_steps_on_clocks_that_disagree_still_meet() -> None:
    anna = Walker("anna", 0.1, (reach(5, 1), reach(9, 3), reach(13, 4)), clock_s=0.45)
    ben = Walker("ben", 0.1, (reach(6, 1), reach(10, 3), reach(14, 4)), clock_s=0.45)
    steps = [event(5, {plate(1): -620.0}), event(9, {plate(3): -593.0}), event(13, {plate(4): -45.0})]
    assert baskets(run(visit([anna, ben], steps))) == {"anna": {WATER: 1, TEA: 1, CRISPS: 1}, "ben": {}}


def test_a_product_without_a_weight_is_known_by_its_place() -> None:
    anna = Walker("anna", 0.5, (reach(6, 6),))
    assert baskets(run(visit([anna], [event(6, {plate(6): -180.0})]))) == {"anna": {MYSTERY: 1}}


def test_touches_change_no_basket() -> None:
    touch = event(6, {plate(3): -0.2})
    touch = WeightEvent(
        **{name: getattr(touch, name) for name in WeightEvent.__slots__} | {"kind": WeightEventKind.TOUCH}
    )
    out = run(visit([Walker("anna", 0.2, (reach(6, 3),))], [touch]))
    assert [type(one) for one in out] == [VisitClosed]


def busy() -> list:
    anna = Walker("anna", 0.1, (reach(4, 1), reach(8, 4), reach(11, 3, 2)))
    ben = Walker("ben", 0.4, (reach(6, 5), reach(14, 3, 2)))
    steps = [
        event(4, {plate(1): -622.0}),
        event(6, {plate(5): -68.0}),
        event(8, {plate(4): -45.0}),
        event(11, {plate(3, 2): 621.0}),
        event(14, {plate(3, 2): -621.5}),
    ]
    return visit([anna, ben], steps)


def test_neither_order_nor_repetition_nor_the_cut_of_the_watermarks_changes_a_word() -> None:
    expected = run(busy())
    assert baskets(expected) == {"anna": {CRISPS: 1}, "ben": {GUM: 2, WATER: 1}}
    for seed in range(3):
        rng = random.Random(seed)
        records = busy() * 2
        rng.shuffle(records)
        engine = Engine(shop())
        for record in records:
            engine.add(record)
        out = [one for cut in sorted(rng.uniform(0, 60) for _ in range(25)) for one in engine.advance(ns(cut))]
        assert out + engine.advance(ns(3600)) == expected


def test_a_successor_that_is_fed_again_says_the_same() -> None:
    """What a killed process had acknowledged is before the horizon, and is not needed."""
    records = busy()
    first = Engine(shop())
    for record in records:
        first.add(record)
    said = first.advance(ns(9.0))
    horizon_ns = first.horizon_ns()
    second = Engine(shop())
    for record in records:
        time_ns = record.end_ns if isinstance(record, WeightEvent) else record.t_ns
        if time_ns >= horizon_ns:
            second.add(record)
    again = second.advance(ns(3600))
    assert again[: len(said)] == said
    assert baskets(again) == baskets(run(records))


def test_the_live_basket_ends_as_the_final_one() -> None:
    out = run(busy())
    events = [one for one in out if isinstance(one, BasketEvent)]
    for one in out:
        if isinstance(one, VisitClosed):
            mine = [event for event in events if event.visit_id == one.visit_id]
            assert one.basket_events == len({event.event_id for event in mine})
            assert not fold_basket(one.visit_id, mine).doubtful
    kinds = [one.kind for one in events if one.barcode == WATER and one.visit_id == "visit-anna"]
    assert kinds == [BasketEventKind.PICK, BasketEventKind.PUT_BACK]


@pytest.mark.parametrize(
    ("gap", "doubted"),
    [
        (Gap("gondola-A", ns(6), ns(11), "controller silent"), True),
        (Gap("gondola-A", ns(6), ns(6.4), "two batches lost"), False),
        (Gap("plate A/1/1", ns(0), ns(19), "constant"), False),
        (Gap("log/weight_events", 0, 0, "an entry that cannot be read"), True),
        (Gap("gondola-A", ns(-90), ns(-60), "before anybody came"), False),
    ],
)
def test_a_visit_in_which_a_sensor_was_blind_is_reviewed(gap: Gap, doubted: bool) -> None:
    anna = Walker("anna", 0.1, (reach(4, 1),))
    out = run(visit([anna], [event(4, {plate(1): -622.0})], [gap]))
    assert bool(closed(out, "anna").review) is doubted
    assert baskets(out) == {"anna": {WATER: 1}}


def test_a_visit_in_which_nobody_was_seen_is_reviewed() -> None:
    records = [
        GateEvent(ns(0), GateEventKind.ENTERED, "visit-x", None),
        GateEvent(ns(20), GateEventKind.LEFT, "visit-x", None),
        event(6, {plate(3): -593.0}),
    ]
    out = run(records)
    assert baskets(out) == {"x": {TEA: 1}}
    assert "nobody was seen in this visit" in closed(out, "x").review


def test_equal_claims_are_undecided_and_go_to_review() -> None:
    anna, ben = Walker("anna", 0.2, (reach(6, 3),)), Walker("ben", 0.2, (reach(6, 3),))
    out = run(visit([anna, ben], [event(6, {plate(3): -593.0})]))
    assert any(isinstance(one, Undecided) for one in out)
    assert closed(out, "anna").review
    assert closed(out, "ben").review


def test_a_closed_receipt_is_never_given_to_a_second_shopper() -> None:
    """Anna leaves with the water; what Ben does later cannot take it off her receipt and onto his."""
    anna, ben = Walker("anna", 0.1, (reach(4, 1),)), Walker("ben", 0.1, (reach(25, 1),))
    records = visit([anna, ben], [event(4, {plate(1): -622.0}), event(25, {plate(1): 621.0})], length_s=30)
    early = [
        GateEvent(ns(8), GateEventKind.LEFT, one.visit_id, one.track_id)
        if isinstance(one, GateEvent) and one.kind is GateEventKind.LEFT and one.track_id == "anna"
        else one
        for one in records
    ]
    assert baskets(run(early)) == {"anna": {WATER: 1}, "ben": {}}


def test_an_empty_store_forgets_and_a_late_record_of_the_past_changes_nothing() -> None:
    engine = Engine(shop())
    anna = Walker("anna", 0.1, (reach(4, 1),))
    records = visit([anna], [event(4, {plate(1): -622.0})])
    for record in records:
        engine.add(record)
    assert baskets(engine.advance(ns(60))) == {"anna": {WATER: 1}}
    for record in records:
        engine.add(record)
    assert engine.advance(ns(120)) == []
    for gate in gates([Walker("ben", 0.2)], 10.0):
        engine.add(GateEvent(gate.t_ns + ns(200) - ns(0), gate.kind, "visit-ben", "ben"))
    assert baskets(engine.advance(ns(3600))) == {"ben": {}}
