"""Why was this line charged? One weight event in words and in a picture: grams above, hands below.

The curves are those of the recording, the distances are to the space where the mass moved; both run on their own
clocks, as recorded, so an offset between them is there to be seen.
"""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from walkout.app.billing_client import BillingClient
from walkout.app.pipeline import Outcome, run_in_process
from walkout.app.source import Source
from walkout.domain.clock import NS_PER_S
from walkout.domain.sensing import BodyFrame, LoadCellBatch, WeightEvent, WeightEventKind
from walkout.domain.shopping import Assignment, Candidate, Decision, Undecided
from walkout.errors import RecordingError
from walkout.fusion.evidence import moved_space, sighting
from walkout.store.catalog import Store

#: What the picture shows on either side of the event, seconds.
MARGIN_S = 3.0


@dataclass(frozen=True, slots=True)
class Told:
    """A recording with all that was made of it: ``events`` are its steps in order of time, numbered from 1."""

    source: Source
    outcome: Outcome
    events: tuple[WeightEvent, ...]

    def decision(self, event: WeightEvent) -> Decision | None:
        """What fusion said about an event."""
        return next((one for one in self.outcome.decisions if one.weight_event_id == event.event_id), None)

    def shopper(self, visit_id: str | None) -> str:
        """The recording's own name of a visit's shopper, else the visit's id."""
        track = next((visit.track_id for visit in self.outcome.visits if visit.visit_id == visit_id), None)
        return track or visit_id or "nobody"


def tell(source: Source, client: BillingClient) -> Told:
    """Run the whole route over a recording and keep what explains it."""
    outcome = run_in_process(source, client)
    steps = [event for event in outcome.weight_events if event.kind is WeightEventKind.STEP]
    return Told(source, outcome, tuple(sorted(steps, key=lambda event: (event.step_ns, event.event_id))))


def find_event(told: Told, name: str) -> WeightEvent:
    """The event by its number, as listed, or by the beginning of its id. Raises ``RecordingError`` naming both."""
    if name.isdigit() and 1 <= int(name) <= len(told.events):
        return told.events[int(name) - 1]
    found = [event for event in told.events if event.event_id.startswith(name)]
    if len(found) != 1:
        raise RecordingError(
            f"{name}: no such event; give a number from 1 to {len(told.events)} or the beginning of an event's id"
        )
    return found[0]


def in_words(told: Told, event: WeightEvent) -> list[str]:
    """One event, a line each: what the plates felt, what was decided, and what else it could have been."""
    start_ns = min(visit.entered_ns for visit in told.outcome.visits)
    moved = ", ".join(
        f"{plate} {delta:+.1f} g (±{sigma:.1f})"
        for plate, delta, sigma in zip(event.plates, event.delta_g, event.sigma_g, strict=True)
    )
    lines = [f"at {(event.step_ns - start_ns) / NS_PER_S:.1f} s: {moved}{'' if event.settled else ', never at rest'}"]
    decision = told.decision(event)
    if isinstance(decision, Undecided):
        lines.append(f"undecided: {decision.reason}")
    candidates: Sequence[Candidate] = ()
    if isinstance(decision, Assignment):
        candidates = (decision.chosen, *decision.others)
    elif isinstance(decision, Undecided):
        candidates = decision.candidates
    lines += [f"{candidate.probability:6.1%}  {_phrase(told, candidate)}" for candidate in candidates]
    return lines if candidates else [*lines, "nobody was inside: nothing to decide"]


def _phrase(told: Told, candidate: Candidate) -> str:
    if candidate.sign == 0:
        return "no goods of ours moved"
    verb = "took" if candidate.sign < 0 else "put back"
    return "; ".join(
        f"{told.shopper(part.visit_id)} {verb} "
        + " + ".join(f"{item.quantity} x {_product(told.source.store, item.barcode)}" for item in part.items)
        for part in candidate.parts
    )


def _product(store: Store, barcode: str) -> str:
    product = store.products.get(barcode)
    weight = f", label {product.weight_g:.0f} g" if product and product.weight_g else ""
    return f"{barcode} ({product.name if product else 'unknown product'}{weight})"


def draw(told: Told, event: WeightEvent, path: Path) -> None:
    """The picture of one event as PNG: grams of its plates above, every shopper's nearest hand below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    first_ns = event.start_ns - round(MARGIN_S * NS_PER_S)
    last_ns = event.end_ns + round(MARGIN_S * NS_PER_S)
    records = [record for record in told.source.records() if isinstance(record, LoadCellBatch | BodyFrame)]
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True)
    for plate, (times_s, grams) in _curves(records, event, first_ns, last_ns).items():
        above.plot(times_s, grams, label=f"plate {plate}", linewidth=1.2)
    for who, (times_s, metres) in _hands(records, told, event, first_ns, last_ns).items():
        below.plot(times_s, metres, ".-", label=who, linewidth=1.0, markersize=4)
    for axis in (above, below):
        axis.axvspan((event.start_ns - event.step_ns) / 1e9, (event.end_ns - event.step_ns) / 1e9, color="0.92")
        axis.axvline(0.0, color="0.5", linestyle="--", linewidth=0.8)
        axis.grid(alpha=0.3)
        if axis.lines[:-1]:
            axis.legend(loc="best", fontsize=8)
    above.set_ylabel("change, g")
    below.set_ylabel("nearest hand to the goods, m")
    below.set_ylim(0.0, 1.5)
    below.set_xlabel("seconds from the step (shaded: disturbed until settled)")
    title = [textwrap.fill(line, 130, subsequent_indent="        ") for line in in_words(told, event)[:3]]
    figure.suptitle("\n".join(title), fontsize=9, x=0.01, ha="left", fontfamily=["DejaVu Sans", _korean_font()])
    partial = path.with_name(path.name + ".part")
    figure.savefig(partial, format="png", dpi=110)
    partial.replace(path)  # a picture that is there is whole


def _korean_font() -> str:
    """The family of the receipts' font, made known to matplotlib: product names may be Korean."""
    from matplotlib import font_manager

    with resources.as_file(resources.files("walkout.billing") / "fonts" / "NotoSansKR-Receipts.otf") as path:
        if not any(Path(font.fname) == path for font in font_manager.fontManager.ttflist):
            font_manager.fontManager.addfont(path)
        return font_manager.get_font(path).family_name


def _curves(
    records: Iterable[LoadCellBatch | BodyFrame], event: WeightEvent, first_ns: int, last_ns: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Seconds from the step and grams above the first sample shown, per plate of the event."""
    found: dict[str, tuple[list[float], list[float]]] = {str(plate): ([], []) for plate in event.plates}
    for record in records:
        if not isinstance(record, LoadCellBatch) or record.end_ns < first_ns or record.t0_ns > last_ns:
            continue
        times_s = (record.t0_ns - event.step_ns) * 1e-9 + np.arange(len(record.grams)) / record.rate_hz
        for column, plate in enumerate(record.plates):
            if plate in event.plates:
                found[str(plate)][0].extend(times_s.tolist())
                found[str(plate)][1].extend(record.grams[:, column].tolist())
    return {name: (times, [one - grams[0] for one in grams]) for name, (times, grams) in found.items() if grams}


def _hands(
    records: Iterable[LoadCellBatch | BodyFrame], told: Told, event: WeightEvent, first_ns: int, last_ns: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Seconds from the step and metres of each shopper's nearest visible hand to where the mass moved."""
    space = moved_space(event, told.source.store.layout)
    found: dict[str, tuple[list[float], list[float]]] = {}
    for record in records:
        if space is None or not isinstance(record, BodyFrame) or not first_ns <= record.t_ns <= last_ns:
            continue
        for body in record.bodies:
            hands = sighting(record.t_ns, body).hands
            if len(hands):
                times, metres = found.setdefault(body.track_id, ([], []))
                times.append((record.t_ns - event.step_ns) * 1e-9)
                metres.append(float(space.distance(hands).min()))
    return found
