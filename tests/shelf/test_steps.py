"""What hands do at a shelf comes out as one weight event per action, with the mass that moved."""

import numpy as np
import pytest


@pytest.mark.parametrize("delta_g", [-600, -60, -10, 10, 45, 300])
def test_a_step_of_any_weight_is_one_event_with_its_mass_sign_and_moment(lab, delta_g):
    scene = lab.Scene()
    scene.step(1, 4, 8.0, delta_g)
    (event,) = lab.steps(lab.detect(scene.batches()))
    assert lab.numbers(event) == [4]
    assert event.total_g == pytest.approx(delta_g, abs=2)
    assert 7.8 < lab.s(event.start_ns) <= lab.s(event.step_ns) <= lab.s(event.end_ns) < 8.5
    assert lab.s(event.step_ns) == pytest.approx(8.06, abs=0.1)
    assert event.settled


def test_a_product_over_three_plates_is_one_event_with_one_change_per_plate(lab):
    scene = lab.Scene()
    for plate, delta_g in ((3, -40), (4, -300), (5, -20)):
        scene.press(1, plate, 7.6, abs(delta_g))
        scene.step(1, plate, 7.9, delta_g)
    (event,) = lab.steps(lab.detect(scene.batches()))
    assert lab.numbers(event) == [3, 4, 5]
    assert event.delta_g == pytest.approx((-40, -300, -20), abs=2)


def test_two_light_halves_of_one_product_count_together(lab):
    scene = lab.Scene()
    scene.step(1, 4, 8.0, -5)
    scene.step(1, 5, 8.0, -5)
    (event,) = lab.steps(lab.detect(scene.batches()))
    assert event.total_g == pytest.approx(-10, abs=2)


def test_cross_talk_to_a_neighbour_belongs_to_the_step(lab):
    scene = lab.Scene()
    scene.step(1, 4, 8.0, -620)
    scene.step(1, 5, 8.0, -5)
    (event,) = lab.steps(lab.detect(scene.batches()))
    assert lab.numbers(event) == [4, 5]


def test_two_people_on_well_separated_plates_of_one_shelf_stay_two_events(lab):
    scene = lab.Scene()
    scene.step(1, 2, 8.0, -200)
    scene.step(1, 9, 8.05, 350)
    events = lab.steps(lab.detect(scene.batches()))
    assert sorted((lab.numbers(e), round(e.total_g / 10)) for e in events) == [([2], -20), ([9], 35)]


def test_the_same_plates_of_two_shelves_are_two_events(lab):
    scene = lab.Scene()
    scene.step(1, 5, 8.0, -200)
    scene.step(2, 5, 8.0, -200)
    assert len(lab.steps(lab.detect(scene.batches()))) == 2


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("apart_s", [0.6, 0.8, 1.0, 1.5])
def test_fast_repeated_picks_within_one_touch_come_out_one_by_one(lab, apart_s, seed):
    scene = lab.Scene(seed=seed)
    for k in range(3):
        scene.press(1, 4, 7.78 + k * apart_s, 40, 0.22)
        scene.step(1, 4, 8.0 + k * apart_s, -60)
    events = lab.steps(lab.detect(scene.batches()))
    assert [e.total_g for e in events] == pytest.approx([-60] * 3, abs=2)
    assert [lab.s(e.step_ns) for e in events] == pytest.approx([8.06 + k * apart_s for k in range(3)], abs=0.1)


def test_goods_lifted_and_set_down_at_once_are_a_touch(lab):
    scene = lab.Scene()
    scene.step(1, 4, 8.0, -200)
    scene.step(1, 4, 8.6, 200)
    found = lab.detect(scene.batches())
    assert lab.steps(found) == []
    (touch,) = lab.touches(found)
    assert touch.total_g == pytest.approx(0, abs=2)


def test_goods_in_a_hand_for_longer_are_a_pick_and_a_put_back(lab):
    scene = lab.Scene()
    scene.step(1, 4, 8.0, -200)
    scene.step(1, 4, 9.5, 200)
    assert [e.total_g for e in lab.steps(lab.detect(scene.batches()))] == pytest.approx([-200, 200], abs=2)


@pytest.mark.parametrize("grams", [60, 400, 1500])
def test_a_hand_that_rests_on_the_goods_is_a_touch(lab, grams):
    scene = lab.Scene()
    scene.lean(1, 4, 8.0, grams, 2.0)
    found = lab.detect(scene.batches())
    assert lab.steps(found) == []
    assert len(lab.touches(found)) == 1


def test_a_pick_from_under_a_resting_hand_weighs_what_left(lab):
    scene = lab.Scene()
    scene.lean(1, 4, 8.0, 300, 1.8)
    scene.step(1, 4, 9.4, -120)
    (event,) = lab.steps(lab.detect(scene.batches()))
    assert event.total_g == pytest.approx(-120, abs=2)


@pytest.mark.parametrize("delta_g", [-10, -50, -500])
def test_mass_that_leaves_over_two_seconds_is_one_step(lab, delta_g):
    scene = lab.Scene()
    scene.step(1, 4, 8.0, delta_g, lasting_s=2.0)
    (event,) = lab.steps(lab.detect(scene.batches()))
    assert event.total_g == pytest.approx(delta_g, abs=2)
    assert lab.s(event.start_ns) < 8.8


def test_slow_creep_after_a_step_is_no_second_step(lab):
    scene = lab.Scene()
    scene.step(1, 4, 8.0, 600)
    scene.creep(1, 4, 8.12, 12, tau_s=4.0)
    (event,) = lab.steps(lab.detect(scene.batches()))
    assert 598 < event.total_g < 613


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_a_knock_against_the_gondola_moves_nothing(lab, seed):
    scene = lab.Scene(shelves=5, seed=seed)
    scene.shock(8.0, 100)
    assert lab.detect(scene.batches()) == []


def test_a_pick_soon_after_a_knock_is_still_found(lab):
    scene = lab.Scene(shelves=5)
    scene.shock(8.0, 100)
    scene.step(2, 6, 10.5, -150)
    (event,) = lab.steps(lab.detect(scene.batches()))
    assert event.total_g == pytest.approx(-150, abs=2)


def test_a_quiet_shelf_says_nothing(lab):
    scene = lab.Scene(shelves=6, seconds=60, vibration_g=2.0)
    assert lab.detect(scene.batches()) == []


def test_a_shelf_that_grows_noisier_says_nothing_and_still_sees_picks(lab):
    scene = lab.Scene(seconds=40)
    scene.grams[600:] += scene.tremble(600, 6.0)
    scene.step(1, 4, 30.0, -150)
    found = lab.detect(scene.batches())
    (event,) = lab.steps(found)
    assert event.total_g == pytest.approx(-150, abs=6)


def test_ids_and_events_do_not_depend_on_how_samples_were_batched(lab):
    scene = lab.Scene()
    scene.step(1, 4, 8.0, -200)
    scene.step(2, 9, 10.0, 30)
    batches = scene.batches()
    whole = lab.detect(batches)
    assert lab.detect(lab.rebatched(batches, 5)) == whole
    assert lab.detect(lab.rebatched(batches, 60)) == whole


def test_sigma_is_honest(lab):
    scene = lab.Scene(shelves=6, seconds=120, seed=5)
    truth = {}
    for k in range(15):
        for shelf in range(1, 7):
            plate = 1 + (5 * k + 2 * shelf) % 12
            truth[(shelf, plate, k)] = delta_g = -30.0 - 7 * k
            scene.step(shelf, plate, 8.0 + 7 * k + 0.37 * shelf, delta_g)
    errors = []
    for event in lab.steps(lab.detect(scene.batches())):
        k = round((lab.s(event.step_ns) - 8.0 - 0.37 * event.shelf_id.shelf) / 7)
        main = max(range(len(event.plates)), key=lambda i: abs(event.delta_g[i]))
        plate = event.plates[main]
        errors.append((event.delta_g[main] - truth[(plate.shelf, plate.plate, k)]) / event.sigma_g[main])
    assert len(errors) == 90
    rms = (sum(z * z for z in errors) / 90) ** 0.5
    assert 0.5 < rms < 1.5  # measured: 0.70


def test_two_products_with_a_plate_between_them_stay_two_events(lab):
    scene = lab.Scene()
    scene.step(1, 4, 8.0, -200)
    scene.step(1, 6, 8.2, -250)
    assert len(lab.steps(lab.detect(scene.batches()))) == 2


def test_a_product_may_bridge_a_dead_plate(lab):
    scene = lab.Scene()
    scene.grams[:, scene.at(1, 5)] = np.nan
    scene.step(1, 4, 8.0, -200)
    scene.step(1, 6, 8.0, -250)
    (event,) = lab.steps(lab.detect(scene.batches()))
    assert event.total_g == pytest.approx(-450, abs=2)
