"""Folders of vision-language models: written whole or not at all, read again as they were."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from alignhmr.core.checkpoints import CheckpointInfo
from alignhmr.core.errors import CaptionerError, CompatibilityError, InputError
from alignhmr.core.language import vlm_folder
from alignhmr.core.language.captions import PROMPT
from alignhmr.core.language.starter_vlm import StarterVlmConfig, starter_processor, starter_vlm
from alignhmr.core.language.vlm_folder import (
    ABOUT,
    Shown,
    load_vlm,
    read_folder_info,
    resolve_vlm,
    save_vlm,
    shown_to,
    weights_digest,
)
from alignhmr.deployments import torchvision_shim

TINY = StarterVlmConfig(
    56, vision_width=32, vision_blocks=1, vision_feed=2, width=32, blocks=1, feed_forward=64
)
INFO = CheckpointInfo("captioner", {"drawn": True, "picture_px": 56}, "open-body", "0" * 64, {"seed": 3})


@pytest.fixture(scope="module")
def parts():
    torchvision_shim.install()
    return starter_vlm(TINY).eval(), starter_processor(TINY.picture_px)


def test_what_is_written_is_read_again(parts, tmp_path):
    model, processor = parts
    digest = save_vlm(tmp_path / "mine", model, processor, INFO, torch.float16)
    assert digest == weights_digest(tmp_path / "mine") and not (tmp_path / "mine.partial").exists()
    read, reader = load_vlm(tmp_path / "mine")
    theirs = read.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(theirs[name], value.half().float()), name
    assert model.dtype == torch.float32, "the model itself stays as it was"
    assert json.loads((tmp_path / "mine" / "config.json").read_text())["dtype"] == "float16"
    assert reader.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    assert read_folder_info(tmp_path / "mine") == INFO
    assert shown_to(tmp_path / "mine") == Shown(True, 56)


def test_what_is_read_answers_as_what_was_written(parts, tmp_path):
    model, processor = parts
    save_vlm(tmp_path / "whole", model, processor, INFO, torch.float32)
    save_vlm(tmp_path / "half", model, processor, INFO, torch.float16)
    asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PROMPT}]}]
    text = processor.apply_chat_template(asked, add_generation_prompt=True)
    picture = np.random.default_rng(0).integers(0, 255, (56, 56, 3), np.uint8)
    logits = {}
    for name in ("whole", "half"):
        read, reader = load_vlm(tmp_path / name)
        assert not read.training and read.dtype == torch.float32
        given = reader(text=[text], images=[picture], return_tensors="pt")
        with torch.no_grad():
            logits[name] = read(**given).logits
    with torch.no_grad():
        ours = model(**processor(text=[text], images=[picture], return_tensors="pt")).logits
    assert torch.equal(logits["whole"], ours)
    assert 0 < (logits["half"] - ours).abs().max() < 0.02 * ours.std()


def test_a_write_that_fails_leaves_what_was_there(parts, tmp_path, monkeypatch):
    model, processor = parts
    digest = save_vlm(tmp_path / "mine", model, processor, INFO, torch.float32)
    monkeypatch.setattr(
        vlm_folder, "asdict", lambda info: (_ for _ in ()).throw(OSError("no space left on device"))
    )
    with pytest.raises(OSError, match="no space"):
        save_vlm(tmp_path / "mine", starter_vlm(TINY, 1), processor, INFO, torch.float32)
    assert weights_digest(tmp_path / "mine") == digest and read_folder_info(tmp_path / "mine") == INFO
    monkeypatch.undo()
    save_vlm(tmp_path / "mine", starter_vlm(TINY, 1), processor, INFO, torch.float32)
    assert weights_digest(tmp_path / "mine") != digest
    assert [path.name for path in tmp_path.iterdir()] == ["mine"], "what was left of the first try is gone"


def test_folders_of_others_say_nothing_and_broken_ones_are_refused(parts, tmp_path):
    model, processor = parts
    assert shown_to(tmp_path) is None
    with pytest.raises(InputError, match=r"no readable alignhmr\.json"):
        read_folder_info(tmp_path)
    save_vlm(tmp_path / "mine", model, processor, replace(INFO, format_version=99), torch.float16)
    with pytest.raises(CompatibilityError, match="of another version"):
        shown_to(tmp_path / "mine")
    other = asdict(INFO) | {"nobody_knows": 1}
    (tmp_path / "mine" / ABOUT).write_text(json.dumps(other))
    with pytest.raises(CompatibilityError, match=r"isn't one of ours: .*nobody_knows"):
        read_folder_info(tmp_path / "mine")
    (tmp_path / "mine" / ABOUT).write_text("[]")
    with pytest.raises(CompatibilityError, match="of another version"):
        read_folder_info(tmp_path / "mine")
    (tmp_path / "mine" / ABOUT).write_text("{")
    with pytest.raises(InputError, match="no readable"):
        shown_to(tmp_path / "mine")
    with pytest.raises(CaptionerError, match="there is no model folder"):
        load_vlm(tmp_path / "none")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "config.json").write_text("{}"),
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 100),
        lambda folder: cut(folder / "model.safetensors"),
        lambda folder: (folder / "tokenizer.json").write_text("{"),
        lambda folder: (folder / "processor_config.json").unlink(),
    ],
    ids=["no model", "no weights", "garbage", "cut short", "no JSON", "no processor"],
)
def test_a_model_that_can_not_be_used_is_told_in_one_sentence(parts, tmp_path, spoil):
    model, processor = parts
    save_vlm(tmp_path / "mine", model, processor, INFO, torch.float16)
    spoil(tmp_path / "mine")
    with pytest.raises(CaptionerError, match=r"can't be used: .*; download it again") as caught:
        load_vlm(tmp_path / "mine")
    assert "\n" not in str(caught.value)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def test_names_are_of_what_ships_and_all_else_is_a_path(tmp_path, monkeypatch):
    monkeypatch.setattr(vlm_folder, "SHIPPED", tmp_path)
    (tmp_path / "captioner-starter").mkdir()
    assert resolve_vlm("starter") == tmp_path / "captioner-starter"
    assert resolve_vlm("other").name == "other" and str(resolve_vlm("models/starter")) == "models/starter"
