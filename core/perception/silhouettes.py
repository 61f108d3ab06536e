"""The detector's silhouette of a person, over a square of the picture."""

import math

import cv2
import numpy as np
from jaxtyping import UInt8

from alignhmr.core.geometry.crops import SquareCrop
from alignhmr.core.records import Person

SILHOUETTE_PX = 32
"""Side of a silhouette over what the models look at."""


def silhouette_over(person: Person, square: SquareCrop, side: int) -> UInt8[np.ndarray, "side side"] | None:
    """0..255: means over the square's cells, 0 outside what the detector answered for; None where it gave none."""
    mask, box = person.mask, person.mask_box_px
    if mask is None or box is None:
        return None
    height, width = mask.shape
    # Mask pixels a picture pixel, across and down; a box of no extent has nothing in it.
    density = np.array([width, height]) / np.maximum(np.asarray(box[2:] - box[:2], np.float64), 1e-3)
    # Bilinear sampling looks at 4 pixels: so many samples that none is skipped, then their mean.
    finer = max(1, math.ceil(float(density.max()) * square.side_px / side))
    step = square.side_px / (side * finer)
    corner = np.array(square.center_px) - square.side_px / 2
    offset = (corner + step / 2 - box[:2]) * density - 0.5
    matrix = np.array([[density[0] * step, 0, offset[0]], [0, density[1] * step, offset[1]]])
    fine = cv2.warpAffine(
        mask, matrix, (side * finer, side * finer), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    return cv2.resize(fine, (side, side), interpolation=cv2.INTER_AREA)


def distance_outside(silhouette: UInt8[np.ndarray, "side side"]) -> np.ndarray:
    """Distance of each cell from the nearest that is mostly the person's, in half sides; 0 where there is none."""
    inside = silhouette >= 128
    if not inside.any():
        return np.zeros(silhouette.shape, np.float32)
    away = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return away / (len(silhouette) / 2)
