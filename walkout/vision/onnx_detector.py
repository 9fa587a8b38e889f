"""The light back ends, without torch: ONNX Runtime (.onnx) and OpenVINO (.onnx and ultralytics' OpenVINO folders)."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from walkout.domain.sensing import Detection
from walkout.errors import ModelError
from walkout.vision.heads import Floats, Image, prepare, read_output, to_detections
from walkout.vision.models import ModelCard

#: A net that is loaded: input (b, 3, h, w) -> first output.
Net = Callable[[Floats], Floats]
#: Shape of the input, None where any size will do.
Shape = tuple[int | None, ...]


class LightDetector:
    """A detector over a loaded net. One thread at a time may call it; open another one per thread."""

    def __init__(self, name: str, card: ModelCard, net: Net, shape: Shape, confidence: float) -> None:
        """``shape`` is the net's input (batch, 3, height, width); sizes it leaves open follow the card.

        Raises ``ModelError`` where the card is no detector's.
        """
        if card.head == "embedding":
            raise ModelError(f"{card.name}: a model of task {card.task!r} finds nobody; choose one that detects")
        if len(shape) != 4 or shape[1] not in {3, None}:
            raise ModelError(f"{card.name}: its input has shape {shape}, not (batch, 3, height, width)")
        self.name, self.task, self.batch = name, card.task, shape[0]
        self._card, self._net, self._confidence = card, net, confidence
        self._size_px = shape[3] or card.input_px[0], shape[2] or card.input_px[1]
        self._dynamic = shape[2] is None or shape[3] is None

    def detect(self, images: Sequence[Image]) -> list[tuple[Detection, ...]]:
        """What is in each picture (h, w, 3) uint8 BGR, best first."""
        if not images:
            return []
        # Ultralytics chooses the shape from all pictures of a call, also where it then runs them in smaller batches.
        blob, fits = prepare(images, self._card, self._size_px, self._dynamic)
        rows = [row for part in self._outputs(blob) for row in self._read(part, blob)]
        return [to_detections(row, fit, self._card) for row, fit in zip(rows, fits, strict=True)]

    def _outputs(self, blob: Floats) -> list[Floats]:
        """One output per run; a net of fixed batch gets zeros in place of the pictures it lacks."""
        if self.batch is None:
            return [self._net(blob)]
        outputs = []
        for start in range(0, len(blob), self.batch):
            part = blob[start : start + self.batch]
            missing = self.batch - len(part)
            if missing:
                part = np.concatenate([part, np.zeros((missing, *part.shape[1:]), np.float32)])
            output = self._net(part)
            outputs.append(output[: self.batch - missing])
        return outputs

    def _read(self, output: Floats, blob: Floats) -> list[Floats]:
        return read_output(output, self._card, (blob.shape[3], blob.shape[2]), self._confidence)


def openvino_detector(
    card: ModelCard, weights: Path, confidence: float, threads: int, precision: str, device: str | None
) -> LightDetector:
    """OpenVINO on the CPU, or on ``device`` ('GPU', 'NPU', 'AUTO' as OpenVINO names them)."""
    try:
        import openvino as ov  # type: ignore[import-untyped]
    except ImportError:
        raise ModelError("OpenVINO is not installed; run pip install 'walkout[vision]'") from None
    graph = weights if weights.is_file() else next(iter(sorted(weights.glob("*.xml"))), None)
    if graph is None:
        raise ModelError(f"{weights}: holds no .xml of an OpenVINO model")
    core, chip = ov.Core(), device or "CPU"
    # One frame at a time, as soon as possible; several cameras are several processes or one batch.
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if chip == "CPU":
        options["INFERENCE_NUM_THREADS"] = threads
    if precision == "f32":
        options["INFERENCE_PRECISION_HINT"] = "f32"
    try:
        model = core.read_model(graph)
        compiled = core.compile_model(model, chip, options)
    except RuntimeError as error:
        raise ModelError(f"{weights}: OpenVINO cannot load it on {chip} ({_first_line(error)})") from None
    shape = tuple(None if side.is_dynamic else int(side.get_length()) for side in model.input(0).partial_shape)
    request = compiled.create_infer_request()

    def run(blob: Floats) -> Floats:
        request.infer({0: blob}, share_inputs=True)
        return np.array(request.get_output_tensor(0).data, np.float32)  # a copy: the next run writes over it

    return LightDetector("openvino", card, run, shape, confidence)


def onnx_detector(
    card: ModelCard, weights: Path, confidence: float, threads: int, precision: str, device: str | None
) -> LightDetector:
    """ONNX Runtime on the CPU; ``device`` 'cuda' or 'cuda:1' where onnxruntime-gpu is installed.

    It always computes as the file says, so ``precision`` changes nothing here.
    """
    del precision
    if weights.suffix != ".onnx":
        raise ModelError(f"{weights}: ONNX Runtime reads .onnx files; take the back end 'openvino' or 'ultralytics'")
    runtime = _onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads of one process starve the others on a box whose cores are all in use.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = runtime.InferenceSession(str(weights), options, providers=_providers(runtime, device))
    except _refusals() as error:
        raise ModelError(f"{weights}: ONNX Runtime cannot load it ({_first_line(error)})") from None
    entry, output = session.get_inputs()[0], session.get_outputs()[0].name
    shape = tuple(side if isinstance(side, int) else None for side in entry.shape)
    kind = np.float16 if entry.type == "tensor(float16)" else np.float32

    def run(blob: Floats) -> Floats:
        return np.asarray(session.run([output], {entry.name: blob.astype(kind, copy=False)})[0], np.float32)

    return LightDetector("onnx", card, run, shape, confidence)


def _providers(runtime: Any, device: str | None) -> list[Any]:
    if device is None or device.lower() == "cpu":
        return ["CPUExecutionProvider"]
    kind, _, index = device.lower().partition(":")
    if kind != "cuda" or "CUDAExecutionProvider" not in runtime.get_available_providers():
        raise ModelError(
            f"ONNX Runtime has no device {device!r} here; install onnxruntime-gpu or take another back end"
        )
    return [("CUDAExecutionProvider", {"device_id": index or "0"}), "CPUExecutionProvider"]


def onnx_properties(path: Path) -> dict[str, str]:
    """What the file says of itself (ultralytics writes task, names, imgsz ...), read without building the net."""
    runtime = _onnxruntime()
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _refusals() as error:
        raise ModelError(f"{path}: ONNX Runtime cannot load it ({_first_line(error)})") from None
    return {str(key): str(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}


def _onnxruntime() -> Any:
    try:
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError:
        raise ModelError("ONNX Runtime is not installed; run pip install 'walkout[vision]'") from None
    return onnxruntime


def _refusals() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises at a file it cannot use; its errors share no base class below ``Exception``."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state  # type: ignore[import-untyped]

    named = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented")
    return (RuntimeError, *(getattr(state, name) for name in named))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
