import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from alignhmr.core.checkpoints import load_checkpoint, read_info
from alignhmr.core.diffusion.model import BaseModelConfig
from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.core.scoring.scorer import ScorerConfig
from alignhmr.training import fit
from alignhmr.training.loop import LoopConfig
from alignhmr.training.recipe import BaseRecipe, Evaluation, ScorerRecipe
from alignhmr.training.state import read_notes

LOOP = LoopConfig(steps=20, warmup_steps=4, report_every=5)
JUDGE = Evaluation(every=10, people=8, hypotheses=3)
BASE = BaseRecipe(
    LOOP, BaseModelConfig("none", 32, 24, 1, 24, 1), evaluation=JUDGE, batch_size=8, save_every=10
)
BLIND = ScorerConfig("none", token_width=4, heads=2, hops=[2], width=16, blocks=1)
SCORER = ScorerRecipe(
    LOOP, BLIND, evaluation=JUDGE, batch_size=4, sightings=4, save_every=10, own=3, perturbed=2
)


class Killed(Exception):
    pass


def killed_at(step: int):
    def report(at: int, values: dict[str, float]) -> None:
        if at >= step:
            raise Killed

    return report


@pytest.fixture(autouse=True)
def _clips(monkeypatch, clips):
    monkeypatch.setattr(fit, "fetch", lambda name: clips)


def runner(kind: str, bench) -> Callable[..., fit.Fit]:
    """(out, options) -> Fit, for either kind."""

    def base(out: Path, recipe: BaseRecipe = BASE, **more) -> fit.Fit:
        return fit.fit_base(recipe, out, body=bench.body, **more)

    def scorer(out: Path, recipe: ScorerRecipe = SCORER, **more) -> fit.Fit:
        return fit.fit_scorer(recipe, out, base=bench.base, body=bench.body, **more)

    return base if kind == "base" else scorer


@pytest.mark.parametrize("kind", ["base", "scorer"])
def test_20_steps_are_10_and_a_resume_and_10_to_the_bit(kind, bench, tmp_path):
    run = runner(kind, bench)
    straight = run(tmp_path / "straight", seed=7)
    with pytest.raises(Killed):
        run(tmp_path / "broken", seed=7, report=killed_at(15))
    told: list[tuple[int, int]] = []
    resumed = run(tmp_path / "broken", seed=7, resume=True, started=lambda *at: told.append(at))
    assert told == [(10, 20)]
    one, other = (load_checkpoint(made.checkpoint, kind)[0].state_dict() for made in (straight, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)
    ours = {name: value for name, value in straight.metrics.items() if not name.startswith("sampling_ms")}
    assert ours == {name: resumed.metrics[name] for name in ours}
    assert not list((tmp_path / "broken").glob("*.state.safetensors"))


@pytest.mark.parametrize("kind", ["base", "scorer"])
def test_checkpoint_and_card_say_what_they_are(kind, bench, tmp_path):
    made = runner(kind, bench)(tmp_path, seed=3, name=f"{kind}-tiny")
    info = read_info(made.checkpoint)
    assert made.checkpoint.name == f"{kind}-tiny.safetensors"
    assert (info.kind, info.body_digest) == (kind, bench.body.digest)
    assert info.recipe["seed"] == 3 and info.recipe["held_out_clips"] == ["walk"]
    assert info.recipe["recipe"]["loop"]["steps"] == 20 and len(info.recipe["data_digest"]) == 64
    assert info.metrics == json.loads(json.dumps(made.metrics))
    assert ("base" in info.recipe) == (kind == "scorer")
    card = made.card.read_text()
    for words in (made.digest, "seed 3", "walk", "| metric | value |", "Apache-2.0"):
        assert words in card
    with pytest.raises(CompatibilityError):
        load_checkpoint(made.checkpoint, kind, body_digest="0" * 64)


def test_other_seed_other_weights(bench, tmp_path):
    run = runner("base", bench)
    one, other = (load_checkpoint(run(tmp_path, name=f"s{s}", seed=s).checkpoint, "base")[0] for s in (1, 2))
    name = "encoder.from_look.weight"
    assert not torch.equal(one.state_dict()[name], other.state_dict()[name])


def test_resume_refuses_another_run(bench, tmp_path):
    run = runner("base", bench)
    with pytest.raises(InputError, match="start without --resume"):
        run(tmp_path, resume=True)
    with pytest.raises(Killed):
        run(tmp_path, seed=7, report=killed_at(15))
    with pytest.raises(CompatibilityError, match="another seed"):
        run(tmp_path, seed=8, resume=True)
    with pytest.raises(CompatibilityError, match="another recipe"):
        run(tmp_path, recipe=replace(BASE, batch_size=4), seed=7, resume=True)


def test_minutes_become_steps_of_the_recipe(bench, tmp_path):
    recipe = replace(BASE, loop=replace(LOOP, steps=10**9))
    run, told = runner("base", bench), []
    timed = run(tmp_path / "timed", recipe=recipe, minutes=0.02, started=lambda *at: told.append(at))
    loop = read_info(timed.checkpoint).recipe["recipe"]["loop"]
    assert 1 <= timed.steps == loop["steps"] < 2000
    assert told[0] == (0, None) and told[-1] == (pytest.approx(0.7 * timed.steps, abs=1), timed.steps)
    # What came of a clock is made again without one.
    repeated = run(tmp_path / "repeated", recipe=replace(BASE, loop=LoopConfig(**loop)))
    one, other = (load_checkpoint(made.checkpoint, "base")[0].state_dict() for made in (timed, repeated))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_by_the_clock_is_resumed(bench, tmp_path):
    run = runner("base", bench)
    with pytest.raises(Killed):
        run(tmp_path, minutes=10, report=killed_at(15))
    told: list[tuple[int, int | None]] = []
    notes = read_notes(tmp_path / "base.state.safetensors")
    assert notes["minutes"] == 10 and notes["plan"]["recipe"]["loop"]["steps"] is None
    with pytest.raises(Killed):
        run(tmp_path, resume=True, started=lambda *at: told.append(at), report=killed_at(25))
    assert told == [(10, None)]


def test_held_out_people_are_always_the_same(bench):
    one, other = (fit.held_out_people(bench.body, 5) for _ in range(2))
    assert torch.equal(one.keypoints_px, other.keypoints_px)


def test_a_gradient_does_not_depend_on_which_thread_adds_first(bench, tmp_path, monkeypatch):
    """Of what many places are read from, as the body's joints are: added up by atomic operations otherwise."""
    drawn = torch.Generator().manual_seed(0)
    points = torch.randn(24, 3, 4, 48, generator=drawn)
    index, weight = torch.randint(24, (5000,), generator=drawn), torch.randn(5000, 3, 4, 48, generator=drawn)

    def gradient() -> torch.Tensor:
        moved = points.clone().requires_grad_()
        (moved[index] * weight).sum().backward()
        assert moved.grad is not None
        return moved.grad

    threads, told = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        runner("base", bench)(
            tmp_path,
            report=lambda *_: told.append(all(torch.equal(gradient(), gradient()) for _ in range(5))),
        )
    finally:
        torch.set_num_threads(threads)
    assert told and all(told)
    assert not torch.are_deterministic_algorithms_enabled()
