"""The text-pose space's run: its motion, its first weights, and its course. It needs no pictures and no people."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from alignhmr.core.body.model import BodyModel
from alignhmr.core.errors import CompatibilityError
from alignhmr.core.language.text_encoder import text_encoder
from alignhmr.core.language.text_pose import TextPose
from alignhmr.core.synthetic.motion import Clip, split_clips
from alignhmr.core.synthetic.poses import PoseSampler
from alignhmr.training.course import Course, Judged
from alignhmr.training.loop import Step, Trainer
from alignhmr.training.mixture import OpenLocation, local_folder
from alignhmr.training.prefetch import made_ahead
from alignhmr.training.recipe import clips_digest
from alignhmr.training.text_pose import (
    ClauseTable,
    TextPoseBatch,
    TextPoseBatches,
    TextPoseStep,
    draw_poses,
    evaluate,
)
from alignhmr.training.text_pose_recipe import TextPoseRecipe
from alignhmr.training.workplace import Workplace

HELD_OUT_SEED = 5
"""Of the held-out poses, always the same ones."""


@dataclass(frozen=True)
class TextPosePlan:
    """Everything that a run depends on."""

    recipe: TextPoseRecipe
    clips: tuple[Clip, ...]
    """All of them: which are held out is decided by name."""
    data: tuple[tuple[str, float], ...] = ()
    """Always empty: poses are drawn, not read."""
    held_out: str | None = None
    open_location: OpenLocation = local_folder
    body: str = "open"
    seed: int = 0
    minutes: float | None = None
    preset: str = ""
    threads: int = 1
    looks: str | None = None
    """Always unused: nobody looks at pictures."""
    makers: int = 0
    """Processes of each worker that make its batches; 0 leaves them to a thread."""

    def open(self) -> "TextPoseRun":
        body = BodyModel.load(self.body)
        return TextPoseRun.with_clips(
            self.recipe, self.clips, body, seed=self.seed, minutes=self.minutes, preset=self.preset,
            makers=self.makers,
        )  # fmt: skip


@dataclass(frozen=True)
class TextPoseRun:
    """A plan whose motion is split."""

    recipe: TextPoseRecipe
    body: BodyModel
    training: PoseSampler
    held_out: PoseSampler
    seed: int
    minutes: float | None
    about: dict[str, Any]
    makers: int = 0

    kind = "text-pose"
    mixture = None
    judges = None

    @classmethod
    def with_clips(
        cls, recipe: TextPoseRecipe, clips: tuple[Clip, ...], body: BodyModel, *, seed: int = 0,
        minutes: float | None = None, preset: str = "", makers: int = 0,
    ) -> "TextPoseRun":  # fmt: skip
        training, held_out = split_clips(list(clips))
        about = {
            "clips": [clip.name for clip in training],
            "held_out_clips": [clip.name for clip in held_out],
            "data_digest": clips_digest(training + held_out),
            "seed": seed,
            "preset": preset,
        }
        # Held-out poses come out of the same mill as those trained on, from other clips.
        return cls(
            recipe, body, PoseSampler(training, recipe.poses), PoseSampler(held_out, recipe.poses), seed, minutes,
            about, makers,
        )  # fmt: skip

    def first_model(self) -> TextPose:
        """New weights; CompatibilityError where the preset's numbers aren't the text encoder's."""
        size = text_encoder(self.recipe.model.text_encoder).size
        if size != self.recipe.model.text_size:
            raise CompatibilityError(
                f"the text encoder {self.recipe.model.text_encoder!r} gives {size} numbers a clause, and text_size is"
                f" {self.recipe.model.text_size}; set text_pose: model: text_size: {size}"
            )
        torch.manual_seed(self.seed)
        model = TextPose(self.recipe.model)
        model.rest_joints.copy_(self.body.joint_template)
        self._table().describe(model)
        return model

    def course(self, place: Workplace, first: Callable[[], nn.Module]) -> Course:
        recipe = self.recipe

        def build() -> tuple[Trainer, Step]:
            model = first().to(place.device)
            assert isinstance(model, TextPose)
            model.train().requires_grad_(True)
            trainer = Trainer(model, model.parameters(), recipe.loop)
            return trainer, TextPoseStep(model, self._table(), self.seed, recipe.losses)

        def judge(model: nn.Module, people: int, hypotheses: int) -> Judged:
            assert isinstance(model, TextPose)
            poses = held_out_poses(self.held_out, people)
            return Judged(evaluate(model, poses, self.body))

        return Course(
            self.kind, recipe, build, lambda start: self._batches(start, place), judge, self.body, self.about,
            minutes=self.minutes, people=recipe.batch_size,
        )  # fmt: skip

    def _batches(self, start: int, place: Workplace) -> Iterator[TextPoseBatch]:
        return made_ahead(
            TextPoseBatches(
                self.training, self.body, self._table(), self.recipe.batch_size, self.seed, place.rank, place.world
            ),
            start,
            self.makers,
        )  # fmt: skip

    def _table(self) -> ClauseTable:
        return _table(self.recipe.model.text_encoder)


def held_out_poses(sampler: PoseSampler, count: int) -> torch.Tensor:
    """Poses of clips that were never trained on, as cameras see them; always the same ones."""
    return draw_poses(sampler, count, torch.Generator().manual_seed(HELD_OUT_SEED))


_TABLES: dict[str, ClauseTable] = {}


def _table(name: str) -> ClauseTable:
    """The clause table of a text encoder; it takes a minute to fill and is kept for the process."""
    if name not in _TABLES:
        _TABLES[name] = ClauseTable(text_encoder(name))
    return _TABLES[name]
