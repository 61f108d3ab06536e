"""How a drawn body looks: colours that stay apart, smooth normals, and a soft three-light setting.

Light directions are in the frame of the view (x right, y down, z forward) and point towards the light, so
that a body is lit the same from wherever it is looked at. Shading happens in linear light.
"""

import numpy as np
from jaxtyping import Float, Float32, Int, Real

from alignhmr.core.synthetic.rasterizer import Raster, compiled

PALETTE: tuple[tuple[int, int, int], ...] = (
    (136, 174, 240),
    (240, 206, 112),
    (244, 127, 174),
    (103, 92, 164),
    (153, 204, 127),
    (226, 118, 76),
    (187, 187, 211),
    (75, 111, 95),
)
"""One colour a person, sRGB: sky, straw, rose, indigo, leaf, ember, mist, pine.

Soft, and of nobody's skin: a drawn body is a measurement. They differ in lightness as well as in hue, so that
neighbours stay apart for colour-blind viewers too (a test simulates them).
"""

GHOST: tuple[int, int, int] = (122, 134, 156)
"""Hypotheses that were not chosen."""


def palette_color(index: int) -> tuple[int, int, int]:
    return PALETTE[index % len(PALETTE)]


def _direction(x: float, y: float, z: float) -> tuple[float, float, float]:
    length = float(np.sqrt(x * x + y * y + z * z))
    return x / length, y / length, z / length


KEY, KEY_COLOR = _direction(-0.55, -0.80, -0.75), (1.00, 0.965, 0.91)
FILL, FILL_COLOR = _direction(0.85, -0.05, -0.60), (0.22, 0.25, 0.30)
RIM, RIM_COLOR = _direction(0.45, -0.55, 0.70), (0.62, 0.66, 0.72)
SKY_COLOR, GROUND_COLOR = (0.24, 0.26, 0.29), (0.13, 0.115, 0.10)
_LIGHTS = np.array([KEY, KEY_COLOR, FILL, FILL_COLOR, RIM, RIM_COLOR, SKY_COLOR, GROUND_COLOR])


def vertex_normals(
    vertices_cam_m: Float[np.ndarray, "verts 3"], faces: Int[np.ndarray, "faces 3"]
) -> Float[np.ndarray, "verts 3"]:
    """Unit normals, each the area-weighted mean of its faces'; zero at a vertex without any."""
    corners = np.asarray(vertices_cam_m, np.float64)[faces]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.empty((len(vertices_cam_m), 3))
    for axis in range(3):
        weights = np.repeat(face_normals[:, axis], 3)
        normals[:, axis] = np.bincount(faces.ravel(), weights, len(vertices_cam_m))
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return normals / np.where(length > 0, length, 1.0)


def to_linear(color: Real[np.ndarray, "*any 3"]) -> Float[np.ndarray, "*any 3"]:
    """sRGB 0..255 to linear 0..1."""
    value = np.asarray(color, np.float64) / 255.0
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: Float[np.ndarray, "*any 3"]) -> Float[np.ndarray, "*any 3"]:
    """Linear 0..1 to sRGB 0..255, still floats."""
    value = np.clip(linear, 0.0, 1.0)
    return 255.0 * np.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055)


def shade(
    raster: Raster,
    vertices_cam_m: Float[np.ndarray, "verts 3"],
    normals: Float[np.ndarray, "verts 3"],
    faces: Int[np.ndarray, "faces 3"],
    face_colors: Float[np.ndarray, "faces 3"],
    supersampling: int,
) -> Float32[np.ndarray, "height width 4"]:
    """Linear colour times coverage, and coverage: each pixel the mean of ``supersampling`` squared samples.

    ``face_colors`` are linear. Height and width are the raster's divided by ``supersampling``.
    """
    height, width = raster.face_id.shape
    rgba = np.zeros((height // supersampling, width // supersampling, 4), np.float32)
    _shade(
        raster.face_id,
        raster.barycentric,
        np.ascontiguousarray(vertices_cam_m, np.float64),
        np.ascontiguousarray(normals, np.float64),
        np.ascontiguousarray(faces, np.int64),
        np.ascontiguousarray(face_colors, np.float64),
        _LIGHTS,
        supersampling,
        rgba,
    )
    return rgba


@compiled
def _shade(face_id, barycentric, vertices, normals, faces, face_colors, lights, factor, rgba):
    share = 1.0 / (factor * factor)
    normal, view, color = np.empty(3), np.empty(3), np.empty(3)
    for row in range(rgba.shape[0] * factor):
        for column in range(rgba.shape[1] * factor):
            face = face_id[row, column]
            if face < 0:
                continue
            for axis in range(3):
                normal[axis] = 0.0
                view[axis] = 0.0
                for k in range(3):
                    vertex = faces[face, k]
                    weight = barycentric[row, column, k]
                    normal[axis] += weight * normals[vertex, axis]
                    view[axis] -= weight * vertices[vertex, axis]
            normal /= np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2) + 1e-12
            view /= np.sqrt(view[0] ** 2 + view[1] ** 2 + view[2] ** 2) + 1e-12
            toward = normal[0] * view[0] + normal[1] * view[1] + normal[2] * view[2]
            toward = max(toward, 0.0)  # below: an inside, or an interpolated normal just past the contour
            key, fill, rim, half, half_length = 0.0, 0.0, 0.0, 0.0, 0.0
            for axis in range(3):
                key += normal[axis] * lights[0, axis]
                fill += normal[axis] * lights[2, axis]
                rim += normal[axis] * lights[4, axis]
                half += normal[axis] * (lights[0, axis] + view[axis])
                half_length += (lights[0, axis] + view[axis]) ** 2
            # Light reaches past the terminator (wrap), which softens a face as a large lamp would.
            key = max(0.0, (key + 0.25) / 1.25)
            key = key * key * (1.6 - 0.6 * key)
            fill = max(0.0, (fill + 0.4) / 1.4)
            edge = (1.0 - toward) ** 3
            rim = max(0.0, rim + 0.35) * edge
            gloss = 0.07 * max(0.0, half / np.sqrt(half_length + 1e-12)) ** 28
            up = 0.5 - 0.5 * normal[1]
            for axis in range(3):
                ambient = up * lights[6, axis] + (1.0 - up) * lights[7, axis]
                light = ambient + key * lights[1, axis] + fill * lights[3, axis]
                color[axis] = face_colors[face, axis] * light + rim * lights[5, axis] * 0.55 + gloss
            to_row, to_column = row // factor, column // factor
            for axis in range(3):
                rgba[to_row, to_column, axis] += color[axis] * share
            rgba[to_row, to_column, 3] += share
