"""An alignment in one process: parts of a batch, low rank, early stop, exact resume, rows that have changed."""

import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from alignhmr.core.checkpoints import CheckpointInfo, load_checkpoint, save_checkpoint
from alignhmr.core.diffusion.model import BaseModel
from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.deployments.training_jobs import run_dpo
from alignhmr.training import alignment
from alignhmr.training.alignment import PreferencePlan, PreferenceRun, align, finished, run_name
from alignhmr.training.data import read_labels
from alignhmr.training.low_rank import LowRank
from alignhmr.training.preference import PreferenceConfig
from alignhmr.training.preference_batches import digest_of
from alignhmr.training.stopping import StopRule, best_of
from alignhmr.training.workplace import Alone, Listener


def judged_plan(bench, rule: StopRule, **changes) -> PreferencePlan:
    return bench.plan(scorer=str(bench.scorer), stop=rule, **changes)


def run(plan: PreferencePlan, state: Path, *, resume: bool = False) -> PreferenceRun:
    align(plan, None, Alone(state, resume=resume))
    return finished(plan, state)


def weights(run: PreferenceRun) -> dict[str, torch.Tensor]:
    return run.policy.state_dict()


def same(one: PreferenceRun, other: PreferenceRun) -> bool:
    return all(torch.equal(weights(one)[name], value) for name, value in weights(other).items())


def apart(one: PreferenceRun, other: PreferenceRun) -> float:
    return max(float((weights(one)[name] - value).abs().max()) for name, value in weights(other).items())


@pytest.mark.parametrize("objective", ["dpo", "group", "sft"])
def test_a_batch_in_parts_teaches_what_the_whole_does(bench, tmp_path, objective):
    plan = bench.plan(objective=PreferenceConfig(beta=200.0, objective=objective))
    whole = run(plan, tmp_path / "whole")
    parts = run(replace(plan, accumulate=4), tmp_path / "parts")
    assert whole.history[0]["loss"] != whole.history[-1]["loss"]
    for ours, theirs in zip(parts.history, whole.history, strict=True):
        assert ours == pytest.approx(theirs, rel=3e-5, abs=3e-5)
    assert apart(parts, whole) < 1e-4


@pytest.mark.parametrize("parts", [0, 3])
def test_parts_that_do_not_divide_a_batch_are_refused(bench, tmp_path, parts):
    with pytest.raises(InputError, match=f"can't be met in {parts} parts"):
        run(bench.plan(accumulate=parts), tmp_path / "state")


def test_bf16_learns_nearly_the_same_and_its_weights_stay_in_float32(bench, tmp_path):
    plan = bench.plan(learning_rate=2e-4)
    exact = run(plan, tmp_path / "fp32")
    half = run(replace(plan, precision="bf16"), tmp_path / "bf16")
    assert half.history != exact.history
    for ours, theirs in zip(half.history, exact.history, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=0.05)
    assert all(value.dtype == torch.float32 for value in weights(half).values())
    assert apart(half, exact) < 0.01


def test_what_low_rank_learned_ships_as_an_ordinary_base(bench, tmp_path):
    plan = bench.plan(low_rank=LowRank(rank=2), steps=6)
    low = run(plan, tmp_path / "state")
    path = tmp_path / "base.safetensors"
    save_checkpoint(
        path, low.policy, CheckpointInfo("base", vars(low.policy.config), bench.body.name, bench.body.digest)
    )
    shipped, _ = load_checkpoint(path, "base")
    before = bench.model().get_parameter("denoiser.from_evidence.weight")
    change = shipped.get_parameter("denoiser.from_evidence.weight") - before
    assert torch.linalg.matrix_rank(change, rtol=1e-3) == 2
    other = {
        name
        for name, value in bench.model().state_dict().items()
        if not torch.equal(value, weights(low)[name])
    }
    assert other and all(name.startswith("denoiser.") and name.endswith(".weight") for name in other)


def test_it_stops_where_the_reward_rises_no_more_and_ships_the_best(bench, tmp_path):
    rule = StopRule(every=2, patience=2, drift_mm=1e6, people=8, hypotheses=3)
    plan = judged_plan(bench, rule, steps=60, learning_rate=1e-3)
    stopped = run(plan, tmp_path / "state")
    assert stopped.stopped is not None and "has not risen in 2 judgements" in stopped.stopped
    last = stopped.judged[-1]["step"]
    assert last < 60 and stopped.history[-1]["step"] == last
    assert stopped.step == best_of(stopped.judged, rule)["step"] == last - 4 > 0
    assert [b["step"] - a["step"] for a, b in pairwise(stopped.judged)] == [2] * (len(stopped.judged) - 1)
    # What ships is what a run of so many steps, whose rates are the same, has at its end.
    until = Kept(stopped.step, tmp_path / "until")
    align(plan, None, until)
    assert all(torch.equal(until.weights[name], value) for name, value in weights(stopped).items())


class Kept(Alone):
    """Notes the policy's weights at one judgement."""

    def __init__(self, step: int, state: Path) -> None:
        super().__init__(state)
        self._step, self.weights = step, {}

    def wrapped(self, step):
        self._policy = step.policy
        self.listener: Listener = _At(self._step, self._take)
        return step

    def _take(self) -> None:
        self.weights = {name: value.clone() for name, value in self._policy.state_dict().items()}


class _At(Listener):
    def __init__(self, step: int, then) -> None:
        self._step, self._then = step, then

    def judged(self, step, figures, pictures) -> None:
        if step == self._step:
            self._then()


def test_it_stops_where_answers_drift_too_far_and_ships_what_had_not(bench, tmp_path):
    rule = StopRule(every=2, patience=99, drift_mm=5.0, people=8, hypotheses=3)
    stopped = run(judged_plan(bench, rule, steps=60, learning_rate=1e-2), tmp_path / "state")
    assert stopped.stopped is not None and "had drifted" in stopped.stopped
    *before, last = stopped.judged
    assert last["drift_mm"] > 5 and all(one["drift_mm"] <= 5 for one in before)
    assert stopped.step < last["step"] < 60


def test_where_nothing_is_better_the_base_itself_ships(bench, tmp_path, monkeypatch):
    class Worse(alignment.HeldOutReward):
        def __call__(self, policy: BaseModel, step: int):
            return {**super().__call__(policy, step), "reward": -float(step)}

    monkeypatch.setattr(alignment, "HeldOutReward", Worse)
    rule = StopRule(every=2, patience=3, drift_mm=1e6, people=4, hypotheses=2)
    stopped = run(judged_plan(bench, rule), tmp_path / "state")
    assert stopped.step == 0 and stopped.judged[-1]["step"] == 6
    assert all(
        torch.equal(weights(stopped)[name], value) for name, value in bench.model().state_dict().items()
    )


class Killed(Exception):
    pass


class Mortal(Alone):
    """Dies in the middle of the state that it would keep at a step; the state before stays."""

    def __init__(self, state: Path, dies_at: int) -> None:
        super().__init__(state)
        self._dies_at = dies_at

    def keep(self, trainer, notes) -> None:
        if trainer.step_number >= self._dies_at:
            raise Killed
        super().keep(trainer, notes)


@pytest.mark.parametrize("low_rank", [None, LowRank(rank=2)])
def test_a_run_that_is_taken_up_again_goes_on_to_the_bit(bench, tmp_path, low_rank):
    """In parts, judged, by low rank or whole: losses, judgements, what ships and why."""
    rule = StopRule(every=2, patience=5, drift_mm=1e6, people=8, hypotheses=3)
    plan = judged_plan(bench, rule, steps=24, learning_rate=1e-3, accumulate=2, low_rank=low_rank)
    calm = run(plan, tmp_path / "calm")
    with pytest.raises(Killed):
        align(plan, None, Mortal(tmp_path / "killed", dies_at=8))
    again = run(plan, tmp_path / "killed", resume=True)
    assert again.history == calm.history and again.judged == calm.judged
    assert (again.step, again.stopped) == (calm.step, calm.stopped)
    assert same(again, calm)
    # Whoever takes up a run that has ended finds it so.
    assert same(run(plan, tmp_path / "killed", resume=True), calm)


def test_rows_that_changed_under_a_run_are_refused_and_begin_another(bench, made, tmp_path, caplog):
    folder = made.write_rows(tmp_path / "rows", bench.rows, parts=3)
    labels = read_labels(folder, bench.body, bench.digest)
    plan = bench.plan(data=str(folder), labels=digest_of(labels), steps=1)
    run(plan, tmp_path / "state")
    (folder / "part-1.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(InputError, match=r"have changed since the run began .* 1 files can't be read"):
        run(plan, tmp_path / "state")
    # Begun anew, what there is is enough: a warning and a count.
    fewer = read_labels(folder, bench.body, bench.digest)
    assert fewer.counts["broken files"] == 1 and "part-1.parquet" in caplog.text
    (folder / "part-1.parquet").unlink()
    assert digest_of(read_labels(folder, bench.body, bench.digest)) == digest_of(fewer) != digest_of(labels)
    other = replace(plan, labels=digest_of(fewer))
    assert run_name(other) != run_name(plan)
    assert len(run(other, tmp_path / "other").history) == 1


def test_pairs_of_another_base_or_body_are_refused_by_name_before_a_worker_starts(bench, made, tmp_path):
    other = made.tiny_base(tmp_path / "other.safetensors", bench.body, bench.people.take(slice(0, 4)))
    with pytest.raises(CompatibilityError, match="labelled with base base:"):
        run_dpo(bench.folder, tmp_path / "out", base=other, scorer=bench.scorer)
    rows = [{**row, "models": {**row["models"], "body": "smpl:0123456789abcdef"}} for row in bench.rows]
    folder = made.write_rows(tmp_path / "rows", rows)
    with pytest.raises(CompatibilityError, match="labelled with body smpl:0123456789abcdef"):
        run_dpo(folder, tmp_path / "out", base=bench.base, scorer=bench.scorer)
    assert not (tmp_path / "out").exists()


def test_another_scorer_is_another_run(bench, tmp_path):
    rule = StopRule()
    copied = shutil.copy(bench.scorer, tmp_path / "scorer.safetensors")
    plan = judged_plan(bench, rule)
    name = run_name(plan)
    Path(copied).write_bytes(Path(copied).read_bytes() + b" ")
    assert run_name(replace(plan, scorer=str(copied))) != name
    assert run_name(replace(plan, stop=replace(rule, patience=9))) != name
