"""From evidence to one vector a person: what regressor and denoiser share, computed once per person."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.diffusion.condition import Condition
from alignhmr.core.diffusion.image_tokens import ImageTokens, PointTokens
from alignhmr.core.diffusion.patch_tokens import PatchTokens
from alignhmr.core.diffusion.pose_tokens import PoseTokens

ImageEncoder = PointTokens | PatchTokens | PoseTokens


@dataclass(frozen=True)
class Encoded:
    """Evidence as the networks read it."""

    vector: Float[Tensor, "people width"]
    tokens: Float[Tensor, "people tokens width"] | None = None
    """For a denoiser that attends; None for one that doesn't."""
    seen: Bool[Tensor, "people tokens"] | None = None
    """Which of the tokens stand for something that is there; the first of each person does."""
    image: ImageTokens | None = None
    """Of the people with a picture; None if nobody has one."""

    def take(self, index: Tensor | np.ndarray | slice) -> "Encoded":
        """Of some of the people; what the pictures said is left behind."""
        tokens, seen = (None if part is None else part[index] for part in (self.tokens, self.seen))
        return Encoded(self.vector[index], tokens, seen)

    def to(self, device: str | torch.device) -> "Encoded":
        tokens, seen = (None if part is None else part.to(device) for part in (self.tokens, self.seen))
        return Encoded(self.vector.to(device), tokens, seen)


def concatenate(parts: Sequence[Encoded]) -> Encoded:
    """People of several batches, one after another; what the pictures said is left behind."""
    vector = torch.cat([part.vector for part in parts])
    if parts[0].tokens is None:
        return Encoded(vector)
    tokens, seen = ([getattr(part, name) for part in parts] for name in ("tokens", "seen"))
    return Encoded(vector, torch.cat(tokens), torch.cat(seen))


class ResidualBlock(nn.Module):
    """Pre-norm MLP block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, width)
        self.down = nn.Linear(width, width)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


class MlpEncoder(nn.Module):
    """A linear map of each kind of evidence, or a learned vector where it is missing; their sum through blocks."""

    def __init__(self, width: int, blocks: int, image: ImageEncoder | None) -> None:
        super().__init__()
        self.image = image
        if image is not None:
            self.from_image = nn.Linear(image.size, width)
        self.from_keypoints = nn.Linear(3 * len(KEYPOINTS), width)
        self.from_look = nn.Linear(3, width)
        self.missing = nn.Parameter(torch.zeros(3, width))
        self.blocks = nn.Sequential(*[ResidualBlock(width) for _ in range(blocks)])

    def forward(self, condition: Condition) -> Encoded:
        if self.image is None:
            condition = condition.without("image")
        has = torch.stack([condition.has_image, condition.has_keypoints, condition.has_look], -1)
        # Nothing is made of what is missing: a bias would say something.
        hidden = (~has).to(self.missing.dtype) @ self.missing
        hidden = hidden + self.from_keypoints(condition.keypoints.flatten(-2)) * has[:, 1:2]
        hidden = hidden + self.from_look(condition.look) * has[:, 2:]
        seen = None
        if self.image is not None and len(condition.crops):
            seen = self.image(condition.crops, condition.of_pictures())
            index = condition.has_image.nonzero()[:, 0]
            hidden = hidden.index_add(0, index, self.from_image(seen.flat()))
        return Encoded(self.blocks(hidden), image=seen)
