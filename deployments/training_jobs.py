"""What `alignhmr train dpo|group|sft` does: read the preset, run, show progress, end with a table."""

import json
import logging
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.table import Table

from alignhmr.core.plain_json import plain
from alignhmr.deployments import torchvision_shim
from alignhmr.deployments.runtime import resolve_device
from alignhmr.deployments.training_progress import shown_progress

if TYPE_CHECKING:
    from alignhmr.training.alignment import PreferencePlan, PreferenceRun
    from alignhmr.training.base import Precision
    from alignhmr.training.data import Labels
    from alignhmr.training.judgement import Judgement

log = logging.getLogger(__name__)

MAX_PASSES = 20
"""Over the pairs, at most, in an alignment."""


def run_dpo(
    data: str | Path, out: str | Path, *, base: str | Path = "starter", scorer: str | Path = "starter",
    workers: int = 2, preset: str = "starter", config: str | Path | None = None, steps: int | None = None,
    beta: float | None = None, anchor: float | None = None, learning_rate: float | None = None,
    batch_size: int | None = None, draws: int | None = None, accumulate: int | None = None,
    precision: "Precision | None" = None, rank: int | None = None, seed: int = 0, device: str = "auto",
    body: str | Path = "open", judged_people: int = 400, hypotheses: int = 20, console: Console | None = None,
    objective: Literal["dpo", "group", "sft"] = "dpo", cache: str | Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Aligns the base to the preferences in label rows; writes ``base-OBJECTIVE.safetensors`` and ``metrics.json``.

    What isn't given is the preset's, under the keys of ``config``. People in held-out photos judge on the way, and
    decide when it ends and which weights are written. Killed and started again with the same arguments, it goes on
    from its last checkpoint.
    """
    device = resolve_device(device)
    torchvision_shim.install()
    from alignhmr.deployments.training_config import load_training_config

    given = {
        "steps": steps, "beta": beta, "anchor": anchor, "learning_rate": learning_rate, "batch_size": batch_size,
        "draws": draws, "accumulate": accumulate, "precision": precision, "rank": rank,
    }  # fmt: skip
    settings = load_training_config(
        preset, config, {f"preference.{name}": value for name, value in given.items()}
    ).preference
    from alignhmr.core.body.model import BodyModel
    from alignhmr.core.checkpoints import absolute, file_digest, load_checkpoint, resolve
    from alignhmr.core.perception.assets import cache_folder
    from alignhmr.deployments.runtime import start_ray
    from alignhmr.deployments.storage import open_location
    from alignhmr.training.alignment import run_name
    from alignhmr.training.data import read_labels, split
    from alignhmr.training.fit import held_out_people
    from alignhmr.training.judgement import judge
    from alignhmr.training.preference_batches import digest_of
    from alignhmr.training.run import run_preference

    console, out = console or Console(stderr=True), Path(out)
    body_model = BodyModel.load(body)
    base_path = resolve(base, "base").absolute()
    before, base_info = load_checkpoint(base_path, "base", body_digest=body_model.digest)
    scorer_path = resolve(scorer, "scorer").absolute()
    judge_model, _ = load_checkpoint(scorer_path, "scorer", body_digest=body_model.digest)
    filesystem, folder = open_location(data)
    # Read once here, so that wrong rows are refused before a worker is started.
    labels = read_labels(
        folder, body_model, file_digest(base_path), objective=objective, filesystem=filesystem
    )
    training, held_out = split(labels)
    # More passes learn the few pairs by heart: on 50 made people the gain stood still from 20 on.
    enough = math.ceil(MAX_PASSES * len(training.preferred) / settings.batch_size)
    plan = settings.plan(
        objective, data=folder, base=str(base_path), scorer=str(scorer_path), labels=digest_of(labels),
        body=absolute(body), seed=seed,
        cache=str(Path(cache).absolute() if cache is not None else cache_folder() / "reference"),
    )  # fmt: skip
    plan = replace(plan, steps=min(settings.steps, enough))
    console.print(
        f"{len(training.preferred)} {'groups' if objective == 'group' else 'pairs'} of {len(training.people)} people to"
        f" learn from,"
        f" {len(held_out.people)} people held out to judge by"
    )
    if broken := labels.counts.get("broken files"):
        console.print(f"[yellow]{broken} files of rows can't be read and are left out")
    if plan.steps < settings.steps:
        console.print(
            f"{plan.steps} steps instead of {settings.steps}: so few are learnt in {MAX_PASSES} passes"
        )
    start_ray()
    out.mkdir(parents=True, exist_ok=True)
    with shown_progress(console) as progress:
        task = progress.add_task("align", total=plan.steps, said="starting workers")

        def watch(row: dict[str, float]) -> None:
            said = (
                f"loss {row[objective]:.3f}  accuracy {100 * row['accuracy']:.0f} %  margin {row['margin']:+.3f}"
                f"  drift {row['drift_mm']:.1f} mm"
            )
            progress.update(task, completed=row["step"], said=said)

        run = run_preference(
            plan, out, workers=workers, device=device, filesystem=filesystem, watch=watch, name=run_name(plan)
        )
        done = run.judged[-1]["step"] if run.stopped is not None else plan.steps
        progress.update(task, total=done, completed=done, description="aligned")
    if run.stopped is not None:
        console.print(f"stopped at step {done}: {run.stopped}")
    if run.judged:
        console.print(f"kept are the weights of step {run.step}" + ("" if run.step else ", the base's own"))
    for sentence in run.alarms:
        console.print(f"[yellow]alarm:[/] {sentence}")
    made = held_out_people(body_model, judged_people)
    judgement = judge(
        before, run.policy, judge_model, body_model, made, held_out.people, hypotheses=hypotheses, seed=seed  # type: ignore[arg-type]
    )  # fmt: skip
    result = _write_aligned(out, plan, run, judgement, labels, base_info, workers)
    console.print(_judgement_table(judgement))
    console.print(str(judgement.verdict))
    console.print(f"{result['checkpoint']}\n{out / 'metrics.json'}")
    return result


def _write_aligned(
    out: Path, plan: "PreferencePlan", run: "PreferenceRun", judgement: "Judgement", labels: "Labels",
    base_info: Any, workers: int,
) -> dict[str, Any]:  # fmt: skip
    """The checkpoint with its recipe, lineage and metrics in the header, and the same in metrics.json."""
    from alignhmr.core.checkpoints import CheckpointInfo, file_digest, save_checkpoint

    parent = Path(plan.base)
    recipe = {
        "objective": plan.objective.objective, "plan": asdict(plan), "parent": f"{parent.stem}:{file_digest(parent)}",
        "labels": labels.counts, "workers": workers, "step": run.step, "stopped": run.stopped,
    }  # fmt: skip
    metrics = judgement.to_dict()
    info = CheckpointInfo(
        "base", base_info.config, base_info.body_model, base_info.body_digest, recipe, metrics
    )
    path = out / f"base-{plan.objective.objective}.safetensors"
    digest = save_checkpoint(path, run.policy, info)
    result = {
        "checkpoint": str(path), "sha256": digest, **metrics, "recipe": recipe, "history": run.history,
        "alarms": run.alarms, "judged": run.judged, "step": run.step, "stopped": run.stopped,
    }  # fmt: skip
    partial = out / "metrics.partial"
    partial.write_text(json.dumps(plain(result), indent=1, allow_nan=False))
    partial.replace(out / "metrics.json")
    log.info("aligned %s: %s", path, judgement.verdict)
    return result


def _judgement_table(judgement: "Judgement") -> Table:
    table = Table(title="before and after, on people that were not trained on")
    for name in ("", "before", "after", "change", "± 95 %"):
        table.add_column(name, justify="left" if not name else "right")
    titles = (
        (f"{judgement.people['made']} made people, with a truth", judgement.made_people),
        (f"{judgement.people['photos']} people in held-out photos, without one", judgement.photos),
    )
    for title, changes in titles:
        table.add_section()
        table.add_row(f"[bold]{title}")
        for name, change in changes.items():
            numbers = (change.before, change.after, change.difference, change.ci95)
            before, after, difference, ci = (f"{x:.2f}" for x in numbers)
            table.add_row(name, before, after, difference if difference[0] == "-" else f"+{difference}", ci)
    return table
