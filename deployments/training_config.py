"""Training presets: complete YAML files, overlaid by a file of the user's, refused where a key is unknown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from alignhmr.core.diffusion.model import BaseModelConfig
from alignhmr.core.language.starter_vlm import StarterVlmConfig
from alignhmr.core.language.text_pose import TextPoseConfig
from alignhmr.core.scoring.scorer import ScorerConfig
from alignhmr.core.synthetic.poses import PoseMix
from alignhmr.deployments.presets import load_settings
from alignhmr.training.alignment import PreferencePlan
from alignhmr.training.augmentation import AugmentationConfig
from alignhmr.training.base import BaseLossWeights, DropRates
from alignhmr.training.captioner_recipe import CaptionerRecipe
from alignhmr.training.loop import LoopConfig
from alignhmr.training.low_rank import LowRank
from alignhmr.training.preference import Objective, PreferenceConfig
from alignhmr.training.recipe import BaseRecipe, Evaluation, ScorerRecipe
from alignhmr.training.scorer import ScorerDropRates, ScorerLossWeights
from alignhmr.training.stopping import StopRule
from alignhmr.training.text_pose import TextPoseLossWeights
from alignhmr.training.text_pose_recipe import TextPoseRecipe


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _BaseSizes(_Closed):
    image: str = Field(pattern="^(blazepose|efficientnet-lite0|transformers:.+|none)$")
    train_image: bool
    crop_px: PositiveInt
    eyes_width: PositiveInt
    eyes_blocks: PositiveInt
    parts: Literal["mlp", "transformer"]
    width: PositiveInt
    encoder_blocks: PositiveInt
    denoiser_width: PositiveInt
    denoiser_blocks: PositiveInt
    heads: PositiveInt
    feed_forward: PositiveInt
    hops: list[PositiveInt]
    guidance: float = Field(ge=0, le=10)
    correction: float = Field(ge=0, le=1)


class _ScorerSizes(_Closed):
    image: Literal["blazepose", "efficientnet-lite0", "none"]
    crop_px: PositiveInt
    train_image: bool
    eyes_width: PositiveInt
    eyes_blocks: PositiveInt
    token_width: PositiveInt
    heads: PositiveInt
    hops: list[PositiveInt]
    width: PositiveInt
    blocks: PositiveInt


class _TextPoseSizes(_Closed):
    text_encoder: str = Field(pattern=r"^(minilm|words[1-9]\d*)$")
    text_size: PositiveInt
    code_dim: PositiveInt
    codes: PositiveInt
    levels: PositiveInt
    joint_width: PositiveInt
    width: PositiveInt
    blocks: PositiveInt
    space: PositiveInt
    text_width: PositiveInt
    pose_width: PositiveInt
    pose_blocks: PositiveInt


class _CaptionerSizes(_Closed):
    picture_px: PositiveInt = Field(multiple_of=28)
    vision_width: PositiveInt = Field(multiple_of=32)
    vision_blocks: PositiveInt
    vision_feed: PositiveInt
    width: PositiveInt = Field(multiple_of=32)
    blocks: PositiveInt
    feed_forward: PositiveInt


class _Loop(_Closed):
    steps: PositiveInt
    learning_rate: PositiveFloat
    warmup_steps: int = Field(ge=0)
    final_rate: float = Field(ge=0, le=1)
    decay_share: float = Field(gt=0, le=1)
    clip_norm: PositiveFloat
    weight_decay: float = Field(ge=0)
    ema_decay: float = Field(ge=0, lt=1)
    report_every: PositiveInt
    slow_rate: float = Field(ge=0, le=1)


class _Losses(_Closed):
    rotation: float = Field(ge=0)
    root_rotation: float = Field(ge=0)
    betas: float = Field(ge=0)
    camera: float = Field(ge=0)
    joints: float = Field(ge=0)
    reprojection: float = Field(ge=0)
    diffusion: float = Field(ge=0)
    diffusion_joints: float = Field(ge=0)
    image_points: float = Field(ge=0)
    image_depth: float = Field(ge=0)
    image_heat: float = Field(ge=0)


class _Augmentation(_Closed):
    strength: float = Field(ge=0)
    mirror: float = Field(ge=0, le=1)
    turn: float = Field(ge=0, le=1)
    turn_rad: float = Field(ge=0)
    scale: float = Field(ge=0)
    shift: float = Field(ge=0)
    detected_box: float = Field(ge=0, le=1)
    erase: float = Field(ge=0, le=1)
    grey: float = Field(ge=0, le=1)
    colour: float = Field(ge=0)
    blur: float = Field(ge=0, le=1)
    keypoint_noise: float = Field(ge=0)
    keypoint_loss: float = Field(ge=0, le=1)
    simulated: float = Field(ge=0, le=1)
    variants: PositiveInt
    feature_loss: float = Field(ge=0, lt=1)
    feature_gain: float = Field(ge=0)


class _Drop(_Closed):
    image: float = Field(ge=0, le=1)
    keypoints: float = Field(ge=0, le=1)
    look: float = Field(ge=0, le=1)


class _ScorerLosses(_Closed):
    mpjpe: float = Field(ge=0)
    pa_mpjpe: float = Field(ge=0)
    pve: float = Field(ge=0)
    pa_pve: float = Field(ge=0)
    error: float = Field(ge=0)
    joint_error: float = Field(ge=0)
    image: float = Field(ge=0)


class _ScorerDrop(_Closed):
    image: float = Field(ge=0, le=1)
    keypoints: float = Field(ge=0, le=1)
    detector_3d: float = Field(ge=0, le=1)
    silhouette: float = Field(ge=0, le=1)
    proposals: float = Field(ge=0, le=1)
    generator: float = Field(ge=0, le=0.5)


class _TextPoseLosses(_Closed):
    joints: float = Field(ge=0)
    rotations: float = Field(ge=0)
    commitment: float = Field(ge=0)
    contrast: float = Field(ge=0)


class _Poses(_Closed):
    mocap: float = Field(ge=0, le=1)
    recombined: float = Field(ge=0, le=1)
    jitter: float = Field(ge=0)


class _Evaluation(_Closed):
    every: PositiveInt
    people: PositiveInt
    hypotheses: PositiveInt


class _Shared(_Closed):
    loop: _Loop
    batch_size: PositiveInt
    poses: _Poses
    evaluation: _Evaluation
    save_every: PositiveInt

    def _parts(self) -> dict[str, Any]:
        return {
            "loop": LoopConfig(**self.loop.model_dump()),
            "poses": PoseMix(**self.poses.model_dump()),
            "evaluation": Evaluation(**self.evaluation.model_dump()),
            "batch_size": self.batch_size,
            "save_every": self.save_every,
        }


class _Base(_Shared):
    model: _BaseSizes
    losses: _Losses
    augmentation: _Augmentation
    drop: _Drop
    sightings: PositiveInt
    precision: Literal["fp32", "bf16"]
    learns: Literal["all", "denoiser"]
    recompute: bool

    def recipe(self) -> BaseRecipe:
        model, losses = (
            BaseModelConfig(**self.model.model_dump()),
            BaseLossWeights(**self.losses.model_dump()),
        )
        return BaseRecipe(
            model=model,
            losses=losses,
            augmentation=AugmentationConfig(**self.augmentation.model_dump()),
            drop=DropRates(**self.drop.model_dump()),
            sightings=self.sightings,
            precision=self.precision,
            learns=self.learns,
            recompute=self.recompute,
            **self._parts(),
        )


class _Scorer(_Shared):
    model: _ScorerSizes
    losses: _ScorerLosses
    augmentation: _Augmentation
    drop: _ScorerDrop
    sightings: PositiveInt
    own: PositiveInt
    perturbed: int = Field(ge=0)

    def recipe(self) -> ScorerRecipe:
        model = ScorerConfig(**self.model.model_dump())
        return ScorerRecipe(
            model=model,
            losses=ScorerLossWeights(**self.losses.model_dump()),
            augmentation=AugmentationConfig(**self.augmentation.model_dump()),
            drop=ScorerDropRates(**self.drop.model_dump()),
            sightings=self.sightings,
            own=self.own,
            perturbed=self.perturbed,
            **self._parts(),
        )


class _TextPose(_Shared):
    model: _TextPoseSizes
    losses: _TextPoseLosses

    def recipe(self) -> TextPoseRecipe:
        model = TextPoseConfig(**self.model.model_dump())
        losses = TextPoseLossWeights(**self.losses.model_dump())
        return TextPoseRecipe(model=model, losses=losses, **self._parts())


class _Captioner(_Shared):
    model: _CaptionerSizes
    drawn: bool
    texts: bool
    seen: float = Field(ge=0)
    rank: int = Field(ge=0)
    alpha: PositiveFloat
    augmentation: _Augmentation
    sightings: PositiveInt
    precision: Literal["fp32", "bf16"]

    def recipe(self, *, tuned: bool) -> CaptionerRecipe:
        """``tuned`` says that there is a model to begin with: a new one has no use for a change of low rank."""
        return CaptionerRecipe(
            model=StarterVlmConfig(**self.model.model_dump()),
            drawn=self.drawn,
            texts=self.texts,
            seen=self.seen,
            low_rank=LowRank(self.rank, self.alpha) if self.rank and tuned else None,
            augmentation=AugmentationConfig(**self.augmentation.model_dump()),
            sightings=self.sightings,
            precision=self.precision,
            **self._parts(),
        )


class _Stop(_Closed):
    every: PositiveInt
    patience: PositiveInt
    drift_mm: PositiveFloat
    people: PositiveInt
    hypotheses: PositiveInt


class _Preference(_Closed):
    steps: PositiveInt
    batch_size: PositiveInt
    accumulate: PositiveInt
    learning_rate: PositiveFloat
    beta: PositiveFloat
    anchor: float = Field(ge=0)
    pose: float = Field(ge=0)
    shape: float = Field(ge=0)
    camera: float = Field(ge=0)
    draws: PositiveInt
    precision: Literal["fp32", "bf16"]
    rank: int = Field(ge=0)
    alpha: PositiveFloat
    sharded: bool
    stop: _Stop
    report_every: PositiveInt
    save_every: PositiveInt

    def plan(self, objective: Objective, *, data: str, base: str, **about: Any) -> PreferencePlan:
        """Of an alignment; ``about`` are those fields of the plan that no preset knows."""
        return PreferencePlan(
            data=data,
            base=base,
            objective=PreferenceConfig(
                beta=self.beta, anchor=self.anchor, pose=self.pose, shape=self.shape, camera=self.camera,
                objective=objective,
            ),
            low_rank=LowRank(self.rank, self.alpha) if self.rank else None,
            stop=StopRule(**self.stop.model_dump()),
            **self.model_dump(
                include={
                    "steps", "batch_size", "accumulate", "learning_rate", "draws", "precision", "sharded",
                    "report_every", "save_every",
                }
            ),
            **about,
        )  # fmt: skip


class TrainingConfig(_Closed):
    """One preset: how each model learns."""

    base: _Base
    scorer: _Scorer
    text_pose: _TextPose
    captioner: _Captioner
    preference: _Preference


def load_training_config(
    preset: str = "starter", path: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> TrainingConfig:
    """The preset, with the keys of the YAML file laid over it, and over both what is named like preference.steps."""
    return load_settings(TrainingConfig, "training", "alignhmr.training", preset, path, overrides)
