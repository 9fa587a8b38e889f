"""What the README and the error tree promise is there."""

import inspect
import re
from pathlib import Path

import pytest
from typer.main import get_command

from walkout import errors
from walkout.cli import app
from walkout.settings import Settings

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def commands() -> set[str]:
    """Every command as it is typed, groups with their commands."""
    found = set()
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        found.add(name)
        found |= {f"{name} {inner}" for inner in getattr(command, "commands", {})}
    return found


def test_every_command_of_the_readme_exists_and_every_command_is_in_it() -> None:
    named = {match.strip() for match in re.findall(r"`walkout ([a-z-]+(?: [a-z-]+)?)", README)}
    known = commands()
    assert {name for name in named if name not in known and name.split()[0] not in known} == set()
    assert {name.split()[0] for name in known} <= {name.split()[0] for name in named}


def test_every_variable_of_the_readme_is_a_setting() -> None:
    named = set(re.findall(r"WALKOUT_([A-Z_]+[A-Z])", README)) - {"CONFIG"}
    assert named
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def test_every_folder_of_the_readme_exists() -> None:
    folders = re.findall(r"^\| `([a-z0-9/_]+)`", README, flags=re.MULTILINE)
    assert "walkout/domain" in folders
    assert [name for name in folders if not (Path(__file__).parents[1] / name).is_dir()] == []


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, one in vars(errors).items()
        if inspect.isclass(one) and issubclass(one, Exception) and one.__module__ == errors.__name__
    ],
)
def test_the_drawn_error_tree_holds_every_error(name: str) -> None:
    assert errors.__doc__ is not None
    assert re.search(rf"\b{name}\b", errors.__doc__), f"{name} is missing in the tree drawn in errors.py"
