"""The ultralytics back end: .pt, TensorRT .engine, .onnx and OpenVINO folders, on whatever torch finds."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from walkout.domain.sensing import Detection
from walkout.errors import ModelError
from walkout.vision.models import ModelCard

Image = np.typing.NDArray[np.uint8]


def load_ultralytics() -> Any:
    """The package, told to stay off the network and to install nothing by itself. Raises ``ModelError`` if absent."""
    # Read when the package is imported; without them it reports usage and runs pip on its own.
    os.environ.setdefault("YOLO_OFFLINE", "true")
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_VERBOSE", "false")
    try:
        import ultralytics
    except ImportError:
        raise ModelError("ultralytics is not installed; run pip install 'walkout[train]'") from None
    return ultralytics


class UltralyticsDetector:
    """A detector over ``ultralytics.YOLO``. One thread at a time may call it; open another one per thread."""

    name = "ultralytics"

    def __init__(self, card: ModelCard, weights: Path, confidence: float, device: str | None) -> None:
        """Loads at once. Raises ``ModelError`` where the weights cannot be used on this machine."""
        self.batch, self._confidence, self._device = card.batch, confidence, device
        ultralytics = load_ultralytics()
        own = weights.suffix == ".pt" and not card.files  # these know task and size better than a card made of nothing
        self._size = None if own else [card.input_px[1], card.input_px[0]]
        try:
            self._model = ultralytics.YOLO(str(weights), task=None if own else card.task, verbose=False)
            self.task = str(self._model.task)
            if self.task not in {"detect", "pose"}:
                raise ModelError(f"{weights}: a model of task {self.task!r} is no detector of ours")
            self.detect([np.zeros((64, 64, 3), np.uint8)])  # the net is loaded with its first picture
        except (ImportError, RuntimeError, OSError, ValueError, TypeError, AttributeError, AssertionError) as error:
            raise ModelError(f"{weights}: ultralytics cannot load it here ({error})") from error

    def detect(self, images: Sequence[Image]) -> list[tuple[Detection, ...]]:
        """What is in each picture (h, w, 3) uint8 BGR, best first."""
        if not images:
            return []
        size = {} if self._size is None else {"imgsz": self._size}
        results = self._model.predict(
            list(images), conf=self._confidence, device=self._device, verbose=False, save=False, **size
        )
        return [_detections(result) for result in results]


def _detections(result: Any) -> tuple[Detection, ...]:
    """One ``ultralytics.engine.results.Results`` as detections."""
    boxes = result.boxes.data.cpu().numpy().astype(float)
    joints = None if result.keypoints is None else result.keypoints.data.cpu().numpy().astype(np.float64)
    return tuple(
        Detection(
            (row[0], row[1], row[2], row[3]),
            row[4],
            result.names[int(row[5])],
            None if joints is None else joints[index],
        )
        for index, row in enumerate(boxes.tolist())
    )


def ultralytics_detector(
    card: ModelCard, weights: Path, confidence: float, threads: int, precision: str, device: str | None
) -> UltralyticsDetector:
    """``device`` as ultralytics names them: 'cpu', '0', 'cuda:0'. It chooses the precision itself."""
    del precision
    if card.head != "yolo":
        raise ModelError(
            f"{card.name}: ultralytics reads no head {card.head!r}; take the back end 'onnx' or 'openvino'"
        )
    if weights.suffix == ".engine":
        need_cuda(weights)
    load_ultralytics()
    import torch

    torch.set_num_threads(threads)
    return UltralyticsDetector(card, weights, confidence, device)


def need_cuda(weights: Path) -> None:
    """A TensorRT engine is built and run on a GPU. Raises ``ModelError`` where there is none, or no TensorRT."""
    import importlib.util

    load_ultralytics()
    import torch

    if not torch.cuda.is_available():
        raise ModelError(
            f"{weights}: TensorRT needs an NVIDIA GPU, and torch finds none; take the format onnx or openvino"
        )
    if importlib.util.find_spec("tensorrt") is None:
        raise ModelError(f"{weights}: TensorRT is not installed; run pip install tensorrt, or take the format onnx")
