"""Preference optimisation on Ray Train: the same loop, objective and batches, spread over workers.

The only file of ``training`` that knows Ray; the caller has started it. Each worker reads the label rows and
takes its share of every global batch; gradients are averaged over workers (gloo on CPUs, NCCL on GPUs), so
the loss curve doesn't depend on their number. A run that dies goes on from its last committed checkpoint: a
lost worker within the run, a lost run when the same plan is started again in the same folder.
"""

import hashlib
import json
import logging
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import ray
import ray.train
import ray.train.torch
import torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from alignhmr.core.body.model import BodyModel
from alignhmr.core.checkpoints import file_digest, load_checkpoint
from alignhmr.core.diffusion.model import BaseModel
from alignhmr.core.errors import AcceleratorError, InputError, SetupError
from alignhmr.training.data import pair_batches, read_labels, split
from alignhmr.training.loop import LoopConfig, Trainer, train
from alignhmr.training.preference import PreferenceConfig, PreferenceObjective, alarm, drift_mm
from alignhmr.training.state import load_state, save_state

log = logging.getLogger(__name__)

Watch = Callable[[dict[str, float]], None]
_STATE = "state.safetensors"


@dataclass(frozen=True)
class PreferencePlan:
    """Everything that the result of a run depends on."""

    data: str
    base: str
    """Path of the checkpoint that is policy and reference."""
    steps: int = 100
    batch_size: int = 128
    """Pairs of a global batch."""
    learning_rate: float = 2e-5
    objective: PreferenceConfig = field(default_factory=PreferenceConfig)
    body: str = "open"
    seed: int = 0
    report_every: int = 5
    save_every: int = 25
    threads: int = 1
    """Per worker; two workers on two cores fight with more."""

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


@dataclass(frozen=True)
class PreferenceRun:
    """What came of it: the policy in memory, and how it went."""

    policy: BaseModel
    history: list[dict[str, float]]
    alarms: list[str]


def run_preference(
    plan: PreferencePlan, folder: Path, *, workers: int = 2, device: str = "cpu", max_failures: int = 3,
    filesystem: pafs.FileSystem | None = None, watch: Watch | None = None, name: str = "run",
) -> PreferenceRun:  # fmt: skip
    """Trains the policy; ``watch`` is told of each report (step, loss, accuracy, margin, drift_mm, ...).

    ``folder`` keeps the checkpoints of an unfinished run until it ends well; all workers must see it.
    """
    _check_room(plan, workers, device)
    board = _Board.options(num_cpus=0).remote()  # type: ignore[attr-defined]
    config = {
        "plan": plan, "device": device.partition(":")[0], "filesystem": filesystem, "board": board
    }  # fmt: skip
    trainer = TorchTrainer(
        _work,
        train_loop_config=config,
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=device != "cpu",
            resources_per_worker={"CPU": 1, "GPU": 1} if device != "cpu" else {"CPU": 1},
        ),
        torch_config=TorchConfig(backend="gloo" if device == "cpu" else "nccl"),
        run_config=RunConfig(
            name=name,
            storage_path=str(folder.absolute()),
            failure_config=FailureConfig(max_failures=max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    with _Watcher(board, watch):
        result = trainer.fit()
    assert result.checkpoint is not None, "the last step always commits a checkpoint"
    policy = _policy(plan)
    with result.checkpoint.as_directory() as committed:
        notes = load_state(Path(committed) / _STATE, _trainer(policy, plan))
    shutil.rmtree(folder / name, ignore_errors=True)
    return PreferenceRun(policy.eval().requires_grad_(False), notes["history"], notes["alarms"])


def run_name(plan: PreferencePlan) -> str:
    """Tells plans apart: a folder with another plan's checkpoints isn't taken up."""
    text = json.dumps({**asdict(plan), "base_digest": file_digest(Path(plan.base))}, sort_keys=True)
    return f"unfinished-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _work(config: dict[str, Any]) -> None:
    """One worker, from its first step or from the last committed checkpoint."""
    plan: PreferencePlan = config["plan"]
    torch.set_num_threads(plan.threads)
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device() if config["device"] == "cuda" else torch.device("cpu")

    body = BodyModel.load(plan.body)
    labels = read_labels(plan.data, body, file_digest(Path(plan.base)), filesystem=config["filesystem"])
    training, _ = split(labels)
    policy = _policy(plan)
    objective = PreferenceObjective(policy, plan.objective).to(device)
    body = body.to(device)
    trainer = _trainer(policy, plan)
    notes: dict[str, Any] = {"history": [], "alarms": []}
    if checkpoint := ray.train.get_checkpoint():
        with checkpoint.as_directory() as committed:
            notes = load_state(Path(committed) / _STATE, trainer)
        log.info("rank %d goes on from step %d", rank, trainer.step_number)
    wrapped = ray.train.torch.prepare_model(objective, move_to_device=False)
    # The same people each time, so that the drift is a curve.
    evidence = training.people.encoded(policy, device)
    watched = evidence.take(torch.arange(min(64, len(training.people))))

    def step(batch: Any, number: int) -> tuple[torch.Tensor, dict[str, float]]:
        return wrapped(batch.to(device))

    def report(number: int, values: dict[str, float]) -> None:
        values = _mean_over_workers(values, device)
        if rank == 0:
            values["drift_mm"] = drift_mm(policy, objective.reference, body, watched)
            row = {"step": number, **values}
            notes["history"].append(row)
            if (sentence := alarm(values)) and sentence not in notes["alarms"]:
                notes["alarms"].append(sentence)
            config["board"].put.remote(row)

    batches = pair_batches(
        training, evidence, plan.batch_size, plan.seed, start=trainer.step_number, rank=rank, world=world
    )
    while trainer.step_number < plan.steps:
        stop = min(plan.steps, (trainer.step_number // plan.save_every + 1) * plan.save_every)
        train(trainer, step, islice(batches, stop - trainer.step_number), report)
        _commit(trainer, notes, rank)


def _commit(trainer: Trainer, notes: dict[str, Any], rank: int) -> None:
    """All workers meet here; the first one's state becomes the checkpoint. Ray counts it once it is whole."""
    values = {"step": trainer.step_number}
    if rank:
        ray.train.report(values)
        return
    with tempfile.TemporaryDirectory() as folder:
        save_state(Path(folder) / _STATE, trainer, notes)
        ray.train.report(values, checkpoint=Checkpoint.from_directory(folder))


def _policy(plan: PreferencePlan) -> BaseModel:
    policy, _ = load_checkpoint(Path(plan.base), "base", body_digest=BodyModel.load(plan.body).digest)
    assert isinstance(policy, BaseModel)
    for parameter in policy.trainable_in_alignment():
        parameter.requires_grad_(True)
    return policy


def _trainer(policy: BaseModel, plan: PreferencePlan) -> Trainer:
    return Trainer(policy, policy.trainable_in_alignment(), plan.loop())


def _mean_over_workers(values: dict[str, float], device: torch.device) -> dict[str, float]:
    """What one worker saw is a share of the batch; the curve is of the whole."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return values
    names = sorted(values)
    told = torch.tensor([values[name] for name in names], dtype=torch.float64, device=device)
    distributed.all_reduce(told)
    return dict(zip(names, (told / distributed.get_world_size()).tolist(), strict=True))


def _check_room(plan: PreferencePlan, workers: int, device: str) -> None:
    if workers < 1:
        raise InputError(f"{workers} workers were asked for; give 1 or more")
    if plan.batch_size % workers:
        raise InputError(
            f"a batch of {plan.batch_size} pairs can't be shared evenly by {workers} workers; give a multiple"
        )
    have = ray.cluster_resources()
    if have.get("CPU", 0) < workers:
        raise SetupError(
            f"{workers} workers were asked for, but Ray has {have.get('CPU', 0):g} CPUs; give fewer --workers"
        )
    if device != "cpu" and have.get("GPU", 0) < workers:
        raise AcceleratorError(
            f"{workers} workers were asked for on GPUs, but Ray has {have.get('GPU', 0):g}; give fewer"
            " --workers, or --device cpu"
        )


@ray.remote
class _Board:
    """Where the first worker puts what it has to tell, and the driver looks for it."""

    def __init__(self) -> None:
        self._rows: list[dict[str, float]] = []

    def put(self, row: dict[str, float]) -> None:
        self._rows.append(row)

    def take(self) -> list[dict[str, float]]:
        rows, self._rows = self._rows, []
        return rows


class _Watcher:
    """Passes the board's rows on while the run blocks the main thread."""

    def __init__(self, board: Any, watch: Watch | None, every_s: float = 0.3) -> None:
        self._board, self._watch, self._every_s = board, watch, every_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "_Watcher":
        if self._watch:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        if self._watch:
            self._thread.join()
            self._pass_on()
        ray.kill(self._board)

    def _run(self) -> None:
        while not self._end.wait(self._every_s):
            self._pass_on()

    def _pass_on(self) -> None:
        assert self._watch is not None
        for row in ray.get(self._board.take.remote()):
            self._watch(row)
