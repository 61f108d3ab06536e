"""The worst answers as pictures: truth and prediction on the photo, and both from the front and the side."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from alignhmr.core.body.joint_sets import JointSet
from alignhmr.core.body.skeleton import KEYPOINT_BONES, PARENTS
from alignhmr.core.records import Intrinsics
from alignhmr.core.truth.evaluate import PersonErrors
from alignhmr.core.truth.records import Prediction, Sample, Truth

TRUE_RGB, PREDICTED_RGB = (22, 163, 116), (232, 93, 42)
SIZE = (330, 440)
"""Width and height of each picture."""
SHOWN, SHOWN_MISSED = 6, 3
_GROUND = (244, 245, 247)
_SCALE = 2  # drawn larger and averaged: cv2's own antialiasing leaves steps on slanted lines

BONES: dict[str, tuple[tuple[int, int], ...]] = {
    "coco23": KEYPOINT_BONES,
    "smpl24": tuple((parent, joint) for joint, parent in enumerate(PARENTS) if parent >= 0),
    "h36m17": (
        (0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8), (8, 9), (9, 10), (8, 11), (11, 12),
        (12, 13), (8, 14), (14, 15), (15, 16),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One person, drawn."""

    title: str
    notes: tuple[str, ...]
    views: tuple[tuple[str, np.ndarray], ...]
    """(label, picture)."""
    error: float
    """PA-MPJPE of the selected answer, or its 2D error in % of the box where the truth is of the picture alone;
    infinite where nobody answered."""


@dataclass(frozen=True)
class _Kept:
    error: float
    group: str
    title: str
    notes: tuple[str, ...]
    crop: np.ndarray
    matrix: np.ndarray
    truth: Truth
    camera: Intrinsics
    prediction: Prediction | None


class WorstCases:
    """Holds the crops of the worst answers by PA-MPJPE, one of each clip, and of the first people missed."""

    def __init__(self, joints: JointSet) -> None:
        self.joints = joints
        self._worst: dict[str, _Kept] = {}
        self._missed: list[_Kept] = []

    def offer(
        self, sample: Sample, people: Sequence[PersonErrors], predictions: Sequence[Prediction]
    ) -> None:
        """Looks at one sample's judged people; keeps what is among the worst so far."""
        answers = {prediction.person: prediction for prediction in predictions}
        for person in people:
            index = int(person.key.rpartition("#")[2])
            if person.missed:
                if len(self._missed) < SHOWN_MISSED:
                    self._missed.append(self._keep(sample, index, person, None))
                continue
            error = _error(person)
            # One of each clip: its next frame would show the same moment again.
            rival = self._worst.get(person.group)
            if rival is None and len(self._worst) >= SHOWN:
                rival = min(self._worst.values(), key=lambda kept: kept.error)
            if rival is None or error > rival.error:
                if rival is not None:
                    del self._worst[rival.group]
                self._worst[person.group] = self._keep(sample, index, person, answers[index])

    def drawn(self) -> tuple[Case, ...]:
        """Worst first, then the missed."""
        worst = sorted(self._worst.values(), key=lambda kept: -kept.error)
        return tuple(_draw(kept, self.joints) for kept in [*worst, *self._missed])

    def _keep(self, sample: Sample, index: int, person: PersonErrors, prediction: Prediction | None) -> _Kept:
        truth = sample.people[index]
        crop, matrix = _crop(sample.picture.pixels, np.asarray(truth.box_px, np.float64))
        if prediction is None:
            error, notes = float("inf"), ["no answer"]
        else:
            error, notes = _error(person), self._notes(person)
        facts = [f"{name}: {_said(value)}" for name, value in list(person.facts.items())[:4]]
        notes += [", ".join(facts)] if facts else []
        return _Kept(
            error, person.group, person.key, tuple(notes), crop, matrix, truth, sample.intrinsics, prediction
        )

    def _notes(self, person: PersonErrors) -> list[str]:
        """What is to be known of an answer, in words."""
        notes, selected = [], person.selected
        metric, unit = "error_px", "px"
        if "pa_mpjpe_mm" in person.per_hypothesis:
            metric, unit = "mpjpe_mm", "mm"
            aligned, rooted = person.per_hypothesis["pa_mpjpe_mm"], person.per_hypothesis["mpjpe_mm"]
            notes.append(f"PA-MPJPE {aligned[selected]:.0f} mm, MPJPE {rooted[selected]:.0f} mm")
            if len(aligned) > 1:
                notes.append(f"best of {len(aligned)}: PA-MPJPE {aligned.min():.0f} mm")
        else:
            notes.append(f"2D error {person.single['error_box_pct']:.1f} % of the box")
        if person.expected_mm is not None:
            notes.append(f"it expected {person.expected_mm[selected]:.0f} mm")
        off = person.per_point[metric]
        worst = int(np.nanargmax(off))
        return [*notes, f"worst: {self.joints.names[worst].replace('_', ' ')}, {off[worst]:.0f} {unit}"]


def _error(person: PersonErrors) -> float:
    if "pa_mpjpe_mm" in person.per_hypothesis:
        return float(person.per_hypothesis["pa_mpjpe_mm"][person.selected])
    return person.single["error_box_pct"]


def _draw(kept: _Kept, joints: JointSet) -> Case:
    points = kept.truth.points[joints.points]
    true_px = points.px
    if true_px is None:
        assert points.cam_m is not None
        true_px = _projected(points.cam_m, kept.camera)
    photo = [(true_px, TRUE_RGB)]
    if kept.prediction is None:
        views = (("photo", _skeletons(kept.crop, photo, kept.matrix, joints)),)
        return Case(kept.title, kept.notes, views, kept.error)
    chosen = kept.prediction.selected
    if joints.points in kept.prediction.points_px:
        photo.append((kept.prediction.points_px[joints.points][chosen], PREDICTED_RGB))
    views = [("photo", _skeletons(kept.crop, photo, kept.matrix, joints))]
    true_m = (
        np.full((len(true_px), 3), np.nan) if points.cam_m is None else np.asarray(points.cam_m, np.float64)
    )
    if not np.isfinite(true_m[list(joints.root)]).all():
        return Case(kept.title, kept.notes, tuple(views), kept.error)
    predicted_m = np.asarray(kept.prediction.points_m[joints.points][chosen], np.float64)
    pair = [xyz - xyz[list(joints.root)].mean(0) for xyz in (true_m, predicted_m)]
    used = list(joints.indices)
    reach = np.max([np.nanmax(np.abs(xyz[used]), axis=0) for xyz in pair], axis=0)
    scale = 0.45 * min(SIZE[0] / max(reach[0], reach[2]), SIZE[1] / reach[1])
    for label, axes in (("front", [0, 1]), ("side", [2, 1])):
        place = np.array([[scale, 0, SIZE[0] / 2], [0, scale, SIZE[1] / 2]])
        flat = [(xyz[:, axes], color) for xyz, color in zip(pair, (TRUE_RGB, PREDICTED_RGB), strict=True)]
        ground = np.full((SIZE[1], SIZE[0], 3), _GROUND, np.uint8)
        views.append((label, _skeletons(ground, flat, place, joints)))
    return Case(kept.title, kept.notes, tuple(views), kept.error)


def _skeletons(
    ground: np.ndarray, figures: Sequence[tuple[np.ndarray, tuple[int, int, int]]], matrix: np.ndarray,
    joints: JointSet,
) -> np.ndarray:  # fmt: skip
    """Stick figures over a picture; ``matrix`` takes their points to its pixels."""
    canvas = cv2.resize(ground, None, fx=_SCALE, fy=_SCALE, interpolation=cv2.INTER_LINEAR)
    used = set(joints.indices)
    for points, color in figures:
        placed = np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2]
        known = np.asarray(np.isfinite(placed).all(axis=1))
        # Far outside, integers of the drawing routine would overflow.
        spots = np.rint(np.clip(np.where(known[:, None], placed, 0), -2000, 4000) * _SCALE).astype(int)
        for width, shade in ((5 * _SCALE // 2 + 3, (255, 255, 255)), (5 * _SCALE // 2, color)):
            for a, b in BONES[joints.points]:
                if a in used and b in used and known[a] and known[b]:
                    start, end = (tuple(int(x) for x in spots[i]) for i in (a, b))
                    cv2.line(canvas, start, end, shade, width, cv2.LINE_AA)
        for joint in sorted(used):
            if known[joint]:
                spot = tuple(int(x) for x in spots[joint])
                cv2.circle(canvas, spot, 4 * _SCALE, (255, 255, 255), -1, cv2.LINE_AA)
                cv2.circle(canvas, spot, 3 * _SCALE, color, -1, cv2.LINE_AA)
    return cv2.resize(canvas, SIZE, interpolation=cv2.INTER_AREA)


def _crop(pixels: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The person's surroundings at ``SIZE``, and the map from the picture's pixels to the crop's."""
    center, span = (box[:2] + box[2:]) / 2, np.maximum(box[2:] - box[:2], 1)
    scale = float((np.array(SIZE) / (1.25 * span)).min())
    matrix = np.array([[scale, 0, 0], [0, scale, 0]], np.float64)
    matrix[:, 2] = np.array(SIZE) / 2 - scale * center
    source, onto = pixels, matrix.copy()
    factor = int(1 / scale)
    if factor >= 2:  # average first: bilinear sampling alone would skip pixels
        source = cv2.resize(pixels, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
        onto[:, :2] *= factor
    crop = cv2.warpAffine(source, onto, SIZE, flags=cv2.INTER_LINEAR, borderValue=(32, 32, 32))
    return crop, matrix


def _projected(points_m: np.ndarray, camera: Intrinsics) -> np.ndarray:
    return points_m[:, :2] / np.maximum(points_m[:, 2:], 0.05) * camera.focal_px + np.array(camera.center_px)


def _said(value: str | float | bool) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)
