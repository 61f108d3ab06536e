"""Everyone in a photo: coarse windows first, closer looks where there is a reason.

The detector was made for one person near the camera. It is sure of those who span half of its window or
more (31 of 32 in composed photos), of two in three who span a third, and of hardly anyone smaller; and a look
costs 11 ms of one CPU core, too much to tile every photo finely. So:

1. windows that cover the picture at its short side;
2. a closer look at each faint candidate that nobody found so far explains;
3. finer grids, unless one near person was found and nobody else: a photo of one person is most often of one
   person, a photo of several is of any number, and those who stand together are of one size.

Cheaper grids were tried on 103 video frames with 179 people: windows of 2/3 instead of 0.6 (10 instead of 15 on a
tall frame) lost 17 of them, an overlap of 1/3 instead of 1/2 lost 9, half of the closer looks 2, of whom one was real.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from alignhmr.core.perception.blazepose_landmarks import (
    INPUT,
    LANDMARKS,
    LIMBS,
    MIRROR,
    PoseLandmarks,
    Skeleton,
)
from alignhmr.core.perception.blazepose_ssd import (
    BODY_RADIUS,
    HIPS,
    ROI_SCALE,
    SHOULDERS,
    Candidates,
    PoseSsd,
    Pyramid,
    Window,
    box_overlap,
    region,
)

SURE = 0.5
"""MediaPipe's own threshold, for a candidate as for a skeleton."""
FAINT = 0.05
"""Of the people who span 0.3 of the window, nine in ten score above this; of the backgrounds, one in two."""
DOUBT = 0.1
"""A faint candidate above this, beside the one person found, is a reason to look for more."""
CLOSER = 0.7
"""A second look at a faint candidate is worth it where the window is smaller than the first by this."""
SPAN = 0.65
"""Diameter of a body's circle in its window where the detector is at its best."""
SMALL = 0.45
"""Below this diameter, relative to the window, others of that size may have been missed."""
NEAR = 0.6
"""Diameter of a person, relative to the short side, from which one alone is taken for the photo's subject."""
FINER = 0.6
"""Side of a grid's windows in terms of the one before it."""
MAX_LEVELS = 2
MAX_ASPECT = 1.25
MAX_CLOSER_LOOKS = 8
MAX_GRID = 24
"""Windows of one grid: a quarter of a second of one core."""
DUPLICATE = 0.15
"""Two skeletons nearer than this (in body sizes) are one person's."""
PART = 0.75
"""A skeleton with this much of its trunk in another's silhouette may be a part of that person."""
TRUNK = [11, 12, 23, 24]
MIN_TORSO = 0.18
"""Shoulders to hips, relative to the region's side: 0.2-0.25 for people who stand, walk or bend to the side.
Skeletons on chair legs and camera mounts are folded up below it; so is a body seen from above."""
MIN_QUALITY = 0.48
"""What a fine window must offer, in detector's score x presence x limbs' confidence. People at the far wall
had 0.50 to 0.90; ceiling cameras and motors of the same size 0.2 to 0.72, most of those folded."""


class Candidate(NamedTuple):
    """One person that the detector believes in, out of the many answers about them."""

    score: float
    face_px: Float[np.ndarray, "4"]
    points_px: Float[np.ndarray, "4 2"]


@dataclass(frozen=True)
class Found:
    """A skeleton, and how much speaks for it in 0..1."""

    skeleton: Skeleton
    level: int
    """Which look found it: 0 the covering windows, 1 the closer looks after them, 2 the first grid ..."""
    quality: float

    @property
    def folded(self) -> bool:
        return torso(self.skeleton) < MIN_TORSO


class Search:
    """The people found in one picture so far."""

    def __init__(
        self, ssd: PoseSsd, landmarks: PoseLandmarks, pixels: UInt8[np.ndarray, "height width 3"]
    ) -> None:
        self.ssd, self.landmarks, self.pixels = ssd, landmarks, pixels
        self._pyramid = Pyramid(pixels)
        self.found: list[Found] = []
        self._rejected: list[np.ndarray] = []
        self._raw: list[Candidates] = []

    def run(self) -> list[Skeleton]:
        """One skeleton for each person."""
        height, width = self.pixels.shape[:2]
        side = min(width, height)
        self._look(0, cover(width, height))
        sizes = self._diameters()
        if len(sizes) == 1 and sizes[0] > NEAR * side and not self._doubts():
            return self._distinct()
        for level in range(1, MAX_LEVELS + 1):
            side = round(side * FINER)
            self._look(level, grid_windows(width, height, side))
            if not any(size < SMALL * side for size in self._diameters()):
                break
        return self._distinct()

    def _look(self, level: int, windows: list[Window]) -> None:
        """Windows, then a closer one at each faint candidate, with skeletons for those who are sure by then."""
        self._raw += self.ssd.look_each(self._pyramid, windows, FAINT)
        self._accept(2 * level)
        closer = list(self._closer_windows(2 * level + 1, max(map(length, windows))))
        self._raw += self.ssd.look_each(self._pyramid, closer, FAINT)
        self._accept(2 * level + 1)

    def _accept(self, level: int) -> None:
        for score, face, points in self._believed(SURE):
            if self._explained(points, face, level):
                continue
            skeleton = self.landmarks.settle(self.pixels, region(points[HIPS], points[BODY_RADIUS]))
            one = Found(skeleton, level, float(score * skeleton.presence * skeleton.confidence[LIMBS].mean()))
            if skeleton.presence < SURE or (level > 0 and (one.folded or one.quality < MIN_QUALITY)):
                self._rejected.append(points)
            else:
                self.found.append(one)

    def _believed(self, least: float) -> Iterator[Candidate]:
        """Candidates of at least this score in what was seen so far, best first."""
        return takewhile(lambda one: one.score >= least, people_in(concatenate(self._raw)))

    def _closer_windows(self, level: int, longest: int) -> Iterator[Window]:
        """A window about each faint candidate who would be seen larger in it, the best candidates first."""
        looks = 0
        for score, face, points in self._believed(0.0):
            if score >= SURE:
                continue
            window = around(points[HIPS], 2 * radius(points) / SPAN, *self.pixels.shape[1::-1])
            if window is None or length(window) > CLOSER * longest:
                continue
            head = (face[:2] + face[2:]) / 2
            on_someone = any(covers(other.skeleton, head) for other in self.found)
            if on_someone or self._explained(points, face, level):
                continue
            yield window
            if (looks := looks + 1) == MAX_CLOSER_LOOKS:
                break

    def _doubts(self) -> bool:
        """Whether a faint candidate stands beside those found: not on one of them, nor a poor copy."""
        for _, face, points in self._believed(DOUBT):
            head = (face[:2] + face[2:]) / 2
            if not any(
                covers(other.skeleton, head) or same_person(points, circle(other.skeleton)[None], 2.0)[0]
                for other in self.found
            ):
                return True
        return False

    def _explained(self, points: np.ndarray, face: np.ndarray, level: int) -> bool:
        """Whether a candidate is somebody found, a part of somebody found, or was tried in vain."""
        if any(same_person(points, other[None])[0] for other in self._rejected):
            return True
        for other in self.found:
            if same_person(points, circle(other.skeleton)[None])[0]:
                return True
            # A fine window that shows only somebody's legs sees a small person there, whose head is at the
            # hips. A child in front of an adult is found at the adult's level.
            if other.level < level and covers(other.skeleton, (face[:2] + face[2:]) / 2):
                return True
        return False

    def _diameters(self) -> list[float]:
        return [one.skeleton.roi.side_px / ROI_SCALE for one in self.found]

    def _distinct(self) -> list[Skeleton]:
        """The skeletons, most confident first, without a second one on the same person."""
        kept: list[Found] = []
        for one in sorted(self.found, key=lambda one: -one.quality):
            if all(apart(one.skeleton, other.skeleton) > DUPLICATE for other in kept):
                kept.append(one)
        return [one.skeleton for one in kept if not any(_is_part(one, other) for other in kept)]


def _is_part(one: Found, other: Found) -> bool:
    """Whether a skeleton is made of another's limbs: it lies on that person and is finer, or folded up."""
    smaller = one.level > other.level or (one.folded and one.quality < other.quality)
    return smaller and inside(one.skeleton, other.skeleton) >= PART


def inside(one: Skeleton, other: Skeleton) -> float:
    """The part of a skeleton's shoulders and hips that lies in another's silhouette."""
    return float(np.mean([covers(other, point) for point in one.points_px[TRUNK]]))


def circle(skeleton: Skeleton) -> Float[np.ndarray, "4 2"]:
    """The skeleton's alignment points, as the detector would have drawn them."""
    hips, shoulders = skeleton.points_px[[23, 24]].mean(0), skeleton.points_px[[11, 12]].mean(0)
    radius = skeleton.roi.side_px / 2 / ROI_SCALE
    return np.stack([hips, hips + (0, radius), shoulders, shoulders])


def torso(skeleton: Skeleton) -> float:
    """From shoulders to hips, in units of the region's side."""
    points = circle(skeleton)
    return float(np.linalg.norm(points[SHOULDERS] - points[HIPS]) / skeleton.roi.side_px)


def covers(skeleton: Skeleton, point_px: Float[np.ndarray, "2"]) -> bool:
    """Whether the skeleton's silhouette holds a point of the picture."""
    column, row = np.floor(skeleton.roi.to_crop(point_px, INPUT)).astype(int).tolist()
    return 0 <= column < INPUT and 0 <= row < INPUT and bool(skeleton.mask[row, column] > 127)


def apart(one: Skeleton, other: Skeleton) -> float:
    """Mean distance of corresponding points, weighted by both confidences, in units of the larger body.

    The smaller of two readings: a person seen from the back is at times taken for one seen from the front.
    """
    span = max(np.ptp(skeleton.points_px, axis=0).max() for skeleton in (one, other))
    distances = []
    for order in (range(LANDMARKS), MIRROR):
        weight = one.confidence * other.confidence[order] + 1e-6
        gaps = np.linalg.norm(one.points_px - other.points_px[order], axis=1)
        distances.append((weight * gaps).sum() / weight.sum() / span)
    return float(min(distances))


def length(window: Window) -> int:
    """The longer side."""
    x0, y0, x1, y1 = window
    return max(x1 - x0, y1 - y0)


def cover(width: int, height: int) -> list[Window]:
    """Windows as wide as the short side and at most 1.25 of it long, each sharing half with the next.

    Longer ones where that would be smaller than what the network looks at, or more than a dozen.
    """
    long, short = max(width, height), min(width, height)
    length = min(long, max(round(short * MAX_ASPECT), INPUT, round(long / 6)))
    count = 1 if length == long else 1 + int(np.ceil((long - length) / (length / 2)))
    starts = np.linspace(0, long - length, count).round().astype(int).tolist()
    if width >= height:
        return [(start, 0, start + length, height) for start in starts]
    return [(0, start, width, start + length) for start in starts]


def grid_windows(width: int, height: int, side: float) -> list[Window]:
    """Overlapping squares over the whole picture, larger than asked where they would be too many."""
    while True:
        size = min(round(side), width, height)
        columns, rows = (1 + int(np.ceil((length - size) / (size / 2))) for length in (width, height))
        if columns * rows <= MAX_GRID or size == min(width, height):
            break
        side *= 1.1
    lefts = np.linspace(0, width - size, columns).round().astype(int).tolist()
    tops = np.linspace(0, height - size, rows).round().astype(int).tolist()
    return [(left, top, left + size, top + size) for top in tops for left in lefts]


def around(center_px: np.ndarray, side: float, width: int, height: int) -> Window | None:
    """The square about a point, cut at the picture's border; None where nothing is left of it."""
    x, y = center_px.tolist()
    x0, y0 = max(round(x - side / 2), 0), max(round(y - side / 2), 0)
    x1, y1 = min(round(x + side / 2), width), min(round(y + side / 2), height)
    return (x0, y0, x1, y1) if min(x1 - x0, y1 - y0) >= 16 else None


def radius(points: Float[np.ndarray, "4 2"]) -> float:
    """Of the body's circle."""
    return float(np.linalg.norm(points[BODY_RADIUS] - points[HIPS]))


def concatenate(parts: list[Candidates]) -> Candidates:
    return Candidates(
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.face_px for part in parts]),
        np.concatenate([part.points_px for part in parts]),
    )


def people_in(raw: Candidates, min_overlap: float = 0.45) -> Iterator[Candidate]:
    """One per person, best first: the best answer, averaged by score with those of the same face or torso.

    MediaPipe compares faces only. Windows of different scales draw a face of different size for one person,
    but agree on hips and shoulders. A search gathers thousands of answers about hundreds of faint people, of
    whom the first few matter: the rest is worked out for who asks.
    """
    left = np.argsort(-raw.score, kind="stable")
    while len(left):
        best = left[0]
        same = box_overlap(raw.face_px[best], raw.face_px[left]) > min_overlap
        same |= same_person(raw.points_px[best], raw.points_px[left])
        same[0] = True
        group, left = raw.take(left[same]), left[~same]
        weight = group.score / group.score.sum()
        yield Candidate(
            float(group.score[0]), weight @ group.face_px, np.tensordot(weight, group.points_px, 1)
        )


def merge(raw: Candidates) -> Candidates:
    """All of them."""
    people = list(people_in(raw))
    if not people:
        return raw
    return Candidates(*(np.stack(column) for column in zip(*people, strict=True)))


def same_person(
    points: Float[np.ndarray, "4 2"], others: Float[np.ndarray, "others 4 2"], loose: float = 1.0
) -> np.ndarray:
    """Whether hips and shoulders both lie within a quarter of the body's radius, and the radii agree."""
    radius = np.linalg.norm(points[BODY_RADIUS] - points[HIPS])
    theirs = np.linalg.norm(others[:, BODY_RADIUS] - others[:, HIPS], axis=1)
    gaps = np.linalg.norm(others[:, [HIPS, SHOULDERS]] - points[[HIPS, SHOULDERS]], axis=2).max(1)
    ratio = theirs / max(radius, 1e-6)
    return (gaps < 0.25 * loose * radius) & (ratio > 0.6 / loose) & (ratio < loose / 0.6)
