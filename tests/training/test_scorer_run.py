"""A scorer's run: eyes that begin as the base's, groups that don't depend on who draws them, and that it learns."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from alignhmr.core.checkpoints import CheckpointInfo, save_checkpoint
from alignhmr.core.diffusion.model import BaseModel, BaseModelConfig
from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.core.scoring.scorer import HMRScorer, ScorerConfig
from alignhmr.core.synthetic.motion import load_clips
from alignhmr.core.synthetic.observations import ObservationSampler
from alignhmr.core.synthetic.poses import PoseSampler
from alignhmr.training.augmentation import AugmentationConfig
from alignhmr.training.base_batches import MixedBatches, ObservationBatches, PictureBatches, Rows
from alignhmr.training.loop import LoopConfig, Trainer
from alignhmr.training.mixture import Mixture
from alignhmr.training.recipe import Evaluation, ScorerRecipe
from alignhmr.training.scorer import GroupSampler, ScorerStep, evaluate
from alignhmr.training.scorer_run import ScorerPlan
from alignhmr.training.workplace import Alone

SEEING = ScorerConfig("efficientnet-lite0", 32, token_width=8, heads=2, hops=[2], width=32, blocks=1)
RECIPE = ScorerRecipe(
    LoopConfig(steps=4, warmup_steps=1), SEEING, evaluation=Evaluation(3, 6, 3), batch_size=2, sightings=4, own=4,
    perturbed=2, save_every=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def folders(body, made, tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    made.write_people(root / "wild", made.seen_people(body, 9), domain="wild", split="train", seed=0)
    made.write_people(root / "test", made.seen_people(body, 12, seed=2), domain="wild", split="test", seed=0)
    return root


@pytest.fixture
def plan(clips, folders, bench) -> Callable[..., ScorerPlan]:
    def of(**changes) -> ScorerPlan:
        data = ((str(folders / "wild"), 1.0),)
        return replace(
            ScorerPlan(RECIPE, tuple(load_clips(clips)), str(bench.base), data, str(folders / "test")),
            **changes,
        )

    return of


def test_eyes_begin_as_the_base_s_where_they_are_of_one_kind(plan, body, tmp_path) -> None:
    torch.manual_seed(0)
    config = BaseModelConfig("efficientnet-lite0", 32, 24, 1, 24, 1)
    base = BaseModel(config)
    path = tmp_path / "seeing.safetensors"
    save_checkpoint(path, base, CheckpointInfo("base", vars(config), body.name, body.digest))
    scorer = plan(base=str(path)).open().first_model()
    assert scorer.image is not None and base.encoder.image is not None
    ours, theirs = scorer.image.state_dict(), base.encoder.image.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_without_pictures_it_has_no_eyes(plan) -> None:
    run = plan(data=(), held_out=None).open()
    assert run.recipe.model.image == "none" and not run.first_model().sees_pixels
    assert run.about["base"].startswith("base:")


def test_who_judges_does_not_teach(plan, folders, bench) -> None:
    with pytest.raises(InputError, match="can't both teach and judge"):
        plan(held_out=str(folders / "wild")).open()
    with pytest.raises(InputError, match="nobody"):
        plan(base="nobody").open()
    with pytest.raises(CompatibilityError, match="a 'base' model is wanted"):
        plan(base=str(bench.scorer)).open()


def test_a_group_is_the_same_whoever_draws_it(bench, body, clips, folders) -> None:
    """Two workers' halves are the whole of one."""
    sampler = ObservationSampler(body, PoseSampler(load_clips(clips)))
    pictures = PictureBatches(
        Mixture([(folders / "wild", 1.0)]), body, RECIPE.sightings, 32, AugmentationConfig()
    )
    groups = GroupSampler(bench.model(), body, 4, 2)

    def first(rank: int, world: int):
        batch = MixedBatches(ObservationBatches(sampler, RECIPE.batch_size, 3, rank, world), pictures)(0)
        rows = Rows.shared(RECIPE.sightings, RECIPE.batch_size, rank, world)
        return groups(batch, torch.Generator().manual_seed(3), rows)

    whole, halves = first(0, 1), [first(rank, 2) for rank in range(2)]
    for rank, half in enumerate(halves):
        index = Rows.shared(RECIPE.sightings, RECIPE.batch_size, rank, 2).index
        for name in ("sixd", "betas", "points_m", "places"):
            torch.testing.assert_close(
                getattr(half.claim, name), getattr(whole.claim, name)[index], atol=1e-4, rtol=1e-4
            )
        assert torch.equal(half.evidence.has_silhouette, whole.evidence.has_silhouette[index])
        assert torch.equal(half.evidence.condition.has_image, whole.evidence.condition.has_image[index])
        for name, errors in half.errors_mm.items():
            torch.testing.assert_close(errors, whole.errors_mm[name][index], atol=0.1, rtol=1e-3)


def test_errors_of_a_group_are_those_of_its_hypotheses(bench, body) -> None:
    group = GroupSampler(bench.model(), body, 3, 4)(
        bench.people, torch.Generator().manual_seed(0), drop=False
    )
    assert set(group.errors_mm) == {"mpjpe", "pa_mpjpe", "pve", "pa_pve"}
    torch.testing.assert_close(group.joint_errors_mm.mean(-1), group.errors_mm["mpjpe"], atol=1e-2, rtol=1e-4)
    assert (group.joint_errors_mm[..., 0] == 0).all()
    assert (group.errors_mm["pa_mpjpe"].mean(0) < group.errors_mm["mpjpe"].mean(0)).all()
    # Perturbed truths come last, and are nearer to the truth than the answers of a model that never learned.
    assert group.errors_mm["pve"][:, 3:].mean() < group.errors_mm["pve"][:, :3].mean()


@pytest.mark.slow
def test_only_the_base_s_own_are_ranked_and_all_errors_are_told(bench, body) -> None:
    """Against truths with noise a scorer learns who made a hypothesis: what they are worth must not count."""
    groups = GroupSampler(bench.model(), body, own=4, perturbed=2)
    group = groups(bench.people, torch.Generator().manual_seed(0))
    step = ScorerStep(
        HMRScorer(ScorerConfig("none", token_width=8, heads=2, hops=[2], width=16, blocks=1)), groups
    )
    _, parts = step.losses(group)
    worse = {
        name: torch.cat([value[:, :4], value[:, 4:] + 300], 1) for name, value in group.errors_mm.items()
    }
    _, others = step.losses(replace(group, errors_mm=worse))
    assert parts["rank_mpjpe"] == others["rank_mpjpe"] and parts["error"] != others["error"]
    own = {
        name: torch.cat([value[:, :4].flip(1), value[:, 4:]], 1) for name, value in group.errors_mm.items()
    }
    assert step.losses(replace(group, errors_mm=own))[1]["rank_mpjpe"] != parts["rank_mpjpe"]


def test_perturbed_truths_are_ranked_where_there_are_no_others(bench, body) -> None:
    groups = GroupSampler(bench.model(), body, own=1, perturbed=4)
    group = groups(bench.people, torch.Generator().manual_seed(0))
    step = ScorerStep(
        HMRScorer(ScorerConfig("none", token_width=8, heads=2, hops=[2], width=16, blocks=1)), groups
    )
    turned = {
        name: torch.cat([value[:, :1], value[:, 1:].flip(1)], 1) for name, value in group.errors_mm.items()
    }
    assert (
        step.losses(group)[1]["rank_mpjpe"] != step.losses(replace(group, errors_mm=turned))[1]["rank_mpjpe"]
    )


def test_it_learns_to_rank(bench, body) -> None:
    """A poor model's answers, told apart by keypoints and the detector's 3D."""
    torch.manual_seed(0)
    scorer = HMRScorer(ScorerConfig("none", token_width=16, heads=2, hops=[2], width=64, blocks=1))
    trainer = Trainer(scorer, scorer.parameters(), LoopConfig(120, 2e-3, warmup_steps=10, ema_decay=0.9))
    step = ScorerStep(scorer, GroupSampler(bench.model(), body, 8, 0))
    losses = []
    for number in range(120):
        loss, parts = step(bench.people, number)
        trainer.update(loss)
        losses.append(parts["rank_mpjpe"])
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
    assert isinstance(trainer.ema, HMRScorer)
    told = evaluate(trainer.ema, bench.model(), body, bench.people, hyps=8)
    assert told["srcc_group"] > 0.3


@pytest.mark.parametrize("trained", [True, False])
def test_lent_eyes_are_held_where_they_shall_not_learn(plan, body, tmp_path, trained) -> None:
    torch.manual_seed(0)
    base = BaseModel(
        BaseModelConfig("blazepose", width=24, encoder_blocks=1, denoiser_width=24, denoiser_blocks=1)
    )
    path = tmp_path / "seeing.safetensors"
    save_checkpoint(path, base, CheckpointInfo("base", vars(base.config), body.name, body.digest))
    recipe = replace(RECIPE, model=replace(SEEING, image="blazepose", crop_px=256, train_image=trained))
    run = plan(recipe=recipe, base=str(path)).open()
    trainer, _ = run.course(Alone(tmp_path / "state"), run.first_model).build()
    scorer = trainer.module
    assert isinstance(scorer, HMRScorer) and scorer.image is not None
    learned = {id(parameter) for parameter in trainer.parameters}
    assert all((id(parameter) in learned) == trained for parameter in scorer.image.parameters())
    assert id(scorer.head.weight) in learned
