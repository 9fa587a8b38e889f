"""What controllers and networks do wrong never becomes a weight event; what is missing is told."""

from dataclasses import replace

import numpy as np
import pytest

from walkout.domain.sensing import LoadCellBatch
from walkout.shelf.baseline import PlateHealth
from walkout.shelf.steps import StepDetector


@pytest.fixture
def pick(lab):
    """A pick of 100 g from plate 4 at 8.0 s: 20 s in batches of 0.2 s."""
    scene = lab.Scene()
    scene.step(1, 4, 8.0, -100)
    return scene.batches()


@pytest.mark.parametrize("lost", [slice(40, 41), slice(38, 43), slice(36, 44), slice(41, 43)])
def test_packets_lost_within_a_pick_leave_its_mass_and_a_gap(lab, pick, lost):
    del pick[lost]
    found = lab.detect(pick)
    (event,) = lab.steps(found)
    assert event.total_g == pytest.approx(-100, abs=2)
    (gap,) = lab.gaps(found)
    assert (gap.source, lab.s(gap.start_ns)) == ("7", pytest.approx(lost.start * 0.2))
    assert not event.settled


def test_mass_that_left_during_an_outage_is_told_when_readings_return(lab, pick):
    del pick[36:66]
    found = lab.detect(pick)
    (event,) = lab.steps(found)
    assert event.total_g == pytest.approx(-100, abs=2)
    assert not event.settled
    assert lab.s(event.end_ns) == pytest.approx(13.2, abs=0.3)


def test_packets_lost_in_quiet_are_a_gap_and_nothing_else(lab):
    batches = lab.Scene().batches()
    del batches[50:55]
    found = lab.detect(batches)
    assert found == lab.gaps(found)
    assert len(found) == 1


def test_doubled_batches_change_nothing(lab, pick):
    assert lab.detect([batch for one in pick for batch in (one, one)]) == lab.detect(pick)


def test_stragglers_are_dropped_and_the_pick_is_found_once(lab, pick):
    for at in range(5, 90, 7):
        pick[at], pick[at + 1] = pick[at + 1], pick[at]
    (event,) = lab.steps(lab.detect(pick))
    assert event.total_g == pytest.approx(-100, abs=2)


@pytest.mark.parametrize("hours", [-1, 1])
@pytest.mark.parametrize("at", [0, 20])
def test_one_batch_from_another_time_is_a_gap_and_no_event(lab, pick, hours, at):
    stray = replace(pick[10], t0_ns=pick[10].t0_ns + hours * 3600 * 10**9)
    found = lab.detect([*pick[:at], stray, *pick[at:]])
    (event,) = lab.steps(found)
    assert lab.s(event.step_ns) == pytest.approx(8.06, abs=0.1)
    assert lab.gaps(found)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_pick_just_before_the_clock_is_set_is_told_at_its_own_time(lab, pick, hours):
    later = [replace(batch, t0_ns=batch.t0_ns + hours * 3600 * 10**9) for batch in pick[45:]]
    (event,) = lab.steps(lab.detect([*pick[:45], *later]))
    assert event.total_g == pytest.approx(-100, abs=2)
    assert lab.s(event.step_ns) == pytest.approx(8.06, abs=0.1)


def test_a_clock_set_back_by_less_than_a_silence_is_told_once(lab):
    batches = lab.Scene(seconds=30).batches()
    back = [replace(batch, t0_ns=batch.t0_ns - 2 * 10**9) for batch in batches[100:]]
    found = lab.detect(batches[:100] + back)
    assert not lab.steps(found)
    assert sum("set back" in gap.reason for gap in lab.gaps(found)) == 1


def test_doubles_are_dropped_without_a_word(lab):
    batches = lab.Scene(seconds=10).batches()
    found = lab.detect([batch for one in batches for batch in (one, one)])
    assert lab.gaps(found) == []


def test_a_clock_set_back_starts_anew_with_a_gap(lab):
    scene = lab.Scene(seconds=40)
    scene.step(1, 4, 8.0, -100)
    scene.step(1, 4, 30.0, -50)
    batches = scene.batches()
    back = [replace(batch, t0_ns=batch.t0_ns - 3600 * 10**9) for batch in batches[100:]]
    found = lab.detect(batches[:100] + back)
    assert [e.total_g for e in lab.steps(found)] == pytest.approx([-100, -50], abs=2)
    assert any("set back" in gap.reason for gap in lab.gaps(found))


def test_a_plate_that_says_nothing_does_not_disturb_its_neighbours(lab):
    scene = lab.Scene()
    scene.grams[:, scene.at(1, 5)] = np.nan
    scene.grams[300:700, scene.at(1, 3)] = np.nan
    scene.step(1, 4, 8.0, -30)
    (event,) = lab.steps(lab.detect(scene.batches()))
    assert (lab.numbers(event), event.total_g) == ([4], pytest.approx(-30, abs=2))


def test_a_plate_without_noise_still_weighs(lab):
    scene = lab.Scene()
    scene.grams[:, scene.at(1, 6)] = 100.0
    scene.step(1, 6, 8.0, -30)
    (event,) = lab.steps(lab.detect(scene.batches()))
    assert event.total_g == pytest.approx(-30, abs=1)


def test_single_missing_readings_cost_nothing(lab, pick):
    rng = np.random.default_rng(3)
    torn = []
    for batch in pick:
        grams = batch.grams.copy()
        grams[rng.random(grams.shape) < 0.05] = np.nan
        torn.append(replace(batch, grams=grams))
    (event,) = lab.steps(lab.detect(torn))
    assert event.total_g == pytest.approx(-100, abs=2)


def test_jittering_and_drifting_clocks_lose_nothing(lab, pick):
    rng = np.random.default_rng(4)
    shaky = [
        replace(batch, t0_ns=batch.t0_ns + round(rng.normal(0, 15e6) + 300e-6 * (batch.t0_ns - lab.START_NS)))
        for batch in pick
    ]
    found = lab.detect(shaky)
    assert lab.gaps(found) == []
    assert len(lab.steps(found)) == 1


def test_an_event_is_told_within_seconds_and_a_move_in_progress_at_the_end(lab, pick):
    detector = StepDetector()
    told_s = next(lab.s(batch.end_ns) for batch in pick if detector.feed(batch))
    assert told_s < 10.5
    detector = StepDetector()
    assert not [item for batch in pick[:42] for item in detector.feed(batch)]
    (event,) = lab.steps(detector.flush())
    assert event.total_g == pytest.approx(-100, abs=20)


def test_the_watermark_waits_for_moves_but_not_for_a_silent_controller(lab, pick):
    detector = StepDetector()
    other = [replace(batch, source="8") for batch in pick]
    for mine, theirs in zip(pick[:30], other[:30], strict=True):
        detector.feed(mine)
        detector.feed(theirs)
    for mine in pick[30:45]:
        detector.feed(mine)
    assert lab.s(detector.settled_until_ns()) <= 6.0
    for mine in pick[45:]:
        detector.feed(mine)
    late = [replace(b, t0_ns=b.t0_ns + 20 * 10**9) for b in pick]
    for mine in late:
        detector.feed(mine)
    assert lab.s(detector.settled_until_ns()) > 20


def test_an_empty_batch_and_an_empty_stream_say_nothing(lab):
    empty = LoadCellBatch("7", lab.Scene().plates, lab.START_NS, 60.0, np.empty((0, 24), np.float32))
    assert lab.detect([empty]) == []
    assert lab.detect([]) == []
    assert StepDetector().settled_until_ns() == 0


def test_other_plates_behind_the_same_controller_start_anew_with_a_gap(lab):
    first, second = lab.Scene(width=12), lab.Scene(width=8)
    shifted = [replace(batch, t0_ns=batch.t0_ns + 20 * 10**9) for batch in second.batches()]
    found = lab.detect([*first.batches(), *shifted])
    assert lab.steps(found) == []
    assert len(lab.gaps(found)) == 1


def test_health_names_what_is_wrong_with_a_plate(lab):
    scene = lab.Scene(seconds=30)
    scene.grams[:, scene.at(1, 1)] = np.nan
    scene.grams[:, scene.at(1, 2)] = -3007.0
    scene.grams[600:, scene.at(1, 3)] = scene.grams[600, scene.at(1, 3)]
    scene.grams[:, scene.at(1, 4)] += 40_000
    scene.grams[:, scene.at(1, 5)] += np.random.default_rng(1).normal(0, 80, scene.t.size)
    detector = StepDetector()
    for batch in scene.batches(held=False):
        detector.feed(batch)
    health = {plate.plate: state for plate, state in detector.health().items() if plate.shelf == 1}
    assert [health[n] for n in (1, 2, 3, 4, 5, 6)] == [
        PlateHealth.MISSING,
        PlateHealth.CONSTANT,
        PlateHealth.STUCK,
        PlateHealth.SATURATED,
        PlateHealth.NOISY,
        PlateHealth.GOOD,
    ]


def test_memory_stays_flat(lab):
    scene = lab.Scene(seconds=30)
    scene.step(1, 4, 8.0, -100)
    batches = scene.batches()
    detector = StepDetector()
    sizes = []
    for k in range(6):
        for batch in batches:
            detector.feed(replace(batch, t0_ns=batch.t0_ns + k * 30 * 10**9))
        sizes.append(detector.held_bytes())
    assert len(set(sizes[1:])) == 1


def torn_scene(lab, rng):
    """Everything that hands, plates and networks do, at random and at once, at some controller's rate."""
    scene = lab.Scene(
        seconds=float(rng.uniform(1, 25)), seed=int(rng.integers(1000)), rate_hz=rng.choice([10.0, 50.0, 60.0, 80.0])
    )
    for _ in range(rng.integers(0, 25)):
        shelf, plate, at_s = int(rng.integers(1, 3)), int(rng.integers(1, 13)), float(rng.uniform(0, scene.seconds))
        first = int(rng.integers(0, scene.grams.shape[0]))
        last = first + int(rng.integers(1, 500))
        match rng.integers(5):
            case 0:
                scene.step(shelf, plate, at_s, float(rng.normal(0, 300)), float(rng.choice([0.02, 0.1, 1, 2])))
            case 1:
                scene.lean(shelf, plate, at_s, float(rng.uniform(10, 2500)), float(rng.uniform(0.1, 4)))
            case 2:
                scene.shock(at_s, 100)
            case 3:
                scene.grams[first:last, scene.at(shelf, plate)] = np.nan
            case _:
                scene.grams[first:last] = rng.choice([np.nan, 1e9, 0])
    batches = [batch for batch in scene.batches(int(rng.integers(1, 40))) if rng.random() > 0.05]
    return [batches[i] for i in np.argsort(np.arange(len(batches)) + rng.uniform(0, 1.5, len(batches)))]


@pytest.mark.parametrize("seed", range(40))
def test_whatever_arrives_events_are_finite_and_in_order(lab, seed):
    for item in lab.detect(torn_scene(lab, np.random.default_rng(seed))):
        assert item.start_ns <= item.end_ns
        if item not in lab.gaps([item]):
            assert item.start_ns <= item.step_ns <= item.end_ns
            assert np.isfinite(item.delta_g).all()
            assert min(item.sigma_g) > 0
            assert len(set(item.plates)) == len(item.plates)
