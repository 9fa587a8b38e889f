"""Simulated load cells read as the real ones did: noise, holds, offsets and settled steps."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from walkout.domain.sensing import LoadCellBatch, PlateId
from walkout.sim.kiosk import kiosk_barcode, kiosk_store
from walkout.sim.plates import PlateSettings, Surroundings, gondola_readings
from walkout.sim.random_scene import random_scene
from walkout.sim.scene import kiosk_scene, scene_records, simulated_moves
from walkout.sim.script import Act, ActKind, Move, Scene, Shopper

#: Shocks come at random and would hide what these tests look at; they have a test of their own.
CALM = PlateSettings(shocks_per_min=0.0, dead_share=0.0)
FLAWLESS = replace(
    CALM,
    white_g=0.0,
    drift_g_per_sqrt_s=0.0,
    rest_rms_g=(0.0, 0.0),
    hold_share=0.0,
    footstep_g=(0.0, 0.0),
    ring_share=(0.0, 0.0),
    press_wobble=0.0,
    cross_talk=(0.0, 0.0),
)
SHELF = tuple(PlateId("1", 1, plate) for plate in range(1, 9))


def readings(scene: Scene, seed: int, settings: PlateSettings = CALM) -> dict[PlateId, NDArray[np.float64]]:
    """All samples of each plate in order."""
    parts: dict[PlateId, list[NDArray[np.float32]]] = {}
    for record in scene_records(scene, seed, 0, plates=settings):
        if isinstance(record, LoadCellBatch):
            for column, plate in enumerate(record.plates):
                parts.setdefault(plate, []).append(record.grams[:, column])
    return {plate: np.concatenate(found).astype(np.float64) for plate, found in parts.items()}


def alone(*moves: Move, settings: PlateSettings = CALM, seconds: float = 10.0) -> NDArray[np.float32]:
    """Readings of one shelf in an empty store with these moves."""
    n = int(seconds * settings.rate_hz)
    nobody = Surroundings(np.zeros(n, bool), np.zeros(n, bool), np.zeros(0), np.zeros(0))
    return gondola_readings(SHELF, np.zeros(8), moves, nobody, np.random.default_rng(2), settings)


def robust_sd(grams: NDArray[np.float64]) -> float:
    return float(1.4826 * np.median(np.abs(grams - np.median(grams))))


def empty_store(seconds: float = 17.2) -> Scene:
    return Scene("empty", kiosk_store(), (), (), seconds)


def test_every_reading_is_a_multiple_of_the_quantum() -> None:
    grams = alone()
    counts = grams / 0.241
    assert np.abs(counts - np.round(counts)).max() < 0.01
    assert grams.dtype == np.float32


def test_plates_left_alone_are_as_quiet_as_the_real_ones() -> None:
    sds = [robust_sd(g) for seed in range(3) for g in readings(empty_store(), seed).values()]
    p10, p50, p90 = np.percentile(sds, [10, 50, 90])
    # Real quiet gondolas of BENCHMARK-1: p10 0 to 0.36, p50 0.71 to 1.07, p90 1.4 to 2.9 g.
    # Measured here: 0.36, 0.71, 1.43 g.
    assert p10 <= 0.75
    assert 0.5 <= p50 <= 1.1
    assert 1.0 <= p90 <= 2.9


def test_plates_of_a_visited_gondola_swing_as_the_real_ones_did() -> None:
    pick = Act("a", 9.0, ActKind.PICK, kiosk_barcode(103), 1, (PlateId("1", 2, 2),))
    scene = Scene("one visit", kiosk_store(), (Shopper("a", "t", 0.0, 17.0),), (pick,), 17.2)
    sds = [
        robust_sd(g)
        for seed in range(3)
        for plate, g in readings(scene, seed).items()
        if plate.gondola == "1" and plate.shelf != 2
    ]
    p10, p50, p90 = np.percentile(sds, [10, 50, 90])
    # Real gondola 1 of BENCHMARK-1 over its visit of 17 s: 0.71, 2.5, 6.0 g. Measured here: 0.71, 1.8, 2.9.
    assert 0.4 <= p10 <= 1.5
    assert 1.0 <= p50 <= 3.0
    assert 2.0 <= p90 <= 6.5


def test_samples_repeat_as_often_as_a_slow_converter_makes_them() -> None:
    repeats = np.mean([np.mean(np.diff(g) == 0.0) for g in readings(empty_store(), 1).values()])
    # Real plates: 7 to 18 % held; quantisation of quiet plates adds to it. Measured here: 19 %.
    assert 0.10 <= repeats <= 0.25


def test_plates_are_untared_and_within_their_range() -> None:
    levels = [float(np.median(g)) for seed in range(4) for g in readings(empty_store(4.0), seed).values()]
    assert min(levels) < -500.0
    assert max(levels) > 3000.0
    assert max(np.abs(levels)) < 20_000.0


def test_neighbours_on_one_shelf_swing_together_in_part() -> None:
    grams = alone(seconds=60.0).astype(np.float64)
    together = np.atleast_2d(np.corrcoef(grams.T))
    pairs = [abs(together[i, i + 1]) for i in range(7)]
    # Real neighbours: 0.2 to 0.6.
    assert 0.15 < np.median(pairs) < 0.7


def test_vibration_is_in_narrow_bands_above_walking() -> None:
    grams = alone(seconds=60.0, settings=replace(CALM, drift_g_per_sqrt_s=0.0)).astype(np.float64)
    power = np.square(np.abs(np.fft.rfft(grams - grams.mean(axis=0), axis=0)))
    hz = np.fft.rfftfreq(len(grams), 1.0 / 60.0)
    below = power[hz < 1.0].sum(axis=0) / power.sum(axis=0)
    # Real plates: 1 to 12 % below 1 Hz.
    assert np.median(below) < 0.12
    assert power[(hz > 6.0) & (hz < 28.0)].sum() > 0.6 * power.sum()


def test_shocks_swing_the_whole_gondola_by_tens_of_grams_and_pass() -> None:
    stormy = replace(CALM, shocks_per_min=30.0)
    n = 3600
    nobody = Surroundings(np.zeros(n, bool), np.zeros(n, bool), np.zeros(0), np.zeros(0))
    grams = gondola_readings(SHELF, np.zeros(8), (), nobody, np.random.default_rng(1), stormy)
    swing = np.abs(grams - np.median(grams, axis=0)).max(axis=0)
    assert swing.min() > 15.0
    assert swing.max() < 400.0


def test_footfalls_near_a_gondola_are_felt_and_far_ones_are_not() -> None:
    n = 600
    nobody = np.zeros(n, bool)

    def swing(distance_m: float) -> float:
        steps = np.arange(1.0, 9.0, 0.6)
        around = Surroundings(nobody, nobody, steps, np.full(len(steps), distance_m))
        settings = replace(FLAWLESS, footstep_g=(1.0, 6.0))
        grams = gondola_readings(SHELF, np.zeros(8), (), around, np.random.default_rng(2), settings)
        return float(grams.astype(np.float64).std(axis=0).mean())

    assert swing(0.5) > 4.0 * swing(4.0)


@pytest.mark.parametrize("kind", [ActKind.PICK, ActKind.PUT])
def test_a_step_is_over_within_a_sixth_of_a_second(kind: ActKind) -> None:
    sign = -1.0 if kind is ActKind.PICK else 1.0
    act = Act("a", 5.0, kind, "x", 1, (SHELF[3],))
    settings = replace(FLAWLESS, press_g=(0.0, 0.0))
    column = alone(Move(act, (sign * 300.0,)), settings=settings)[:, 3].astype(np.float64)
    times = np.arange(len(column)) / 60.0
    assert np.ptp(column[times < 4.92]) == 0.0
    assert np.ptp(column[times > 5.08]) < 0.5
    assert column[-1] - column[0] == pytest.approx(sign * 300.0, abs=0.5)


def test_fingers_press_before_goods_are_lifted() -> None:
    act = Act("a", 5.0, ActKind.PICK, "x", 1, (SHELF[3],))
    column = alone(Move(act, (-300.0,)), settings=FLAWLESS)[:, 3].astype(np.float64)
    assert 4.0 < column.max() - column[0] < 61.0
    assert 4.5 < column.argmax() / 60.0 < 5.0


def test_a_resting_finger_wavers_and_leaves_nothing_behind() -> None:
    act = Act("a", 4.0, ActKind.TOUCH, "x", 0, (SHELF[3],), hold_s=2.0)
    column = alone(Move(act, (0.0,)), settings=replace(FLAWLESS, press_wobble=0.15))[:, 3].astype(np.float64)
    times = np.arange(len(column)) / 60.0
    resting = column[(times > 4.1) & (times < 5.9)] - column[0]
    assert resting.min() > 0.0
    assert 0.05 < resting.std() / resting.mean() < 0.4
    assert np.ptp(column[(times < 3.95) | (times > 6.05)]) == 0.0


def test_cross_talk_goes_to_one_side_and_stays_small() -> None:
    act = Act("a", 5.0, ActKind.PICK, "x", 1, (SHELF[3],))
    settings = replace(FLAWLESS, cross_talk=CALM.cross_talk)
    grams = alone(Move(act, (-1000.0,)), settings=settings).astype(np.float64)
    change = grams[-1] - grams[0]
    left, right = np.abs(change[:3]), np.abs(change[4:])
    assert min(left.max(), right.max()) == 0.0
    assert 0.7 < max(left.max(), right.max()) < 18.5


def settled_change(column: NDArray[np.float64], before_s: float, after_s: float) -> float:
    """Mean level of half a second after less that of half a second before, guards of 0.6 s; grams."""
    times = np.arange(len(column)) / 60.0
    before = column[(times > before_s - 1.1) & (times < before_s - 0.6)].mean()
    after = column[(times > after_s + 0.6) & (times < after_s + 1.1)].mean()
    return float(after - before)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    "scene", [kiosk_scene(), random_scene(3, 3), random_scene(4, 2)], ids=["kiosk", "three", "two"]
)
def test_every_act_is_a_settled_change_of_the_right_mass(scene: Scene, seed: int) -> None:
    grams = readings(scene, seed)
    for move in simulated_moves(scene, seed):
        act = move.act
        lasting = act.kind in (ActKind.PICK, ActKind.PUT)
        for plate, expected in zip(act.plates, move.grams, strict=True):
            found = settled_change(grams[plate], act.t_s, act.end_s)
            # Measured over 366 steps: standard deviation 0.9 g, 95 % within 1.8 g, worst 5.2 g.
            assert found == pytest.approx(expected if lasting else 0.0, abs=6.0)


def test_a_lifted_product_is_missing_until_it_is_set_down() -> None:
    scene = kiosk_scene()
    grams = readings(scene, 1)
    (move,) = [
        move for move in simulated_moves(scene, 1) if move.act.kind is ActKind.TOUCH and sum(move.grams) < -200.0
    ]
    column = grams[move.act.plates[0]]
    times = np.arange(len(column)) / 60.0
    during = column[(times > move.act.t_s + 0.3) & (times < move.act.end_s - 0.5)].mean()
    before = column[(times > move.act.t_s - 1.1) & (times < move.act.t_s - 0.6)].mean()
    assert during - before == pytest.approx(sum(move.grams), abs=8.0)


def test_dead_plates_stand_still_and_are_never_those_the_script_needs() -> None:
    scene = kiosk_scene()
    grams = readings(scene, 1, replace(CALM, dead_share=1.0))
    used = {plate for act in scene.acts for plate in act.plates}
    assert {plate for plate, g in grams.items() if np.ptp(g) > 0.0} == used
