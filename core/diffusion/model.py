"""The base model: a regressor gives the initial estimate, a denoiser adapts its distribution to the person.

One encoding of the evidence serves both. What is diffused is the residual of the truth to the initial
estimate, in units of its standard deviation over the training data (the second paper's 'distribution
adaptation'): noise zero gives one deterministic answer, M noises give M hypotheses.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from alignhmr.core.diffusion import schedule
from alignhmr.core.diffusion.condition import Condition
from alignhmr.core.diffusion.denoiser import MlpDenoiser
from alignhmr.core.diffusion.encoder import Encoded, MlpEncoder
from alignhmr.core.diffusion.image_tokens import point_tokens
from alignhmr.core.diffusion.parameters import SIZE


@dataclass(frozen=True)
class BaseModelConfig:
    """Parts and sizes of the networks."""

    image: str = "efficientnet-lite0"
    """What looks at pixels; "none" for a model that looks at keypoints alone."""
    crop_px: int = 128
    """Side of the picture that it sees; a multiple of 32."""
    width: int = 640
    encoder_blocks: int = 3
    denoiser_width: int = 512
    denoiser_blocks: int = 2
    temperature: float = 1.0
    """Standard deviation of the initial noise of hypotheses, chosen on held-out people so that their spread is
    that of the truth."""


class BaseModel(nn.Module):
    """Evidence -> initial estimate, and (x_t, t, evidence) -> x0."""

    mean: Tensor
    residual_std: Tensor

    def __init__(self, config: BaseModelConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or BaseModelConfig()
        self.encoder = MlpEncoder(c.width, c.encoder_blocks, point_tokens(c.image, c.crop_px))
        self.regressor = nn.Sequential(nn.LayerNorm(c.width), nn.Linear(c.width, SIZE))
        self.denoiser = MlpDenoiser(c.denoiser_width, c.denoiser_blocks, c.width)
        # The regressor answers a deviation from this mean, and the denoiser one in units of this spread.
        self.register_buffer("mean", torch.zeros(SIZE))
        self.register_buffer("residual_std", torch.ones(SIZE))
        nn.init.normal_(self.regressor[1].weight, std=1e-3)  # type: ignore[arg-type]
        nn.init.zeros_(self.regressor[1].bias)  # type: ignore[arg-type]

    @property
    def sees_pixels(self) -> bool:
        return self.config.image != "none"

    def encode(self, condition: Condition) -> Encoded:
        """Once per person, however many hypotheses follow."""
        return self.encoder(condition)

    def regress(self, encoded: Encoded) -> Float[Tensor, "people params"]:
        """The initial estimate, as a packed parameter vector."""
        return self.mean + self.regressor(encoded.vector)

    def denoise(
        self, x_t: Float[Tensor, "people hyps params"], t: Int[Tensor, "people hyps"], encoded: Encoded
    ) -> Float[Tensor, "people hyps params"]:
        """Predicted x0: the normalised residual to the initial estimate."""
        return self.denoiser(x_t, t, encoded)

    def residual(
        self, packed: Float[Tensor, "*batch params"], initial: Float[Tensor, "*batch params"]
    ) -> Float[Tensor, "*batch params"]:
        """x0 of a body: its deviation from the initial estimate, normalised."""
        return (packed - initial) / self.residual_std

    def trainable_in_alignment(self) -> list[nn.Parameter]:
        """What preference optimisation moves: the denoiser. With the encoder and the regressor held, policy
        and reference diffuse residuals to the same initial estimate, and their losses can be compared."""
        return list(self.denoiser.parameters())

    @torch.no_grad()
    def sample(
        self, condition: Condition | Encoded, noise: Float[Tensor, "people hyps params"], steps: int = 4
    ) -> Float[Tensor, "people hyps params"]:
        """Packed hypotheses from their initial noise, by ``steps`` DDIM steps (eta = 0)."""
        encoded = self.encode(condition) if isinstance(condition, Condition) else condition
        initial = self.regress(encoded)[:, None]
        x = noise * self.config.temperature
        for t, t_next in zip(times := schedule.sampling_steps(steps), [*times[1:], None], strict=True):
            x0 = self.denoise(x, torch.full(x.shape[:-1], t, device=x.device), encoded)
            x = x0 if t_next is None else schedule.ddim_step(x, x0, t, t_next)
        return initial + x * self.residual_std


def hypothesis_noise(hyps: int, generator: torch.Generator) -> Float[Tensor, "hyps params"]:
    """Initial noise of one person: the first row is zero (the deterministic answer), the others are Gaussian.

    Drawn row by row, so that asking for more hypotheses keeps the first ones as they were.
    """
    rows = [torch.randn(SIZE, generator=generator) for _ in range(hyps)]
    return torch.stack([rows[0] * 0, *rows[1:]])
