"""One controller's batches on one even time grid: jitter smoothed, doubles dropped, losses shown as NaN.

Readings are condensed to *hops*, means over a tenth of a second: short against the shortest hand movement that
counts (a quarter of a second), long enough to average two periods of the commonest shelf vibration (16-24 Hz,
measured on real shelves).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from walkout.domain.sensing import Gap, LoadCellBatch

Hops = NDArray[np.float32]
"""Shape (hops, plates), grams; NaN where a plate said nothing for the whole hop."""

HOP_S = 0.1
#: A batch that starts within this time of when it was due continues the stream. Measured: send times of real
#: batches jitter by up to 24 ms and a batch lasts 200 ms.
_JITTER_S = 0.1
#: A batch older than what we already have by up to this much is a double or a straggler: dropped, not a clock jump.
_STRAGGLER_S = 3.0
#: So many of them one after the other are no doubles of a stammering network: the clock itself is wrong, and told.
_STRAGGLERS_IN_A_ROW = 3
#: A longer silence is an outage: moves in progress are ended before it, and its length is not kept in memory.
OUTAGE_S = 3.0
#: A silence longer than this is believed only when a second batch confirms it: one wrong time stamp must not
#: carry everybody else's watermark with it.
_LEAP_S = 60.0
#: How quickly the grid follows the controller's clock: a twentieth of each batch's jitter.
_CLOCK_GAIN = 0.05


@dataclass(frozen=True, slots=True)
class Placed:
    """What becomes of one batch: samples to process, after ``lost`` missing ones; a gap to report.

    ``outage``: the silence before it was so long that the time axis is to be cut (``SampleGrid.cut``) once everything
    before it has been told; ``restart``: likewise, but the clock was set back and the axis begins anew (``begin``).
    """

    samples: NDArray[np.float32]
    gap: Gap | None = None
    lost: int = 0
    outage: bool = False
    restart: bool = False


_NOTHING = np.empty((0, 0), np.float32)


class SampleGrid:
    """Places the batches of one controller on its even grid of samples and remembers where samples lie in time."""

    def __init__(self, rate_hz: float, t0_ns: int) -> None:
        self.rate_hz = rate_hz
        self.hop_n = max(1, round(rate_hz * HOP_S))
        self._rejected_end_ns = 0
        self._stragglers = 0
        self.begin(t0_ns)

    def begin(self, t0_ns: int) -> None:
        """Sample 0 was taken at ``t0_ns``."""
        self._origin_ns = float(t0_ns)
        self._count = 0

    def cut(self, silence_ns: int) -> None:
        """Take what a silence lasts beyond ``OUTAGE_S`` out of the axis; later samples keep their times."""
        self._origin_ns += max(0.0, silence_ns - OUTAGE_S * 1e9)

    @property
    def end_ns(self) -> int:
        """When the next sample is due, by the controller's clock."""
        return self.time_ns(self._count)

    def time_ns(self, sample: float) -> int:
        """Capture time of a sample number (fractions allowed)."""
        return round(self._origin_ns + sample * 1e9 / self.rate_hz)

    def count(self, samples: int) -> None:
        """So many more samples have been seen or given up."""
        self._count += samples

    def place(self, batch: LoadCellBatch) -> Placed:
        """Where ``batch`` belongs; follows the jitter of its clock."""
        late_s = (batch.t0_ns - self.end_ns) / 1e9
        if (late_s < -_STRAGGLER_S or late_s > _LEAP_S) and not self._confirmed(batch):
            return Placed(
                _NOTHING, Gap(batch.source, batch.t0_ns, batch.end_ns, "a batch from another time was dropped")
            )
        self._rejected_end_ns = 0
        if late_s < -_STRAGGLER_S:
            gap = Gap(batch.source, batch.t0_ns, self.end_ns, "the controller's clock was set back; levels learnt anew")
            return Placed(batch.grams, gap, restart=True)
        if late_s < -_JITTER_S:
            self._stragglers += 1
            if self._stragglers != _STRAGGLERS_IN_A_ROW:
                return Placed(_NOTHING)
            reason = (
                "the controller's clock stands still or was set back; its batches are dropped until it has caught up"
            )
            return Placed(_NOTHING, Gap(batch.source, batch.t0_ns, self.end_ns, reason))
        self._stragglers = 0
        if late_s <= _JITTER_S:
            self._origin_ns += _CLOCK_GAIN * late_s * 1e9
            return Placed(batch.grams)
        lost = round(late_s * self.rate_hz)
        gap = Gap(batch.source, self.end_ns, batch.t0_ns, f"{lost} samples of every plate never arrived")
        outage = late_s > OUTAGE_S
        return Placed(batch.grams, gap, round(OUTAGE_S * self.rate_hz) if outage else lost, outage)

    def _confirmed(self, batch: LoadCellBatch) -> bool:
        """One batch from another time is a stray; a second one that follows it is a clock that was set."""
        expected, self._rejected_end_ns = self._rejected_end_ns, batch.end_ns
        return abs(batch.t0_ns - expected) <= _JITTER_S * 1e9


class History:
    """The newest hops and samples of all plates of one controller, in flat memory, addressed by running number."""

    def __init__(self, plates: int, hop_n: int, keep_hops: int) -> None:
        self.hop_n = hop_n
        self._keep = keep_hops
        self._hops = np.empty((2 * keep_hops, plates), np.float32)
        self._samples = np.empty((2 * keep_hops * hop_n, plates), np.float32)
        self._rest = np.empty((0, plates), np.float32)
        self._first = 0
        self._used = 0

    @property
    def first(self) -> int:
        """Number of the oldest hop still held."""
        return self._first

    @property
    def end(self) -> int:
        """Number of the next hop."""
        return self._first + self._used

    @property
    def nbytes(self) -> int:
        """Memory held, bytes."""
        return self._hops.nbytes + self._samples.nbytes + self._rest.nbytes

    def append(self, samples: NDArray[np.float32]) -> None:
        """Add samples, shape (n, plates), n at most ``keep_hops`` hops; whole hops become visible, the rest waits."""
        if self._rest.shape[0]:
            samples = np.concatenate((self._rest, samples))
        whole = samples.shape[0] // self.hop_n * self.hop_n
        self._rest = samples[whole:].copy()
        if whole:
            self._store(samples[:whole])

    def _store(self, samples: NDArray[np.float32]) -> None:
        count = samples.shape[0] // self.hop_n
        if self._used + count > self._hops.shape[0]:
            self._drop(max(0, self._used - self._keep))
        at = self._used
        self._samples[at * self.hop_n : (at + count) * self.hop_n] = samples
        self._hops[at : at + count] = hop_means(samples, self.hop_n)
        self._used += count

    def _drop(self, count: int) -> None:
        left = self._used - count
        self._hops[:left] = self._hops[count : self._used].copy()
        self._samples[: left * self.hop_n] = self._samples[count * self.hop_n : self._used * self.hop_n].copy()
        self._first += count
        self._used = left

    def hops(self, start: int, stop: int) -> Hops:
        """Hops ``start`` to before ``stop``, a view, shape (m, plates); clipped to what is held."""
        return self._hops[max(0, start - self._first) : max(0, stop - self._first)]

    def samples(self, start: int, stop: int) -> NDArray[np.float32]:
        """The samples of hops ``start`` to before ``stop``, a view, shape (m * hop_n, plates)."""
        low, high = max(0, start - self._first), max(0, stop - self._first)
        return self._samples[low * self.hop_n : high * self.hop_n]


def hop_means(samples: NDArray[np.float32], hop_n: int) -> Hops:
    """Means over ``hop_n`` samples, shape (n // hop_n, plates); NaNs are left out, a hop of NaNs only is NaN.

    Summed in double precision: plates rest at up to 20 kg and the differences that count are below a gram.
    """
    cube = samples.reshape(-1, hop_n, samples.shape[1])
    means: Hops = cube.mean(axis=1, dtype=np.float64).astype(np.float32)
    bad = np.isnan(means)
    if bad.any():
        known = ~np.isnan(cube)
        count = known.sum(axis=1)
        total = np.where(known, cube, 0.0).sum(axis=1, dtype=np.float64)
        means = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
    return means
