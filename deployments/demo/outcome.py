"""What the three jobs returned, as the report tells it."""

import os
import platform
from typing import Any, Literal

import numpy as np

from alignhmr.deployments.demo.report import (
    Curve,
    FourFigures,
    Job,
    MetricChange,
    Reproducibility,
    Series,
    Step,
    TrainingPart,
)
from alignhmr.training.preference import rise_pct


def job_of_labelling(labelled: dict[str, Any], seconds: float) -> Job:
    counts = labelled["counts"]
    errors = ", ".join(f"{count} {code}" for code, count in counts["errors"].items())
    steps = tuple(Step(name, value) for name, value in labelled["seconds"].items())
    busy = ", ".join(f"{name} {value:.1f} s" for name, value in labelled["busy_seconds"].items())
    notes = [f"{labelled['images_per_s']:.1f} pictures a second on Ray Data", f"workers were busy: {busy}"]
    if errors:
        notes.append(f"pictures that gave no person and cost no other: {errors}")
    result = (
        f"{counts['images']} pictures in, {counts['people_labelled']} people and {counts['pairs']} pairs out"
    )
    return Job("Label", result, seconds, steps, tuple(notes))


def job_of_training(aligned: dict[str, Any], seconds: float) -> Job:
    plan, labels = aligned["recipe"]["plan"], aligned["recipe"]["labels"]
    result = (
        f"{labels.get('pairs', 0)} pairs less those of held-out photos, {plan['steps']} steps,"
        f" {aligned['recipe']['workers']} Ray Train workers"
    )
    return Job(
        "Train",
        result,
        seconds,
        notes=(str(aligned["verdict"]["text"]), "Diffusion-DPO against the frozen base"),
    )


def job_of_serving(answer: Any, latency_ms: float, seconds: float) -> Job:
    people = sum(len(picture.people) for picture in answer.pictures)
    timings = answer.timings_ms.model_dump()
    steps = tuple(Step(name, value / 1000) for name, value in timings.items() if name != "total")
    note = "most of it is starting Ray Serve and loading the models; steps are those of the request"
    return Job(
        "Serve",
        f"one photo in, {people} {'person' if people == 1 else 'people'} out in {latency_ms:.0f} ms",
        seconds,
        steps,
        (note,),
    )


def training_part(aligned: dict[str, Any]) -> TrainingPart:
    history = aligned["history"]
    steps = np.array([row["step"] for row in history], float)

    def series(key: str, name: str) -> Series:
        return Series(name, np.array([row[key] for row in history], float))

    def rise(whose: Literal["winner", "loser"]) -> Series:
        return Series(whose, np.array([rise_pct(row, whose) for row in history], float))

    curves = (
        Curve("Preference loss", "Falls as the model tells winner from loser better than the frozen base does.", steps,
              (series("dpo", "loss"),), reference=("no preference: log 2", float(np.log(2)))),
        Curve("Winner's and loser's error", "Against the base. The winner's must not rise: that is forgetting.", steps,
              (rise("winner"), rise("loser")), "%", ("as the base", 0.0)),
        Curve("Drift", "How far the zero-noise answers have moved from the base's.", steps,
              (series("drift_mm", "drift"),), "mm"),
    ) if history else ()  # fmt: skip
    made, people = aligned["made_people"], aligned["people"]["made"]
    changes = []
    for key, title in (("mpjpe", "MPJPE"), ("pa_mpjpe", "PA-MPJPE")):
        names = {part: f"{key}_{part}_mm" for part in ("zero_noise", "mean", "selected", "best_of_m")}
        if all(name in made for name in names.values()):
            before, after = (
                FourFigures(**{part: made[name][when] for part, name in names.items()})
                for when in ("before", "after")
            )
            chosen = made[names["selected"]]
            change = chosen["after"] - chosen["before"]
            alignment = "rotation, scale and place aligned" if key == "pa_mpjpe" else "pelvis aligned"
            changes.append(
                MetricChange(
                    title,
                    "mm",
                    f"24 SMPL joints, {alignment}; made people in held-out motion",
                    20,
                    people,
                    before,
                    after,
                    (change - chosen["ci95"], change + chosen["ci95"]),
                )
            )
    summary = str(aligned["verdict"]["text"]).capitalize() + "."
    return TrainingPart(summary, curves, tuple(changes), tuple(aligned["alarms"]))


def reproducibility(
    labelled: dict[str, Any], aligned: dict[str, Any], sources: tuple[str, ...]
) -> Reproducibility:
    versions = {name: version for name, version in labelled["versions"].items() if version}
    digests = {**labelled["identity"]["models"], "aligned": aligned["sha256"][:16]}
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"
    seeds = {"label": labelled["config"]["seed"], "train": aligned["recipe"]["plan"]["seed"]}
    return Reproducibility(versions, digests, seeds, machine, sources)
