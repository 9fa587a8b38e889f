"""The store's edges as lines in the world, and as the pieces of them that one camera sees."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from walkout.store.calibration import CameraModel, Floats
from walkout.store.layout import Layout

#: An edge is drawn in this many pieces, so that the lens bends it.
_PIECES = 24


def wireframe(layout: Layout) -> list[tuple[str, Floats]]:
    """The store as lines: (what it is, corners (n, 3) in world metres); lines meant to be seen come last."""
    lines: list[tuple[str, Floats]] = [
        ("plate", box.pose.apply(_rectangle(float(box.size[0]), float(box.size[1])))) for box in layout.boxes.values()
    ]
    for gondola in layout.gondolas:
        for shelf in gondola.shelves:
            pose = gondola.pose.then(shelf.pose)
            lines.append(("shelf", pose.apply(_rectangle(shelf.size_m[0], shelf.size_m[1]))))
        width, depth, height = gondola.size_m
        foot = _rectangle(width, depth)
        top = foot + np.array([0.0, 0.0, height])
        edges = [foot, top, *(np.stack([foot[i], top[i]]) for i in range(4))]
        lines += [("gondola", gondola.pose.apply(edge)) for edge in edges]
    for zone in layout.zones:
        corners = np.array([*zone.corners_m, zone.corners_m[0]])
        lines.append((zone.kind, np.column_stack([corners, np.zeros(len(corners))])))
    return lines


def _rectangle(width: float, depth: float) -> Floats:
    return np.array([[0, 0, 0], [width, 0, 0], [width, depth, 0], [0, depth, 0], [0, 0, 0]], dtype=np.float64)


def seen_pieces(model: CameraModel, corners: Floats) -> list[NDArray[np.int32]]:
    """The parts of a line (n, 3) that the camera sees, bent as the lens bends them, in whole pixels."""
    share = np.linspace(0.0, 1.0, _PIECES + 1)[:, None]
    pieces = []
    for begin, end in pairwise(corners):
        pixels, visible = model.project(begin + share * (end - begin))
        # Lines that leave the picture are followed a little, so that they reach its border.
        near = visible & model.in_picture(pixels, -0.25 * model.size_px[0])
        for run in np.split(np.arange(len(near)), np.flatnonzero(np.diff(near.astype(int))) + 1):
            if near[run[0]] and len(run) >= 2:
                pieces.append(np.asarray(np.round(pixels[run]), dtype=np.int32))  # noqa: PERF401
    return pieces
