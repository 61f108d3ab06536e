"""Training in one process, without Ray: for tests, profiling and a machine of one's own.

`alignhmr train base|scorer` does the same with workers (``run.py``).
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.perception.assets import fetch
from alignhmr.core.synthetic.motion import Clip, load_clips
from alignhmr.core.synthetic.observations import Observations
from alignhmr.core.synthetic.poses import PoseMix
from alignhmr.training.base_run import BaseRun, samplers
from alignhmr.training.course import Course, Fit, follow
from alignhmr.training.held_out import HeldOut
from alignhmr.training.loop import Reporter
from alignhmr.training.mixture import Mixture
from alignhmr.training.recipe import BaseRecipe, ScorerRecipe
from alignhmr.training.scorer_run import ScorerRun
from alignhmr.training.text_pose_recipe import TextPoseRecipe
from alignhmr.training.text_pose_run import TextPoseRun
from alignhmr.training.workplace import Alone, Listener

Started = Callable[[int, int | None], None]
"""(steps that were done before, steps in all): told before the first step, and when a clock has settled them."""


def fit_base(
    recipe: BaseRecipe, out: Path, *, mixture: Mixture | None = None, held_out: Mixture | None = None,
    init: str | None = None, name: str = "base", seed: int = 0, minutes: float | None = None,
    resume: bool = False, device: str = "cpu", report: Reporter | None = None,
    started: Started | None = None, body: BodyModel | None = None,
) -> Fit:  # fmt: skip
    """Trains a base model; writes ``out/NAME.safetensors`` (float16) and ``out/NAME.md``.

    Without a mixture of prepared people it learns from simulated detections alone, and its image encoder nothing.
    ``held_out`` holds one folder of prepared people to be judged by; ``init`` is a base checkpoint to begin with.
    """
    body = body or BodyModel.load()
    judges = HeldOut(held_out, body, recipe.evaluation.people) if held_out is not None else None
    run = BaseRun.with_data(
        recipe, motion_clips(), body, mixture, judges, init=init, seed=seed, minutes=minutes
    )  # fmt: skip
    place = _alone(out, name, resume, device, report, started)
    return _followed(run.course(place, run.first_model), place, out, name)


def fit_scorer(
    recipe: ScorerRecipe, out: Path, *, mixture: Mixture | None = None, held_out: Mixture | None = None,
    base: str | Path = "starter",
    name: str = "scorer", seed: int = 0, minutes: float | None = None, resume: bool = False,
    report: Reporter | None = None, started: Started | None = None, body: BodyModel | None = None,
) -> Fit:  # fmt: skip
    """Trains an HMR-Scorer on a frozen base's hypotheses; writes ``out/NAME.safetensors`` and its card.

    Without a mixture of prepared people it learns from simulated detections alone, and sees no pixels; ``held_out`` is
    one folder of prepared people to be judged by, else it is judged on simulated ones.
    """
    body = body or BodyModel.load()
    judges = HeldOut(held_out, body, recipe.evaluation.people) if held_out is not None else None
    run = ScorerRun.with_data(
        recipe, motion_clips(), body, mixture, judges, base=str(base), seed=seed, minutes=minutes
    )
    place = _alone(out, name, resume, "cpu", report, started)
    return _followed(run.course(place, run.first_model), place, out, name)


def fit_text_pose(
    recipe: TextPoseRecipe, out: Path, *, name: str = "text-pose", seed: int = 0, minutes: float | None = None,
    resume: bool = False, device: str = "cpu", report: Reporter | None = None, started: Started | None = None,
    body: BodyModel | None = None,
) -> Fit:  # fmt: skip
    """Trains the space of text and pose; writes ``out/NAME.safetensors`` (float16) and ``out/NAME.md``."""
    run = TextPoseRun.with_clips(recipe, motion_clips(), body or BodyModel.load(), seed=seed, minutes=minutes)
    place = _alone(out, name, resume, device, report, started)
    return _followed(run.course(place, run.first_model), place, out, name)


def held_out_people(body: BodyModel, count: int, seed: int = 20_260) -> Observations:
    """People that were made in motion that no model is trained on; always the same ones."""
    _, held_out, _ = samplers(body, motion_clips(), PoseMix())
    return held_out.sample(count, torch.Generator().manual_seed(seed))


def motion_clips() -> tuple[Clip, ...]:
    return tuple(load_clips(fetch("motion")))


def _alone(
    out: Path, name: str, resume: bool, device: str, report: Reporter | None, started: Started | None
) -> Alone:
    state = out / f"{name}.state.safetensors"
    return Alone(state, resume=resume, device=device, listener=_Told(report, started))


def _followed(course: Course, place: Alone, out: Path, name: str) -> Fit:
    fit = follow(course, place, out, name)
    assert fit is not None, "who is alone is the first worker"
    return fit


class _Told(Listener):
    def __init__(self, report: Reporter | None, started: Started | None) -> None:
        self._report, self._started = report, started

    def started(self, done: int, steps: int | None) -> None:
        if self._started is not None:
            self._started(done, steps)

    def learned(self, step: int, values: Mapping[str, float]) -> None:
        if self._report is not None:
            self._report(step, dict(values))
