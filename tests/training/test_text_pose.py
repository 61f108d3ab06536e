"""The text-pose space learns without Ray: batches follow from seed and number, losses fall, a run writes its card."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from alignhmr.core.checkpoints import load_checkpoint
from alignhmr.core.errors import CompatibilityError
from alignhmr.core.language.facts import FACTS
from alignhmr.core.language.lexicon import HELD_OUT, WORDINGS, WORDS, clause
from alignhmr.core.language.posecodes import posecodes, said
from alignhmr.core.language.reading import read
from alignhmr.core.language.text_encoder import HashedWords, text_encoder
from alignhmr.core.language.text_pose import TextPose, TextPoseConfig
from alignhmr.core.synthetic.motion import load_clips
from alignhmr.core.synthetic.poses import PoseMix, PoseSampler
from alignhmr.training import fit
from alignhmr.training.loop import LoopConfig
from alignhmr.training.recipe import Evaluation
from alignhmr.training.text_pose import (
    ClauseTable,
    TextPoseBatch,
    TextPoseBatches,
    TextPoseLossWeights,
    TextPoseStep,
    caption_clauses,
    contrastive_loss,
    draw_poses,
    evaluate,
    joints_np,
)
from alignhmr.training.text_pose_recipe import TextPoseRecipe
from alignhmr.training.text_pose_run import TextPosePlan

MODEL = TextPoseConfig("words32", 32, 4, 32, 2, 8, 24, 1, 16, 16, 24, 1)
RECIPE = TextPoseRecipe(
    LoopConfig(steps=6, warmup_steps=2, report_every=3), MODEL, evaluation=Evaluation(3, 12, 1), batch_size=8,
    save_every=4,
)  # fmt: skip


class Telling(HashedWords):
    """An encoder that remembers what it was given."""

    def __init__(self) -> None:
        super().__init__(4)
        self.told: list[str] = []

    def __call__(self, told):
        self.told += list(told)
        return super().__call__(told)


@pytest.fixture(scope="module")
def told() -> tuple[ClauseTable, list[str]]:
    encoder = Telling()
    return ClauseTable(encoder), ["", *encoder.told]


@pytest.fixture(scope="module")
def sampler(clips) -> PoseSampler:
    return PoseSampler(load_clips(clips), PoseMix(mocap=0.2, recombined=0.2))


def test_a_caption_says_what_is_true_and_no_more(body, sampler, told):
    table, clauses = told
    poses = draw_poses(sampler, 60, torch.Generator().manual_seed(1))
    codes = posecodes(joints_np(body, poses))
    ids = caption_clauses(codes.codes, table, np.random.default_rng(0))
    shares = []
    for index in range(60):
        true = said(codes[index].categories())
        text = ". ".join(clauses[number] for number in ids[index] if number)
        reading = read(text)
        assert reading.codes.items() <= true.items() and reading.codes and not reading.unread
        shares.append(len(reading.codes) / len(true))
    assert max(shares) == 1 and min(shares) < 0.6


def test_held_out_wordings_are_not_in_the_table(told):
    trained, known = WORDINGS - HELD_OUT, set(told[1])
    for fact in FACTS:
        for category in WORDS[fact.stem].predicates:
            for held_out in range(trained, WORDINGS):
                for any_one in range(WORDINGS):
                    assert clause(fact.stem, category, fact.side, held_out, any_one) not in known
                    assert clause(fact.stem, category, fact.side, any_one, held_out) not in known


def test_a_batch_follows_from_seed_and_number_and_is_shared_by_workers(body, sampler, told):
    def first(start: int, rank: int = 0, world: int = 1, seed: int = 3) -> TextPoseBatch:
        return TextPoseBatches(sampler, body, told[0], 8, seed, rank, world)(start)

    whole = first(5)
    assert torch.equal(whole.rotations, first(5).rotations) and torch.equal(whole.clauses, first(5).clauses)
    assert not torch.equal(whole.rotations, first(6).rotations)
    assert not torch.equal(whole.rotations, first(5, seed=4).rotations)
    halves = [first(5, rank, 2) for rank in (0, 1)]
    assert torch.equal(torch.cat([half.rotations for half in halves]), whole.rotations)
    assert torch.equal(torch.cat([half.clauses for half in halves]), whole.clauses)


def test_the_contrast_is_log_batch_where_nothing_is_known_and_small_where_all_is():
    scale = torch.tensor(math.log(20.0))
    same = torch.ones(16, 4) / 2
    assert contrastive_loss(same, same, scale).item() == pytest.approx(math.log(16), abs=1e-5)
    apart = torch.eye(16)
    assert contrastive_loss(apart, apart, scale).item() < 1e-3
    assert contrastive_loss(apart, apart.roll(1, 0), scale).item() > 10


def test_losses_fall_on_one_batch(body, sampler):
    torch.manual_seed(0)
    table = ClauseTable(text_encoder("words32"))
    model = TextPose(MODEL)
    model.rest_joints.copy_(body.joint_template)
    table.describe(model)
    step = TextPoseStep(model, table, 0, TextPoseLossWeights(contrast=1.0))
    batch = TextPoseBatches(sampler, body, table, 24, 0)(0)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    reports = []
    for _ in range(60):
        loss, values = step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        reports.append(values)
    assert reports[-1]["mpjpe_mm"] < 0.6 * reports[0]["mpjpe_mm"]
    assert reports[-1]["contrast"] < 0.7 * reports[0]["contrast"]


def test_an_untrained_space_finds_by_chance(body, sampler):
    torch.manual_seed(0)
    model = TextPose(MODEL)
    model.rest_joints.copy_(body.joint_template)
    poses = draw_poses(sampler, 120, torch.Generator().manual_seed(0))
    figures = evaluate(model, poses, body)
    assert figures["mean_recall_space"] < 20 and figures["vqvae_mpjpe_mm"] > 50
    assert 0 < figures["codebook_use"] <= 1
    assert {f"{way}_r{k}" for way in ("text_to_pose", "pose_to_text") for k in (1, 5, 10)} <= set(figures)


def test_a_run_without_ray_writes_weights_and_card(body, clips, monkeypatch, tmp_path):
    monkeypatch.setattr(fit, "fetch", lambda name: clips)
    done = fit.fit_text_pose(RECIPE, tmp_path, seed=1, body=body)
    model, info = load_checkpoint(done.checkpoint, "text-pose", body_digest=body.digest)
    assert isinstance(model, TextPose) and info.config["text_encoder"] == "words32"
    assert done.steps == 6 and done.metrics["vqvae_mpjpe_mm"] > 0
    torch.testing.assert_close(model.rest_joints, body.joint_template, atol=1e-3, rtol=0)
    card = done.card.read_text()
    for words in ("pose VQ-VAE", "words32", "mean_recall", "never trained on", done.digest):
        assert words in card
    assert "HMR-Scorer" not in card and "people" not in card.partition("## Recipe")[0].replace(
        "people below", ""
    )


def test_a_run_that_was_cut_short_ends_bit_equal(body, clips, monkeypatch, tmp_path):
    monkeypatch.setattr(fit, "fetch", lambda name: clips)
    whole = fit.fit_text_pose(RECIPE, tmp_path / "whole", seed=2, body=body)

    class Cut(Exception):
        pass

    def stop(step: int, values: dict[str, float]) -> None:
        if step == 6:
            raise Cut

    with pytest.raises(Cut):
        fit.fit_text_pose(RECIPE, tmp_path / "cut", seed=2, body=body, report=stop)
    resumed = fit.fit_text_pose(RECIPE, tmp_path / "cut", seed=2, body=body, resume=True)
    one, other = (load_checkpoint(run.checkpoint, "text-pose")[0].state_dict() for run in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_numbers_that_are_not_the_encoders_are_refused(body, clips):
    plan = TextPosePlan(replace(RECIPE, model=replace(MODEL, text_size=5)), tuple(load_clips(clips)))
    with pytest.raises(CompatibilityError, match="text_size: 32"):
        plan.open().first_model()


def test_every_fact_that_is_told_has_clauses(told):
    table, _ = told
    for index, fact in enumerate(FACTS):
        for code, category in enumerate(fact.scale.names):
            assert (table.ids[0, index, code] > 0).all() == (category not in fact.scale.silent)
