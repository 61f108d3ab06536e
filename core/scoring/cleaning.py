"""Which labels are to be trusted: keep, drop, or replace by the model's own answer.

A label is judged by what HMR-Scorer expects of it, in mm, and by how far its keypoints fall from those that a detector
sees, in mm at the person's distance: root-relative errors say nothing of a camera that drifted. The two are combined
like independent errors, and held against what is expected of the model's own answer: who is hard to see isn't labelled
wrongly for that. How many labels are kept follows from the precision that is asked for: as many of the best as can be
kept while, by the scorer's calibration, that share of them is right.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from alignhmr.core.body.skeleton import SHARED_KEYPOINTS
from alignhmr.core.errors import InputError
from alignhmr.core.scoring.confidence import ErrorConfidence

Decision = Literal["keep", "relabel", "drop"]
_SURE = 0.5
_LEAST_WITNESSES = 3
_LIMBS = list(SHARED_KEYPOINTS)
USUAL_MM = 110.0
"""Expected error of the model's answer about somebody who is as hard to tell as is usual. Chosen so that of the labels
kept by a precision of 0.9 that share was right (README of this folder)."""
LEAST_DEPTH_M, NOWHERE_MM = 0.2, 1e5
"""Nobody's root stands nearer to a camera; and how far off a label is that says so."""
_HARDNESS = 0.85
"""How much of the difference in hardness is taken out; all would be 1. Chosen there."""


@dataclass(frozen=True)
class CleaningRule:
    tolerance_mm: float = 150.0
    """A label whose error is no larger is right."""
    precision: float = 0.9
    """Share of the kept labels that shall be right."""
    better: float = 0.75
    """The model's own answer replaces a label where it is judged at most this share as wrong."""

    def __post_init__(self) -> None:
        if not self.tolerance_mm > 0:
            raise InputError(f"a tolerance of {self.tolerance_mm} mm keeps nothing; give a positive number")
        if not 0 < self.precision < 1:
            raise InputError(f"precision is {self.precision}; give a share between 0 and 1")


@dataclass(frozen=True)
class Cleaned:
    """What becomes of each label."""

    decisions: list[Decision]
    threshold_mm: float
    """Labels judged worse are not kept; 0 where none can be."""
    expected_precision: float
    """Of the kept ones, by the calibration; NaN where none is kept."""


def off_mm(
    projected_px: Float[np.ndarray, "*any keypoints 2"], keypoints_px: Float[np.ndarray, "keypoints 3"],
    depth_m: Float[np.ndarray, "*any"], focal_px: float,
) -> Float[np.ndarray, "*any"]:  # fmt: skip
    """Median distance of the limb keypoints from those that were surely seen, at the person's distance ``depth_m``.

    The median, since a detector is sometimes far off; 0 with fewer than three witnesses. A body at the camera or behind
    it is ``NOWHERE_MM`` off: nobody can be seen there.
    """
    nowhere = np.asarray(depth_m) < LEAST_DEPTH_M
    sure = [index for index in _LIMBS if keypoints_px[index, 2] >= _SURE]
    if len(sure) < _LEAST_WITNESSES:
        return np.where(nowhere, NOWHERE_MM, 0.0)
    off_px = np.linalg.norm(projected_px[..., sure, :] - keypoints_px[sure, :2], axis=-1)
    return np.where(nowhere, NOWHERE_MM, np.median(off_px, axis=-1) * np.asarray(depth_m) / focal_px * 1000)


def standing_m(
    depth_m: Float[np.ndarray, "*any"], own_m: Float[np.ndarray, "*any"] | float
) -> Float[np.ndarray, "*any"]:
    """At which distance a label's place in the picture is judged: its own, or the model's answer's if that is further.

    A label that stands too near would be few mm off otherwise, wherever it falls. One at the camera stays there.
    """
    return np.where(depth_m < LEAST_DEPTH_M, depth_m, np.maximum(depth_m, own_m))


def judged_mm(
    expected_mm: Float[np.ndarray, "*any"], off: Float[np.ndarray, "*any"],
    own_mm: Float[np.ndarray, "*any"] | float = USUAL_MM,
) -> Float[np.ndarray, "*any"]:  # fmt: skip
    """How wrong a label seems, in space and in the picture, as if of somebody who is as hard to tell as is usual.

    ``own_mm`` is what the scorer expects of the model's own answer: of a person who is hard to see it expects much of
    any body, the true one, too. An answer that shall replace a label is taken as it is.
    """
    return np.hypot(expected_mm, off) * (USUAL_MM / np.maximum(own_mm, 1.0)) ** _HARDNESS


def clean(
    judged: Float[np.ndarray, "labels"], own: Float[np.ndarray, "labels"] | None, confidence: ErrorConfidence,
    rule: CleaningRule | None = None,
) -> Cleaned:  # fmt: skip
    """Decisions on labels that seem so wrong; ``own`` is how wrong the model's own answers seem."""
    rule = rule or CleaningRule()
    if not np.isfinite(judged).all():
        raise InputError(
            "some labels could not be judged: their numbers are not finite; leave those people out"
        )
    order = np.argsort(judged, kind="stable")
    right = confidence.chance_within(judged[order], rule.tolerance_mm)
    share = np.cumsum(right) / np.arange(1, len(right) + 1)
    enough = np.flatnonzero(share >= rule.precision)
    count = int(enough[-1]) + 1 if len(enough) else 0
    threshold = float(judged[order[count - 1]]) if count else 0.0
    kept = np.zeros(len(judged), bool)
    kept[order[:count]] = True
    decisions: list[Decision] = []
    for index, is_kept in enumerate(kept):
        better = own is not None and own[index] <= min(threshold, rule.better * judged[index])
        decisions.append("keep" if is_kept else "relabel" if better else "drop")
    return Cleaned(decisions, threshold, float(share[count - 1]) if count else float("nan"))
