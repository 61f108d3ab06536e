"""What a run of the captioner is told."""

from dataclasses import dataclass, field

from alignhmr.core.language.starter_vlm import StarterVlmConfig
from alignhmr.core.synthetic.poses import PoseMix
from alignhmr.training.augmentation import AugmentationConfig
from alignhmr.training.base import Precision
from alignhmr.training.loop import LoopConfig
from alignhmr.training.low_rank import LowRank
from alignhmr.training.recipe import Evaluation


@dataclass(frozen=True)
class CaptionerRecipe:
    """A vision-language model from made people and the posecodes of their true poses."""

    loop: LoopConfig
    model: StarterVlmConfig = field(default_factory=StarterVlmConfig)
    """Of a new one; of a model to begin with only ``picture_px`` counts."""
    drawn: bool = True
    """Whether the detector's keypoints are drawn into the pictures, in training and ever after."""
    texts: bool = False
    """Whether the parts' free texts are learned, too; the starter's stay empty."""
    seen: float = 1.0
    """Weight of the facts that a new model's eyes must tell by themselves while it learns."""
    low_rank: LowRank | None = None
    """Of the change of a model to begin with; None teaches all its weights."""
    poses: PoseMix = field(default_factory=PoseMix)
    evaluation: Evaluation = field(default_factory=Evaluation)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    batch_size: int = 16
    """People with simulated detections and a black picture, of a step."""
    sightings: int = 48
    """People from prepared data, of a step; none where no data is given."""
    precision: Precision = "fp32"
    save_every: int = 500
