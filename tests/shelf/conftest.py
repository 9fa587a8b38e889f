"""A shelf made of numbers: plates with measured noise, hands that press, lift, set down, lean and knock."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from walkout.app.nanostore import nanostore_records
from walkout.domain.sensing import Gap, LoadCellBatch, PlateId, WeightEvent, WeightEventKind
from walkout.shelf.steps import StepDetector
from walkout.store.nanostore import find_store_files, read_nanostore

RATE_HZ = 60.0
START_NS = 1_600_000_000_000_000_000
QUANTUM_G = 0.241


@dataclass
class Scene:
    """One gondola of ``shelves`` times ``width`` plates over ``seconds``; noise as measured on the real ones."""

    shelves: int = 2
    width: int = 12
    seconds: float = 20.0
    seed: int = 1
    vibration_g: float = 0.7
    white_g: float = 0.35
    source: str = "7"
    rate_hz: float = RATE_HZ
    plates: tuple[PlateId, ...] = field(init=False)
    grams: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self.plates = tuple(
            PlateId(self.source, shelf, plate)
            for shelf in range(1, self.shelves + 1)
            for plate in range(1, self.width + 1)
        )
        self.grams = self._noise(round(self.seconds * self.rate_hz)) + self._rng.uniform(-5600, 9600, len(self.plates))

    def _noise(self, count: int) -> NDArray[np.float64]:
        rng, n = self._rng, len(self.plates)
        noise = rng.normal(0, self.white_g, (count, n))
        t = np.arange(count)[:, None] / self.rate_hz
        for hertz, share in ((16.4, 0.8), (24.4, 0.5), (1.5, 0.3)):
            phase, gain = rng.uniform(0, 2 * np.pi, n), rng.uniform(0.4, 1.6, n) * share
            noise += self.vibration_g * gain * np.sin(2 * np.pi * hertz * rng.uniform(0.97, 1.03, n) * t + phase)
        return noise + np.cumsum(rng.normal(0, 0.06 / self.rate_hz**0.5, (count, n)), axis=0)

    def at(self, shelf: int, plate: int) -> int:
        return self.plates.index(PlateId(self.source, shelf, plate))

    @property
    def t(self) -> NDArray[np.float64]:
        return np.arange(self.grams.shape[0]) / self.rate_hz

    def step(self, shelf: int, plate: int, at_s: float, delta_g: float, lasting_s: float = 0.12) -> None:
        """Mass moves for good, smoothly over ``lasting_s``."""
        s = np.clip((self.t - at_s) / lasting_s, 0, 1)
        self.grams[:, self.at(shelf, plate)] += delta_g * s * s * (3 - 2 * s)

    def press(self, shelf: int, plate: int, at_s: float, grams: float, lasting_s: float = 0.3) -> None:
        """Fingers push down and let go."""
        inside = np.clip((self.t - at_s) / lasting_s, 0, 1)
        self.grams[:, self.at(shelf, plate)] += grams * np.sin(np.pi * inside) ** 2

    def lean(self, shelf: int, plate: int, at_s: float, grams: float, lasting_s: float) -> None:
        """A hand rests on the goods: it sways by some percent, as hands do."""
        self.press(shelf, plate, at_s, grams, lasting_s)
        sway = np.sin(2 * np.pi * 2.3 * self.t) * ((self.t > at_s) & (self.t < at_s + lasting_s))
        self.grams[:, self.at(shelf, plate)] += 0.05 * grams * sway

    def creep(self, shelf: int, plate: int, at_s: float, grams: float, tau_s: float) -> None:
        """The reading goes on by ``grams`` after a step, slower and slower."""
        self.grams[:, self.at(shelf, plate)] += grams * (1 - np.exp(-np.clip(self.t - at_s, 0, None) / tau_s))

    def tremble(self, first: int, grams: float) -> NDArray[np.float64]:
        """White shaking of every plate from sample ``first`` on, standard deviation ``grams``."""
        return self._rng.normal(0, grams, (self.grams.shape[0] - first, len(self.plates)))

    def shock(self, at_s: float, grams: float) -> None:
        """Somebody bumps into the gondola: every plate swings for a second."""
        since = self.t - at_s
        for column in range(len(self.plates)):
            hertz, gain = self._rng.uniform(4, 12), self._rng.uniform(0.3, 1.0) * grams
            swing = gain * np.sin(2 * np.pi * hertz * since) * np.exp(-np.clip(since, 0, None) / 0.35)
            self.grams[:, column] += np.where(since > 0, swing, 0.0)

    def batches(self, samples: int = 12, held: bool = True) -> list[LoadCellBatch]:
        """What the controller sends; plates repeat their last value now and then, each on its own."""
        counts = np.round(self.grams / QUANTUM_G)
        repeats = self._rng.random(counts.shape) < (0.1 if held else 0.0)
        for row in range(1, counts.shape[0]):
            counts[row] = np.where(repeats[row], counts[row - 1], counts[row])
        grams = (counts * QUANTUM_G).astype(np.float32)
        return [
            LoadCellBatch(
                self.source,
                self.plates,
                START_NS + round(at / self.rate_hz * 1e9),
                self.rate_hz,
                grams[at : at + samples],
            )
            for at in range(0, grams.shape[0] - samples + 1, samples)
        ]


Found = list[WeightEvent | Gap]


class Lab:
    """What the tests of this folder share."""

    Scene = Scene
    START_NS = START_NS

    @staticmethod
    def detect(batches: Iterable[LoadCellBatch]) -> Found:
        """Everything one fresh detector says, flush included; its promises are checked on the way."""
        detector = StepDetector()
        found: Found = []
        for batch in batches:
            promised_ns = detector.settled_until_ns()
            new = detector.feed(batch)
            assert all(event.start_ns >= promised_ns for event in new if isinstance(event, WeightEvent))
            assert detector.settled_until_ns() >= promised_ns
            found += new
        found += detector.flush()
        events = [item for item in found if isinstance(item, WeightEvent)]
        assert len({event.event_id for event in events}) == len(events)
        return found

    @staticmethod
    def steps(found: Found) -> list[WeightEvent]:
        return [e for e in found if isinstance(e, WeightEvent) and e.kind is WeightEventKind.STEP]

    @staticmethod
    def touches(found: Found) -> list[WeightEvent]:
        return [e for e in found if isinstance(e, WeightEvent) and e.kind is WeightEventKind.TOUCH]

    @staticmethod
    def gaps(found: Found) -> list[Gap]:
        return [item for item in found if isinstance(item, Gap)]

    @staticmethod
    def rebatched(batches: list[LoadCellBatch], samples: int) -> list[LoadCellBatch]:
        """The same stream in batches of another length."""
        grams = np.concatenate([batch.grams for batch in batches])
        return [
            replace(batches[0], t0_ns=START_NS + round(at / RATE_HZ * 1e9), grams=grams[at : at + samples])
            for at in range(0, grams.shape[0], samples)
        ]

    @staticmethod
    def s(t_ns: int) -> float:
        """Seconds since the scene began."""
        return (t_ns - START_NS) / 1e9

    @staticmethod
    def numbers(event: WeightEvent) -> list[int]:
        return [plate.plate for plate in event.plates]


@pytest.fixture(scope="session")
def lab() -> type[Lab]:
    return Lab


@pytest.fixture(scope="session")
def nanostore() -> Path:
    """The public nanostore recordings, where they lie beside the repository."""
    folder = Path(__file__).parents[2].parent / "shared" / "data" / "nanostore"
    if not folder.is_dir():
        pytest.skip("the public nanostore data is not beside the repository")
    return folder


@pytest.fixture(scope="session")
def load(nanostore: Path) -> Callable[[str], list[LoadCellBatch]]:
    """The batches of one recording, by its folder's name."""
    store, _ = read_nanostore(find_store_files(nanostore / "BENCHMARK-1"))
    return lambda case: [
        record for record in nanostore_records(nanostore / case, store.layout) if isinstance(record, LoadCellBatch)
    ]


Noise = dict[str, tuple[tuple[PlateId, ...], NDArray[np.float32]]]


@pytest.fixture(scope="session")
def real_noise(load: Callable[[str], list[LoadCellBatch]]) -> Noise:
    """By gondola: its plates and 17 s of readings of a real visit, shape (n, plates)."""
    found: dict[str, list[LoadCellBatch]] = {}
    for batch in load("BENCHMARK-1"):
        found.setdefault(batch.source, []).append(batch)
    return {
        source: (batches[0].plates, np.concatenate([batch.grams for batch in batches]))
        for source, batches in found.items()
    }
