"""Aligning the base to preferences: the plan of a run, what each worker of it does, and what comes of it.

Each worker reads the label rows and takes its share of every global batch, so the loss curve doesn't depend on their
number. With a scorer the policy is judged on held-out photos on the way: the run stops by that, and ships by it.
"""

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.checkpoints import file_digest, load_checkpoint
from alignhmr.core.diffusion.encoder import Encoded
from alignhmr.core.diffusion.model import BaseModel
from alignhmr.core.errors import InputError
from alignhmr.core.scoring.scorer import HMRScorer
from alignhmr.training.base import Precision
from alignhmr.training.data import Labels, People, read_labels, split
from alignhmr.training.loop import LoopConfig, Trainer, train
from alignhmr.training.low_rank import LowRank, merge
from alignhmr.training.preference import PreferenceConfig, PreferenceObjective, alarm, drift_mm
from alignhmr.training.preference_batches import digest_of, preference_batches
from alignhmr.training.reference_cache import ReferenceCache
from alignhmr.training.sharding import shard, whole
from alignhmr.training.state import load_state
from alignhmr.training.stopping import HeldOutReward, Judged, StopRule, best_of, reason_to_stop
from alignhmr.training.workers import first_says, has_others, means_over_workers
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
    accumulate: int = 1
    """Parts in which a worker meets its share of a batch; what is learned is the same, in less memory."""
    learning_rate: float = 2e-5
    objective: PreferenceConfig = field(default_factory=PreferenceConfig)
    precision: Precision = "fp32"
    """Of the denoiser's products. beta multiplies what bf16 rounds away, too."""
    low_rank: LowRank | None = None
    """None: all weights of the denoiser learn."""
    sharded: bool = False
    """Whether workers share the weights that learn among them (``sharding.py``); the result is the same."""
    scorer: str | None = None
    """Path of the checkpoint that judges held-out photos on the way; None: all steps are taken, the last ships."""
    stop: StopRule = field(default_factory=StopRule)
    labels: str | None = None
    """Digest of the rows that the run is about (``preference_batches.digest_of``); other rows are refused."""
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

    def learning(self) -> PreferenceObjective:
        """Policy and reference before the first step."""
        model, _ = load_checkpoint(Path(self.base), "base", body_digest=BodyModel.load(self.body).digest)
        assert isinstance(model, BaseModel)
        return PreferenceObjective(
            model, self.objective, low_rank=self.low_rank, precision=self.precision, seed=self.seed
        )

    def trainer(self, policy: BaseModel) -> Trainer:
        return Trainer(policy, policy.trainable_in_alignment(), self.loop())

    def judge(self, reference: BaseModel, photos: People, device: torch.device) -> HeldOutReward:
        """Of a plan that names a scorer."""
        assert self.scorer is not None
        body = BodyModel.load(self.body)
        scorer, _ = load_checkpoint(Path(self.scorer), "scorer", body_digest=body.digest)
        assert isinstance(scorer, HMRScorer)
        return HeldOutReward(reference, scorer, body, photos, self.stop, seed=self.seed, device=device)


@dataclass(frozen=True)
class PreferenceRun:
    """What came of it: the policy in memory, an ordinary base, and how it went."""

    policy: BaseModel
    history: list[dict[str, float]]
    alarms: list[str]
    judged: list[Judged]
    """Of held-out photos, on the way; empty where nobody judged."""
    step: int
    """Whose weights these are; 0 are the reference's."""
    stopped: str | None
    """What ended it, in a sentence; None where it was the number of steps."""


def run_name(plan: PreferencePlan) -> str:
    """Tells plans apart: a folder with another plan's checkpoints isn't taken up."""
    told = {**asdict(plan), "base_digest": file_digest(Path(plan.base)), "cache": None}
    if plan.scorer is not None:
        told["scorer_digest"] = file_digest(Path(plan.scorer))
    text = json.dumps(told, sort_keys=True)
    return f"unfinished-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def align(plan: PreferencePlan, filesystem: pafs.FileSystem | None, place: Workplace) -> None:
    """One worker, from its first step or from the last kept state; the state in which it ends is kept."""
    body, digest = BodyModel.load(plan.body), file_digest(Path(plan.base))
    learn(plan, *split(_labels(plan, body, digest, filesystem)), place)


def learn(
    plan: PreferencePlan, training: Labels, held_out: Labels, place: Workplace, *,
    encode: Callable[[People], Encoded] | None = None,
) -> None:  # fmt: skip
    """``align`` with the rows that are there already; ``encode`` says what the base's encoder makes of people, where
    that is known."""
    rank, device = place.rank, place.device
    body, digest = BodyModel.load(plan.body), file_digest(Path(plan.base))
    objective = plan.learning().to(device)
    policy, reference = objective.policy, objective.reference
    sharded = plan.sharded and has_others()
    asked = copy.deepcopy(policy) if sharded else policy
    if sharded:
        shard(policy.denoiser, device)
    body = body.to(device)
    trainer = plan.trainer(policy)
    begun = place.notes()
    notes = begun or {"history": [], "alarms": [], "judged": [], "stopped": None}
    if begun is not None:
        place.restore(trainer)
    wrapped = objective if sharded else place.wrapped(objective)
    # The same people each time, so that the drift is a curve.
    evidence = training.people.encoded(reference, device) if encode is None else encode(training.people)
    watched = evidence.take(torch.arange(min(64, len(training.people))))
    judges = plan.scorer is not None and len(held_out.people) > 0
    reward = plan.judge(reference, held_out.people, device) if judges and rank == 0 else None

    def step(batch: Any, number: int) -> tuple[torch.Tensor, dict[str, float]]:
        return wrapped(batch.to(device))  # pyright: ignore[reportCallIssue] - the objective counts no steps

    def answering() -> BaseModel:
        """The policy as one worker can ask it alone; all of them call it."""
        if sharded:
            asked.load_state_dict({name: whole(value) for name, value in policy.state_dict().items()})
        return asked

    def report(number: int, values: dict[str, float]) -> None:
        values, now = means_over_workers(values, device), answering()
        if rank == 0:
            values["drift_mm"] = drift_mm(now, reference, body, watched)
            notes["history"].append({"step": number, **values})
            if (sentence := alarm(values)) and sentence not in notes["alarms"]:
                notes["alarms"].append(sentence)
            place.listener.learned(number, values)

    def judge() -> None:
        """The first worker judges while the others wait for its word."""
        now, best = answering(), False
        if reward is not None:
            told = reward(now, trainer.step_number)
            notes["judged"].append(told)
            best = best_of(notes["judged"], plan.stop) is told
            notes["stopped"] = reason_to_stop(notes["judged"], plan.stop)
            place.listener.judged(trainer.step_number, told, {})
        if first_says(best, device):
            trainer.remember()
        if first_says(notes["stopped"] is not None, device) and rank:
            notes["stopped"] = "the first worker said so"

    cache = ReferenceCache(
        Path(plan.cache) if plan.cache is not None else None, objective, digest, training.preferred.bodies.shape[1],
        rank=rank, device=device,
    )  # fmt: skip
    batches = preference_batches(
        training, evidence, plan.batch_size, plan.seed, start=trainer.step_number, rank=rank, world=place.world,
        draws=plan.draws, known=cache,
    )  # fmt: skip
    if judges and begun is None:
        judge()
    while trainer.step_number < plan.steps and notes["stopped"] is None:
        done = trainer.step_number
        at = min(
            plan.steps, _next(done, plan.save_every), _next(done, plan.stop.every) if judges else plan.steps
        )
        train(trainer, step, (batch.parts(plan.accumulate) for batch in islice(batches, at - done)), report)
        if judges and (at % plan.stop.every == 0 or at == plan.steps):
            judge()
        if at % plan.save_every == 0 or at == plan.steps or notes["stopped"] is not None:
            place.keep(trainer, notes)
            cache.keep()


def finished(plan: PreferencePlan, state: Path) -> PreferenceRun:
    """From the last state of a run: the best weights by held-out photos where they were judged, else the last."""
    policy = plan.learning().policy
    trainer = plan.trainer(policy)
    notes = load_state(state, trainer)
    step = trainer.step_number
    if notes["judged"]:
        trainer.recall()
        step = best_of(notes["judged"], plan.stop)["step"]
    merge(policy.denoiser)
    return PreferenceRun(
        policy.eval().requires_grad_(False), notes["history"], notes["alarms"], notes["judged"], int(step),
        notes["stopped"],
    )  # fmt: skip


def _labels(
    plan: PreferencePlan, body: BodyModel, base_digest: str, filesystem: pafs.FileSystem | None
) -> Labels:  # fmt: skip
    """InputError where the rows are others than those that the plan is about: workers would learn different things."""
    labels = read_labels(
        plan.data, body, base_digest, objective=plan.objective.objective, filesystem=filesystem
    )
    if plan.labels is not None and (found := digest_of(labels)) != plan.labels:
        raise InputError(
            f"the rows in {plan.data} have changed since the run began (digest {found[:12]}, not {plan.labels[:12]};"
            f" {labels.counts.get('broken files', 0)} files can't be read): start it again, and it begins with what"
            " there is"
        )
    return labels


def _next(step: int, every: int) -> int:
    return (step // every + 1) * every
