"""What a receipt says, in Korean, English or both; ``receipt_text``, ``_html`` and ``_pdf`` put it on a page.

What the law wants on it:

* Korea, VAT Act art. 36 and its Enforcement Decree art. 73: seller's name, business number and representative,
  date, amount; the tax apart from the supply value for taxable goods, exempt goods told from them (here ``*``).
* EU, Directive 2006/112/EC art. 226b (simplified invoice, as a till receipt is): date of issue, who the taxable
  person is, what was supplied, the VAT or what is needed to reckon it. Price per kilogram beside the weight:
  Directive 98/6/EC. How to return goods: Directive 2011/83/EU art. 5.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from walkout.billing.records import Line, Payment, Receipt, VisitStatus
from walkout.domain.clock import NS_PER_S
from walkout.domain.money import Money
from walkout.domain.selling import Seller


class Language(StrEnum):
    """What the words of a receipt are in; goods are named as the catalog names them."""

    KOREAN = "ko"
    ENGLISH = "en"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Heading:
    """The name on top."""

    text: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A line across; ``strong`` under the heading."""

    strong: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """A name and what it is."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Columns:
    """Item, quantity and amount; ``strong`` for the total, ``small`` for what explains the row above."""

    name: str
    quantity: str
    amount: str
    strong: bool = False
    small: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence; as long as it has to be."""

    text: str


Row = Heading | Rule | Pair | Columns | Note

_WORDS = {
    "receipt": ("영수증", "Receipt"),
    "store": ("매장", "Store"),
    "seller": ("판매자", "Seller"),
    "business": ("사업자등록번호", "Business no."),
    "vat": ("부가세 번호", "VAT no."),
    "representative": ("대표자", "Represented by"),
    "address": ("주소", "Address"),
    "phone": ("전화", "Phone"),
    "visit": ("방문", "Visit"),
    "shopper": ("고객", "Shopper"),
    "entered": ("입장", "Entered"),
    "left": ("퇴장", "Left"),
    "item": ("상품", "Item"),
    "quantity": ("수량", "Qty"),
    "amount": ("금액", "Amount"),
    "total": ("합계", "Total"),
    "net": ("공급가액", "Net"),
    "tax": ("세액", "Tax"),
    "on_top": ("별도", "added"),
    "exempt": ("* 면세 상품", "* exempt from tax"),
    "payment": ("결제", "Payment"),
    "refund": ("환불", "Refund"),
    "status": ("상태", "Status"),
    "unknown": ("알 수 없는 상품", "Unknown"),
    "no_price": ("가격 없음", "?"),
    "captured": ("결제 완료", "Paid"),
    "review": ("확인 중", "In review, nothing charged"),
    "released": ("청구 없음", "Nothing charged"),
    "refunds": ("환불 안내", "Returns"),
    "wallet": ("선불 지갑", "Prepaid wallet"),
    "card": ("카드", "Card"),
    "kakao_pay": ("카카오페이", "Kakao Pay"),
    "naver_pay": ("네이버페이", "Naver Pay"),
    "alipay": ("알리페이", "Alipay"),
    "wechat_pay": ("위챗페이", "WeChat Pay"),
}


def word(key: str, language: Language) -> str:
    """One of the receipt's words; a key that is none stays as it is."""
    korean, english = _WORDS.get(key, (key, key))
    if language is Language.BOTH and korean != english:
        return f"{korean} / {english}"
    return korean if language is Language.KOREAN else english


def rows_of(receipt: Receipt, zone: tzinfo, language: Language) -> Iterator[Row]:
    """Everything the receipt says, from top to bottom; times in ``zone``."""
    visit, seller = receipt.visit, receipt.terms.seller
    yield Heading(word("receipt", language))
    yield Rule(strong=True)
    if seller is not None:
        yield from _seller(seller, language)
    yield Pair(word("store", language), visit.store)
    yield Pair(word("visit", language), visit.visit_id)
    yield Pair(word("shopper", language), visit.account_id)
    yield Pair(word("entered", language), moment(visit.entered_ns, zone))
    yield Pair(word("left", language), moment(visit.closed_ns, zone))
    yield Rule()
    heads = Language.KOREAN if language is Language.BOTH else language
    yield Columns(word("item", language), word("quantity", heads), word("amount", language))
    for line in receipt.lines:
        yield from _line(line, language)
    yield Rule()
    yield from _taxes(receipt, language)
    yield Columns(word("total", language), "", str(receipt.total), strong=True)
    for payment in receipt.payments:
        yield from _payment(payment, zone, language)
    yield Pair(word("status", language), _status(visit.status, language))
    for reason in visit.review:
        yield Note(f"  - {reason}")
    if seller is not None:
        yield from _policy(seller, language)


def _seller(seller: Seller, language: Language) -> Iterator[Row]:
    facts = {
        "seller": seller.name,
        "business": seller.business_number,
        "vat": seller.vat_number,
        "representative": seller.representative,
        "address": seller.address,
        "phone": seller.phone,
    }
    for key, value in facts.items():
        if value:
            yield Pair(word(key, language), value)


def _status(status: VisitStatus, language: Language) -> str:
    return word(status.value, language)


def _line(line: Line, language: Language) -> Iterator[Row]:
    """The item at its list price, its barcode as recorded, and why it costs less."""
    exempt = "* " if line.tax is not None and line.tax.rate == 0 else ""
    listed = line.listed if line.listed is not None else line.total
    amount = word("no_price", language) if listed is None else str(listed)
    yield Columns(exempt + (line.name or word("unknown", language)), str(line.quantity), amount)
    measure = f"{line.grams} g x {line.unit}/kg" if line.grams else f"{line.quantity} x {line.unit}"
    yield Columns(f"  {line.barcode}" + ("" if line.unit is None else f"  {measure}"), "", "", small=True)
    for reason in line.reasons:
        yield Columns(f"  {reason.label}", "", str(reason.amount), small=True)


def _taxes(receipt: Receipt, language: Language) -> Iterator[Row]:
    """Net and tax of each tax class; together they are the total of the priced lines."""
    net: dict[str, Money] = {}
    tax: dict[str, Money] = {}
    zero = Money(0, receipt.total.currency)
    exempt = False
    for line in receipt.lines:
        if line.tax is None or line.total is None:
            continue
        percent = f"{float(line.tax.rate * 100):g} %"
        on_top = "" if line.tax.included else f" ({word('on_top', language)})"
        name = f"{line.tax.name} {percent}{on_top}"
        net[name] = net.get(name, zero) + line.total - line.tax.amount
        tax[name] = tax.get(name, zero) + line.tax.amount
        exempt = exempt or line.tax.rate == 0
    for name in sorted(net):
        yield Columns(f"{name}  {word('net', language)}", "", str(net[name]))
        yield Columns(f"{name}  {word('tax', language)}", "", str(tax[name]))
    if exempt:
        yield Note(word("exempt", language))


def _payment(payment: Payment, zone: tzinfo, language: Language) -> Iterator[Row]:
    kind = word("refund" if payment.amount.minor < 0 else "payment", language)
    yield Columns(f"{kind}: {word(payment.method, language)}", "", str(payment.amount))
    yield Columns(f"  {payment.reference}  {moment(payment.at_ns, zone)}", "", "", small=True)


def _policy(seller: Seller, language: Language) -> Iterator[Row]:
    texts = {Language.KOREAN: seller.refund_policy_ko, Language.ENGLISH: seller.refund_policy_en}
    wanted = [text for key, text in texts.items() if text and language in (key, Language.BOTH)]
    if wanted:
        yield Rule()
        yield Note(word("refunds", language))
    for text in wanted:
        yield Note(text)


def zone_of(receipt: Receipt) -> tzinfo:
    """The time zone of the store; UTC where its terms name one that this machine does not know."""
    try:
        return ZoneInfo(receipt.terms.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def moment(t_ns: int | None, zone: tzinfo) -> str:
    """Seconds are enough on a receipt; times outside what a calendar holds are shown as they are."""
    if t_ns is None:
        return ""
    try:
        return datetime.fromtimestamp(t_ns // NS_PER_S, zone).strftime("%Y-%m-%d %H:%M:%S %Z")
    except (OverflowError, ValueError, OSError):
        return f"{t_ns} ns"
