"""The door for detectors: pictures in, boxes and skeletons out, whichever back end does the work."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from walkout.domain.sensing import Detection
from walkout.errors import ModelError
from walkout.vision.models import ModelCard, card_of_weights, find_weights, wrong_files

Image = NDArray[np.uint8]

#: Detections below this score are not reported: ultralytics' own default (cfg/default.yaml: conf).
CONFIDENCE = 0.25


class Detector(Protocol):
    """What finds people and things in pictures. ``batch`` is how many pictures one run of the net takes, None for any.

    ``detect`` takes any number all the same. One thread at a time may use a detector.
    """

    @property
    def name(self) -> str:
        """The back end, as in ``BACKENDS``."""
        ...

    @property
    def task(self) -> str:
        """'detect' for boxes, 'pose' for boxes with keypoints."""
        ...

    @property
    def batch(self) -> int | None:
        """How many pictures the net takes at once, None for any number."""
        ...

    def detect(self, images: Sequence[Image]) -> list[tuple[Detection, ...]]:
        """What is in each picture (h, w, 3) uint8 BGR, in the order of the pictures, best score first."""
        ...


#: Card, weights, least score, threads of the CPU, precision ('fast' or 'f32'), device -> a detector that is loaded.
Opener = Callable[[ModelCard, Path, float, int, str, str | None], Detector]


def _openvino(
    card: ModelCard, weights: Path, confidence: float, threads: int, precision: str, device: str | None
) -> Detector:
    from walkout.vision.onnx_detector import openvino_detector

    return openvino_detector(card, weights, confidence, threads, precision, device)


def _onnx(
    card: ModelCard, weights: Path, confidence: float, threads: int, precision: str, device: str | None
) -> Detector:
    from walkout.vision.onnx_detector import onnx_detector

    return onnx_detector(card, weights, confidence, threads, precision, device)


def _ultralytics(
    card: ModelCard, weights: Path, confidence: float, threads: int, precision: str, device: str | None
) -> Detector:
    from walkout.vision.ultralytics_detector import ultralytics_detector

    return ultralytics_detector(card, weights, confidence, threads, precision, device)


def _fake(
    card: ModelCard,
    weights: Path,  # noqa: ARG001
    confidence: float,
    threads: int,  # noqa: ARG001
    precision: str,  # noqa: ARG001
    device: str | None,  # noqa: ARG001
) -> Detector:
    return FakeDetector(card.task, card.classes[0] if card.classes else "person", confidence)


BACKENDS: dict[str, Opener] = {
    "openvino": _openvino,
    "onnx": _onnx,
    "ultralytics": _ultralytics,
    "fake": _fake,
}
#: The module that each needs beside ours, and the endings it reads ('' is a folder); quickest first on a box without a
#: GPU (YOLO11n, 640 px, one thread: OpenVINO 46 ms, with bfloat16 25 ms; ONNX Runtime 47 ms; torch 116 ms).
_NEEDS: dict[str, tuple[str, frozenset[str]]] = {
    "openvino": ("openvino", frozenset({"", ".onnx"})),
    "onnx": ("onnxruntime", frozenset({".onnx"})),
    "ultralytics": ("ultralytics", frozenset({"", ".onnx", ".pt", ".engine"})),
}


def able_backends(card: ModelCard, weights: Path) -> list[str]:
    """Back ends that are installed here and read these weights, quickest first."""
    ending = "" if weights.is_dir() else weights.suffix
    return [
        name
        for name, (module, endings) in _NEEDS.items()
        if ending in endings
        and importlib.util.find_spec(module) is not None
        and not (name == "ultralytics" and card.head != "yolo")
    ]


def open_detector(
    model: ModelCard | Path,
    backend: str = "auto",
    confidence: float = CONFIDENCE,
    *,
    near: Path | None = None,
    models_dir: Path | None = None,
    threads: int = 1,
    precision: str = "f32",
    device: str | None = None,
) -> Detector:
    """Load ``model`` (a card, or the path of weights) into a back end; 'auto' takes the quickest that reads it.

    ``near`` and ``models_dir`` say where weights may lie (``models.find_weights``). ``precision`` 'fast' lets the chip
    choose (bfloat16 on CPUs that have it), 'f32' gives the same numbers on every machine. ``device`` is named as the
    back end names devices. Raises ``ModelError`` with the remedy.
    """
    if precision not in {"fast", "f32"}:
        raise ModelError(f"precision {precision!r}: give 'fast' or 'f32'")
    if not 0 < confidence < 1:
        raise ModelError(f"confidence {confidence}: give a score between 0 and 1")
    card = model if isinstance(model, ModelCard) else card_of_weights(model, models_dir)
    if backend == "fake":
        return BACKENDS[backend](card, Path(card.path), confidence, threads, precision, device)
    if backend not in {"auto", *BACKENDS}:
        raise ModelError(f"no back end {backend!r}; known are auto, {', '.join(BACKENDS)}")
    weights = find_weights(card, models_dir, near)
    wrong = wrong_files(card, weights)
    if wrong:
        raise ModelError("; ".join(wrong))
    if backend == "auto":
        able = able_backends(card, weights)
        if not able:
            raise ModelError(
                f"{weights}: nothing installed reads it; run pip install 'walkout[vision]' (.onnx, OpenVINO) or "
                "'walkout[train]' (.pt, .engine)"
            )
        backend = able[0]
    return BACKENDS[backend](card, weights, confidence, threads, precision, device)


#: What the fake takes for a body: a patch of exactly this colour (blue, green, red).
FAKE_BODY_BGR = (255, 0, 255)
#: Where it puts the keypoints of COCO inside the box, as shares of width and height: upright, seen from the front,
#: arms down, so that a left joint lies at the right of the picture.
_FAKE_POSE = np.array(
    [
        [0.50, 0.07], [0.53, 0.05], [0.47, 0.05], [0.57, 0.06], [0.43, 0.06],
        [0.70, 0.20], [0.30, 0.20], [0.80, 0.35], [0.20, 0.35], [0.85, 0.50], [0.15, 0.50],
        [0.62, 0.52], [0.38, 0.52], [0.62, 0.75], [0.38, 0.75], [0.62, 0.97], [0.38, 0.97],
    ]
)  # fmt: skip


class FakeDetector:
    """Finds every connected patch of ``FAKE_BODY_BGR``; for tests and simulated cameras. The larger, the surer."""

    name = "fake"
    batch: int | None = None

    def __init__(self, task: str = "pose", label: str = "person", confidence: float = CONFIDENCE) -> None:
        self.task, self._label, self._confidence = task, label, confidence

    def detect(self, images: Sequence[Image]) -> list[tuple[Detection, ...]]:
        """One detection per patch; its score grows with its share of the picture's height, 0.5 to 1."""
        return [self._detect(image) for image in images]

    def _detect(self, image: Image) -> tuple[Detection, ...]:
        from scipy.ndimage import find_objects, label

        patches, _ = label(np.all(image == np.array(FAKE_BODY_BGR, np.uint8), axis=2))
        found = []
        for rows, columns in find_objects(patches):
            left, top, right, bottom = columns.start, rows.start, columns.stop, rows.stop
            score = 0.5 + 0.5 * (bottom - top) / image.shape[0]
            joints = None
            if self.task == "pose":
                places = np.array([left, top]) + _FAKE_POSE * np.array([right - left, bottom - top])
                joints = np.hstack([places, np.full((len(places), 1), score)])
            if score > self._confidence:
                found.append(
                    Detection((float(left), float(top), float(right), float(bottom)), score, self._label, joints)
                )
        return tuple(sorted(found, key=lambda one: -one.score))
