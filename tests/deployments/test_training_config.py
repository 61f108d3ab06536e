from dataclasses import replace

import pytest
import yaml

from alignhmr.core.diffusion.model import BaseModel, BaseModelConfig
from alignhmr.core.errors import InputError
from alignhmr.core.scoring.scorer import ScorerConfig
from alignhmr.core.synthetic.poses import PoseMix
from alignhmr.deployments.presets import preset_names
from alignhmr.deployments.training_config import load_training_config
from alignhmr.training.alignment import PreferencePlan
from alignhmr.training.low_rank import LowRank
from alignhmr.training.preference import PreferenceConfig
from alignhmr.training.recipe import BaseRecipe, ScorerRecipe


def test_starter_is_complete_and_becomes_recipes():
    settings = load_training_config("starter")
    base, scorer = settings.base.recipe(), settings.scorer.recipe()
    assert isinstance(base, BaseRecipe) and isinstance(scorer, ScorerRecipe)
    assert isinstance(base.model, BaseModelConfig) and isinstance(scorer.model, ScorerConfig)
    assert isinstance(base.poses, PoseMix) and base.poses.mocap + base.poses.recombined <= 1
    assert base.batch_size == 48 and (base.loop.steps or 0) > base.loop.warmup_steps
    assert base.model.guidance == base.model.correction == 0.5
    assert replace(base.model, guidance=1.0, correction=1.0) == BaseModelConfig(), (
        "what one without newer keys is taken for"
    )


@pytest.mark.parametrize("preset", ["starter", "full"])
def test_an_alignment_s_keys_become_a_plan_and_options_come_last(preset, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("preference: {beta: 700, rank: 4, steps: 9, stop: {patience: 5}}")
    settings = load_training_config(preset, file, {"preference.steps": 11, "preference.anchor": None})
    plan = settings.preference.plan("group", data="rows", base="b", seed=3, scorer="s")
    assert (plan.steps, plan.seed, plan.scorer, plan.accumulate) == (11, 3, "s", 1)
    assert plan.objective == PreferenceConfig(beta=700.0, objective="group"), "the rest as its defaults are"
    assert plan.low_rank == LowRank(rank=4) and plan.stop.patience == 5
    untouched = load_training_config(preset).preference.plan("dpo", data="rows", base="b")
    assert untouched.low_rank is None and untouched.sharded == (preset == "full")
    if preset == "starter":
        assert untouched == PreferencePlan(data="rows", base="b")


def test_full_is_complete_and_of_the_papers_size():
    base = load_training_config("full").base.recipe()
    model = base.model
    assert (model.parts, model.width, model.denoiser_width, model.heads) == ("transformer", 512, 512, 8)
    assert list(model.hops) == [7, 6, 5, 4, 3, 1] and model.denoiser_blocks == 6
    assert model.image.startswith("transformers:") and base.precision == "bf16"
    load_training_config("full").scorer.recipe()


def test_the_full_denoiser_has_25_million_weights_and_needs_no_folder_to_be_counted():
    import torch

    settings = load_training_config("full")
    config = replace(settings.base.recipe().model, image="none")
    with torch.device("meta"):
        model = BaseModel(config)
    assert sum(parameter.numel() for parameter in model.denoiser.parameters()) >= 25e6


def test_a_file_changes_only_its_own_keys(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"base": {"loop": {"steps": 7}}}))
    mine, starter = load_training_config("starter", file), load_training_config("starter")
    assert mine.base.loop.steps == 7
    assert mine.base.loop.learning_rate == starter.base.loop.learning_rate
    assert mine.scorer == starter.scorer


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("base: {loop: {stepz: 7}}", "no key 'base.loop.stepz'; did you mean 'base.loop.steps'"),
        ("base: {batch_size: 0}", "base.batch_size is 0"),
        ("preference: {rank: -1}", "preference.rank is -1"),
        ("preference: {stop: {drift: 3}}", "did you mean 'preference.stop.drift_mm'"),
        ("base: {precision: fp8}", "base.precision is 'fp8'"),
        ("base: {model: {image: vit}}", "base.model.image is 'vit'"),
        ("- 1", "holds a list"),
        ("base: [", "isn't YAML"),
    ],
)
def test_wrong_files_are_told_in_one_sentence(tmp_path, text, words):
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        load_training_config("starter", file)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_preset_and_missing_file_are_told(tmp_path):
    with pytest.raises(InputError, match="choose one of full, starter"):
        load_training_config("stater")
    with pytest.raises(InputError, match="can't be read"):
        load_training_config("starter", tmp_path / "none.yaml")
    assert preset_names("alignhmr.training") == ["full", "starter"]
