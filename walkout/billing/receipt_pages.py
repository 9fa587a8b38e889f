"""A receipt as a web page and as a PDF. Neither fetches anything: the page has no script, the PDF its own font.

The PDF is made by fpdf2 (LGPL-3.0): maintained, pure Python, takes an OpenType font with CFF outlines as it is and
embeds only the glyphs used. reportlab (BSD) would do without, but reads TrueType outlines only.
"""

import html
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from importlib import resources

from fpdf import FPDF

from walkout.billing.receipts import Columns, Heading, Language, Note, Pair, Row, Rule, moment, rows_of, zone_of
from walkout.billing.records import Receipt
from walkout.domain.clock import NS_PER_S

_STYLE = """
:root { color-scheme: light dark; }
body { font: 14px/1.4 system-ui, "Noto Sans KR", sans-serif; max-width: 34em; margin: 1em auto; padding: 0 1em; }
h1 { font-size: 1.3em; } table { width: 100%; border-collapse: collapse; }
th { text-align: left; font-weight: normal; opacity: .75; width: 11em; vertical-align: top; }
td { vertical-align: top; overflow-wrap: anywhere; } td + td { text-align: right; white-space: nowrap; }
.small { font-size: .85em; opacity: .8; white-space: pre-wrap; } .strong { font-weight: bold; }
"""
#: 80 mm is the width of a till roll; text 8 pt on it as on tills.
_PAGE_MM, _MARGIN_MM, _TEXT_PT, _SMALL_PT = 80.0, 4.0, 8.0, 6.5
_LINE_MM = 4.0
_NAME_MM, _AMOUNT_MM, _QUANTITY_MM = 26.0, 24.0, 8.0
_FONT = "NotoSansKR-Receipts.otf"


def render_html(receipt: Receipt, zone: tzinfo | None = None, language: Language = Language.BOTH) -> str:
    """A whole page of HTML. Everything that came from outside is escaped."""
    code = "en" if language is Language.ENGLISH else "ko"
    body = "\n".join(_tables(rows_of(receipt, zone or zone_of(receipt), language)))
    title = html.escape(f"{receipt.visit.store} {moment(receipt.visit.closed_ns, zone or zone_of(receipt))}")
    return (
        f'<!DOCTYPE html>\n<html lang="{code}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _tables(rows: Iterator[Row]) -> Iterator[str]:
    """Rows as HTML; neighbours of one kind share a table, so that columns line up."""
    open_kind: type[Row] | None = None
    for row in rows:
        kind = type(row)
        if open_kind in (Pair, Columns) and kind is not open_kind:
            yield "</table>"
        if kind in (Pair, Columns) and kind is not open_kind:
            yield "<table>"
        open_kind = kind
        yield _html(row)
    if open_kind in (Pair, Columns):
        yield "</table>"


def _html(row: Row) -> str:
    match row:
        case Heading(text):
            return f"<h1>{html.escape(text)}</h1>"
        case Rule():
            return "<hr>"
        case Pair(name, value):
            return f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(value)}</td></tr>'
        case Columns(name, quantity, amount, strong, small):
            look = ' class="strong"' if strong else ' class="small"' if small else ""
            cells = "".join(f"<td>{html.escape(text)}</td>" for text in (name, quantity, amount))
            return f"<tr{look}>{cells}</tr>"
        case Note(text):
            return f"<p>{html.escape(text)}</p>"


def render_pdf(receipt: Receipt, zone: tzinfo | None = None, language: Language = Language.BOTH) -> bytes:
    """A PDF of one page, as long as the receipt is; the same receipt gives the same bytes."""
    rows = list(rows_of(receipt, zone or zone_of(receipt), language))
    font = resources.files("walkout.billing") / "fonts" / _FONT
    height = 0.0
    # The first pass on an endless page finds out how long the second one has to be.
    for length in (10_000.0, None):
        pdf = FPDF(format=(_PAGE_MM, length or height))
        pdf.set_margin(_MARGIN_MM)
        pdf.set_auto_page_break(False)
        pdf.set_creation_date(_created(receipt))
        pdf.set_title(f"{receipt.visit.store} {receipt.visit.visit_id}")
        pdf.set_lang("en" if language is Language.ENGLISH else "ko")
        with resources.as_file(font) as path:
            pdf.add_font("receipt", fname=path)
        pdf.add_page()
        for row in rows:
            _print(pdf, row)
        height = float(pdf.get_y()) + _MARGIN_MM
    return bytes(pdf.output())


def _created(receipt: Receipt) -> datetime:
    """When the visit ended; a time that no calendar holds becomes the first it does."""
    try:
        return datetime.fromtimestamp((receipt.visit.closed_ns or 0) // NS_PER_S, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(0, UTC)


def _print(pdf: FPDF, row: Row) -> None:
    """One row where the pen stands; the pen goes below it."""
    match row:
        case Heading(text):
            pdf.set_font("receipt", size=_TEXT_PT * 1.5)
            pdf.multi_cell(0, _LINE_MM * 1.6, text, align="C", new_x="LMARGIN", new_y="NEXT")
        case Rule():
            pdf.line(_MARGIN_MM, pdf.get_y() + 1.0, _PAGE_MM - _MARGIN_MM, pdf.get_y() + 1.0)
            pdf.ln(2.0)
        case Pair(name, value):
            _cells(pdf, _TEXT_PT, (_NAME_MM, name, "L"), (_PAGE_MM - 2 * _MARGIN_MM - _NAME_MM, value, "L"))
        case Columns(name, quantity, amount, strong, small):
            size = _SMALL_PT if small else _TEXT_PT * 1.2 if strong else _TEXT_PT
            room = _PAGE_MM - 2 * _MARGIN_MM
            if quantity or amount:
                room -= _QUANTITY_MM + _AMOUNT_MM
                _cells(pdf, size, (room, name, "L"), (_QUANTITY_MM, quantity, "R"), (_AMOUNT_MM, amount, "R"))
            else:
                _cells(pdf, size, (room, name, "L"))
        case Note(text):
            _cells(pdf, _SMALL_PT, (_PAGE_MM - 2 * _MARGIN_MM, text, "L"))


def _cells(pdf: FPDF, size_pt: float, *cells: tuple[float, str, str]) -> None:
    """Cells (width mm, text, alignment) side by side; what is too wide is broken into lines, never cut."""
    pdf.set_font("receipt", size=size_pt)
    top = bottom = pdf.get_y()
    left = _MARGIN_MM
    for width, text, align in cells:
        pdf.set_xy(left, top)
        pdf.multi_cell(width, _LINE_MM, text, align=align, new_x="LMARGIN", new_y="NEXT")
        bottom = max(bottom, pdf.get_y() if text else bottom)
        left += width
    pdf.set_xy(_MARGIN_MM, bottom)
