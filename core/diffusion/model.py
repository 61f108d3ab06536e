"""The base model: a regressor gives the initial estimate, a denoiser adapts its distribution to the person.

One encoding of the condition serves both. What is diffused is the residual of the truth to the initial
estimate, in units of its standard deviation over the training data (the second paper's 'distribution
adaptation'): noise zero gives one deterministic answer, M noises give M hypotheses.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from alignhmr.core.diffusion import schedule
from alignhmr.core.diffusion.condition import CONDITION_SIZE
from alignhmr.core.diffusion.parameters import SIZE


@dataclass(frozen=True)
class BaseModelConfig:
    """Sizes of the starter's networks. MLPs: on a CPU they learn several times more a minute than attention."""

    width: int = 640
    encoder_blocks: int = 2
    denoiser_width: int = 512
    denoiser_blocks: int = 2


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


class BaseModel(nn.Module):
    """Condition vector -> initial estimate, and (x_t, t, condition) -> x0."""

    mean: Tensor
    residual_std: Tensor

    def __init__(self, config: BaseModelConfig | None = None) -> None:
        super().__init__()
        self.config = config or BaseModelConfig()
        c = self.config
        self.encoder = nn.Sequential(
            nn.Linear(CONDITION_SIZE, c.width), *[ResidualBlock(c.width) for _ in range(c.encoder_blocks)]
        )
        self.regressor = nn.Sequential(nn.LayerNorm(c.width), nn.Linear(c.width, SIZE))
        self.time = nn.Sequential(nn.Linear(64, c.denoiser_width), nn.GELU())
        self.denoiser_in = nn.Linear(SIZE + c.width, c.denoiser_width)
        self.denoiser = nn.Sequential(*[ResidualBlock(c.denoiser_width) for _ in range(c.denoiser_blocks)])
        self.denoiser_out = nn.Sequential(nn.LayerNorm(c.denoiser_width), nn.Linear(c.denoiser_width, SIZE))
        # The regressor answers a deviation from this mean, and the denoiser one in units of this spread.
        self.register_buffer("mean", torch.zeros(SIZE))
        self.register_buffer("residual_std", torch.ones(SIZE))
        nn.init.normal_(self.regressor[1].weight, std=1e-3)  # type: ignore[arg-type]
        nn.init.zeros_(self.regressor[1].bias)  # type: ignore[arg-type]

    def encode(self, condition: Float[Tensor, "*batch condition"]) -> Float[Tensor, "*batch width"]:
        """Once per person, however many hypotheses follow."""
        return self.encoder(condition)

    def regress(self, encoded: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch params"]:
        """The initial estimate, as a packed parameter vector."""
        return self.mean + self.regressor(encoded)

    def denoise(
        self,
        x_t: Float[Tensor, "*batch params"],
        t: Int[Tensor, "*batch"],
        encoded: Float[Tensor, "*batch width"],
    ) -> Float[Tensor, "*batch params"]:
        """Predicted x0: the normalised residual to the initial estimate."""
        hidden = self.denoiser_in(torch.cat([x_t, encoded], -1)) + self.time(_time_features(t))
        return self.denoiser_out(self.denoiser(hidden))

    def residual(
        self, packed: Float[Tensor, "*batch params"], initial: Float[Tensor, "*batch params"]
    ) -> Float[Tensor, "*batch params"]:
        """x0 of a body: its deviation from the initial estimate, normalised."""
        return (packed - initial) / self.residual_std

    def trainable_in_alignment(self) -> list[nn.Parameter]:
        """What preference optimisation moves: the denoiser. With the encoder and the regressor held, policy
        and reference diffuse residuals to the same initial estimate, and their losses can be compared."""
        modules = (self.time, self.denoiser_in, self.denoiser, self.denoiser_out)
        return [parameter for module in modules for parameter in module.parameters()]

    @torch.no_grad()
    def sample(
        self,
        condition: Float[Tensor, "batch condition"],
        noise: Float[Tensor, "batch hyps params"],
        steps: int = 4,
    ) -> Float[Tensor, "batch hyps params"]:
        """Packed hypotheses from their initial noise, by ``steps`` DDIM steps (eta = 0)."""
        encoded = self.encode(condition)[:, None]
        initial = self.regress(encoded)
        encoded = encoded.expand(-1, noise.shape[1], -1)
        x = noise
        for t, t_next in zip(times := schedule.sampling_steps(steps), [*times[1:], None], strict=True):
            x0 = self.denoise(x, torch.full(x.shape[:-1], t, device=x.device), encoded)
            x = x0 if t_next is None else schedule.ddim_step(x, x0, t, t_next)
        return initial + x * self.residual_std


def hypothesis_noise(
    hyps: int, generator: torch.Generator, temperature: float = 1.0
) -> Float[Tensor, "hyps params"]:
    """Initial noise of one person: the first row is zero (the deterministic answer), the others are Gaussian.

    Drawn row by row, so that asking for more hypotheses keeps the first ones as they were.
    """
    rows = [torch.randn(SIZE, generator=generator) * temperature for _ in range(hyps)]
    return torch.stack([rows[0] * 0, *rows[1:]])


def _time_features(t: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch 64"]:
    frequencies = torch.exp(torch.arange(32, device=t.device) * (-math.log(1000.0) / 31))
    phase = t[..., None] / schedule.STEPS * 1000 * frequencies
    return torch.cat([phase.sin(), phase.cos()], -1)
