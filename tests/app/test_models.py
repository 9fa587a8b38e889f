"""Cards of models, and the commands that list, fetch, check and export what they speak of."""

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from walkout.app.models import check, where
from walkout.errors import ModelError
from walkout.settings import Settings
from walkout.vision.models import (
    PROJECT_MODELS,
    ModelCard,
    card_of_weights,
    find_card,
    find_weights,
    pull,
    read_card,
    read_cards,
    read_metadata_yaml,
    write_card,
    wrong_files,
)

WEIGHTS = Path(__file__).parents[2].parent / "shared" / "weights"
needs_weights = pytest.mark.skipif(not WEIGHTS.is_dir(), reason="the weights are not beside the repository")

METADATA = """description: Ultralytics YOLO11n model
author: Ultralytics
date: '2026-04-22T00:19:30.812450'
stride: 32
task: pose
batch: 2
imgsz:
- 320
- 640
names:
  0: person
  1: 'shopping: bag'
args:
  dynamic: false
end2end: false
kpt_shape:
- 17
- 3
"""


def walkout(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WALKOUT_")}
    command = [sys.executable, "-m", "walkout.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={**kept, **environment}, check=False)


@pytest.fixture
def shelf(tmp_path: Path) -> tuple[ModelCard, Path]:
    """A card in a models folder, and another folder that holds its two files."""
    origin, models = tmp_path / "origin", tmp_path / "models"
    (origin / "eyes").mkdir(parents=True)
    models.mkdir()
    contents = {"eyes/eyes.xml": b"graph", "eyes/eyes.bin": b"weights"}
    for name, content in contents.items():
        (origin / name).write_bytes(content)
    card = ModelCard(
        name="eyes",
        path="eyes",
        task="pose",
        classes=("person", 'a "quoted" 사람'),
        input_px=(640, 384),
        batch=4,
        licence="AGPL-3.0",
        source="here",
        training="on nothing",
        files={name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
        metrics={"recall": 0.5},
    )
    write_card(card, models / "eyes.toml")
    return card, origin


def test_a_card_is_read_as_it_was_written(shelf: tuple[ModelCard, Path], tmp_path: Path) -> None:
    assert read_card(tmp_path / "models" / "eyes.toml") == shelf[0]


def test_a_card_for_any_number_of_pictures_is_read_as_it_was_written(tmp_path: Path) -> None:
    card = ModelCard("any", "any.onnx", "detect", ("person",), (640, 640), files={"any.onnx": "0" * 64})
    write_card(card, tmp_path / "any.toml")
    assert read_card(tmp_path / "any.toml") == card


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('task = "pose"', 'task = "dance"'), r"key 'task': 'dance' is not one of detect, pose, reid"),
        (('head = "yolo"', 'head = "crystal"'), r"key 'head'"),
        (('licence = "AGPL-3.0"', ""), r"key 'licence' is missing"),
        (('licence = "AGPL-3.0"', 'license = "AGPL-3.0"'), r"key 'license' is not one of"),
        (('path = "eyes"', 'path = "../eyes"'), r"leads out of the folder"),
        (("[640, 384]", "[640]"), r"eyes.toml"),
        (("[files]", "[files]\nmore = 'abc'"), r"64 hex digits"),
        (('name = "eyes"', "name = eyes"), r"is not TOML"),
    ],
)
def test_a_card_that_cannot_be_used_is_told_with_file_and_key(
    shelf: tuple[ModelCard, Path], tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    assert shelf
    path = tmp_path / "models" / "eyes.toml"
    text = path.read_text(encoding="utf-8")
    assert change[0] in text
    path.write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(ModelError, match=words) as raised:
        read_card(path)
    assert "eyes.toml" in str(raised.value)


def test_every_card_of_the_project_can_be_read_and_holds_no_weights() -> None:
    cards = read_cards()
    assert {"yolov8n-pose-int8", "yolov8n-int8", "yolox-nano", "osnet-x0-25-msmt17"} <= set(cards)
    tracked = {path.suffix for path in PROJECT_MODELS.iterdir() if path.is_file()}
    assert tracked <= {".toml", ".md", ""}
    for name, card in cards.items():
        assert (PROJECT_MODELS / f"{name}.toml").is_file()
        assert card.licence
        assert card.source
        assert card.training


@needs_weights
@pytest.mark.parametrize("name", sorted(read_cards()))
def test_given_weights_are_those_of_their_cards(name: str) -> None:
    card = find_card(name)
    weights = find_weights(card, near=WEIGHTS.parent / "data")
    assert weights == (WEIGHTS / card.path).resolve()
    assert wrong_files(card, weights) == []


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_pulled_weights_are_found_and_right(shelf: tuple[ModelCard, Path], tmp_path: Path, scheme: str) -> None:
    card, origin = shelf
    weights = pull(card, scheme + str(origin), tmp_path / "models")
    assert find_weights(card, tmp_path / "models") == weights
    assert wrong_files(card, weights) == []


def test_weights_that_are_not_those_of_the_card_are_not_taken(shelf: tuple[ModelCard, Path], tmp_path: Path) -> None:
    card, origin = shelf
    (origin / "eyes" / "eyes.bin").write_bytes(b"other weights")
    with pytest.raises(ModelError, match=r"eyes/eyes\.bin has sha256"):
        pull(card, str(origin), tmp_path / "got")
    assert [path.name for path in (tmp_path / "got").rglob("*") if path.is_file()] == ["eyes.xml"]


@pytest.mark.parametrize("origin", ["ftp://models.example", "http://models.example", "no-such-folder"])
def test_an_origin_that_cannot_be_read_is_told(shelf: tuple[ModelCard, Path], tmp_path: Path, origin: str) -> None:
    with pytest.raises(ModelError, match=origin):
        pull(shelf[0], origin, tmp_path / "got")


def test_weights_lie_in_the_models_folder_or_beside_the_recording(
    shelf: tuple[ModelCard, Path], tmp_path: Path
) -> None:
    card, origin = shelf
    beside = tmp_path / "shop" / "weights"
    recording = tmp_path / "shop" / "data" / "monday"
    recording.mkdir(parents=True)
    shutil.copytree(origin, beside)
    assert find_weights(card, None, recording) == beside / "eyes"
    shutil.copytree(origin / "eyes", tmp_path / "models" / "eyes")
    assert find_weights(card, tmp_path / "models", recording) == tmp_path / "models" / "eyes"


def test_weights_that_describe_themselves_need_no_card(tmp_path: Path) -> None:
    folder = tmp_path / "mine_openvino_model"
    folder.mkdir()
    (folder / "metadata.yaml").write_text(METADATA)
    card = card_of_weights(folder)
    assert (card.task, card.classes, card.input_px, card.batch) == ("pose", ("person", "shopping: bag"), (640, 320), 2)
    assert find_weights(card) == folder


def test_an_engine_tells_its_batch_in_its_head(tmp_path: Path) -> None:
    head = b'{"task": "detect", "names": {"0": "person", "1": "bag"}, "imgsz": [384, 640], "batch": 8}'
    (tmp_path / "shop.engine").write_bytes(len(head).to_bytes(4, "little") + head + b"\x00 not json")
    card = card_of_weights(tmp_path / "shop.engine")
    assert (card.task, card.classes, card.input_px, card.batch) == ("detect", ("person", "bag"), (640, 384), 8)


def test_other_weights_of_the_same_name_do_not_get_the_card(shelf: tuple[ModelCard, Path], tmp_path: Path) -> None:
    card, origin = shelf
    assert card_of_weights(origin / "eyes", tmp_path / "models").name == card.name
    (origin / "eyes" / "eyes.xml").write_bytes(b"another graph")
    with pytest.raises(ModelError, match="write a card"):
        card_of_weights(origin / "eyes", tmp_path / "models")


def test_weights_that_say_nothing_need_a_card(tmp_path: Path) -> None:
    (tmp_path / "dumb_openvino_model").mkdir()
    with pytest.raises(ModelError, match="write a card"):
        card_of_weights(tmp_path / "dumb_openvino_model")


def test_metadata_is_read_as_yaml_reads_it() -> None:
    yaml = pytest.importorskip("yaml", reason="comes with the extra 'train'")
    assert read_metadata_yaml(METADATA) == yaml.safe_load(METADATA)


@needs_weights
@pytest.mark.parametrize("path", sorted(WEIGHTS.glob("*/metadata.yaml")), ids=lambda path: path.parent.name)
def test_metadata_of_the_given_weights_is_read_as_yaml_reads_it(path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="comes with the extra 'train'")
    assert read_metadata_yaml(path.read_text()) == yaml.safe_load(path.read_text())


def test_weights_that_are_absent_are_wrong_only_when_asked_for(shelf: tuple[ModelCard, Path], tmp_path: Path) -> None:
    assert shelf
    settings = Settings(models_dir=tmp_path / "models")
    assert [line.fine for line in check(["eyes"], settings, None)] == [False]
    assert [line.fine for line in check([], settings, None) if line.model == "eyes"] == [None]
    assert where(shelf[0], settings, None) is None


def test_a_changed_file_is_told_by_check(shelf: tuple[ModelCard, Path], tmp_path: Path) -> None:
    card, origin = shelf
    weights = pull(card, str(origin), tmp_path / "models")
    (weights / "eyes.bin").write_bytes(b"rotten")
    lines = list(check(["eyes"], Settings(models_dir=tmp_path / "models"), None))
    assert [line.fine for line in lines] == [False]
    assert "eyes.bin: sha256 is" in lines[0].what


@needs_weights
def test_check_runs_a_picture_through_every_back_end_that_reads_the_weights() -> None:
    pytest.importorskip("openvino", reason="the extra 'vision' is not installed")
    pytest.importorskip("onnxruntime", reason="the extra 'vision' is not installed")
    lines = list(check(["yolox-nano"], Settings(), WEIGHTS))
    assert [line.fine for line in lines] == [True, True, True]
    assert [line.what.split(":")[0] for line in lines[1:]] == ["openvino", "onnx"]


def test_list_shows_every_card_and_where_its_weights_lie(shelf: tuple[ModelCard, Path], tmp_path: Path) -> None:
    card, origin = shelf
    pull(card, str(origin), tmp_path / "models")
    done = walkout("models", "list", WALKOUT_MODELS_DIR=str(tmp_path / "models"), COLUMNS="300")
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.split()[:1] == ["eyes"])
    assert str(tmp_path / "models") in line
    assert "640x384" in line


def test_pull_and_check_on_the_command_line(shelf: tuple[ModelCard, Path], tmp_path: Path) -> None:
    _, origin = shelf
    models = {"WALKOUT_MODELS_DIR": str(tmp_path / "models")}
    absent = walkout("models", "check", "eyes", **models)
    assert (absent.returncode, absent.stdout.split()[0]) == (1, "WRONG")
    done = walkout("models", "pull", "eyes", "--from", origin, **models)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "models" / "eyes" / "eyes.xml").read_bytes() == b"graph"
    unknown = walkout("models", "pull", "ears", "--from", origin, **models)
    assert unknown.returncode == 1
    assert "no model 'ears'; known are eyes" in unknown.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.pt"], "only a .pt file"),
        (["some.pt", "--format", "pancake"], "'pancake' is not one of onnx, openvino, engine"),
        (["some.pt", "--size", "100x640"], "multiples of 32"),
        (["some.pt", "--int8"], "--data"),
    ],
)
def test_an_export_that_cannot_be_is_told_before_it_begins(tmp_path: Path, arguments: list[str], words: str) -> None:
    (tmp_path / "some.pt").write_bytes(b"")
    done = walkout("models", "export", tmp_path / arguments[0], *arguments[1:])
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_engine_is_not_built_without_a_gpu(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")
    if torch.cuda.is_available() or find_spec("ultralytics") is None:
        pytest.skip("this box could build it, or lacks ultralytics")
    (tmp_path / "some.pt").write_bytes(b"")
    done = walkout("models", "export", tmp_path / "some.pt", "--format", "engine")
    assert done.returncode == 1
    assert "TensorRT needs an NVIDIA GPU" in done.stderr
