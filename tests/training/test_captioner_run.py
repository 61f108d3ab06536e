"""A captioner's run ends with a folder that `transformers` reads, goes on exactly, and tunes what it is given."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from alignhmr.core.language.starter_vlm import StarterVlmConfig
from alignhmr.core.language.vlm_folder import load_vlm, read_folder_info, shown_to, weights_digest
from alignhmr.core.synthetic.motion import load_clips
from alignhmr.deployments import torchvision_shim
from alignhmr.training import captioner
from alignhmr.training.captioner_recipe import CaptionerRecipe
from alignhmr.training.captioner_run import CaptionerPlan
from alignhmr.training.loop import LoopConfig
from alignhmr.training.low_rank import LowRank
from alignhmr.training.plans import train_plan, write_first
from alignhmr.training.recipe import Evaluation
from alignhmr.training.workplace import Alone, Listener

TINY = StarterVlmConfig(
    56, vision_width=32, vision_blocks=1, vision_feed=2, width=32, blocks=1, feed_forward=64
)
RECIPE = CaptionerRecipe(
    LoopConfig(steps=6, warmup_steps=2, report_every=3), TINY, evaluation=Evaluation(4, 4, 1), batch_size=2,
    sightings=4, save_every=2,
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _torchvision():
    torchvision_shim.install()


@pytest.fixture(autouse=True)
def _short_answers(monkeypatch):
    """Weights of a few steps never end an answer; the length of a whole one is enough to be judged by."""
    monkeypatch.setattr(captioner, "_LONGEST_ANSWER", 40)


@pytest.fixture(scope="module")
def folders(body, made, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("prepared")
    made.write_people(root / "wild", made.seen_people(body, 9), domain="wild", split="train", seed=0)
    made.write_people(root / "test", made.seen_people(body, 6, seed=2), domain="wild", split="test", seed=0)
    return root


@pytest.fixture
def plan(clips, folders) -> Callable[..., CaptionerPlan]:
    def of(**changes) -> CaptionerPlan:
        data = ((str(folders / "wild"), 1.0),)
        return replace(
            CaptionerPlan(RECIPE, tuple(load_clips(clips)), data, str(folders / "test")), **changes
        )

    return of


def trained(
    plan: CaptionerPlan, out: Path, *, listener: Listener | None = None, resume: bool = False
) -> Path:
    if not resume:
        write_first(plan.open(), out / "first")
    place = Alone(out / "state", resume=resume, listener=listener)
    train_plan(plan, out / "first", out, "captioner-tiny", place)
    return out / "captioner-tiny"


def test_a_run_ends_with_a_folder_that_says_what_it_is(plan, folders, tmp_path):
    folder = trained(plan(preset="tiny"), tmp_path)
    model, _ = load_vlm(folder)
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float16"
    info = read_folder_info(folder)
    assert info.kind == "captioner" and info.recipe["data"][0]["people"] == 9
    assert set(info.metrics) == {"macro_f1", "majority_macro_f1", "valid_json"}
    shown = shown_to(folder)
    assert shown is not None and shown.drawn and shown.picture_px == 56
    card = (folder / "README.md").read_text()
    for words in (
        "posecodes",
        "keypoints drawn in",
        "weight 1, 9 people",
        "4 prepared people",
        weights_digest(folder),
    ):
        assert words in card, words
    assert str(folders) not in card + (folder / "alignhmr.json").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"first", "captioner-tiny"}
    assert not torch.equal(model.lm_head.weight, load_vlm(tmp_path / "first")[0].lm_head.weight)


class Interrupted(Listener):
    def learned(self, step, values):
        if step == 6:
            raise KeyboardInterrupt


def test_a_run_that_is_taken_up_again_ends_the_same(plan, tmp_path):
    undisturbed = trained(plan(), tmp_path / "one")
    with pytest.raises(KeyboardInterrupt):
        trained(plan(), tmp_path / "two", listener=Interrupted())
    gone_on = trained(plan(), tmp_path / "two", resume=True)
    one, two = (load_vlm(folder)[0].state_dict() for folder in (undisturbed, gone_on))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_without_people_it_learns_from_drawings_alone(plan, tmp_path):
    folder = trained(plan(data=(), held_out=None), tmp_path)
    assert "drawn on black" in (folder / "README.md").read_text()


def test_a_model_is_tuned_by_a_change_of_low_rank_and_the_rest_stays(plan, tmp_path):
    begun = trained(plan(), tmp_path / "begun")
    config = begun / "config.json"
    config.write_text(
        config.read_text().replace('"float16"', '"float32"')
    )  # so that the change isn't rounded
    loop = replace(RECIPE.loop, ema_decay=0.0, learning_rate=1e-2)
    recipe = replace(RECIPE, low_rank=LowRank(2, 4.0), loop=loop, texts=True)
    tuned = trained(plan(init=str(begun), recipe=recipe), tmp_path / "tuned")
    before, after = (load_vlm(folder)[0].state_dict() for folder in (begun, tuned))
    assert before.keys() == after.keys()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved and "lm_head.weight" not in moved
    for name in moved:
        change = after[name] - before[name]
        assert change.ndim == 2 and torch.linalg.matrix_rank(change.double(), rtol=1e-4) <= 2, name
    assert json.loads((tuned / "config.json").read_text())["dtype"] == "float32", "as what it began with"
    info = read_folder_info(tuned)
    assert info.recipe["init"] == f"captioner-tiny:{weights_digest(begun)}"
    assert "began with the weights of `captioner-tiny:" in (tuned / "README.md").read_text()
