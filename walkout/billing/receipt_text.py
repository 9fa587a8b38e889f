"""A receipt as plain text, for a terminal or a till printer: columns that line up, Korean two cells wide."""

import unicodedata
from collections.abc import Iterator
from datetime import tzinfo

from walkout.billing.receipts import Columns, Heading, Language, Note, Pair, Row, Rule, rows_of, zone_of
from walkout.billing.records import Receipt

_WIDTH = 64
_NAME, _QUANTITY, _AMOUNT = 18, 5, 14


def render_text(receipt: Receipt, zone: tzinfo | None = None, language: Language = Language.BOTH) -> str:
    """The receipt as lines of text without a final newline; times in ``zone``, else the store's own."""
    return "\n".join(
        line.rstrip() for row in rows_of(receipt, zone or zone_of(receipt), language) for line in _lines(row)
    )


def _lines(row: Row) -> Iterator[str]:
    match row:
        case Heading(text):
            yield text
        case Rule(strong):
            yield ("=" if strong else "-") * _WIDTH
        case Pair(name, value):
            room = max(_NAME, width(name) + 1)
            yield _left(name, room) + value
        case Columns(name, quantity, amount):
            yield _columns(name, quantity, amount) if quantity or amount else name
        case Note(text):
            yield from _wrap(text)


def width(text: str) -> int:
    """Terminal cells that ``text`` takes: two for wide and full-width characters, none for combining marks.

    East Asian Width as in Unicode Standard Annex 11, ambiguous counted as narrow.
    """
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _clip(text: str, cells: int) -> str:
    """``text`` cut to ``cells``, an ellipsis in the last one where something was cut."""
    if width(text) <= cells:
        return text
    kept = ""
    for char in text:
        if width(kept + char) > cells - 1:
            break
        kept += char
    return kept + "…"


def _wrap(text: str) -> Iterator[str]:
    """Words of ``text`` in lines that fit; a longer word is left whole."""
    first, *parts = text.split(" ")
    line = first
    for part in parts:
        if line.strip() and width(f"{line} {part}") > _WIDTH:
            yield line
            line = part
        else:
            line = f"{line} {part}"
    yield line


def _left(text: str, cells: int) -> str:
    return text + " " * (cells - width(text))


def _right(text: str, cells: int) -> str:
    return " " * (cells - width(text)) + text


def _columns(name: str, quantity: str, amount: str) -> str:
    room = _WIDTH - _QUANTITY - max(_AMOUNT, width(amount) + 1)
    return _left(_clip(name, room), room) + _right(quantity, _QUANTITY) + _right(amount, _WIDTH - room - _QUANTITY)
