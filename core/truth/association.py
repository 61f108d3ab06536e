"""Which detections of several views are the same person: those whose limbs meet in space.

A bystander whom two views see, or a false detection, has no third view that agrees and is left out.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
from jaxtyping import Float

from alignhmr.core.body.skeleton import KEYPOINT_MIRROR, SHARED_KEYPOINTS
from alignhmr.core.truth.multiview import CalibratedCamera, triangulate

AGREE_PX = 40.0
"""Detectors miss a limb by 5 to 10 px in these pictures; another person is hundreds away."""
LEAST_SHARE = 0.5
"""Of the limb points, on how many at least three views must agree for this to be a person."""

Keypoints = Float[np.ndarray, "views keypoints 3"]


def associate(
    cameras: Sequence[CalibratedCamera], found: Sequence[Float[np.ndarray, "_people keypoints 3"]]
) -> list[Keypoints]:
    """Everyone on whom three views agree: their keypoints (x, y, confidence) in each view, NaN where unseen.

    `found` holds each view's detections. Where a view sees a person's left as right, as detectors do with people
    who lean or turn their back, its keypoints are mirrored if that lets them agree with the other views.
    """
    free = [list(range(len(view))) for view in found]
    people = []
    while True:
        choices = [
            choice
            for choice in product(*[[None, *view] for view in free])
            if sum(index is not None for index in choice) >= 3
        ]
        if not choices:
            return people
        stacked = np.stack([_pick(found, choice) for choice in choices])
        scores = _agreement(cameras, stacked)
        person, used = _improved(cameras, stacked[int(np.argmax(scores))], found, free)
        limbs = triangulate(cameras, *_split(person[:, list(SHARED_KEYPOINTS)]), agree_px=AGREE_PX)
        if (limbs.agree.sum(0) >= 3).mean() < LEAST_SHARE:
            return people
        people.append(person)
        for view, index in zip(free, used, strict=True):
            if index is not None:
                view.remove(index)


def _pick(found: Sequence[np.ndarray], choice: Sequence[int | None]) -> Keypoints:
    nobody = np.full((len(KEYPOINT_MIRROR), 3), np.nan)
    return np.stack(
        [nobody if index is None else view[index] for view, index in zip(found, choice, strict=True)]
    )


def _split(keypoints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and weights. A confidence of 0 still says something: hidden limbs are guessed well."""
    return keypoints[..., :2], np.where(
        np.isfinite(keypoints[..., 2]), np.clip(keypoints[..., 2], 0.05, 1), 0
    )


def _agreement(
    cameras: Sequence[CalibratedCamera], stacked: Float[np.ndarray, "choices views keypoints 3"]
) -> Float[np.ndarray, "choices"]:
    """How many more views agree on the limbs than the two that any point needs; ties fall to the nearer fit."""
    limbs = stacked[:, :, list(SHARED_KEYPOINTS)].transpose(1, 0, 2, 3)
    result = triangulate(cameras, *_split(limbs.reshape(len(cameras), -1, 3)), agree_px=AGREE_PX)
    fit = np.where(result.agree, 1 - result.residual_px / AGREE_PX, 0)
    more = np.maximum(result.agree.sum(0) - 2, 0) * (1 + 0.1 * fit.sum(0))
    return more.reshape(len(stacked), -1).sum(1)


def _improved(
    cameras: Sequence[CalibratedCamera],
    person: Keypoints,
    found: Sequence[np.ndarray],
    free: Sequence[Sequence[int]],
) -> tuple[Keypoints, list[int | None]]:
    """Each view's detection exchanged in turn, mirrored or not, for what agrees best with the other views."""
    mirror = list(KEYPOINT_MIRROR)
    person = person.copy()
    used: list[int | None] = [None] * len(cameras)
    for _ in range(2):
        for view, detections in enumerate(found):
            options: list[tuple[int | None, np.ndarray]] = [(None, np.full_like(person[view], np.nan))]
            for index in free[view]:
                options += [(index, detections[index]), (index, detections[index][mirror])]
            trials = np.repeat(person[None], len(options), 0)
            trials[:, view] = np.stack([keypoints for _, keypoints in options])
            best = int(np.argmax(_agreement(cameras, trials)))
            used[view], person[view] = options[best]
    return person, used
