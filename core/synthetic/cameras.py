"""Where the picture is taken from: a pinhole camera in a y-up world, set by height, distance, aim and roll."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Camera:
    """``p_cam = R_cam_world (p_world - eye)``; camera axes of OpenCV, x right, y down, z forward."""

    R_cam_world: Float[np.ndarray, "3 3"]
    eye_m: Float[np.ndarray, "3"]
    focal_px: float
    center_px: tuple[float, float]

    def see(self, points_world_m: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        return turned(np.asarray(points_world_m, np.float64) - self.eye_m, self.R_cam_world)

    def unsee(self, points_cam_m: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        """Inverse of ``see``."""
        return turned(np.asarray(points_cam_m, np.float64), self.R_cam_world.T) + self.eye_m

    def project(self, points_cam_m: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 2"]:
        """Pixels; points nearer than 5 cm are held there."""
        depth = np.maximum(points_cam_m[:, 2:], 0.05)
        return points_cam_m[:, :2] / depth * self.focal_px + np.array(self.center_px)


def turned(
    points: Float[np.ndarray, "points 3"], rotation: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "points 3"]:
    """``points @ rotation.T`` in an order of additions that is ours, and not the linear algebra library's."""
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    return np.stack([row[0] * x + row[1] * y + row[2] * z for row in rotation], -1)


def look(
    target_m: Float[np.ndarray, "3"], azimuth_rad: float, height_m: float, distance_m: float, *,
    roll_rad: float, focal_px: float, size: tuple[int, int], target_px: tuple[float, float],
) -> Camera:  # fmt: skip
    """A camera at a height and a distance along the ground that sees the target at ``target_px``."""
    eye = np.array([
        target_m[0] + distance_m * np.sin(azimuth_rad), height_m, target_m[2] + distance_m * np.cos(azimuth_rad)
    ])  # fmt: skip
    forward = target_m - eye
    forward = forward / np.sqrt((forward**2).sum())
    right = np.array([-forward[2], 0.0, forward[0]])
    right = right / np.sqrt((right**2).sum())
    down = np.cross(forward, right)
    axes = np.stack([right, down, forward])
    # Turned a little aside, so that the target leaves the picture's middle and perspective stays true.
    center = (size[0] / 2, size[1] / 2)
    yaw = np.arctan2(target_px[0] - center[0], focal_px)
    pitch = -np.arctan2(target_px[1] - center[1], focal_px)
    for turn in (_about(1, yaw), _about(0, pitch), _about(2, roll_rad)):
        axes = (turn[:, :, None] * axes[None]).sum(1)
    return Camera(axes, eye, float(focal_px), center)


def _about(axis: int, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    turn = np.eye(3)
    a, b = (axis + 1) % 3, (axis + 2) % 3
    turn[a, a], turn[a, b], turn[b, a], turn[b, b] = c, -s, s, c
    return turn
