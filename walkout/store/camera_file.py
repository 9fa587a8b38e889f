"""``calibration.toml`` of a store folder: one ``[[cameras]]`` table per calibrated camera.

``size_px`` (width, height), ``focal_px`` (fx, fy), ``center_px`` (cx, cy), ``distortion`` (k1, k2, p1, p2, k3) and the
pose as in ``store.toml``, camera (x right, y down, z forward) to world. ``error_px`` = median, 95th percentile and
greatest reprojection error in pixels, as the fit left them; it is for people and not read back.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from walkout.errors import StoreError
from walkout.store.calibration import CameraModel, Floats
from walkout.store.check import Complaint, Severity, read_text
from walkout.store.toml_reader import TomlReader
from walkout.store.toml_writer import pose_lines, quoted

CALIBRATION_FILE = "calibration.toml"


def read_cameras(path: Path) -> dict[str, CameraModel]:
    """The cameras of a calibration file, or of the store folder ``path``, by id; empty where the folder has none.

    Raises ``StoreError`` with every error by file and line.
    """
    complaints: list[Complaint] = []
    cameras = cameras_of(path, complaints)
    errors = [str(complaint) for complaint in complaints if complaint.severity is Severity.ERROR]
    if errors:
        raise StoreError("\n".join([f"{path}: these cameras cannot be used", *errors]))
    return cameras


def cameras_of(path: Path, complaints: list[Complaint]) -> dict[str, CameraModel]:
    """As ``read_cameras``, with what is wrong added to ``complaints``."""
    file = path / CALIBRATION_FILE if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        return {}
    text = read_text(file, complaints)
    if text is None:
        return {}
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"at line (\d+)", str(error))
        line = int(place[1]) if place else text.count("\n") + 1
        complaints.append(Complaint(file.name, line, f"is no TOML ({error})", "correct the line"))
        return {}
    toml = TomlReader(text, complaints, file.name)
    found: dict[str, CameraModel] = {}
    for number, table in enumerate(toml.tables(document, "cameras", ("", 0))):
        where = ("cameras", number)
        name = toml.text(table, "id", where)
        if name in found:
            toml.complain(where, "id", f"camera {name!r} is there twice", "give every camera its own id")
        width, height = toml.numbers(table, "size_px", 2, where)
        (fx, fy), (cx, cy) = (toml.numbers(table, key, 2, where) for key in ("focal_px", "center_px"))
        if "focal_px" in table and min(width, height, fx, fy) <= 0.0:
            toml.complain(where, "focal_px", "size_px and focal_px must be positive", "calibrate the camera again")
        dist = np.array(toml.numbers(table, "distortion", 5, where))
        K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])  # noqa: N806
        found[name] = CameraModel(name, (int(width), int(height)), K, dist, toml.pose(table, where))
    return found


def write_cameras(path: Path, cameras: Mapping[str, CameraModel], errors_px: Mapping[str, Floats]) -> None:
    """Write ``cameras`` as a calibration file at ``path``; ``read_cameras`` gives them back equal.

    ``errors_px`` are reprojection errors by camera id; a camera may have none.
    """
    lines = ["# pixels; pose: camera (x right, y down, z forward) to world, metres"]
    for name, model in cameras.items():
        if model.K[0, 1]:
            raise StoreError(f"camera {name}: a lens with skewed pixels cannot be written; fit it without skew")
        lines += ["", "[[cameras]]", f"id = {quoted(name)}", f"size_px = {list(map(int, model.size_px))}"]
        lines += [f"focal_px = {[float(model.K[0, 0]), float(model.K[1, 1])]}"]
        lines += [f"center_px = {model.K[:2, 2].tolist()}", f"distortion = {model.dist.tolist()}"]
        lines += [*pose_lines(model.pose)]
        if len(errors := errors_px.get(name, np.empty(0))):
            lines += [f"error_px = {[round(float(np.percentile(errors, part)), 2) for part in (50, 95, 100)]}"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
