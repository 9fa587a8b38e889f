"""Steps set into the real noise of a real visit, and what the detector says of that visit itself."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from walkout.domain.sensing import LoadCellBatch, PlateId

RATE_HZ = 60.0
QUIET_N = 720
"""Samples before anybody takes anything: the first 12 s."""
MASSES_G = (10, 15, 20, 30, 45, 60, 100, 200, 400, 600)


def to_and_fro(readings: NDArray[np.float32], count: int, start: int = 0) -> NDArray[np.float64]:
    """``count`` samples of a stretch of noise played forwards and backwards without a seam."""
    n = readings.shape[0]
    order = np.concatenate([np.arange(n), np.arange(n - 2, 0, -1)])
    return readings[order[(np.arange(count) + start) % order.size]].astype(np.float64)


def batches(source: str, plates: tuple[PlateId, ...], grams: NDArray[np.float64], t0_ns: int) -> list[LoadCellBatch]:
    counts = (np.round(grams / 0.241) * 0.241).astype(np.float32)
    return [
        LoadCellBatch(source, plates, t0_ns + round(at / RATE_HZ * 1e9), RATE_HZ, counts[at : at + 12])
        for at in range(0, counts.shape[0] - 11, 12)
    ]


def alive(readings: NDArray[np.float32]) -> NDArray[np.intp]:
    return np.flatnonzero(np.isfinite(readings).all(axis=0) & (np.ptp(readings, axis=0) > 0))


def ideal(count: int, at: int, mass_g: float, rng: np.random.Generator) -> NDArray[np.float64]:
    del rng
    return np.where(np.arange(count) >= at, mass_g, 0.0)


def touched(count: int, at: int, mass_g: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A hand presses with up to 300 g, lifts or sets down within 0.06-0.3 s; the plate rings and creeps a little."""
    t = (np.arange(count) - at) / RATE_HZ
    width = rng.uniform(0.1, 0.35)
    press = rng.uniform(0, 300) * np.exp(-2 * ((t + rng.uniform(0.05, 0.3) + width) / width) ** 2) * (t < 0)
    ramp = rng.uniform(0.06, 0.3)
    s, after = np.clip(t / ramp, 0, 1), np.clip(t - ramp, 0, None)
    ring = 0.02 * np.exp(-after / rng.uniform(0.08, 0.2)) * np.sin(2 * np.pi * rng.uniform(8, 16) * after)
    creep = 0.003 * (1 - np.exp(-after / 5))
    return press + mass_g * (s * s * (3 - 2 * s) + ring + creep)


@dataclass
class Tally:
    """What became of all steps set in."""

    found: list[bool]
    light_found: list[bool]
    error_g: list[float]
    normalised: list[float]
    extra: int = 0


def spread_out(plates: tuple[PlateId, ...], columns: NDArray[np.intp]) -> list[int]:
    """As many of ``columns`` as lie more than three plates apart on their shelf."""
    chosen: list[int] = []
    for column in columns.tolist():
        mine = plates[column]
        if all(mine.shelf != plates[c].shelf or abs(mine.plate - plates[c].plate) > 3 for c in chosen):
            chosen.append(column)
    return chosen


@pytest.fixture(scope="module", params=[ideal, touched], ids=["ideal", "touched"])
def tally(request, real_noise, lab) -> Tally:
    """About 600 steps, a third of them of 10 g, on every gondola, 30 s each."""
    result, count = Tally([], [], [], []), round(30 * RATE_HZ)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        for source, (plates, readings) in real_noise.items():
            grams = to_and_fro(readings[:QUIET_N], count, int(rng.integers(0, 700)))
            truth = {}
            for column in spread_out(plates, rng.permutation(alive(readings[:QUIET_N]))):
                mass_g = float(10 if rng.random() < 0.33 else rng.choice(MASSES_G)) * rng.choice([-1, 1])
                at = int(rng.integers(6 * 60, 22 * 60))
                grams[:, column] += request.param(count, at, mass_g, rng)
                truth[column] = (mass_g, lab.START_NS + round(at / RATE_HZ * 1e9))
            events = lab.steps(lab.detect(batches(source, plates, grams, lab.START_NS)))
            compare(result, plates, truth, events)
    return result


def compare(result: Tally, plates, truth, events) -> None:
    left = list(events)
    for column, (mass_g, t_ns) in truth.items():
        hits = [
            (event, event.plates.index(plates[column]))
            for event in left
            if plates[column] in event.plates and event.start_ns - 1e9 < t_ns < event.end_ns + 1e9
        ]
        hit = next(((e, i) for e, i in hits if e.delta_g[i] * mass_g > 0), None)
        result.found.append(hit is not None)
        if abs(mass_g) == 10:
            result.light_found.append(hit is not None)
        if hit is not None:
            left.remove(hit[0])
            result.error_g.append(hit[0].delta_g[hit[1]] - mass_g)
            result.normalised.append(result.error_g[-1] / hit[0].sigma_g[hit[1]])
    result.extra += len(left)


def test_steps_of_ten_grams_and_more_are_found_in_real_noise(tally):
    assert len(tally.found) > 500
    assert np.mean(tally.found) >= 0.99  # measured: 1.0 ideal, 0.998 touched
    assert np.mean(tally.light_found) >= 0.985  # measured: 1.0 ideal, 0.996 touched


def test_mass_is_right_within_two_grams(tally):
    assert np.percentile(np.abs(tally.error_g), 95) <= 1.5  # measured: 0.7 ideal, 0.9 touched
    assert abs(np.median(tally.error_g)) <= 0.1  # measured: 0.01


def test_stated_sigmas_are_the_errors_made(tally):
    z = np.array(tally.normalised)
    assert 0.5 < np.median(np.abs(z)) * 1.4826 < 1.2  # measured: 0.67, 0.69
    assert np.percentile(np.abs(z), 95) < 2.5  # measured: 1.4, 1.7
    assert np.sqrt(np.mean(np.square(z))) < 1.6  # measured: 0.86


def test_no_step_is_invented_beside_those_set_in(tally):
    assert tally.extra <= 1  # measured: 0


def test_quiet_plates_invent_nothing(real_noise, lab):
    hours, found = 0.0, []
    for source, (plates, readings) in real_noise.items():
        grams = to_and_fro(readings[:QUIET_N], round(120 * RATE_HZ))
        hours += alive(readings[:QUIET_N]).size * 120 / 3600
        found += lab.detect(batches(source, plates, grams, lab.START_NS))
    assert hours > 7.5
    # Measured: nothing in 8.2 plate-hours played (0.8 recorded, to and fro): below 0.37 an hour at 95 % if the played
    # hours were independent, below 3.7 an hour from the recorded ones alone.
    assert lab.steps(found) == []
    assert len(found) <= 2


def test_the_real_visit_has_one_pick_of_its_bottle_and_the_knock_moves_nothing(load, lab):
    found = lab.detect(load("BENCHMARK-1"))
    (event,) = lab.steps(found)
    assert (str(event.shelf_id), event.total_g < 0) == ("1/5", True)
    assert 11 in lab.numbers(event)
    assert max(event.delta_g, key=abs) == pytest.approx(-622.9, abs=2)  # the label says 621 g
    first_ns = load("BENCHMARK-1")[0].t0_ns
    assert (event.step_ns - first_ns) / 1e9 == pytest.approx(12.5, abs=0.5)
    assert lab.gaps(found) == []
