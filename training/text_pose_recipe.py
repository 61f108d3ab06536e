"""What a run of the text-pose space is told."""

from dataclasses import dataclass, field

from alignhmr.core.language.text_pose import TextPoseConfig
from alignhmr.core.synthetic.poses import PoseMix
from alignhmr.training.loop import LoopConfig
from alignhmr.training.recipe import Evaluation
from alignhmr.training.text_pose import TextPoseLossWeights


@dataclass(frozen=True)
class TextPoseRecipe:
    loop: LoopConfig
    model: TextPoseConfig = field(default_factory=TextPoseConfig)
    losses: TextPoseLossWeights = field(default_factory=TextPoseLossWeights)
    poses: PoseMix = field(default_factory=PoseMix)
    evaluation: Evaluation = field(default_factory=lambda: Evaluation(people=2000))
    batch_size: int = 192
    """Poses of a step, each the others' wrong answer."""
    save_every: int = 500

    @property
    def sightings(self) -> int:
        """No pictures are learned from."""
        return 0
