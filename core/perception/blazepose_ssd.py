"""Where people may be: MediaPipe's pose detector, an SSD over 224 x 224 pixels, with every anchor decoded.

MediaPipe's own graph keeps the best anchor and then follows that person. All anchors together find several
people, and overlapping tiles find those who are small in the picture. An answer is a face box and four
alignment points; a circle about the hips through the second point encloses the body.

Source of the anchor layout and decoding: mediapipe/modules/pose_detection and SsdAnchorsCalculator.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from alignhmr.core.geometry.crops import SquareCrop
from alignhmr.core.perception.litert import load_network

INPUT = 224
STRIDES = (8, 16, 32, 32, 32)
ANCHORS_PER_CELL = 2
HIPS, BODY_RADIUS, SHOULDERS = 0, 1, 2
"""Which alignment point is which; the fourth (radius of the upper body) is not used."""

ROI_SCALE = 1.25
"""The landmark model was trained on a square this much larger than the body's circle."""


@dataclass(frozen=True)
class Candidates:
    """People that the detector believes in, best first, in continuous pixels of the picture."""

    score: Float[np.ndarray, "people"]
    face_px: Float[np.ndarray, "people 4"]
    points_px: Float[np.ndarray, "people 4 2"]

    def __len__(self) -> int:
        return len(self.score)

    def take(self, index: np.ndarray) -> "Candidates":
        return Candidates(self.score[index], self.face_px[index], self.points_px[index])

    def regions(self) -> list[SquareCrop]:
        """The square that the landmark model wants for each, turned so that the body stands upright."""
        return [region(points[HIPS], points[BODY_RADIUS]) for points in self.points_px]


def region(hips_px: np.ndarray, on_circle_px: np.ndarray) -> SquareCrop:
    """The landmark model's square: about the hips, twice the radius times 1.25, head upwards."""
    dx, dy = (on_circle_px - hips_px).tolist()
    radius = max(math.hypot(dx, dy), 1.0)
    # Upright when the second point is straight above the hips, where the angle of (dx, -dy) is 90 degrees.
    angle = math.pi / 2 - math.atan2(-dy, dx)
    return SquareCrop((float(hips_px[0]), float(hips_px[1])), 2 * radius * ROI_SCALE, angle)


def anchors() -> Float[np.ndarray, "anchors 2"]:
    """Centres of the 2,254 anchors in 0..1. Layers of one stride share a grid: 6 in a cell of stride 32."""
    layers = []
    for stride in sorted(set(STRIDES)):
        cells = -(-INPUT // stride)
        y, x = np.mgrid[:cells, :cells].astype(np.float64)
        centers = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / cells
        layers.append(np.repeat(centers, ANCHORS_PER_CELL * STRIDES.count(stride), axis=0))
    return np.concatenate(layers)


class Pyramid:
    """A picture at half, a quarter ... of its size, each made when it is first asked for.

    Many windows of one picture are shrunk to 224 pixels: from full size, half the network's own time each.
    """

    def __init__(self, pixels: UInt8[np.ndarray, "height width 3"]) -> None:
        self._levels = [pixels]

    def at(self, reduction: float) -> tuple[UInt8[np.ndarray, "height width 3"], int]:
        """The smallest level that still has the pixels for a reduction, and by what it is reduced itself."""
        level = max(int(math.log2(max(reduction, 1))), 0)
        while len(self._levels) <= level:
            last = self._levels[-1]
            size = last.shape[1] // 2, last.shape[0] // 2
            if min(size) < 1:
                break
            # An odd last row or column is dropped: the scale stays exactly 2.
            even = last[: size[1] * 2, : size[0] * 2]
            self._levels.append(cv2.resize(even, size, interpolation=cv2.INTER_AREA))
        level = min(level, len(self._levels) - 1)
        return self._levels[level], 2**level


class PoseSsd:
    """The detector network and what turns its answer into candidates."""

    def __init__(self, model: Path, *, threads: int = 1) -> None:
        self._network = load_network(model, threads)
        self._input = self._network.get_input_details()[0]["index"]
        outputs = {tuple(detail["shape"]): detail["index"] for detail in self._network.get_output_details()}
        self._anchors = anchors()
        self._boxes = outputs[(1, len(self._anchors), 12)]
        self._scores = outputs[(1, len(self._anchors), 1)]

    def look(
        self,
        picture: Pyramid,
        window_px: tuple[int, int, int, int],
        min_score: float,
    ) -> Candidates:
        """Raw candidates in one window (x0, y0, x1, y1) of the picture; one person has many."""
        x0, y0, x1, y1 = window_px
        side = max(x1 - x0, y1 - y0)
        scale = INPUT / side
        width, height = max(round((x1 - x0) * scale), 1), max(round((y1 - y0) * scale), 1)
        pixels, factor = picture.at(1 / scale)
        part = pixels[y0 // factor : y1 // factor, x0 // factor : x1 // factor]
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        letterbox = np.zeros((INPUT, INPUT, 3), np.uint8)
        left, top = (INPUT - width) // 2, (INPUT - height) // 2
        letterbox[top : top + height, left : left + width] = cv2.resize(
            part, (width, height), interpolation=method
        )
        self._network.set_tensor(self._input, letterbox[None].astype(np.float32) / 127.5 - 1)
        self._network.invoke()
        logit = self._network.get_tensor(self._scores)[0, :, 0].astype(np.float64)
        keep = np.flatnonzero(logit > math.log(min_score / (1 - min_score)))
        raw = self._network.get_tensor(self._boxes)[0, keep].astype(np.float64)
        # Four pairs after the first two: box centre, box size, then alignment points, all in input pixels and
        # relative to the anchor's centre.
        pairs = raw.reshape(-1, 6, 2)
        center = self._anchors[keep] * INPUT
        box_center = pairs[:, 0] + center
        box = np.concatenate([box_center - pairs[:, 1] / 2, box_center + pairs[:, 1] / 2], axis=1)
        points = pairs[:, 2:] + center[:, None]
        origin = np.array([x0 - left / scale, y0 - top / scale])
        return Candidates(
            1 / (1 + np.exp(-logit[keep])),
            (box.reshape(-1, 2, 2) / scale + origin).reshape(-1, 4),
            points / scale + origin,
        )


def box_overlap(
    box: Float[np.ndarray, "4"], boxes: Float[np.ndarray, "boxes 4"]
) -> Float[np.ndarray, "boxes"]:
    """Intersection over union of one box with each of the others."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    area = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(1) - shared
    return shared / np.maximum(area, 1e-9)
