"""What the lamp sees: a depth map from far away, and the darkness where things touch the ground."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int

from alignhmr.core.synthetic.cameras import turned
from alignhmr.core.synthetic.rasterizer import compiled, rasterize

CELLS = 448
_DISTANCE_M, _REACH_M = 14.0, 3.6
_GROUND_CELLS, _GROUND_REACH_M, _BELOW_M = 128, 4.0, 40.0


@dataclass(frozen=True)
class Shadows:
    depth_m: Float32[np.ndarray, "cells cells"]
    view: Float[np.ndarray, "14"]
    """The lamp's axes (9), its place (3), focal length and centre in cells."""
    contact: Float[np.ndarray, "ground ground"]
    """Share of the sky's light that is kept from the ground, 4 m around the origin."""


def cast(
    vertices_world_m: Float[np.ndarray, "verts 3"],
    faces: Int[np.ndarray, "faces 3"],
    toward: Float[np.ndarray, "3"],
) -> Shadows:
    """Shadows of one mesh, by a lamp in direction ``toward`` of the point a metre above the origin."""
    import cv2

    forward = -toward
    right = np.array([forward[2], 0.0, -forward[0]])
    right = right / np.sqrt((right**2).sum()) if abs(forward[1]) < 0.999 else np.array([1.0, 0.0, 0.0])
    down = np.array([
        forward[1] * right[2] - forward[2] * right[1],
        forward[2] * right[0] - forward[0] * right[2],
        forward[0] * right[1] - forward[1] * right[0],
    ])  # fmt: skip
    axes = np.stack([right, down, forward])
    place = np.array([0.0, 0.9, 0.0]) + toward * _DISTANCE_M
    focal = CELLS / 2 * _DISTANCE_M / _REACH_M
    seen = turned(vertices_world_m - place, axes)
    depth = rasterize(seen, faces, focal, (CELLS / 2, CELLS / 2), (CELLS, CELLS)).depth_m
    # Seen from far below the ground, a pixel's depth is the height of what hangs over it.
    below = (vertices_world_m + [0.0, _BELOW_M, 0.0])[:, [0, 2, 1]]
    focal_below = _GROUND_CELLS / (2 * _GROUND_REACH_M) * _BELOW_M
    middle = (_GROUND_CELLS / 2, _GROUND_CELLS / 2)
    height = rasterize(below, faces, focal_below, middle, (_GROUND_CELLS, _GROUND_CELLS)).depth_m - _BELOW_M
    near = np.exp(-np.maximum(height, 0.0) / 0.12).astype(np.float64)
    contact = np.clip(0.85 * cv2.GaussianBlur(near, (0, 0), 1.3), 0, 0.75)
    view = np.concatenate([axes.ravel(), place, [focal, CELLS / 2]])
    return Shadows(depth, view, contact)


@compiled
def lit(x, y, z, depth, view, softness, bias):
    """Share of the lamp's light that reaches a place: 16 looks within ``softness`` cells."""
    px, py, pz = x - view[9], y - view[10], z - view[11]
    along = view[6] * px + view[7] * py + view[8] * pz
    u = (view[0] * px + view[1] * py + view[2] * pz) / along * view[12] + view[13]
    v = (view[3] * px + view[4] * py + view[5] * pz) / along * view[12] + view[13]
    size = len(depth)
    if u < 1 or v < 1 or u >= size - 1 or v >= size - 1:
        return 1.0
    reached = 0
    for k in range(16):
        column = int(u + ((k % 4) - 1.5) * softness * 0.5)
        row = int(v + ((k // 4) - 1.5) * softness * 0.5)
        if not (0 <= row < size and 0 <= column < size) or depth[row, column] > along - bias:
            reached += 1
    return reached / 16.0
