"""Weights in shards: two workers of an alignment learn what they learn with all weights each, and what one does."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from alignhmr.core.checkpoints import CheckpointInfo, save_checkpoint
from alignhmr.core.diffusion.model import BaseModel, BaseModelConfig
from alignhmr.training.alignment import PreferencePlan, PreferenceRun, align, finished
from alignhmr.training.base import true_packed
from alignhmr.training.low_rank import LowRank
from alignhmr.training.preference import PreferenceConfig
from alignhmr.training.sharding import as_held, whole
from alignhmr.training.stopping import StopRule
from alignhmr.training.workplace import Alone

TRANSFORMER = BaseModelConfig(
    "none", width=16, encoder_blocks=1, denoiser_width=16, denoiser_blocks=2, parts="transformer", heads=2,
    feed_forward=24, hops=[3, 1],
)  # fmt: skip

WORKER = """
import sys, torch
from torch.distributed.tensor import DTensor
from alignhmr.training.alignment import PreferencePlan, align
from alignhmr.training.low_rank import LowRank
from alignhmr.training.preference import PreferenceConfig
from alignhmr.training.stopping import StopRule
from alignhmr.training.workplace import Alone
rank = int(sys.argv[1])
torch.set_num_threads(1)
torch.distributed.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)

class Killed(Exception):
    pass

class Place(Alone):
    def __init__(self, plan, name, dies_at=None, resume=False):
        super().__init__(__import__("pathlib").Path(sys.argv[3]) / name, resume=resume)
        self.rank, self.world, self.dies_at, self.sharded = rank, 2, dies_at, plan.sharded

    def wrapped(self, step):
        return torch.nn.parallel.DistributedDataParallel(step, find_unused_parameters=True, broadcast_buffers=False)

    def keep(self, trainer, notes):
        assert {isinstance(parameter, DTensor) for parameter in trainer.parameters} == {self.sharded}
        if trainer.step_number == self.dies_at:
            raise Killed
        super().keep(trainer, notes) if rank == 0 else trainer.state_dict()

for name, (plan, dies_at) in RUNS.items():
    try:
        align(plan, None, Place(plan, name, dies_at))
    except Killed:
        torch.distributed.barrier()
        align(plan, None, Place(plan, name, resume=True))
torch.distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def plan(bench, made, tmp_path_factory: pytest.TempPathFactory) -> PreferencePlan:
    """Of a transformer, whose hypotheses differ."""
    folder = tmp_path_factory.mktemp("transformer")
    torch.manual_seed(0)
    model = BaseModel(TRANSFORMER).eval().requires_grad_(False)
    model.mean.copy_(true_packed(bench.people).mean(0))
    model.residual_std.fill_(0.2)
    for name in ("to_joint", "to_shape.weight", "to_camera.weight"):
        torch.nn.init.normal_(model.get_parameter(f"denoiser.{name}"), std=0.2)
    base = folder / "base.safetensors"
    save_checkpoint(
        base, model, CheckpointInfo("base", vars(TRANSFORMER), bench.body.name, bench.body.digest)
    )
    made.write_rows(folder / "rows", made.label_rows(model, base, bench.body, bench.people))
    rule = StopRule(every=2, patience=9, drift_mm=1e6, people=6, hypotheses=3)
    return PreferencePlan(
        data=str(folder / "rows"), base=str(base), scorer=str(bench.scorer), stop=rule, steps=8, batch_size=8,
        accumulate=2, report_every=2, save_every=4, learning_rate=3e-4, objective=PreferenceConfig(beta=200.0),
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(plan: PreferencePlan, tmp_path_factory: pytest.TempPathFactory) -> dict[str, PreferenceRun]:
    """The same plan by one process, by two with all weights each, by two in shards; and killed on the way."""
    folder = tmp_path_factory.mktemp("runs")
    low = replace(plan, low_rank=LowRank(rank=2), learning_rate=3e-3)
    two = {
        "copies": (plan, None),
        "shards": (replace(plan, sharded=True), None),
        "killed": (replace(plan, sharded=True), 8),
        "low": (replace(low, sharded=True), None),
    }
    code = WORKER.replace("RUNS", repr(two))
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(rank), str(folder / "store"), str(folder)])
        for rank in range(2)
    ]
    for name, one in {"alone": plan, "low alone": low}.items():
        align(one, None, Alone(folder / name))
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    plans = {**{name: one for name, (one, _) in two.items()}, "alone": plan, "low alone": low}
    return {name: finished(one, folder / name) for name, one in plans.items()}


def apart(one: PreferenceRun, other: PreferenceRun) -> float:
    theirs = other.policy.state_dict()
    return max(float((value - theirs[name]).abs().max()) for name, value in one.policy.state_dict().items())


@pytest.mark.parametrize(
    ("ours", "theirs", "near"),
    [
        ("shards", "copies", 1e-4),
        # Adam takes whole steps along gradients that are rounding alone: a key's bias has no other.
        ("shards", "alone", 8 * 3e-4),
        ("low", "low alone", 1e-4),
    ],
)
def test_shards_teach_what_whole_weights_do(runs, ours, theirs, near):
    one, other = runs[ours], runs[theirs]
    assert len(one.history) == 4 and [told["step"] for told in one.judged] == [0, 2, 4, 6, 8]
    assert one.history[0]["loss"] != one.history[-1]["loss"] and one.judged[-1]["drift_mm"] > 0
    for mine, its in zip(one.history, other.history, strict=True):
        assert mine["loss"] == pytest.approx(its["loss"], rel=1e-4)
    for mine, its in zip(one.history + one.judged, other.history + other.judged, strict=True):
        assert mine == pytest.approx(its, rel=5e-3, abs=1e-4)
    assert one.step == other.step and apart(one, other) < near


def test_a_killed_run_in_shards_goes_on_to_the_bit(runs):
    assert runs["killed"].history == runs["shards"].history
    assert runs["killed"].judged == runs["shards"].judged and apart(runs["killed"], runs["shards"]) == 0


def test_a_tensor_that_is_not_in_shards_stays_what_it_is():
    tensor = torch.arange(3.0)
    assert whole(tensor) is tensor and as_held(tensor, torch.zeros(3)) is tensor
