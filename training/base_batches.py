"""What the base model learns from: simulated detections without end, and prepared people with pictures."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.synthetic.observations import Observations, ObservationSampler, concatenate
from alignhmr.training.augmentation import AugmentationConfig, observe
from alignhmr.training.mixture import Mixture
from alignhmr.training.prefetch import prefetched


@dataclass(frozen=True)
class PictureBatches:
    """Prepared people, changed a little each time they are shown."""

    mixture: Mixture
    body: BodyModel
    count: int
    """Of a global batch."""
    crop_px: int
    augmentation: AugmentationConfig

    def at(self, k: int, seed: int, rank: int = 0, world: int = 1) -> Observations:
        """A worker's share of global batch k; how a person is changed depends on (seed, k, rank, world) alone."""
        generator = torch.Generator().manual_seed(((seed * 1_000_003 + k) * 64 + rank) * 64 + world)
        people = self.mixture.rows(k, self.count, rank, world)
        return observe(people, self.body, self.crop_px, generator, self.augmentation)


def observation_batches(
    sampler: ObservationSampler, batch_size: int, seed: int, start: int = 0
) -> Iterator[Observations]:
    """An endless stream; batch k depends on (seed, k) alone, so a resumed run sees what it would have."""
    k = start
    while True:
        yield sampler.sample(batch_size, torch.Generator().manual_seed(seed * 1_000_003 + k))
        k += 1


def mixed_batches(
    sampler: ObservationSampler, batch_size: int, pictures: PictureBatches, seed: int, start: int = 0
) -> Iterator[Observations]:
    """People with pictures, then people without, in each batch; the next ones are made meanwhile."""

    def stream() -> Iterator[Observations]:
        simulated = observation_batches(sampler, batch_size, seed, start)
        for k, without in enumerate(simulated, start):
            yield concatenate([pictures.at(k, seed), without])

    return prefetched(stream())
