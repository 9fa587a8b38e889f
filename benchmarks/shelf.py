"""How fast batches become weight events: all gondolas of a store at 60 Hz on one core, and whether memory stays flat.

    python benchmarks/shelf.py [--minutes 5] [--picks 12] [--data FOLDER] [--seed 1]

``--data`` is a recording in the nanostore format whose first 12 s are played to and fro; without it (and without the
public recordings beside the repository) the noise is generated from ``--seed``. ``--picks`` steps a minute are set in;
with none, every event is a false one.
"""

import argparse
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(pool, "1")

import numpy as np  # noqa: E402  (the number of threads has to be set before)
from numpy.typing import NDArray  # noqa: E402

from walkout.app.nanostore import nanostore_records  # noqa: E402
from walkout.domain.sensing import LoadCellBatch, PlateId, WeightEvent, WeightEventKind  # noqa: E402
from walkout.shelf.steps import StepDetector  # noqa: E402
from walkout.store.nanostore import find_store_files, read_nanostore  # noqa: E402

RATE_HZ = 60.0
BATCH_N = 12
LOOP_N = 720
"""Samples of noise played to and fro: the first 12 s of the recording, before anybody takes anything."""
START_NS = 1_600_000_000_000_000_000

Noise = dict[str, tuple[tuple[PlateId, ...], NDArray[np.float32]]]


def recorded_noise(folder: Path) -> Noise:
    """The opening of a recording by gondola: plates, readings (LOOP_N, plates)."""
    store, _ = read_nanostore(find_store_files(folder))
    batches: dict[str, list[LoadCellBatch]] = {}
    for record in nanostore_records(folder, store.layout):
        if isinstance(record, LoadCellBatch):
            batches.setdefault(record.source, []).append(record)
    return {
        source: (found[0].plates, np.concatenate([batch.grams for batch in found])[:LOOP_N])
        for source, found in sorted(batches.items())
    }


def generated_noise(seed: int) -> Noise:
    """Four gondolas of 72 plates with white noise and vibration as measured on real ones."""
    rng = np.random.default_rng(seed)
    t = np.arange(LOOP_N)[:, None] / RATE_HZ
    noise: Noise = {}
    for gondola in "1234":
        plates = tuple(PlateId(gondola, shelf, plate) for shelf in range(1, 7) for plate in range(1, 13))
        level = rng.uniform(-5600, 9600, len(plates))
        swing = rng.uniform(0.3, 1.3, len(plates)) * np.sin(2 * np.pi * (16.4 * t + rng.random(len(plates))))
        grams = level + swing + rng.normal(0, 0.35, (LOOP_N, len(plates)))
        noise[gondola] = plates, (np.round(grams / 0.241) * 0.241).astype(np.float32)
    return noise


def minute_of_batches(
    noise: Noise, minute: int, picks: int, rng: np.random.Generator, offsets: Noise
) -> list[LoadCellBatch]:
    """One minute of batches of all controllers in the order of their times."""
    count = round(60 * RATE_HZ)
    order = np.concatenate([np.arange(LOOP_N), np.arange(LOOP_N - 2, 0, -1)])
    rows = order[(np.arange(count) + minute * count) % order.size]
    found = []
    for i, (source, (plates, readings)) in enumerate(noise.items()):
        grams = readings[rows] + offsets[source][1]
        for at in rng.integers(0, count, len(range(i, picks, len(noise)))):
            column, mass_g = int(rng.integers(len(plates))), float(rng.choice([-300, -60, 60, 300]))
            grams[at:, column] += mass_g
            offsets[source][1][column] += mass_g
        for at in range(0, count, BATCH_N):
            t0_ns = START_NS + round((minute * count + at) / RATE_HZ * 1e9)
            found.append(LoadCellBatch(source, plates, t0_ns, RATE_HZ, grams[at : at + BATCH_N]))
    return sorted(found, key=lambda batch: batch.t0_ns)


def minutes(noise: Noise, count: int, picks: int, seed: int) -> Iterator[list[LoadCellBatch]]:
    rng = np.random.default_rng(seed)
    offsets: Noise = {source: (plates, np.zeros(len(plates), np.float32)) for source, (plates, _) in noise.items()}
    for minute in range(count):
        yield minute_of_batches(noise, minute, picks, rng, offsets)


def read_once(batches: list[LoadCellBatch]) -> float:
    """Seconds that numpy needs to read every array once: the floor for any detector."""
    begin = time.perf_counter()
    for batch in batches:
        batch.grams.sum(axis=0)
    return time.perf_counter() - begin


def held_mib() -> float:
    """Memory of this process that is resident now (peak where the system does not tell)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "nanostore" / "BENCHMARK-1"
    parser.add_argument("--minutes", type=int, default=5)
    parser.add_argument("--picks", type=int, default=12, help="steps set in per minute, all gondolas together")
    parser.add_argument("--data", type=Path, default=beside if beside.is_dir() else None)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    noise = recorded_noise(arguments.data) if arguments.data else generated_noise(arguments.seed)
    detector, detect_s, read_s, events = StepDetector(), 0.0, 0.0, []
    held: list[tuple[float, int]] = []
    for batches in minutes(noise, arguments.minutes, arguments.picks, arguments.seed):
        read_s += read_once(batches)
        begin = time.perf_counter()
        found = [item for batch in batches for item in detector.feed(batch)]
        detect_s += time.perf_counter() - begin
        events += [item for item in found if isinstance(item, WeightEvent)]
        held.append((held_mib(), detector.held_bytes()))
    report(arguments, noise, detect_s, read_s, events, held)


def report(
    arguments: argparse.Namespace,
    noise: Noise,
    detect_s: float,
    read_s: float,
    events: list[WeightEvent],
    held: list[tuple[float, int]],
) -> None:
    plates = sum(len(plates) for plates, _ in noise.values())
    steps = sum(event.kind is WeightEventKind.STEP for event in events)
    set_in = arguments.minutes * arguments.picks
    rows = [
        ("noise", "recorded, to and fro" if arguments.data else f"generated, seed {arguments.seed}"),
        ("gondolas, plates, rate", f"{len(noise)}, {plates}, {RATE_HZ:.0f} Hz"),
        ("played", f"{arguments.minutes} min = {plates * arguments.minutes / 60:.1f} plate-hours"),
        ("detector", f"{detect_s:.2f} s = {60 * arguments.minutes / detect_s:.0f} x real time"),
        ("numpy reads the arrays once", f"{read_s:.3f} s; the detector takes {detect_s / read_s:.0f} times that"),
        (
            "memory held by the detector",
            f"{held[0][1] / 2**20:.1f} MiB after 1 min, {held[-1][1] / 2**20:.1f} at the end",
        ),
        ("process resident", f"{held[0][0]:.0f} MiB after 1 min, {held[-1][0]:.0f} at the end"),
        ("steps set in, found; touches", f"{set_in}, {steps}; {len(events) - steps}"),
    ]
    for name, value in rows:
        print(f"{name:30} {value}")


if __name__ == "__main__":
    main()
