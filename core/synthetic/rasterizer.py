"""A depth, a face and a point on that face for every pixel: triangles through a pinhole camera.

A z-buffer in homogeneous coordinates. With ``ray = ((x - cx) / f, (y - cy) / f, 1)`` through a pixel's
centre and a triangle ``a, b, c`` in the camera frame, the three signed volumes

    e_a = ray . (b x c)      e_b = ray . (c x a)      e_c = ray . (a x b)      volume = a . (b x c)

give everything: the ray meets the triangle where all ``e / volume >= 0``, at ``1 / z = sum(e) / volume``,
and ``e / sum(e)`` are the perspective-correct barycentric coordinates. Nothing is divided by a vertex's
depth, so a triangle that crosses the near plane needs no splitting: it is clipped pixel by pixel, and only
its bounding box is cut. Swapping two vertices negates an ``e`` exactly, so neighbours leave no cracks.

Faces are drawn from both sides. Ties in depth go to the lower face index, so that an answer is the same,
bit for bit, in every run and process. Pixel (column, row) has its centre at (column + 0.5, row + 0.5).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32

from alignhmr.core.errors import InputError

NEAR_M = 0.05
"""Closest depth drawn by default. Nearer surfaces would fill the picture and hide the rest."""

MAX_PIXELS = 64_000_000
"""More than this at once is a mistake of units, and would take over 2 GB."""


def compiled(function: Callable) -> Any:
    """numba's njit, kept on disk where some folder is writable, else compiled once per process.

    numba tries NUMBA_CACHE_DIR, the folder of this file, and the user's cache, and raises when none can be
    written (an image with a read-only package and no home). Drawing must work there too, 2 s later.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:
        return numba.njit(nogil=True)(function)


@dataclass(frozen=True)
class Raster:
    """What each pixel sees. Background: depth infinite, face -1, barycentric zero."""

    depth_m: Float32[np.ndarray, "height width"]
    """Along the camera's z axis, not along the ray."""
    face_id: Int32[np.ndarray, "height width"]
    barycentric: Float32[np.ndarray, "height width 3"]
    """Weights of the face's vertices on the surface itself (perspective-correct)."""

    @property
    def mask(self) -> Bool[np.ndarray, "height width"]:
        return self.face_id >= 0


def rasterize(
    vertices_cam_m: Float[np.ndarray, "verts 3"],
    faces: Int[np.ndarray, "faces 3"],
    focal_px: float,
    center_px: tuple[float, float],
    size: tuple[int, int],
    *,
    near_m: float = NEAR_M,
) -> Raster:
    """The nearest surface at each pixel of a picture of ``size`` (width, height).

    Several bodies share one z-buffer when their vertices and faces are joined into one mesh.
    """
    vertices = np.ascontiguousarray(vertices_cam_m, dtype=np.float64)
    triangles = np.ascontiguousarray(faces, dtype=np.int64)
    width, height = int(size[0]), int(size[1])
    _check(vertices, triangles, focal_px, center_px, width, height, near_m)
    inverse_depth = np.zeros((height, width))
    face_id = np.full((height, width), -1, np.int32)
    _fill(vertices, triangles, focal_px, *map(float, center_px), near_m, inverse_depth, face_id)
    depth = np.empty((height, width), np.float32)
    barycentric = np.empty((height, width, 3), np.float32)
    _resolve(
        vertices, triangles, focal_px, *map(float, center_px), inverse_depth, face_id, depth, barycentric
    )
    return Raster(depth, face_id, barycentric)


def _check(vertices, triangles, focal_px, center_px, width, height, near_m) -> None:
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise InputError(f"vertices have shape {vertices.shape}; a mesh needs [vertices, 3]")
    if triangles.ndim != 2 or triangles.shape[1] != 3:
        raise InputError(f"faces have shape {triangles.shape}; triangles need [faces, 3]")
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise InputError(
            f"a picture of {width} x {height} pixels can't be drawn; give 1 to {MAX_PIXELS} pixels"
        )
    if not (np.isfinite(focal_px) and focal_px > 0 and near_m > 0 and np.isfinite(center_px).all()):
        raise InputError(
            f"the camera is not usable: focal {focal_px} px, centre {center_px}, near {near_m} m;"
            " focal and near plane must be positive, the centre finite"
        )
    if not np.isfinite(vertices).all():
        raise InputError("a vertex is not finite; look for NaN in the pose or shape that made the mesh")
    if len(triangles) and not (0 <= triangles.min() and triangles.max() < len(vertices)):
        raise InputError(
            f"faces name vertices {triangles.min()}..{triangles.max()} of {len(vertices)};"
            " faces and vertices come from different bodies"
        )


@compiled
def _fill(vertices, triangles, focal, center_x, center_y, near, inverse_depth, face_id):
    height, width = inverse_depth.shape
    nearest = 1.0 / near
    corners = np.empty((3, 3))
    for face in range(triangles.shape[0]):
        low_x, low_y, high_x, high_y = np.inf, np.inf, -np.inf, -np.inf
        for k in range(3):
            for axis in range(3):
                corners[k, axis] = vertices[triangles[face, k], axis]
        for k in range(3):
            x, y, z = corners[k, 0], corners[k, 1], corners[k, 2]
            following = (k + 1) % 3
            to_x, to_y, to_z = corners[following, 0], corners[following, 1], corners[following, 2]
            if z >= near:
                u, v = x / z * focal + center_x, y / z * focal + center_y
                low_x, high_x = min(low_x, u), max(high_x, u)
                low_y, high_y = min(low_y, v), max(high_y, v)
            if (z >= near) != (to_z >= near):
                along = (near - z) / (to_z - z)
                u = (x + along * (to_x - x)) / near * focal + center_x
                v = (y + along * (to_y - y)) / near * focal + center_y
                low_x, high_x = min(low_x, u), max(high_x, u)
                low_y, high_y = min(low_y, v), max(high_y, v)
        if low_x > width or low_y > height or high_x < 0 or high_y < 0:
            continue
        # Clamped while still floats: a point just before the near plane may project beyond any integer.
        # The slack covers the projection's rounding; the tests below decide.
        first_column = int(max(0.0, np.ceil(low_x - 0.5 - 1e-6)))
        last_column = int(min(width - 1.0, np.floor(high_x - 0.5 + 1e-6)))
        first_row = int(max(0.0, np.ceil(low_y - 0.5 - 1e-6)))
        last_row = int(min(height - 1.0, np.floor(high_y - 0.5 + 1e-6)))
        ax, ay, az = corners[0, 0], corners[0, 1], corners[0, 2]
        bx, by, bz = corners[1, 0], corners[1, 1], corners[1, 2]
        cx, cy, cz = corners[2, 0], corners[2, 1], corners[2, 2]
        bc_x, bc_y, bc_z = by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx
        ca_x, ca_y, ca_z = cy * az - cz * ay, cz * ax - cx * az, cx * ay - cy * ax
        ab_x, ab_y, ab_z = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        volume = ax * bc_x + ay * bc_y + az * bc_z
        if volume == 0.0:
            continue  # seen edge-on, or without area
        facing = 1.0 if volume > 0 else -1.0
        size = abs(volume)
        for row in range(first_row, last_row + 1):
            ray_y = (row + 0.5 - center_y) / focal
            row_a, row_b, row_c = bc_y * ray_y + bc_z, ca_y * ray_y + ca_z, ab_y * ray_y + ab_z
            for column in range(first_column, last_column + 1):
                ray_x = (column + 0.5 - center_x) / focal
                e_a = (bc_x * ray_x + row_a) * facing
                e_b = (ca_x * ray_x + row_b) * facing
                e_c = (ab_x * ray_x + row_c) * facing
                if e_a < 0.0 or e_b < 0.0 or e_c < 0.0:
                    continue
                closeness = (e_a + e_b + e_c) / size
                if closeness > inverse_depth[row, column] and closeness <= nearest:
                    inverse_depth[row, column] = closeness
                    face_id[row, column] = face


@compiled
def _resolve(
    vertices, triangles, focal, center_x, center_y, inverse_depth, face_id, depth, barycentric
):  # the winner's weights, once per pixel instead of once per candidate
    height, width = face_id.shape
    weights = np.empty(3)
    for row in range(height):
        ray_y = (row + 0.5 - center_y) / focal
        for column in range(width):
            face = face_id[row, column]
            if face < 0:
                depth[row, column] = np.inf
                barycentric[row, column, 0] = 0.0
                barycentric[row, column, 1] = 0.0
                barycentric[row, column, 2] = 0.0
                continue
            ray_x = (column + 0.5 - center_x) / focal
            total = 0.0
            for k in range(3):
                b = vertices[triangles[face, (k + 1) % 3]]
                c = vertices[triangles[face, (k + 2) % 3]]
                e = (
                    ray_x * (b[1] * c[2] - b[2] * c[1])
                    + ray_y * (b[2] * c[0] - b[0] * c[2])
                    + (b[0] * c[1] - b[1] * c[0])
                )
                total += e
                weights[k] = e
            depth[row, column] = 1.0 / inverse_depth[row, column]
            for k in range(3):
                barycentric[row, column, k] = weights[k] / total
