"""A base run's data are opened and found to belong together, or refused; its first weights are the user's or new."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from alignhmr.core.checkpoints import CheckpointInfo, load_checkpoint, read_info, save_checkpoint
from alignhmr.core.diffusion.model import BaseModel, BaseModelConfig
from alignhmr.core.errors import AlignhmrError, CompatibilityError, InputError
from alignhmr.core.synthetic.motion import load_clips
from alignhmr.training import fit
from alignhmr.training.base_run import BasePlan
from alignhmr.training.loop import LoopConfig
from alignhmr.training.mixture import Mixture
from alignhmr.training.plans import train_plan, write_first
from alignhmr.training.recipe import BaseRecipe, Evaluation
from alignhmr.training.workplace import Alone

BLIND = BaseModelConfig("none", 32, 24, 1, 24, 1)
RECIPE = BaseRecipe(
    LoopConfig(steps=6, warmup_steps=2, report_every=3), BLIND, evaluation=Evaluation(3, 8, 2), batch_size=4,
    sightings=4, save_every=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def folders(body, made, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("prepared")
    made.write_people(root / "wild", made.seen_people(body, 9), domain="wild", split="train", seed=0)
    made.write_people(
        root / "crowd", made.seen_people(body, 7, seed=1, name="crowd"), data_set="3dpw/train:/of/mine"
    )
    made.write_people(root / "test", made.seen_people(body, 12, seed=2), domain="wild", split="test", seed=0)
    return root


@pytest.fixture
def plan(clips, folders) -> Callable[..., BasePlan]:
    def of(**changes) -> BasePlan:
        data = ((str(folders / "wild"), 3.0), (str(folders / "crowd"), 1.0))
        return replace(BasePlan(RECIPE, tuple(load_clips(clips)), data, str(folders / "test")), **changes)

    return of


def test_a_run_says_what_it_learns_from_and_is_judged_by(plan, folders, tmp_path):
    run = plan(seed=3, preset="starter").open()
    assert run.mixture is not None and run.about["mixture"] == run.mixture.digest
    assert [(source["weight"], source["people"]) for source in run.about["data"]] == [(3.0, 9), (1.0, 7)]
    assert run.about["data"][1]["plans"] == [{"data_set": "3dpw/train"}], "where it lies is nobody's business"
    assert str(folders) not in json.dumps(run.about)
    other = plan(seed=3, preset="starter", data=plan().data[:1]).open()
    assert other.about["mixture"] != run.about["mixture"]
    assert run.about["judged_by"]["people"] == 8 and run.about["judged_by"]["digest"] != run.mixture.digest
    first = tmp_path / "first.safetensors"
    told = write_first(run, first)
    assert told["seed"] == 3 and told["preset"] == "starter" and told["recipe"]["sightings"] == 4
    assert read_info(first).config["image"] == "none"


def test_alone_a_run_ends_with_what_it_was_made_of(plan, tmp_path):
    run = plan(preset="tiny")
    write_first(run.open(), tmp_path / "first.safetensors")
    train_plan(run, tmp_path / "first.safetensors", tmp_path, "base-tiny", Alone(tmp_path / "state"))
    info = read_info(tmp_path / "base-tiny.safetensors")
    card = (tmp_path / "base-tiny.md").read_text()
    for words in (
        "no pixels", "preset tiny, seed 0", "weight 3, 9 people: made people, wild train seed 0",
        "weight 1, 7 people: data set 3dpw/train", "8 prepared people who were held out", info.recipe["mixture"][:16],
        "made people, wild test seed 0", info.recipe["judged_by"]["digest"][:16], "zlib", "whose licences say",
        "| everything |",
    ):  # fmt: skip
        assert words in card, words
    assert info.metrics["people"] == 8 and info.metrics["pa_mpjpe_zero_noise_mm"] > 0


def test_one_process_is_the_same_without_a_plan(plan, clips, body, tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "fetch", lambda name: clips)
    run = plan()
    write_first(run.open(), tmp_path / "first.safetensors")
    train_plan(run, tmp_path / "first.safetensors", tmp_path, "one", Alone(tmp_path / "state"))
    [held_out] = [Mixture([(run.held_out, 1.0)])]
    made = fit.fit_base(RECIPE, tmp_path, mixture=Mixture(run.data), held_out=held_out, name="two", body=body)
    one, two = (load_file(path) for path in (tmp_path / "one.safetensors", made.checkpoint))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def begun(path: Path, body, config: BaseModelConfig = BLIND, **header) -> str:
    torch.manual_seed(5)
    model = BaseModel(config)
    model.mean.fill_(0.25)
    info = CheckpointInfo("base", vars(config), body.name, body.digest)
    save_checkpoint(path, model, replace(info, **header))
    return str(path)


def test_a_run_begins_with_the_weights_that_it_is_given(plan, body, tmp_path):
    path = begun(tmp_path / "mine.safetensors", body, replace(BLIND, temperature=1.4))
    run = plan(init=path).open()
    theirs, _ = load_checkpoint(Path(path), "base")
    ours = run.first_model().state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in theirs.state_dict().items())
    assert run.about["init"].startswith("mine:") and len(run.about["init"]) == len("mine:") + 64
    assert run.first_model().config.temperature == 1.0
    with pytest.raises(InputError, match=r"only the denoiser is to learn, on top of nothing.*--init"):
        plan(recipe=replace(RECIPE, learns="denoiser")).open()


def test_weights_that_do_not_fit_are_refused_with_the_reason(plan, body, tmp_path):
    def refusal(path: str, **changes) -> str:
        with pytest.raises(AlignhmrError) as caught:
            plan(init=path, **changes).open().first_model()
        return str(caught.value)

    wide = begun(tmp_path / "wide.safetensors", body, replace(BLIND, width=32))
    assert "has width 32, the preset 24" in refusal(wide)
    seeing = begun(tmp_path / "seeing.safetensors", body, replace(BLIND, image="efficientnet-lite0"))
    assert "without --data" in refusal(seeing, data=())
    assert "has image efficientnet-lite0" in refusal(seeing)
    assert "trained with body model" in refusal(begun(tmp_path / "b.safetensors", body, body_digest="0" * 64))
    old = begun(tmp_path / "old.safetensors", body, format_version=99)
    assert "checkpoint format 99" in refusal(old)
    assert "no checkpoint at" in refusal(str(tmp_path / "none.safetensors"))
    broken = load_file(seeing := begun(tmp_path / "nan.safetensors", body))
    header = read_info(Path(seeing))
    save_file({**broken, "mean": broken["mean"] * torch.nan}, seeing, {"alignhmr": json.dumps(vars(header))})
    assert "non-finite weights in mean" in refusal(seeing)


def test_without_data_pixels_are_left_out(plan):
    seeing = replace(RECIPE, model=replace(BLIND, image="efficientnet-lite0"))
    run = plan(data=(), recipe=seeing).open()
    assert run.recipe.model.image == "none" and "mixture" not in run.about


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"data": (("{}/none", 1.0),)}, InputError, "no prepared people"),
        ({"held_out": "{}/none"}, InputError, "no prepared people"),
        ({"held_out": "{}/wild"}, InputError, "hold the same people"),
        ({"held_out": "{}/wild", "data": ()}, InputError, "training split"),
        ({"data": (("{}/smpl", 1.0),)}, CompatibilityError, "prepare people of that body"),
        ({"data": (("{}/wild", -1.0),)}, InputError, "weights are numbers above 0"),
    ],
)
def test_data_that_can_not_be_used_are_told(changes, error, words, plan, folders, body, made):
    if not (folders / "smpl").exists():
        people = [
            type(one)(**{**vars(one), "body": "smpl:0123456789abcdef"}) for one in made.seen_people(body, 2)
        ]
        made.write_people(folders / "smpl", people)
    changes = {
        name: value.format(folders)
        if isinstance(value, str)
        else tuple((place.format(folders), weight) for place, weight in value)
        for name, value in changes.items()
    }
    with pytest.raises(error, match=words):
        plan(**changes).open()
