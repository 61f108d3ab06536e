"""What the base model learns from: simulated detections without end, and prepared people with pictures.

Global batch k depends on (seed, k) alone; each worker takes its rows of it.
"""

from collections.abc import Iterator
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
from alignhmr.training.prefetch import prefetched

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


def observation_batches(
    sampler: ObservationSampler, batch_size: int, seed: int, start: int = 0, rank: int = 0, world: int = 1
) -> Iterator[Observations]:
    """An endless stream; batch k depends on (seed, k) alone, so a resumed run sees what it would have."""
    share = batch_size // world
    k = start
    while True:
        # Drawing everyone costs some milliseconds; drawing a share would make the batch depend on the workers.
        batch = sampler.sample(batch_size, torch.Generator().manual_seed(seed * 1_000_003 + k))
        yield batch if world == 1 else batch.take(slice(rank * share, (rank + 1) * share))
        k += 1


def mixed_batches(
    sampler: ObservationSampler, batch_size: int, pictures: PictureBatches, seed: int, start: int = 0,
    rank: int = 0, world: int = 1,
) -> Iterator[Observations]:  # fmt: skip
    """People with pictures, then people without, in each batch; the next ones are made meanwhile."""

    def stream() -> Iterator[Observations]:
        simulated = observation_batches(sampler, batch_size, seed, start, rank, world)
        for k, without in enumerate(simulated, start):
            yield concatenate([pictures.at(k, seed, rank, world), without])

    return prefetched(stream())
