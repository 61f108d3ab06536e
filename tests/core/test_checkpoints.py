"""Checkpoints: round trips, and refusals that name the reason."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from alignhmr.core.checkpoints import (
    CheckpointInfo,
    file_digest,
    load_checkpoint,
    read_info,
    resolve,
    save_checkpoint,
)
from alignhmr.core.diffusion.model import BaseModel, BaseModelConfig
from alignhmr.core.errors import CompatibilityError, InputError

CONFIG = BaseModelConfig("none", width=16, encoder_blocks=1, denoiser_width=16, denoiser_blocks=1)
INFO = CheckpointInfo("base", asdict(CONFIG), "open-body-v1", "a" * 64, recipe={"seed": 3})


def saved(tmp_path: Path, info: CheckpointInfo = INFO, **options: bool) -> tuple[Path, BaseModel]:
    torch.manual_seed(0)
    model = BaseModel(CONFIG)
    save_checkpoint(tmp_path / "model.safetensors", model, info, **options)
    return tmp_path / "model.safetensors", model


def test_round_trip_is_exact_and_keeps_the_header(tmp_path: Path) -> None:
    path, model = saved(tmp_path)
    loaded, info = load_checkpoint(path, "base", body_digest="a" * 64)
    assert info == INFO and not list(tmp_path.glob("*.partial"))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))


def test_half_precision_halves_the_file(tmp_path: Path) -> None:
    full = saved(tmp_path)[0].stat().st_size
    assert saved(tmp_path, half=True)[0].stat().st_size < 0.7 * full


def test_refusals(tmp_path: Path) -> None:
    path, _ = saved(tmp_path)
    with pytest.raises(CompatibilityError, match="'base' model; a 'scorer' model is wanted"):
        load_checkpoint(path, "scorer")
    with pytest.raises(CompatibilityError, match="body"):
        load_checkpoint(path, "base", body_digest="b" * 64)
    with pytest.raises(InputError, match="no checkpoint at"):
        read_info(tmp_path / "missing.safetensors")
    old, _ = saved(tmp_path, CheckpointInfo(**{**asdict(INFO), "format_version": 0}))
    with pytest.raises(CompatibilityError, match="format 0"):
        read_info(old)


def headed(tmp_path: Path, header: str) -> Path:
    save_file({"x": torch.zeros(3)}, tmp_path / "headed.safetensors", metadata={"alignhmr": header})
    return tmp_path / "headed.safetensors"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": 3, "new": 1}, "checkpoint format 3"),
        ({"new": 1}, "isn't one of ours"),
        ({"config": {**asdict(CONFIG), "new": 1}}, "can't build"),
        ({"config": {**asdict(CONFIG), "width": "big"}}, "can't build"),
        ({"config": {**asdict(CONFIG), "temperature": float("nan")}}, "temperature nan"),
    ],
)
def test_headers_of_others_are_refused_with_the_reason(tmp_path: Path, changes: dict, words: str) -> None:
    path = headed(tmp_path, json.dumps(asdict(INFO) | changes))
    with pytest.raises(CompatibilityError, match=words):
        load_checkpoint(path, "base")
    less = {name: value for name, value in asdict(INFO).items() if name != "body_digest"}
    for header, told in (("{no json", "can't be read"), (json.dumps(less), "isn't one of ours")):
        with pytest.raises(CompatibilityError, match=told):
            read_info(headed(tmp_path, header))


def test_a_cut_file_and_a_foreign_file_are_refused(tmp_path: Path) -> None:
    path, _ = saved(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a readable safetensors"):
        load_checkpoint(path, "base")
    save_file({"x": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CompatibilityError, match="no alignhmr header"):
        read_info(tmp_path / "foreign.safetensors")


def test_non_finite_weights_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = BaseModel(CONFIG)
    next(model.regressor.parameters()).data[0] = float("nan")
    save_checkpoint(tmp_path / "nan.safetensors", model, INFO)
    with pytest.raises(InputError, match="non-finite"):
        load_checkpoint(tmp_path / "nan.safetensors", "base")


def test_residuals_to_what_is_no_body_are_refused(tmp_path: Path) -> None:
    model = BaseModel(CONFIG)
    model.residual_std[18 * 6 + 4] = 33.0
    save_checkpoint(tmp_path / "grown.safetensors", model, INFO)
    with pytest.raises(CompatibilityError, match="train it anew"):
        load_checkpoint(tmp_path / "grown.safetensors", "base")


def test_unknown_presets_name_the_shipped_ones() -> None:
    with pytest.raises(InputError, match="no base checkpoint called 'huge'"):
        resolve("huge", "base")


def test_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_digest(tmp_path / "abc").startswith("ba7816bf8f01cfea")
