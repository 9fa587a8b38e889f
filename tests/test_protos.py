"""The generated code is current, and no change of the protos breaks what older versions wrote.

``protos/released.binpb`` is the image of the last released protos. On every release, and only then, refresh it:

    .venv/bin/buf build protos -o protos/released.binpb --as-file-descriptor-set --exclude-source-info

A break on purpose (a number retired with ``reserved``) passes; anything else needs a new message beside the old one.
"""

import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

ROOT = Path(__file__).parents[1]
PROTOS = ROOT / "protos"
GENERATED = ROOT / "walkout" / "v1"
BUF = Path(sys.executable).parent / "buf"


def released_files() -> set[str]:
    image = FileDescriptorSet.FromString((PROTOS / "released.binpb").read_bytes())
    return {file.name for file in image.file if not file.name.startswith("google/")}


def breaking(protos: Path) -> str:
    """What ``buf breaking`` has against ``protos``; empty where old bytes still parse."""
    found = subprocess.run(
        [BUF, "breaking", protos, "--against", PROTOS / "released.binpb"], capture_output=True, text=True
    )
    assert found.returncode in (0, 100), found.stderr
    return found.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PROTOS, tmp_path / "protos"))


def changed(protos: Path, old: str, new: str) -> Path:
    path = protos / "walkout" / "v1" / "sensing.proto"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return protos


def test_generated_code_is_current(tmp_path: Path) -> None:
    sources = sorted(path.relative_to(PROTOS) for path in PROTOS.glob("walkout/v1/*.proto"))
    well_known = resources.files("grpc_tools") / "_proto"
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"-I{well_known}", *outputs, *sources],
        check=True,
        cwd=PROTOS,
    )
    fresh = {path.name: path.read_text() for path in (tmp_path / "walkout" / "v1").iterdir()}
    committed = {path.name: path.read_text() for path in GENERATED.glob("*_pb2*.py*")}
    assert sorted(fresh) == sorted(committed), "run `make protos`"
    assert [name for name in fresh if fresh[name] != committed[name]] == [], "run `make protos`"


def test_every_proto_file_that_was_released_is_still_here() -> None:
    here = {str(path.relative_to(PROTOS)) for path in PROTOS.glob("walkout/v1/*.proto")}
    assert {"walkout/v1/sensing.proto", "walkout/v1/shopping.proto"} <= released_files() <= here


def test_no_change_breaks_old_recordings() -> None:
    assert breaking(PROTOS) == ""


def test_an_added_field_and_a_renamed_one_are_no_break(copy: Path) -> None:
    changed(copy, "double rate_hz = 4;", "double rate_hz = 4;\n  double celsius = 6;")
    assert breaking(changed(copy, "string reason = 4;", "string why = 4;")) == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("double rate_hz = 4;", "double rate_hz = 6;"),
        ("double rate_hz = 4;", "float rate_hz = 4;"),
        ("double rate_hz = 4;", ""),
        ("sfixed64 t0_ns = 3;", "int64 t0_ns = 3;"),
        ("repeated double delta_g = 3;", "double delta_g = 3;"),
        ("WEIGHT_EVENT_KIND_TOUCH = 2;", ""),
    ],
)
def test_a_change_that_old_bytes_do_not_survive_is_caught(copy: Path, old: str, new: str) -> None:
    assert "sensing.proto" in breaking(changed(copy, old, new))
