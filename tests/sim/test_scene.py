"""Scenes as streams of records: order, repeatability, gates; and scenes drawn at random."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest

from walkout.domain.sensing import BodyFrame, GateEvent, GateEventKind, LoadCellBatch
from walkout.errors import SceneError
from walkout.sim.kiosk import kiosk_store
from walkout.sim.random_scene import random_scene
from walkout.sim.scene import Sensed, check_scene, kiosk_scene, scene_records, visit_id
from walkout.sim.script import ActKind, Scene, truth

T0_NS = 1_780_000_000_000_000_000


def digest(scene: Scene, seed: int) -> str:
    """One number for every byte of every record."""
    told = hashlib.sha256()
    for record in scene_records(scene, seed, T0_NS):
        if isinstance(record, LoadCellBatch):
            told.update(repr((record.source, record.plates, record.t0_ns, record.rate_hz)).encode())
            told.update(record.grams.tobytes())
        else:
            told.update(repr(record).encode())
    return told.hexdigest()


def event_ns(record: Sensed) -> int:
    return record.t0_ns if isinstance(record, LoadCellBatch) else record.t_ns


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    assert digest(kiosk_scene(), 7) == digest(kiosk_scene(), 7)
    assert digest(kiosk_scene(), 7) != digest(kiosk_scene(), 8)
    assert digest(random_scene(5, 3), 7) == digest(random_scene(5, 3), 7)


def test_records_come_in_order_of_their_time() -> None:
    times = [event_ns(record) for record in scene_records(kiosk_scene(), 7, T0_NS)]
    assert times == sorted(times)
    assert times[0] >= T0_NS


def test_a_later_start_shifts_every_time_and_changes_nothing_else() -> None:
    early, late = (list(scene_records(kiosk_scene(), 7, t0)) for t0 in (T0_NS, T0_NS + 3_600_000_000_000))
    assert {event_ns(b) - event_ns(a) for a, b in zip(early, late, strict=True)} == {3_600_000_000_000}
    for a, b in zip(early, late, strict=True):
        if isinstance(a, LoadCellBatch) and isinstance(b, LoadCellBatch):
            assert np.array_equal(a.grams, b.grams)
        elif isinstance(a, GateEvent) and isinstance(b, GateEvent):
            assert (a.visit_id, a.kind) == (b.visit_id, b.kind)


def test_each_gondola_sends_five_whole_batches_a_second_without_a_break() -> None:
    batches = [record for record in scene_records(kiosk_scene(), 7, T0_NS) if isinstance(record, LoadCellBatch)]
    for source, plates in (("gondola-1", 40), ("gondola-2", 32)):
        mine = [batch for batch in batches if batch.source == source]
        assert len(mine) == 250
        assert {batch.grams.shape for batch in mine} == {(12, plates)}
        assert {b.t0_ns - a.end_ns for a, b in pairwise(mine)} == {0}


def test_everybody_passes_the_gate_in_and_out_once_with_the_track_that_is_seen() -> None:
    scene = kiosk_scene()
    records = list(scene_records(scene, 7, T0_NS))
    gates = [record for record in records if isinstance(record, GateEvent)]
    seen = {body.track_id for record in records if isinstance(record, BodyFrame) for body in record.bodies}
    for shopper in scene.shoppers:
        mine = [gate for gate in gates if gate.visit_id == visit_id(scene, 7, shopper.name)]
        assert [gate.kind for gate in mine] == [GateEventKind.ENTERED, GateEventKind.LEFT]
        assert {gate.track_id for gate in mine} == {shopper.track_id} <= seen
    assert len(gates) == 6


def test_the_demo_holds_everything_it_is_there_to_show() -> None:
    scene = kiosk_scene()
    baskets = truth(scene).baskets
    assert sorted(bool(lines) for lines in baskets.values()) == [False, True, True]
    assert 45.0 <= scene.end_s <= 60.0
    puts = [act for act in scene.acts if act.kind is ActKind.PUT]
    home = {facing.barcode: set(facing.plates) for facing in scene.store.planogram.facings}
    wrong = [act for act in puts if not set(act.plates) <= home[act.barcode]]
    assert len(puts) == 2
    assert len(wrong) == 1
    takers = [
        a for a in scene.acts if a.kind is ActKind.PICK and (a.barcode, a.plates) == (wrong[0].barcode, wrong[0].plates)
    ]
    assert takers[0].shopper != wrong[0].shopper
    picks = [act for act in scene.acts if act.kind is ActKind.PICK]
    together = [
        (a, b)
        for a in picks
        for b in picks
        if a.shopper < b.shopper and abs(a.t_s - b.t_s) < 1.0 and a.plates[0].gondola == b.plates[0].gondola
    ]
    assert together
    assert any(len(act.plates) == 2 for act in picks)
    assert any(act.quantity == 2 for act in picks)


@pytest.mark.parametrize("shoppers", [1, 2, 3])
def test_random_scenes_are_possible_and_differ(shoppers: int) -> None:
    scenes = [random_scene(seed, shoppers) for seed in range(25)]
    for scene in scenes:
        check_scene(scene)
        assert len(scene.shoppers) == shoppers
    assert len({scene.acts for scene in scenes}) > 15


def test_random_scenes_hold_puts_wrong_places_touches_and_crossing_hands() -> None:
    scenes = [random_scene(seed, 3) for seed in range(40)]
    acts = [act for scene in scenes for act in scene.acts]
    assert {act.kind for act in acts} == set(ActKind)
    home = {facing.barcode: set(facing.plates) for facing in kiosk_store().planogram.facings}
    assert any(act.kind is ActKind.PUT and not set(act.plates) <= home[act.barcode] for act in acts)
    assert any(act.quantity == 2 for act in acts)
    assert any(len(act.plates) == 2 for act in acts)
    near = [
        (a, b)
        for scene in scenes
        for a in scene.acts
        for b in scene.acts
        if a.shopper < b.shopper and abs(a.t_s - b.t_s) < 1.5 and a.plates[0].gondola == b.plates[0].gondola
    ]
    assert near


def test_a_store_without_a_way_out_cannot_be_played() -> None:
    scene = kiosk_scene()
    layout = scene.store.layout
    walled = type(layout)(layout.gondolas, layout.zones[:2], layout.cameras, layout.boxes)
    store = type(scene.store)("walled in", "KRW", walled, scene.store.products, scene.store.planogram)
    with pytest.raises(SceneError, match="no exit zone"):
        check_scene(Scene(scene.name, store, scene.shoppers, scene.acts, scene.end_s))
