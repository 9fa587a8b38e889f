"""Text and poses as TOML, so that reading them gives the very same numbers back."""

import json

import numpy as np

from walkout.domain.geometry import Pose, Vector, rodrigues


def quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's, and DEL must be escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def pose_lines(pose: Pose) -> list[str]:
    """``translation_m`` and the rotation, as a vector where that is exact and as nine numbers where not."""
    lines = [f"translation_m = {pose.translation.tolist()}"]
    if np.array_equal(pose.rotation, np.eye(3)):
        return lines
    vector = rotation_vector(pose)
    if np.array_equal(rodrigues(vector), pose.rotation):
        return [*lines, f"rotation = {vector.tolist()}"]
    return [*lines, f"rotation_matrix = {pose.rotation.ravel().tolist()}"]


def rotation_vector(pose: Pose) -> Vector:
    """The rotation vector of ``pose``, in the fewest decimals that give its matrix back."""
    # Kept out of the module's head: scipy.spatial takes 0.2 s to load and only writing needs it.
    from scipy.spatial.transform import Rotation

    vector: Vector = np.asarray(Rotation.from_matrix(pose.rotation).as_rotvec(), dtype=np.float64)
    for digits in range(6, 18):
        rounded: Vector = np.round(vector, digits)
        if np.array_equal(rodrigues(rounded), pose.rotation):
            return rounded
    return vector
