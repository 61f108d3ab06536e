"""One person's pose: MediaPipe's landmark model over a turned square, and its answer back in the picture.

The network answers with 39 points (33 on the body, 2 that say where the next square should be, 4 unused),
a heatmap for each, 33 metric points about the hips, a silhouette, and the probability that anyone is there.

Source of the tensor layout and of the refinement: mediapipe/modules/pose_landmark.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from alignhmr.core.geometry.crops import SquareCrop
from alignhmr.core.perception.blazepose_ssd import region
from alignhmr.core.perception.litert import load_network

INPUT = 256
HEATMAP = 64
LANDMARKS = 33
"""Points on the body; 33 and 34 are the hips' centre and a point on the body's circle."""
USED = LANDMARKS + 2
"""Of 39."""
LIMBS = [*range(11, 17), *range(23, 29)]
"""Shoulders to wrists and hips to ankles."""
MIRROR = [0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9] + [
    index + 1 if index % 2 else index - 1 for index in range(11, 33)
]
"""Each point's counterpart on the other side of the body."""
MAX_LOOKS = 4
NOBODY = 0.01
"""A region with less presence is given up. Of 924 first guesses in 175 video frames and 180 made pictures, 95
fell below it; 2 of those led to a skeleton that was kept, and both lay on nobody."""
WINDOW = 3
"""Reach of the refinement in heatmap cells: MediaPipe's kernel of 7."""
MIN_PEAK = 0.5
"""Below this peak MediaPipe leaves a point where the network put it."""


@dataclass(frozen=True)
class Skeleton:
    """The landmark model's answer for one region."""

    presence: float
    """Probability that the region holds a person."""
    points_px: Float[np.ndarray, "33 2"]
    confidence: Float[np.ndarray, "33"]
    """Visible and inside the region: the product of the model's two probabilities."""
    world_m: Float[np.ndarray, "33 3"]
    """Metres about the hips; x right, y down, z away, as the picture stands."""
    mask: UInt8[np.ndarray, "256 256"]
    """Silhouette over `roi`, turned as it is."""
    roi: SquareCrop
    next_roi: SquareCrop
    """Where the model would look for a better answer."""


class PoseLandmarks:
    """The landmark network and what reads its tensors."""

    def __init__(self, model: Path, *, threads: int = 1) -> None:
        self._network = load_network(model, threads)
        self._input = self._network.get_input_details()[0]["index"]
        outputs = {tuple(detail["shape"]): detail["index"] for detail in self._network.get_output_details()}
        self._points = outputs[(1, 195)]
        self._flag = outputs[(1, 1)]
        self._mask = outputs[(1, INPUT, INPUT, 1)]
        self._heatmap = outputs[(1, HEATMAP, HEATMAP, 39)]
        self._world = outputs[(1, 117)]

    def look(self, pixels: UInt8[np.ndarray, "height width 3"], roi: SquareCrop) -> Skeleton:
        """The skeleton in one region, whether or not anyone is there: see `presence`."""
        crop = roi.cut(pixels, INPUT)
        self._network.set_tensor(self._input, crop[None].astype(np.float32) / 255)
        self._network.invoke()
        raw = self._network.get_tensor(self._points).reshape(39, 5).astype(np.float64)
        heatmap = self._network.get_tensor(self._heatmap)[0]
        xy = refine(raw[:USED, :2] / INPUT, heatmap) * INPUT
        world = self._network.get_tensor(self._world).reshape(39, 3)[:LANDMARKS].astype(np.float64)
        cos, sin = np.cos(roi.angle_rad), np.sin(roi.angle_rad)
        world = np.stack(
            [cos * world[:, 0] - sin * world[:, 1], sin * world[:, 0] + cos * world[:, 1], world[:, 2]], 1
        )
        points = roi.to_picture(xy, INPUT)
        visible, present = _sigmoid(raw[:LANDMARKS, 3]), _sigmoid(raw[:LANDMARKS, 4])
        return Skeleton(
            presence=float(self._network.get_tensor(self._flag)[0, 0]),
            points_px=points[:LANDMARKS],
            confidence=visible * present,
            world_m=world,
            mask=(_sigmoid(self._network.get_tensor(self._mask)[0, :, :, 0]) * 255 + 0.5).astype(np.uint8),
            roi=roi,
            next_roi=region(points[33], points[34]),
        )

    def settle(
        self, pixels: UInt8[np.ndarray, "height width 3"], roi: SquareCrop, *, least: float = NOBODY
    ) -> Skeleton:
        """The skeleton in a region that was only a guess: looks again where each look points to.

        Nine in ten are good at the first look. Those who stand in front of each other are not: the
        skeleton needs a few looks to leave the other one's legs. Where nobody is, nothing leads to anybody:
        below ``least`` presence it is given up. Where somebody is known to be, 0 is right.
        """
        skeleton = self.look(pixels, roi)
        tolerance = 0.13 if skeleton.confidence[LIMBS].mean() > 0.9 else 0.04
        for _ in range(MAX_LOOKS - 1):
            if skeleton.presence < least or skeleton.next_roi.near(skeleton.roi, tolerance):
                break
            again = self.look(pixels, skeleton.next_roi)
            if again.presence < skeleton.presence / 2:
                break
            skeleton, tolerance = again, 0.04
        return skeleton


def refine(
    points: Float[np.ndarray, "points 2"], heatmap: Float[np.ndarray, "rows columns points"]
) -> Float[np.ndarray, "points 2"]:
    """Points in 0..1 moved to the heatmap's centre of mass about them, where it has a peak there."""
    rows, columns, _ = heatmap.shape
    cells = (points * (columns, rows)).astype(int)
    inside = np.flatnonzero((cells >= 0).all(1) & (cells < (columns, rows)).all(1))
    reach = np.arange(-WINDOW, WINDOW + 1)
    column, row = (cells[inside, axis, None] + reach for axis in (0, 1))
    near = _sigmoid(
        heatmap[
            row.clip(0, rows - 1)[:, :, None], column.clip(0, columns - 1)[:, None, :], inside[:, None, None]
        ].astype(np.float64)
    )
    near *= ((row >= 0) & (row < rows))[:, :, None] & ((column >= 0) & (column < columns))[:, None, :]
    peaked = near.max((1, 2)) >= MIN_PEAK
    total = near.sum((1, 2))
    # A cell stands for its corner, as in MediaPipe: the network was trained with that.
    middle = np.stack([(near.sum(1) * column).sum(1) / columns, (near.sum(2) * row).sum(1) / rows], axis=1)
    refined = points.copy()
    refined[inside[peaked]] = (middle / total[:, None])[peaked]
    return refined


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -60, 60)))
