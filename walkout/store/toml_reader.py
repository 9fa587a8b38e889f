"""Tables of ``store.toml`` as furniture, zones and cameras; every complaint names the line to blame."""

import re
from typing import Any

import numpy as np

from walkout.domain.geometry import IDENTITY, Pose, rodrigues
from walkout.domain.sensing import ShelfId
from walkout.store.check import Complaint
from walkout.store.layout import CameraPlacement, Gondola, Shelf, Zone, ZoneKind

STORE_FILE = "store.toml"
#: A header of ``store.toml`` and its number among those of that name; ``("", 0)`` is the head of the file.
Where = tuple[str, int]


class TomlReader:
    """Reads tables and looks up their lines in the text, which the standard parser does not tell."""

    def __init__(self, text: str, complaints: list[Complaint], file: str = STORE_FILE) -> None:
        self._lines = text.splitlines()
        self._complaints = complaints
        self._file = file

    def complain(self, where: Where, key: str, message: str, remedy: str) -> None:
        """Complain at the line of ``key`` in the table ``where``, or at its header."""
        header, count = where
        line = 1
        if header:
            starts = [n for n, text in enumerate(self._lines, 1) if text.strip() in (f"[[{header}]]", f"[{header}]")]
            line = starts[count] if count < len(starts) else 1
        for number in range(line, len(self._lines) + 1):
            text = self._lines[number - 1].strip()
            if re.match(rf"{re.escape(key)}\s*=", text):
                line = number
                break
            if text.startswith("[") and number > line:
                break
        self._complaints.append(Complaint(self._file, line, message, remedy))

    def text(self, table: dict[str, Any], key: str, where: Where) -> str:
        """A string that is not empty; otherwise a complaint and ``""``."""
        value = table.get(key)
        if isinstance(value, str) and value:
            return value
        self.complain(where, key, f"{key} is missing or no text", f'write {key} = "..."')
        return ""

    def numbers(self, table: dict[str, Any], key: str, count: int, where: Where) -> list[float]:
        """``count`` finite numbers; otherwise a complaint and zeros."""
        value = table.get(key)
        if isinstance(value, list) and len(value) == count and all(_is_number(number) for number in value):
            return [float(number) for number in value]
        self.complain(where, key, f"{key} must be {count} numbers", f"write {key} = {[0.0] * count}, in metres")
        return [0.0] * count

    def sizes(self, table: dict[str, Any], where: Where) -> tuple[float, float, float]:
        """Width, depth, height in metres; a complaint when one is not positive."""
        width, depth, height = self.numbers(table, "size_m", 3, where)
        if "size_m" in table and min(width, depth, height) <= 0.0:
            self.complain(where, "size_m", "size_m must be positive", "write width, depth, height in metres")
        return width, depth, height

    def pose(self, table: dict[str, Any], where: Where) -> Pose:
        """``translation_m`` with ``rotation`` (a vector) or ``rotation_matrix``; no rotation means none."""
        translation = np.array(self.numbers(table, "translation_m", 3, where))
        if "rotation_matrix" in table:
            matrix = np.array(self.numbers(table, "rotation_matrix", 9, where)).reshape(3, 3)
            if np.abs(matrix @ matrix.T - np.eye(3)).max() > 1e-6 or np.linalg.det(matrix) < 0.0:
                self.complain(where, "rotation_matrix", "rotation_matrix is no rotation", "use rotation = [x, y, z]")
            return Pose(matrix, translation)
        if "rotation" in table:
            return Pose(rodrigues(np.array(self.numbers(table, "rotation", 3, where))), translation)
        return Pose(IDENTITY.rotation, translation)

    def tables(self, parent: dict[str, Any], key: str, where: Where) -> list[dict[str, Any]]:
        """An array of tables; missing means empty."""
        value = parent.get(key, [])
        if isinstance(value, list) and all(isinstance(table, dict) for table in value):
            return value
        self.complain(where, key, f"{key} must be tables", f"write [[{key}]] headers")
        return []

    def gondolas(self, document: dict[str, Any]) -> tuple[Gondola, ...]:
        """All furniture, still without plates."""
        found: dict[str, Gondola] = {}
        shelf_count = 0
        for number, table in enumerate(self.tables(document, "gondolas", ("", 0))):
            where = ("gondolas", number)
            name = self.text(table, "id", where)
            if name in found:
                self.complain(where, "id", f"gondola {name!r} is there twice", "give each its own id")
            shelves = self.tables(table, "shelves", where)
            found[name] = Gondola(
                name,
                self.pose(table, where),
                self.sizes(table, where),
                tuple(self._shelf(shelf, name, shelf_count + index) for index, shelf in enumerate(shelves)),
            )
            shelf_count += len(shelves)
            if len({shelf.shelf_id for shelf in found[name].shelves}) < len(shelves):
                self.complain(where, "id", f"gondola {name!r} has a shelf twice", "number them from 1")
        if not found:
            self.complain(("", 0), "gondolas", "there is no gondola", "describe one under [[gondolas]]")
        return tuple(found.values())

    def _shelf(self, table: dict[str, Any], gondola: str, count: int) -> Shelf:
        where = ("gondolas.shelves", count)
        number = table.get("shelf")
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            self.complain(where, "shelf", "shelf must be a whole number from 1", "the lowest is 1")
            number = 0
        return Shelf(ShelfId(gondola, number), self.pose(table, where), self.sizes(table, where), ())

    def zones(self, document: dict[str, Any]) -> tuple[Zone, ...]:
        """All zones that make sense."""
        found = []
        for number, table in enumerate(self.tables(document, "zones", ("", 0))):
            where = ("zones", number)
            name, kind = self.text(table, "name", where), table.get("kind")
            corners = table.get("corners_m")
            if kind not in set(ZoneKind):
                known = ", ".join(ZoneKind)
                self.complain(where, "kind", f"kind is {kind!r}", f"use one of {known}")
            elif not _is_polygon(corners):
                self.complain(
                    where,
                    "corners_m",
                    "corners_m must be three or more [x, y]",
                    "write the corners in metres",
                )
            else:
                found.append(Zone(name, ZoneKind(kind), tuple((float(x), float(y)) for x, y in corners or ())))
        return tuple(found)

    def cameras(self, document: dict[str, Any]) -> tuple[CameraPlacement, ...]:
        """All cameras; ids must differ."""
        found: dict[str, CameraPlacement] = {}
        for number, table in enumerate(self.tables(document, "cameras", ("", 0))):
            where = ("cameras", number)
            name = self.text(table, "id", where)
            if name in found:
                self.complain(where, "id", f"camera {name!r} is there twice", "give every camera its own id")
            found[name] = CameraPlacement(name, self.pose(table, where))
        return tuple(found.values())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _is_polygon(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= 3
        and all(isinstance(corner, list) and len(corner) == 2 and all(map(_is_number, corner)) for corner in value)
    )
