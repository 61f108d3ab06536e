"""What a run is told: everything its result depends on, besides the seed and the code."""

import hashlib
from dataclasses import dataclass, field, replace

from alignhmr.core.diffusion.model import BaseModelConfig
from alignhmr.core.scoring.scorer import ScorerConfig
from alignhmr.core.synthetic.motion import Clip
from alignhmr.core.synthetic.poses import PoseMix
from alignhmr.training.augmentation import AugmentationConfig
from alignhmr.training.base import BaseLossWeights, DropRates, Learns, Precision
from alignhmr.training.loop import LoopConfig
from alignhmr.training.scorer import ScorerDropRates, ScorerLossWeights


@dataclass(frozen=True)
class Evaluation:
    """How often, on how many held-out people, with how many hypotheses each."""

    every: int = 2000
    people: int = 512
    hypotheses: int = 20


@dataclass(frozen=True)
class BaseRecipe:
    """A base model from prepared people, whose pictures it sees, and from made ones that nobody drew."""

    loop: LoopConfig
    model: BaseModelConfig = field(default_factory=BaseModelConfig)
    losses: BaseLossWeights = field(default_factory=BaseLossWeights)
    poses: PoseMix = field(default_factory=PoseMix)
    evaluation: Evaluation = field(default_factory=Evaluation)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    drop: DropRates = field(default_factory=DropRates)
    batch_size: int = 48
    """People with simulated detections and no picture, of a step."""
    sightings: int = 48
    """People from prepared data, of a step; none where no data is given."""
    precision: Precision = "fp32"
    """Of the networks' products; losses, weights and the optimiser are in float32."""
    learns: Learns = "all"
    recompute: bool = False
    """Whether transformers work activations out again for gradients: less memory, a third more time."""
    save_every: int = 1000


@dataclass(frozen=True)
class ScorerRecipe:
    """An HMR-Scorer from made people and a base model's hypotheses."""

    loop: LoopConfig
    model: ScorerConfig = field(default_factory=ScorerConfig)
    losses: ScorerLossWeights = field(default_factory=ScorerLossWeights)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    drop: ScorerDropRates = field(default_factory=ScorerDropRates)
    poses: PoseMix = field(default_factory=PoseMix)
    evaluation: Evaluation = field(default_factory=Evaluation)
    batch_size: int = 96
    """People with simulated detections, of a step."""
    sightings: int = 48
    """People from prepared data, of a step; none where no data is given."""
    own: int = 8
    """Hypotheses of the base model, of each person."""
    perturbed: int = 4
    """Hypotheses near the truth."""
    save_every: int = 1000

    def blind(self) -> "ScorerRecipe":
        """The same without pixels."""
        return replace(self, model=replace(self.model, image="none"))


def clips_digest(clips: list[Clip]) -> str:
    """SHA-256 over names and frames: two runs with the same digest drew from the same motion."""
    digest = hashlib.sha256()
    for clip in sorted(clips, key=lambda clip: clip.name):
        digest.update(clip.name.encode())
        digest.update(clip.rotations.astype("<f8").tobytes())
    return digest.hexdigest()
