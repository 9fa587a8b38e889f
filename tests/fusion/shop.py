"""A small shop for fusion: one gondola of two shelves, six plates each; people who reach by a script."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from walkout.domain.geometry import Pose
from walkout.domain.money import Money
from walkout.domain.sensing import (
    Body,
    BodyFrame,
    Gap,
    GateEvent,
    GateEventKind,
    Joint,
    PlateId,
    ShelfId,
    WeightEvent,
)
from walkout.domain.shopping import BasketEvent, Facing, Product, VisitClosed, fold_basket
from walkout.fusion.engine import Engine, Output
from walkout.store.catalog import Planogram, Store
from walkout.store.layout import Gondola, Plate, Shelf, resolve

T0 = 1_700_000_000_000_000_000
WATER, TEA, CRISPS, GUM, MYSTERY = "1001", "1002", "1003", "1004", "1005"
WEIGHTS = {WATER: 620.0, TEA: 593.0, CRISPS: 45.0, GUM: 34.0, MYSTERY: None}
#: Product to plates of shelf 1; shelf 2 is empty.
FACINGS = {WATER: (1, 2), TEA: (3,), CRISPS: (4,), GUM: (5,), MYSTERY: (6,)}


def plate(number: int, shelf: int = 1) -> PlateId:
    return PlateId("A", shelf, number)


def shop() -> Store:
    eye = np.eye(3)
    shelves = []
    for level in (1, 2):
        shelf_id = ShelfId("A", level)
        plates = tuple(
            Plate(plate(n, level), Pose(eye, np.array([0.1 * (n - 1), 0.0, 0.0])), (0.1, 0.4)) for n in range(1, 7)
        )
        shelves.append(Shelf(shelf_id, Pose(eye, np.array([0.0, 0.0, 0.4 * level])), (0.6, 0.4, 0.3), plates))
    gondola = Gondola("A", Pose(eye, np.array([0.0, 0.1, 0.0])), (0.6, 0.4, 2.0), tuple(shelves))
    products = {
        barcode: Product(barcode, f"product {barcode}", weight, Money(100, "USD"))
        for barcode, weight in WEIGHTS.items()
    }
    facings = tuple(Facing(barcode, tuple(plate(n) for n in plates)) for barcode, plates in FACINGS.items())
    return Store("test shop", "USD", resolve((gondola,)), products, Planogram(facings))


def ns(seconds: float) -> int:
    return T0 + round(seconds * 1e9)


def event(t_s: float, deltas: dict[PlateId, float], sigma_g: float = 0.5) -> WeightEvent:
    """A clean step at ``t_s``."""
    name = f"{t_s}/" + ",".join(f"{one}:{grams}" for one, grams in sorted(deltas.items()))
    plates = tuple(sorted(deltas))
    return WeightEvent(
        event_id=name,
        plates=plates,
        delta_g=tuple(deltas[one] for one in plates),
        sigma_g=(sigma_g,) * len(plates),
        start_ns=ns(t_s - 0.3),
        step_ns=ns(t_s),
        end_ns=ns(t_s + 0.7),
    )


@dataclass(frozen=True)
class Walker:
    """A person who stands at ``x_m`` before the gondola and holds a hand over plates: (time, plate, half width s)."""

    name: str
    x_m: float
    reaches: tuple[tuple[float, PlateId, float], ...] = ()
    clock_s: float = 0.0
    hidden: bool = False

    def body(self, t_s: float, store: Store) -> Body:
        head = Joint(self.x_m, -0.35, 1.65, 0.9)
        hand = Joint(self.x_m + 0.2, -0.35, 0.9, 0.9)
        for when_s, where, half_s in self.reaches:
            if abs(t_s - when_s) <= half_s:
                x, y, z = store.layout.boxes[where].center()
                hand = Joint(float(x), float(y), float(z), 0.9)
        other = Joint(self.x_m - 0.2, -0.35, 0.9, 0.9)
        return Body(self.name, head, () if self.hidden else (hand, other))


def frames(store: Store, walkers: Iterable[Walker], length_s: float) -> list[BodyFrame]:
    """Everybody at 15 Hz; a walker's camera clock runs ``clock_s`` behind the load cells."""
    walkers = list(walkers)
    times = np.arange(0.0, length_s, 1.0 / 15.0)
    return [BodyFrame(ns(t), tuple(one.body(t + one.clock_s, store) for one in walkers)) for t in times]


def gates(walkers: Iterable[Walker], length_s: float) -> list[GateEvent]:
    found = []
    for one in walkers:
        found.append(GateEvent(ns(0.0), GateEventKind.ENTERED, f"visit-{one.name}", one.name))
        found.append(GateEvent(ns(length_s), GateEventKind.LEFT, f"visit-{one.name}", one.name))
    return found


Record = BodyFrame | WeightEvent | GateEvent | Gap


def visit(
    walkers: Iterable[Walker], events: Iterable[WeightEvent], more: Iterable[Gap] = (), length_s: float = 20.0
) -> list[Record]:
    """All records of one stay of everybody."""
    walkers = list(walkers)
    return [*gates(walkers, length_s), *frames(shop(), walkers, length_s), *events, *more]


def run(records: Iterable[Record]) -> list[Output]:
    """What the engine says about it all."""
    engine = Engine(shop())
    for record in records:
        engine.add(record)
    return engine.advance(ns(3600.0))


def baskets(out: Iterable[Output]) -> dict[str, dict[str, int]]:
    """Final basket per closed visit."""
    out = list(out)
    events = [one for one in out if isinstance(one, BasketEvent)]
    closed = [one.visit_id for one in out if isinstance(one, VisitClosed)]
    return {visit_id.removeprefix("visit-"): dict(fold_basket(visit_id, events).lines) for visit_id in closed}


def closed(out: Iterable[Output], name: str) -> VisitClosed:
    return next(one for one in out if isinstance(one, VisitClosed) and one.visit_id == f"visit-{name}")
