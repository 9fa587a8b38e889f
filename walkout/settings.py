"""What an operator may set: one TOML file and ``WALKOUT_*`` variables, read once, then frozen.

The file is the one named by ``--config``, else by ``WALKOUT_CONFIG``, else ``walkout.toml`` in the working
directory if it is there. A variable wins over the file; an empty one counts as unset. A key or a variable
that we do not know is refused, as is a value that cannot be used: a slip must not become a default.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from walkout.errors import SettingsError

PREFIX = "WALKOUT_"
CONFIG_VARIABLE = "WALKOUT_CONFIG"
#: Variables of the tests alone, such as the address of a database server to use.
TEST_PREFIX = "WALKOUT_TEST_"
DEFAULT_FILE = Path("walkout.toml")


class Settings(BaseSettings):
    """All settings with their defaults: everything embedded, nothing to install or to start beforehand."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix=PREFIX, env_ignore_empty=True)

    redis_url: str | None = Field(
        default=None, description="event log server, redis:// or unix://; unset: a private server per command"
    )
    database_url: str | None = Field(
        default=None,
        description="the books, sqlite:///FILE or postgresql://USER@HOST/NAME; unset: thrown away after the command",
    )
    data_dir: Path | None = Field(
        default=None, description="folder for sockets, private log and ledger of a run; unset: the temporary folder"
    )
    models_dir: Path | None = Field(
        default=None, description="folder with more cards of models and their weights; unset: the project's own"
    )
    worker_restarts: int = Field(
        default=5, ge=0, le=1000, description="how often one process may die within a minute; then we give up"
    )

    @field_validator("redis_url")
    @classmethod
    def _redis_scheme(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("give an address such as redis://127.0.0.1:6379/0 or unix:///run/redis.sock")
        return url

    @field_validator("database_url")
    @classmethod
    def _database_scheme(cls, url: str | None) -> str | None:
        known = url is None or url.startswith(("sqlite:///", "postgresql://"))
        if not known or url == "sqlite:///":
            raise ValueError("give a file such as sqlite:///data/books.db, or postgresql://user@host/database")
        return url

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """A variable wins over the file, whose values come in as arguments."""
        return env_settings, init_settings


def load_settings(config: Path | None = None) -> Settings:
    """The settings of this command, from its file and the environment.

    Raises ``SettingsError`` naming the file or variable, the key and the remedy.
    """
    names = os.environ
    path = _config_path(config, names)
    from_file = _read_toml(path) if path else {}
    for key in from_file:
        if key not in Settings.model_fields:
            raise SettingsError(f"{path}: key {key!r} is no setting; {_near(key)}")
    for name in names:
        key = name.upper().removeprefix(PREFIX).lower()
        if not name.upper().startswith(PREFIX) or name.upper().startswith(TEST_PREFIX) or name == CONFIG_VARIABLE:
            continue
        if key not in Settings.model_fields:
            raise SettingsError(f"environment: {name} is no setting; {_near(key, PREFIX)}")
    try:
        return Settings(**from_file)
    except ValidationError as error:
        raise SettingsError("\n".join(_complaint(detail, path, names) for detail in error.errors())) from None


def _config_path(config: Path | None, names: Mapping[str, str]) -> Path | None:
    if config is not None:
        return config
    if names.get(CONFIG_VARIABLE):
        return Path(names[CONFIG_VARIABLE])
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); name another by --config") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f'{path}: is not TOML ({error}); write lines such as redis_url = "..."') from None


def _near(key: str, prefix: str = "") -> str:
    known = sorted(Settings.model_fields)
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {prefix + (close[0].upper() if prefix else close[0])}?"
    return "known are " + ", ".join(prefix + (name.upper() if prefix else name) for name in known)


def _complaint(detail: Any, path: Path | None, names: Mapping[str, str]) -> str:
    key = str(detail["loc"][0]).lower().removeprefix(PREFIX.lower()) if detail["loc"] else "?"
    variable = PREFIX + key.upper()
    from_environment = any(name.upper() == variable for name in names)
    where = f"environment: {variable}" if from_environment else f"{path}: key {key!r}"
    remedy = str(detail["msg"]).removeprefix("Value error, ")
    meaning = Settings.model_fields[key].description if key in Settings.model_fields else ""
    return f"{where} cannot be {detail['input']!r}: {remedy} ({meaning})"
