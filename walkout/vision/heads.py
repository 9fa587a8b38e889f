"""What lies around a net: a picture made into its input, and the numbers that leave it made into detections.

The rules are those of ultralytics 8.4 (``LetterBox``, ``non_max_suppression``, ``scale_boxes``) and of YOLOX's own
demo, so that a model gives the same boxes here as where it was trained. Arithmetic is float32 as there. Pixels of a
picture: x right, y down, (0, 0) the upper left corner.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from walkout.domain.sensing import Detection
from walkout.errors import ModelError
from walkout.vision.models import ModelCard

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]

#: Grey around the picture, the overlap from which two boxes are one, and how many boxes a picture may hold:
#: the defaults of ultralytics 8.4 (``LetterBox.padding_value``, ``cfg/default.yaml``: iou, max_det).
PADDING = 114
IOU = 0.7
MAX_DETECTIONS = 300
#: Boxes of different classes are moved apart by this many pixels per class (``max_wh`` of non_max_suppression).
CLASS_OFFSET_PX = 7680
#: More candidates than this are cut off by score (``max_nms``).
MAX_CANDIDATES = 30_000
#: Coarsest grid of all nets read here.
STRIDE = 32
#: YOLOX: overlap of its demo (tools/demo.py: nmsthre 0.45) and its three grids.
YOLOX_IOU = 0.45
YOLOX_STRIDES = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class Fit:
    """How a picture was laid into the net's input: scaled by ``gain`` (x, y), moved by ``pad`` (x, y) pixels."""

    gain: tuple[float, float]
    pad: tuple[int, int]
    size_px: tuple[int, int]

    def back(self, points: Floats) -> Floats:
        """Points (..., 2) of the net's input as pixels of the picture, held inside it."""
        moved = (points - np.array(self.pad, np.float32)) / np.array(self.gain, np.float32)
        return np.clip(moved, 0, np.array(self.size_px, np.float32)).astype(np.float32)


def letterbox(image: Image, size_px: tuple[int, int], rectangle: bool = False) -> tuple[Image, Fit]:
    """The picture scaled to fit ``size_px`` (width, height), in the middle of grey; as ultralytics does.

    ``rectangle`` pads only to the next multiple of 32, for nets of any size.
    """
    height, width = image.shape[:2]
    scale = min(size_px[1] / height, size_px[0] / width)
    inner = max(round(width * scale), 1), max(round(height * scale), 1)
    free_x, free_y = float(size_px[0] - inner[0]), float(size_px[1] - inner[1])
    if rectangle:
        free_x, free_y = free_x % STRIDE, free_y % STRIDE
    left, top = round(free_x / 2 - 0.1), round(free_y / 2 - 0.1)
    right, bottom = round(free_x / 2 + 0.1), round(free_y / 2 + 0.1)
    scaled = image if inner == (width, height) else cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
    padded = cv2.copyMakeBorder(scaled, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(PADDING,) * 3)
    return np.asarray(padded, np.uint8), Fit((inner[0] / width, inner[1] / height), (left, top), (width, height))


def letterbox_corner(image: Image, size_px: tuple[int, int]) -> tuple[Image, Fit]:
    """The picture scaled to fit ``size_px`` (width, height), in the upper left corner of grey; as YOLOX does."""
    height, width = image.shape[:2]
    scale = min(size_px[1] / height, size_px[0] / width)
    inner = max(int(width * scale), 1), max(int(height * scale), 1)
    padded = np.full((size_px[1], size_px[0], 3), PADDING, np.uint8)
    padded[: inner[1], : inner[0]] = cv2.resize(image, inner, interpolation=cv2.INTER_LINEAR)
    return padded, Fit((scale, scale), (0, 0), (width, height))


def prepare(
    images: Sequence[Image], card: ModelCard, size_px: tuple[int, int], dynamic: bool
) -> tuple[Floats, list[Fit]]:
    """Pictures (h, w, 3) BGR as the input (n, 3, height, width) of the net, and how each was laid in.

    ``dynamic`` nets take rectangles when all pictures have one shape, as ultralytics gives them.
    """
    if card.head == "yolox":  # BGR, 0 to 255
        laid = [letterbox_corner(image, size_px) for image in images]
        stacked = np.stack([picture for picture, _ in laid]).transpose(0, 3, 1, 2)
        return np.ascontiguousarray(stacked, np.float32), [fit for _, fit in laid]
    rectangle = dynamic and len({image.shape for image in images}) == 1
    laid = [letterbox(image, size_px, rectangle) for image in images]
    height, width = laid[0][0].shape[:2]
    blob = np.empty((len(laid), 3, height, width), np.float32)  # RGB, 0 to 1
    for index, (picture, _) in enumerate(laid):
        for channel, plane in enumerate(cv2.split(picture)):
            np.divide(plane, np.float32(255), out=blob[index, 2 - channel], dtype=np.float32)
    return blob, [fit for _, fit in laid]


def read_output(output: Floats, card: ModelCard, input_px: tuple[int, int], confidence: float) -> list[Floats]:
    """Rows (n, 6 + k) per picture: left, top, right, bottom in input pixels, score, class, then keypoints, best first.

    ``output`` is the net's first output: (b, 4 + classes + k, n) of a plain ultralytics head, (b, n, 6 + k) of one that
    needs no suppression (YOLO26, or exported with it), (b, n, 5 + classes) of YOLOX.
    """
    if card.head == "yolox":
        if output.ndim != 3 or output.shape[2] != 5 + len(card.classes):
            raise ModelError(f"{card.name}: a YOLOX output of shape {output.shape} has not {len(card.classes)} classes")
        return [suppress(_yolox_rows(one, input_px, confidence), YOLOX_IOU) for one in output]
    if output.ndim != 3:
        raise ModelError(f"{card.name}: an output of shape {output.shape} is no detector's")
    keypoint_values = 51 if card.task == "pose" else 0
    channels = 4 + len(card.classes) + keypoint_values
    if output.shape[1] == channels:
        return [suppress(_yolo_rows(one, len(card.classes), confidence), IOU) for one in output]
    if output.shape[2] == 6 + keypoint_values:
        return [one[one[:, 4] > confidence][:MAX_DETECTIONS].astype(np.float32) for one in output]
    raise ModelError(
        f"{card.name}: an output of shape {output.shape} does not fit {len(card.classes)} classes and task "
        f"{card.task!r}; correct the card"
    )


def _yolo_rows(output: Floats, classes: int, confidence: float) -> Floats:
    """Candidates of one picture from (4 + classes + k, n): centre and size in pixels, scores, keypoints."""
    found = output[:, output[4 : 4 + classes].max(axis=0) > confidence].T
    scores = found[:, 4 : 4 + classes]
    return _rows(found[:, :4], scores.max(axis=1), scores.argmax(axis=1), found[:, 4 + classes :])


def _yolox_rows(output: Floats, input_px: tuple[int, int], confidence: float) -> Floats:
    """Candidates of one picture from (n, 5 + classes) in units of the grids (YOLOX ``demo_postprocess``)."""
    scores = output[:, 4:5] * output[:, 5:]
    kept = scores.max(axis=1) > confidence
    grids, strides = _yolox_grid(input_px)
    if len(grids) != len(output):
        raise ModelError(f"a YOLOX output of {len(output)} rows does not fit an input of {input_px}; correct the card")
    centres = (output[kept, :2] + grids[kept]) * strides[kept]
    sizes = np.exp(output[kept, 2:4]) * strides[kept]
    return _rows(np.hstack([centres, sizes]), scores[kept].max(axis=1), scores[kept].argmax(axis=1), output[kept, 5:5])


def _yolox_grid(input_px: tuple[int, int]) -> tuple[Floats, Floats]:
    """Cell (x, y) of every row, shape (n, 2), and its stride (n, 1): fine grid first, row by row."""
    cells, strides = [], []
    for stride in YOLOX_STRIDES:
        x, y = np.meshgrid(np.arange(input_px[0] // stride), np.arange(input_px[1] // stride))
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((x.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def _rows(centre_size: Floats, scores: Floats, classes: NDArray[np.intp], rest: Floats) -> Floats:
    half = centre_size[:, 2:] / np.float32(2)
    return np.hstack(
        [
            centre_size[:, :2] - half,
            centre_size[:, :2] + half,
            scores[:, None],
            classes[:, None].astype(np.float32),
            rest,
        ]
    ).astype(np.float32)


def suppress(rows: Floats, iou: float) -> Floats:
    """The rows that no better row of their class overlaps by more than ``iou``, best first, at most 300."""
    rows = rows[np.argsort(-rows[:, 4], kind="stable")[:MAX_CANDIDATES]]
    boxes = rows[:, :4] + rows[:, 5:6] * np.float32(CLASS_OFFSET_PX)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    waiting = np.arange(len(rows))
    while len(waiting) and len(kept) < MAX_DETECTIONS:
        best, waiting = int(waiting[0]), waiting[1:]
        kept.append(best)
        inner = np.minimum(boxes[best, 2:], boxes[waiting, 2:]) - np.maximum(boxes[best, :2], boxes[waiting, :2])
        shared = np.prod(np.maximum(inner, 0), axis=1)
        waiting = waiting[shared <= iou * (areas[best] + areas[waiting] - shared)]
    return rows[kept]


def to_detections(rows: Floats, fit: Fit, card: ModelCard) -> tuple[Detection, ...]:
    """Rows of the net's input as detections in the picture's own pixels."""
    corners = fit.back(rows[:, :4].reshape(-1, 2, 2)).reshape(-1, 4).astype(float)
    keypoints = rows[:, 6:].reshape(len(rows), (rows.shape[1] - 6) // 3, 3)
    found = []
    for index, (left, top, right, bottom) in enumerate(corners.tolist()):
        joints = None
        if card.task == "pose":
            placed = fit.back(keypoints[index, :, :2])
            joints = np.hstack([placed, keypoints[index, :, 2:]]).astype(np.float64)
        label = card.classes[int(rows[index, 5])]
        found.append(Detection((left, top, right, bottom), float(rows[index, 4]), label, joints))
    return tuple(found)
