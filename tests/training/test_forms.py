"""Weights as one file or as a folder: what is told of either, what is shipped, and that either can go."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from alignhmr.core.checkpoints import CheckpointInfo
from alignhmr.core.diffusion.model import BaseModel, BaseModelConfig
from alignhmr.core.errors import CompatibilityError
from alignhmr.core.language.starter_vlm import StarterVlmConfig, starter_processor, starter_vlm
from alignhmr.deployments import torchvision_shim
from alignhmr.training.captioner import Taught
from alignhmr.training.captioner_run import VlmFolder
from alignhmr.training.forms import Form, OneFile, info_at, remove, rounded
from alignhmr.training.low_rank import LowRank, adapt

BLIND = BaseModelConfig("none", 32, 24, 1, 24, 1)
TINY = StarterVlmConfig(
    56, vision_width=32, vision_blocks=1, vision_feed=2, width=32, blocks=1, feed_forward=64
)
CAPTIONER = CheckpointInfo("captioner", {"drawn": True, "picture_px": 56}, "open-body", "0" * 64, {"seed": 3})


@pytest.fixture(scope="module")
def processor():
    torchvision_shim.install()
    return starter_processor(TINY.picture_px)


@pytest.fixture(params=["file", "folder"])
def weights(request, body, processor) -> tuple[Form, torch.nn.Module, CheckpointInfo]:
    """A form, a model of random weights, and what is to be said of it."""
    if request.param == "folder":
        return VlmFolder(processor, torch.float16), starter_vlm(TINY), CAPTIONER
    torch.manual_seed(0)
    info = CheckpointInfo("base", vars(BLIND), body.name, body.digest, {"seed": 3})
    return OneFile("base", BLIND, body.digest), BaseModel(BLIND), info


def state_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return module.state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def test_what_is_shipped_is_what_is_written_and_read(weights, tmp_path):
    form, model, info = weights
    before = {name: value.clone() for name, value in state_of(model).items()}
    path = tmp_path / f"mine{form.suffix}"
    shipped = form.shipped(model)
    assert not shipped.training and not any(p.requires_grad for p in shipped.parameters())
    digest = form.write(path, shipped, info, half=True)
    read, told = form.read(path)
    assert same(state_of(read), state_of(shipped)) and same(state_of(shipped), rounded(before, torch.float16))
    assert not same(state_of(shipped), before) and same(state_of(model), before)
    assert told == info_at(path) and told.recipe == {"seed": 3} and len(digest) == 64


def test_in_full_precision_nothing_is_lost(weights, tmp_path):
    form, model, info = weights
    path = tmp_path / f"mine{form.suffix}"
    form.write(path, model, info, half=False)
    assert same(state_of(form.read(path)[0]), state_of(model))


def test_either_can_go_and_what_is_not_there_is_gone_already(weights, tmp_path):
    form, model, info = weights
    path = tmp_path / f"mine{form.suffix}"
    form.write(path, model, info, half=True)
    for _ in range(2):
        remove(path)
        assert list(tmp_path.iterdir()) == []


def test_the_card_stands_beside_a_file_and_in_a_folder(body, processor):
    assert OneFile("base", BLIND, body.digest).card(Path("out/base-mine.safetensors")) == Path(
        "out/base-mine.md"
    )
    assert VlmFolder(processor, True).card(Path("out/captioner-mine")) == Path("out/captioner-mine/README.md")


def test_a_file_of_another_body_is_refused(body, tmp_path):
    info = CheckpointInfo("base", vars(BLIND), body.name, "f" * 64)
    OneFile("base", BLIND, "f" * 64).write(tmp_path / "x.safetensors", BaseModel(BLIND), info, half=True)
    with pytest.raises(CompatibilityError):
        OneFile("base", BLIND, body.digest).read(tmp_path / "x.safetensors")


def test_the_layer_beside_a_new_model_is_not_shipped(processor):
    form, model = VlmFolder(processor, torch.float16), starter_vlm(TINY)
    taught = form.shipped(Taught(model, 4))
    assert same(state_of(taught), state_of(form.shipped(model))) and type(taught) is type(model)


def test_a_tuned_model_is_shipped_merged_as_exact_as_it_was_and_learns_on(processor, tmp_path):
    form, model = VlmFolder(processor, torch.float32), starter_vlm(TINY)
    adapt(model.model, LowRank(2))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.01)
    shipped = form.shipped(model)
    assert state_of(shipped).keys() == state_of(starter_vlm(TINY)).keys()
    form.write(tmp_path / "mine", shipped, replace(CAPTIONER, recipe={}), half=True)
    assert same(state_of(form.read(tmp_path / "mine")[0]), state_of(shipped)), "float32 stays"
    ids = torch.arange(20)[None]
    with torch.no_grad():
        assert torch.equal(shipped(input_ids=ids).logits, model.eval()(input_ids=ids).logits)
    form.shipped(model)  # again: it can be judged as often as wished
    assert model(input_ids=ids).logits.requires_grad
