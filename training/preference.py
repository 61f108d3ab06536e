"""Preference optimisation of the denoiser against the frozen base: three objectives, one interface.

With e the denoiser's error on a noised body (policy theta, reference ref), all bodies of a person under one noise and
at one timestep, and rise = e_theta - e_ref:

    dpo     r    = -beta / 2 * (rise_w - rise_l)                                 the implicit reward's margin
            loss = -log sigmoid(r)
    group   loss = beta / 2 * sum_i A_i rise_i / M, where a bad one's rise counts up to ``TRUST / beta``
    sft     loss = beta / 2 * e_theta_w

    each + anchor * beta / 2 * max(0, rise_w)                        rounded off below ``WORSE / beta``

(dpo: Wallace et al., CVPR 2024, eq. 14, omega constant, T inside beta. group: arXiv 2602.19180, section 3.3; its linear
loss has no bottom where A < 0, so a bad hypothesis is pushed away only so far.) DPO alone is content when the winner
gets worse as long as the loser gets worse faster; the anchor is SFT on those winners that got worse, in DPO's own
unit. ``sft`` is what the others have to beat. Encoder and regressor are frozen, so policy and reference diffuse
residuals to the same initial estimate.
"""

import copy
import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from alignhmr.core.body.model import BodyModel
from alignhmr.core.diffusion import schedule
from alignhmr.core.diffusion.encoder import Encoded
from alignhmr.core.diffusion.model import BaseModel
from alignhmr.core.diffusion.parameters import CAMERA, POSE, SHAPE, SIZE, unpack
from alignhmr.core.errors import InputError
from alignhmr.core.metrics.positions import mpjpe_mm
from alignhmr.training.base import Precision
from alignhmr.training.low_rank import LowRank, adapt

Objective = Literal["dpo", "group", "sft"]
TRUST = 4.0
"""Rise of a bad hypothesis' error, times beta, up to which ``group`` pushes: there DPO's sigmoid is 0.88."""


WORSE = 0.2
"""Rise of a winner, times beta, from which on the anchor pulls with all its weight. A bend at zero itself would be
decided by rounding where policy is reference: a batch in parts would teach something else than the whole."""
TIE = 1e-6
"""Difference of two rises that is taken for none: what rounding makes of errors of order one."""


@dataclass(frozen=True)
class PreferenceConfig:
    """Weights of the objective."""

    beta: float = 1000.0
    """Strength of the hold on the reference. Under about 500 the model breaks while accuracy shines."""
    anchor: float = 0.1
    """Pull on a winner that got worse, as a share of DPO's at the start; 0 is none. On 600 made people,
    ranked by their true error with noise, zero-noise error fell by 1.5 % with 0, by 1.2 % with 0.1 (and the
    spread of the hypotheses stayed), by 0.8 % with 0.5; measured with a sharp bend in place of ``WORSE``."""
    pose: float = 1.0
    shape: float = 0.25
    camera: float = 0.25
    """Weights of the three parts of the error; it is their weighted mean. One photo says little of shape, and
    the crop camera is fitted to the keypoints afterwards."""
    objective: Objective = "dpo"

    def dimension_weights(self) -> Float[Tensor, "params"]:
        """A weight per dimension that turns the sum of squares into the weighted mean of part means."""
        weights = torch.zeros(SIZE)
        for part, weight in ((POSE, self.pose), (SHAPE, self.shape), (CAMERA, self.camera)):
            weights[part] = weight / (part.stop - part.start)
        return weights / (self.pose + self.shape + self.camera)


@dataclass(frozen=True)
class PreferenceBatch:
    """Bodies of the same person, best first, and the draw that all their errors share."""

    evidence: Encoded
    """What the base's frozen encoder made of each person."""
    bodies: Float[Tensor, "rows bodies params"]
    """Winner and loser, or a whole group."""
    advantage: Float[Tensor, "rows bodies"]
    """By how many standard deviations each is better than its group; 1 and -1 of a pair."""
    noise: Float[Tensor, "rows params"]
    t: Int[Tensor, "rows"]
    reference: Float[Tensor, "rows bodies"] | None = None
    """Errors of the reference, where they are known already (``reference_cache.py``)."""

    @classmethod
    def of_pairs(
        cls, evidence: Encoded, winner: Float[Tensor, "rows params"], loser: Float[Tensor, "rows params"],
        noise: Float[Tensor, "rows params"], t: Int[Tensor, "rows"],
    ) -> "PreferenceBatch":  # fmt: skip
        advantage = winner.new_tensor([1.0, -1.0]).expand(len(winner), 2)
        return cls(evidence, torch.stack([winner, loser], 1), advantage, noise, t)

    @property
    def winner(self) -> Float[Tensor, "rows params"]:
        return self.bodies[:, 0]

    @property
    def loser(self) -> Float[Tensor, "rows params"]:
        return self.bodies[:, -1]

    def to(self, device: torch.device | str) -> "PreferenceBatch":
        moved = {
            field.name: value.to(device)
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) is not None
        }
        return PreferenceBatch(**moved)

    def parts(self, count: int) -> list["PreferenceBatch"]:
        """As many batches of one size, the mean of whose losses is this one's; InputError where rows don't divide."""
        rows = len(self.bodies)
        if count < 1 or rows % count:
            raise InputError(
                f"a worker's {rows} preferences of a batch can't be met in {count} parts; give a divisor of {rows}"
            )
        slices = [slice(start, start + rows // count) for start in range(0, rows, rows // count)]
        tensors = {
            field.name: value
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return [
            PreferenceBatch(
                evidence=self.evidence.take(part), **{name: value[part] for name, value in tensors.items()}
            )
            for part in slices
        ]


class PreferenceObjective(nn.Module):
    """Batch -> loss and what to watch. Its trainable parameters are the policy's denoiser, nothing else."""

    weights: Tensor

    def __init__(
        self, policy: BaseModel, config: PreferenceConfig | None = None, *, low_rank: LowRank | None = None,
        precision: Precision = "fp32", seed: int = 0,
    ) -> None:  # fmt: skip
        """The reference is a copy of the policy as it comes.

        With ``low_rank`` the denoiser's linear layers learn a change of low rank, whose start follows from the seed.
        With ``precision`` bf16 both denoisers multiply in it; their answers, losses and weights stay in float32.
        """
        super().__init__()
        self.config = config or PreferenceConfig()
        self.precision: Precision = precision
        self.policy = policy.requires_grad_(False)
        self.reference = copy.deepcopy(policy)
        if low_rank is not None:
            adapt(policy.denoiser, low_rank, seed)
        else:
            for parameter in policy.trainable_in_alignment():
                parameter.requires_grad_(True)
        self.register_buffer("weights", self.config.dimension_weights(), persistent=False)

    def forward(self, batch: PreferenceBatch) -> tuple[Float[Tensor, ""], dict[str, float]]:
        x0 = self._residuals(batch)
        reference = batch.reference if batch.reference is not None else self.reference_errors(batch, x0)
        policy = self._errors(self.policy, x0, batch)
        return preference_loss(policy, reference, batch.advantage, self.config)

    @torch.no_grad()
    def reference_errors(
        self, batch: PreferenceBatch, x0: Tensor | None = None
    ) -> Float[Tensor, "rows bodies"]:
        """What never changes in a run."""
        return self._errors(self.reference, self._residuals(batch) if x0 is None else x0, batch)

    @torch.no_grad()
    def _residuals(self, batch: PreferenceBatch) -> Float[Tensor, "rows bodies params"]:
        initial = self.reference.regress(batch.evidence)
        return self.reference.residual(batch.bodies, initial[:, None].expand_as(batch.bodies))

    def _errors(
        self, model: BaseModel, x0: Float[Tensor, "rows bodies params"], batch: PreferenceBatch
    ) -> Float[Tensor, "rows bodies"]:
        bodies = x0.shape[1]
        t = batch.t[:, None].expand(-1, bodies)
        noised = schedule.add_noise(x0, batch.noise[:, None].expand_as(x0), t)
        with torch.autocast(x0.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            predicted = model.denoise(noised, t, batch.evidence)
        # A hypothesis far out would decide the whole batch; 25 is five standard deviations.
        return ((predicted.float() - x0).square().clamp(max=25) * self.weights).sum(-1)


def preference_loss(
    policy: Float[Tensor, "rows bodies"], reference: Float[Tensor, "rows bodies"],
    advantage: Float[Tensor, "rows bodies"], config: PreferenceConfig,
) -> tuple[Float[Tensor, ""], dict[str, float]]:  # fmt: skip
    """The objective from the errors, best first, and what to watch: means over rows, so that workers' average."""
    rise = policy - reference
    gap = rise[:, 0] - rise[:, -1]
    margin = -config.beta / 2 * gap
    half = config.beta / 2
    if config.objective == "dpo":
        preferred = -nn.functional.logsigmoid(margin).mean()
    elif config.objective == "group":
        pushed = torch.where(advantage < 0, rise.clamp(max=TRUST / config.beta), rise)
        preferred = half * (advantage * pushed).mean()
    else:
        preferred = half * policy[:, 0].mean()
    worse, bend = rise[:, 0].clamp_min(0), WORSE / config.beta
    pull = torch.where(worse < bend, worse.square() / (2 * bend), worse - bend / 2)
    loss = preferred + config.anchor * half * pull.mean()
    with torch.no_grad():
        watched = {
            config.objective: preferred,
            # A pair on which nothing has moved is half right.
            "accuracy": ((gap < -TIE).float() + 0.5 * (gap.abs() <= TIE).float()).mean(),
            "margin": margin.mean(),
            "winner_error": policy[:, 0].mean(),
            "winner_reference": reference[:, 0].mean(),
            "loser_error": policy[:, -1].mean(),
            "loser_reference": reference[:, -1].mean(),
        }
    return loss, {name: float(value.detach()) for name, value in watched.items()}


@torch.no_grad()
def drift_mm(policy: BaseModel, reference: BaseModel, body: BodyModel, evidence: Encoded) -> float:
    """Mean distance in mm of the joints of policy's and reference's zero-noise answers, roots aligned."""
    noise = torch.zeros(len(evidence.vector), 1, SIZE, device=evidence.vector.device)
    joints = []
    for model in (policy, reference):
        parameters = unpack(model.sample(evidence, noise)[:, 0])
        joints.append(body.kinematics(parameters.rotations, parameters.betas).joints)
    return float(mpjpe_mm(joints[0], joints[1]).mean())


def rise_pct(values: dict[str, float], whose: Literal["winner", "loser"]) -> float:
    """By how many percent the policy's error lies above the reference's."""
    return 100 * (values[f"{whose}_error"] / max(values[f"{whose}_reference"], 1e-9) - 1)


def alarm(values: dict[str, float], tolerance_pct: float = 1.0) -> str | None:
    """A sentence when the winner gets worse while accuracy looks fine, else None."""
    rise, accuracy = rise_pct(values, "winner"), values["accuracy"]
    if not math.isfinite(rise):
        return "the loss is no longer a number; lower the learning rate"
    if rise > tolerance_pct and accuracy > 0.55:
        return (
            f"the winner's error is {rise:.1f} % above the reference while accuracy is {100 * accuracy:.0f}"
            " %: the policy leaves winner and loser alike; raise beta or the anchor, or take fewer steps"
        )
    return None
