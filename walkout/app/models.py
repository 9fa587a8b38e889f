"""What ``walkout models`` does: which models are known, where their weights lie, whether they run here."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from walkout.errors import ModelError
from walkout.settings import Settings
from walkout.vision.detector import able_backends, open_detector
from walkout.vision.models import PROJECT_MODELS, ModelCard, find_card, find_weights, read_cards, wrong_files

#: Size of the picture that ``check`` shows each back end: a common sub-stream of cameras.
CHECK_SIZE_PX = (640, 360)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of ``walkout models check``; ``fine`` None where there was nothing to check."""

    model: str
    what: str
    fine: bool | None


def where(card: ModelCard, settings: Settings, near: Path | None) -> Path | None:
    """Where the weights of ``card`` lie, None if nowhere on the search path."""
    try:
        return find_weights(card, settings.models_dir, near)
    except ModelError:
        return None


def chosen(names: list[str], settings: Settings) -> list[ModelCard]:
    """The cards of these names; all of them for no name."""
    if names:
        return [find_card(name, settings.models_dir) for name in names]
    return list(read_cards(settings.models_dir).values())


def pull_folder(settings: Settings, asked: Path | None) -> Path:
    """Where pulled weights go: as asked, else ``models_dir``, else the project's own folder that git does not see."""
    return asked or settings.models_dir or PROJECT_MODELS / "weights"


def check(names: list[str], settings: Settings, near: Path | None) -> Iterator[Check]:
    """Files against cards, then one picture through every back end that is installed and reads them.

    Weights that are not here are wrong only when they were asked for by name.
    """
    for card in chosen(names, settings):
        weights = where(card, settings, near)
        if weights is None:
            yield Check(
                card.name, "the weights are not here; 'walkout models pull' fetches them", False if names else None
            )
            continue
        wrong = wrong_files(card, weights)
        yield from (Check(card.name, line, False) for line in wrong)
        if not wrong:
            yield Check(card.name, f"{weights}: {len(card.files)} files as on the card", True)
            yield from _run(card, weights, settings, near)


def _run(card: ModelCard, weights: Path, settings: Settings, near: Path | None) -> Iterator[Check]:
    if card.head == "embedding":
        yield Check(card.name, "no detector, so not run", None)
        return
    able = able_backends(card, weights)
    if not able:
        yield Check(card.name, "no back end that is installed reads it; run pip install 'walkout[vision]'", None)
    for backend in able:
        try:
            detector = open_detector(card, backend, near=near, models_dir=settings.models_dir)
            detector.detect([grey_picture()])  # the first run of a net is slower than the others
            start = time.perf_counter()
            detector.detect([grey_picture()])
        except ModelError as error:
            yield Check(card.name, f"{backend}: {error}", False)
        else:
            taken_ms = 1e3 * (time.perf_counter() - start)
            batch = "any number" if detector.batch is None else detector.batch
            yield Check(card.name, f"{backend}: one picture in {taken_ms:.0f} ms; pictures at once: {batch}", True)


def print_known(known: Sequence[tuple[ModelCard, Path | None]], console: Console) -> None:
    """A line per model and where its weights lie, None for nowhere on the search path."""
    table = Table("model", "task", "classes", "input", "at once", "licence", "weights in", box=None)
    table.columns[0].no_wrap, table.columns[-1].overflow = True, "fold"
    for card, weights in known:
        size, batch = f"{card.input_px[0]}x{card.input_px[1]}", "any" if card.batch is None else str(card.batch)
        row = (card.name, card.task, str(len(card.classes)), size, batch, card.licence)
        table.add_row(*row, str(weights.parent) if weights else "not here")
    console.print(table)


def grey_picture() -> NDArray[np.uint8]:
    """A picture with nothing in it, (height, width, 3)."""
    return np.full((CHECK_SIZE_PX[1], CHECK_SIZE_PX[0], 3), 127, np.uint8)
