"""What eyes that never learn see of each person, kept: worked out once and read ever after.

Where the network that looks at pixels is held, its answer to a crop is always the same, and costs more than what
learns on top of it. So each person is shown in a few ways, ``variants`` of them, and what was seen is a file each.
Keypoints, and which of the features are there, still change with every batch.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from alignhmr.core.body.model import BodyModel
from alignhmr.core.perception.pose_features import INPUT, MAPS, SIZE, WORLD, pose_features
from alignhmr.core.synthetic.observations import Observations
from alignhmr.training.augmentation import AugmentationConfig, Draws, draws_of, observe
from alignhmr.training.mixture import Mixture
from alignhmr.training.sightings import Sighting


@dataclass(frozen=True)
class Looks:
    """A folder of features. Several workers may fill it."""

    folder: Path
    data: str
    """Digest of the people: two sets that name somebody alike don't share a file."""

    def observed(
        self, sightings: Sequence[Sighting], body: BodyModel, generator: torch.Generator, config: AugmentationConfig,
        *, first: int, of: int,
    ) -> Observations:  # fmt: skip
        """As ``augmentation.observe``, with features in the crops' place."""
        mine = slice(first, first + len(sightings))
        variant = torch.randint(max(config.variants, 1), (of,), generator=generator)[mine]
        names = [
            f"{self.data} {sighting.id} {index} {_shown(config)}"
            for sighting, index in zip(sightings, variant.tolist(), strict=True)
        ]
        digests = [hashlib.sha256(name.encode()).hexdigest() for name in names]
        each = [draws_of(torch.Generator().manual_seed(int(digest[:15], 16)), 1) for digest in digests]
        draws = Draws(**{name: torch.cat([getattr(one, name) for one in each]) for name in vars(each[0])})

        def eyes(_: Sequence[Sighting], cuts: Sequence[Callable[[], np.ndarray]]) -> Tensor:
            found = [self._kept(digest, cut) for digest, cut in zip(digests, cuts, strict=True)]
            features = torch.from_numpy(np.stack(found))
            return features[:, :, None, None]

        seen = observe(sightings, body, INPUT, generator, config, first=first, of=of, draws=draws, eyes=eyes)
        changed = _changed(seen.crops.flatten(1), generator, config, mine, of)
        return Observations(**{**vars(seen), "crops": changed[:, :, None, None]})

    def _kept(self, digest: str, cut: Callable[[], np.ndarray]) -> np.ndarray:
        path = self.folder / digest[:2] / digest[2:]
        try:
            features = np.fromfile(path, np.float16)
            if len(features) == SIZE:
                return features
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
        features = pose_features([cut()])[0]
        partly = path.with_name(f"{path.name}.{os.getpid()}")
        features.tofile(partly)
        partly.replace(path)
        return features


def looks_for(image: str, folder: str | None, mixture: Mixture) -> Looks | None:
    """Where features are kept for that image encoder; None if it learns, or if nothing is to be kept."""
    if folder is None or image != "blazepose":
        return None
    return Looks(Path(folder), mixture.digest)


def _shown(c: AugmentationConfig) -> tuple[float, ...]:
    """What of the settings a crop depends on."""
    return (
        c.strength, c.mirror, c.turn, c.turn_rad, c.scale, c.shift, c.detected_box, c.erase, c.grey, c.colour, c.blur
    )  # fmt: skip


def _changed(
    features: Float[Tensor, "batch size"],
    generator: torch.Generator,
    c: AugmentationConfig,
    mine: slice,
    of: int,
) -> Float[Tensor, "batch size"]:
    """Some channels silent, the others louder or quieter: another camera, another light, other clothes."""
    if not c.strength:
        return features
    count = sum(channels for channels, _ in MAPS)
    gain = (c.feature_gain * torch.randn(of, count, generator=generator)[mine]).exp()
    there = torch.rand(of, count, generator=generator)[mine] >= c.feature_loss
    factor = gain * there / (1 - c.feature_loss)
    repeated = torch.repeat_interleave(factor, _cells(), dim=1, output_size=SIZE - WORLD)
    return torch.cat([features[:, : SIZE - WORLD].float() * repeated, features[:, SIZE - WORLD :].float()], 1)


def _cells() -> Int[Tensor, "channels"]:
    return torch.tensor([rows * rows for channels, rows in MAPS for _ in range(channels)])
