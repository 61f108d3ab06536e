"""Square windows on a picture: choosing one around a person, cutting it out, and mapping points through it.

Coordinates are continuous pixels: the picture covers [0, width] x [0, height] and the centre of its first
pixel lies at (0.5, 0.5). A crop of `size` pixels covers [0, size]² in the same sense, so that a point keeps
its place when the crop is made larger or smaller.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

Points = Float[np.ndarray, "*batch 2"]


@dataclass(frozen=True)
class SquareCrop:
    """A square window, turned by `angle_rad` (clockwise on the screen) about its centre."""

    center_px: tuple[float, float]
    side_px: float
    angle_rad: float = 0.0

    def matrix(self, size: int) -> Float[np.ndarray, "2 3"]:
        """The affine map from picture to crop: crop = A·(x, y, 1)."""
        scale = size / self.side_px
        cos, sin = math.cos(self.angle_rad) * scale, math.sin(self.angle_rad) * scale
        x, y = self.center_px
        half = size / 2
        return np.array([[cos, sin, half - cos * x - sin * y], [-sin, cos, half + sin * x - cos * y]])

    def to_crop(self, points_px: Points, size: int) -> Points:
        """Picture -> crop."""
        matrix = self.matrix(size)
        return points_px @ matrix[:, :2].T + matrix[:, 2]

    def to_picture(self, points_crop: Points, size: int) -> Points:
        """Crop -> picture."""
        matrix = self.matrix(size)
        # The linear part is a rotation times a scale: its inverse is the transpose over the squared scale.
        scale = size / self.side_px
        return (points_crop - matrix[:, 2]) @ matrix[:, :2] / scale**2

    def corners_px(self) -> Float[np.ndarray, "4 2"]:
        """The window's corners in the picture: top left, top right, bottom right, bottom left of the crop."""
        return self.to_picture(np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]]), size=1)

    def near(self, other: "SquareCrop", tolerance: float = 0.05) -> bool:
        """Whether no corner lies further from the other's than `tolerance` of its side."""
        gaps = np.linalg.norm(self.corners_px() - other.corners_px(), axis=1)
        return bool(gaps.max() < tolerance * self.side_px)

    def cut(self, pixels: UInt8[np.ndarray, "height width 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
        """The window's content at `size` x `size`, black outside the picture."""
        pixels, matrix = _shrunk(pixels, self.matrix(size), self.corners_px(), self.side_px / size)
        # warpAffine counts from pixel centres: shift by half a pixel on both sides.
        offset = matrix[:, 2] + (matrix[:, 0] + matrix[:, 1]) / 2 - 0.5
        shifted = np.concatenate([matrix[:, :2], offset[:, None]], axis=1)
        return cv2.warpAffine(pixels, shifted, (size, size), flags=cv2.INTER_LINEAR)


def _shrunk(
    pixels: np.ndarray, matrix: np.ndarray, corners_px: np.ndarray, reduction: float
) -> tuple[np.ndarray, np.ndarray]:
    """The part of the picture under the window, averaged down by a whole number, and the map that fits it.

    Bilinear sampling alone looks at 4 pixels; past a reduction of 2 it skips some, and thin limbs break up.
    """
    factor = int(reduction)
    if factor < 2:
        return pixels, matrix
    height, width = pixels.shape[:2]
    x0, y0 = (np.clip(np.floor(corners_px.min(0)), 0, (width, height)) // factor * factor).astype(int)
    x1, y1 = np.clip(np.ceil(corners_px.max(0)), 0, (width, height)).astype(int)
    columns, rows = (x1 - x0) // factor, (y1 - y0) // factor
    if columns < 1 or rows < 1:
        return pixels, matrix
    part = pixels[y0 : y0 + rows * factor, x0 : x0 + columns * factor]
    small = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
    offset = matrix[:, 2] + matrix[:, :2] @ (x0, y0)
    return small, np.concatenate([matrix[:, :2] * factor, offset[:, None]], axis=1)


def crop_around(
    keypoints_px: Float[np.ndarray, "keypoints 3"], *, margin: float = 1.25, min_confidence: float = 0.3
) -> SquareCrop:
    """The upright square that holds a person: centre and side from the keypoints that were seen.

    A keypoint counts by its confidence, so one that fades in and out moves the square smoothly: each is
    drawn towards the confidence-weighted mean by what it lacks of `min_confidence`, and the square is the
    bounding box of what remains, times `margin`.
    """
    xy, confidence = keypoints_px[:, :2].astype(np.float64), keypoints_px[:, 2].astype(np.float64)
    if not (confidence > 0).any():
        raise ValueError("a crop needs one keypoint with confidence above 0, got none")
    mean = (xy * confidence[:, None]).sum(0) / confidence.sum()
    trust = np.clip(confidence / min_confidence, 0, 1)[:, None]
    drawn = mean + (xy - mean) * trust
    low, high = drawn.min(0), drawn.max(0)
    side = max(float((high - low).max()) * margin, 1.0)
    x, y = (low + high) / 2
    return SquareCrop((float(x), float(y)), side)


def crop_around_box(box_px: Float[np.ndarray, "4"], *, margin: float = 1.25) -> SquareCrop:
    """The upright square on the centre of a box (x0, y0, x1, y1), its longer side times `margin`."""
    x0, y0, x1, y1 = (float(value) for value in box_px)
    return SquareCrop(((x0 + x1) / 2, (y0 + y1) / 2), max(x1 - x0, y1 - y0, 1.0) * margin)
