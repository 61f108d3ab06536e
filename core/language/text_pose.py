"""A space where descriptions and poses meet: what is said of a pose lies near it.

The pose side reads what the VQ-VAE's codes say (quantised latents, the decoded rotations and joints); the text side
adds up the clauses of a description, in any order and number. Both end on the unit sphere and are drawn together by a
symmetric contrastive loss (training/text_pose.py). Facing and inclination are meant as a level camera sees them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from alignhmr.core.geometry.rotations import matrix_to_sixd
from alignhmr.core.language.lexicon import WORDINGS
from alignhmr.core.language.pose_vqvae import Coded, PoseVqVae, ResidualMlp, VqVaeConfig, joints_of
from alignhmr.core.language.text_encoder import clauses_of, text_encoder


@dataclass(frozen=True)
class TextPoseConfig:
    text_encoder: str = "minilm"
    text_size: int = 389
    """Numbers of a clause's features."""
    code_dim: int = 8
    codes: int = 512
    levels: int = 3
    joint_width: int = 48
    width: int = 384
    blocks: int = 1
    space: int = 256
    """Numbers of a place in the shared space."""
    text_width: int = 256
    pose_width: int = 448
    pose_blocks: int = 2

    def vqvae(self) -> VqVaeConfig:
        return VqVaeConfig(self.code_dim, self.codes, self.levels, self.joint_width, self.width, self.blocks)


class TextPose(nn.Module):
    """Pose VQ-VAE, and the two sides of the shared space."""

    rest_joints: Tensor
    text_mean: Tensor
    text_std: Tensor

    def __init__(self, config: TextPoseConfig) -> None:
        super().__init__()
        self.config = config
        self.vqvae = PoseVqVae(config.vqvae())
        features = config.vqvae().latent_size + 24 * 9
        self.pose_side = ResidualMlp(features, config.pose_width, config.space, config.pose_blocks)
        self.clause_side = nn.Linear(config.text_size, config.text_width)
        self.weigh = nn.Linear(config.text_width, 1)
        self.text_side = ResidualMlp(config.text_width, config.text_width, config.space, 1)
        self.log_scale = nn.Parameter(torch.tensor(math.log(14.0)))
        self.register_buffer("rest_joints", torch.zeros(24, 3))
        # Features of clauses share nearly all of their length; what tells them apart is what they differ in.
        self.register_buffer("text_mean", torch.zeros(config.text_size))
        self.register_buffer("text_std", torch.ones(config.text_size))

    def place_of_coded(self, coded: Coded, *, learn_codes: bool = False) -> Float[Tensor, "batch space"]:
        """Where poses lie, by their codes; their gradient stays out of the codes unless they shall learn of it."""
        rotations, latents = coded.rotations, coded.quantised
        if not learn_codes:
            rotations, latents = rotations.detach(), latents.detach()
        joints = joints_of(rotations, self.rest_joints)
        told = [latents.flatten(1), matrix_to_sixd(rotations).flatten(1), 2 * joints.flatten(1)]
        return nn.functional.normalize(self.pose_side(torch.cat(told, 1)), dim=-1)

    def place_of_pose(self, rotations: Float[Tensor, "batch 24 3 3"]) -> Float[Tensor, "batch space"]:
        """Where poses lie; joint 0 is the root in the camera frame. It has a gradient, straight through the codes."""
        return self.place_of_coded(self.vqvae(rotations), learn_codes=True)

    def place_of_clauses(
        self, clauses: Float[Tensor, "batch most size"], there: Bool[Tensor, "batch most"]
    ) -> Float[Tensor, "batch space"]:
        """Where descriptions lie, by the features of their clauses; ``there`` says which clauses are."""
        total = (self.values_of_clauses(clauses) * there[..., None]).sum(1)
        return self.place_of_sum(total, there.sum(1))

    def values_of_clauses(self, clauses: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch width"]:
        """What each clause adds to its description."""
        hidden = nn.functional.gelu(self.clause_side((clauses - self.text_mean) / self.text_std))
        return hidden * torch.sigmoid(self.weigh(hidden))

    def place_of_sum(
        self, total: Float[Tensor, "batch width"], count: Int[Tensor, "batch"]
    ) -> Float[Tensor, "batch space"]:
        """Where descriptions lie whose ``count`` clauses add up to ``total``."""
        total = total / count[:, None].clamp_min(1).sqrt()
        return nn.functional.normalize(self.text_side(total), dim=-1)

    @torch.no_grad()
    def place_of_text(
        self, texts: Sequence[str], part: str | None = None, *, wordings: int = WORDINGS
    ) -> Float[Tensor, "texts space"]:
        """Where texts lie. A text without a clause lies where nothing is said; ``wordings`` as in ``reading.read``."""
        told = [clauses_of(text, part, wordings=wordings) for text in texts]
        encoder = text_encoder(self.config.text_encoder)
        most = max((len(clauses) for clauses in told), default=0) or 1
        features = torch.zeros(len(texts), most, self.config.text_size)
        there = torch.zeros(len(texts), most, dtype=torch.bool)
        for row, clauses in enumerate(told):
            if clauses:
                features[row, : len(clauses)] = encoder(clauses)
                there[row, : len(clauses)] = True
        device = self.rest_joints.device
        return self.place_of_clauses(features.to(device), there.to(device))


def similarity(
    one: Float[Tensor, "*batch space"], other: Float[Tensor, "*batch space"]
) -> Float[Tensor, "*batch"]:
    """Cosine of two places."""
    return (one * other).sum(-1)
