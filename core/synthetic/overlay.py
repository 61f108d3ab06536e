"""Bodies over the photo they came from, bodies seen from elsewhere, and 2D stick figures.

All pictures are uint8 RGB. Bodies that share a picture share one z-buffer, so that they hide each other as
their depths say. Memory follows the drawn region, not the photo: rows are drawn in bands.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from alignhmr.core.body.skeleton import KEYPOINT_BONES, KEYPOINTS
from alignhmr.core.errors import InputError
from alignhmr.core.records import Intrinsics
from alignhmr.core.synthetic.rasterizer import NEAR_M, rasterize
from alignhmr.core.synthetic.shading import palette_color, shade, to_linear, to_srgb, vertex_normals

Color = tuple[int, int, int]

_SUPERSAMPLING = 2
_BAND_SAMPLES = 1_000_000
"""Samples held at once: about 30 MB of depth, faces and weights."""


def overlay(
    pixels: UInt8[np.ndarray, "height width 3"],
    bodies: Sequence[Float[np.ndarray, "verts 3"]],
    faces: Int[np.ndarray, "faces 3"],
    intrinsics: Intrinsics,
    *,
    colors: Sequence[Color] | None = None,
    alpha: float = 0.85,
) -> UInt8[np.ndarray, "height width 3"]:
    """The photo with the bodies drawn over it; ``bodies`` hold vertices in the camera frame, metres.

    Without ``colors``, person i gets the palette's i-th.
    """
    drawn = np.array(pixels)
    if not len(bodies):
        return drawn
    left, top, right, bottom = _region(bodies, intrinsics, (pixels.shape[1], pixels.shape[0]))
    center = intrinsics.center_px[0] - left, intrinsics.center_px[1] - top
    size = right - left, bottom - top
    for row, rgba in render(bodies, faces, colors, intrinsics.focal_px, center, size):
        window = drawn[top + row : top + row + len(rgba), left:right]
        hit = rgba[..., 3] > 0
        light, coverage = rgba[hit][:, :3], rgba[hit][:, 3:]
        photo = window[hit].astype(np.float32)
        window[hit] = np.rint(photo + alpha * coverage * (to_srgb(light / coverage) - photo))
    return drawn


def render(
    bodies: Sequence[Float[np.ndarray, "verts 3"]],
    faces: Int[np.ndarray, "faces 3"],
    colors: Sequence[Color] | None,
    focal_px: float,
    center_px: tuple[float, float],
    size: tuple[int, int],
) -> Iterator[tuple[int, Float[np.ndarray, "rows width 4"]]]:
    """Bands of shaded, premultiplied linear RGBA, each with its first row. Edges are antialiased."""
    width, height = size
    if width < 1 or height < 1:
        return
    if colors is None:
        colors = [palette_color(index) for index in range(len(bodies))]
    if len(colors) != len(bodies):
        raise InputError(f"{len(colors)} colours for {len(bodies)} bodies; give one colour for each")
    faces = np.asarray(faces, np.int64)
    verts = len(bodies[0])
    vertices = np.concatenate([np.asarray(body, np.float64) for body in bodies])
    normals = np.concatenate([vertex_normals(body, faces) for body in bodies])
    triangles = np.concatenate([faces + verts * index for index in range(len(bodies))])
    face_colors = np.repeat(to_linear(np.array(colors)), len(faces), axis=0)
    n = _SUPERSAMPLING
    band = max(1, _BAND_SAMPLES // (width * n * n))
    for row in range(0, height, band):
        rows = min(band, height - row)
        center = center_px[0] * n, (center_px[1] - row) * n
        raster = rasterize(vertices, triangles, focal_px * n, center, (width * n, rows * n))
        yield row, shade(raster, vertices, normals, triangles, face_colors, n)


def _region(
    bodies: Sequence[np.ndarray], intrinsics: Intrinsics, size: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Columns and rows that can hold a body: left, top, right, bottom (empty where none is in sight)."""
    vertices = np.concatenate([np.asarray(body, np.float64) for body in bodies])
    if vertices[:, 2].min() < NEAR_M:  # crosses the camera's plane: no bound without clipping
        return 0, 0, *size
    at = vertices[:, :2] / vertices[:, 2:] * intrinsics.focal_px + np.array(intrinsics.center_px)
    low = np.clip(np.floor(at.min(0)), 0, size).astype(int)
    high = np.clip(np.ceil(at.max(0)), low, size).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


_SIDE_COLORS: dict[str, Color] = {
    "left": (64, 186, 196),
    "right": (246, 152, 84),
    "middle": (240, 240, 244),
}
_OUTLINE: Color = (24, 26, 32)
_SUBPIXEL = 4
"""Fractional bits of OpenCV's coordinates: lines keep their place to 1/16 px."""


def draw_keypoints(
    pixels: UInt8[np.ndarray, "height width 3"],
    keypoints_px: Float[np.ndarray, "keypoints 2"],
    confidence: Float[np.ndarray, " keypoints"] | None = None,
    *,
    minimum: float = 0.2,
) -> UInt8[np.ndarray, "height width 3"]:
    """The photo with a stick figure over it: left side teal, right side orange, doubtful parts fainter.

    Points below ``minimum`` confidence, and bones that end in one, are left out.
    """
    points = np.asarray(keypoints_px, np.float64)[:, :2]
    sure = np.ones(len(points)) if confidence is None else np.asarray(confidence, np.float64)
    sure = np.where(np.isfinite(points).all(1), sure, 0.0)
    seen = sure >= max(minimum, 1e-9)
    drawn = np.array(pixels)
    if not seen.any():
        return drawn
    extent = float(np.ptp(points[seen], axis=0).max())
    thick = max(1.0, min(extent / 110, max(drawn.shape[:2]) / 200))
    for a, b in KEYPOINT_BONES:
        if seen[a] and seen[b]:
            color = _SIDE_COLORS[_side(a) if _side(a) == _side(b) else "middle"]
            _stroke(drawn, points[a], points[b], color, thick, float(min(sure[a], sure[b])))
    for k in np.flatnonzero(seen).tolist():
        _stroke(drawn, points[k], points[k], _SIDE_COLORS[_side(k)], 2.2 * thick, float(sure[k]))
    return drawn


def _side(keypoint: int) -> str:
    side = KEYPOINTS[keypoint].split("_")[0]
    return side if side in ("left", "right") else "middle"


def _stroke(drawn, start, end, color: Color, thick: float, confidence: float) -> None:
    """One outlined line (or dot), blended in place by confidence."""
    reach = int(np.ceil(2 * thick)) + 2
    low = np.maximum(np.floor(np.minimum(start, end)).astype(int) - reach, 0)
    high = np.minimum(np.ceil(np.maximum(start, end)).astype(int) + reach, drawn.shape[1::-1])
    if (high <= low).any():
        return
    window = drawn[low[1] : high[1], low[0] : high[0]]
    stroke = window.copy()
    # OpenCV puts pixel centres at whole numbers, the project at halves.
    (x0, y0), (x1, y1) = (
        [int(v) for v in np.rint((p - low - 0.5) * 2**_SUBPIXEL)]
        for p in (np.asarray(start), np.asarray(end))
    )
    for width, paint in ((thick + max(2.0, 0.7 * thick), _OUTLINE), (thick, color)):
        cv2.line(stroke, (x0, y0), (x1, y1), paint, max(1, round(width)), cv2.LINE_AA, _SUBPIXEL)
    strength = 0.35 + 0.65 * min(1.0, max(0.0, confidence))
    window[:] = np.rint(window + strength * (stroke.astype(float) - window)).astype(np.uint8)
