"""Aligning the base to preferences: the plan of a run, and what each worker of it does.

Each worker reads the label rows and takes its share of every global batch, so the loss curve doesn't depend on their
number.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.checkpoints import file_digest, load_checkpoint
from alignhmr.core.diffusion.model import BaseModel
from alignhmr.training.data import read_labels, split
from alignhmr.training.loop import LoopConfig, Trainer, train
from alignhmr.training.preference import PreferenceConfig, PreferenceObjective, alarm, drift_mm
from alignhmr.training.preference_batches import preference_batches
from alignhmr.training.reference_cache import ReferenceCache
from alignhmr.training.workers import means_over_workers
from alignhmr.training.workplace import Workplace


@dataclass(frozen=True)
class PreferencePlan:
    """Everything that the result of a run depends on."""

    data: str
    base: str
    """Path of the checkpoint that is policy and reference."""
    steps: int = 100
    batch_size: int = 128
    """Pairs, or groups, of a global batch."""
    learning_rate: float = 2e-5
    objective: PreferenceConfig = field(default_factory=PreferenceConfig)
    body: str = "open"
    seed: int = 0
    report_every: int = 5
    save_every: int = 25
    threads: int = 1
    """Per worker; two workers on two cores fight with more."""
    draws: int = 16
    """Of noise and timestep, under which each preference is met."""
    cache: str | None = None
    """Folder for the reference's errors; without one they are kept in memory alone."""

    def loop(self) -> LoopConfig:
        return LoopConfig(
            steps=self.steps,
            learning_rate=self.learning_rate,
            warmup_steps=min(10, self.steps // 4),
            final_rate=0.1,
            weight_decay=0.0,
            # Few small steps need no average of weights: it would only lag behind.
            ema_decay=0.0,
            report_every=self.report_every,
        )

    def policy(self) -> BaseModel:
        """The base, its denoiser free to learn."""
        model, _ = load_checkpoint(Path(self.base), "base", body_digest=BodyModel.load(self.body).digest)
        assert isinstance(model, BaseModel)
        for parameter in model.trainable_in_alignment():
            parameter.requires_grad_(True)
        return model

    def trainer(self, policy: BaseModel) -> Trainer:
        return Trainer(policy, policy.trainable_in_alignment(), self.loop())


def run_name(plan: PreferencePlan) -> str:
    """Tells plans apart: a folder with another plan's checkpoints isn't taken up."""
    told = {**asdict(plan), "base_digest": file_digest(Path(plan.base)), "cache": None}
    text = json.dumps(told, sort_keys=True)
    return f"unfinished-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def align(plan: PreferencePlan, filesystem: pafs.FileSystem | None, place: Workplace) -> None:
    """One worker, from its first step or from the last kept state; the last step is kept."""
    rank, device = place.rank, place.device
    body = BodyModel.load(plan.body)
    digest = file_digest(Path(plan.base))
    labels = read_labels(plan.data, body, digest, objective=plan.objective.objective, filesystem=filesystem)
    training, _ = split(labels)
    policy = plan.policy()
    objective = PreferenceObjective(policy, plan.objective).to(device)
    body = body.to(device)
    trainer = plan.trainer(policy)
    notes = place.notes() or {"history": [], "alarms": []}
    if place.notes() is not None:
        place.restore(trainer)
    wrapped = place.wrapped(objective)
    # The same people each time, so that the drift is a curve.
    evidence = training.people.encoded(policy, device)
    watched = evidence.take(torch.arange(min(64, len(training.people))))

    def step(batch: Any, number: int) -> tuple[torch.Tensor, dict[str, float]]:
        return wrapped(batch.to(device))  # pyright: ignore[reportCallIssue] - the objective counts no steps

    def report(number: int, values: dict[str, float]) -> None:
        values = means_over_workers(values, device)
        if rank == 0:
            values["drift_mm"] = drift_mm(policy, objective.reference, body, watched)
            notes["history"].append({"step": number, **values})
            if (sentence := alarm(values)) and sentence not in notes["alarms"]:
                notes["alarms"].append(sentence)
            place.listener.learned(number, values)

    cache = ReferenceCache(
        Path(plan.cache) if plan.cache is not None else None, objective, digest, training.preferred.bodies.shape[1],
        rank=rank, device=device,
    )  # fmt: skip
    batches = preference_batches(
        training, evidence, plan.batch_size, plan.seed, start=trainer.step_number, rank=rank, world=place.world,
        draws=plan.draws, known=cache,
    )  # fmt: skip
    while trainer.step_number < plan.steps:
        stop = min(plan.steps, (trainer.step_number // plan.save_every + 1) * plan.save_every)
        train(trainer, step, islice(batches, stop - trainer.step_number), report)
        place.keep(trainer, notes)
        cache.keep()
