"""From a recipe to weights: made people, a model, the loop, evaluation, a checkpoint and its card.

A run writes its state every ``save_every`` steps and resumes exactly: every batch and every noise depends on
(seed, step) alone. With ``minutes`` the learning rate stays up until most of the time has passed; then the
number of steps is settled and becomes part of the recipe, so that what came of a clock can be repeated without
one.
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
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from alignhmr.core.body.model import BodyModel
from alignhmr.core.checkpoints import CheckpointInfo, file_digest, load_checkpoint, resolve, save_checkpoint
from alignhmr.core.diffusion.model import BaseModel
from alignhmr.core.errors import CompatibilityError
from alignhmr.core.perception.assets import fetch
from alignhmr.core.scoring.scorer import HMRScorer
from alignhmr.core.synthetic.motion import load_clips, split_clips
from alignhmr.core.synthetic.observations import Observations, ObservationSampler
from alignhmr.core.synthetic.poses import PoseMix, PoseSampler
from alignhmr.training import base as base_training
from alignhmr.training import scorer as scorer_training
from alignhmr.training.base_batches import PictureBatches, mixed_batches, observation_batches
from alignhmr.training.card import write_card
from alignhmr.training.loop import Reporter, Step, Trainer, train
from alignhmr.training.mixture import Mixture
from alignhmr.training.recipe import BaseRecipe, ScorerRecipe, clips_digest
from alignhmr.training.state import load_state, read_notes, save_state

log = logging.getLogger(__name__)

Started = Callable[[int, int | None], None]
"""(steps that were done before, steps in all): told before the first step, and when a clock has settled them."""

_DECAY_SHARE = 0.3
"""Of a run with a clock: what is left for the learning rate to fall. A third is as good as a whole cosine."""
_SMALLEST_PX = 32
"""Of the crops that a model is given which doesn't look at them."""
_WARMUP_STEPS = 50
"""Of a run with a clock, at most."""


@dataclass(frozen=True)
class Fit:
    """A finished run."""

    checkpoint: Path
    card: Path
    digest: str
    metrics: dict[str, float]
    steps: int
    minutes: float


@dataclass(frozen=True)
class _Plan:
    """What the two kinds of runs differ in."""

    kind: str
    recipe: BaseRecipe | ScorerRecipe
    build: Callable[[], tuple[Trainer, Step]]
    batches: Callable[[int], Iterator[Any]]
    evaluate: Callable[[nn.Module, int, int], dict[str, float]]
    body: BodyModel
    about: dict[str, Any]
    """Seed and digests of the data: goes into the checkpoint's recipe."""


def fit_base(
    recipe: BaseRecipe, out: Path, *, mixture: Mixture | None = None, name: str = "base", seed: int = 0,
    minutes: float | None = None, resume: bool = False, report: Reporter | None = None,
    started: Started | None = None, body: BodyModel | None = None,
) -> Fit:  # fmt: skip
    """Trains a base model; writes ``out/NAME.safetensors`` (float16) and ``out/NAME.md``.

    Without a mixture of prepared people it learns from simulated detections alone, and its image encoder nothing.
    """
    body = body or BodyModel.load()
    data, held_out, about = _data(body, recipe.poses)
    if mixture is not None:
        about |= {"mixture": mixture.digest}
    else:
        recipe = replace(recipe, model=replace(recipe.model, image="none"))

    def build() -> tuple[Trainer, Step]:
        torch.manual_seed(seed)
        model = BaseModel(recipe.model)
        base_training.initialise(model, data, seed)
        slow = model.encoder.image.pretrained() if model.encoder.image is not None else ()
        trainer = Trainer(model, model.parameters(), recipe.loop, slow)
        return trainer, base_training.BaseStep(model, body, seed, recipe.losses, recipe.drop)

    def evaluate(model: nn.Module, people: int, hypotheses: int) -> dict[str, float]:
        assert isinstance(model, BaseModel)
        return base_training.evaluate(model, body, held_out, people=people, hyps=hypotheses)

    def batches(start: int) -> Iterator[Any]:
        if mixture is None:
            return observation_batches(data, recipe.batch_size, seed, start)
        crop_px = recipe.model.crop_px if recipe.model.image != "none" else _SMALLEST_PX
        pictures = PictureBatches(mixture, body, recipe.sightings, crop_px, recipe.augmentation)
        return mixed_batches(data, recipe.batch_size, pictures, seed, start)

    plan = _Plan("base", recipe, build, batches, evaluate, body, {"seed": seed, **about})
    return _fit(plan, out, name, minutes, resume, report, started)


def fit_scorer(
    recipe: ScorerRecipe, out: Path, *, base: str | Path = "starter", name: str = "scorer", seed: int = 0,
    minutes: float | None = None, resume: bool = False, report: Reporter | None = None,
    started: Started | None = None, body: BodyModel | None = None,
) -> Fit:  # fmt: skip
    """Trains an HMR-Scorer on a frozen base's hypotheses; writes ``out/NAME.safetensors`` and its card."""
    body = body or BodyModel.load()
    base_path = resolve(base, "base")
    base_model, _ = load_checkpoint(base_path, "base", body_digest=body.digest)
    assert isinstance(base_model, BaseModel)
    data, held_out, about = _data(body, recipe.poses)
    groups = scorer_training.GroupSampler(base_model, body, recipe.own, recipe.perturbed)

    def build() -> tuple[Trainer, Step]:
        torch.manual_seed(seed)
        scorer = HMRScorer(recipe.model)
        return Trainer(scorer, scorer.parameters(), recipe.loop), scorer_training.ScorerStep(scorer)

    def evaluate(model: nn.Module, people: int, hypotheses: int) -> dict[str, float]:
        assert isinstance(model, HMRScorer)
        return scorer_training.evaluate(model, base_model, body, held_out, people=people, hyps=hypotheses)

    def batches(start: int) -> Iterator[Any]:
        return scorer_training.group_batches(data, groups, recipe.batch_size, seed, start)

    about |= {"seed": seed, "base": f"{base_path.stem}:{file_digest(base_path)}"}
    plan = _Plan("scorer", recipe, build, batches, evaluate, body, about)
    return _fit(plan, out, name, minutes, resume, report, started)


def _fit(
    plan: _Plan, out: Path, name: str, minutes: float | None, resume: bool, report: Reporter | None,
    started: Started | None,
) -> Fit:  # fmt: skip
    state = out / f"{name}.state.safetensors"
    if resume:
        plan = _resumed(plan, state)
    elif minutes:
        loop = plan.recipe.loop
        plan = _with_loop(
            plan, steps=None, decay_share=_DECAY_SHARE, warmup_steps=min(loop.warmup_steps, _WARMUP_STEPS)
        )
    else:
        assert plan.recipe.loop.steps is not None, "a preset names its steps"
        # A short run warms up for a quarter of it, unless a clock made the recipe: that one is repeated as it was.
        if plan.recipe.loop.decay_share == 1:
            short = min(plan.recipe.loop.warmup_steps, plan.recipe.loop.steps // 4)
            plan = _with_loop(plan, warmup_steps=short)
    trainer, step = plan.build()
    trainer.config = plan.recipe.loop
    notes: dict[str, Any] = {"plan": _identity(plan), "seconds": 0.0, "history": [], "minutes": minutes}
    if resume:
        notes = load_state(state, trainer)
    tell, report = started or (lambda done, total: None), report or (lambda at, values: None)
    clock, before = time.perf_counter(), notes["seconds"]

    def seconds() -> float:
        return before + time.perf_counter() - clock

    tell(trainer.step_number, trainer.config.steps)
    batches = plan.batches(trainer.step_number)
    evaluation = plan.recipe.evaluation
    while (steps := trainer.config.steps) is None or trainer.step_number < steps:
        stops = (_next(trainer.step_number, every) for every in (plan.recipe.save_every, evaluation.every))
        stop = min(*stops, *([] if steps is None else [steps]))
        part = itertools.islice(batches, stop - trainer.step_number)
        if steps is None:
            constant_s = (1 - _DECAY_SHARE) * 60 * notes["minutes"]
            part = itertools.takewhile(lambda batch: seconds() < constant_s, part)  # noqa: B023 - used at once
        train(trainer, step, part, report)
        notes["seconds"] = seconds()
        if trainer.step_number < stop:  # the clock says so
            plan = _with_loop(plan, steps=max(1, math.ceil(trainer.step_number / (1 - _DECAY_SHARE))))
            trainer.config, notes["plan"] = plan.recipe.loop, _identity(plan)
            batches = plan.batches(trainer.step_number)  # one was drawn and not used
            tell(trainer.step_number, trainer.config.steps)
            continue
        if stop % evaluation.every == 0 and stop != steps:
            metrics = plan.evaluate(trainer.ema, min(evaluation.people, 256), evaluation.hypotheses)
            notes["history"].append({"step": stop, **metrics})
            log.info("step %d: %s", stop, {key: round(value, 3) for key, value in metrics.items()})
        if stop % plan.recipe.save_every == 0 and stop != steps:
            save_state(state, trainer, notes)
    return _finish(plan, trainer.ema, out / f"{name}.safetensors", notes, state)


def _finish(plan: _Plan, model: nn.Module, path: Path, notes: dict[str, Any], state: Path) -> Fit:
    """Evaluates what is shipped (the float16 weights, read back), and writes it."""
    config = asdict(plan.recipe.model)
    info = CheckpointInfo(plan.kind, config, plan.body.name, plan.body.digest)
    rounded = type(model)(plan.recipe.model)
    rounded.load_state_dict({key: value.half().float() for key, value in model.state_dict().items()})
    evaluation = plan.recipe.evaluation
    metrics = plan.evaluate(rounded.eval(), evaluation.people, evaluation.hypotheses)
    minutes = notes["seconds"] / 60
    recipe = {
        **_identity(plan),
        "minutes": round(minutes, 2),
        "machine": _machine(),
        "torch": torch.__version__,
    }
    info = replace(info, recipe=recipe, metrics=metrics)
    digest = save_checkpoint(path, model, info, half=True)
    card = path.with_suffix(".md")
    write_card(card, path.stem, digest, model, info, notes["history"])
    state.unlink(missing_ok=True)
    assert plan.recipe.loop.steps is not None
    return Fit(path, card, digest, metrics, plan.recipe.loop.steps, minutes)


def held_out_people(body: BodyModel, count: int, seed: int = 20_260) -> Observations:
    """People that were made in motion that no model is trained on; always the same ones."""
    _, held_out, _ = _data(body, PoseMix())
    return held_out.sample(count, torch.Generator().manual_seed(seed))


def _data(body: BodyModel, mix: PoseMix) -> tuple[ObservationSampler, ObservationSampler, dict[str, Any]]:
    """People to learn from, people to be judged on, and what the data was."""
    training, held_out = split_clips(load_clips(fetch("motion")))
    about = {
        "clips": [clip.name for clip in training],
        "held_out_clips": [clip.name for clip in held_out],
        "data_digest": clips_digest(training + held_out),
    }
    return (
        ObservationSampler(body, PoseSampler(training, mix)),
        # Judged on motion as it was captured, with a little jitter: no procedural or recombined poses.
        ObservationSampler(body, PoseSampler(held_out, replace(mix, mocap=1.0, recombined=0.0, jitter=0.3))),
        about,
    )


def _identity(plan: _Plan) -> dict[str, Any]:
    """What must be the same for a resumed run to be the same run."""
    tree = {"recipe": asdict(plan.recipe), "body": f"{plan.body.name}:{plan.body.digest}", **plan.about}
    return json.loads(json.dumps(tree))


def _with_loop(plan: _Plan, **changes: Any) -> _Plan:
    loop = dataclasses.replace(plan.recipe.loop, **changes)
    return dataclasses.replace(plan, recipe=dataclasses.replace(plan.recipe, loop=loop))


def _resumed(plan: _Plan, state: Path) -> _Plan:
    """The plan that the run in ``state`` began with, which must be this one but for its length."""
    then = read_notes(state)["plan"]
    length = {key: then["recipe"]["loop"][key] for key in ("steps", "decay_share", "warmup_steps")}
    plan = _with_loop(plan, **length)
    now = _identity(plan)
    if now != then:
        changed = sorted(key for key in then.keys() | now.keys() if then.get(key) != now.get(key))
        raise CompatibilityError(
            f"the run in {state.parent} began with another {', '.join(changed)}; resume with what it began"
            " with, or start without --resume"
        )
    return plan


def _next(step: int, every: int) -> int:
    return (step // every + 1) * every


def _machine() -> str:
    return f"{os.cpu_count()} x {platform.machine()} CPU, {torch.get_num_threads()} threads"
