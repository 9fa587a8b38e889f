"""Colours, letters and trails that the pictures of the shop have in common. Colours are blue, green, red."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from walkout.domain.sensing import BodyFrame
from walkout.store.calibration import Floats

Image = NDArray[np.uint8]
Color = tuple[int, int, int]

BACKGROUND, PANEL, INK, FAINT = (27, 24, 22), (46, 41, 38), (240, 238, 236), (160, 154, 150)
#: Goods that a hand is over, and plates that moved.
REACHED, MOVED = (80, 225, 255), (90, 110, 255)
#: People, in the order they appeared; far apart for most kinds of colour blindness (Okabe and Ito 2008, lightened).
PEOPLE = ((255, 200, 90), (60, 175, 255), (150, 220, 80), (210, 140, 240), (90, 240, 250), (235, 160, 110))
#: A circle of radius 1, closed.
CIRCLE = np.array([[np.cos(a), np.sin(a)] for a in np.linspace(0.0, 2.0 * np.pi, 33)])


@dataclass(slots=True)
class Trails:
    """Where everybody has been: (t_ns, x, y) per track, and the order in which tracks appeared."""

    places: dict[str, list[tuple[int, float, float]]] = field(default_factory=dict)

    def add(self, frame: BodyFrame) -> None:
        """One moment more."""
        for body in frame.bodies:
            if body.floor is not None:
                self.places.setdefault(body.track_id, []).append((frame.t_ns, body.floor.x_m, body.floor.y_m))

    def color(self, track_id: str) -> Color:
        """The colour of a track."""
        order = list(self.places)
        return PEOPLE[order.index(track_id) % len(PEOPLE)] if track_id in order else INK


def short_name(track_id: str) -> str:
    """The end of a track's id, where its number is."""
    return track_id.rpartition("-")[2] if len(track_id) > 4 else track_id


def footprint(width: float, depth: float) -> Floats:
    """Corners (4, 3) of a rectangle from the origin, metres."""
    return np.array([[0.0, 0.0, 0.0], [width, 0.0, 0.0], [width, depth, 0.0], [0.0, depth, 0.0]])


def put_text(
    image: Image,
    text: str,
    at: tuple[int, int],
    size: int,
    color: Color,
    *,
    anchor: str = "start",
    back: Color | None = None,
    bold: bool = False,
) -> tuple[int, int]:
    """Write ``text`` with its upper left corner (or, ``anchor="middle"``, its middle) at ``at``; gives its size."""
    mask = _text_mask(text, size, bold)
    height, width = mask.shape
    pad = 3 if back is not None else 0
    x, y = (at[0] - width // 2, at[1] - height // 2) if anchor == "middle" else (at[0] + pad, at[1] + pad)
    x = max(pad, min(x, image.shape[1] - width - pad))
    y = max(pad, min(y, image.shape[0] - height - pad))
    if back is not None:
        image[max(0, y - pad) : y + height + pad, max(0, x - pad) : x + width + pad] = back
    area = image[y : y + height, x : x + width]
    share = mask[: area.shape[0], : area.shape[1], None].astype(np.float32) / 255.0
    area[:] = np.round(area * (1.0 - share) + np.array(color, np.float32) * share).astype(np.uint8)
    return width + 2 * pad, height + 2 * pad


@lru_cache(maxsize=4096)
def _text_mask(text: str, size: int, bold: bool) -> NDArray[np.uint8]:
    """How much of each pixel the letters cover, (height, width), 0 to 255; every line of one size is as high."""
    from PIL import Image as Pictures
    from PIL import ImageDraw

    font = _font(size, bold)
    ascent, descent = font.getmetrics()
    width = max(1, round(font.getlength(text)) + 1)
    picture = Pictures.new("L", (width, ascent + descent), 0)
    ImageDraw.Draw(picture).text((0, 0), text, 255, font=font)
    return np.asarray(picture, dtype=np.uint8)


@lru_cache(maxsize=16)
def _font(size: int, bold: bool) -> Any:
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
