"""What the sensors say: batches of load-cell readings, bodies on the floor, weight events, gaps."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class ShelfId(NamedTuple):
    """One level of one gondola; ``shelf`` 1 is the lowest."""

    gondola: str
    shelf: int

    def __str__(self) -> str:
        return f"{self.gondola}/{self.shelf}"


class PlateId(NamedTuple):
    """One weighing surface; ``plate`` 1 is the leftmost when facing the shelf."""

    gondola: str
    shelf: int
    plate: int

    @property
    def shelf_id(self) -> ShelfId:
        """The shelf it lies on."""
        return ShelfId(self.gondola, self.shelf)

    def __str__(self) -> str:
        return f"{self.gondola}/{self.shelf}/{self.plate}"


@dataclass(frozen=True, slots=True, eq=False)
class LoadCellBatch:
    """Readings of the plates behind one controller over a short time.

    ``grams`` has shape (n, len(plates)), float32, untared; NaN where a plate said nothing. Sample ``i`` was
    taken at ``t0_ns + i / rate_hz``, nanoseconds UTC by the controller's clock (capture, never arrival).
    """

    source: str
    plates: tuple[PlateId, ...]
    t0_ns: int
    rate_hz: float
    grams: NDArray[np.float32]

    @property
    def end_ns(self) -> int:
        """When the sample after the last one is due."""
        return self.t0_ns + round(len(self.grams) * 1e9 / self.rate_hz)


@dataclass(frozen=True, slots=True)
class Joint:
    """One body joint: world position in metres and the detector's score, 0 to 1.

    ``sigma_m`` is the standard deviation along its least certain axis in metres, 0 where nobody tells.
    """

    x_m: float
    y_m: float
    z_m: float
    score: float
    sigma_m: float = 0.0


@dataclass(frozen=True, slots=True)
class FloorPosition:
    """A place on the floor in world metres with its covariance, square metres."""

    x_m: float
    y_m: float
    xx_m2: float
    xy_m2: float
    yy_m2: float


@dataclass(frozen=True, slots=True)
class Body:
    """One tracked person at one instant. ``track_id`` names the track, never the person.

    ``hands`` holds none to two joints in no stated order; a missing hand is a hand that nobody saw. ``over[i]`` is
    the shelf that ``hands[i]`` is over, None for none; it is empty where nobody tells. ``floor`` is where the person
    stands, None where nobody tells.
    """

    track_id: str
    head: Joint | None
    hands: tuple[Joint, ...]
    joints: dict[str, Joint] = field(default_factory=dict, hash=False)
    floor: FloorPosition | None = None
    over: tuple[ShelfId | None, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture: ``image`` (height, width, 3) uint8 BGR, taken at ``t_ns`` (UTC, capture) by ``camera_id``."""

    camera_id: str
    t_ns: int
    image: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """One box in one picture: ``box_px`` (left, top, right, bottom), score 0 to 1, class name.

    ``keypoints`` (17, 3): x, y in pixels and score, in the order of COCO (nose, eyes, ears, shoulders, elbows,
    wrists, hips, knees, ankles; left before right); None from a model without pose.
    """

    box_px: tuple[float, float, float, float]
    score: float
    label: str
    keypoints: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CameraDetections:
    """All that a detector found in one picture of one camera; ``size_px`` is the picture's (width, height)."""

    camera_id: str
    t_ns: int
    size_px: tuple[int, int]
    detections: tuple[Detection, ...]


@dataclass(frozen=True, slots=True)
class BodyFrame:
    """Everybody the cameras saw at ``t_ns`` (nanoseconds UTC, capture). Empty is an observation too."""

    t_ns: int
    bodies: tuple[Body, ...]


class WeightEventKind(StrEnum):
    """A step changed the level for good; a touch came and went."""

    STEP = "step"
    TOUCH = "touch"


@dataclass(frozen=True, slots=True)
class WeightEvent:
    """A settled change on neighbouring plates of one shelf.

    ``delta_g[i]`` is level after minus level before on ``plates[i]`` in grams (negative: something left),
    ``sigma_g[i]`` its standard deviation. ``start_ns`` is when the first plate was disturbed, ``end_ns`` when
    the last one had settled, ``step_ns`` when most of the mass moved; all by the clock of the load cells.
    ``settled`` is False where the plate never came to rest and ``sigma_g`` was widened for it.
    """

    event_id: str
    plates: tuple[PlateId, ...]
    delta_g: tuple[float, ...]
    sigma_g: tuple[float, ...]
    start_ns: int
    step_ns: int
    end_ns: int
    kind: WeightEventKind = WeightEventKind.STEP
    settled: bool = True

    @property
    def shelf_id(self) -> ShelfId:
        """The shelf all its plates lie on."""
        return self.plates[0].shelf_id

    @property
    def total_g(self) -> float:
        """Sum of the changes in grams."""
        return float(sum(self.delta_g))


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch that a sensor or a file owes us: ``source`` names it, ``reason`` says what is missing and why."""

    source: str
    start_ns: int
    end_ns: int
    reason: str


class GateEventKind(StrEnum):
    """A visit begins or ends at the gate."""

    ENTERED = "entered"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class GateEvent:
    """A shopper passed the gate: ``track_id`` is the body track bound to the visit, None where nobody was seen."""

    t_ns: int
    kind: GateEventKind
    visit_id: str
    track_id: str | None


@dataclass(frozen=True, slots=True)
class Watermark:
    """``source`` promises: everything it saw up to ``t_ns`` has been published. Lets readers wait for order."""

    source: str
    t_ns: int
