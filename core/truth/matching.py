"""Which detection is which true person, where a system had to find the people itself."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from alignhmr.core.records import Person
from alignhmr.core.truth.records import Sample, Truth

MIN_LIKENESS = 0.3
"""Below, a detection is of someone else: boxes that overlap by less, limbs farther off than a fifth of a box."""


def match_people(sample: Sample, found: list[Person]) -> list[tuple[int, int]]:
    """Pairs of (true person, detection), each once, that are likest in sum; the unlike stay unmatched."""
    if not sample.people or not found:
        return []
    likeness = np.array([[_likeness(truth, person) for person in found] for truth in sample.people])
    rows, columns = linear_sum_assignment(-likeness)
    return [(int(t), int(p)) for t, p in zip(rows, columns, strict=True) if likeness[t, p] >= MIN_LIKENESS]


def box_iou(first: np.ndarray, second: np.ndarray) -> float:
    """Intersection over union of two boxes x0, y0, x1, y1."""
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    areas = [float(np.prod(np.maximum(box[2:] - box[:2], 0))) for box in (first, second)]
    return shared / max(sum(areas) - shared, 1e-9)


def _likeness(truth: Truth, person: Person) -> float:
    """0..1: overlap of the boxes, and, where the truth has COCO keypoints, how near the limbs lie."""
    overlap = box_iou(np.asarray(truth.box_px, np.float64), np.asarray(person.box_px, np.float64))
    points = truth.points.get("coco23")
    if points is None or points.px is None:
        return overlap
    limbs = np.asarray(points.px, np.float64)[5:17]
    seen = np.isfinite(limbs).all(1) & (person.keypoints_px[5:17, 2] > 0)
    if seen.sum() < 3:
        return overlap
    size = max(float((truth.box_px[2:] - truth.box_px[:2]).max()), 1.0)
    off = np.linalg.norm(limbs - person.keypoints_px[5:17, :2], axis=1)[seen] / size
    # As COCO's keypoint similarity, with one tolerance for all: a tenth of the box is e^-0.5.
    return 0.5 * overlap + 0.5 * float(np.exp(-0.5 * (off / 0.1) ** 2).mean())
