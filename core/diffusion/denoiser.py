"""Denoisers: (x_t, t, evidence) -> x0, the normalised residual to the initial estimate."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from alignhmr.core.diffusion import schedule
from alignhmr.core.diffusion.encoder import Encoded, ResidualBlock
from alignhmr.core.diffusion.parameters import SIZE


class MlpDenoiser(nn.Module):
    """Residual MLP over x_t, t and the evidence's vector. A CPU learns it several times faster than attention."""

    def __init__(self, width: int, blocks: int, encoded_width: int) -> None:
        super().__init__()
        self.time = nn.Sequential(nn.Linear(64, width), nn.GELU())
        self.from_x = nn.Linear(SIZE, width)
        self.from_evidence = nn.Linear(encoded_width, width)
        self.blocks = nn.Sequential(*[ResidualBlock(width) for _ in range(blocks)])
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, SIZE))

    def forward(
        self, x_t: Float[Tensor, "people hyps params"], t: Int[Tensor, "people hyps"], encoded: Encoded
    ) -> Float[Tensor, "people hyps params"]:
        evidence = self.from_evidence(encoded.vector)[:, None]
        hidden = self.from_x(x_t) + evidence + self.time(time_features(t))
        return self.out(self.blocks(hidden))


def time_features(t: Int[Tensor, "*batch"], size: int = 64) -> Float[Tensor, "*batch size"]:
    """Sines and cosines of the step, from one period over the whole schedule to one over a thousandth of it."""
    frequencies = torch.exp(torch.arange(size // 2, device=t.device) * (-math.log(1000.0) / (size // 2 - 1)))
    phase = t[..., None] / schedule.STEPS * 1000 * frequencies
    return torch.cat([phase.sin(), phase.cos()], -1)
