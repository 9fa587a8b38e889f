"""Simulated load cells: what the plates of one gondola read while people walk by, press, lift and put down.

reading = hold(quantum(load + press + lift + ring + creep + cross-talk + vibration + footsteps + shocks + drift
+ white + offset)). Where a number says "measured" it was fitted to the public recording BENCHMARK-1 of the nanostore
(17 s, 240 plates with data, 60 Hz); "usual" is textbook behaviour of load cells; "guess" is neither.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from walkout.domain.sensing import LoadCellBatch, PlateId
from walkout.sim.script import ActKind, Move

Floats = NDArray[np.float64]
Span = tuple[float, float]


@dataclass(frozen=True, slots=True)
class PlateSettings:
    """The terms of the model; pairs are the ends of uniform draws. Grams, seconds, hertz."""

    rate_hz: float = 60.0  # measured
    batch_samples: int = 12  # measured
    quantum_g: float = 0.241  # measured, on every plate
    hold_share: float = 0.09  # measured: 7 to 18 % of the samples repeat the one before, plate by plate
    offset_sigma_g: float = 900.0  # measured: plates are not tared
    dead_share: float = 0.01  # measured: 31 of 278 were constant, most of them empty places
    white_g: float = 0.35  # measured
    drift_g_per_sqrt_s: float = 0.06  # measured
    mode_hz: Span = (8.0, 26.0)  # measured: two narrow peaks a shelf
    mode_quality: Span = (8.0, 25.0)  # measured
    rest_rms_g: Span = (0.3, 1.3)  # measured, of a shelf left alone
    stand_gain: float = 3.0  # measured: plates of the shopped gondola swing by 1.5 to 3 g a second of standing,
    reach_gain: float = 6.0  # measured: by 3 to 6 g while a hand is at it, by about 1 g before
    shared: float = 0.65  # measured: share of the vibration's power that a whole shelf has in common
    plate_gain: Span = (0.4, 1.6)  # measured
    inverted_share: float = 0.08  # measured
    footstep_g: Span = (1.0, 6.0)  # measured, at 1 m
    shocks_per_min: float = 0.3  # seen once in 17 s, thinned
    shock_g: Span = (20.0, 120.0)  # seen once, for about 1 s
    press_g: Span = (5.0, 60.0)  # seen once: 47 g
    press_s: Span = (0.15, 0.40)  # seen once: 0.25 s
    press_wobble: float = 0.15  # guess: sd of a resting finger's force as a share of it, lasting press_wobble_s
    press_wobble_s: float = 0.3  # guess
    lift_s: Span = (0.06, 0.15)  # seen once: 0.1 s
    ring_share: Span = (0.005, 0.03)  # usual
    ring_hz: Span = (8.0, 20.0)  # usual
    ring_damping: Span = (0.08, 0.25)  # usual
    creep_share: float = 3e-4  # usual (OIML R 60 class C)
    creep_s: float = 300.0  # usual
    cross_talk: Span = (0.001, 0.018)  # seen once: to the plates of one side, half as much on each further one


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """What people do to a gondola without touching it.

    ``standing`` and ``reaching`` (n,) say at each sample whether somebody is near, and whether a hand is out;
    ``steps_s`` (k,) are footfalls in seconds after the scene's start, ``steps_m`` (k,) their distances in metres.
    """

    standing: NDArray[np.bool_]
    reaching: NDArray[np.bool_]
    steps_s: Floats
    steps_m: Floats


def sample_times(end_s: float, settings: PlateSettings) -> Floats:
    """Seconds after the scene's start of every sample, whole batches only."""
    batches = int(end_s * settings.rate_hz / settings.batch_samples)
    times: Floats = np.arange(batches * settings.batch_samples) / settings.rate_hz
    return times


def gondola_readings(
    plates: tuple[PlateId, ...],
    stock_g: Floats,
    moves: tuple[Move, ...],
    around: Surroundings,
    rng: np.random.Generator,
    settings: PlateSettings,
) -> NDArray[np.float32]:
    """Readings (n, len(plates)) in grams, untared; ``stock_g`` (len(plates),) is what lies there at the start.

    Plates that no move needs may be dead: constant for the whole scene.
    """
    times = np.arange(len(around.standing)) / settings.rate_hz
    shape = (len(times), len(plates))
    walk = np.cumsum(rng.normal(0.0, settings.drift_g_per_sqrt_s / settings.rate_hz**0.5, shape), axis=0)
    level = stock_g + rng.normal(0.0, settings.offset_sigma_g, len(plates))
    grams = level + walk + rng.normal(0.0, settings.white_g, shape)
    grams += _vibration(plates, times, around, rng, settings)
    for move in moves:
        if move.act.kind is not ActKind.REACH and move.act.plates[0] in plates:
            _apply(move, plates, times, grams, rng, settings)
    used = {plate for move in moves for plate in move.act.plates}
    dead = (rng.random(len(plates)) < settings.dead_share) & [plate not in used for plate in plates]
    grams[:, dead] = level[dead]
    counts = np.round(grams / settings.quantum_g)
    return (_hold(counts, rng.random(shape) < settings.hold_share) * settings.quantum_g).astype(np.float32)


def batches_of(
    source: str, plates: tuple[PlateId, ...], t0_ns: int, grams: NDArray[np.float32], settings: PlateSettings
) -> list[LoadCellBatch]:
    """The readings as batches; ``t0_ns`` is the first sample's time by the controller's clock."""
    size = settings.batch_samples
    return [
        LoadCellBatch(source, plates, t0_ns + round(i * 1e9 / settings.rate_hz), settings.rate_hz, grams[i : i + size])
        for i in range(0, len(grams), size)
    ]


def _hold(counts: Floats, held: NDArray[np.bool_]) -> Floats:
    """Sample and hold: where ``held``, the plate says again what it said before."""
    held[0] = False
    row = np.arange(len(counts))[:, None]
    latest = np.maximum.accumulate(np.where(held, 0, row), axis=0)
    repeated: Floats = np.take_along_axis(counts, latest, axis=0)
    return repeated


def _apply(
    move: Move,
    plates: tuple[PlateId, ...],
    times: Floats,
    grams: Floats,
    rng: np.random.Generator,
    settings: PlateSettings,
) -> None:
    """Add one move to ``grams`` in place: fingers, the step itself, and for a touch its undoing."""
    act = move.act
    columns = [plates.index(plate) for plate in act.plates]
    press_g, press_s = rng.uniform(*settings.press_g), rng.uniform(*settings.press_s)
    if act.kind is ActKind.TOUCH and not act.quantity:
        start, end = act.t_s, act.t_s + max(act.hold_s, press_s)
    elif act.kind is ActKind.PUT:
        start, end = act.t_s, act.t_s + press_s
    else:
        start, end = act.t_s - press_s, act.t_s
    force = press_g * _trapezium(times, start, end, 0.05) * _wobble(len(times), rng, settings)
    grams[:, columns] += force[:, None] / len(columns)
    if not act.quantity:
        return
    change = np.array(move.grams)
    spread = _spread(plates, columns, change, rng, settings)
    grams += _step(times, act.t_s, rng, settings)[:, None] * spread
    if act.kind is ActKind.TOUCH:
        grams -= _step(times, act.end_s, rng, settings)[:, None] * spread


def _trapezium(times: Floats, start: float, end: float, ramp_s: float) -> Floats:
    """1 between ``start`` and ``end``, ramps inside: the clipped ramp of a finger."""
    shape: Floats = np.clip(np.minimum((times - start) / ramp_s, (end - times) / ramp_s), 0.0, 1.0)
    return shape


def _wobble(n: int, rng: np.random.Generator, settings: PlateSettings) -> Floats:
    """A finger's force over its mean (n,): first-order noise around 1, never a pull."""
    fading = np.exp(
        -np.arange(10.0 * settings.press_wobble_s * settings.rate_hz) / settings.press_wobble_s / settings.rate_hz
    )
    noise = _convolve(rng.normal(size=(n, 1)), fading / np.sqrt(np.sum(fading * fading)))[:, 0]
    force: Floats = np.maximum(1.0 + settings.press_wobble * noise, 0.0)
    return force


def _step(times: Floats, t_s: float, rng: np.random.Generator, settings: PlateSettings) -> Floats:
    """A step from 0 to 1 whose middle is at ``t_s``: smoothstep, then ringing that dies away, and creep."""
    lift_s = rng.uniform(*settings.lift_s)
    omega = 2.0 * np.pi * rng.uniform(*settings.ring_hz)
    damping, ring = rng.uniform(*settings.ring_damping), rng.uniform(*settings.ring_share)
    share = np.clip((times - t_s) / lift_s + 0.5, 0.0, 1.0)
    after = np.maximum(times - t_s - lift_s / 2.0, 0.0)
    ringing = ring * np.exp(-damping * omega * after) * np.sin(omega * after)
    creep = settings.creep_share * (1.0 - np.exp(-after / settings.creep_s))
    step: Floats = share * share * (3.0 - 2.0 * share) + ringing + creep
    return step


def _spread(
    plates: tuple[PlateId, ...],
    columns: list[int],
    change: Floats,
    rng: np.random.Generator,
    settings: PlateSettings,
) -> Floats:
    """The change of every plate (len(plates),): the goods' own and the cross-talk to one side of the shelf."""
    out = np.zeros(len(plates))
    out[columns] = change
    side = 1 if rng.random() < 0.5 else -1
    talk = rng.uniform(*settings.cross_talk) * float(change.sum())
    edge = plates[columns[-1] if side > 0 else columns[0]]
    for index, plate in enumerate(plates):
        away = (plate.plate - edge.plate) * side
        if plate.shelf_id == edge.shelf_id and away > 0:
            out[index] = talk * 0.5 ** (away - 1)
    return out


def _vibration(
    plates: tuple[PlateId, ...],
    times: Floats,
    around: Surroundings,
    rng: np.random.Generator,
    settings: PlateSettings,
) -> Floats:
    """Two resonant modes a shelf, driven by noise, footfalls and shocks; shape (n, len(plates)), grams."""
    ramp = np.ones(int(settings.rate_hz / 2.0)) / int(settings.rate_hz / 2.0)
    excited = np.where(around.reaching, settings.reach_gain, np.where(around.standing, settings.stand_gain, 1.0))
    gain = 1.0 + np.convolve(excited - 1.0, ramp, mode="same")
    shock = _shock_envelope(times, rng, settings)
    kicks = np.zeros(len(times))
    strength = rng.uniform(*settings.footstep_g, len(around.steps_s)) / np.maximum(around.steps_m, 0.5) ** 1.5
    at = np.round(around.steps_s * settings.rate_hz).astype(int)
    inside = (at >= 0) & (at < len(times))
    np.add.at(kicks, at[inside], strength[inside])
    out = np.zeros((len(times), len(plates)))
    for shelf in sorted({plate.shelf for plate in plates}):
        columns = [i for i, plate in enumerate(plates) if plate.shelf == shelf]
        sign = np.where(rng.random(len(columns)) < settings.inverted_share, -1.0, 1.0)
        plate_gain = sign * rng.uniform(*settings.plate_gain, len(columns))
        rest_g, split = rng.uniform(*settings.rest_rms_g), rng.uniform(0.3, 0.7)
        for share in (split, 1.0 - split):
            ring = _resonance(rng, settings)
            common = rng.normal(size=(len(times), 1)) * settings.shared**0.5
            own = rng.normal(size=(len(times), len(columns))) * (1.0 - settings.shared) ** 0.5
            noise = (common + own) * (rest_g * gain + shock)[:, None]
            drive = share**0.5 * noise + (share / np.abs(ring).max()) * kicks[:, None]
            out[:, columns] += _convolve(drive, ring) * plate_gain
    return out


def _shock_envelope(times: Floats, rng: np.random.Generator, settings: PlateSettings) -> Floats:
    """Root mean square in grams of the swinging after bumps: peaks are about 3 of it, gone after about 1 s."""
    envelope = np.zeros(len(times))
    for _ in range(int(rng.poisson(settings.shocks_per_min * len(times) / settings.rate_hz / 60.0))):
        start = rng.uniform(0.0, max(len(times) / settings.rate_hz, 1e-9))
        peak = rng.uniform(*settings.shock_g)
        envelope += np.where(times >= start, peak / 3.0 * np.exp(-np.maximum(times - start, 0.0) / 0.35), 0.0)
    return envelope


def _resonance(rng: np.random.Generator, settings: PlateSettings) -> Floats:
    """Impulse response of one mode, of unit energy: white noise of 1 g in gives 1 g rms out."""
    hz, quality = rng.uniform(*settings.mode_hz), rng.uniform(*settings.mode_quality)
    k = np.arange(int(6.0 * settings.rate_hz))
    ring = np.exp(-np.pi * hz / quality * k / settings.rate_hz) * np.sin(2.0 * np.pi * hz / settings.rate_hz * (k + 1))
    unit: Floats = ring / np.sqrt(np.sum(ring * ring))
    return unit


def _convolve(drive: Floats, ring: Floats) -> Floats:
    """Causal convolution of each column of ``drive`` (n, p) with ``ring`` (m,), cut to n."""
    if not len(drive):
        return drive
    size = 1 << (len(drive) + len(ring) - 1).bit_length()
    spectrum = np.fft.rfft(drive, size, axis=0) * np.fft.rfft(ring, size)[:, None]
    out: Floats = np.fft.irfft(spectrum, size, axis=0)[: len(drive)]
    return out
