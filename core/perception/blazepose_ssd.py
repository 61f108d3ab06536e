"""Where people may be: MediaPipe's pose detector, an SSD over 224 x 224 pixels, with every anchor decoded.

MediaPipe's own graph keeps the best anchor and then follows that person. All anchors together find several
people, and overlapping tiles find those who are small in the picture. An answer is a face box and four
alignment points; a circle about the hips through the second point encloses the body.

Source of the anchor layout and decoding: mediapipe/modules/pose_detection and SsdAnchorsCalculator.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

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

Window = tuple[int, int, int, int]
"""x0, y0, x1, y1 in whole pixels of the picture."""


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


@dataclass(frozen=True)
class Letterbox:
    """A window as the network sees it, and the way back: picture = network's pixel / scale + origin."""

    pixels: UInt8[np.ndarray, "224 224 3"]
    scale: float
    origin_px: Float[np.ndarray, "2"]


class PoseSsd:
    """The detector network and what turns its answer into candidates.

    `threads` windows are looked at side by side, each by a network of its own on one thread: on two cores a
    window costs 5.9 ms, with one network on both threads 7.2, with one thread 10.1. The answers are the same.
    """

    def __init__(self, model: Path, *, threads: int = 1) -> None:
        networks = [load_network(model, 1) for _ in range(threads)]
        self._input = networks[0].get_input_details()[0]["index"]
        outputs = {tuple(detail["shape"]): detail["index"] for detail in networks[0].get_output_details()}
        self._anchors = anchors()
        self._boxes = outputs[(1, len(self._anchors), 12)]
        self._scores = outputs[(1, len(self._anchors), 1)]
        self._idle: SimpleQueue = SimpleQueue()
        for network in networks:
            self._idle.put(network)
        self._pool = ThreadPoolExecutor(threads, "look") if threads > 1 else None

    def look(self, picture: Pyramid, window_px: Window, min_score: float) -> Candidates:
        """Raw candidates in one window of the picture; one person has many."""
        return self._answer(letterbox(picture, window_px), min_score)

    def look_each(self, picture: Pyramid, windows_px: Sequence[Window], min_score: float) -> list[Candidates]:
        """What `look` says of each window."""
        if self._pool is None or len(windows_px) < 2:
            return [self.look(picture, window, min_score) for window in windows_px]
        # Cut out here: a pyramid grows while it is asked. The networks run meanwhile.
        boxes = (letterbox(picture, window) for window in windows_px)
        jobs = [self._pool.submit(self._answer, box, min_score) for box in boxes]
        return [job.result() for job in jobs]

    def _answer(self, box: Letterbox, min_score: float) -> Candidates:
        network = self._idle.get()
        try:
            network.set_tensor(self._input, box.pixels[None].astype(np.float32) / 127.5 - 1)
            network.invoke()
            logit = network.get_tensor(self._scores)[0, :, 0].astype(np.float64)
            keep = np.flatnonzero(logit > math.log(min_score / (1 - min_score)))
            raw = network.get_tensor(self._boxes)[0, keep].astype(np.float64)
        finally:
            self._idle.put(network)
        # Four pairs after the first two: box centre, box size, then alignment points, all in input pixels and
        # relative to the anchor's centre.
        pairs = raw.reshape(-1, 6, 2)
        center = self._anchors[keep] * INPUT
        box_center = pairs[:, 0] + center
        face = np.concatenate([box_center - pairs[:, 1] / 2, box_center + pairs[:, 1] / 2], axis=1)
        points = pairs[:, 2:] + center[:, None]
        return Candidates(
            1 / (1 + np.exp(-logit[keep])),
            (face.reshape(-1, 2, 2) / box.scale + box.origin_px).reshape(-1, 4),
            points / box.scale + box.origin_px,
        )


def letterbox(picture: Pyramid, window_px: Window) -> Letterbox:
    """The window in the middle of the network's square, its longer side filling it, black beside it."""
    x0, y0, x1, y1 = window_px
    scale = INPUT / max(x1 - x0, y1 - y0)
    width, height = max(round((x1 - x0) * scale), 1), max(round((y1 - y0) * scale), 1)
    pixels, factor = picture.at(1 / scale)
    part = pixels[y0 // factor : y1 // factor, x0 // factor : x1 // factor]
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    square = np.zeros((INPUT, INPUT, 3), np.uint8)
    left, top = (INPUT - width) // 2, (INPUT - height) // 2
    square[top : top + height, left : left + width] = cv2.resize(part, (width, height), interpolation=method)
    return Letterbox(square, scale, np.array([x0 - left / scale, y0 - top / scale]))


def box_overlap(
    box: Float[np.ndarray, "4"], boxes: Float[np.ndarray, "boxes 4"]
) -> Float[np.ndarray, "boxes"]:
    """Intersection over union of one box with each of the others."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    area = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(1) - shared
    return shared / np.maximum(area, 1e-9)
