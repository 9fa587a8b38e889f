"""Layout, catalog and planogram from the public nanostore competition format (CPS-IoT Week 2020, AutoCheckout).

The format: ``store/{Gondolas,Shelves,Plates}.json`` (metres, poses relative to the parent, rotation vectors) and
``BENCHMARK-1/products.json`` under one root, ``planogram.json`` beside a recording; products and planogram are one
JSON document a line, ``.xz`` or not. All of it is protobuf's JSON: a field that is zero or empty may be missing.
``store/calibration.json`` has camera poses in inches, ``zones.json`` the walkable floor and the door.

Whatever looks wrong becomes an ``Anomaly`` and stays as recorded; only what no store can hold (a facing without a
known product or plate, a second document of one barcode) is left out, and told.
"""

import json
import lzma
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal, DecimalException
from pathlib import Path
from typing import Any

import numpy as np

from walkout.domain.geometry import Pose, rodrigues
from walkout.domain.money import Money
from walkout.domain.sensing import PlateId, ShelfId
from walkout.domain.shopping import Facing, Product
from walkout.errors import StoreError
from walkout.store.calibration import read_nanostore_cameras
from walkout.store.catalog import Planogram, Store, barcode_fault
from walkout.store.layout import CameraPlacement, Gondola, Layout, Plate, Shelf, Zone, ZoneKind, resolve
from walkout.store.loader import read_store
from walkout.store.toml_reader import STORE_FILE

INCH_M = 0.0254
#: Unit weights outside this range are reported. Below: the lightest product that the shelves are built to notice;
#: above: what one plate of that store can carry.
_PLAUSIBLE_G = (10.0, 20_000.0)
#: Price 1 means 1.00 of this currency.
_CURRENCY = "USD"
#: The door is given as a circle; zones are polygons.
_DOOR_CORNERS = 8
#: Ten digits before the point are more than any price, and keep the exact arithmetic small.
_MAX_PRICE = Decimal(10) ** 10


@dataclass(frozen=True, slots=True)
class Anomaly:
    """Something odd in the foreign files: ``subject`` is the barcode, plate or shelf concerned."""

    kind: str
    file: str
    line: int
    subject: str
    message: str


@dataclass(frozen=True, slots=True)
class StoreFiles:
    """Where a case's store is described. ``root`` holds the nanostore files, or ``folder`` is a store of ours.

    ``planogram`` is the file that wins: the case's own, else the root's; None where ``folder`` has the only one.
    """

    root: Path | None
    folder: Path | None
    planogram: Path | None


@dataclass(frozen=True, slots=True)
class Document:
    """One JSON object with the place it came from."""

    file: str
    line: int
    body: dict[str, Any]


def find_store_files(case_dir: Path, store_dir: Path | None = None) -> StoreFiles:
    """Where the store of the recording in ``case_dir`` is described.

    ``store_dir``, a store folder of ours or a nanostore root, else the nearest parent of ``case_dir`` (itself
    included) that is a nanostore root. Raises ``StoreError`` when there is none.
    """
    own = existing(case_dir / "planogram.json")
    if store_dir is not None:
        if (store_dir / STORE_FILE).is_file():
            return StoreFiles(None, store_dir, own)
        if not _is_root(store_dir):
            raise StoreError(
                f"{store_dir}: holds neither {STORE_FILE} nor store/Gondolas.json with BENCHMARK-1/products.json; "
                "give a store folder that `walkout store check` accepts"
            )
        return StoreFiles(store_dir, None, own or existing(store_dir / "BENCHMARK-1" / "planogram.json"))
    start = case_dir.resolve()
    for folder in (start, *start.parents):
        if _is_root(folder):
            return StoreFiles(folder, None, own or existing(folder / "BENCHMARK-1" / "planogram.json"))
    raise StoreError(
        f"{case_dir}: no folder from here upwards has store/Gondolas.json and BENCHMARK-1/products.json; "
        "name the store's folder with --store"
    )


def existing(path: Path) -> Path | None:
    """``path`` or its ``.xz`` twin, whichever is there; the plain file first."""
    for candidate in (path, path.with_name(path.name + ".xz")):
        if candidate.is_file():
            return candidate
    return None


def _is_root(folder: Path) -> bool:
    products = existing(folder / "BENCHMARK-1" / "products.json")
    return (folder / "store" / "Gondolas.json").is_file() and products is not None


def read_nanostore(files: StoreFiles) -> tuple[Store, list[Anomaly]]:
    """The store and everything odd about its description. Raises ``StoreError`` where no store can be made of it."""
    anomalies: list[Anomaly] = []
    if files.folder is not None:
        store = read_store(files.folder)
    elif files.root is not None:
        path = existing(files.root / "BENCHMARK-1" / "products.json")
        products = _products(path, anomalies) if path else {}
        store = Store("nanostore", _CURRENCY, _layout(files.root, anomalies), products)
    else:
        raise StoreError("no store is named; give its folder with --store")
    if files.planogram is not None:
        store = replace(store, planogram=_planogram(files.planogram, store, anomalies))
    return store, anomalies


def with_cameras(store: Store, files: StoreFiles, day: date) -> Store:
    """``store`` with the cameras that hung there on ``day`` (of the recording), where the root has camera sets.

    A store folder of ours keeps its own. Raises ``StoreError`` where the camera sets cannot be read.
    """
    if files.root is None or not (files.root / "calibration" / "cameras.json").is_file():
        return store
    cameras = read_nanostore_cameras(files.root, day=day)
    places = tuple(CameraPlacement(name, model.pose) for name, model in cameras.items())
    return replace(store, cameras=cameras, layout=replace(store.layout, cameras=places))


def open_text(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines of a small plain or ``.xz`` file. Raises ``StoreError`` when it cannot be read to its end."""
    try:
        with lzma.open(path, "rb") if path.suffix == ".xz" else path.open("rb") as file:
            yield from enumerate(file, 1)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise StoreError(f"{path}: cannot be read ({error}); fetch the file again") from error


def _documents(path: Path, anomalies: list[Anomaly]) -> Iterator[Document]:
    """One document a line; a line that is none becomes an anomaly."""
    for number, line in open_text(path):
        if not line.strip():
            continue
        try:
            body = json.loads(line, parse_float=Decimal, parse_constant=lambda _: None)
        except (ValueError, RecursionError, DecimalException) as error:
            anomalies.append(Anomaly("line_unreadable", path.name, number, "", f"no JSON: {error}"))
            continue
        if isinstance(body, dict):
            yield Document(path.name, number, body)
        else:
            anomalies.append(Anomaly("line_unreadable", path.name, number, "", "no JSON object"))


def _table(value: object, *keys: str) -> dict[str, Any]:
    """The object under ``keys``; empty where it is missing or something else (protobuf leaves empty ones out)."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    """A string that UTF-8 can hold, ``""`` for anything else; a number keeps its digits."""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return str(value)
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _products(path: Path, anomalies: list[Anomaly]) -> dict[str, Product]:
    found: dict[str, Product] = {}
    for document in _documents(path, anomalies):
        barcode = _text(_table(document.body, "product_id").get("id"))

        def tell(kind: str, message: str, document: Document = document, barcode: str = barcode) -> None:
            anomalies.append(Anomaly(kind, document.file, document.line, barcode, message))

        if not barcode:
            tell("barcode_missing", "a product without a barcode is left out")
            continue
        told: list[tuple[str, str]] = []
        product = _product(barcode, _table(document.body, "metadata"), lambda *what: told.append(what))  # noqa: B023
        if barcode not in found:
            found[barcode] = product
            for kind, message in told:
                tell(kind, message)
        elif found[barcode] == product:
            tell("product_repeated", "the same document once more")
        else:
            tell("product_conflict", "another document of this barcode differs; the first one stays")
    return found


def _product(barcode: str, metadata: dict[str, Any], tell: Callable[[str, str], None]) -> Product:
    fault = barcode_fault(barcode)
    if fault:
        if "lost its leading" in fault:
            kind = "barcode_lost_zeros"
        else:
            kind = "barcode_check_digit" if "check digit" in fault else "barcode_no_gtin"
        tell(kind, f"the barcode {fault}; kept as recorded")
    weight = _number(metadata.get("weight"))
    if weight is None or weight <= 0.0:
        weight = None
        tell("weight_missing", "no unit weight")
    elif not _PLAUSIBLE_G[0] <= weight <= _PLAUSIBLE_G[1]:
        tell("weight_implausible", f"{weight:g} g is no likely unit weight; kept as recorded")
    return Product(barcode, _text(metadata.get("name")), weight, _price(metadata.get("price"), tell))


def _price(value: object, tell: Callable[[str, str], None]) -> Money | None:
    """Exact minor units of a decimal price, or None, told."""
    if value is None:
        tell("price_missing", "no price: its visits go to review")
        return None
    if isinstance(value, int | Decimal) and not isinstance(value, bool) and 0 < value < _MAX_PRICE:
        minor = Decimal(value) * 100
        if minor == minor.to_integral_value():
            return Money(int(minor), _CURRENCY)
    tell("price_unusable", f"{value} is no price in whole cents: its visits go to review")
    return None


def _number(value: object) -> float | None:
    """A finite float, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _planogram(path: Path, store: Store, anomalies: list[Anomaly]) -> Planogram:
    facings: list[Facing] = []
    owners: dict[PlateId, str] = {}
    for document in _documents(path, anomalies):
        barcode = _text(_table(document.body, "planogram_product_id").get("id"))
        named = document.body.get("plate_ids")
        plates = sorted({_plate_id(plate) for plate in (named if isinstance(named, list) else [])})
        where = " ".join(map(str, plates))

        def tell(kind: str, subject: str, message: str, document: Document = document) -> None:
            anomalies.append(Anomaly(kind, document.file, document.line, subject, message))

        for plate in plates:
            if plate not in store.layout.boxes:
                tell("plate_unknown", str(plate), "a facing on a plate that the layout does not have")
        known = [plate for plate in plates if plate in store.layout.boxes]
        if not barcode:
            tell("facing_without_product", where, "a facing without a product is left out")
        elif barcode not in store.products:
            tell("product_unknown", barcode, f"the facing on {where} has a product that the catalog does not know")
        elif not known:
            tell("facing_without_plate", barcode, "a facing without a known plate is left out")
        else:
            for plate in known:
                if owners.setdefault(plate, barcode) != barcode:
                    tell("plate_shared", str(plate), f"{barcode} and {owners[plate]} stand on one plate")
            shelves = dict.fromkeys(plate.shelf_id for plate in known)
            facings += [Facing(barcode, tuple(p for p in known if p.shelf_id == shelf)) for shelf in shelves]
    return Planogram(tuple(facings))


def _index(value: object) -> int:
    """A protobuf integer; missing means zero, anything else -1, which no layout has."""
    if value is None:
        return 0
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


def _gondola_name(value: object) -> str:
    return str(_index(_table(value, "gondola_id").get("id")))


def _shelf_id(value: object) -> ShelfId:
    return ShelfId(_gondola_name(value), _index(_table(value).get("shelf_index")))


def _plate_id(value: object) -> PlateId:
    shelf = _shelf_id(_table(value, "shelf_id"))
    return PlateId(shelf.gondola, shelf.shelf, _index(_table(value).get("plate_index")))


def _layout(root: Path, anomalies: list[Anomaly]) -> Layout:
    folder = root / "store"
    plates: dict[ShelfId, list[Plate]] = {}
    for entry, size in _entries(folder / "Plates.json", "plates", anomalies, _plate_id):
        plate = Plate(_plate_id(_table(entry, "id")), _pose(entry), size[:2])
        plates.setdefault(plate.plate_id.shelf_id, []).append(plate)
    shelves: dict[str, list[Shelf]] = {}
    for entry, size in _entries(folder / "Shelves.json", "shelves", anomalies, _shelf_id):
        shelf = _shelf_id(_table(entry, "id"))
        there = sorted(plates.pop(shelf, []), key=lambda plate: plate.plate_id)
        shelves.setdefault(shelf.gondola, []).append(Shelf(shelf, _pose(entry), size, tuple(there)))
    gondolas = []
    for entry, size in _entries(folder / "Gondolas.json", "gondolas", anomalies, _gondola_id):
        name = _gondola_id(_table(entry, "id"))[0]
        levels = sorted(shelves.pop(name, []), key=lambda shelf: shelf.shelf_id)
        gondolas.append(Gondola(name, _pose(entry), size, tuple(levels)))
    orphans = [*map(str, plates), *(str(shelf.shelf_id) for levels in shelves.values() for shelf in levels)]
    lost = "nothing carries it; left out"
    anomalies += [Anomaly("furniture_missing", "Shelves.json", 0, orphan, lost) for orphan in orphans]
    return resolve(tuple(gondolas), _zones(root / "zones.json"), _cameras(folder / "calibration.json", anomalies))


def _gondola_id(value: object) -> tuple[str]:
    return (str(_index(_table(value).get("id"))),)


def _load(path: Path) -> Any:
    """One JSON document. Raises ``StoreError``."""
    try:
        return json.loads(path.read_bytes(), parse_constant=lambda _: None)
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path}: cannot be read ({error}); fetch the file again") from error


def _entries(
    path: Path, key: str, anomalies: list[Anomaly], name_of: Callable[[object], tuple[str | int, ...]]
) -> list[tuple[object, tuple[float, float, float]]]:
    """The pieces of furniture of one file with their sizes; those that no store can hold become anomalies."""
    document = _load(path)
    entries = document.get(key) if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise StoreError(f"{path}: has no list {key!r}; fetch the file again")
    found: dict[tuple[str | int, ...], tuple[object, tuple[float, float, float]]] = {}
    for entry in entries:
        name, size = name_of(_table(entry, "id")), _size(entry)
        said = ""
        if name in found:
            said = "is there twice; the first one stays"
        elif any(int(number) < 1 for number in name):
            said = "has no number; left out"
        elif min(size[:2]) <= 0.0 or (key != "plates" and size[2] <= 0.0):
            said = "has no size; left out"
        if said:
            anomalies.append(Anomaly("furniture_unusable", path.name, 0, "/".join(map(str, name)), said))
        else:
            found[name] = (entry, size)
    return list(found.values())


def _vector(value: object) -> np.ndarray[Any, np.dtype[np.float64]]:
    """x, y, z of one object; missing means zero (protobuf)."""
    table = _table(value)
    return np.array([_number(table.get(axis)) or 0.0 for axis in "xyz"])


def _pose(entry: object) -> Pose:
    transform = _table(entry, "coordinates", "transform")
    return Pose(rodrigues(_vector(transform.get("rotation"))), _vector(transform.get("translation")))


def _size(entry: object) -> tuple[float, float, float]:
    table = _table(entry, "coordinates")
    width, depth, height = (_number(table.get(key)) or 0.0 for key in ("dim_x", "dim_y", "dim_z"))
    return width, depth, height


def _zones(path: Path) -> tuple[Zone, ...]:
    """The walkable floor and the door, as a polygon that is both entrance and exit; nothing where there is no file."""
    if not path.is_file():
        return ()
    document = _load(path)
    zones: list[Zone] = []
    corners = _table(document).get("walkable_m")
    floor = [_point(corner) for corner in corners] if isinstance(corners, list) else []
    points = tuple(point for point in floor if point is not None)
    if len(points) >= 3:
        zones.append(Zone("floor", ZoneKind.WALKABLE, points))
    door = _table(document, "door")
    center, radius = _point(door.get("about_m")), _number(door.get("radius_m"))
    if center is not None and radius:
        angles = [2.0 * math.pi * step / _DOOR_CORNERS for step in range(_DOOR_CORNERS)]
        ring = tuple((center[0] + radius * math.cos(a), center[1] + radius * math.sin(a)) for a in angles)
        zones += [Zone("door in", ZoneKind.ENTRANCE, ring), Zone("door out", ZoneKind.EXIT, ring)]
    return tuple(zones)


def _point(value: object) -> tuple[float, float] | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    x, y = _number(value[0]), _number(value[1])
    return None if x is None or y is None else (x, y)


def _cameras(path: Path, anomalies: list[Anomaly]) -> tuple[CameraPlacement, ...]:
    """The published camera poses: ``Tw`` maps camera (x right, y down, z forward) to world, its translation in inches.

    They belong to one installation of the cameras only; a recording from another one needs its own calibration:
    ``with_cameras``.
    """
    if not path.is_file():
        return ()
    found = []
    for name, camera in _table(_load(path), "cameras").items():
        rows = _table(camera).get("Tw")
        cells = [cell for row in rows if isinstance(row, list) for cell in row] if isinstance(rows, list) else []
        numbers = [number for number in map(_number, cells) if number is not None]
        matrix = np.array(numbers).reshape(4, 4) if len(numbers) == 16 else np.zeros((4, 4))
        rotation = matrix[:3, :3]
        # Published to 16 digits; 1e-6 is a hundredth of a pixel at any image width of theirs.
        if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-6:
            anomalies.append(Anomaly("camera_unusable", path.name, 0, str(name), "Tw is no pose; left out"))
            continue
        found.append(CameraPlacement(str(name), Pose(rotation.copy(), matrix[:3, 3] * INCH_M)))
    return tuple(found)
