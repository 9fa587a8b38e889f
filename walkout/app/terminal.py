"""What a person sees: progress on standard error; live baskets, receipts and books on standard output."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from walkout.app.replay import Replayed, Watch
from walkout.app.score import CaseScore, as_json
from walkout.billing.receipt_text import render_text
from walkout.billing.records import BooksReport
from walkout.bus.topics import Record
from walkout.domain.clock import to_s
from walkout.domain.money import Money
from walkout.domain.sensing import GateEvent, GateEventKind
from walkout.domain.shopping import BasketEvent, VisitClosed, fold_basket
from walkout.store.catalog import Store


def out() -> Console:
    """Standard output, for results."""
    return Console(highlight=False, markup=False, soft_wrap=True)


@contextmanager
def progress_bar(label: str) -> Iterator[tuple[Callable[[str], None], Watch]]:
    """A bar on standard error, and the two ways to speak beside it: a line of log, and a share of the work."""
    console = Console(stderr=True, highlight=False, markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(label, total=1.0)

        def watch(share: float, _records: Sequence[Record]) -> None:
            progress.update(task, completed=share)

        yield lambda line: console.print(line, style="dim"), watch


@contextmanager
def case_bar(label: str) -> Iterator[Callable[[CaseScore, int, int], None]]:
    """A bar on standard error that moves by one labelled case at a time."""
    with progress_bar(label) as (_, watch):
        yield lambda _score, done, all_cases: watch(done / all_cases, ())


def print_scores(scores: Sequence[CaseScore], console: Console) -> None:
    """A line per case, then the figures over all of them."""
    table = Table("case", "shoppers", "F1", "exact", "review", "events found / true / told", "right person", box=None)
    for one in scores:
        events = f"{one.events_found} / {one.events_true} / {one.events_told}" if one.events_true is not None else "-"
        row = (one.case, one.shoppers, f"{one.f1:.3f}", "yes" if one.exact else "no", f"{one.reviewed} / {one.visits}")
        table.add_row(*(str(cell) for cell in row), events, str(one.persons_right))
    console.print(table)
    console.print()
    for name, value in as_json(scores).items():
        if not isinstance(value, list):
            console.print(f"{name:18} {'-' if value is None else f'{value:.4f}'}")


class LiveBaskets:
    """Prints who comes, what every basket holds after each change, and who goes; each thing once."""

    def __init__(self, store: Store, console: Console) -> None:
        self._store, self._console = store, console
        self._start_ns: int | None = None
        self._who: dict[str, str] = {}
        self._events: dict[str, BasketEvent] = {}
        self._closed: set[str] = set()

    def watch(self, _share: float, records: Sequence[Record]) -> None:
        """Take what is new in the log."""
        for record in records:
            if isinstance(record, GateEvent) and record.kind is GateEventKind.ENTERED:
                self._enter(record)
            elif isinstance(record, BasketEvent) and record.event_id not in self._events:
                self._change(record)
            elif isinstance(record, VisitClosed) and record.visit_id not in self._closed:
                self._close(record)

    def _enter(self, gate: GateEvent) -> None:
        if gate.visit_id not in self._who:
            self._start_ns = gate.t_ns if self._start_ns is None else self._start_ns
            self._who[gate.visit_id] = gate.track_id or "somebody"
            self._tell(gate.t_ns, gate.visit_id, "enters")

    def _change(self, event: BasketEvent) -> None:
        self._events[event.event_id] = event
        name = self._name(event.barcode)
        self._tell(event.t_ns, event.visit_id, f"{event.quantity:+d} {name}  ({event.kind}, {event.probability:.0%})")
        self._console.print(f"{'':>10}basket: {self._basket(event.visit_id)}", style="cyan")

    def _close(self, closed: VisitClosed) -> None:
        self._closed.add(closed.visit_id)
        doubts = f"; to review: {'; '.join(closed.review)}" if closed.review else ""
        self._tell(closed.t_ns, closed.visit_id, f"has left, basket {closed.confidence:.0%} sure{doubts}")

    def _tell(self, t_ns: int, visit_id: str, what: str) -> None:
        start_ns = t_ns if self._start_ns is None else self._start_ns
        self._console.print(f"{to_s(t_ns - start_ns):7.1f} s  {self._who.get(visit_id, visit_id[:8])}  {what}")

    def _basket(self, visit_id: str) -> str:
        lines = fold_basket(visit_id, self._events.values()).lines
        return ", ".join(f"{count} x {self._name(barcode)}" for barcode, count in lines) or "empty"

    def _name(self, barcode: str) -> str:
        product = self._store.products.get(barcode)
        return product.name if product and product.name else barcode


def print_replayed(replayed: Replayed, console: Console) -> None:
    """Receipts, what could not be read, and the books."""
    for receipt in replayed.receipts:
        console.print(render_text(receipt) + "\n")
    for gap in replayed.gaps:
        seconds = to_s(gap.end_ns - gap.start_ns)
        console.print(f"gap: {gap.source}, {seconds:.1f} s: {gap.reason}", style="yellow")
    console.print(books_line(replayed.books))


def books_line(books: BooksReport) -> str:
    """The books in one line, or their problems one below the other."""
    if not books.balanced:
        return "\n".join(["장부 / Books: NOT balanced", *(f"  {problem}" for problem in books.problems)])
    taken = ", ".join(str(Money(minor, currency)) for currency, minor in sorted(books.captured.items()))
    charges = ", ".join(f"{count} {status}" for status, count in sorted(books.charges.items()))
    return (
        f"장부 / Books: balanced; {books.transactions} transactions, {books.postings} postings; "
        f"charges: {charges or 'none'}; taken: {taken or 'nothing'}"
    )
