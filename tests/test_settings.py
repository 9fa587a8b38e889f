"""Settings: defaults, the file, the variables, and what a wrong one is told."""

import os
from pathlib import Path

import pytest

from walkout.errors import SettingsError
from walkout.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("WALKOUT_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_without_file_and_variables_everything_is_embedded() -> None:
    settings = load_settings()
    assert (settings.redis_url, settings.database_url, settings.data_dir) == (None, None, None)


def test_file_in_the_working_directory_is_read_and_a_variable_wins_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "walkout.toml").write_text('redis_url = "redis://a:1/0"\ndatabase_url = "sqlite:///x.db"\n')
    monkeypatch.setenv("WALKOUT_REDIS_URL", "unix:///b.sock")
    settings = load_settings()
    assert (settings.redis_url, settings.database_url) == ("unix:///b.sock", "sqlite:///x.db")


def test_named_file_wins_over_the_one_in_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.toml").write_text("worker_restarts = 1\n")
    (tmp_path / "b.toml").write_text("worker_restarts = 2\n")
    monkeypatch.setenv("WALKOUT_CONFIG", str(tmp_path / "b.toml"))
    assert load_settings().worker_restarts == 2
    assert load_settings(tmp_path / "a.toml").worker_restarts == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('redis_ulr = "redis://a"', ["bad.toml", "redis_ulr", "did you mean redis_url"]),
        ('redis_url = "http://a"', ["bad.toml", "redis_url", "redis://127.0.0.1"]),
        ('database_url = "sqlite:///"', ["bad.toml", "database_url", "sqlite:///data/books.db"]),
        ('worker_restarts = "many"', ["bad.toml", "worker_restarts", "integer"]),
        ("redis_url = ", ["bad.toml", "TOML"]),
    ],
)
def test_wrong_entry_is_refused_with_file_key_and_remedy(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path / "bad.toml")
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WALKOUT_DATABSE_URL", "sqlite:///x", ["WALKOUT_DATABSE_URL", "did you mean WALKOUT_DATABASE_URL"]),
        ("WALKOUT_WORKER_RESTARTS", "-1", ["WALKOUT_WORKER_RESTARTS", "greater than or equal to 0"]),
    ],
)
def test_wrong_variable_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: list[str]
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path / "none.toml")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().worker_restarts = 3  # type: ignore[misc]
