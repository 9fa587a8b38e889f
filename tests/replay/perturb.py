"""Perturbed copies of cases in the nanostore's format: what accuracy must not depend on."""

import base64
import json
import lzma
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Document = dict[str, Any]
Lines = list[Document]
Change = Callable[[Lines, np.random.Generator], Lines]


def read_lines(path: Path) -> Lines:
    """The JSON documents of a file, one a line, ``.xz`` or plain."""
    with lzma.open(path, "rt") if path.suffix == ".xz" else path.open() as file:
        return [json.loads(line) for line in file if line.strip()]


def perturbed(
    case: Path, folder: Path, plates: Change | None = None, bodies: Change | None = None, seed: int = 0
) -> Path:
    """A copy of ``case`` under ``folder`` with its plate and body lines changed; truth and planogram stay."""
    copy = folder / case.name
    copy.mkdir(parents=True)
    for name, change in (("plate_data.json", plates), ("full_targets.json", bodies)):
        source = next(case.glob(f"{name}*"))
        if change is None:
            shutil.copy(source, copy)
            continue
        changed = change(read_lines(source), np.random.default_rng(seed))
        (copy / name).write_text("".join(json.dumps(line) + "\n" for line in changed))
    for name in ("truth.json", "planogram.json"):
        shutil.copy(case / name, copy)
    return copy


def mirrored_store(source: Path, folder: Path) -> Path:
    """A store folder whose x axis points the other way; plate numbers stay with their plates."""
    store = folder / "mirrored"
    (store / "store").mkdir(parents=True)
    (store / "BENCHMARK-1").mkdir()
    for name in ("products.json", "planogram.json"):
        shutil.copy(source / "BENCHMARK-1" / name, store / "BENCHMARK-1")
    gondolas, shelves, plates = (
        json.loads((source / "store" / f"{name}.json").read_text()) for name in ("Gondolas", "Shelves", "Plates")
    )
    width = {_gondola(one["id"]): one["coordinates"]["dim_x"] for one in gondolas["gondolas"]}
    deep = {_shelf(one["id"]): one["coordinates"]["dim_x"] for one in shelves["shelves"]}
    for one in plates["plates"]:
        _mirror(one, deep[_shelf(one["id"]["shelf_id"])])
    for one in shelves["shelves"]:
        _mirror(one, width[_gondola(one["id"]["gondola_id"])])
    for one in gondolas["gondolas"]:
        _mirror(one, 0.0)
    for name, document in (("Gondolas", gondolas), ("Shelves", shelves), ("Plates", plates)):
        (store / "store" / f"{name}.json").write_text(json.dumps(document))
    return store


def _gondola(identity: Document) -> int:
    return int(identity["id"])


def _shelf(identity: Document) -> tuple[int, int]:
    return _gondola(identity["gondola_id"]), int(identity["shelf_index"])


def _mirror(one: Document, parent_width: float) -> None:
    place = one["coordinates"]["transform"]["translation"]
    place["x"] = parent_width - place.get("x", 0.0) - one["coordinates"]["dim_x"]


def mirrored_bodies(lines: Lines, _rng: np.random.Generator) -> Lines:
    """Everybody walks in the mirror."""
    for point in _points(lines):
        point["x"] = -point.get("x", 0.0)
    return lines


def _points(lines: Lines) -> Iterator[Document]:
    for line in lines:
        for target in line["document"].get("targets", {}).get("targets", []):
            for value in target.values():
                for joint in value if isinstance(value, list) else [value]:
                    if isinstance(joint, dict) and "point" in joint:
                        yield joint["point"]


def shifted(seconds: float) -> Change:
    """All clocks of a stream are off by this much."""

    def change(lines: Lines, _rng: np.random.Generator) -> Lines:
        for line in lines:
            line["timestamp"] += seconds
            line["document"]["header"] = {}
        return lines

    return change


def noisy_plates(sigma_g: float) -> Change:
    """White noise on every reading, grams."""

    def change(lines: Lines, rng: np.random.Generator) -> Lines:
        for line in lines:
            values = line["document"]["plate_data"]["values"]
            grams = np.frombuffer(base64.b64decode(values["data"]), "<f4").reshape(values["shape"])
            grams = (grams + rng.normal(0.0, sigma_g, grams.shape)).astype("<f4")
            values["data"] = base64.b64encode(grams.tobytes()).decode()
        return lines

    return change


def noisy_bodies(sigma_in: float) -> Change:
    """White noise on every joint, inches per axis."""

    def change(lines: Lines, rng: np.random.Generator) -> Lines:
        for point in _points(lines):
            for axis, error in zip("xyz", rng.normal(0.0, sigma_in, 3), strict=True):
                point[axis] = point.get(axis, 0.0) + float(error)
        return lines

    return change


def lossy(share: float) -> Change:
    """Lines dropped, doubled and swapped with the next, each with this probability."""

    def change(lines: Lines, rng: np.random.Generator) -> Lines:
        kept = [line for line in lines if rng.random() >= share]
        kept = [line for line in kept for _ in range(2 if rng.random() < share else 1)]
        for index in range(len(kept) - 1):
            if rng.random() < share:
                kept[index], kept[index + 1] = kept[index + 1], kept[index]
        return kept

    return change
