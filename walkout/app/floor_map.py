"""The floor from above: furniture, doors, cameras, everybody's way so far and where they are now."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from walkout.app.calibrate import opencv
from walkout.app.palette import (
    BACKGROUND,
    CIRCLE,
    FAINT,
    INK,
    MOVED,
    REACHED,
    Color,
    Image,
    Trails,
    footprint,
    put_text,
    short_name,
)
from walkout.domain.sensing import Body, BodyFrame, PlateId, ShelfId
from walkout.store.calibration import CameraModel, Floats
from walkout.store.layout import Gondola, Layout, ZoneKind

_ZONES = {ZoneKind.WALKABLE: (62, 56, 52), ZoneKind.ENTRANCE: (70, 48, 70), ZoneKind.EXIT: (70, 48, 70)}

_DOOR_EDGE, _FURNITURE, _FURNITURE_EDGE = (150, 100, 150), (86, 78, 72), (120, 110, 104)


def draw_floor(
    size_px: tuple[int, int],
    layout: Layout,
    cameras: Mapping[str, CameraModel],
    frame: BodyFrame,
    trails: Trails,
    moved: Sequence[PlateId],
) -> Image:
    """The floor from above: furniture, doors, cameras, everybody's way so far and where they are now."""
    cv2 = opencv()
    tile = np.full((size_px[1], size_px[0], 3), BACKGROUND, np.uint8)
    view = _FloorView(size_px, layout)
    doors = [zone for zone in layout.zones if zone.kind is not ZoneKind.WALKABLE]
    for zone in sorted(layout.zones, key=lambda zone: zone.kind is ZoneKind.WALKABLE):
        view.fill(tile, np.array(zone.corners_m), _ZONES[zone.kind])
    for zone in doors:
        view.frame(tile, np.array(zone.corners_m), _DOOR_EDGE)
    reached = {shelf for body in frame.bodies for shelf in body.over if shelf is not None}
    _draw_furniture(tile, view, layout, reached, moved)
    for name, model in cameras.items():
        _draw_post(tile, view, name, model)
    for track_id, places in trails.places.items():
        recent = [(x, y) for t_ns, x, y in places if t_ns <= frame.t_ns]
        if len(recent) > 1:
            path = view.pixels(np.array(recent))
            cv2.polylines(tile, [path], False, _mixed(trails.color(track_id), BACKGROUND, 0.6), 2, cv2.LINE_AA)
    for body in frame.bodies:
        _draw_person(tile, view, body, trails.color(body.track_id))
    for place in {tuple(np.mean(zone.corners_m, axis=0)) for zone in doors}:
        put_text(tile, "door", view.point(np.array(place)), 11, FAINT, anchor="middle")
    view.scale_bar(tile)
    return tile


class _FloorView:
    """World metres to pixels of a tile: x to the right, y up, the whole store in sight."""

    def __init__(self, size_px: tuple[int, int], layout: Layout) -> None:
        corners = [np.array(zone.corners_m, dtype=np.float64).reshape(-1, 2) for zone in layout.zones]
        corners += [foot for gondola in layout.gondolas for foot in _feet(gondola)]
        everything = np.vstack(corners) if corners else np.array([[0.0, 0.0], [1.0, 1.0]])
        low, high = everything.min(axis=0) - 0.25, everything.max(axis=0) + 0.25
        span = high - low
        self.per_m = float(min(size_px[0] / span[0], size_px[1] / span[1]))
        self._size = size_px
        self._middle = (low + high) / 2.0

    def pixels(self, places: Floats) -> NDArray[np.int32]:
        """(n, 2) whole pixels of (n, 2) metres."""
        moved = (np.asarray(places, dtype=np.float64).reshape(-1, 2) - self._middle) * self.per_m * np.array([1, -1])
        return np.asarray(np.round(moved + np.array(self._size) / 2.0), dtype=np.int32)

    def point(self, place: Floats) -> tuple[int, int]:
        """One place."""
        x, y = self.pixels(place)[0]
        return int(x), int(y)

    def fill(self, tile: Image, corners: Floats, color: Color, edge: Color | None = None) -> None:
        """A polygon."""
        cv2 = opencv()
        cv2.fillPoly(tile, [self.pixels(corners)], color, cv2.LINE_AA)
        if edge is not None:
            self.frame(tile, corners, edge)

    def frame(self, tile: Image, corners: Floats, color: Color) -> None:
        """A polygon's edge."""
        cv2 = opencv()
        cv2.polylines(tile, [self.pixels(corners)], True, color, 1, cv2.LINE_AA)

    def scale_bar(self, tile: Image) -> None:
        """One metre, at the lower right."""
        cv2 = opencv()
        x, y, length = self._size[0] - 16, self._size[1] - 14, round(self.per_m)
        cv2.line(tile, (x - length, y), (x, y), INK, 2, cv2.LINE_AA)
        put_text(tile, "1 m", (x - length // 2, y - 9), 11, INK, anchor="middle")


def _draw_furniture(
    tile: Image, view: _FloorView, layout: Layout, reached: set[ShelfId], moved: Sequence[PlateId]
) -> None:
    """Gondolas with their names; a reached one is framed, moved plates are filled."""
    hot = {shelf.gondola for shelf in reached}
    for gondola in layout.gondolas:
        for foot in _feet(gondola):
            view.fill(tile, foot, _FURNITURE, REACHED if gondola.gondola_id in hot else _FURNITURE_EDGE)
    for plate in moved:
        if plate in layout.boxes:
            box = layout.boxes[plate]
            view.fill(tile, box.pose.apply(footprint(box.size[0], box.size[1]))[:, :2], MOVED)
    for gondola in layout.gondolas:
        middle = np.vstack(_feet(gondola)).mean(axis=0)
        put_text(tile, gondola.gondola_id, view.point(middle), 13, INK, anchor="middle")


def _feet(gondola: Gondola) -> list[Floats]:
    """What the furniture covers on the floor: its body, and its shelves, which may stand out of it; (4, 2) each."""
    sizes = [(gondola.pose, gondola.size_m)]
    sizes += [(gondola.pose.then(shelf.pose), shelf.size_m) for shelf in gondola.shelves]
    return [pose.apply(footprint(size[0], size[1]))[:, :2] for pose, size in sizes]


def _draw_post(tile: Image, view: _FloorView, name: str, model: CameraModel) -> None:
    """A camera: a dot, its name, and which way it looks."""
    cv2 = opencv()
    place, ahead = model.position_m[:2], model.pose.rotation[:2, 2]
    norm = float(np.linalg.norm(ahead))
    if norm > 1e-3:
        side = np.array([-ahead[1], ahead[0]]) / norm
        tip = place + 0.3 * ahead / norm
        wedge = np.array([place, tip + 0.16 * side, tip - 0.16 * side])
        cv2.polylines(tile, [view.pixels(wedge)], True, FAINT, 1, cv2.LINE_AA)
    x, y = view.point(place)
    cv2.circle(tile, (x, y), 3, FAINT, -1, cv2.LINE_AA)
    put_text(tile, name, (min(max(x, 12), tile.shape[1] - 12), min(max(y - 12, 10), tile.shape[0] - 10)), 11, FAINT,
             anchor="middle")  # fmt: skip


def _draw_person(tile: Image, view: _FloorView, body: Body, color: Color) -> None:
    """Where somebody stands, within two standard deviations, and where the hands are."""
    cv2 = opencv()
    if body.floor is None:
        return
    floor = body.floor
    place = np.array([floor.x_m, floor.y_m])
    spread = np.array([[floor.xx_m2, floor.xy_m2], [floor.xy_m2, floor.yy_m2]])
    values, axes = np.linalg.eigh(spread)
    ring = place + 2.0 * CIRCLE @ (axes * np.sqrt(np.maximum(values, 1e-6))).T
    cv2.polylines(tile, [view.pixels(ring)], True, color, 1, cv2.LINE_AA)
    for index, hand in enumerate(body.hands):
        over = index < len(body.over) and body.over[index] is not None
        end = view.point(np.array([hand.x_m, hand.y_m]))
        cv2.line(tile, view.point(place), end, color, 1, cv2.LINE_AA)
        cv2.circle(tile, end, 4, REACHED if over else color, -1, cv2.LINE_AA)
    cv2.circle(tile, view.point(place), 9, color, -1, cv2.LINE_AA)
    put_text(tile, short_name(body.track_id), view.point(place), 12, BACKGROUND, anchor="middle", bold=True)


def _mixed(color: Color, other: Color, share: float) -> Color:
    blue, green, red = (round(share * a + (1.0 - share) * b) for a, b in zip(color, other, strict=True))
    return blue, green, red
