"""What one camera saw at one moment, with everything that was made of it drawn on.

Pictures are shown at most as large as they were taken, so nobody's face is shown larger than the camera saw it; with
``hide_faces`` none is shown at all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from walkout.app.calibrate import opencv
from walkout.app.palette import (
    BACKGROUND,
    CIRCLE,
    FAINT,
    INK,
    MOVED,
    PANEL,
    REACHED,
    Color,
    Image,
    Trails,
    footprint,
    put_text,
    short_name,
)
from walkout.domain.clock import NS_PER_S
from walkout.domain.geometry import Box
from walkout.domain.sensing import Body, BodyFrame, CameraDetections, Detection, Frame, Joint, PlateId
from walkout.store.calibration import CameraModel, Floats
from walkout.store.layout import Layout
from walkout.store.wireframe import seen_pieces, wireframe

_WIRES = {"gondola": (0, 140, 255), "shelf": (80, 220, 80), "plate": (220, 200, 60)}
#: Pairs of COCO's keypoints that are bones.
_BONES = (
    (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12),
    (11, 13), (13, 15), (12, 14), (14, 16),
)  # fmt: skip
#: A keypoint below this score is not drawn: half of what the net takes for seen.
_SEEN = 0.5
#: Joints of a body and the keypoints of COCO that they are.
_JOINTS = {
    "left_shoulder": 5, "right_shoulder": 6, "left_elbow": 7, "right_elbow": 8, "left_wrist": 9, "right_wrist": 10,
    "left_hip": 11, "right_hip": 12, "left_knee": 13, "right_knee": 14, "left_ankle": 15, "right_ankle": 16,
}  # fmt: skip
#: A detection belongs to a body whose projected joints miss its keypoints by less than this share of the box's height.
_MISS = 0.2
#: What a person takes up on the floor: half the width of the shoulders, metres.
_FOOT_M = 0.22
#: Half the height of a head with room for where it was a moment ago, metres.
_HEAD_M = 0.18
#: People of a body frame this near in time are those of a picture, seconds.
NEAR_S = 0.3


@dataclass(frozen=True, slots=True)
class Look:
    """What is drawn besides the people."""

    wires: bool = False
    hide_faces: bool = False


def draw_camera(
    size_px: tuple[int, int],
    model: CameraModel,
    image: Image | None,
    seen: CameraDetections | None,
    frame: BodyFrame,
    layout: Layout,
    trails: Trails,
    moved: Sequence[PlateId],
    look: Look,
) -> Image:
    """One camera's tile (height, width, 3) for ``size_px``; without a picture it says so."""
    tile = np.full((size_px[1], size_px[0], 3), PANEL, np.uint8)
    if image is None or seen is None:
        put_text(tile, f"camera {model.camera_id}", (12, 10), 15, INK)
        put_text(tile, "no picture", (size_px[0] // 2, size_px[1] // 2), 16, FAINT, anchor="middle")
        return tile
    shown, corner = _fitted(image, size_px)
    lens = model.scaled((shown.shape[1], shown.shape[0]))
    ratio = shown.shape[1] / seen.size_px[0]
    pairs = [(_scaled(detection, ratio), owner) for detection, owner in _owned(seen, frame, model)]
    if look.hide_faces:
        _hide_faces(shown, [detection for detection, _ in pairs], lens, frame)
    if look.wires:
        _draw_wires(shown, lens, layout)
    _draw_goods(shown, lens, layout, frame, moved)
    for body in frame.bodies:
        _draw_foot(shown, lens, body, trails.color(body.track_id))
    named: set[str] = set()
    for detection, owner in pairs:
        _draw_detection(shown, detection, FAINT if owner is None else trails.color(owner.track_id), owner, named)
    for body in frame.bodies:
        _draw_hands(shown, lens, body)
        if body.track_id not in named:
            _draw_name(shown, lens, body, trails.color(body.track_id))
    put_text(shown, f"camera {model.camera_id}", (10, 8), 14, INK, back=BACKGROUND)
    tile[corner[1] : corner[1] + shown.shape[0], corner[0] : corner[0] + shown.shape[1]] = shown
    return tile


def _draw_wires(image: Image, lens: CameraModel, layout: Layout) -> None:
    cv2 = opencv()
    over = image.copy()
    for kind, corners in wireframe(layout):
        for piece in seen_pieces(lens, corners):
            cv2.polylines(over, [piece], False, _WIRES.get(kind, INK), 1, cv2.LINE_AA)
    image[:] = cv2.addWeighted(image, 0.55, over, 0.45, 0.0)


def _draw_goods(image: Image, lens: CameraModel, layout: Layout, frame: BodyFrame, moved: Sequence[PlateId]) -> None:
    """Shelves under hands, framed; plates that moved, filled."""
    cv2 = opencv()
    over = image.copy()
    for plate in moved:
        if plate in layout.boxes:
            area = _seen_area(lens, _base(layout.boxes[plate]))
            if area is not None:
                cv2.fillPoly(over, [area], MOVED, cv2.LINE_AA)
    image[:] = cv2.addWeighted(image, 0.5, over, 0.5, 0.0)
    for shelf in sorted({one for body in frame.bodies for one in body.over if one is not None}):
        plates = [layout.boxes[plate] for plate in layout.plates_of(shelf)]
        for outline in _shelf_lines(plates):
            for piece in seen_pieces(lens, outline):
                cv2.polylines(image, [piece], False, REACHED, 1, cv2.LINE_AA)


def _shelf_lines(plates: Sequence[Box]) -> list[Floats]:
    """The frame of all goods' spaces of one shelf, as lines (n, 3): its board and its front."""
    if not plates:
        return []
    first = plates[0].pose
    corners = np.vstack([box.pose.apply(_block(box.size)) for box in plates])
    local = (corners - first.translation) @ first.rotation
    low, high = local.min(axis=0), local.max(axis=0)
    board = footprint(high[0] - low[0], high[1] - low[1]) + low
    front = np.array([[low[0], low[1], low[2]], [low[0], low[1], high[2]], [high[0], low[1], high[2]],
                      [high[0], low[1], low[2]]])  # fmt: skip
    return [first.apply(np.vstack([board, board[:1]])), first.apply(front)]


def drawn_bodies(
    cameras: Mapping[str, CameraModel], layout: Layout, frames: Sequence[BodyFrame], look: Look | None = None
) -> Callable[[Frame], Image]:
    """What draws people on single pictures, for a clip of evidence (``vision.clips``): ``frames`` in order of time.

    A picture gets the people of the nearest frame, none where that is further away than ``NEAR_S``; a camera that is
    not in ``cameras`` gets nothing.
    """
    times = np.array([frame.t_ns for frame in frames], dtype=np.int64)
    trails = Trails()
    for frame in frames:
        trails.add(frame)

    def draw(picture: Frame) -> Image:
        if picture.camera_id not in cameras:
            return picture.image
        nearest = frames[int(np.argmin(np.abs(times - picture.t_ns)))] if frames else None
        if nearest is None or abs(nearest.t_ns - picture.t_ns) > NEAR_S * NS_PER_S:
            nearest = BodyFrame(picture.t_ns, ())
        size = (picture.image.shape[1], picture.image.shape[0])
        nothing = CameraDetections(picture.camera_id, picture.t_ns, size, ())
        model = cameras[picture.camera_id]
        return draw_camera(size, model, picture.image, nothing, nearest, layout, trails, (), look or Look())

    return draw


def _draw_name(image: Image, lens: CameraModel, body: Body, color: Color) -> None:
    """Whose head is below, where this camera's net found nobody."""
    if body.head is None:
        return
    (pixel,), (visible,) = lens.project(_place(body.head))
    if visible and lens.in_picture(pixel)[0]:
        at = (round(pixel[0]), round(pixel[1]) - 30)
        put_text(image, f"person {short_name(body.track_id)}", at, 12, color, anchor="middle", back=BACKGROUND)


def _draw_foot(image: Image, lens: CameraModel, body: Body, color: Color) -> None:
    """A ring on the floor around the place that all cameras together found."""
    cv2 = opencv()
    if body.floor is None:
        return
    ring = np.column_stack([CIRCLE * _FOOT_M + np.array([body.floor.x_m, body.floor.y_m]), np.zeros(len(CIRCLE))])
    area = _seen_area(lens, ring)
    if area is not None:
        cv2.polylines(image, [area], True, color, 2, cv2.LINE_AA)


def _draw_detection(image: Image, detection: Detection, color: Color, owner: Body | None, named: set[str]) -> None:
    """Box and skeleton; grey where it is nobody in the shop, a thin box where its person was ``named`` already."""
    cv2 = opencv()
    left, top, right, bottom = (round(value) for value in detection.box_px)
    if owner is None or owner.track_id in named:
        cv2.rectangle(image, (left, top), (right, bottom), color, 1, cv2.LINE_AA)
    if owner is None:
        _draw_bones(image, detection, ((1, color),))
        put_text(image, "not in the shop", (left + 3, max(2, top - 16)), 11, color, back=BACKGROUND)
    elif owner.track_id not in named:
        named.add(owner.track_id)
        _draw_corners(image, (left, top, right, bottom), color)
        _draw_bones(image, detection, ((4, BACKGROUND), (2, color), (1, color)))
        name = f"person {short_name(owner.track_id)}"
        put_text(image, name, (left, max(2, top - 20)), 13, BACKGROUND, back=color, bold=True)


def _draw_bones(image: Image, detection: Detection, strokes: Sequence[tuple[int, Color]]) -> None:
    """Bones between joints that were seen, once for each (thickness, colour)."""
    cv2 = opencv()
    if detection.keypoints is None:
        return
    joints = np.round(detection.keypoints[:, :2]).astype(int).tolist()
    seen = detection.keypoints[:, 2] >= _SEEN
    for thickness, shade in strokes:
        for one, other in _BONES:
            if seen[one] and seen[other]:
                cv2.line(image, joints[one], joints[other], shade, thickness, cv2.LINE_AA)
    for index in np.flatnonzero(seen):
        cv2.circle(image, joints[index], 2, INK if len(strokes) > 1 else strokes[0][1], -1, cv2.LINE_AA)


def _seen_area(lens: CameraModel, corners: Floats) -> NDArray[np.int32] | None:
    """A closed line (n, 3) as the lens bends it; None where a part of it cannot be seen."""
    share = np.linspace(0.0, 1.0, 7)[:-1, None]
    dense = np.vstack([begin + share * (end - begin) for begin, end in pairwise(corners)])
    pixels, visible = lens.project(dense)
    near = visible & lens.in_picture(pixels, -float(lens.size_px[0]))
    return np.asarray(np.round(pixels), dtype=np.int32) if near.all() else None


def _draw_corners(image: Image, box: tuple[int, int, int, int], color: Color) -> None:
    cv2 = opencv()
    left, top, right, bottom = box
    reach = max(6, min(right - left, bottom - top) // 5)
    for x, dx in ((left, reach), (right, -reach)):
        for y, dy in ((top, reach), (bottom, -reach)):
            cv2.line(image, (x, y), (x + dx, y), color, 2, cv2.LINE_AA)
            cv2.line(image, (x, y), (x, y + dy), color, 2, cv2.LINE_AA)


def _draw_hands(image: Image, lens: CameraModel, body: Body) -> None:
    """Hands as points in space; one over a shelf says which."""
    cv2 = opencv()
    for index, hand in enumerate(body.hands):
        (pixel,), (visible,) = lens.project(_place(hand))
        if not visible or not lens.in_picture(pixel)[0]:
            continue
        over = body.over[index] if index < len(body.over) else None
        at = (round(pixel[0]), round(pixel[1]))
        cv2.circle(image, at, 6, BACKGROUND, -1, cv2.LINE_AA)
        cv2.circle(image, at, 4, INK if over is None else REACHED, -1, cv2.LINE_AA)
        if over is not None:
            put_text(image, f"shelf {over}", (at[0] + 9, at[1] - 9), 12, BACKGROUND, back=REACHED, bold=True)


def _hide_faces(image: Image, detections: Sequence[Detection], lens: CameraModel, frame: BodyFrame) -> None:
    """Heads become a few flat blocks: those that this camera's net found, and those known from the other cameras.

    Where no keypoint of a head is seen, the upper fifth of the box is hidden.
    """
    for detection in detections:
        left, top, right, bottom = detection.box_px
        if detection.keypoints is not None and (detection.keypoints[:5, 2] >= 0.2).any():
            head = detection.keypoints[:5][detection.keypoints[:5, 2] >= 0.2, :2]
            reach = max(8.0, 0.1 * max(bottom - top, right - left), float(np.ptp(head, axis=0).max()))
            low, high = head.min(axis=0) - reach, head.max(axis=0) + reach
            _blot_out(image, (low[0], low[1], high[0], high[1]))
        else:
            _blot_out(image, (left, top, right, top + (bottom - top) / 5.0))
    for body in frame.bodies:
        if body.head is not None:
            around = _place(body.head) + _HEAD_M * np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1]])
            pixels, visible = lens.project(around)
            if visible.all():
                _blot_out(image, (*pixels.min(axis=0), *pixels.max(axis=0)))


def _blot_out(image: Image, box_px: tuple[float, float, float, float]) -> None:
    cv2 = opencv()
    x0, y0 = max(0, int(box_px[0])), max(0, int(box_px[1]))
    x1, y1 = min(image.shape[1], int(box_px[2]) + 1), min(image.shape[0], int(box_px[3]) + 1)
    if x1 - x0 > 1 and y1 - y0 > 1:
        small = cv2.resize(image[y0:y1, x0:x1], (3, 3), interpolation=cv2.INTER_AREA)
        image[y0:y1, x0:x1] = cv2.resize(small, (x1 - x0, y1 - y0), interpolation=cv2.INTER_NEAREST)


def _owned(seen: CameraDetections, frame: BodyFrame, model: CameraModel) -> list[tuple[Detection, Body | None]]:
    """Each detection with its body, the best of each body first; None for a mirror image or somebody outside.

    A detection is of the body whose projected joints lie nearest to its keypoints.
    """
    lens = model.scaled(seen.size_px)
    found: list[tuple[float, int, Detection, Body | None]] = []
    for index, detection in enumerate(seen.detections):
        left, top, right, bottom = detection.box_px
        best, least = None, _MISS * max(bottom - top, right - left)
        for body in frame.bodies:
            misses = _misses(detection, body, lens)
            if misses and float(np.median(misses)) < least:
                best, least = body, float(np.median(misses))
        found.append((least, index, detection, best))
    return [(detection, best) for _, _, detection, best in sorted(found, key=lambda one: one[:2])]


def _misses(detection: Detection, body: Body, lens: CameraModel) -> list[float]:
    left, top, right, _ = detection.box_px
    wanted: list[tuple[Joint, Floats]] = []
    if detection.keypoints is not None:
        wanted = [
            (body.joints[name], detection.keypoints[index, :2])
            for name, index in _JOINTS.items()
            if name in body.joints and detection.keypoints[index, 2] >= _SEEN
        ]
        head = detection.keypoints[:5][detection.keypoints[:5, 2] >= _SEEN, :2]
        if body.head is not None and len(head):
            wanted.append((body.head, head.mean(axis=0)))
    if not wanted and body.head is not None:
        wanted = [(body.head, np.array([(left + right) / 2.0, top]))]
    found = []
    for joint, pixel in wanted:
        (there,), (visible,) = lens.project(_place(joint))
        if visible:
            found.append(float(np.linalg.norm(there - pixel)))
    return found


def _scaled(detection: Detection, ratio: float) -> Detection:
    left, top, right, bottom = (value * ratio for value in detection.box_px)
    joints = detection.keypoints
    if joints is not None:
        joints = joints * np.array([ratio, ratio, 1.0])
    return Detection((left, top, right, bottom), detection.score, detection.label, joints)


def _fitted(image: Image, size_px: tuple[int, int]) -> tuple[Image, tuple[int, int]]:
    """A copy that fits the tile, never larger than it was taken, and the corner to put it at."""
    cv2 = opencv()
    height, width = image.shape[:2]
    ratio = min(1.0, size_px[0] / width, size_px[1] / height)
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    shown = image.copy() if ratio == 1.0 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return shown, ((size_px[0] - size[0]) // 2, (size_px[1] - size[1]) // 2)


def _place(joint: Joint) -> Floats:
    return np.array([[joint.x_m, joint.y_m, joint.z_m]])


def _base(box: Box) -> Floats:
    foot = footprint(float(box.size[0]), float(box.size[1]))
    return box.pose.apply(np.vstack([foot, foot[:1]]))


def _block(size: Floats) -> Floats:
    foot = footprint(float(size[0]), float(size[1]))
    return np.vstack([foot, foot + np.array([0.0, 0.0, float(size[2])])])
