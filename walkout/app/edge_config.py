"""What an edge box is told: one TOML file, read once, then frozen. ``edge/store.toml`` is an example of it.

Paths count from the file's own folder. ``${NAME}`` in an address stands for an environment variable, so that
passwords need not lie in the file. What cannot be used is refused with file, key and remedy, all at once.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from walkout.errors import CaptureError, SettingsError, WalkoutError
from walkout.vision.clips import ClipSettings
from walkout.vision.detector import BACKENDS, CONFIDENCE
from walkout.vision.sources import CaptureSettings, scheme_of

MEGABYTE, GIGABYTE = 1_000_000, 1_000_000_000


def _camera_url(url: str) -> str:
    try:
        scheme_of(url)
    except CaptureError as error:
        raise ValueError(str(error)) from None
    return url


def _redis_url(url: str) -> str:
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("give an address such as redis://127.0.0.1:6379/0 or unix:///run/redis.sock")
    return url


def _listen(address: str) -> str:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("write HOST:PORT, such as 127.0.0.1:9464")
    return address


def _backend(name: str) -> str:
    if name not in {"auto", *BACKENDS}:
        raise ValueError(f"known are auto, {', '.join(BACKENDS)}")
    return name


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CameraConfig(_Table):
    """One camera."""

    id: str = Field(min_length=1, description="the camera's name, as in the store's calibration.toml")
    url: Annotated[str, AfterValidator(_camera_url)] = Field(
        description="rtsp://..., file:shop.mp4, device:/dev/video0 or simulated:640x360@10"
    )
    loop: bool = Field(default=False, description="begin a video file again at its end")


class DetectorConfig(_Table):
    """What finds people in pictures."""

    model: str = Field(default="yolov8n-pose-int8", description="a name from 'walkout models list', or a path")
    backend: Annotated[str, AfterValidator(_backend)] = Field(
        default="auto", description="auto takes the quickest that is installed and reads the weights"
    )
    confidence: float = Field(default=CONFIDENCE, gt=0, lt=1, description="least score of a detection")
    precision: str = Field(
        default="f32", pattern="^(fast|f32)$", description="'f32' for the same numbers everywhere, or 'fast'"
    )
    threads: int = Field(default=1, ge=1, le=64, description="threads of the CPU for the net")
    device: str | None = Field(default=None, description="as the back end names devices: cuda:0, GPU, ...")
    # As many rounds as the log's table of topics expects observations a second.
    most_fps: float = Field(default=15.0, gt=0, le=120, description="pictures of each camera a second, at most")


class CaptureConfig(_Table):
    """How patient the box is with cameras; see ``CaptureSettings``."""

    latency_s: float = Field(default=0.2, ge=0, le=5, description="light to arrival, where a camera tells no time")
    open_timeout_s: float = Field(default=5.0, gt=0, le=60, description="patience while connecting, seconds")
    stall_s: float = Field(default=5.0, gt=0, le=60, description="without a picture for so long is away, seconds")
    transport: str = Field(default="tcp", pattern="^(tcp|udp)$", description="tcp or udp, for RTSP")

    def settings(self) -> CaptureSettings:
        """As the cameras want it."""
        return CaptureSettings(**self.model_dump())


class ClipConfig(_Table):
    """Video kept on this box, and nowhere else."""

    folder: Path = Field(description="folder for the rolling segments of every camera")
    most_gb: float = Field(default=20.0, gt=0, description="room for all cameras together, in GB; the oldest go")
    keep_free_gb: float = Field(default=1.0, ge=0, description="left to the rest of the machine, in GB")

    def settings(self) -> ClipSettings:
        """As the recorder wants it."""
        most, free = round(self.most_gb * GIGABYTE), round(self.keep_free_gb * GIGABYTE)
        return ClipSettings(most_bytes=most, keep_free_bytes=free)


class SpoolConfig(_Table):
    """What waits while the log is away."""

    folder: Path = Field(default=Path("spool"), description="folder of this box alone, on a local disk")
    most_mb: float = Field(default=64.0, ge=1, description="room in MB; when it is full the oldest go, and it is told")


class HttpConfig(_Table):
    """Metrics and health."""

    listen: Annotated[str, AfterValidator(_listen)] = Field(
        default="127.0.0.1:9464", description="HOST:PORT of /metrics and /healthz; port 0 takes a free one"
    )


class EdgeConfig(_Table):
    """All that one box is told."""

    store: Path = Field(description="store folder with calibration.toml, as 'walkout store check' accepts it")
    camera_set: str | None = Field(default=None, description="camera set, where the store is a nanostore folder")
    namespace: str = Field(
        default="store", pattern=r"^[A-Za-z0-9._-]+$", description="of the log; readers use the same"
    )
    redis_url: Annotated[str | None, AfterValidator(lambda url: url and _redis_url(url))] = Field(
        default=None, description="event log server; unset: WALKOUT_REDIS_URL or redis_url of walkout.toml"
    )
    cameras: tuple[CameraConfig, ...] = Field(min_length=1, description="one [[cameras]] table each")
    detector: DetectorConfig = DetectorConfig()
    capture: CaptureConfig = CaptureConfig()
    clips: ClipConfig | None = Field(default=None, description="leave [clips] out to keep no video at all")
    spool: SpoolConfig = SpoolConfig()
    http: HttpConfig = HttpConfig()


def read_edge_config(path: Path, variables: Mapping[str, str] | None = None) -> EdgeConfig:
    """The configuration in ``path``, its paths resolved; ``variables`` default to the environment.

    Raises ``SettingsError`` with every complaint by file and key.
    """
    names = os.environ if variables is None else variables
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read ({error.strerror}); see edge/store.toml for an example") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is not TOML ({error}); see edge/store.toml for an example") from None
    try:
        config = EdgeConfig.model_validate(_filled_in(document, path, names))
    except ValidationError as error:
        raise SettingsError("\n".join(f"{path}: {_complaint(one)}" for one in error.errors())) from None
    _refuse_twins(config, path)
    return _from_folder(config, path.resolve().parent)


def _filled_in(document: dict[str, Any], path: Path, names: Mapping[str, str]) -> dict[str, Any]:
    """The document with the variables in its addresses replaced."""

    def value_of(text: str, key: str) -> str:
        def one(match: re.Match[str]) -> str:
            if match[1] not in names:
                raise SettingsError(f"{path}: key {key!r} speaks of ${{{match[1]}}}; set that environment variable")
            return names[match[1]]

        return re.sub(r"\$\{(\w+)\}", one, text)

    filled = dict(document)
    if isinstance(filled.get("redis_url"), str):
        filled["redis_url"] = value_of(filled["redis_url"], "redis_url")
    if isinstance(filled.get("cameras"), list):
        filled["cameras"] = [
            {**one, "url": value_of(one["url"], f"cameras[{index}].url")}
            if isinstance(one, dict) and isinstance(one.get("url"), str)
            else one
            for index, one in enumerate(filled["cameras"])
        ]
    return filled


def _refuse_twins(config: EdgeConfig, path: Path) -> None:
    names = [camera.id for camera in config.cameras]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise SettingsError(
                f"{path}: key 'cameras[{index}].id': camera {name!r} is there twice; give each its own id"
            )


def _from_folder(config: EdgeConfig, folder: Path) -> EdgeConfig:
    changes: dict[str, Any] = {
        "store": folder / config.store,
        "spool": config.spool.model_copy(update={"folder": folder / config.spool.folder}),
        "cameras": tuple(one.model_copy(update={"url": _file_from(one.url, folder)}) for one in config.cameras),
    }
    if config.clips is not None:
        changes["clips"] = config.clips.model_copy(update={"folder": folder / config.clips.folder})
    model = config.detector.model
    if (folder / model).exists():
        changes["detector"] = config.detector.model_copy(update={"model": str(folder / model)})
    return config.model_copy(update=changes)


def _file_from(url: str, folder: Path) -> str:
    return f"file:{folder / url.removeprefix('file:')}" if scheme_of(url) == "file" else url


def _complaint(detail: Any) -> str:
    """What is wrong at which key, and what that key wants."""
    place = [part for part in detail["loc"] if isinstance(part, str | int)]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")
    table: Any = EdgeConfig
    for part in place[:-1]:
        table = _TABLES.get(str(part), table)
    known = table.model_fields
    last = str(place[-1]) if place else ""
    if detail["type"] == "extra_forbidden":
        close = difflib.get_close_matches(last, known, n=1, cutoff=0.6)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
        return f"key {key!r} is no setting; {hint}"
    meaning = f" ({known[last].description})" if last in known and known[last].description else ""
    if detail["type"] == "missing":
        return f"key {key!r} is missing{meaning}"
    return (
        f"key {key!r} cannot be {_shown(detail['input'])}: {str(detail['msg']).removeprefix('Value error, ')}{meaning}"
    )


_TABLES: dict[str, type[_Table]] = {
    "cameras": CameraConfig,
    "detector": DetectorConfig,
    "capture": CaptureConfig,
    "clips": ClipConfig,
    "spool": SpoolConfig,
    "http": HttpConfig,
}


def _shown(value: object) -> str:
    return re.sub(r"//[^/\s]*@", "//***@", repr(value))


def needs_calibration(config: EdgeConfig, path: Path, calibrated: set[str]) -> None:
    """Raise ``SettingsError`` where a camera of the file has no calibration in the store."""
    for index, camera in enumerate(config.cameras):
        if camera.id not in calibrated:
            known = ", ".join(sorted(calibrated)) or "none"
            raise SettingsError(
                f"{path}: key 'cameras[{index}].id': the store {config.store} has no calibration of camera "
                f"{camera.id!r}, there are {known}; run 'walkout calibrate {config.store} --marks FILE --out "
                f"{config.store / 'calibration.toml'}' or correct the id"
            )


def said_of(error: WalkoutError, path: Path, key: str) -> SettingsError:
    """``error`` as a complaint about a key of the file."""
    return SettingsError(f"{path}: key {key!r}: {error}")
