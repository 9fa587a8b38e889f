"""Store > Gondola > Shelf > Plate, zones and cameras, with poses resolved to world metres.

Every level's pose is relative to its parent; ``resolve`` multiplies them once. A plate's box starts at its
minimum corner: x along the shelf, y into it, z up through the goods that stand on it.
"""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from walkout.domain.geometry import Box, Pose
from walkout.domain.sensing import PlateId, ShelfId


@dataclass(frozen=True, slots=True, eq=False)
class Plate:
    """One weighing surface; ``pose`` relative to its shelf, ``size_m`` = (width, depth)."""

    plate_id: PlateId
    pose: Pose
    size_m: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Shelf:
    """One level; ``pose`` relative to its gondola, ``size_m`` = (width, depth, clear height above)."""

    shelf_id: ShelfId
    pose: Pose
    size_m: tuple[float, float, float]
    plates: tuple[Plate, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Gondola:
    """One piece of furniture; ``pose`` relative to the world, ``size_m`` = (width, depth, height)."""

    gondola_id: str
    pose: Pose
    size_m: tuple[float, float, float]
    shelves: tuple[Shelf, ...]


class ZoneKind(StrEnum):
    """What a stretch of floor is for."""

    WALKABLE = "walkable"
    ENTRANCE = "entrance"
    EXIT = "exit"


@dataclass(frozen=True, slots=True)
class Zone:
    """A polygon on the floor, corners in world metres, counter-clockwise or clockwise."""

    name: str
    kind: ZoneKind
    corners_m: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, eq=False)
class CameraPlacement:
    """Where a camera hangs: ``pose`` maps camera coordinates (x right, y down, z forward) to the world."""

    camera_id: str
    pose: Pose


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The whole store with its look-ups; build it with ``resolve``."""

    gondolas: tuple[Gondola, ...]
    zones: tuple[Zone, ...] = ()
    cameras: tuple[CameraPlacement, ...] = ()
    boxes: dict[PlateId, Box] = field(default_factory=dict)

    def plates_of(self, shelf_id: ShelfId) -> tuple[PlateId, ...]:
        """The plates of one shelf, left to right; empty for a shelf that is not there."""
        return tuple(sorted(plate for plate in self.boxes if plate.shelf_id == shelf_id))

    def centers_m(self, plates: tuple[PlateId, ...]) -> NDArray[np.float64]:
        """World centres of the goods' space above ``plates``, shape (len(plates), 3), metres."""
        return np.array([self.boxes[plate].center() for plate in plates]).reshape(-1, 3)


def resolve(
    gondolas: tuple[Gondola, ...],
    zones: tuple[Zone, ...] = (),
    cameras: tuple[CameraPlacement, ...] = (),
) -> Layout:
    """A layout whose plate boxes stand in world metres: the space above each plate up to the next shelf."""
    boxes: dict[PlateId, Box] = {}
    for gondola in gondolas:
        for shelf in gondola.shelves:
            shelf_pose = gondola.pose.then(shelf.pose)
            for plate in shelf.plates:
                size = np.array([plate.size_m[0], plate.size_m[1], shelf.size_m[2]])
                boxes[plate.plate_id] = Box(shelf_pose.then(plate.pose), size)
    return Layout(gondolas, zones, cameras, dict(sorted(boxes.items())))
