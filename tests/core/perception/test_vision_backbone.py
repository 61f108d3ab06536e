"""Vision models with tiny random weights: patches in their places, normalisation, descriptions, messages."""

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from alignhmr.core.errors import AlignhmrError, CompatibilityError, SetupError
from alignhmr.core.perception import vision_backbone
from alignhmr.core.perception.vision_backbone import VisionBackbone, describe
from alignhmr.deployments import torchvision_shim

SIZES: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def models() -> dict:
    import transformers as t

    pose = t.VitPoseBackboneConfig(image_size=[64, 48], patch_size=[16, 16], **SIZES)
    words = t.BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=30)
    return {
        "vit": t.ViTModel(t.ViTConfig(**SIZES, intermediate_size=32, image_size=64)),
        "dinov2": t.Dinov2Model(t.Dinov2Config(**SIZES, image_size=56)),
        "dinov2-classifier": t.Dinov2ForImageClassification(t.Dinov2Config(**SIZES, image_size=56)),
        "dinov3": t.DINOv3ViTModel(
            t.DINOv3ViTConfig(**SIZES, intermediate_size=32, image_size=64, num_register_tokens=4)
        ),
        "vitpose": t.VitPoseForPoseEstimation(t.VitPoseConfig(backbone_config=pose)),
        "words": t.BertModel(words),
        "masked": t.ViTMAEModel(t.ViTMAEConfig(**SIZES, intermediate_size=32, image_size=64)),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder each."""
    torchvision_shim.install()
    base = tmp_path_factory.mktemp("vision")
    torch.manual_seed(0)
    for name, model in models().items():
        model.save_pretrained(base / name)
    return base


def crops(side: int, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0)) * 255


def loaded(source: Path) -> VisionBackbone:
    backbone = VisionBackbone(describe(str(source)))
    backbone.read(str(source))
    return backbone.eval()


def normal(pixels: torch.Tensor, mean: list[float], std: list[float]) -> torch.Tensor:
    return (pixels / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.mark.parametrize(
    ("name", "side", "prefix"), [("vit", 64, 1), ("dinov2", 56, 1), ("dinov2-classifier", 56, 1), ("dinov3", 64, 5)]
)  # fmt: skip
def test_patches_are_the_models_own_row_by_row(folder: Path, name: str, side: int, prefix: int) -> None:
    import transformers

    pixels = crops(side)
    found = loaded(folder / name)(pixels)
    kind = getattr(transformers, json.loads((folder / name / "config.json").read_text())["architectures"][0])
    whole = kind.from_pretrained(folder / name).eval()
    whole = whole.dinov2 if name == "dinov2-classifier" else whole
    tokens = whole(pixel_values=normal(pixels, *IMAGENET)).last_hidden_state[:, prefix:]
    assert found.shape == (2, 16, 4, 4)
    torch.testing.assert_close(found, tokens.mT.reshape(2, 16, 4, 4), atol=1e-5, rtol=1e-5)


def test_a_square_crop_is_shown_whole_to_a_model_of_tall_pictures(folder: Path) -> None:
    import transformers

    backbone = loaded(folder / "vitpose")
    assert backbone.input_px == (64, 48) and backbone.side_px == 48 and backbone.patches == 3
    pixels = crops(48)
    # 16 rows are left over: less than a patch above would cut one in two, so the black is below.
    tall = torch.cat([pixels, torch.zeros(2, 3, 16, 48)], 2)
    pose = transformers.VitPoseForPoseEstimation.from_pretrained(folder / "vitpose").eval()
    tokens = pose.backbone(pixel_values=normal(tall, *IMAGENET)).feature_maps[-1]
    expected = tokens.mT.reshape(2, 16, 4, 3)[:, :, :3]
    torch.testing.assert_close(backbone(pixels), expected, atol=1e-5, rtol=1e-5)


def test_vitpose_of_its_published_size_has_two_rows_of_black_on_either_side() -> None:
    from transformers import VitPoseBackboneConfig

    torchvision_shim.install()
    config = json.loads(VitPoseBackboneConfig(**SIZES).to_json_string(use_diff=False))
    config = {key: value for key, value in config.items() if value is not None}
    mean, std = IMAGENET
    backbone = VisionBackbone(
        {"config": config, "input_px": [256, 192], "grid": [16, 12], "channels": 16, "mean": mean, "std": std}
    )
    assert backbone.patches == 12 and backbone._pads == (0, 0, 32, 32)
    assert backbone(crops(192, 1)).shape == (1, 16, 12, 12)


def test_crops_of_another_size_are_resized(folder: Path) -> None:
    backbone = loaded(folder / "vit")
    flat = torch.full((1, 3, 64, 64), 90.0)
    torch.testing.assert_close(backbone(flat), backbone(flat[..., :31, :31]), atol=1e-4, rtol=1e-4)


def test_size_and_normalisation_are_the_image_processors(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "dinov2", tmp_path / "own")
    processor = {
        "do_center_crop": True, "size": {"shortest_edge": 99}, "crop_size": {"height": 42, "width": 42},
        "image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.6, 0.7],
    }  # fmt: skip
    (tmp_path / "own" / "preprocessor_config.json").write_text(json.dumps(processor))
    described = describe(str(tmp_path / "own"))
    assert described["input_px"] == [42, 42] and described["grid"] == [3, 3]
    own = loaded(tmp_path / "own")
    usual = loaded(folder / "dinov2")
    pixels = crops(42)
    expected = usual.model(pixel_values=normal(pixels, [0.5, 0.4, 0.3], [0.5, 0.6, 0.7])).feature_maps[-1]
    torch.testing.assert_close(own(pixels), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["vit", "dinov2", "dinov3", "vitpose"])
def test_a_description_builds_the_model_again_without_its_folder(folder: Path, name: str) -> None:
    first = loaded(folder / name)
    told = json.loads(json.dumps(describe(str(folder / name))))
    assert str(folder) not in json.dumps(told)
    again = VisionBackbone(told).eval()
    again.load_state_dict(first.state_dict())
    pixels = crops(first.side_px)
    assert torch.equal(first(pixels), again(pixels))


def test_what_is_not_trained_stays_in_evaluation_mode(folder: Path) -> None:
    described = describe(str(folder / "vit"))
    assert not VisionBackbone(described, trained=False).train().model.training
    assert VisionBackbone(described).train().model.training


def test_working_activations_out_again_changes_no_gradient(folder: Path) -> None:
    backbone = loaded(folder / "vit").train()
    gradients = []
    for on in (False, True):
        backbone.recompute(on)
        backbone.zero_grad()
        backbone(crops(64)).square().mean().backward()
        gradients.append([p.grad.clone() for p in backbone.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(list(backbone.parameters()))
    assert all(grad.abs().sum() > 0 for grad in gradients[0][:4])
    for kept, again in zip(*gradients, strict=True):
        torch.testing.assert_close(kept, again)


@pytest.mark.parametrize("name", ["words", "masked"])
def test_what_gives_no_patches_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(CompatibilityError, match="no square patch tokens") as error:
        describe(str(folder / name))
    assert "\n" not in str(error.value)


def refusal(act, *arguments) -> AlignhmrError:
    with pytest.raises(AlignhmrError) as error:
        act(*arguments)
    assert "\n" not in str(error.value)
    return error.value


def test_missing_and_broken_models_are_said_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    gone = refusal(describe, str(tmp_path / "gone"))
    assert isinstance(gone, SetupError) and gone.code == "model_missing" and "no such folder" in str(gone)
    (tmp_path / "empty").mkdir()
    assert "model_type" in str(refusal(describe, str(tmp_path / "empty")))
    backbone = VisionBackbone(describe(str(folder / "vit")))
    shutil.copytree(folder / "vit", tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    tensors = load_file(weights)
    del tensors["layernorm.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    assert "lacks 1 weights" in str(refusal(backbone.read, str(tmp_path / "cut")))
    weights.unlink()
    assert "model.safetensors" in str(refusal(backbone.read, str(tmp_path / "cut")))
    other = refusal(backbone.read, str(folder / "dinov2"))
    assert isinstance(other, CompatibilityError) and "that training began with" in str(other)


def test_nothing_is_downloaded_unless_the_environment_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoConfig

    def refused(*arguments, **named):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert "model hub's cache" in str(refusal(describe, "nobody/no-such-model"))
    asked = []
    monkeypatch.setattr(
        AutoConfig, "from_pretrained", lambda source, *, local_files_only: asked.append(local_files_only)
    )
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    vision_backbone._config("nobody/no-such-model")
    assert asked == [False]
