import io
import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import ray.train
import torch
from rich.console import Console

from alignhmr.core.checkpoints import file_digest, load_checkpoint
from alignhmr.core.diffusion.model import BaseModel
from alignhmr.core.errors import InputError, SetupError
from alignhmr.deployments.training_jobs import run_dpo
from alignhmr.training import fit
from alignhmr.training.alignment import PreferencePlan, align, finished, run_name
from alignhmr.training.data import read_labels, split
from alignhmr.training.loop import Trainer, train
from alignhmr.training.low_rank import LowRank
from alignhmr.training.preference import PreferenceObjective
from alignhmr.training.preference_batches import preference_batches
from alignhmr.training.run import _committed, run_preference
from alignhmr.training.state import STATE, save_state
from alignhmr.training.stopping import StopRule
from alignhmr.training.workplace import Alone

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(300),
    # Ray warns of its own old options whenever a trainer is made.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def plain_history(bench, plan: PreferencePlan) -> tuple[list[dict[str, float]], BaseModel]:
    """The same run without Ray: one process, whole batches."""
    labels, _ = split(read_labels(plan.data, bench.body, bench.digest))
    objective = PreferenceObjective(bench.model(), plan.objective)
    trainer = Trainer(objective.policy, objective.policy.trainable_in_alignment(), plan.loop())
    history: list[dict[str, float]] = []
    batches = preference_batches(labels, labels.people.encoded(bench.model()), plan.batch_size, plan.seed)
    train(
        trainer,
        lambda batch, _: objective(batch),
        batches,
        lambda at, told: history.append({"step": at, **told}),
    )
    return history, objective.policy


def test_two_workers_learn_what_one_process_learns(bench, ray_session, tmp_path):
    told: list[dict] = []
    plan = bench.plan()
    plain, policy = plain_history(bench, plan)
    run = run_preference(plan, tmp_path, workers=2, watch=told.append)
    assert [row["step"] for row in run.history] == [2, 4, 6, 8]
    assert told == run.history
    assert plain[0]["loss"] != plain[-1]["loss"] and run.history[-1]["drift_mm"] > 0
    for ours, theirs in zip(run.history, plain, strict=True):
        for name in theirs:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-4), name
    before = bench.model().state_dict()
    after = run.policy.state_dict()
    assert all(torch.allclose(after[name], value, atol=1e-5) for name, value in policy.state_dict().items())
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved and all(name.startswith(("time.", "denoiser")) for name in moved)
    assert not list(tmp_path.iterdir()), "a run that ended well leaves no checkpoints behind"


@pytest.mark.slow
def test_a_killed_worker_costs_only_time(bench, made, ray_session, tmp_path):
    """SIGKILL to one worker after the first commit: the curve is that of an undisturbed run."""
    plan = bench.plan(steps=400, save_every=20, report_every=20)
    calm, _ = plain_history(bench, plan)
    killed: list[int] = []

    def kill_once() -> None:
        folder = tmp_path / "hit"
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not list(folder.rglob("state.safetensors")):
            time.sleep(0.05)
        pid = made.workers_of_this_process()[0]
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)

    thread = threading.Thread(target=kill_once)
    thread.start()
    hit = run_preference(plan, tmp_path / "hit", workers=2)
    thread.join()
    assert killed
    assert [row["loss"] for row in hit.history] == pytest.approx([row["loss"] for row in calm], abs=1e-3)


@pytest.mark.parametrize("sharded", [False, True])
def test_two_workers_in_parts_by_low_rank_and_judged_come_to_what_one_process_comes_to(
    bench, ray_session, tmp_path, sharded
):
    rule = StopRule(every=2, patience=2, drift_mm=1e6, people=6, hypotheses=3)
    plan = bench.plan(steps=12, accumulate=2, low_rank=LowRank(rank=2), scorer=str(bench.scorer), stop=rule,
        learning_rate=3e-3, sharded=sharded,
    )  # fmt: skip
    align(plan, None, Alone(tmp_path / "state"))
    alone = finished(plan, tmp_path / "state")
    both = run_preference(plan, tmp_path / "both", workers=2)
    assert (both.step, both.stopped is None) == (alone.step, alone.stopped is None)
    assert len(both.judged) == len(alone.judged) > 1 and len(both.history) == len(alone.history)
    for ours, theirs in zip(both.history + both.judged, alone.history + alone.judged, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4)
    assert both.judged[-1]["drift_mm"] > 1
    for name, value in alone.policy.state_dict().items():
        assert torch.allclose(both.policy.state_dict()[name], value, atol=1e-4), name


def test_a_state_that_was_cut_short_costs_the_steps_since_the_one_before(
    bench, tmp_path, monkeypatch, caplog
):
    plan = bench.plan()
    policy = plan.learning().policy
    paths = []
    for step in (4, 8):
        trainer = plan.trainer(policy)
        trainer.step_number = step
        folder = tmp_path / f"checkpoint_2026-11-30_00-00-0{step}"
        save_state(folder / STATE, trainer, {"of": step})
        paths.append(folder / STATE)
    monkeypatch.setattr(ray.train, "get_checkpoint", lambda: ray.train.Checkpoint(str(paths[-1].parent)))
    assert _committed() == paths[1]
    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[: len(whole) // 2])
    assert _committed() == paths[0] and "cut short" in caplog.text
    paths[0].unlink()
    assert _committed() is None, "then it begins anew"
    monkeypatch.setattr(ray.train, "get_checkpoint", lambda: None)
    assert _committed() is None


def test_more_workers_than_there_are_is_told(bench, ray_session, tmp_path):
    with pytest.raises(SetupError, match="Ray has"):
        run_preference(bench.plan(batch_size=64), tmp_path, workers=64)
    with pytest.raises(InputError, match="shared evenly"):
        run_preference(bench.plan(), tmp_path, workers=3)
    with pytest.raises(InputError, match="give 1 or more"):
        run_preference(bench.plan(), tmp_path, workers=0)
    with pytest.raises(InputError, match="4 pairs of a batch can't be met in 3 equal parts"):
        run_preference(bench.plan(accumulate=3), tmp_path, workers=2)
    with pytest.raises(InputError, match="0 parts"):
        run_preference(bench.plan(accumulate=0), tmp_path, workers=2)


def test_plans_are_told_apart(bench):
    assert run_name(bench.plan()) == run_name(bench.plan())
    assert run_name(bench.plan()) != run_name(bench.plan(seed=1))
    assert Path(run_name(bench.plan())).name.startswith("unfinished-")


def test_the_whole_job_leaves_a_checkpoint_with_its_lineage(bench, clips, ray_session, tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "fetch", lambda name: clips)
    console = Console(file=io.StringIO(), width=120)
    config = tmp_path.parent / "mine.yaml"
    config.write_text("preference: {stop: {every: 2, people: 5, hypotheses: 2}, rank: 2}")
    told = run_dpo(
        bench.folder, tmp_path, base=bench.base, scorer=bench.scorer, workers=1, steps=4, batch_size=8,
        judged_people=6, hypotheses=3, console=console, config=config,
    )  # fmt: skip
    path = tmp_path / "base-dpo.safetensors"
    _, info = load_checkpoint(path, "base", body_digest=bench.body.digest)
    assert told["checkpoint"] == str(path) and told["sha256"] == file_digest(path)
    assert info.recipe["parent"] == f"base:{bench.digest}"
    assert info.recipe["labels"]["rows"] == len(bench.rows) and info.recipe["plan"]["steps"] == 4
    assert info.recipe["plan"]["stop"]["people"] == 5 and info.recipe["plan"]["low_rank"]["rank"] == 2
    assert [one["step"] for one in told["judged"]] == [0, 2, 4] and told["stopped"] is None
    assert info.recipe["step"] == told["step"] in (0, 2, 4)
    assert info.metrics["verdict"]["text"] == told["verdict"]["text"]
    assert json.loads((tmp_path / "metrics.json").read_text()) == json.loads(json.dumps(told))
    written = ["base-dpo.progress.json", "base-dpo.safetensors", "metrics.json"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == written
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for words in (
        "mpjpe_zero_noise_mm",
        "reward_selected",
        "kept: ",
        "held out to judge by",
        "kept are the weights of step",
    ):
        assert words in shown
