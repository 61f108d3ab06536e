"""A base model on Ray Train: as in one process, however it is interrupted, and stopped by one sentence."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from safetensors.torch import load_file

from alignhmr.core.checkpoints import read_info
from alignhmr.core.diffusion.model import BaseModelConfig
from alignhmr.core.errors import InputError
from alignhmr.core.synthetic.motion import load_clips
from alignhmr.training import run
from alignhmr.training.base_run import BasePlan
from alignhmr.training.loop import DivergedError, LoopConfig
from alignhmr.training.plans import train_plan, write_first
from alignhmr.training.recipe import BaseRecipe, Evaluation
from alignhmr.training.run import run_plan
from alignhmr.training.workplace import Alone, Listener

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(300),
    # Ray warns of its own old options whenever a trainer is made.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

BLIND = BaseModelConfig("none", 32, 24, 1, 24, 1)
RECIPE = BaseRecipe(
    LoopConfig(steps=12, warmup_steps=2, report_every=4), BLIND, evaluation=Evaluation(4, 6, 2), batch_size=4,
    sightings=4, save_every=4,
)  # fmt: skip


LONG = {
    "loop": replace(RECIPE.loop, steps=400, report_every=80), "evaluation": Evaluation(200, 6, 2), "save_every": 40,
}  # fmt: skip
"""So long that it can be killed on the way."""


@pytest.fixture(scope="module")
def folders(body, made, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("prepared")
    made.write_people(root / "wild", made.seen_people(body, 9), domain="wild", split="train")
    made.write_people(root / "test", made.seen_people(body, 6, seed=2), domain="wild", split="test")
    return root


@pytest.fixture(scope="module", autouse=True)
def _often() -> Iterator[None]:
    """Each commit waits until Ray Train looks again, which it does every 2 s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        yield


@pytest.fixture(scope="module")
def plan(clips, folders) -> Callable[..., BasePlan]:
    def of(**changes) -> BasePlan:
        data = ((str(folders / "wild"), 1.0),)
        recipe = replace(RECIPE, **changes.pop("recipe", {}))
        return replace(
            BasePlan(recipe, tuple(load_clips(clips)), data, str(folders / "test"), preset="tiny"), **changes
        )

    return of


class Ear(Listener):
    def __init__(self) -> None:
        self.starts: list[int] = []
        self.losses: dict[int, float] = {}
        self.figures: dict[int, float] = {}

    def started(self, done, steps):
        self.starts.append(done)

    def learned(self, step, values):
        self.losses[step] = values["loss"]

    def judged(self, step, figures, pictures):
        self.figures[step] = figures["pa_mpjpe_zero_noise_mm"]
        assert next(iter(pictures.values())).ndim == 3


def on_ray(plan: BasePlan, out: Path, workers: int = 2, ear: Ear | None = None) -> dict[str, torch.Tensor]:
    write_first(plan.open(), out / "run" / "first.safetensors")
    folder = out / "run"
    run_plan(
        plan, folder / "first.safetensors", out, "base", folder=folder, workers=workers, listener=ear or Ear()
    )
    return load_file(out / "base.safetensors")


@pytest.fixture(scope="module")
def calm(plan, ray_session, tmp_path_factory) -> Path:
    """Where an undisturbed run of two workers left its answer."""
    out = tmp_path_factory.mktemp("calm")
    on_ray(plan(recipe=LONG), out)
    return out / "base.safetensors"


def committed(out: Path) -> bool:
    """Whether a state counts: a second one is written once the first does."""
    return len(list(out.rglob("state.safetensors"))) > 1


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_two_workers_learn_what_one_process_learns(plan, ray_session, tmp_path):
    alone, together = Ear(), Ear()
    run = plan(recipe={"loop": replace(RECIPE.loop, learning_rate=1e-4)})
    write_first(run.open(), tmp_path / "first.safetensors")
    train_plan(
        run,
        tmp_path / "first.safetensors",
        tmp_path / "one",
        "base",
        Alone(tmp_path / "state", listener=alone),
    )
    weights = on_ray(run, tmp_path / "two", ear=together)
    assert together.losses == pytest.approx(alone.losses, rel=1e-4) and list(together.losses) == [4, 8, 12]
    assert together.figures == pytest.approx(alone.figures, rel=1e-3) and list(together.figures) == [4, 8, 12]
    for name, value in load_file(tmp_path / "one" / "base.safetensors").items():
        assert torch.allclose(weights[name].float(), value.float(), atol=2e-3), name
    info = read_info(tmp_path / "two" / "base.safetensors")
    assert "2 workers of 1 thread" in info.recipe["machine"]
    assert info.recipe["mixture"] == read_info(tmp_path / "one" / "base.safetensors").recipe["mixture"]


@pytest.mark.slow
def test_a_killed_worker_costs_only_time(plan, made, calm, tmp_path):
    """SIGKILL to a worker after the first commit: to the bit what an undisturbed run of two workers ends with."""
    run = plan(recipe=LONG)
    killed: list[int] = []

    def kill_once() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not committed(tmp_path / "hit"):
            time.sleep(0.05)
        killed.append(made.workers_of_this_process()[1])
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill_once)
    thread.start()
    ear = Ear()
    hit = on_ray(run, tmp_path / "hit", ear=ear)
    thread.join()
    assert (
        killed
        and len(ear.starts) == 2
        and ear.starts[0] == 0
        and ear.starts[1] % 40 == 0
        and ear.starts[1] > 0
    )
    assert same(load_file(calm), hit)
    one, other = read_info(calm), read_info(tmp_path / "hit" / "base.safetensors")
    assert one.metrics == other.metrics and one.recipe["recipe"] == other.recipe["recipe"]


DRIVER = """
import pickle, sys
from pathlib import Path
from alignhmr.deployments import runtime
from alignhmr.training.run import run_plan
plan, out = pickle.loads(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2])
runtime.start_ray()
run_plan(plan, out / "run" / "first.safetensors", out, "base", folder=out / "run", workers=2)
"""


@pytest.mark.slow
def test_a_killed_driver_is_started_again(plan, calm, tmp_path):
    """The program itself is killed; the same one, started again, goes on from the last commit and ends the same."""
    import pickle

    run = plan(recipe=LONG)
    out = tmp_path / "hit"
    write_first(run.open(), out / "run" / "first.safetensors")
    (tmp_path / "plan").write_bytes(pickle.dumps(run))
    address = ray.get_runtime_context().gcs_address
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path / "plan"), str(out)],
        env={**os.environ, "RAY_ADDRESS": address}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not committed(out):
        assert driver.poll() is None
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    assert not (out / "base.safetensors").exists()
    ear = Ear()
    run_plan(run, out / "run" / "first.safetensors", out, "base", folder=out / "run", workers=2, listener=ear)
    assert ear.starts[0] > 0 and ear.starts[0] % 40 == 0
    assert same(load_file(calm), load_file(out / "base.safetensors"))


def test_a_lost_loss_ends_the_run_with_a_sentence(plan, body, made, ray_session, tmp_path):
    """No worker tries again, and what was there before is kept."""
    people = [type(one)(**{**vars(one), "betas": one.betas * np.nan}) for one in made.seen_people(body, 4)]
    broken = str(made.write_people(tmp_path / "broken", people))
    ear = Ear()
    with pytest.raises(
        DivergedError, match=r"10 steps in a row.*in the data; kept are the last weights in .*base-last"
    ):
        on_ray(
            plan(data=((broken, 1.0),), recipe={"loop": replace(RECIPE.loop, steps=200)}), tmp_path, ear=ear
        )
    assert ear.starts == [0]
    kept, first = (load_file(tmp_path / name) for name in ("base-last.safetensors", "run/first.safetensors"))
    assert all(torch.equal(value, first[name].half()) for name, value in kept.items())


def test_what_is_wrong_with_one_worker_is_told_and_not_tried_again(ray_session, tmp_path):
    def job(place):
        import torch

        from alignhmr.core.errors import InputError

        if place.rank == 1:
            raise InputError("people-7.parquet is broken")
        torch.distributed.barrier()

    started = time.monotonic()
    with pytest.raises(InputError, match=r"people-7.parquet is broken"):
        run._run(
            job, tmp_path, "run", workers=2, device="cpu", threads=1, max_failures=3, listener=Listener()
        )
    assert time.monotonic() - started < 120
