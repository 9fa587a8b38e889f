"""The reference that `tracking.py` measures beside ours: a tracker per camera, then plain linking on the floor.

Every camera runs its own ByteTrack or BoT-SORT (ultralytics, its defaults). Each box is put on the floor by the same
lifting that ours uses. A new camera track joins the nearest person within ``JOIN_M`` whom this camera does not see
already, or begins a new one; a track that strays from what the other cameras say about its person is linked anew.
"""

from collections.abc import Mapping

import numpy as np
from mot import UltralyticsTracker
from numpy.typing import NDArray

from walkout.domain.clock import NS_PER_S
from walkout.domain.sensing import CameraDetections
from walkout.store.calibration import CameraModel
from walkout.store.layout import Layout
from walkout.vision.floor import Floor, lift

Floats = NDArray[np.float64]
Person = tuple[int, Floats]
"""Identity and place on the floor (2,) in metres."""

JOIN_M, STRAY_M = 0.75, 1.5
FRESH_S, KEPT_S, TOLD_S = 0.3, 2.0, 0.5


class LinkedTrackers:
    """Feed it every camera's pictures in the order of time."""

    def __init__(self, name: str, cameras: Mapping[str, CameraModel], layout: Layout, rate_hz: float) -> None:
        self._cameras, self._floor = cameras, Floor(layout)
        self._trackers = {key: UltralyticsTracker(name, rate_hz, one.size_px) for key, one in cameras.items()}
        self._places: dict[tuple[str, int], tuple[int, Floats]] = {}
        self._links: dict[tuple[str, int], int] = {}
        self._people: dict[int, tuple[int, Floats]] = {}
        self._born = 0

    def feed(self, seen: CameraDetections) -> None:
        """One picture."""
        now = self._tracks(seen)
        taken: set[int] = set()
        for key, place in sorted(now.items(), key=lambda pair: pair[0] not in self._links):
            link = self._links.get(key)
            if link is None or link in taken or self._strays(key, place, link, seen.t_ns):
                link = self._nearest(
                    place, taken | {self._links[other] for other in now if other in self._links}, seen.t_ns
                )
            self._links[key] = link
            taken.add(link)
            self._places[key] = seen.t_ns, place
        for link in taken:
            self._people[link] = seen.t_ns, np.mean(self._fresh(link, seen.t_ns), axis=0)

    def people(self, t_ns: int) -> list[Person]:
        """Everybody who was seen just now."""
        return [(name, place) for name, (at, place) in self._people.items() if t_ns - at <= TOLD_S * NS_PER_S]

    def _tracks(self, seen: CameraDetections) -> dict[tuple[str, int], Floats]:
        boxes = np.array([[*one.box_px, one.score] for one in seen.detections]).reshape(-1, 5)
        boxes[:, 2:4] -= boxes[:, :2]
        found = {}
        for row in self._trackers[seen.camera_id].step(boxes):
            index = int(row[5])
            lifted = lift(self._cameras[seen.camera_id], seen.t_ns, index, seen.detections[index])
            if lifted is None:
                continue
            place = lifted.place()[0]
            if self._floor.off_m(place) <= 0.3:
                found[seen.camera_id, int(row[0])] = place
        return found

    def _strays(self, key: tuple[str, int], place: Floats, link: int, t_ns: int) -> bool:
        others = [
            there for other, (at, there) in self._places.items()
            if other != key and self._links.get(other) == link and t_ns - at <= FRESH_S * NS_PER_S
        ]  # fmt: skip
        return bool(others) and float(np.linalg.norm(place - np.mean(others, axis=0))) > STRAY_M

    def _nearest(self, place: Floats, taken: set[int], t_ns: int) -> int:
        free = [
            (float(np.linalg.norm(place - there)), name) for name, (at, there) in self._people.items()
            if name not in taken and t_ns - at <= KEPT_S * NS_PER_S
        ]  # fmt: skip
        if free and min(free)[0] <= JOIN_M:
            return min(free)[1]
        self._born += 1
        return self._born

    def _fresh(self, link: int, t_ns: int) -> list[Floats]:
        return [
            place for key, (at, place) in self._places.items()
            if self._links.get(key) == link and t_ns - at <= FRESH_S * NS_PER_S
        ]  # fmt: skip
