"""How well each hypothesis agrees with what is said of a person: one number for each body part, from 0 to 1.

Two witnesses. Posecodes: how probable each told category is for the hypothesis' joints (a fact near a border counts
half). Latent: how near the text and the pose lie in the shared space. A logistic fit on perturbed truths turns both
into one number, the probability that the part lies within ``NEAR_MM`` of where whoever spoke saw it
(``tests/benchmarks/language.py --fit``). Pure functions; whoever mines preferences may take them as a veto and as a
tie-break.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from alignhmr.core.body.skeleton import JOINTS
from alignhmr.core.language.facts import BY_NAME, PARTS, SIDES
from alignhmr.core.language.matching import log_probability
from alignhmr.core.language.measures import CAMERA_UP
from alignhmr.core.language.posecodes import Posecodes, posecodes

NEAR_MM = 80.0
"""A part whose joints lie nearer to the truth's than this, in the mean, is as it was told."""
PART_JOINTS: dict[str, tuple[int, ...]] = {
    "head": (JOINTS.index("head"),),
    "torso": tuple(JOINTS.index(name) for name in ("neck", "left_shoulder", "right_shoulder", "left_hip", "right_hip")),
    **{
        f"{side}_{part}": tuple(JOINTS.index(f"{side}_{joint}") for joint in joints)
        for part, joints in (("arm", ("elbow", "wrist", "hand")), ("leg", ("knee", "ankle", "foot")))
        for side in SIDES
    },
}  # fmt: skip
"""Part -> the joints by which it is near or far."""


@dataclass(frozen=True)
class Calibration:
    """Logistic weights of the mean log probability of a part's facts, and of the whole text's similarity."""

    check: float
    latent: float
    bias: float

    def __call__(self, check: np.ndarray, latent: np.ndarray | float) -> np.ndarray:
        return 1 / (1 + np.exp(-(self.check * check + self.latent * latent + self.bias)))


CHECK_ALONE = Calibration(1.245, 0.0, 0.139)
WITH_LATENT = Calibration(1.138, 3.317, -1.474)


@dataclass(frozen=True)
class Agreement:
    """What a caption says of M hypotheses of one person."""

    parts: Float[np.ndarray, "hyps 6"]
    """In the order of ``PARTS``; NaN where nothing was told of the part."""
    told: Int[np.ndarray, "6"]
    """Facts told of each part."""
    overall: Float[np.ndarray, "hyps"]
    """Mean over the parts of which something was told, weighted by how much; 0.5 without any."""

    def disagreeing(self, below: float = 0.2) -> Bool[np.ndarray, "hyps 6"]:
        """Where words and pose disagree."""
        return np.nan_to_num(self.parts, nan=1.0) < below

    def names(self, hypothesis: int, below: float = 0.2) -> tuple[str, ...]:
        """The parts in which this hypothesis is not as it was told: for a record."""
        hit = self.disagreeing(below)[hypothesis]
        return tuple(part for part, bad in zip(PARTS, hit, strict=True) if bad)


def agreement(
    told: Mapping[str, str],
    joints_m: Float[np.ndarray, "hyps 24 3"],
    similarities: Float[np.ndarray, "hyps"] | None = None,
    *,
    up: tuple[float, float, float] = CAMERA_UP,
    calibration: Calibration | None = None,
) -> Agreement:
    """Agreement of hypotheses with told posecodes (fact -> category, as ``reading.read`` gives them).

    ``joints_m`` are in the camera's frame (y down); ``similarities`` are cosines of the text and each pose
    (``text_pose``), without which the posecodes judge alone. Facts that are unknown here raise KeyError.
    """
    checks, count = part_checks(told, posecodes(joints_m, up))
    if calibration is None:
        calibration = CHECK_ALONE if similarities is None else WITH_LATENT
    latent = 0.0 if similarities is None else np.asarray(similarities, np.float64)[:, None]
    parts = np.where(count > 0, calibration(checks, latent), np.nan)
    if count.sum() == 0:
        overall = np.full(len(joints_m), 0.5)
    else:
        overall = np.nansum(parts * count, 1) / count.sum()
    return Agreement(parts, count, overall)


def part_checks(
    told: Mapping[str, str], codes: Posecodes
) -> tuple[Float[np.ndarray, "hyps 6"], Int[np.ndarray, "6"]]:
    """Mean log probability of the facts told of each part (0 where none), and how many they are."""
    total = np.zeros((len(codes.codes), len(PARTS)))
    count = np.zeros(len(PARTS), np.int64)
    for name, category in told.items():
        part = PARTS.index(BY_NAME[name].part)
        total[:, part] += log_probability(codes, name, category)
        count[part] += 1
    return total / np.maximum(count, 1), count


def vetoed(
    found: Agreement, *, below: float = 0.1, parts: int = 1, overall: float = 0.0
) -> Bool[np.ndarray, "hyps"]:
    """Hypotheses that at least so many parts, or the whole, speak against.

    Where every hypothesis is hit the words are likelier wrong than all of them: nobody is vetoed then.
    """
    hit = (found.disagreeing(below).sum(1) >= parts) | (found.overall < overall)
    return np.zeros_like(hit) if hit.all() else hit


def tie_broken(
    scores: Float[np.ndarray, "hyps"], found: Agreement, within: float
) -> Float[np.ndarray, "hyps"]:
    """Scores moved by at most ``within`` / 2: two of them change places only if they were nearer than ``within``."""
    return scores + within * (found.overall - 0.5)
