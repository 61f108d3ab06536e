"""A run from its first step, or its kept state, to weights and a card: learning, judging, keeping, choosing.

A run keeps its state every ``save_every`` steps and goes on from there exactly: every batch and every noise depends
on (seed, step) alone. With ``minutes`` the learning rate stays up until most of the time has passed; then the
number of steps is settled and becomes part of the recipe, so that what came of a clock can be repeated without
one. The same course is followed by one process alone and by each of several workers (``workplace.py``).
"""

import dataclasses
import itertools
import json
import logging
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from alignhmr.core.body.model import BodyModel
from alignhmr.core.checkpoints import CheckpointInfo
from alignhmr.core.errors import CompatibilityError
from alignhmr.training.captioner_recipe import CaptionerRecipe
from alignhmr.training.card import write_card
from alignhmr.training.forms import Form, OneFile, remove
from alignhmr.training.loop import DivergedError, Step, Trainer, train
from alignhmr.training.recipe import BaseRecipe, ScorerRecipe
from alignhmr.training.text_pose_recipe import TextPoseRecipe
from alignhmr.training.workers import first_says, means_over_workers
from alignhmr.training.workplace import Pictures, Workplace

log = logging.getLogger(__name__)

AnyRecipe = BaseRecipe | ScorerRecipe | TextPoseRecipe | CaptionerRecipe

_DECAY_SHARE = 0.3
"""Of a run with a clock: what is left for the learning rate to fall. A third is as good as a whole cosine."""
_WARMUP_STEPS = 50
"""Of a run with a clock, at most."""
_FEWER_PEOPLE = 256
"""Judged on the way, at most; at the end all are."""


@dataclass(frozen=True)
class Judged:
    """What held-out people say of a model: figures by name, smaller being better unless the name says otherwise."""

    figures: dict[str, float]
    pictures: Pictures = field(default_factory=dict)


@dataclass(frozen=True)
class Course:
    """What the kinds of runs differ in. Made in the process that trains."""

    kind: str
    recipe: AnyRecipe
    build: Callable[[], tuple[Trainer, Step]]
    batches: Callable[[int], Iterator[Any]]
    judge: Callable[[nn.Module, int, int], Judged]
    """(model, at most so many people, hypotheses) -> what they say."""
    body: BodyModel
    about: dict[str, Any]
    """Seed and digests of the data: goes into the checkpoint's recipe."""
    minutes: float | None = None
    people: int = 0
    """Of a global batch, with a picture or without."""
    pictures: int = 0
    chosen_by: str | None = None
    """The figure by which the best weights of a run are chosen; None ships those of the last step."""
    form: Form | None = None
    """In which weights are kept; None is one file of ours."""
    config: dict[str, Any] | None = None
    """What the weights say of their model; None is the recipe's."""

    @property
    def weights(self) -> Form:
        return self.form or OneFile(self.kind, self.recipe.model, self.body.digest)


@dataclass(frozen=True)
class Fit:
    """A finished run."""

    checkpoint: Path
    card: Path
    digest: str
    metrics: dict[str, float]
    steps: int
    minutes: float


def follow(course: Course, place: Workplace, out: Path, name: str) -> Fit | None:
    """Writes ``out/NAME.safetensors`` (float16) and ``out/NAME.md``; None on workers other than the first.

    Until the run ends, ``out/NAME-best.safetensors`` holds the best weights so far; where the last are not the best,
    ``out/NAME-last.safetensors`` stays beside what is shipped. Raises DivergedError where the loss stays no number,
    and CompatibilityError where the kept state is another run's.
    """
    notes = place.notes()
    course = _begun(course) if notes is None else resumed(course, notes["plan"])
    trainer, step = course.build()
    trainer.config = course.recipe.loop
    if notes is None:
        notes = {
            "plan": identity(course),
            "seconds": 0.0,
            "history": [],
            "minutes": course.minutes,
            "best": None,
        }
    else:
        place.restore(trainer)
    try:
        with _exactly(place.device):
            return _Run(course, place, out, name, trainer, place.wrapped(step), notes).through()
    except DivergedError:
        if place.rank:  # all diverge together, and the first one tells
            return None
        raise


@contextmanager
def _exactly(device: torch.device) -> Iterator[None]:
    """Gradients of a CPU don't depend on which thread adds first: the same seed gives the same weights.

    Costs nothing that could be measured. Of a GPU not all operations can be had that way.
    """
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    memory: Any = torch.utils.deterministic  # of whose settings its types don't know
    fill = memory.fill_uninitialized_memory
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True, warn_only=True)
        memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = fill


def identity(course: Course) -> dict[str, Any]:
    """What must be the same for a run that is taken up again to be the same run."""
    tree = {
        "recipe": asdict(course.recipe),
        "body": f"{course.body.name}:{course.body.digest}",
        **course.about,
    }
    return json.loads(json.dumps(tree))


def resumed(course: Course, then: dict[str, Any]) -> Course:
    """The course that a kept run began with, by its identity; it must be this one but for its length."""
    length = {key: then["recipe"]["loop"][key] for key in ("steps", "decay_share", "warmup_steps")}
    course = _with_loop(course, **length)
    now = identity(course)
    if now != then:
        changed = sorted(key for key in then.keys() | now.keys() if then.get(key) != now.get(key))
        raise CompatibilityError(
            f"the unfinished run began with another {', '.join(changed)}; go on with what it began with, or"
            " begin anew"
        )
    return course


def _begun(course: Course) -> Course:
    loop = course.recipe.loop
    if course.minutes:
        warmup = min(loop.warmup_steps, _WARMUP_STEPS)
        return _with_loop(course, steps=None, decay_share=_DECAY_SHARE, warmup_steps=warmup)
    assert loop.steps is not None, "a preset names its steps"
    # A short run warms up for a quarter of it, unless a clock made the recipe: that one is repeated as it was.
    if loop.decay_share == 1:
        return _with_loop(course, warmup_steps=min(loop.warmup_steps, loop.steps // 4))
    return course


class _Run:
    """One run in one process."""

    def __init__(
        self, course: Course, place: Workplace, out: Path, name: str, trainer: Trainer, step: Step,
        notes: dict[str, Any],
    ) -> None:  # fmt: skip
        self.course, self.place, self.out, self.name = course, place, out, name
        self.trainer, self.step, self.notes = trainer, step, notes
        self._started, self._before = time.perf_counter(), notes["seconds"]

    def through(self) -> Fit | None:
        self._tell_start()
        batches = self.course.batches(self.trainer.step_number)
        evaluation, save_every = self.course.recipe.evaluation, self.course.recipe.save_every
        while (steps := self.trainer.config.steps) is None or self.trainer.step_number < steps:
            stop = min(_next(self.trainer.step_number, every) for every in (save_every, evaluation.every))
            stop = stop if steps is None else min(stop, steps)
            self._learn(itertools.islice(batches, stop - self.trainer.step_number))
            if self.trainer.step_number < stop:  # the clock says so
                self._settle()
                batches = self.course.batches(self.trainer.step_number)  # one was drawn and not used
                continue
            if stop == steps:
                break
            if stop % evaluation.every == 0 and self.place.rank == 0:
                self._judge_on_the_way()
            if stop % save_every == 0:
                self.notes["seconds"] = self._seconds()
                self.place.keep(self.trainer, self.notes)
        self.notes["seconds"] = self._seconds()
        if self.place.rank:
            return None
        fit = self._finish()
        self.place.clear()
        return fit

    def _learn(self, batches: Iterator[Any]) -> None:
        clock, place = time.perf_counter(), self.place
        done = self.trainer.step_number

        def step(batch: Any, number: int) -> tuple[torch.Tensor, dict[str, float]]:
            return self.step(batch if place.device.type == "cpu" else batch.to(place.device), number)

        def report(number: int, values: dict[str, float]) -> None:
            nonlocal clock, done
            values = means_over_workers(values, place.device)
            steps_per_s = (number - done) / max(time.perf_counter() - clock, 1e-9)
            clock, done = time.perf_counter(), number
            values["learning_rate"] = self.trainer.learning_rate(number - 1)
            values |= {f"{what}_per_s": count * steps_per_s for what, count in self._counts().items()}
            if place.rank == 0:
                place.listener.learned(number, values)

        if self.trainer.config.steps is None:
            batches = itertools.takewhile(lambda batch: self._has_time(), batches)
        try:
            train(self.trainer, step, batches, report)
        except DivergedError as error:
            raise DivergedError(f"{error}; {self._salvaged()}" if place.rank == 0 else str(error)) from None

    def _counts(self) -> dict[str, int]:
        counts = {"people": self.course.people, "images": self.course.pictures}
        return {what: count for what, count in counts.items() if count}

    def _has_time(self) -> bool:
        constant_s = (1 - _DECAY_SHARE) * 60 * self.notes["minutes"]
        return first_says(self._seconds() < constant_s, self.place.device)

    def _settle(self) -> None:
        """The clock has run: what was done are the steps before the learning rate falls."""
        steps = max(1, math.ceil(self.trainer.step_number / (1 - _DECAY_SHARE)))
        self.course = _with_loop(self.course, steps=steps)
        self.trainer.config, self.notes["plan"] = self.course.recipe.loop, identity(self.course)
        self._tell_start()

    def _tell_start(self) -> None:
        if self.place.rank == 0:
            self.place.listener.started(self.trainer.step_number, self.trainer.config.steps)

    def _seconds(self) -> float:
        return self._before + time.perf_counter() - self._started

    def _judge_on_the_way(self) -> None:
        evaluation, number = self.course.recipe.evaluation, self.trainer.step_number
        model = self._rounded()
        judged = self.course.judge(model, min(evaluation.people, _FEWER_PEOPLE), evaluation.hypotheses)
        self.notes["history"].append({"step": number, **judged.figures})
        self.place.listener.judged(number, judged.figures, judged.pictures)
        log.info("step %d: %s", number, {key: round(value, 3) for key, value in judged.figures.items()})
        if (by := self.course.chosen_by) is not None:
            value, best = judged.figures[by], self.notes["best"]
            if math.isfinite(value) and (best is None or value < best["value"]):
                self.notes["best"] = {"step": number, "value": value}
                self._write(self._path("-best"), model, number, judged.figures)

    def _finish(self) -> Fit:
        """Judges what may be shipped (the float16 weights) on all held-out people, and writes the better."""
        evaluation, last_step = self.course.recipe.evaluation, self.trainer.step_number
        model, best = self._rounded(), self._path("-best")
        judged = self.course.judge(model, evaluation.people, evaluation.hypotheses)
        figures, step = judged.figures, last_step
        self.place.listener.judged(step, figures, judged.pictures)
        if self.notes["best"] is not None:
            other, info = self.course.weights.read(best)
            other = other.to(self.place.device)
            theirs = self.course.judge(other, evaluation.people, evaluation.hypotheses)
            assert self.course.chosen_by is not None, "only a figure makes one the best"
            if theirs.figures[self.course.chosen_by] < figures[self.course.chosen_by]:
                self._write(self._path("-last"), model, last_step, figures)
                figures, model, step = theirs.figures, other, info.recipe["step"]
        if step == last_step:
            remove(self._path("-last"))
        info, digest = self._write(self._path(), model, step, figures)
        card = self.course.weights.card(self._path())
        write_card(card, self.name, digest, model, info, self.notes["history"])
        remove(best)
        return Fit(self._path(), card, digest, figures, last_step, self.notes["seconds"] / 60)

    def _salvaged(self) -> str:
        """Where the weights before the loss was lost are to be found."""
        kept, model = [], self._rounded()
        if all(torch.isfinite(value).all() for value in model.state_dict().values()):
            self._write(self._path("-last"), model, self.trainer.step_number, {})
            kept.append(f"the last weights in {self._path('-last')}")
        if best := self.notes["best"]:
            kept.append(f"the best until then, of step {best['step']:,}, in {self._path('-best')}")
        return (
            f"kept are {' and '.join(kept)}; begin with them by --init" if kept else "no weights were finite"
        )

    def _path(self, which: str = "") -> Path:
        return self.out / f"{self.name}{which}{self.course.weights.suffix}"

    def _rounded(self) -> nn.Module:
        """The averaged model as it is shipped: in float16, read back."""
        return self.course.weights.shipped(self.trainer.ema).to(self.place.device)

    def _write(
        self, path: Path, model: nn.Module, step: int, figures: dict[str, float]
    ) -> tuple[CheckpointInfo, str]:
        recipe = {
            **identity(self.course),
            "step": step,
            "minutes": round(self._seconds() / 60, 2),
            "machine": machine(self.place),
            "torch": torch.__version__,
        }
        body = self.course.body
        config = self.course.config or asdict(self.course.recipe.model)
        info = CheckpointInfo(self.course.kind, config, body.name, body.digest, recipe, figures)
        return info, self.course.weights.write(path, model, info, half=True)


def machine(place: Workplace) -> str:
    """What it ran on, in words."""
    if place.device.type == "cuda":
        return f"{place.world} x {torch.cuda.get_device_name(place.device)}"
    workers = f"{place.world} workers of " if place.world > 1 else ""
    threads = torch.get_num_threads()
    return (
        f"{os.cpu_count()} x {platform.machine()} CPU, {workers}{threads} thread{'s' if threads > 1 else ''}"
    )


def _with_loop(course: Course, **changes: Any) -> Course:
    loop = dataclasses.replace(course.recipe.loop, **changes)
    return replace(course, recipe=replace(course.recipe, loop=loop))


def _next(step: int, every: int) -> int:
    return (step // every + 1) * every
