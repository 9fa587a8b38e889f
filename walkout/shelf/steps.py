"""Batches of load-cell readings to weight events: ``StepDetector.feed``.

One ``_Controller`` per source. Every tenth of a second all its plates are looked at together (``_tick``): plates at
rest that leave their level or fail the two-window test (Basseville and Nikiforov 1993, ch. 2: for a known variance
the generalised likelihood ratio of a jump is the squared difference of the two window means) are *moving*; moving
plates that lie still for long enough are measured (``moves``). Finished moves wait until no neighbour that may belong
to the same action is moving, then become one event per action (``grouping``).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from walkout.domain.ids import derived_id
from walkout.domain.sensing import Gap, LoadCellBatch, PlateId, WeightEvent, WeightEventKind
from walkout.shelf.baseline import Baseline, Floats, PlateHealth, hop_scatter
from walkout.shelf.grid import HOP_S, History, SampleGrid
from walkout.shelf.grouping import REACH_PLATES, TOGETHER_S, gather, is_echo
from walkout.shelf.moves import Move, compare, measure
from walkout.shelf.rest import REST_HOPS, RUN_UP_HOPS, WINDOW_HOPS, Look, approach, is_rest, level_hops


@dataclass(frozen=True, slots=True)
class StepSettings:
    """Limits of the detector; seconds, grams, sigmas.

    ``min_step_g``: on real noise the two-window test has no false step at 6 g or more (measured, 1.1 plate-hours), and
    the lightest product is to be 10 g. ``step_sigmas``: at five sigmas normal noise fails once in two million looks.
    ``trigger_g``, ``trigger_sigmas``: when a plate counts as moving; only costs a look, so below the former two.
    ``touch_g``, ``touch_sigmas``: the lightest press worth telling; fingers press with 47 g (measured).
    ``patience_s``: a plate that never rests is measured after this long, with a wider sigma. ``learn_s``: first levels
    are learnt from this stretch; nothing is detected within it.
    """

    min_step_g: float = 6.0
    step_sigmas: float = 5.0
    trigger_g: float = 4.0
    trigger_sigmas: float = 4.5
    touch_g: float = 10.0
    touch_sigmas: float = 8.0
    patience_s: float = 8.0
    learn_s: float = 1.5


#: Events begin at most this long before the hop in which they were noticed.
_RUN_UP_S = (RUN_UP_HOPS + WINDOW_HOPS) * HOP_S


#: Readings beyond this, fifty times the rated load, are broken numbers and count as missing.
_BELIEVABLE_G = 1e6
#: A knock is remembered for about a second, as long as the measured one rang, also by plates that notice it late.
_FADE = 0.85
#: Cross-talk below this is left to the noise: 0.1-1.8 % of a step were measured, and a gram names no product.
_BESIDE_G = 1.0


class StepDetector:
    """Weight events of any number of controllers, each with its own shelves, plates, clock and rate."""

    def __init__(self, settings: StepSettings | None = None) -> None:
        self._settings = settings or StepSettings()
        self._controllers: dict[str, _Controller] = {}
        self._promised_ns = 0

    def feed(self, batch: LoadCellBatch) -> list[WeightEvent | Gap]:
        """What became certain with this batch. Doubles and stragglers are dropped, losses come back as ``Gap``."""
        if batch.grams.shape[0] == 0 or not batch.plates:
            return []
        watch = self._controllers.get(batch.source)
        found: list[WeightEvent | Gap] = []
        if watch is None or watch.plates != batch.plates or watch.grid.rate_hz != batch.rate_hz:
            if watch is not None:
                found += watch.finish(self._promised_ns)
                reason = "the controller's plates or rate changed; levels learnt anew"
                found.append(Gap(batch.source, watch.grid.end_ns, batch.t0_ns, reason))
            watch = self._controllers[batch.source] = _Controller(batch, self._settings)
        return found + watch.feed(batch, self._promised_ns)

    def flush(self) -> list[WeightEvent | Gap]:
        """End of the stream: measure what still moves with the readings at hand."""
        return [item for watch in self._controllers.values() for item in watch.finish(self._promised_ns)]

    def settled_until_ns(self) -> int:
        """No event that starts before this can still come. Never goes back; a silent controller is not waited for."""
        ends = [watch.grid.end_ns for watch in self._controllers.values() if watch.learnt]
        if ends:
            silent_ns = max(ends) - round((self._settings.patience_s + _RUN_UP_S) * 1e9)
            until_ns = min(watch.settled_until_ns() for watch in self._controllers.values())
            self._promised_ns = max(self._promised_ns, until_ns, silent_ns)
        return self._promised_ns

    def held_bytes(self) -> int:
        """Memory held for readings; grows with the number of controllers and plates, never with time."""
        return sum(watch.held_bytes() for watch in self._controllers.values())

    def health(self) -> dict[PlateId, PlateHealth]:
        """What every plate's readings say about the plate itself."""
        return {
            plate: state
            for watch in self._controllers.values()
            for plate, state in zip(watch.plates, watch.health(), strict=True)
        }


class _Controller:
    """The plates behind one controller."""

    def __init__(self, batch: LoadCellBatch, settings: StepSettings) -> None:
        self.plates = batch.plates
        self._source = batch.source
        self._settings = settings
        shelf_ids = sorted({plate.shelf_id for plate in batch.plates})
        self._shelf_of = np.array([shelf_ids.index(plate.shelf_id) for plate in batch.plates])
        self._position = np.array([plate.plate for plate in batch.plates])
        self.grid = SampleGrid(batch.rate_hz, batch.t0_ns)
        self._patience = round(settings.patience_s / HOP_S)
        self._reset()

    def _reset(self) -> None:
        count = len(self.plates)
        self._hop_n = self.grid.hop_n
        self._history = History(count, self._hop_n, self._patience + RUN_UP_HOPS + 4 * WINDOW_HOPS)
        self._baseline = Baseline(self._shelf_of, self._hop_n / self.grid.rate_hz)
        self._moving = np.zeros(count, bool)
        self._trigger = np.zeros(count, np.int64)
        self._rest_since = np.zeros(count, np.int64)
        self._lying = np.zeros(count, np.int64)
        self._shaken = np.ones(count)
        self._pending: dict[int, list[Move]] = {}
        self._told: dict[int, list[Move]] = {}
        self.learnt = False
        self._now = 0

    def feed(self, batch: LoadCellBatch, promised_ns: int) -> list[WeightEvent | Gap]:
        placed = self.grid.place(batch)
        found: list[WeightEvent | Gap] = []
        if placed.outage or placed.restart:
            found += self.finish(promised_ns)
        if placed.restart:
            self.grid.begin(batch.t0_ns)
            self._reset()
        elif placed.outage:
            self.grid.cut(batch.t0_ns - self.grid.end_ns)
        if placed.gap:
            found.append(placed.gap)
        if placed.lost:
            found += self._take(np.full((placed.lost, len(self.plates)), np.nan, np.float32), promised_ns)
        return found + self._take(placed.samples, promised_ns)

    def finish(self, promised_ns: int) -> list[WeightEvent | Gap]:
        """Measure whatever moves, emit whatever waits."""
        if self.learnt:
            self._close(np.flatnonzero(self._moving), self._now - 1, settled=False)
        return self._emit(promised_ns, final=True)

    def settled_until_ns(self) -> int:
        """Start of the earliest event that may still come from here."""
        earliest = (self._now - RUN_UP_HOPS - WINDOW_HOPS) * self._hop_n
        if self._moving.any():
            earliest = min(earliest, (int(self._trigger[self._moving].min()) - RUN_UP_HOPS - WINDOW_HOPS) * self._hop_n)
        for moves in self._pending.values():
            earliest = min(earliest, *(move.start for move in moves))
        return self.grid.time_ns(earliest)

    def held_bytes(self) -> int:
        moves = sum(len(moves) for kept in (self._pending, self._told) for moves in kept.values())
        return self._history.nbytes + moves * 100

    def health(self) -> list[PlateHealth]:
        return self._baseline.health()

    def _take(self, samples: NDArray[np.float32], promised_ns: int) -> list[WeightEvent | Gap]:
        """Hop by hop, whatever the batches, so that the same readings give the same events."""
        found: list[WeightEvent | Gap] = []
        self.grid.count(samples.shape[0])
        samples = np.where(np.abs(samples) <= _BELIEVABLE_G, samples, np.float32(np.nan))
        piece = self._hop_n * 10
        for at in range(0, samples.shape[0], piece):
            self._history.append(samples[at : at + piece])
            if not self.learnt:
                self._learn()
            while self.learnt and self._now < self._history.end:
                self._now += 1
                self._tick(self._now - 1)
                if self._pending:
                    found += self._emit(promised_ns)
        return found

    def _learn(self) -> None:
        needed = max(round(self._settings.learn_s / HOP_S), 2 * WINDOW_HOPS)
        if self._history.end < needed:
            return
        self._baseline.learn(self._history.hops(0, needed), WINDOW_HOPS)
        self._rest_since[:] = needed - WINDOW_HOPS
        self._now = needed
        self.learnt = True

    def _tick(self, hop: int) -> None:
        """Look at all plates as of hop number ``hop``."""
        base, conf = self._baseline, self._settings
        window = self._history.hops(hop - 2 * WINDOW_HOPS + 1, hop + 1).astype(np.float64)
        now = window[-1]
        deviation: Floats = now - window[-WINDOW_HOPS:-1].mean(axis=0)
        step: Floats = window[-WINDOW_HOPS:].mean(axis=0) - window[:-WINDOW_HOPS].mean(axis=0)
        base.shaking(deviation)
        base.observe_health(now, deviation)
        self._wake(now, hop)
        steady = hop - self._rest_since >= 2 * WINDOW_HOPS - 1
        away = np.abs(now - base.level) > np.maximum(conf.trigger_sigmas * base.sigma_hop * base.shake, conf.trigger_g)
        jump = np.abs(step) > np.maximum(conf.trigger_sigmas * base.sigma_step * base.shake, conf.trigger_g)
        new = ~self._moving & (away | (jump & steady))
        self._moving |= new
        self._trigger[new] = hop
        self._lying[new] = -(REST_HOPS - 1)
        self._shaken = np.maximum(base.jolt, np.where(self._moving, self._shaken, _FADE * self._shaken))
        if self._moving.any():
            self._settle(window[-REST_HOPS:], hop)
        base.follow(now, deviation, step, ~self._moving, steady)

    def _wake(self, now: Floats, hop: int) -> None:
        """A plate that speaks for the first time rests at what it says."""
        born = np.isnan(self._baseline.level) & np.isfinite(now)
        if born.any():
            self._baseline.level[born] = now[born]
            self._rest_since[born] = hop

    def _settle(self, window: Floats, hop: int) -> None:
        base = self._baseline
        lies = is_rest(window, base.sigma_hop * base.shake)
        self._lying = np.where(self._moving & lies, self._lying + 1, 0)
        rest = self._lying > level_hops(base.sigma_step * base.shake) - REST_HOPS
        if rest.any():
            lying = [column for column in np.flatnonzero(rest).tolist() if self._rested_long(column, hop)]
            self._close(np.array(lying, np.intp), hop, settled=True)
        restless = self._moving & (hop - self._trigger >= 2 * WINDOW_HOPS)
        if restless.any():
            self._believe_noise(restless, hop)
        weary = self._moving & (hop - self._trigger >= self._patience)
        if weary.any():
            self._close(np.flatnonzero(weary), hop, settled=False)

    def _believe_noise(self, restless: NDArray[np.bool_], hop: int) -> None:
        """Plates that only grew noisier: still about the old level, and no wider than their own hop-to-hop scatter."""
        base, columns = self._baseline, np.flatnonzero(restless)
        window = self._history.hops(hop - 2 * WINDOW_HOPS + 1, hop + 1)[:, columns].astype(np.float64)
        scatter = hop_scatter(window)
        step_noise = scatter * (2 / WINDOW_HOPS) ** 0.5
        offset = np.abs(window.mean(axis=0) - base.level[columns])
        calm = is_rest(window, scatter) & (offset <= np.maximum(step_noise, self._settings.trigger_g / 2))
        noisier = columns[calm]
        base.sigma_hop[noisier] = np.maximum(base.sigma_hop[noisier], scatter[calm])
        base.sigma_step[noisier] = np.maximum(base.sigma_step[noisier], step_noise[calm])
        self._close(noisier, hop, settled=True)

    def _rested_long(self, column: int, hop: int) -> bool:
        """Whether a plate that rests for a settle window has rested as long as its approach took."""
        trigger = int(self._trigger[column])
        since = max(int(self._rest_since[column]), trigger - RUN_UP_HOPS)
        hops = self._history.hops(since, hop + 1)[:, column].astype(np.float64)
        need = min(approach(hops, float(self._baseline.level[column])), 2 * WINDOW_HOPS)
        if need <= REST_HOPS:
            return True
        if hop - trigger < need - 1:
            return False
        sigma = self._baseline.sigma_hop[column] * self._baseline.shake[column]
        return bool(is_rest(hops[-need:, None], np.array([sigma]))[0])

    def _close(self, columns: NDArray[np.intp], hop: int, settled: bool) -> None:
        """Measure the moves of ``columns`` that end with ``hop``; the plates rest at their new levels from here on."""
        base = self._baseline
        for column in columns.tolist():
            look = self._look(column, int(self._trigger[column]), hop, settled)
            self._pending.setdefault(int(self._shelf_of[column]), []).extend(measure(look))
            tail = look.hops[-REST_HOPS:]
            if np.isfinite(tail).any():
                base.level[column] = float(np.nanmean(tail))
            recent = look.hops[-2 * WINDOW_HOPS :]
            if not settled and np.isfinite(recent).any():
                base.sigma_hop[column] = max(base.sigma_hop[column], float(np.nanstd(recent)))
            self._rest_since[column] = hop - REST_HOPS + 1
            self._lying[column] = 0
            self._moving[column] = False

    def _look(self, column: int, trigger: int, hop: int, settled: bool) -> Look:
        """What is known of one plate up to ``hop``, far enough back for a move noticed at ``trigger``."""
        first = max(self._history.first, trigger - RUN_UP_HOPS - 2 * WINDOW_HOPS)
        base = self._baseline
        return Look(
            column=column,
            hops=self._history.hops(first, hop + 1)[:, column].astype(np.float64),
            samples=self._history.samples(first, hop + 1)[:, column].astype(np.float64),
            first=first,
            hop_n=self._hop_n,
            trigger=trigger,
            rest_since=int(self._rest_since[column]),
            level=float(base.level[column]),
            sigma_hop=float(base.sigma_hop[column]),
            sigma_step=float(base.sigma_step[column]),
            shake=float(base.shake[column]),
            shaken=float(self._shaken[column]),
            settled=settled,
        )

    def _emit(self, promised_ns: int, final: bool = False) -> list[WeightEvent | Gap]:
        """Events of all groups that nothing can join any more."""
        found: list[WeightEvent | Gap] = []
        for shelf, moves in list(self._pending.items()):
            left: list[Move] = []
            for group in gather(moves, self._place, self.grid.rate_hz):
                if not final and self._may_grow(shelf, group):
                    left += group
                    continue
                event = None if self._is_echo(shelf, group) else self._event(group, promised_ns)
                if event is not None:
                    found.append(event)
            if left:
                self._pending[shelf] = left
            else:
                del self._pending[shelf]
        return found

    def _place(self, column: int) -> int:
        """Number of a plate among those of its shelf that live: a product may bridge a dead one."""
        left = (self._shelf_of == self._shelf_of[column]) & (self._position < self._position[column])
        return int((left & self._baseline.alive).sum())

    def _may_grow(self, shelf: int, group: list[Move]) -> bool:
        """Whether a plate within reach that still moves, or has yet to be noticed, may belong to ``group``."""
        last = max(move.step for move in group)
        if self._now * self._hop_n - last < WINDOW_HOPS * self._hop_n:
            return True
        near = self._moving & (self._shelf_of == shelf)
        near &= (self._trigger - WINDOW_HOPS) * self._hop_n <= last + TOGETHER_S * self.grid.rate_hz
        if not near.any():
            return False
        columns = [move.column for move in group]
        distance = np.abs(self._position[near][:, None] - self._position[columns][None, :])
        return bool((distance <= REACH_PLATES).any())

    def _is_echo(self, shelf: int, group: list[Move]) -> bool:
        """Whether all of ``group`` is the late trembling beside, or the creep of, a step that has been told already."""
        position, rate_hz = self._place, self.grid.rate_hz
        return all(any(is_echo(move, told, position, rate_hz) for told in self._told.get(shelf, [])) for move in group)

    def _event(self, group: list[Move], promised_ns: int) -> WeightEvent | None:
        """The event of one group of moves, or None where nothing but noise can be claimed."""
        kind = self._kind(group)
        if kind is None:
            return None
        main = max(group, key=lambda m: abs(m.delta_g))
        if kind is WeightEventKind.STEP:
            oldest = main.step - self._patience * self._hop_n
            told = self._told.get(int(self._shelf_of[main.column]), [])
            self._told[int(self._shelf_of[main.column])] = [*(m for m in told if m.step > oldest), main]
            group = group + self._beside(group)
        members: dict[int, list[Move]] = {}
        for move in sorted(group, key=lambda m: int(self._position[m.column])):
            members.setdefault(move.column, []).append(move)
        plates = tuple(self.plates[column] for column in members)
        start_ns = max(self.grid.time_ns(min(m.start for m in group)), promised_ns)
        step_ns = max(self.grid.time_ns(main.step), start_ns)
        return WeightEvent(
            event_id=derived_id("weight-event", self._source, *(str(plate) for plate in plates), start_ns, step_ns),
            plates=plates,
            delta_g=tuple(sum(m.delta_g for m in moves) for moves in members.values()),
            sigma_g=tuple(sum(m.sigma_g**2 for m in moves) ** 0.5 for moves in members.values()),
            start_ns=start_ns,
            step_ns=step_ns,
            end_ns=max(self.grid.time_ns(max(m.end for m in group)), step_ns),
            kind=kind,
            settled=all(m.settled for m in group),
        )

    def _kind(self, group: list[Move]) -> WeightEventKind | None:
        """A step if one plate or all together changed for good, a touch if something pressed; None: noise."""
        conf = self._settings
        total, sigma = sum(m.delta_g for m in group), sum(m.sigma_g**2 for m in group) ** 0.5
        changes = [(total, sigma), *((m.delta_g, m.sigma_g) for m in group)]
        if any(abs(delta) >= max(conf.step_sigmas * sigma, conf.min_step_g) for delta, sigma in changes):
            return WeightEventKind.STEP
        pressed = any(m.peak_g >= max(conf.touch_sigmas * m.quiet_g, conf.touch_g) for m in group)
        return WeightEventKind.TOUCH if pressed else None

    def _beside(self, group: list[Move]) -> list[Move]:
        """What the plates next to a step took over without being noticed: cross-talk, the rim of a product.

        Counted here, it cannot come back later as an event of its own.
        """
        shelf = self._shelf_of[group[0].column]
        columns = [m.column for m in group]
        busy = [m.column for m in self._pending.get(int(shelf), [])]
        distance = np.abs(self._position[:, None] - self._position[columns][None, :]).min(axis=1)
        start, end = min(m.start for m in group) // self._hop_n, max(m.end for m in group) // self._hop_n
        near = (self._shelf_of == shelf) & (distance == 1) & ~self._moving & (self._rest_since < start - REST_HOPS)
        found = []
        for column in np.flatnonzero(near).tolist():
            if column in busy:
                continue
            move = compare(self._look(column, start, self._now - 1, True), start, end)
            if abs(move.delta_g) >= max(self._settings.step_sigmas * move.sigma_g, _BESIDE_G):
                found.append(move)
                self._baseline.level[column] += move.delta_g
                self._rest_since[column] = end + 1
        return found
