"""What the base model learns from: simulated detections without end, and prepared people with pictures.

Global batch k depends on (seed, k) alone; each worker takes its rows of it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from alignhmr.core.body.model import BodyModel
from alignhmr.core.diffusion.condition import concatenate
from alignhmr.core.errors import InputError
from alignhmr.core.synthetic.observations import Observations, ObservationSampler
from alignhmr.training.augmentation import AugmentationConfig, observe
from alignhmr.training.looks import Looks
from alignhmr.training.mixture import Mixture

SMALLEST_PX = 32
"""Of the crops that a model is given which doesn't look at them."""


@dataclass(frozen=True)
class Rows:
    """Which people of each global batch a worker has."""

    index: Int[Tensor, "people"]
    of: int
    """People of the global batch."""

    @classmethod
    def whole(cls, people: int) -> "Rows":
        return cls(torch.arange(people), people)

    @classmethod
    def shared(cls, pictures: int, simulated: int, rank: int, world: int) -> "Rows":
        """An even share of the people with pictures, who come first, and of those without."""
        for count, who in ((pictures, "prepared people"), (simulated, "simulated detections")):
            if count % world:
                raise InputError(
                    f"{count} {who} of a step can't be shared evenly by {world} workers; give a multiple (`sightings`,"
                    " `batch_size`) or another number of --workers"
                )
        with_pictures = torch.arange(pictures).reshape(world, -1)[rank]
        without = pictures + torch.arange(simulated).reshape(world, -1)[rank]
        return cls(torch.cat([with_pictures, without]), pictures + simulated)


@dataclass(frozen=True)
class PictureBatches:
    """Prepared people, changed a little each time they are shown."""

    mixture: Mixture
    body: BodyModel
    count: int
    """Of a global batch."""
    crop_px: int
    augmentation: AugmentationConfig
    looks: Looks | None = None
    """Where features are kept that take the crops' place; None gives crops."""

    def at(self, k: int, seed: int, rank: int = 0, world: int = 1) -> Observations:
        """A worker's share of global batch k; how a person is changed depends on (seed, k) and the row alone."""
        generator = torch.Generator().manual_seed(seed * 1_000_003 + k)
        people = self.mixture.rows(k, self.count, rank, world)
        first = rank * len(people)
        if self.looks is not None:
            return self.looks.observed(
                people, self.body, generator, self.augmentation, first=first, of=self.count
            )
        return observe(
            people, self.body, self.crop_px, generator, self.augmentation, first=first, of=self.count
        )


@dataclass(frozen=True)
class ObservationBatches:
    """People with simulated detections; batch k depends on (seed, k) alone: a resumed run sees what it would have."""

    sampler: ObservationSampler
    batch_size: int
    seed: int
    rank: int = 0
    world: int = 1

    def __call__(self, k: int) -> Observations:
        """This worker's share of global batch k."""
        # Drawing everyone costs some milliseconds; drawing a share would make the batch depend on the workers.
        batch = self.sampler.sample(self.batch_size, torch.Generator().manual_seed(self.seed * 1_000_003 + k))
        share = self.batch_size // self.world
        return batch if self.world == 1 else batch.take(slice(self.rank * share, (self.rank + 1) * share))


@dataclass(frozen=True)
class MixedBatches:
    """People with pictures, then people without, in each batch."""

    simulated: ObservationBatches
    pictures: PictureBatches

    def __call__(self, k: int) -> Observations:
        """The worker's share of global batch k."""
        without = self.simulated
        seen = self.pictures.at(k, without.seed, without.rank, without.world)
        return concatenate([seen, without(k)])
