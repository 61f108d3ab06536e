"""The transformer base model learning: by heart, in half precision, around a frozen vision model, from a folder on."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from alignhmr.core.checkpoints import load_checkpoint
from alignhmr.core.diffusion.model import BaseModel, BaseModelConfig
from alignhmr.core.diffusion.patch_tokens import PatchTokens
from alignhmr.core.errors import SetupError
from alignhmr.core.geometry.cameras import project
from alignhmr.core.geometry.rotations import matrix_to_axis_angle
from alignhmr.core.synthetic.observations import Observations
from alignhmr.deployments import torchvision_shim
from alignhmr.training import base, fit
from alignhmr.training.loop import LoopConfig, Trainer
from alignhmr.training.mixture import Mixture
from alignhmr.training.recipe import BaseRecipe, Evaluation
from alignhmr.training.sighting_shards import shard_bytes
from alignhmr.training.sightings import Sighting

BODY = ("rotation", "camera", "joints", "reprojection", "diffusion_joints")
NOTHING_DROPPED = base.DropRates(0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torchvision_shim.install()
    from transformers import Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("models") / "dinov2"
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    Dinov2Model(Dinov2Config(**sizes, image_size=42)).save_pretrained(folder)
    return folder


def config(folder: Path, **changes) -> BaseModelConfig:
    sizes = BaseModelConfig(
        f"transformers:{folder}", 42, width=64, encoder_blocks=1, denoiser_width=64, denoiser_blocks=2,
        parts="transformer", heads=4, feed_forward=128, hops=[3, 1],
    )  # fmt: skip
    return replace(sizes, **changes)


def pictured(people: Observations, count: int) -> Observations:
    """The first of them, each with a picture of its own."""
    crops = torch.rand(count, 3, 42, 42, generator=torch.Generator().manual_seed(0)) * 255
    few = people.take(slice(0, count))
    return replace(few, crops=crops, has_image=torch.ones(count, dtype=torch.bool))


def eyes(model: BaseModel) -> PatchTokens:
    assert isinstance(model.encoder.image, PatchTokens)
    return model.encoder.image


def learner(
    folder: Path, bench, precision: Literal["fp32", "bf16"] = "fp32", **changes
) -> tuple[BaseModel, base.BaseStep, Trainer]:
    torch.manual_seed(0)
    model = BaseModel(config(folder, **changes))
    eyes(model).backbone.read(str(folder))
    base.learnable(model)
    packed = base.true_packed(bench.people)
    model.mean.copy_(packed.mean(0))
    model.residual_std.copy_(packed.std(0).clamp_min(1e-2))
    loop = LoopConfig(steps=150, learning_rate=3e-3, warmup_steps=10, weight_decay=0.0)
    trainer = Trainer(model, model.parameters(), loop, eyes(model).pretrained())
    return model, base.BaseStep(model, bench.body, 0, rates=NOTHING_DROPPED, precision=precision), trainer


@pytest.mark.slow
def test_four_people_are_learned_by_heart(folder: Path, bench) -> None:
    _, step, trainer = learner(folder, bench)
    batch, history = pictured(bench.people, 4), []
    for number in range(150):
        loss, parts = step(batch, number)
        trainer.update(loss)
        history.append({name: parts[name] for name in BODY})
    first, last = history[0], {name: np.mean([row[name] for row in history[-10:]]) for name in BODY}
    assert sum(last.values()) < 0.1 * sum(first.values()), (first, last)


def test_half_precision_gives_nearly_the_same_loss_and_keeps_the_weights_whole(folder: Path, bench) -> None:
    batch, losses, gradients = pictured(bench.people, 4), {}, {}
    for precision in ("fp32", "bf16"):
        model, step, trainer = learner(folder, bench, precision)
        torch.nn.init.normal_(model.get_parameter("denoiser.to_joint"), std=0.01)
        loss, parts = step(batch, 0)
        loss.backward()
        losses[precision], gradients[precision] = parts, model.get_parameter("denoiser.from_joint").grad
        assert loss.dtype == torch.float32 and all(np.isfinite(list(parts.values())))
        assert {p.dtype for p in model.parameters()} == {torch.float32}
        assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}
        assert np.isfinite(trainer.update(step(batch, 0)[0]))
    assert losses["fp32"] != losses["bf16"]
    for name, value in losses["fp32"].items():
        assert losses["bf16"][name] == pytest.approx(value, rel=0.05, abs=0.02), name
    cosine = torch.nn.functional.cosine_similarity(*(g.flatten() for g in gradients.values()), dim=0)
    assert cosine > 0.98


@pytest.mark.parametrize("train_image", [True, False])
def test_a_vision_model_learns_only_where_it_is_asked_to(folder: Path, bench, train_image: bool) -> None:
    model, step, trainer = learner(folder, bench, train_image=train_image)
    vision = eyes(model).backbone
    before = {name: value.clone() for name, value in vision.state_dict().items()}
    heads = eyes(model).heat.weight.clone()
    for number in range(2):
        trainer.update(step(pictured(bench.people, 4), number)[0])
    same = [torch.equal(value, before[name]) for name, value in vision.state_dict().items()]
    assert not any(same) if train_image else all(same)
    assert not torch.equal(eyes(model).heat.weight, heads)
    assert all(part.training == train_image for part in vision.modules())
    slow = [group["params"] for group in trainer.optimizer.param_groups if group["share"] != 1]
    assert [len(group) for group in slow] == ([len(list(vision.parameters()))] if train_image else [])


def prepared(bench, sightings: Callable[..., list[Sighting]]) -> list[Sighting]:
    """Made people as if they had been prepared, in flat pictures."""
    people, rows = bench.people, []
    for i, row in enumerate(sightings(8, body=f"{bench.body.name}:{bench.body.digest[:16]}")):
        transl = people.transl_cam_m[i]
        pixels = project(people.body_keypoints_m[i] + transl, people.focal_px[i], people.center_px[i])
        low, high = pixels.amin(0), pixels.amax(0)
        middle, side = (low + high) / 2, (high - low).max()
        rows.append(
            replace(
                row,
                window_px=np.array([*middle, 2 * side], np.float32),
                picture_px=tuple((2 * people.center_px[i]).int().tolist()),
                box_px=torch.cat([low, high]).numpy(),
                focal_px=float(people.focal_px[i]),
                center_px=tuple(people.center_px[i].tolist()),
                keypoints_px=torch.cat([pixels, torch.full((23, 1), 0.9)], 1).numpy(),
                pose_aa=matrix_to_axis_angle(people.rotations[i]).numpy(),
                betas=people.betas[i].numpy(),
                transl_cam_m=transl.numpy(),
                smpl24_cam_m=(people.joints_m[i] + transl).numpy(),
                coco23_cam_m=(people.body_keypoints_m[i] + transl).numpy(),
            )
        )
    return rows


@pytest.fixture
def mixture(bench, sightings: Callable[..., list[Sighting]], tmp_path: Path) -> Mixture:
    people = tmp_path / "people"
    people.mkdir()
    (people / "part-000.parquet").write_bytes(
        shard_bytes(prepared(bench, sightings), {"domain": "wild", "split": "train"})
    )
    return Mixture([(people, 1.0)])


def recipe(model: BaseModelConfig) -> BaseRecipe:
    return BaseRecipe(
        LoopConfig(steps=4, warmup_steps=1, report_every=2),
        model,
        evaluation=Evaluation(every=100, people=4, hypotheses=2),
        batch_size=2, sightings=4, precision="bf16", recompute=True, save_every=100,
    )  # fmt: skip


def test_a_run_begins_with_a_folder_and_ends_with_a_checkpoint_that_needs_none(
    folder: Path, mixture: Mixture, bench, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "fetch", lambda name: clips)
    there, told = shutil.copytree(folder, tmp_path / "vision"), []
    made = fit.fit_base(
        recipe(config(there)), tmp_path, mixture=mixture, body=bench.body,
        report=lambda step, values: told.append(values),
    )  # fmt: skip
    shutil.rmtree(there)
    model, info = load_checkpoint(made.checkpoint, "base", body_digest=bench.body.digest)
    card = made.card.read_text()
    assert "(through vision)" in card and "weights of vision, whose licence" in card
    assert info.config["backbone"]["channels"] == 32 and info.recipe["recipe"]["precision"] == "bf16"
    batch = pictured(bench.people, 2)
    answer = model.sample(batch.condition(), torch.zeros(2, 1, 157))  # type: ignore[operator]
    assert torch.isfinite(answer).all() and all(values["image_heat"] > 0 for values in told)


def test_without_its_folder_a_run_says_so_before_it_begins(
    mixture: Mixture, bench, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "fetch", lambda name: clips)
    with pytest.raises(SetupError, match=r"no vision model under .*name its folder"):
        fit.fit_base(recipe(config(tmp_path / "none")), tmp_path / "out", mixture=mixture, body=bench.body)
    assert not (tmp_path / "out").exists()
