"""Labels as they come: truths with noise, and truths that are wrong in the ways that labels are wrong.

A base model hardly ever draws them, so a scorer that judges labels, too (`alignhmr clean`), is shown them beside what
the base draws.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from alignhmr.core.diffusion.parameters import BodyParameters
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.synthetic.observations import Observations, ObservationSampler
from alignhmr.core.synthetic.poses import mirror

FLIPPED, TURNED, OTHER_POSE, SWAPPED = 0.15, 0.1, 0.15, 0.1
"""Shares of labels with left for right; turned about by 60 to 180 degrees; in another pose; with another's body."""
NOISE_RAD = 0.3
"""Standard deviation of the noisiest label's joints; the root has 0.4 of its own."""
_BANK = 2048


class Perturbation:
    """Observations -> labels of the same people, more or less wrong."""

    def __init__(self, others: Float[Tensor, "poses 24 3 3"] | None = None) -> None:
        """``others`` are bodies to be taken for theirs; without any, nobody is."""
        self.others = others

    @classmethod
    def drawn(cls, sampler: ObservationSampler, seed: int) -> "Perturbation":
        return cls(sampler.sample(_BANK, torch.Generator().manual_seed(seed)).rotations)

    def __call__(self, batch: Observations, count: int, each: Sequence[torch.Generator]) -> BodyParameters:
        """``count`` labels a person, as the person's generator decides."""
        device = batch.betas.device

        def normal(*size: int) -> Tensor:
            return torch.stack([torch.randn(*size, generator=one) for one in each]).to(device)

        def uniform(*size: int) -> Tensor:
            return torch.stack([torch.rand(*size, generator=one) for one in each]).to(device)

        kind, how = uniform(count), uniform(count)
        noise = normal(count, 24, 3) * NOISE_RAD * uniform(count, 1, 1)
        noise[:, :, 0] *= 0.4
        rotations = self._wrong(batch.rotations, kind, how) @ axis_angle_to_matrix(noise)
        betas = batch.betas[:, None] + 0.3 * normal(count, 10)
        return BodyParameters(rotations, betas, batch.camera[:, None].expand(-1, count, -1))

    def _wrong(
        self, true: Float[Tensor, "people 24 3 3"], kind: Float[Tensor, "people count"],
        how: Float[Tensor, "people count"],
    ) -> Float[Tensor, "people count 24 3 3"]:  # fmt: skip
        """Uniform in 0..1, ``kind`` says what is wrong and ``how`` which one of that kind it is."""
        found = true[:, None].expand(-1, kind.shape[1], -1, -1, -1).clone()
        root = found[:, :, :1].clone()

        def where(low: float, share: float) -> Float[Tensor, "people count 1 1 1"]:
            return ((kind >= low) & (kind < low + share))[..., None, None, None]

        flipped = torch.cat([root, mirror(true)[:, None, 1:].expand_as(found[:, :, 1:])], 2)
        found = torch.where(where(0, FLIPPED), flipped, found)
        angle = torch.zeros(*kind.shape, 3, device=kind.device)
        angle[..., 1] = math.pi * (1 / 3 + 2 / 3 * how)
        turned = torch.cat([root @ axis_angle_to_matrix(angle)[:, :, None], found[:, :, 1:]], 2)
        found = torch.where(where(FLIPPED, TURNED), turned, found)
        if self.others is not None:
            others = self.others.to(true.device)
            others = others[(how * len(others)).long().clamp_max(len(others) - 1)]
            posed = torch.cat([root, others[:, :, 1:]], 2)
            found = torch.where(where(FLIPPED + TURNED, OTHER_POSE), posed, found)
            found = torch.where(where(FLIPPED + TURNED + OTHER_POSE, SWAPPED), others, found)
        return found
