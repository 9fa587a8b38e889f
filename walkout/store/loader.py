"""A store folder: ``store.toml`` (furniture, zones, cameras) with plates, products and planogram as CSV beside it.

``calibration.toml``, where it is there, says what the cameras were measured to be; it wins over ``store.toml``.

Lengths are metres, rotations are vectors (axis times angle in radians), every pose relative to its parent;
prices are decimal text in the store's currency; a facing holds from ``valid_from`` to before ``valid_to``.

``read_store`` gives the Store or raises with every error; ``check_store`` lists errors and warnings;
``write_store`` writes what ``read_store`` reads back equal.
"""

import csv
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from walkout.domain.geometry import Pose, rodrigues
from walkout.domain.money import MINOR_DIGITS
from walkout.domain.selling import StoreTerms
from walkout.domain.sensing import PlateId, ShelfId
from walkout.domain.shopping import Facing, Product
from walkout.errors import StoreError
from walkout.store.calibration import CameraModel
from walkout.store.camera_file import CALIBRATION_FILE, cameras_of, write_cameras
from walkout.store.catalog import Planogram, Store, barcode_fault
from walkout.store.check import (
    Complaint,
    Row,
    Severity,
    check_overlaps,
    check_plate_on_shelf,
    money_text,
    parse_money,
    read_rows,
    read_text,
)
from walkout.store.layout import CameraPlacement, Gondola, Layout, Plate, Shelf, resolve
from walkout.store.terms import TERM_COLUMNS, product_term_cells, product_terms, read_terms, terms_lines
from walkout.store.toml_reader import STORE_FILE, TomlReader
from walkout.store.toml_writer import pose_lines, quoted, rotation_vector

_PLATE_COLUMNS = (
    *("gondola", "shelf", "plate", "x_m", "y_m", "z_m"),
    *("rotation_x", "rotation_y", "rotation_z", "width_m", "depth_m"),
)
_PRODUCT_COLUMNS = ("barcode", "name", "weight_g", "price")
_PLANOGRAM_COLUMNS = ("barcode", "gondola", "shelf", "plates", "valid_from", "valid_to")
#: How many complaints an error message carries; ``walkout store check`` prints them all.
_TOLD = 20


def read_store(path: Path) -> Store:
    """The store in folder ``path``. Raises ``StoreError`` listing every error with file, line and remedy."""
    store, complaints = _load(path)
    errors = [complaint for complaint in complaints if complaint.severity is Severity.ERROR]
    if errors or store is None:
        more = [f"... and {len(errors) - _TOLD} more"] if len(errors) > _TOLD else []
        raise StoreError("\n".join([f"{path}: this store cannot be used", *map(str, errors[:_TOLD]), *more]))
    return store


def check_store(path: Path) -> list[Complaint]:
    """Everything that is wrong with the store folder ``path``, by file and line; empty when all is well."""
    return sorted(_load(path)[1], key=lambda complaint: (complaint.file, complaint.line, complaint.message))


def _load(path: Path) -> tuple[Store | None, list[Complaint]]:
    complaints: list[Complaint] = []
    text = read_text(path / STORE_FILE, complaints)
    if text is None:
        return None, complaints
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"at line (\d+)", str(error))
        line = int(place[1]) if place else text.count("\n") + 1
        complaints.append(Complaint(STORE_FILE, line, f"is no TOML ({error})", "correct the line"))
        return None, complaints
    toml = TomlReader(text, complaints)
    currency = _currency(document, toml)
    gondolas = toml.gondolas(document)
    shelves = {shelf.shelf_id: shelf for gondola in gondolas for shelf in gondola.shelves}
    plates = _read_plates(path / "plates.csv", shelves, complaints)
    cameras = cameras_of(path, complaints)
    layout = resolve(
        tuple(_with_plates(gondola, plates) for gondola in gondolas),
        toml.zones(document),
        _as_measured(toml.cameras(document), cameras),
    )
    timezone = _timezone(document, toml)
    terms = read_terms(document, currency, timezone, toml)
    products = _read_products(path / "products.csv", currency, terms, complaints)
    planogram = _read_planogram(path / "planogram.csv", layout, products, complaints)
    name = toml.text(document, "name", ("", 0))
    return Store(name, currency, layout, products, planogram, timezone, cameras, terms), complaints


def _as_measured(planned: tuple[CameraPlacement, ...], cameras: dict[str, CameraModel]) -> tuple[CameraPlacement, ...]:
    places = {camera.camera_id: camera for camera in planned}
    places |= {name: CameraPlacement(name, model.pose) for name, model in cameras.items()}
    return tuple(places.values())


def _currency(document: dict[str, Any], toml: TomlReader) -> str:
    """The store's currency; USD stands in for one we do not know, so that the other files get checked."""
    currency = toml.text(document, "currency", ("", 0))
    if currency in MINOR_DIGITS:
        return currency
    if currency:
        known = ", ".join(sorted(MINOR_DIGITS))
        toml.complain(("", 0), "currency", f"currency {currency!r} is unknown", f"use one of {known}")
    return "USD"


def _timezone(document: dict[str, Any], toml: TomlReader) -> str:
    if "timezone" not in document:
        return "UTC"
    name = toml.text(document, "timezone", ("", 0))
    try:
        ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        toml.complain(("", 0), "timezone", f"timezone {name!r} is unknown", 'use a name such as "Asia/Seoul"')
        return "UTC"
    return name or "UTC"


def _with_plates(gondola: Gondola, plates: dict[PlateId, Plate]) -> Gondola:
    shelves = tuple(
        Shelf(
            shelf.shelf_id,
            shelf.pose,
            shelf.size_m,
            tuple(plates[plate] for plate in sorted(plates) if plate.shelf_id == shelf.shelf_id),
        )
        for shelf in gondola.shelves
    )
    return Gondola(gondola.gondola_id, gondola.pose, gondola.size_m, shelves)


def _read_plates(path: Path, shelves: dict[ShelfId, Shelf], complaints: list[Complaint]) -> dict[PlateId, Plate]:
    found: dict[PlateId, Plate] = {}
    for row in read_rows(path, _PLATE_COLUMNS, complaints):
        shelf, plate = row.whole("shelf"), row.whole("plate")
        values = [row.number(column) for column in _PLATE_COLUMNS[3:]]
        numbers = [value for value in values if value is not None]
        if shelf is None or plate is None or len(numbers) < len(values):
            continue
        plate_id = PlateId(row.cells["gondola"], shelf, plate)
        pose = Pose(rodrigues(np.array(numbers[3:6])), np.array(numbers[:3]))
        if plate_id.shelf_id not in shelves:
            row.complain(f"there is no shelf {plate_id.shelf_id}", "describe it in store.toml")
        elif plate_id in found:
            row.complain(f"plate {plate_id} is there twice", "give every plate its own number")
        elif min(numbers[6:]) <= 0.0:
            row.complain(f"plate {plate_id} has no surface", "write width_m and depth_m in metres")
        else:
            found[plate_id] = Plate(plate_id, pose, (numbers[6], numbers[7]))
            check_plate_on_shelf(found[plate_id], shelves[plate_id.shelf_id], row)
    return found


def _read_products(path: Path, currency: str, terms: StoreTerms, complaints: list[Complaint]) -> dict[str, Product]:
    found: dict[str, Product] = {}
    lines: dict[str, int] = {}
    for row in read_rows(path, _PRODUCT_COLUMNS, complaints):
        barcode, weight, price = row.cells["barcode"], None, None
        if not barcode:
            row.complain("the barcode is missing", "write the barcode that the label carries")
            continue
        if barcode in found:
            row.complain(f"{barcode} is already in line {lines[barcode]}", "keep one line for each barcode")
            continue
        fault = barcode_fault(barcode)
        if fault:
            row.complain(f"barcode {barcode} {fault}", "compare it with the label", Severity.WARNING)
        if row.cells["weight_g"]:
            weight = row.number("weight_g")
            if weight is not None and weight <= 0.0:
                row.complain(f"weight_g is {weight:g}", "weigh the product, or leave the weight empty")
        else:
            row.complain(f"{barcode} has no weight", "weigh one unit", Severity.WARNING)
        if row.cells["price"]:
            try:
                price = parse_money(row.cells["price"], currency)
            except ValueError as error:
                row.complain(str(error), f"write a price in {currency} such as {_example_price(currency)}")
        else:
            row.complain(f"{barcode} has no price", "price it, or its visits go to review", Severity.WARNING)
        lines[barcode] = row.line
        found[barcode] = Product(barcode, row.cells["name"], weight, price, **product_terms(row, currency, terms))
    return found


def _example_price(currency: str) -> str:
    digits = MINOR_DIGITS[currency]
    return f"12.{'5'.ljust(digits, '0')}" if digits else "1250"


def _read_planogram(path: Path, layout: Layout, products: dict[str, Product], complaints: list[Complaint]) -> Planogram:
    found: list[tuple[Row, Facing]] = []
    for row in read_rows(path, _PLANOGRAM_COLUMNS, complaints):
        shelf, first, last = row.whole("shelf"), row.day("valid_from"), row.day("valid_to")
        plates = _facing_plates(row, shelf, layout) if shelf is not None else ()
        if row.cells["barcode"] not in products:
            row.complain(
                f"product {row.cells['barcode']!r} is not in products.csv",
                "add it, or drop the facing",
            )
        if first and last and last <= first:
            row.complain(f"valid_to {last} is not after valid_from {first}", "swap or correct the dates")
        if plates:
            found.append((row, Facing(row.cells["barcode"], plates, first, last)))
    check_overlaps(found)
    return Planogram(tuple(facing for _, facing in found))


def _facing_plates(row: Row, shelf: int, layout: Layout) -> tuple[PlateId, ...]:
    words = row.cells["plates"].split()
    if not words or not all(word.isascii() and word.isdigit() and len(word) <= 9 for word in words):
        row.complain(f"plates is {row.cells['plates']!r}", "write plate numbers such as 3 4")
        return ()
    plates = tuple(PlateId(row.cells["gondola"], shelf, int(word)) for word in words)
    for plate in plates:
        if plate not in layout.boxes:
            row.complain(f"there is no plate {plate}", "describe it in plates.csv")
    if len(set(plates)) < len(plates):
        row.complain("a plate is named twice", "name every plate once")
    return tuple(plate for plate in dict.fromkeys(plates) if plate in layout.boxes)


def write_store(store: Store, path: Path) -> None:
    """Write ``store`` into folder ``path`` (made if need be); ``read_store`` gives it back equal."""
    path.mkdir(parents=True, exist_ok=True)
    (path / STORE_FILE).write_text("\n".join(_toml_lines(store)) + "\n", encoding="utf-8")
    if store.cameras:
        write_cameras(path / CALIBRATION_FILE, store.cameras, {})
    shelves = [shelf for gondola in store.layout.gondolas for shelf in gondola.shelves]
    _write_rows(
        path / "plates.csv",
        _PLATE_COLUMNS,
        (_plate_cells(plate) for shelf in shelves for plate in shelf.plates),
    )
    _write_rows(path / "products.csv", *_product_rows(store.products.values()))
    _write_rows(path / "planogram.csv", _PLANOGRAM_COLUMNS, map(_facing_cells, store.planogram.facings))


def _write_rows(path: Path, columns: tuple[str, ...], rows: Iterable[list[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _toml_lines(store: Store) -> list[str]:
    lines = [f"name = {quoted(store.name)}", f"currency = {quoted(store.currency)}"]
    lines += [f"timezone = {quoted(store.timezone)}"]
    lines += terms_lines(store.terms, store.currency)
    for gondola in store.layout.gondolas:
        lines += ["", "[[gondolas]]", f"id = {quoted(gondola.gondola_id)}", *pose_lines(gondola.pose)]
        lines += [f"size_m = {list(map(float, gondola.size_m))}"]
        for shelf in gondola.shelves:
            lines += ["", "[[gondolas.shelves]]", f"shelf = {shelf.shelf_id.shelf}", *pose_lines(shelf.pose)]
            lines += [f"size_m = {list(map(float, shelf.size_m))}"]
    for zone in store.layout.zones:
        lines += ["", "[[zones]]", f"name = {quoted(zone.name)}", f"kind = {quoted(zone.kind)}"]
        lines += [f"corners_m = {[[float(x), float(y)] for x, y in zone.corners_m]}"]
    for camera in store.layout.cameras:
        lines += ["", "[[cameras]]", f"id = {quoted(camera.camera_id)}", *pose_lines(camera.pose)]
    return lines


def _plate_cells(plate: Plate) -> list[object]:
    turned = not np.array_equal(plate.pose.rotation, np.eye(3))
    rotation = rotation_vector(plate.pose).tolist() if turned else [0.0, 0.0, 0.0]
    return [*plate.plate_id, *plate.pose.translation.tolist(), *rotation, *map(float, plate.size_m)]


def _product_cells(product: Product) -> list[object]:
    weight = "" if product.weight_g is None else repr(float(product.weight_g))
    price = "" if product.price is None else money_text(product.price)
    return [product.barcode, product.name, weight, price]


def _product_rows(products: Iterable[Product]) -> tuple[tuple[str, ...], list[list[object]]]:
    """Header and rows of ``products.csv``; the optional columns only where a product needs one."""
    rows = [(_product_cells(product), product_term_cells(product)) for product in products]
    if not any(any(more) for _, more in rows):
        return _PRODUCT_COLUMNS, [cells for cells, _ in rows]
    return (*_PRODUCT_COLUMNS, *TERM_COLUMNS), [[*cells, *more] for cells, more in rows]


def _facing_cells(facing: Facing) -> list[object]:
    if len({plate.shelf_id for plate in facing.plates}) != 1:
        raise StoreError(f"the facing of {facing.barcode} must stand on one shelf: make it one for each shelf")
    shelf = facing.plates[0].shelf_id
    numbers = " ".join(str(plate.plate) for plate in facing.plates)
    first, last = facing.valid_from or "", facing.valid_to or ""
    return [facing.barcode, shelf.gondola, shelf.shelf, numbers, first, last]
