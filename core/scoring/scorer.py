"""HMR-Scorer: rates hypotheses of one person without 3D labels.

It looks at what a hypothesis claims (2D and 3D keypoints, joint rotations, shape) beside what was observed.
Part of its evidence the generator never sees: the detector's own 3D keypoints. A judge that knows only what
the generator knew can't select better than the generator's zero-noise answer.
Two heads: a score for ranking within a person (ADHMR's ranking loss) and an expected error in mm.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.diffusion.condition import FLAT_SIZE, to_crop

_N = len(KEYPOINTS)
_TOKEN_SIZE = 19
_HIPS = [KEYPOINTS.index("left_hip"), KEYPOINTS.index("right_hip")]


@dataclass(frozen=True)
class ScorerConfig:
    token_width: int = 32
    width: int = 320
    blocks: int = 2


@dataclass(frozen=True)
class Evidence:
    """What was observed of a batch of people."""

    condition: Float[Tensor, "people condition"]
    crop_px: Float[Tensor, "people 3"]
    detector_3d_m: Float[Tensor, "people keypoints 3"]
    """Hip-centred, camera axes; zeros where the detector has none."""
    has_detector_3d: Float[Tensor, "people"]


@dataclass(frozen=True)
class Claim:
    """What M hypotheses of each of them say."""

    sixd: Float[Tensor, "people hyps 144"]
    betas: Float[Tensor, "people hyps 10"]
    keypoints_m: Float[Tensor, "people hyps keypoints 3"]
    """Camera axes; any origin."""
    keypoints_px: Float[Tensor, "people hyps keypoints 2"]


class HMRScorer(nn.Module):
    """(evidence, claim) -> (score, expected MPJPE in mm) per hypothesis."""

    def __init__(self, config: ScorerConfig | None = None) -> None:
        super().__init__()
        self.config = config or ScorerConfig()
        c = self.config
        self.token_in = nn.Linear(_TOKEN_SIZE, c.token_width)
        self.identity = nn.Parameter(torch.randn(_N, c.token_width) * 0.1)
        self.token_out = nn.Linear(c.token_width, c.token_width)
        self.join = nn.Linear(_N * c.token_width + 154 + 3, c.width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(c.width), nn.Linear(c.width, c.width), nn.GELU(), nn.Linear(c.width, c.width)
            )
            for _ in range(c.blocks)
        )
        self.head = nn.Linear(c.width, 2)

    def forward(
        self, evidence: Evidence, claim: Claim
    ) -> tuple[Float[Tensor, "people hyps"], Float[Tensor, "people hyps"]]:
        tokens = self._tokens(evidence, claim)
        hidden = nn.functional.gelu(self.token_in(tokens) + self.identity)
        hidden = nn.functional.gelu(self.token_out(hidden)).flatten(-2)
        hyps = hidden.shape[1]
        look = evidence.condition[:, None, FLAT_SIZE - 3 :].expand(-1, hyps, -1)
        hidden = self.join(torch.cat([hidden, claim.sixd, claim.betas, look], -1))
        for block in self.blocks:
            hidden = hidden + block(hidden)
        score, error = self.head(hidden).unbind(-1)
        return score, 100 * nn.functional.softplus(error)

    @staticmethod
    def _tokens(evidence: Evidence, claim: Claim) -> Float[Tensor, "people hyps keypoints features"]:
        """Per keypoint: observed, claimed, and how they differ in 2D and in 3D (metres x 5, to be of order 1)."""
        hyps = claim.betas.shape[1]
        observed = evidence.condition[:, None, : 3 * _N].unflatten(-1, (_N, 3)).expand(-1, hyps, -1, -1)
        confidence = observed[..., 2:]
        seen = (confidence > 0).to(confidence.dtype)
        claimed_xy = to_crop(claim.keypoints_px, evidence.crop_px[:, None]).clamp(-3, 3)
        off = (claimed_xy - observed[..., :2]) * seen
        claimed_3d = claim.keypoints_m - claim.keypoints_m[..., _HIPS, :].mean(-2, keepdim=True)
        has_3d = evidence.has_detector_3d[:, None, None, None].expand(-1, hyps, _N, 1)
        detector_3d = evidence.detector_3d_m[:, None].expand(-1, hyps, -1, -1)
        apart = (claimed_3d - detector_3d) * has_3d * seen
        return torch.cat(
            [
                observed,
                claimed_xy,
                5 * off,
                5 * off.norm(dim=-1, keepdim=True) * confidence,
                claimed_3d,
                detector_3d,
                5 * apart,
                5 * apart.norm(dim=-1, keepdim=True),
                has_3d,
            ],
            -1,
        )


def ranking_loss(
    scores: Float[Tensor, "people hyps"], errors_mm: Float[Tensor, "people hyps"], tie_mm: float = 10.0
) -> Float[Tensor, ""]:
    """Pairwise logistic ranking within each person (ADHMR's L_rank, sigma = 5).

    The target of a pair is (1 + clip(difference / tie_mm, -1, 1)) / 2: hypotheses closer than ``tie_mm`` are
    nearly a tie, so that the scorer isn't asked to tell apart what can't be told apart.
    """
    difference = scores[:, :, None] - scores[:, None, :]
    better = (errors_mm[:, None, :] - errors_mm[:, :, None]) / tie_mm
    target = (1 + better.clamp(-1, 1)) / 2
    loss = nn.functional.binary_cross_entropy_with_logits(5 * difference, target, reduction="none")
    upper = torch.triu(torch.ones_like(loss[0], dtype=torch.bool), diagonal=1)
    return loss[:, upper].mean()
