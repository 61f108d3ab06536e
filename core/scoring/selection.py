"""One answer out of many: the mean of the zero-noise answer and the best-scored ones.

Among fewer than ``records.LEAST_WITH_MEAN`` the best-scored is chosen.

Means of rotations are taken on their manifold: the rotation nearest to the mean of matrices (the chordal mean of
Moakher 2002). A mean of poses isn't one of the hypotheses: it has its own translation, fitted anew.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from alignhmr.core.diffusion.parameters import BodyParameters
from alignhmr.core.geometry.rotations import nearest_rotation

BEST = 1
"""Hypotheses whose mean with the zero-noise answer is the answer: chosen on held-out people (README of this folder)."""
ZERO_NOISE = 0.7
"""Weight of the zero-noise answer in that mean; the best share the rest. Chosen there."""


def mean_of_best(
    scores: Float[Tensor, "people hyps"],
    parameters: BodyParameters,
    best: int,
    zero_noise: float = ZERO_NOISE,
) -> BodyParameters:
    """One body of each person, people x 1: the mean of the best-scored ones, and with this weight of hypothesis 0."""
    weights = (1 - zero_noise) * _of_best(scores, best)
    weights[:, 0] += zero_noise
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
