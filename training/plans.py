"""What the runs of all models have in common: a plan that is sent to workers, and what each makes of it there.

A plan names everything by place and value; opened, it is a run, whose data belong together. What a run begins with is
a checkpoint that all workers read.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from alignhmr.core.body.model import BodyModel
from alignhmr.core.checkpoints import CheckpointInfo, load_checkpoint, save_checkpoint
from alignhmr.training.course import Course, follow, identity
from alignhmr.training.recipe import BaseRecipe, ScorerRecipe
from alignhmr.training.text_pose_recipe import TextPoseRecipe
from alignhmr.training.workplace import Alone, Workplace


class Run(Protocol):
    @property
    def kind(self) -> str:
        """Of the checkpoint."""
        ...

    @property
    def recipe(self) -> BaseRecipe | ScorerRecipe | TextPoseRecipe: ...
    @property
    def body(self) -> BodyModel: ...
    @property
    def minutes(self) -> float | None: ...

    def first_model(self) -> nn.Module:
        """The weights of step 0."""
        ...

    def course(self, place: Workplace, first: Callable[[], nn.Module]) -> Course:
        """What this worker does; ``first`` gives the weights of step 0, the same to all."""
        ...


class Plan(Protocol):
    @property
    def recipe(self) -> BaseRecipe | ScorerRecipe | TextPoseRecipe: ...
    @property
    def data(self) -> tuple[tuple[str, float], ...]: ...
    @property
    def threads(self) -> int: ...

    def open(self) -> Run:
        """InputError or CompatibilityError where what it names can't be used, or not together."""
        ...


def train_plan(plan: Plan, first: Path, out: Path, name: str, place: Workplace) -> None:
    """What each worker does; ``first`` is a checkpoint with the weights of step 0, and ``out`` a folder all see."""
    run = plan.open()

    def model() -> nn.Module:
        return load_checkpoint(first, run.kind, body_digest=run.body.digest)[0]

    follow(run.course(place, model), place, out, name)


def write_first(run: Run, path: Path) -> dict[str, Any]:
    """Writes the weights of step 0, in full precision, and returns what the run is told apart by."""
    model, body = run.first_model(), run.body
    save_checkpoint(path, model, CheckpointInfo(run.kind, vars(run.recipe.model), body.name, body.digest))
    return identity(run.course(Alone(path), lambda: model))
