"""The base model: a regressor gives the initial estimate, a denoiser adapts its distribution to the person.

One encoding of the evidence serves both. What is diffused is the residual of the truth to the initial
estimate, in units of its standard deviation over the training data (the second paper's 'distribution
adaptation'): noise zero gives one deterministic answer, M noises give M hypotheses.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from alignhmr.core.diffusion import schedule
from alignhmr.core.diffusion.attention import Layers
from alignhmr.core.diffusion.condition import Condition
from alignhmr.core.diffusion.denoiser import MlpDenoiser
from alignhmr.core.diffusion.encoder import Encoded, ImageEncoder, MlpEncoder, concatenate
from alignhmr.core.diffusion.image_tokens import PointTokens
from alignhmr.core.diffusion.kinematic_denoiser import KinematicDenoiser
from alignhmr.core.diffusion.parameters import SIZE, canonical
from alignhmr.core.diffusion.patch_tokens import PatchTokens
from alignhmr.core.diffusion.pose_tokens import PoseTokens
from alignhmr.core.diffusion.token_encoder import TokenEncoder
from alignhmr.core.errors import InputError
from alignhmr.core.perception import pose_features, vision_backbone

TRANSFORMERS = "transformers:"
"""Before the folder or name of a vision model in ``BaseModelConfig.image``."""


@dataclass(frozen=True)
class BaseModelConfig:
    """Parts and sizes of the networks."""

    image: str = "blazepose"
    """What looks at pixels: BlazePose's inner layers, EfficientNet-Lite0 ("efficientnet-lite0"), or
    ``transformers:FOLDER`` of a vision model; "none" for a model that looks at keypoints alone."""
    crop_px: int = 256
    """Side of the picture that it sees: 256 for BlazePose, a multiple of 32 for EfficientNet-Lite0."""
    eyes_width: int = 64
    """Channels of the layers that learn on top of BlazePose's."""
    eyes_blocks: int = 1
    width: int = 640
    encoder_blocks: int = 3
    denoiser_width: int = 512
    denoiser_blocks: int = 2
    temperature: float = 1.0
    """Standard deviation of the initial noise of hypotheses, chosen on held-out people so that their spread is
    that of the truth."""
    guidance: float = 1.0
    """Share that the picture has in an answer, the rest being what is answered without it: classifier-free guidance
    (Ho and Salimans 2022, with a scale below one). It is for eyes that learned from other pictures than they meet."""
    correction: float = 1.0
    """Share that the denoiser has in the zero-noise answer, the rest being the initial estimate that it corrects."""
    parts: str = "mlp"
    """What encoder and denoiser are made of: "mlp", one vector a person; or "transformer", tokens that attend."""
    heads: int = 8
    feed_forward: int = 2048
    """Hidden width of a transformer's layers."""
    hops: Sequence[int] = field(default_factory=lambda: [7, 6, 5, 4, 3, 1])
    """How far a joint sees along the kinematic tree in each of the transformer denoiser's blocks."""
    train_image: bool = True
    """Whether what looks at pixels learns further from where it was pretrained."""
    backbone: dict[str, Any] | None = None
    """What the vision model of ``transformers`` is; None where there is none, or where nobody has looked yet."""

    def described(self) -> "BaseModelConfig":
        """With ``backbone`` filled in from the folder that ``image`` names, so that a checkpoint needs no folder.

        SetupError where there is no such model, CompatibilityError where it gives no patch tokens.
        """
        if self.backbone is not None or not self.image.startswith(TRANSFORMERS):
            return self
        return replace(self, backbone=vision_backbone.describe(self.image.removeprefix(TRANSFORMERS)))


View = tuple[Float[Tensor, "people"], Encoded]
"""Share of each person's answer, and the evidence that it comes of."""


class BaseModel(nn.Module):
    """Evidence -> initial estimate, and (x_t, t, evidence) -> x0."""

    mean: Tensor
    residual_std: Tensor

    def __init__(self, config: BaseModelConfig | None = None) -> None:
        """With random weights. InputError for parts or sizes that don't exist."""
        super().__init__()
        self.config = c = (config or BaseModelConfig()).described()
        self.encoder = _encoder(c, _image_encoder(c))
        self.regressor = nn.Sequential(nn.LayerNorm(c.width), nn.Linear(c.width, SIZE))
        self.denoiser = _denoiser(c)
        # The regressor answers a deviation from this mean, and the denoiser one in units of this spread.
        self.register_buffer("mean", torch.zeros(SIZE))
        self.register_buffer("residual_std", torch.ones(SIZE))
        nn.init.normal_(self.regressor[1].weight, std=1e-3)  # type: ignore[arg-type]
        nn.init.zeros_(self.regressor[1].bias)  # type: ignore[arg-type]

    @property
    def sees_pixels(self) -> bool:
        return self.config.image != "none"

    @property
    def reads_features(self) -> bool:
        """Whether ``pose_tokens.features_of`` may stand in for crops."""
        return isinstance(self.encoder.image, PoseTokens)

    def encode(self, condition: Condition) -> Encoded:
        """Once per person, however many hypotheses follow."""
        return self.encoder(condition)

    def regress(self, encoded: Encoded) -> Float[Tensor, "people params"]:
        """The initial estimate, the packed vector of a body; in float32 whatever the networks use."""
        return canonical(self._regressed(encoded))

    def _regressed(self, encoded: Encoded) -> Float[Tensor, "people params"]:
        """As the regressor says it, six numbers of a rotation at whatever length."""
        with torch.autocast(self.mean.device.type, enabled=False):
            return self.mean + self.regressor(encoded.vector.float())

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

    def recompute(self, on: bool) -> None:
        """Whether gradients work activations of transformers out again instead of keeping them: a third more time."""
        for module in self.modules():
            if isinstance(module, Layers):
                module.recompute = on
            elif isinstance(module, vision_backbone.VisionBackbone):
                module.recompute(on)

    def trainable_in_alignment(self) -> list[nn.Parameter]:
        """What preference optimisation moves: the denoiser. With the encoder and the regressor held, policy
        and reference diffuse residuals to the same initial estimate, and their losses can be compared."""
        return list(self.denoiser.parameters())

    @torch.no_grad()
    def sample(
        self, condition: Condition | Encoded | Sequence[View], noise: Float[Tensor, "people hyps params"],
        steps: int = 4,
    ) -> Float[Tensor, "people hyps params"]:  # fmt: skip
        """Packed hypotheses from their initial noise, by ``steps`` DDIM steps (eta = 0).

        ``config.guidance`` applies where evidence with pictures is given, or its ``views``; what is encoded already is
        taken as it is.
        """
        views = self.views(condition)
        initial = self.initial_of(views)[:, None]
        x = still = noise * self.config.temperature
        for t, t_next in zip(times := schedule.sampling_steps(steps), [*times[1:], None], strict=True):
            x0 = self.answer(views, x, t)
            still = x0 if t == times[0] else still
            x = x0 if t_next is None else schedule.ddim_step(x, x0, t, t_next)
        # Without noise the first step answers: what is nothing but a guess isn't refined by taking it for a body.
        x = torch.where((noise == 0).all(-1, keepdim=True), self.config.correction * still, x)
        return initial + x * self.residual_std

    def answer(
        self, views: Sequence[View], x: Float[Tensor, "people hyps params"], t: int
    ) -> Float[Tensor, "people hyps params"]:
        """x0 that all views together predict of x at step t."""
        shares = torch.stack([share for share, _ in views])[..., None, None]
        # All views at once: the weights are read once for them.
        x_t = x.repeat(len(views), 1, 1)
        at = torch.full(x_t.shape[:-1], t, device=x.device)
        everyone = concatenate([encoded for _, encoded in views])
        return (shares * self.denoise(x_t, at, everyone).unflatten(0, (len(views), -1))).sum(0)

    def initial_of(self, views: Sequence[View]) -> Float[Tensor, "people params"]:
        """The initial estimate of all views together: the surer one's six numbers are longer, and weigh more."""
        return canonical(
            torch.stack([share[:, None] * self._regressed(encoded) for share, encoded in views]).sum(0)
        )

    def views(self, condition: Condition | Encoded | Sequence[View]) -> list[View]:
        """Encodings of the evidence, and their shares of each person's answer; they add up to one.

        Who has no keypoints is answered by the picture alone: without it there would be nothing to go by.
        """
        if isinstance(condition, Sequence):
            return list(condition)
        if not isinstance(condition, Condition):
            return [(condition.vector.new_ones(len(condition.vector)), condition)]
        both = condition.has_image & condition.has_keypoints
        share = torch.where(both, self.config.guidance, 1.0)
        views = [(share, self.encode(condition))]
        if (share != 1).any():
            views.append((1 - share, self.encode(condition.without("image"))))
        return views


def _image_encoder(c: BaseModelConfig) -> ImageEncoder | None:
    if c.image == "none":
        return None
    if c.image.startswith(TRANSFORMERS):
        assert c.backbone is not None, "described() fills it in"
        if c.crop_px <= 0:
            raise InputError(
                f"crops of {c.crop_px} px hold nothing; give the side of the vision model's input"
            )
        return PatchTokens(c.backbone, trained=c.train_image)
    if c.image == "blazepose":
        if c.crop_px != pose_features.INPUT:
            raise InputError(f"BlazePose looks at crops of {pose_features.INPUT} px, not of {c.crop_px}")
        return PoseTokens(c.eyes_width, c.eyes_blocks)
    if c.image != "efficientnet-lite0":
        raise InputError(
            f"unknown image encoder {c.image!r}; choose blazepose, efficientnet-lite0, transformers:FOLDER or none"
        )
    if c.crop_px % 32 or c.crop_px <= 0:
        raise InputError(f"crops of {c.crop_px} px don't divide into strides of 32; give a multiple of 32")
    return PointTokens(c.crop_px, trained=c.train_image)


def _encoder(c: BaseModelConfig, image: ImageEncoder | None) -> MlpEncoder | TokenEncoder:
    if c.parts == "mlp":
        return MlpEncoder(c.width, c.encoder_blocks, image)
    if c.parts == "transformer":
        return TokenEncoder(c.width, c.encoder_blocks, c.heads, c.feed_forward, image)
    raise InputError(f"unknown parts {c.parts!r} of a base model; choose mlp or transformer")


def _denoiser(c: BaseModelConfig) -> MlpDenoiser | KinematicDenoiser:
    if c.parts == "mlp":
        return MlpDenoiser(c.denoiser_width, c.denoiser_blocks, c.width)
    if len(c.hops) != c.denoiser_blocks:
        raise InputError(
            f"{c.denoiser_blocks} blocks of the denoiser and hops for {len(c.hops)} of them; give one number each"
        )
    return KinematicDenoiser(c.denoiser_width, c.heads, c.feed_forward, tuple(c.hops), c.width)


def hypothesis_noise(hyps: int, generator: torch.Generator) -> Float[Tensor, "hyps params"]:
    """Initial noise of one person: the first row is zero (the deterministic answer), the others are Gaussian.

    Drawn row by row, so that asking for more hypotheses keeps the first ones as they were.
    """
    rows = [torch.randn(SIZE, generator=generator) for _ in range(hyps)]
    return torch.stack([rows[0] * 0, *rows[1:]])
