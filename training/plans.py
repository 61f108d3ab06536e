"""What the runs of all models have in common: a plan that is sent to workers, and what each makes of it there.

A plan names everything by place and value; opened, it is a run, whose data belong together. What a run begins with is
a checkpoint that all workers read.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from alignhmr.core.body.model import BodyModel
from alignhmr.core.checkpoints import CheckpointInfo
from alignhmr.training.course import AnyRecipe, Course, follow, identity
from alignhmr.training.workplace import Alone, Workplace


class Run(Protocol):
    @property
    def kind(self) -> str:
        """Of the checkpoint."""
        ...

    @property
    def recipe(self) -> AnyRecipe: ...
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
    def recipe(self) -> AnyRecipe: ...
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
    course: Course

    def model() -> nn.Module:
        return course.weights.read(first)[0]

    course = run.course(place, model)
    follow(course, place, out, name)


def write_first(run: Run, path: Path) -> dict[str, Any]:
    """Writes the weights of step 0, in full precision, and returns what the run is told apart by."""
    model, body = run.first_model(), run.body
    course = run.course(Alone(path), lambda: model)
    info = CheckpointInfo(run.kind, course.config or vars(run.recipe.model), body.name, body.digest)
    course.weights.write(path, model, info, half=False)
    return identity(course)
