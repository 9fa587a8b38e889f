"""Turn trained weights (.pt) into what runs at the edge: ONNX, OpenVINO, TensorRT. Needs the ``train`` extra."""

import importlib.util
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from walkout.errors import ModelError
from walkout.vision.models import ModelCard, card_name, read_card, sha256, write_card
from walkout.vision.ultralytics_detector import load_ultralytics, need_cuda

FORMATS = ("onnx", "openvino", "engine")


def export_model(
    weights: Path,
    form: str,
    destination: Path,
    *,
    input_px: tuple[int, int] = (640, 640),
    batch: int | None = 1,
    int8: bool = False,
    data: str | None = None,
    end_to_end: bool = False,
) -> ModelCard:
    """Export ``weights`` into the folder ``destination`` and write a card beside the result; returns the card.

    ``input_px`` (width, height) must be multiples of 32; ``batch`` None lets size and number of pictures vary. ``int8``
    quantizes with pictures of ``data`` (a data set as ultralytics names them). ``end_to_end`` keeps the head of YOLO26
    that needs no suppression. Raises ``ModelError`` where something is missing.
    """
    _refuse(weights, form, input_px, int8, data)
    ultralytics = load_ultralytics()
    wanted: dict[str, Any] = {"format": form, "imgsz": [input_px[1], input_px[0]]}
    wanted |= {"dynamic": True} if batch is None else {"batch": batch}
    if form != "openvino":
        wanted["simplify"] = importlib.util.find_spec("onnxslim") is not None
    if int8:
        wanted |= {"quantize": 8, "data": data}
    if end_to_end:
        wanted["nms"] = False  # so ultralytics 8.4 names the choice of the head that needs none
    with tempfile.TemporaryDirectory() as room:
        copy = Path(shutil.copy(weights, room))  # the result is written beside the weights
        try:
            model = ultralytics.YOLO(str(copy), verbose=False)
            made = Path(model.export(**wanted))
        except (ImportError, RuntimeError, OSError, ValueError, TypeError, AssertionError) as error:
            raise ModelError(f"{weights}: cannot be exported as {form} ({error})") from error
        destination.mkdir(parents=True, exist_ok=True)
        target = destination / made.name
        if target.is_dir():
            shutil.rmtree(target)
        shutil.move(made, target)
    card = _card_of_export(model, weights, target, wanted, input_px, batch)
    path = destination / f"{card.name}.toml"
    if path.is_file():  # what a person wrote into it stays
        old = read_card(path)
        card = replace(card, licence=old.licence, training=old.training)
    write_card(card, path)
    return card


def _refuse(weights: Path, form: str, input_px: tuple[int, int], int8: bool, data: str | None) -> None:
    if form not in FORMATS:
        raise ModelError(f"format {form!r} is not one of {', '.join(FORMATS)}")
    if weights.suffix != ".pt" or not weights.is_file():
        raise ModelError(f"{weights}: only a .pt file of ultralytics can be exported")
    if any(side < 32 or side % 32 for side in input_px):
        raise ModelError(f"input size {input_px[0]}x{input_px[1]}: give multiples of 32")
    if int8 and data is None:
        raise ModelError(
            "INT8 needs pictures to learn its scales from; name a data set, such as --data coco8-pose.yaml"
        )
    if int8 and form == "openvino" and importlib.util.find_spec("nncf") is None:
        raise ModelError("INT8 for OpenVINO needs nncf; run pip install nncf")
    if form == "engine":
        need_cuda(weights)


def _card_of_export(
    model: Any, weights: Path, made: Path, wanted: dict[str, Any], input_px: tuple[int, int], batch: int | None
) -> ModelCard:
    files = [made] if made.is_file() else sorted(path for path in made.rglob("*") if path.is_file())
    how = ", ".join(f"{key} {value}" for key, value in wanted.items())
    return ModelCard(
        name=card_name(made),
        path=made.name,
        task=str(model.task),
        classes=tuple(str(model.names[index]) for index in sorted(model.names)),
        input_px=input_px,
        batch=batch,
        licence="AGPL-3.0, as all that ultralytics trains, unless you hold another licence from them",
        source=f"{weights.name} (sha256 {sha256(weights)}), exported: {how}",
        training="write here on what it was trained, and by whom",
        files={path.relative_to(made.parent).as_posix(): sha256(path) for path in files},
    )
