"""A receipt as plain text, for a terminal or a till printer: Korean and English headings, columns that line up."""

import unicodedata
from datetime import UTC, datetime, tzinfo

from walkout.billing.records import Line, Receipt, VisitStatus
from walkout.domain.clock import NS_PER_S

_WIDTH = 64
_QUANTITY, _AMOUNT = 5, 14

_STATUS = {
    VisitStatus.CAPTURED: "결제 완료 / Paid",
    VisitStatus.REVIEW: "확인 중 / In review, nothing charged",
    VisitStatus.RELEASED: "청구 없음 / Nothing charged",
}


def render_receipt(receipt: Receipt, zone: tzinfo = UTC) -> str:
    """The receipt as lines of text without a final newline; times shown in ``zone``."""
    visit = receipt.visit
    rows = [
        "영수증 / Receipt",
        "=" * _WIDTH,
        _pair("매장 / Store", visit.store),
        _pair("방문 / Visit", visit.visit_id),
        _pair("고객 / Shopper", visit.account_id),
        _pair("입장 / Entered", _moment(visit.entered_ns, zone)),
        _pair("퇴장 / Left", _moment(visit.closed_ns, zone)),
        "-" * _WIDTH,
        _columns("상품 / Item", "수량", "금액 / Amount"),
        *(row for line in receipt.lines for row in _line(line)),
        "-" * _WIDTH,
        _columns("합계 / Total", "", str(receipt.total)),
        _pair("상태 / Status", _STATUS.get(visit.status, visit.status.value)),
        *(f"  - {reason}" for reason in visit.review),
    ]
    return "\n".join(rows)


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


def _left(text: str, cells: int) -> str:
    return text + " " * (cells - width(text))


def _right(text: str, cells: int) -> str:
    return " " * (cells - width(text)) + text


def _pair(name: str, value: str) -> str:
    return _left(name, 18) + value


def _columns(name: str, quantity: str, amount: str) -> str:
    room = _WIDTH - _QUANTITY - max(_AMOUNT, width(amount) + 1)
    return _left(_clip(name, room), room) + _right(quantity, _QUANTITY) + _right(amount, _WIDTH - room - _QUANTITY)


def _line(line: Line) -> list[str]:
    amount = "가격 없음 / ?" if line.total is None else str(line.total)
    unit = "" if line.unit is None else f"  {line.quantity} x {line.unit}"
    return [
        _columns(line.name or "알 수 없는 상품 / Unknown", str(line.quantity), amount),
        f"  {line.barcode}{unit}",
    ]


def _moment(t_ns: int | None, zone: tzinfo) -> str:
    """Seconds are enough on a receipt; times outside what a calendar holds are shown as they are."""
    if t_ns is None:
        return ""
    try:
        return datetime.fromtimestamp(t_ns // NS_PER_S, zone).strftime("%Y-%m-%d %H:%M:%S %Z")
    except (OverflowError, ValueError, OSError):
        return f"{t_ns} ns"
