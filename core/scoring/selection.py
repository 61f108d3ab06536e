"""One answer out of many: the best-scored, the mean of the best, or where the well-scored ones are thickest.

Means of rotations are taken on their manifold: the rotation nearest to the mean of matrices (the chordal mean of
Moakher 2002). A mean of poses isn't one of the hypotheses: it has its own translation, fitted anew.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alignhmr.core.diffusion.parameters import BodyParameters
from alignhmr.core.geometry.rotations import nearest_rotation

AGREEMENT = 8.0
"""Of ``agreement`` in the score by which hypotheses are ranked: chosen on held-out people (README of this folder)."""
Method = Literal["top", "mean", "mode"]


@dataclass(frozen=True)
class SelectionRule:
    """How an answer is chosen of the hypotheses and their scores."""

    method: Method = "top"
    """``top``: the best-scored one. ``mean``: the mean of the ``best`` best. ``mode``: the one that is nearest to all,
    weighted by their scores."""
    best: int = 5
    sharpness: float = 5.0
    """Of scores in ``mode``, whose weights are softmax(sharpness x score); 5 is sigma of the ranking loss."""


def agreement(joints_m: Float[Tensor, "people hyps joints 3"]) -> Float[Tensor, "people hyps"]:
    """Minus the distance of each hypothesis from the mean of all of its person, in metres; 0 where there is one.

    Hypotheses are draws from what the generator believes: far from their mean is unlikely, whatever the picture says.
    """
    relative = joints_m - joints_m[..., :1, :]
    return -(relative - relative.mean(1, keepdim=True)).norm(dim=-1).mean(-1)


def choose(
    scores: Float[Tensor, "people hyps"], joints_m: Float[Tensor, "people hyps joints 3"], rule: SelectionRule
) -> Int[Tensor, "people"]:
    """Index of the answer, or of the hypothesis that is nearest to it: root-relative joints decide."""
    if rule.method == "top":
        return scores.argmax(-1)
    relative = joints_m - joints_m[..., :1, :]
    if rule.method == "mean":
        weights = _of_best(scores, rule.best)
        middle = (weights[..., None, None] * relative).sum(1, keepdim=True)
        return (relative - middle).norm(dim=-1).mean(-1).argmin(-1)
    weights = (rule.sharpness * scores).softmax(-1)
    apart = (relative[:, :, None] - relative[:, None]).norm(dim=-1).mean(-1)
    return (apart @ weights[..., None])[..., 0].argmin(-1)


def mean_of_best(
    scores: Float[Tensor, "people hyps"], parameters: BodyParameters, best: int
) -> BodyParameters:
    """One body of each person: the mean of the best-scored ones, people x 1."""
    weights = _of_best(scores, best)
    rotations = (weights[..., None, None, None] * parameters.rotations).sum(1, keepdim=True)
    return BodyParameters(
        nearest_rotation(rotations),
        (weights[..., None] * parameters.betas).sum(1, keepdim=True),
        (weights[..., None] * parameters.camera).sum(1, keepdim=True),
    )


def _of_best(scores: Float[Tensor, "people hyps"], best: int) -> Float[Tensor, "people hyps"]:
    """Equal weights of the best, 0 for the others."""
    index = scores.topk(min(best, scores.shape[-1]), dim=-1).indices
    chosen = torch.zeros_like(scores).scatter(-1, index, 1.0)
    return chosen / chosen.sum(-1, keepdim=True)
