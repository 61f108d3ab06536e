"""What is kept of a run: the best weights and the last, and what stands when the loss is lost."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from alignhmr.core.checkpoints import load_checkpoint, read_info
from alignhmr.core.diffusion.model import BaseModel, BaseModelConfig
from alignhmr.core.errors import CompatibilityError
from alignhmr.training.course import Course, Judged, follow, identity, resumed
from alignhmr.training.loop import PATIENCE, DivergedError, LoopConfig, Trainer
from alignhmr.training.recipe import BaseRecipe, Evaluation
from alignhmr.training.workplace import Alone, Listener

RECIPE = BaseRecipe(
    LoopConfig(steps=25, warmup_steps=0, report_every=5, ema_decay=0.0),
    BaseModelConfig("none", 32, 8, 1, 8, 1),
    evaluation=Evaluation(every=5, people=300, hypotheses=2),
    save_every=10,
)


@dataclass
class Judge:
    """Gives the figures that it is told to, in turn, and remembers whom it was asked about."""

    figures: list[float]
    asked: list[tuple[float, int]] = field(default_factory=list)

    def __call__(self, model: torch.nn.Module, people: int, hypotheses: int) -> Judged:
        assert isinstance(model, BaseModel)
        self.asked.append((float(model.mean[0]), people))
        return Judged({"error": self.figures[len(self.asked) - 1], "people": people})


def course_of(
    bench, judge: Callable, *, loss: Callable[[int], float] = lambda step: 1.0, recipe=RECIPE
) -> Course:
    """A model whose ``mean`` counts the steps that were learned from."""

    def build():
        torch.manual_seed(0)
        model = BaseModel(recipe.model)
        trainer = Trainer(model, model.parameters(), recipe.loop)

        def step(batch, number):
            value = loss(number)
            if math.isfinite(value):
                model.mean += 1
            squares = torch.stack([p.square().sum() for p in model.parameters()])
            return squares.sum() * value, {"part": 2.0}

        return trainer, step

    return Course(
        "base", recipe, build, lambda start: itertools.repeat(None), judge, bench.body, {"seed": 0}, people=4,
        chosen_by="error",
    )  # fmt: skip


def steps_of(path: Path) -> float:
    model, _ = load_checkpoint(path, "base")
    assert isinstance(model, BaseModel)
    return float(model.mean[0])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_best_weights_are_shipped_and_the_last_stay_beside(bench, tmp_path):
    # On the way: steps 5, 10, 15, 20; at the end the last, then the best on everyone.
    judge = Judge([9.0, 3.0, 5.0, 4.0, 6.0, 3.5])
    fit = follow(course_of(bench, judge), Alone(tmp_path / "state"), tmp_path, "base")
    assert fit is not None and fit.metrics == {"error": 3.5, "people": 300} and fit.steps == 25
    assert [steps for steps, _ in judge.asked] == [5, 10, 15, 20, 25, 10]
    assert [people for _, people in judge.asked] == [256] * 4 + [300] * 2
    assert names(tmp_path) == ["base-last.safetensors", "base.md", "base.safetensors"]
    assert (steps_of(fit.checkpoint), steps_of(tmp_path / "base-last.safetensors")) == (10, 25)
    info = read_info(fit.checkpoint)
    assert info.recipe["step"] == 10 and info.metrics["error"] == 3.5
    card = fit.card.read_text()
    assert "the best on the way, of step 10" in card and "base-last.safetensors" in card


def test_where_the_last_weights_are_the_best_they_stand_alone(bench, tmp_path):
    (tmp_path / "base-last.safetensors").write_text("of another run")
    judge = Judge([9.0, 3.0, 5.0, 4.0, 2.0, 3.0])
    fit = follow(course_of(bench, judge), Alone(tmp_path / "state"), tmp_path, "base")
    assert fit is not None and steps_of(fit.checkpoint) == 25
    assert names(tmp_path) == ["base.md", "base.safetensors"]
    assert "those of the last step, 25" in fit.card.read_text()


def test_a_run_chosen_by_nothing_ships_the_last(bench, tmp_path):
    judge = Judge([1.0, 2.0, 3.0, 4.0, 5.0])
    course = replace(course_of(bench, judge), chosen_by=None)
    fit = follow(course, Alone(tmp_path / "state"), tmp_path, "base")
    assert (
        fit is not None
        and steps_of(fit.checkpoint) == 25
        and names(tmp_path) == ["base.md", "base.safetensors"]
    )


def test_a_lost_loss_leaves_the_last_finite_weights_and_the_best(bench, tmp_path):
    recipe = replace(RECIPE, evaluation=Evaluation(10, 8, 2), loop=replace(RECIPE.loop, steps=100))
    lost = lambda step: math.nan if step >= 12 else 1.0  # noqa: E731
    course = course_of(bench, Judge([3.0, 4.0]), loss=lost, recipe=recipe)
    with pytest.raises(
        DivergedError, match=rf"{PATIENCE} steps in a row.*base-last.*best until then, of step 10.*--init"
    ):
        follow(course, Alone(tmp_path / "state"), tmp_path, "base")
    assert names(tmp_path) == ["base-best.safetensors", "base-last.safetensors", "state"]
    kept = (steps_of(tmp_path / f"base-{which}.safetensors") for which in ("last", "best"))
    assert tuple(kept) == (12, 10)


def test_weights_that_float16_can_not_hold_are_not_kept(bench, tmp_path):
    course = course_of(bench, Judge([math.nan]), loss=lambda step: math.nan)

    def build():
        trainer, step = course.build()
        for model in (trainer.module, trainer.ema):
            model.get_buffer("mean").fill_(1e6)
        return trainer, step

    with pytest.raises(
        DivergedError, match=r"it never was one, so look .* in the data; no weights were finite"
    ):
        follow(replace(course, build=build), Alone(tmp_path / "state"), tmp_path, "base")
    assert not (tmp_path / "base-last.safetensors").exists()


def test_a_few_lost_steps_are_left_out(bench, tmp_path):
    told: list[float] = []

    class Ear(Listener):
        def learned(self, step, values):
            told.append(values["loss"])

    course = course_of(bench, Judge([1.0] * 6), loss=lambda step: math.nan if step in (3, 11) else 1.0)
    fit = follow(course, Alone(tmp_path / "state", listener=Ear()), tmp_path, "base")
    assert fit is not None and len(told) == 5 and all(map(math.isfinite, told))


def test_other_workers_judge_and_write_nothing(bench, tmp_path):
    class Second(Alone):
        rank = 1

    judge = Judge([])
    assert follow(course_of(bench, judge), Second(tmp_path / "state"), tmp_path / "out", "base") is None
    assert not judge.asked and not (tmp_path / "out").exists()
    lost = course_of(bench, judge, loss=lambda step: math.nan)
    assert follow(lost, Second(tmp_path / "state"), tmp_path / "out", "base") is None


def test_a_listener_hears_start_pace_and_figures(bench, tmp_path):
    heard: list[tuple] = []

    class Ear(Listener):
        def started(self, done, steps):
            heard.append(("started", done, steps))

        def learned(self, step, values):
            heard.append(("learned", step, values))

        def judged(self, step, figures, pictures):
            heard.append(("judged", step, figures["error"]))

    follow(
        course_of(bench, Judge([4.0, 3.0, 2.0, 1.0, 0.5, 9.0])),
        Alone(tmp_path / "s", listener=Ear()),
        tmp_path,
        "base",
    )
    assert heard[0] == ("started", 0, 25)
    assert [entry[1] for entry in heard if entry[0] == "learned"] == [5, 10, 15, 20, 25]
    assert [entry[1:] for entry in heard if entry[0] == "judged"] == [
        (5, 4.0), (10, 3.0), (15, 2.0), (20, 1.0), (25, 0.5),
    ]  # fmt: skip
    values = next(entry[2] for entry in heard if entry[0] == "learned")
    assert values["part"] == 2.0 and values["people_per_s"] > 0 and "images_per_s" not in values
    assert values["learning_rate"] == pytest.approx(1e-3, rel=0.2)


def test_a_kept_run_must_be_this_one_but_for_its_length(bench):
    course = course_of(bench, Judge([]))
    longer = replace(course, recipe=replace(RECIPE, loop=replace(RECIPE.loop, steps=99)))
    assert resumed(course, identity(longer)).recipe.loop.steps == 99
    with pytest.raises(CompatibilityError, match="began with another seed"):
        resumed(course, identity(replace(course, about={"seed": 1})))
