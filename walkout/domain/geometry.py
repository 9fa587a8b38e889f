"""Poses and boxes in the world frame: metres, right-handed, z up."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
"""Shape (3,), metres."""


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """A rigid motion ``p_parent = rotation @ p_local + translation``; rotation (3, 3), translation (3,) metres."""

    rotation: NDArray[np.float64]
    translation: Vector

    def apply(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Local points, shape (..., 3), metres, as points of the parent frame."""
        return points @ self.rotation.T + self.translation

    def then(self, child: "Pose") -> "Pose":
        """The pose of a child whose own pose is given relative to this one."""
        return Pose(self.rotation @ child.rotation, self.apply(child.translation))


IDENTITY = Pose(np.eye(3), np.zeros(3))


def rodrigues(vector: Vector) -> NDArray[np.float64]:
    """Rotation matrix (3, 3) of a rotation vector: direction is the axis, length the angle in radians.

    Rodrigues' formula, R = I + sin(a) K + (1 - cos(a)) K^2 with K the cross-product matrix of the unit axis.
    """
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = np.asarray(vector, dtype=np.float64) / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    rotation: NDArray[np.float64] = np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)
    return rotation


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """A box: ``pose`` puts its minimum corner in the world, ``size`` (3,) metres runs along its own axes."""

    pose: Pose
    size: Vector

    def center(self) -> Vector:
        """World position of the middle, metres."""
        return self.pose.apply(self.size / 2.0)

    def distance(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Euclidean distance in metres from each world point (..., 3) to the box; 0 inside."""
        local = (points - self.pose.translation) @ self.pose.rotation
        outside = np.maximum(np.maximum(-local, local - self.size), 0.0)
        distance: NDArray[np.float64] = np.linalg.norm(outside, axis=-1)
        return distance
