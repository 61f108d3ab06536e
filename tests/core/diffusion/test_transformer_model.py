"""The base model of transformer parts: sampling, alignment, checkpoints without the folder, refusals."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from alignhmr.core.checkpoints import CheckpointInfo, load_checkpoint, save_checkpoint
from alignhmr.core.diffusion.condition import Condition, make_condition
from alignhmr.core.diffusion.model import BaseModel, BaseModelConfig, hypothesis_noise
from alignhmr.core.diffusion.parameters import SIZE
from alignhmr.core.diffusion.patch_tokens import PatchTokens
from alignhmr.core.errors import AlignhmrError, CompatibilityError, InputError, SetupError
from alignhmr.deployments import torchvision_shim

SMALL = BaseModelConfig(
    "none", 32, width=16, encoder_blocks=1, denoiser_width=24, denoiser_blocks=2, parts="transformer", heads=2,
    feed_forward=32, hops=(3, 1),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torchvision_shim.install()
    from transformers import Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("models") / "dinov2"
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    Dinov2Model(Dinov2Config(**sizes, image_size=28)).save_pretrained(folder)
    return folder


def model(**changes) -> BaseModel:
    """Its last layers don't begin at zero."""
    torch.manual_seed(0)
    base = BaseModel(replace(SMALL, **changes)).eval()
    for last in ("denoiser.to_joint", "regressor.1.weight"):
        torch.nn.init.normal_(base.get_parameter(last))
    base.residual_std.fill_(0.3)
    return base


def evidence(count: int, *, pictures: bool = False) -> Condition:
    generator = torch.Generator().manual_seed(0)
    crops = torch.rand(count, 3, 32, 32, generator=generator) * 255 if pictures else None
    keypoints = torch.rand(count, 23, 3, generator=generator) * torch.tensor([100.0, 100.0, 1.0])
    crop = torch.tensor([[50.0, 50.0, 120.0]]).expand(count, -1)
    return make_condition(keypoints, crop, torch.full((count,), 500.0), torch.full((count, 2), 60.0), crops)


def test_samples_are_finite_differ_and_more_of_them_change_none() -> None:
    base, condition = model(), evidence(2)
    noise = hypothesis_noise(6, torch.Generator().manual_seed(0)).expand(2, -1, -1)
    many = base.sample(condition, noise)
    assert many.shape == (2, 6, SIZE) and torch.isfinite(many).all()
    assert (many[:, 1:] - many[:, :1]).abs().amax(-1).min() > 1e-3
    torch.testing.assert_close(many[:, :2], base.sample(condition, noise[:, :2]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(many, base.sample(base.encode(condition), noise))


def test_alignment_moves_the_denoiser_and_leaves_the_initial_estimate_alone() -> None:
    base, condition = model(), evidence(3)
    before, noise = base.regress(base.encode(condition)), torch.zeros(3, 1, SIZE)
    answered = base.sample(condition, noise)
    for parameter in base.trainable_in_alignment():
        parameter.data.add_(0.1)
    assert torch.equal(base.regress(base.encode(condition)), before)
    assert not torch.allclose(base.sample(condition, noise), answered)


def test_half_precision_answers_in_full() -> None:
    base, condition = model(), evidence(2)
    with torch.autocast("cpu", torch.bfloat16):
        encoded = base.encode(condition)
        half = base.regress(encoded)
    full = base.regress(base.encode(condition))
    assert half.dtype == torch.float32
    assert 0 < (half - full).abs().max() < 0.1 * full.abs().max()


def test_activations_worked_out_again_change_no_gradient(folder: Path) -> None:
    base = model(image=f"transformers:{folder}").train()
    gradients = []
    for on in (False, True):
        base.recompute(on)
        base.zero_grad()
        encoded = base.encode(evidence(2, pictures=True))
        x0 = base.denoise(torch.ones(2, 2, SIZE), torch.full((2, 2), 30), encoded)
        (x0.square().mean() + base.regress(encoded).square().mean()).backward()
        gradients.append({n: p.grad.clone() for n, p in base.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert any(name.startswith("encoder.image.backbone.model") for name in gradients[0])
    for name, kept in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], kept)


@pytest.mark.parametrize("parts", ["transformer", "mlp"])
def test_a_checkpoint_needs_no_folder(folder: Path, tmp_path: Path, parts: str) -> None:
    there = shutil.copytree(folder, tmp_path / "vision")
    base = BaseModel(replace(SMALL, image=f"transformers:{there}", parts=parts)).eval()
    assert isinstance(base.encoder.image, PatchTokens)
    base.encoder.image.backbone.read(str(there))
    told = json.loads(json.dumps(asdict(base.config)))
    save_checkpoint(tmp_path / "base.safetensors", base, CheckpointInfo("base", told, "body", "0" * 64))
    shutil.rmtree(there)
    loaded, info = load_checkpoint(tmp_path / "base.safetensors", "base")
    assert isinstance(loaded, BaseModel) and info.config["backbone"]["channels"] == 16
    condition, noise = evidence(2, pictures=True), torch.ones(2, 3, SIZE)
    assert torch.equal(loaded.sample(condition, noise), base.sample(condition, noise))
    assert not torch.equal(loaded.sample(condition.without("image"), noise), loaded.sample(condition, noise))


def test_a_described_configuration_stays_as_it_is(folder: Path) -> None:
    config = replace(SMALL, image=f"transformers:{folder}").described()
    assert config.backbone is not None and config.described() is config
    assert SMALL.described() is SMALL


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"parts": "convolutions"}, InputError, "choose mlp or transformer"),
        ({"image": "vit"}, InputError, "transformers:FOLDER or none"),
        ({"image": "transformers:nowhere/at-all"}, SetupError, "name its folder"),
        ({"hops": (3,)}, InputError, "2 blocks of the denoiser and hops for 1"),
        ({"hops": (3, 0)}, InputError, "give 1 or more"),
        ({"heads": 5}, InputError, "divisor"),
        ({"image": "efficientnet-lite0", "crop_px": 100}, InputError, "multiple of 32"),
    ],
)
def test_parts_that_do_not_exist_are_refused(changes: dict, kind: type[AlignhmrError], words: str) -> None:
    with pytest.raises(kind, match=words) as error:
        BaseModel(replace(SMALL, **changes))
    assert "\n" not in str(error.value)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    told = asdict(replace(SMALL, feed_forward=48))
    save_checkpoint(tmp_path / "base.safetensors", model(), CheckpointInfo("base", told, "body", "0" * 64))
    with pytest.raises(CompatibilityError, match="doesn't fit its own configuration"):
        load_checkpoint(tmp_path / "base.safetensors", "base")
