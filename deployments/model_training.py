"""What `alignhmr train` does but for alignment: opens data, settles if a run begins or goes on, and runs it.

An unfinished run lives in ``OUT/NAME.unfinished``: its plan, its first weights, and what Ray Train has committed.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyarrow import fs as arrow_fs
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from alignhmr.core.checkpoints import CheckpointInfo, absolute, file_digest
from alignhmr.core.errors import InputError
from alignhmr.core.language.vlm_folder import KIND, weights_digest
from alignhmr.deployments import torchvision_shim, worker_pool
from alignhmr.deployments.runtime import resolve_device, start_ray
from alignhmr.deployments.storage import open_location
from alignhmr.deployments.training_config import load_training_config
from alignhmr.deployments.training_journals import Journal, Mlflow, Several, TensorBoard
from alignhmr.deployments.training_progress import shown_progress
from alignhmr.training.base_batches import Rows
from alignhmr.training.base_run import CHOSEN_BY, BasePlan, BaseRun
from alignhmr.training.captioner_run import CaptionerPlan, CaptionerRun
from alignhmr.training.card import FIGURES, TITLES, by_evidence
from alignhmr.training.course import resumed
from alignhmr.training.fit import motion_clips
from alignhmr.training.forms import info_at
from alignhmr.training.plans import Run, write_first
from alignhmr.training.scorer_run import ScorerPlan, ScorerRun
from alignhmr.training.state import STATE
from alignhmr.training.text_pose_run import TextPosePlan, TextPoseRun
from alignhmr.training.workplace import Alone, Listener, Pictures

_PLAN = "plan.json"
_MOST_MAKERS = 8
AnyPlan = BasePlan | ScorerPlan | TextPosePlan | CaptionerPlan


@dataclass(frozen=True)
class Places:
    """Locations as the driver found them: workers need neither its environment nor its working folder."""

    found: Mapping[str, tuple[arrow_fs.FileSystem, str]]

    def __call__(self, location: str) -> tuple[arrow_fs.FileSystem, str]:
        return self.found[location]


@dataclass(frozen=True)
class Launch:
    """What the commands that train share; ``out/KIND-PRESET.safetensors``, or a folder, is what comes of them."""

    preset: str
    out: str | Path
    data: Sequence[str] = ()
    held_out: str | None = None
    workers: int = 1
    device: str = "auto"
    minutes: float | None = None
    seed: int = 0
    resume: bool = False
    overwrite: bool = False
    body: str | Path = "open"
    config: str | Path | None = None
    mlflow: str | None = None
    looks: str | Path | None = None
    """Where features of pictures are kept; by default with the unfinished run, and no longer."""
    makers: int | None = None
    """Processes of each worker that make its batches, instead of a thread; None has as many as a GPU keeps busy."""


def run_base(launch: Launch, *, init: str | None = None, console: Console | None = None) -> dict[str, Any]:
    """Trains a base model; a card and TensorBoard files stand beside the weights.

    Raises an AlignhmrError with one sentence before anything runs, if what was asked for can't be had.
    """
    return _launched(
        "base",
        launch,
        lambda shared: BasePlan(
            recipe=load_training_config(launch.preset, launch.config).base.recipe(),
            init=None if init is None else absolute(init),
            **shared,
        ),
        console,
    )


def run_scorer(
    launch: Launch, *, base: str | Path = "starter", console: Console | None = None
) -> dict[str, Any]:
    """Trains an HMR-Scorer on the hypotheses of ``base``, a shipped preset or a file; else as ``run_base``."""
    return _launched(
        "scorer",
        launch,
        lambda shared: ScorerPlan(
            recipe=load_training_config(launch.preset, launch.config).scorer.recipe(),
            base=absolute(base),
            **shared,
        ),
        console,
    )


def run_text_pose(launch: Launch, *, console: Console | None = None) -> dict[str, Any]:
    """Trains the space that text and pose share; else as ``run_base``, but that there are no data to be given."""
    return _launched(
        "text-pose",
        launch,
        lambda shared: TextPosePlan(
            recipe=load_training_config(launch.preset, launch.config).text_pose.recipe(), **shared
        ),
        console,
    )


def run_captioner(
    launch: Launch, *, init: str | None = None, console: Console | None = None
) -> dict[str, Any]:
    """Trains the starter's vision-language model, or tunes that in the folder ``init``; else as ``run_base``.

    What comes of it is a folder in Hugging Face's format.
    """
    return _launched(
        KIND,
        launch,
        lambda shared: CaptionerPlan(
            recipe=load_training_config(launch.preset, launch.config).captioner.recipe(
                tuned=init is not None
            ),
            init=None if init is None else absolute(init),
            **shared,
        ),
        console,
    )


def _launched(
    kind: str, launch: Launch, plan_of: Callable[[dict[str, Any]], AnyPlan], console: Console | None
) -> dict[str, Any]:  # fmt: skip
    if launch.minutes is not None and launch.minutes <= 0:
        raise InputError(f"minutes is {launch.minutes}; give a positive number")
    if launch.workers < 1:
        raise InputError(f"{launch.workers} workers were asked for; give 1 or more")
    device = resolve_device(launch.device)
    torchvision_shim.install()  # before a vision model of transformers is looked at
    console = console or Console(stderr=True)
    out, name = Path(launch.out).absolute(), f"{kind}-{launch.preset}"
    folder = out / f"{name}.unfinished"
    parts = tuple(parse_part(text) for text in launch.data)
    locations = [location for location, _ in parts]
    locations += [launch.held_out] if launch.held_out is not None else []
    plan = plan_of(
        {
            "clips": motion_clips(),
            "data": parts,
            "held_out": launch.held_out,
            "open_location": Places({location: open_location(location) for location in locations}),
            "body": absolute(launch.body),
            "seed": launch.seed,
            "minutes": launch.minutes,
            "preset": launch.preset,
            "threads": max(1, worker_pool.cores() // launch.workers),
            "makers": _makers(launch, device),
            "looks": str(Path(launch.looks).absolute() if launch.looks is not None else folder / "looks"),
        }
    )
    run = plan.open()
    Rows.shared(
        run.recipe.sightings if run.mixture is not None else 0, run.recipe.batch_size, 0, launch.workers
    )
    about = _gone_on(run, folder) if launch.resume else _begun(run, folder, overwrite=launch.overwrite)
    # As it was opened: workers need no folder of a vision model.
    plan = _with_length(replace(plan, recipe=run.recipe), about)  # pyright: ignore
    console.print(_told(run, launch.workers, device), highlight=False)
    path = out / (name if kind == KIND else f"{name}.safetensors")
    try:
        _run(plan, folder, path, launch.workers, device, launch.mlflow, about["plan"], console)
    except BaseException:
        # Where nothing was kept, nothing is lost: it must not stand in the way of another try.
        if not any(folder.rglob(STATE)):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    info = info_at(path)
    console.print(_table(name, info))
    console.print(f"{path}\n{_card(path)}")
    return {
        "checkpoint": str(path),
        "sha256": weights_digest(path) if path.is_dir() else file_digest(path),
        "steps": info.recipe["recipe"]["loop"]["steps"],
        "step": info.recipe["step"],
        "metrics": info.metrics,
    }


def _makers(launch: Launch, device: str) -> int:
    """On a CPU they would take the time of whoever learns."""
    if launch.makers is not None:
        return launch.makers
    return 0 if device == "cpu" else max(1, min(_MOST_MAKERS, worker_pool.cores() // launch.workers - 1))


def _run(
    plan: AnyPlan, folder: Path, path: Path, workers: int, device: str, mlflow: str | None,
    about: Mapping[str, Any], console: Console,
) -> None:  # fmt: skip
    """On Ray, watched; the checkpoint is ``path``."""
    out, name = path.parent, path.name.removesuffix(".safetensors")
    kind = KIND if isinstance(plan, CaptionerPlan) else ""
    start_ray()
    from alignhmr.training.run import run_plan

    journals: list[Journal] = [TensorBoard(out / "tensorboard")]
    if mlflow is not None:
        journals.append(Mlflow(mlflow, name, about, folder / "mlflow-run"))
    finished = False
    with shown_progress(console) as progress:
        task = progress.add_task(f"train {name.rpartition('-')[0]}", total=None, said="starting workers")
        everyone = Several([_Shown(progress, task), *journals])
        try:
            run_plan(
                plan, _first(folder, kind), out, name, folder=folder, workers=workers, device=device, listener=everyone
            )  # fmt: skip
            finished = True
        finally:
            everyone.close(finished=finished, card=_card(path) if finished else None)


def _first(folder: Path, kind: str) -> Path:
    """The weights of step 0."""
    return folder / ("first" if kind == KIND else "first.safetensors")


def _card(path: Path) -> Path:
    return path / "README.md" if path.is_dir() else path.with_suffix(".md")


def parse_part(text: str) -> tuple[str, float]:
    """``FOLDER`` or ``FOLDER=WEIGHT`` as folder and weight; what follows the last = is a weight if it is a number."""
    folder, sign, weight = text.rpartition("=")
    try:
        return (folder, float(weight)) if sign else (text, 1.0)
    except ValueError:
        return text, 1.0


def _begun(run: Run, folder: Path, *, overwrite: bool) -> dict[str, Any]:
    """Writes what a run begins with; InputError where another one hasn't ended."""
    if (folder / _PLAN).exists() and not overwrite:
        raise InputError(
            f"{folder} holds a run that hasn't ended; go on with --resume, begin anew with --overwrite, or give another"
            " --out"
        )
    shutil.rmtree(folder, ignore_errors=True)
    about = {"plan": write_first(run, _first(folder, run.kind)), "minutes": run.minutes}
    partial = folder / f"{_PLAN}.partial"
    partial.write_text(json.dumps(about, indent=1))
    partial.replace(folder / _PLAN)
    return about


def _gone_on(run: Run, folder: Path) -> dict[str, Any]:
    """What the run in the folder began with, which must be this one but for its length."""
    try:
        about = json.loads((folder / _PLAN).read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"there is no unfinished run in {folder}; start without --resume") from error
    resumed(run.course(Alone(folder / _PLAN), run.first_model), about["plan"])
    return about


def _with_length(plan: Any, about: Mapping[str, Any]) -> Any:
    loop = about["plan"]["recipe"]["loop"]
    length = {key: loop[key] for key in ("steps", "decay_share", "warmup_steps")}
    recipe = replace(plan.recipe, loop=replace(plan.recipe.loop, **length))
    return replace(plan, recipe=recipe, minutes=about["minutes"])


class _Shown(Listener):
    """The progress line."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task, self._judged = progress, task, ""

    def started(self, done: int, steps: int | None) -> None:
        self._progress.update(self._task, completed=done, total=steps)

    def learned(self, step: int, values: Mapping[str, float]) -> None:
        said = f"loss {values['loss']:.3f}  {values['people_per_s']:.0f} people/s{self._judged}"
        self._progress.update(self._task, completed=step, said=said)

    def judged(self, step: int, figures: Mapping[str, float], pictures: Pictures) -> None:
        told = {
            CHOSEN_BY: "PA-MPJPE {:.1f} mm", "srcc_group": "rank correlation {:.3f}", "mean_recall": "recall {:.1f} %",
            "macro_f1": "F1 {:.3f}",
        }  # fmt: skip
        self._judged = "".join(
            f"  {text.format(figures[key])}" for key, text in told.items() if key in figures
        )


def _told(run: BaseRun | ScorerRun | TextPoseRun | CaptionerRun, workers: int, device: str) -> str:
    """What is about to happen, in words."""
    if isinstance(run, TextPoseRun):
        motion = f"poses of {len(run.about['clips'])} clips and captions of their posecodes"
        return f"learning from {motion}; judged by poses of other clips; {workers} x {device}"
    if run.mixture is None and isinstance(run, CaptionerRun):
        taught = "keypoints drawn on black alone (prepared people with pictures come with --data)"
    elif run.mixture is None:
        taught = "simulated detections alone, so it sees no pixels (prepared people come with --data)"
    else:
        people = ", ".join(f"{source.rows:,} of {source.location}" for source in run.mixture.sources)
        taught = f"{people}, and simulated detections"
    judged = "simulated detections of held-out motion"
    if run.judges is not None:
        judged = f"{len(run.judges.sightings):,} held-out people"
    return f"learning from {taught}; judged by {judged}; {workers} x {device}"


def _table(name: str, info: CheckpointInfo) -> Table:
    recipe, metrics = info.recipe, info.metrics
    steps = recipe["recipe"]["loop"]["steps"]
    best = "" if recipe["step"] == steps else f", the best of step {recipe['step']:,}"
    table = Table(title=f"{name}: {steps:,} steps, {recipe['minutes']:.1f} minutes{best}")
    if info.kind != "base":
        table.add_column(
            "on poses never trained on" if info.kind == "text-pose" else "on people never trained on"
        )
        table.add_column("", justify="right")
        for figure, value in metrics.items():
            table.add_row(figure, f"{value:.4g}")
        return table
    table.caption = "PA-MPJPE / MPJPE in mm, on people never trained on"
    table.add_column("given")
    for told in FIGURES:
        table.add_column(TITLES[told], justify="right")
    for shown, values in by_evidence(metrics):
        pairs = zip(values[: len(FIGURES)], values[len(FIGURES) :], strict=True)
        table.add_row(shown, *(f"{aligned:.1f} / {rooted:.1f}" for aligned, rooted in pairs))
    return table
