"""Labelled visits re-enacted over real noise: every step found once, also when packets get lost on the way."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from walkout.domain.sensing import LoadCellBatch, WeightEvent

Batches = list[LoadCellBatch]


def as_recorded(batches: Batches, rng: np.random.Generator) -> Batches:
    del rng
    return batches


def lossy(batches: Batches, rng: np.random.Generator) -> Batches:
    return [batch for batch in batches if rng.random() > 0.03]


def doubled(batches: Batches, rng: np.random.Generator) -> Batches:
    return [copy for batch in batches for copy in ([batch, batch] if rng.random() < 0.05 else [batch])]


def swapped(batches: Batches, rng: np.random.Generator) -> Batches:
    result = list(batches)
    for i in range(len(result) - 8):
        later = [k for k in range(i + 1, i + 8) if result[k].source == result[i].source]
        if later and rng.random() < 0.02:
            result[i], result[later[0]] = result[later[0]], result[i]
    return result


def noisier(batches: Batches, rng: np.random.Generator) -> Batches:
    return [
        replace(batch, grams=(batch.grams + rng.normal(0, 1.5, batch.grams.shape)).astype(np.float32))
        for batch in batches
    ]


def skewed(batches: Batches, rng: np.random.Generator) -> Batches:
    del rng
    first_ns = batches[0].t0_ns
    return [replace(batch, t0_ns=batch.t0_ns + round(300e-6 * (batch.t0_ns - first_ns))) for batch in batches]


def is_hit(event: WeightEvent, truth: dict) -> bool:
    """One detected event overlaps the true time by a second, has its sign and shares a plate."""
    return (
        (event.shelf_id.gondola, event.shelf_id.shelf) == (str(truth["gondola"]), truth["shelf"])
        and bool({plate.plate for plate in event.plates} & set(truth["plates"]))
        and (event.total_g > 0) == (truth["kind"] == "put")
        and event.start_ns / 1e9 - 1 <= truth["time"] <= event.end_ns / 1e9 + 1
    )


def hits(events: list[WeightEvent], truths: list[dict]) -> int:
    """Number of one-to-one matches, nearest in time first."""
    pairs = sorted(
        (abs(event.step_ns / 1e9 - truth["time"]), i, j)
        for i, truth in enumerate(truths)
        for j, event in enumerate(events)
        if is_hit(event, truth)
    )
    taken_truths: set[int] = set()
    taken_events: set[int] = set()
    for _, i, j in pairs:
        if i not in taken_truths and j not in taken_events:
            taken_truths.add(i)
            taken_events.add(j)
    return len(taken_truths)


@pytest.fixture(scope="module")
def cases(nanostore: Path, load: Callable[[str], Batches]) -> list[tuple[Batches, list[dict]]]:
    folders = sorted(path for path in (nanostore / "reenacted").iterdir() if path.is_dir())
    return [
        (load(f"reenacted/{folder.name}"), json.loads((folder / "truth.json").read_text())["events"])
        for folder in folders
    ]


# Measured on 108 true steps: recall 104/108, precision 104/104 in every variant (at most 105 events with noise added).
# The four that are missed: two pairs of people who take from the same plate within 0.11 s (one step of twice the
# weight), and a pick and a put-back within one touch that leaves no level in between.
@pytest.mark.parametrize("change", [as_recorded, lossy, doubled, swapped, noisier, skewed])
def test_labelled_steps_are_found_once_and_nothing_else_is(cases, lab, change):
    rng = np.random.default_rng(7)
    found = true = right = 0
    for batches, truths in cases:
        events = lab.steps(lab.detect(change(batches, rng)))
        found, true, right = found + len(events), true + len(truths), right + hits(events, truths)
    assert right / true >= 0.95
    assert right / found >= 0.97
