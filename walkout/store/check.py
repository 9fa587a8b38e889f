"""Complaints about a store folder, and the checks that look at more than one line of it.

Every complaint names a file, a line and a remedy. An error stops ``read_store``; a warning does not.
"""

import csv
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path

import numpy as np

from walkout.domain.money import MINOR_DIGITS, Money
from walkout.domain.shopping import Facing
from walkout.store.layout import Plate, Shelf

#: How far a plate may stand over its shelf's edge: twice the rounding of a layout given in tenths of an inch.
_EDGE_TOLERANCE_M = 0.005


class Severity(StrEnum):
    """An error stops the store from being read, a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong at ``file``:``line`` (1-based; 0: the file as a whole) and what to do about it."""

    file: str
    line: int
    message: str
    remedy: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.severity}: {self.message}; {self.remedy}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a CSV file: cells by column name. The readers below add to ``complaints`` and give None."""

    file: str
    line: int
    cells: dict[str, str]
    complaints: list[Complaint]

    def complain(self, message: str, remedy: str, severity: Severity = Severity.ERROR) -> None:
        """Add one complaint about this line."""
        self.complaints.append(Complaint(self.file, self.line, message, remedy, severity))

    def number(self, column: str) -> float | None:
        """A finite number, or None with a complaint."""
        value = parse_number(self.cells[column])
        if value is None:
            self.complain(f"{column} is {self.cells[column]!r}, not a number", "write a decimal number such as 0.45")
        return value

    def whole(self, column: str) -> int | None:
        """A whole number from 1 on, or None with a complaint."""
        text = self.cells[column]
        if text.isascii() and text.isdigit() and len(text) <= 9 and int(text) >= 1:
            return int(text)
        self.complain(f"{column} is {text!r}, not a whole number from 1 on", "count shelves and plates from 1")
        return None

    def day(self, column: str) -> date | None:
        """A date; empty means open. A bad one gives None with a complaint."""
        text = self.cells[column]
        if not text:
            return None
        try:
            return date.fromisoformat(text)
        except ValueError:
            self.complain(f"{column} is {text!r}, not a date", "write it as 2026-01-31, or leave it empty")
            return None


def parse_number(text: str) -> float | None:
    """``text`` as a finite float, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def parse_money(text: str, currency: str) -> Money:
    """Decimal text such as ``12.50`` as exact money. Raises ``ValueError`` saying what is wrong with it."""
    match = re.fullmatch(r"([0-9]{1,12})(?:\.([0-9]+))?", text)
    if match is None:
        raise ValueError(f"price is {text!r}, not a decimal number")
    whole, fraction = match[1], match[2] or ""
    digits = MINOR_DIGITS[currency]
    if len(fraction) > digits:
        raise ValueError(f"price {text} has more than the {digits} decimals of {currency}")
    return Money(int(whole + fraction.ljust(digits, "0")), currency)


def money_text(money: Money) -> str:
    """Exact decimal text of ``money`` without its currency; ``parse_money`` reads it back."""
    digits = MINOR_DIGITS[money.currency]
    whole, part = divmod(abs(money.minor), 10**digits)
    return ("-" if money.minor < 0 else "") + (f"{whole}.{part:0{digits}d}" if digits else str(whole))


def read_text(path: Path, complaints: list[Complaint]) -> str | None:
    """The file's text (UTF-8, a byte order mark is skipped), or None with a complaint."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        complaints.append(Complaint(path.name, line, "is not UTF-8 text", "save the file as UTF-8"))
    except OSError as error:
        reason = error.strerror or "unreadable"
        complaints.append(
            Complaint(path.name, 0, f"cannot be read ({reason})", f"put a {path.name} into the store folder")
        )
    return None


def read_rows(path: Path, columns: tuple[str, ...], complaints: list[Complaint]) -> Iterator[Row]:
    """The rows of a CSV file that have the right number of cells; the others become complaints."""
    text = read_text(path, complaints)
    if text is None:
        return
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in columns if name not in header]
        remedy = f"write the header {','.join(columns)}"
        complaints += [Complaint(path.name, 1, f"column {name!r} is missing", remedy) for name in missing]
        if missing:
            return
        end = reader.line_num
        for cells in reader:
            line, end = end + 1, reader.line_num
            if not cells:
                continue
            row = Row(path.name, line, dict(zip(header, cells, strict=False)), complaints)
            if len(cells) == len(header):
                yield row
            else:
                row.complain(
                    f"has {len(cells)} cells where the header has {len(header)}",
                    "put cells that hold a comma into double quotes",
                )
    except csv.Error as error:
        complaints.append(
            Complaint(path.name, reader.line_num, f"is no CSV ({error})", "close the double quotes of the cell")
        )


def check_plate_on_shelf(plate: Plate, shelf: Shelf, row: Row) -> None:
    """Complain when a corner of ``plate`` lies outside the surface of ``shelf``."""
    width, depth = plate.size_m
    corners = plate.pose.apply(np.array([[0.0, 0.0, 0.0], [width, 0.0, 0.0], [0.0, depth, 0.0], [width, depth, 0.0]]))
    low, high = corners.min(axis=0), corners.max(axis=0)
    limits = (("x", low[0], high[0], shelf.size_m[0]), ("y", low[1], high[1], shelf.size_m[1]))
    for axis, start, end, limit in limits:
        if start < -_EDGE_TOLERANCE_M or end > limit + _EDGE_TOLERANCE_M:
            row.complain(
                f"plate {plate.plate_id} lies from {axis} = {start:.3f} to {end:.3f} m, "
                f"its shelf from 0 to {limit:.3f} m",
                "correct the plate's place or size, or the shelf's size_m in store.toml",
            )


def check_overlaps(facings: list[tuple[Row, Facing]]) -> None:
    """Warn of two facings on one plate at one time: place then cannot tell their products apart."""
    seen: dict[object, list[tuple[Row, Facing]]] = {}
    for row, facing in facings:
        told: set[int] = set()
        for plate in facing.plates:
            for other_row, other in seen.get(plate, ()):
                if other_row.line not in told and _same_days(facing, other):
                    told.add(other_row.line)
                    row.complain(
                        f"{facing.barcode} stands on plate {plate} together with {other.barcode} "
                        f"of line {other_row.line}",
                        "end the older facing with valid_to if it has moved",
                        Severity.WARNING,
                    )
            seen.setdefault(plate, []).append((row, facing))


def _same_days(one: Facing, other: Facing) -> bool:
    starts_late = one.valid_from and other.valid_to and one.valid_from >= other.valid_to
    ends_early = one.valid_to and other.valid_from and one.valid_to <= other.valid_from
    return not (starts_late or ends_early)
