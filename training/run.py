"""Runs on Ray Train: the same steps, loop and batches as in one process, spread over workers.

The only file of ``training`` that knows Ray; the caller has started it. Each worker takes its share of every global
batch; gradients are averaged over workers (gloo on CPUs, NCCL on GPUs), so the loss curve doesn't depend on their
number. A run that dies goes on from its last committed checkpoint: a lost worker within the run, a lost run when the
same one is started again in the same folder.
"""

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import ray
import ray.train
import ray.train.torch
import torch
from ray.exceptions import RayError
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.exceptions import RayTrainError, UserExceptionWithTraceback
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError
from torch import nn

from alignhmr.core.errors import AcceleratorError, AlignhmrError, InputError, SetupError
from alignhmr.training.alignment import PreferencePlan, PreferenceRun, align, finished
from alignhmr.training.loop import DivergedError, Step, Trainer
from alignhmr.training.plans import Plan, train_plan
from alignhmr.training.state import STATE, load_state, read_notes, save_state
from alignhmr.training.workplace import Listener, Pictures, Workplace

log = logging.getLogger(__name__)

Watch = Callable[[dict[str, float]], None]
Job = Callable[[Workplace], None]
"""What each worker does; crosses to it."""


def run_preference(
    plan: PreferencePlan, folder: Path, *, workers: int = 2, device: str = "cpu", max_failures: int = 3,
    filesystem: pafs.FileSystem | None = None, watch: Watch | None = None, name: str = "run",
) -> PreferenceRun:  # fmt: skip
    """Trains the policy; ``watch`` is told of each report (step, loss, accuracy, margin, drift_mm, ...).

    CompatibilityError or InputError where the plan, its rows and its models don't belong together.

    ``folder`` keeps the checkpoints of an unfinished run until it ends well; all workers must see it.
    """
    check_room(workers, device, {"pairs": plan.batch_size}, parts=plan.accumulate)
    job = partial(align, plan, filesystem)
    result = _run(
        job, folder, name, workers=workers, device=device, threads=plan.threads, max_failures=max_failures,
        listener=_Rows(watch) if watch else Listener(),
    )  # fmt: skip
    assert result.checkpoint is not None, "the last step always commits a checkpoint"
    with result.checkpoint.as_directory() as committed:
        run = finished(plan, Path(committed) / STATE)
    shutil.rmtree(folder / name, ignore_errors=True)
    return run


def run_plan(
    plan: Plan, first: Path, out: Path, name: str, *, folder: Path, workers: int = 1, device: str = "cpu",
    max_failures: int = 3, listener: Listener | None = None,
) -> None:  # fmt: skip
    """Trains a model, whose first weights are in the checkpoint ``first``; writes what ``course.follow`` says.

    ``folder`` keeps the run's state, and a run that is found there goes on. All workers must see the three of them.
    """
    pictures = {"prepared people": plan.recipe.sightings} if plan.data else {}
    check_room(workers, device, {"simulated detections": plan.recipe.batch_size, **pictures})
    job = partial(train_plan, plan, first.absolute(), out.absolute(), name)
    _run(
        job, folder, "run", workers=workers, device=device, threads=plan.threads, max_failures=max_failures,
        listener=listener or Listener(),
    )  # fmt: skip


def check_room(workers: int, device: str, batch: Mapping[str, int], parts: int = 1) -> None:
    """Whether Ray has a place for each worker, and each can have its share of what a batch holds, in equal parts."""
    if workers < 1:
        raise InputError(f"{workers} workers were asked for; give 1 or more")
    if parts < 1:
        raise InputError(f"{parts} parts of a batch were asked for; give 1 or more")
    for what, count in batch.items():
        if count % workers:
            raise InputError(
                f"a batch of {count} {what} can't be shared evenly by {workers} workers; give a multiple, or another"
                " number of --workers"
            )
        if count // workers % parts:
            raise InputError(
                f"a worker's {count // workers} {what} of a batch can't be met in {parts} equal parts; give a divisor"
            )
    have = ray.cluster_resources()
    short = [name for name in ("CPU",) + ("GPU",) * (device != "cpu") if have.get(name, 0) < workers]
    if short and os.environ.get("RAY_ADDRESS"):
        log.warning(
            "%s for %d workers aren't there so far; waiting for the cluster to grow", short[0], workers
        )
        return
    if have.get("CPU", 0) < workers:
        raise SetupError(
            f"{workers} workers were asked for, but Ray has {have.get('CPU', 0):g} CPUs; give fewer --workers"
        )
    if device != "cpu" and have.get("GPU", 0) < workers:
        raise AcceleratorError(
            f"{workers} workers were asked for on GPUs, but Ray has {have.get('GPU', 0):g}; give fewer"
            " --workers, or --device cpu"
        )


def worker_resources(device: str) -> dict[str, float]:
    """What one worker asks Ray for."""
    return {"CPU": 1, "GPU": 1} if device != "cpu" else {"CPU": 1}


def _run(
    job: Job, folder: Path, name: str, *, workers: int, device: str, threads: int, max_failures: int,
    listener: Listener,
) -> ray.train.Result:  # fmt: skip
    """Does the job on all workers, from what ``folder/name`` keeps of it, and passes on what they tell."""
    board = _Board.options(num_cpus=0).remote()  # type: ignore[attr-defined]
    on_gpu = device != "cpu"
    trainer = TorchTrainer(
        _work,
        train_loop_config={"job": job, "on_gpu": on_gpu, "threads": threads, "board": board},
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=on_gpu,
            resources_per_worker=worker_resources(device),
        ),
        torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
        run_config=RunConfig(
            name=name,
            storage_path=str(folder.absolute()),
            failure_config=FailureConfig(max_failures=max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    with _Watcher(board, listener) as watcher:
        try:
            result = trainer.fit()
        except TrainingFailedError as error:
            if (said := watcher.failure()) is not None:
                raise said from None
            raise _lost(error, max_failures, folder) or error from None
        if (said := watcher.failure()) is not None:
            raise said
    return result


def _work(config: dict[str, Any]) -> None:
    """One worker. What is wrong with the input is told to the driver, and no worker tries again."""
    board = config["board"]
    if ray.get(board.failure.remote()) is not None:
        return
    torch.set_num_threads(config["threads"])
    place = _InRay(board, config["on_gpu"])
    try:
        config["job"](place)
    except AlignhmrError as error:
        ray.get(board.fail.remote(error))
        # All workers diverge together; what is wrong with one of them leaves the others waiting.
        if not isinstance(error, DivergedError):
            raise


class _InRay:
    """A worker among several; its state is what Ray Train has committed."""

    def __init__(self, board: Any, on_gpu: bool) -> None:
        context = ray.train.get_context()
        self.rank, self.world = context.get_world_rank(), context.get_world_size()
        self.device = ray.train.torch.get_device() if on_gpu else torch.device("cpu")
        self.listener: Listener = _Teller(board)

    def wrapped(self, step: Step) -> Step:
        if self.world == 1 or not isinstance(step, nn.Module):
            return step
        # A part without evidence in a worker's share has no gradient there. Buffers are kept equal by their owners.
        return nn.parallel.DistributedDataParallel(step, find_unused_parameters=True, broadcast_buffers=False)

    def notes(self) -> dict[str, Any] | None:
        path = _committed()
        return None if path is None else read_notes(path)

    def restore(self, trainer: Trainer) -> None:
        path = _committed()
        assert path is not None
        load_state(path, trainer)
        log.info("rank %d goes on from step %d", self.rank, trainer.step_number)

    def keep(self, trainer: Trainer, notes: dict[str, Any]) -> None:
        """All workers meet here; the first one's state becomes the checkpoint. Ray counts it once it is whole."""
        values = {"step": trainer.step_number}
        if self.rank:
            trainer.state_dict()  # what is in shards comes together by all
            ray.train.report(values)
            return
        with tempfile.TemporaryDirectory() as folder:
            save_state(Path(folder) / STATE, trainer, notes)
            ray.train.report(values, checkpoint=Checkpoint.from_directory(folder))

    def clear(self) -> None:
        pass  # the driver's business, once all workers have ended


def _committed() -> Path | None:
    """The last committed state that is whole; None where the run begins.

    Where a machine's end cut the last one short, the one before it costs some steps, and none at all the whole time.
    All workers see the same files, and choose alike.
    """
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return None
    last = Path(checkpoint.path)  # on this file system: ``_run`` gave Ray a folder
    before = [path for path in last.parent.glob("checkpoint*") if path.name < last.name]
    for folder in [last, *sorted(before, reverse=True)]:
        try:
            read_notes(folder / STATE)
        except InputError as error:
            log.warning("a kept state is passed over: %s", error)
        else:
            return folder / STATE
    return None


def _lost(error: TrainingFailedError, max_failures: int, folder: Path) -> SetupError | None:
    """What to say where workers were lost; None for an error in them, which is a defect."""
    failures = error.worker_failures.values() if isinstance(error, WorkerGroupError) else ()
    # Those who lose a partner raise errors of their own.
    lost = [
        failure
        for failure in failures
        if isinstance(failure, (RayError, RayTrainError))
        and not isinstance(failure, UserExceptionWithTraceback)
    ]
    if not lost:
        return None
    return SetupError(
        f"workers were lost {max_failures + 1} times, the last by: {str(lost[0]).splitlines()[0]}; what was kept is in"
        f" {folder}: see that there is memory enough, and start it again (--resume)"
    )


@ray.remote
class _Board:
    """Where the first worker puts what it has to tell, and the driver looks for it."""

    def __init__(self) -> None:
        self._told: list[tuple[str, tuple]] = []
        self._failure: AlignhmrError | None = None

    def put(self, method: str, told: tuple) -> None:
        self._told.append((method, told))

    def take(self) -> list[tuple[str, tuple]]:
        told, self._told = self._told, []
        return told

    def fail(self, error: AlignhmrError) -> None:
        self._failure = self._failure or error

    def failure(self) -> AlignhmrError | None:
        return self._failure


class _Teller(Listener):
    """Passes on to the board, and waits until it is there: a worker that ends takes what it hasn't sent along."""

    def __init__(self, board: Any) -> None:
        self._board = board

    def started(self, done: int, steps: int | None) -> None:
        self._put("started", done, steps)

    def learned(self, step: int, values: Mapping[str, float]) -> None:
        self._put("learned", step, dict(values))

    def judged(self, step: int, figures: Mapping[str, float], pictures: Pictures) -> None:
        self._put("judged", step, dict(figures), dict(pictures))

    def _put(self, method: str, *told: Any) -> None:
        ray.get(self._board.put.remote(method, told))


class _Rows(Listener):
    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def learned(self, step: int, values: Mapping[str, float]) -> None:
        self._watch({"step": step, **values})


class _Watcher:
    """Passes on what the board holds while the run blocks the main thread."""

    def __init__(self, board: Any, listener: Listener, every_s: float = 0.3) -> None:
        self._board, self._listener, self._every_s = board, listener, every_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "_Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._pass_on()
        ray.kill(self._board)

    def failure(self) -> AlignhmrError | None:
        return ray.get(self._board.failure.remote())

    def _run(self) -> None:
        while not self._end.wait(self._every_s):
            self._pass_on()

    def _pass_on(self) -> None:
        for method, told in ray.get(self._board.take.remote()):
            try:
                getattr(self._listener, method)(*told)
            except Exception:  # who only listens must not cost the run
                log.exception("a listener failed at %s", method)
