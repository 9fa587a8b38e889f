"""Cards of models: what the weights are, where they come from and how to know them again.

A card is one TOML file in ``models/``; the weights it speaks of lie anywhere on the search path (see ``find_weights``)
and are known by their sha256. Weights without a card still open when they describe themselves, as exports of
ultralytics do.
"""

import ast
import hashlib
import json
import shutil
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from walkout.errors import ModelError

#: The project's own cards (and small weights), beside the package in a checkout.
PROJECT_MODELS = Path(__file__).parents[2] / "models"

TASKS = ("detect", "pose", "reid")
#: How the numbers that leave the net are read: ``yolo`` ultralytics' heads, ``yolox`` undecoded grids, ``embedding``
#: one vector per picture, which no detector reads.
HEADS = ("yolo", "yolox", "embedding")
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What is known of one model. ``path`` (a file or a folder) and the keys of ``files`` are relative to one folder.

    ``input_px`` is (width, height) of what the net takes, for nets of any size the longest side it was trained for;
    ``batch`` how many pictures at once, None for any number. ``files`` maps each file to its sha256 in hex; it is empty
    for weights that have no card. ``near`` is a folder to search first, set for those.
    """

    name: str
    path: str
    task: str
    classes: tuple[str, ...]
    input_px: tuple[int, int]
    batch: int | None = None
    head: str = "yolo"
    licence: str = "unknown"
    source: str = "unknown"
    training: str = "unknown"
    files: Mapping[str, str] = field(default_factory=dict, hash=False)
    metrics: Mapping[str, float] = field(default_factory=dict, hash=False)
    near: Path | None = None


def read_card(path: Path) -> ModelCard:
    """The card in a TOML file. Raises ``ModelError`` naming file and key."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: is not TOML ({error})") from None
    known = set(ModelCard.__dataclass_fields__) - {"near"}
    for key in raw:
        if key not in known:
            raise ModelError(f"{path}: key {key!r} is not one of {', '.join(sorted(known))}")
    try:
        return _card(raw)
    except KeyError as error:
        raise ModelError(f"{path}: key {error} is missing") from None
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: {error}") from None


def _card(raw: Mapping[str, Any]) -> ModelCard:
    width, height = (int(side) for side in raw["input_px"])
    files = {str(name): str(digest).lower() for name, digest in raw["files"].items()}
    card = ModelCard(
        name=str(raw["name"]),
        path=str(raw["path"]),
        task=str(raw["task"]),
        classes=tuple(str(name) for name in raw["classes"]),
        input_px=(width, height),
        batch=int(raw["batch"]) if "batch" in raw else None,
        head=str(raw.get("head", "yolo")),
        licence=str(raw["licence"]),
        source=str(raw["source"]),
        training=str(raw["training"]),
        files=files,
        metrics={str(name): float(value) for name, value in raw.get("metrics", {}).items()},
    )
    if card.task not in TASKS:
        raise ValueError(f"key 'task': {card.task!r} is not one of {', '.join(TASKS)}")
    if card.head not in HEADS:
        raise ValueError(f"key 'head': {card.head!r} is not one of {', '.join(HEADS)}")
    if not files or any(len(digest) != 64 for digest in files.values()):
        raise ValueError("key 'files': give each file its sha256, 64 hex digits")
    for name in [card.path, *files]:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{name!r} leads out of the folder of the weights; write a path below it")
    return card


def write_card(card: ModelCard, path: Path) -> None:
    """Write ``card`` as ``read_card`` reads it."""
    lines = [
        f"{key} = {json.dumps(getattr(card, key), ensure_ascii=False)}"
        for key in ("name", "path", "task", "head", "classes", "input_px", "batch", "licence", "source", "training")
        if getattr(card, key) is not None
    ]
    lines += ["", "[files]", *(f"{json.dumps(name)} = {json.dumps(digest)}" for name, digest in card.files.items())]
    if card.metrics:
        lines += ["", "[metrics]", *(f"{json.dumps(name)} = {value}" for name, value in card.metrics.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_cards(models_dir: Path | None = None) -> dict[str, ModelCard]:
    """Every card by its name: the project's, then those of ``models_dir``, which win."""
    cards = {}
    for folder in (PROJECT_MODELS, models_dir):
        if folder is not None:
            for path in sorted(folder.glob("*.toml")):
                card = read_card(path)
                cards[card.name] = card
    return cards


def find_card(name: str, models_dir: Path | None = None) -> ModelCard:
    """The card called ``name``, or of the weights at that path. Raises ``ModelError`` with what is known."""
    cards = read_cards(models_dir)
    if name in cards:
        return cards[name]
    if Path(name).exists():
        return card_of_weights(Path(name), models_dir)
    raise ModelError(f"no model {name!r}; known are {', '.join(sorted(cards)) or 'none'}, or give the path of weights")


def search_path(models_dir: Path | None = None, near: Path | None = None) -> Iterator[Path]:
    """Folders that may hold weights, best first; ``near`` is a file or folder whose parents' ``weights/`` count too."""
    if models_dir is not None:
        yield models_dir
    yield PROJECT_MODELS
    for start in (near, PROJECT_MODELS):
        if start is not None:
            real = start.resolve()
            yield from (folder / "weights" for folder in (real, *real.parents))


def find_weights(card: ModelCard, models_dir: Path | None = None, near: Path | None = None) -> Path:
    """Where the weights of ``card`` lie. Raises ``ModelError`` telling where was searched and how to get them."""
    folders = [card.near] if card.near else list(dict.fromkeys(search_path(models_dir, near)))
    for folder in folders:
        if (folder / card.path).exists():
            return folder / card.path
    raise ModelError(
        f"{card.name}: {card.path} lies in none of {', '.join(str(folder) for folder in folders[:4])}, ...; "
        f"set WALKOUT_MODELS_DIR or run 'walkout models pull {card.name} --from FOLDER|URL'"
    )


def card_of_weights(path: Path, models_dir: Path | None = None) -> ModelCard:
    """A card for weights given by path: the one that knows their sha256, else as they describe themselves."""
    root = path.absolute().parent
    for card in (*read_cards(models_dir).values(), *_cards_beside(path)):
        if card.path == path.name and path.exists() and not wrong_files(card, path):
            return replace(card, near=root)
    if not path.exists():
        raise ModelError(f"{path}: no such file or folder")
    told = _metadata(path)
    if path.suffix == ".pt":  # ultralytics alone reads these, and asks them for task, classes and size itself
        told = {"task": "detect", "names": {}, "imgsz": [640, 640], "args": {"dynamic": True}}
    if not {"task", "names", "imgsz"} <= set(told):
        raise ModelError(f"{path}: these weights do not tell task, classes and input size; write a card for them")
    names = {int(index): str(name) for index, name in told["names"].items()}
    return ModelCard(
        name=path.stem,
        path=path.name,
        task=str(told["task"]),
        classes=tuple(names[index] for index in sorted(names)),
        input_px=(int(told["imgsz"][1]), int(told["imgsz"][0])),
        batch=None if _is_dynamic(told) else int(told.get("batch", 1)),
        licence=str(told.get("license", "unknown")),
        training=str(told.get("description", "unknown")),
        near=root,
    )


def _cards_beside(path: Path) -> list[ModelCard]:
    """The card that ``walkout models export`` wrote beside these weights."""
    card = path.with_name(f"{card_name(path)}.toml")
    return [read_card(card)] if card.is_file() else []


def card_name(weights: Path) -> str:
    """What exported weights are called: their file name, without dots."""
    return weights.name.replace(".", "-")


def _is_dynamic(told: Mapping[str, Any]) -> bool:
    arguments = told.get("args", {})
    return bool(isinstance(arguments, dict) and arguments.get("dynamic"))


def _metadata(path: Path) -> dict[str, Any]:
    """What an export of ultralytics says of itself: in a folder's ``metadata.yaml``, an ONNX file's properties, or the
    head of an engine (four bytes of length, little end first, and as many of JSON).
    """
    if path.is_dir():
        sidecar = path / "metadata.yaml"
        return read_metadata_yaml(sidecar.read_text(encoding="utf-8")) if sidecar.is_file() else {}
    if path.suffix == ".onnx":
        from walkout.vision.onnx_detector import onnx_properties

        return {key: _literal(value) for key, value in onnx_properties(path).items()}
    if path.suffix == ".engine":
        with path.open("rb") as file:
            told = file.read(min(int.from_bytes(file.read(4), "little"), _CHUNK))
        try:
            return dict(json.loads(told))
        except (ValueError, TypeError):  # built by another tool: no head
            return {}
    return {}


def read_metadata_yaml(text: str) -> dict[str, Any]:
    """The few shapes of YAML that ultralytics writes: scalars, lists of scalars and one level of mapping."""
    told: dict[str, Any] = {}
    key = ""
    for line in text.splitlines():
        if line and not line[0].isspace() and not line.startswith("-"):
            key, _, value = line.partition(":")
            told[key] = _literal(value.strip()) if value.strip() else None
        elif line.lstrip().startswith("- "):
            told[key] = [*(told[key] or []), _literal(line.lstrip()[2:].strip())]
        elif ":" in line and (told[key] is None or isinstance(told[key], dict)):
            name, _, value = line.strip().partition(":")
            told[key] = {**(told[key] or {}), _literal(name): _literal(value.strip())}
    return told


def _literal(text: str) -> Any:
    """A Python value as ultralytics writes it; what is no literal is text."""
    if text in {"true", "false"}:
        return text == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def wrong_files(card: ModelCard, weights: Path) -> list[str]:
    """What differs between the files and their card, one line each; empty where all is as it should be."""
    root = weights.absolute().parents[len(Path(card.path).parts) - 1]
    wrong = []
    for name, digest in card.files.items():
        path = root / name
        if not path.is_file():
            wrong.append(f"{path}: missing")
        elif (found := sha256(path)) != digest:
            wrong.append(f"{path}: sha256 is {found}, the card says {digest}; pull it again")
    return wrong


def sha256(path: Path) -> str:
    """Hex digest of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pull(card: ModelCard, origin: str, destination: Path) -> Path:
    """Copy the files of ``card`` from a folder or URL (file:// or https://) below ``destination``; returns the weights.

    A file takes its place only after its sha256 was right, so a broken transfer leaves nothing behind.
    Raises ``ModelError`` where a file is missing or is another.
    """
    for name, digest in card.files.items():
        target = destination / name
        if target.is_file() and sha256(target) == digest:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".part")
        try:
            _copy(origin, name, partial)
            if (found := sha256(partial)) != digest:
                raise ModelError(f"{origin}: {name} has sha256 {found}, the card of {card.name} says {digest}")
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    return destination / card.path


def _copy(origin: str, name: str, target: Path) -> None:
    scheme = urlsplit(origin).scheme
    try:
        if scheme in {"https", "file"}:
            address = f"{origin.rstrip('/')}/{quote(name)}"
            with urllib.request.urlopen(address, timeout=60) as answer, target.open("wb") as file:
                shutil.copyfileobj(answer, file, _CHUNK)
        elif scheme == "":
            shutil.copyfile(Path(origin) / name, target)
        else:
            raise ModelError(f"{origin}: give a folder, file:// or https://")
    except (OSError, urllib.error.URLError) as error:
        raise ModelError(f"{origin}: {name} cannot be read ({error})") from None
