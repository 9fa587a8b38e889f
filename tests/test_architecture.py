"""The architecture document: who may import whom, and how long and how named things may be.

Imports point one way. A package that is not in the table may not exist; a new arrow is a decision, made here.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "walkout"

LOW = {"errors", "domain"}
STORE = LOW | {"store"}
PARTS = STORE | {"shelf", "vision", "gate", "fusion", "bus", "billing"}
#: Part of ``walkout`` -> the other parts that it may import.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "domain": {"errors"},
    "store": LOW,
    "shelf": STORE,
    "vision": STORE,
    "gate": STORE,
    "fusion": STORE,
    "sim": STORE,
    "bus": LOW,
    "billing": LOW,
    "settings": LOW,
    "v1": set(),
    "app": PARTS | {"settings"},
    "web": PARTS | {"settings", "app"},
    "cli": PARTS | {"settings", "app", "web", "sim"},
}
#: The only modules that may see the generated messages.
MAY_IMPORT_V1 = {
    "bus/codec.py",
    "billing/calls.py",
    "billing/service.py",
    "billing/wire.py",
    "app/billing_client.py",
}

MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 500
FORBIDDEN_NAMES = {"utils", "helpers", "common", "manager", "base", "util", "helper", "misc"}


def modules() -> list[Path]:
    """Our own modules; what protoc generated is exempt."""
    return sorted(path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] != "v1")


def part_of(path: Path) -> str:
    """The part of ``walkout`` a module belongs to: its package, or its own name at the top."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[str]:
    """Every ``walkout.x...`` that a module imports, at any depth of indentation."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            module = node.module or ""
            yield module
            if module == "walkout":
                yield from (f"walkout.{alias.name}" for alias in node.names)


def wrong_imports(path: Path, source: str) -> list[str]:
    """What ``path`` imports against the table."""
    name = path.relative_to(PACKAGE).as_posix()
    own = part_of(path)
    wrong = []
    for module in imported(ast.parse(source)):
        parts = module.split(".")
        if parts[0] != "walkout" or len(parts) < 2 or parts[1] in {own, "__version__"}:
            continue
        allowed = ALLOWED[own] | ({"v1"} if name in MAY_IMPORT_V1 else set())
        if parts[1] not in allowed:
            wrong.append(f"{name} imports {module}")
    return wrong


def test_imports_point_one_way() -> None:
    assert [line for path in modules() for line in wrong_imports(path, path.read_text())] == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("fusion/engine.py", "from walkout.shelf.steps import StepDetector"),
        ("billing/settle.py", "import walkout.store.catalog"),
        ("bus/log.py", "from walkout.v1 import sensing_pb2"),
        ("app/replay.py", "from walkout import sim"),
        ("domain/ids.py", "def f():\n    from walkout.store import layout"),
    ],
)
def test_an_import_against_the_table_is_seen(module: str, line: str) -> None:
    assert len(wrong_imports(PACKAGE / module, line)) == 1


def test_every_part_stands_in_the_table() -> None:
    parts = {part_of(path) for path in modules()} - {"__init__"}
    assert parts - set(ALLOWED) == set()


def test_no_import_is_hidden_from_the_running_program() -> None:
    assert [str(path) for path in modules() if "TYPE_CHECKING" in path.read_text()] == []


def test_files_and_functions_stay_short() -> None:
    long = []
    for path in modules():
        source = path.read_text()
        if source.count("\n") > MAX_FILE_LINES:
            long.append(f"{path.name}: {source.count(chr(10))} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    long.append(f"{path.name}: {node.name} has {lines} lines")
    assert long == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert [str(path) for path in modules() if path.stem in FORBIDDEN_NAMES] == []


def test_every_package_says_what_is_decided_in_it() -> None:
    inits = [path for path in modules() if path.name == "__init__.py"]
    assert [str(path) for path in inits if not ast.get_docstring(ast.parse(path.read_text()))] == []


def tracked_files() -> list[Path]:
    """What git holds of the project; where there is no git, the folders that hold text of ours."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        return [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for top in ("walkout", "tests", "protos", "benchmarks") for path in (ROOT / top).rglob("*")]


def test_no_file_names_a_folder_of_one_machine() -> None:
    # Split, so that this file does not name one itself.
    home = re.compile(rb"/(?:ho" + rb"me|Us" + rb"ers|ro" + rb"ot|wo" + rb"rk)/[A-Za-z0-9_.-]+")
    files = [path for path in tracked_files() if path.is_file() and not path.is_symlink()]
    hits = [(path.relative_to(ROOT), home.search(path.read_bytes())) for path in files]
    assert [f"{path}: {hit.group().decode()}" for path, hit in hits if hit] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "import walkout"],
        ["-c", "import walkout.cli, walkout.app.workers"],
        ["-m", "walkout.cli", "--help"],
    ],
)
def test_the_base_install_needs_no_torch(arguments: list[str]) -> None:
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    heavy = {"torch", "torchvision", "ultralytics", "cv2", "matplotlib"}
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert loaded & heavy == set()
