"""The preset `full` on this machine, and what it would cost on a GPU.

Counted: weights of each part; floating-point operations and kept activations of a training step. Run here: one
training step in each precision, with a ViTPose-B of random weights (nothing is downloaded); and a small batch learned
by heart. Estimated from what was counted: memory and people a second on one GPU, from peak rates on the makers' data
sheets and a utilisation that is assumed, not measured.
"""

import argparse
import ctypes
import gc
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import finish
from torch.utils.flop_counter import FlopCounterMode

from alignhmr.core.body.model import BodyModel
from alignhmr.core.diffusion.model import BaseModel, BaseModelConfig
from alignhmr.core.diffusion.patch_tokens import PatchTokens
from alignhmr.core.perception.vision_backbone import VisionBackbone
from alignhmr.core.synthetic.observations import Observations, ObservationSampler
from alignhmr.core.synthetic.poses import PoseMix, PoseSampler
from alignhmr.deployments import torchvision_shim
from alignhmr.deployments.training_config import load_training_config
from alignhmr.training import base
from alignhmr.training.fit import motion_clips
from alignhmr.training.loop import Trainer
from alignhmr.training.recipe import BaseRecipe

PEOPLE = 2
"""Of a measured step; one in a quick run."""
BODY = ("rotation", "camera", "joints", "reprojection", "diffusion_joints")
GPUS = {"H100 SXM": (989.0, 80.0), "A100 SXM": (312.0, 80.0)}
"""Dense bf16 TFLOP/s and GB of memory, as the makers state them."""
UTILISATION = 0.35
"""Share of that peak which training is assumed to reach; transformers of this size reach 0.3 to 0.5."""
SPARE = 0.9
"""Share of a GPU's memory to plan with: the rest is the allocator's and the kernels'."""


def vit_b() -> dict[str, Any]:
    """ViTPose-B as `vision_backbone.describe` gives it, without its folder."""
    torchvision_shim.install()
    from transformers import VitPoseBackboneConfig

    tree = json.loads(VitPoseBackboneConfig().to_json_string(use_diff=False))
    return {
        "config": {key: value for key, value in tree.items() if value is not None},
        "input_px": [256, 192], "grid": [16, 12], "channels": 768,
        "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
    }  # fmt: skip


def small_vit(width: int) -> dict[str, Any]:
    """Two layers of patches of 16 pixels in 64 x 64."""
    sizes = {
        "model_type": "vit", "hidden_size": width, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 2 * width, "image_size": 64, "patch_size": 16,
    }  # fmt: skip
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    return {
        "config": sizes, "input_px": [64, 64], "grid": [4, 4], "channels": width, "mean": mean, "std": std
    }  # fmt: skip


def full_recipe() -> BaseRecipe:
    recipe = load_training_config("full").base.recipe()
    return replace(recipe, model=replace(recipe.model, backbone=vit_b()))


def people(count: int, crop_px: int, body: BodyModel) -> Observations:
    """Made people with pictures of noise."""
    sampler = ObservationSampler(body, PoseSampler(list(motion_clips()), PoseMix()))
    made = sampler.sample(count, torch.Generator().manual_seed(0))
    crops = torch.rand(count, 3, crop_px, crop_px, generator=torch.Generator().manual_seed(1)) * 255
    return replace(made, crops=crops, has_image=torch.ones(count, dtype=torch.bool))


def model_of(config: BaseModelConfig, batch: Observations) -> BaseModel:
    torch.manual_seed(0)
    model = BaseModel(config)
    base.learnable(model)
    packed = base.true_packed(batch)
    model.mean.copy_(packed.mean(0))
    model.residual_std.copy_(packed.std(0, correction=0).clamp_min(0.05))
    return model


def step_of(recipe: BaseRecipe, model: BaseModel, body: BodyModel) -> base.BaseStep:
    kept = base.DropRates(0.0, 0.0, 0.0)
    return base.BaseStep(model, body, 0, recipe.losses, kept, precision=recipe.precision)


def weights_of_parts(recipe: BaseRecipe) -> dict[str, float]:
    """Millions."""
    with torch.device("meta"):
        model = BaseModel(recipe.model)
    image = model.encoder.image
    assert isinstance(image, PatchTokens)

    def millions(module: torch.nn.Module) -> float:
        return sum(parameter.numel() for parameter in module.parameters()) / 1e6

    parts = {
        "vision_model": millions(image.backbone),
        "image_heads": millions(image) - millions(image.backbone),
        "token_encoder": millions(model.encoder) - millions(image),
        "regressor": millions(model.regressor),
        "denoiser": millions(model.denoiser),
        "all": millions(model),
    }
    return {name: round(value, 2) for name, value in parts.items()}


class Step:
    """Training steps of the whole model, one after another, each measured alone."""

    def __init__(self, recipe: BaseRecipe, count: int) -> None:
        self.recipe, self.body = recipe, BodyModel.load()
        self.batch = people(count, self.recipe.model.crop_px, self.body)
        self.model = model_of(self.recipe.model, self.batch)

    def measured(self, precision: base.Precision, *, recompute: bool = False) -> dict[str, Any]:
        """Forward, backward and AdamW once; and forward for one person less, to tell what a person costs."""
        step = step_of(replace(self.recipe, precision=precision), self.model, self.body)
        self.model.recompute(recompute)
        image = self.model.encoder.image
        assert image is not None
        trainer = Trainer(self.model, self.model.parameters(), self.recipe.loop, image.pretrained())
        gc.collect()
        _forget_peak()
        started = time.perf_counter()
        with FlopCounterMode(display=False) as counter:
            loss, parts, kept = self._forward(step, len(self.batch))
            trainer.update(loss)
        seconds = time.perf_counter() - started
        peak = _peak_gib()
        assert torch.isfinite(loss) and all(np.isfinite(list(parts.values())))
        fewer = self._forward(step, len(self.batch) - 1)[2] if len(self.batch) > 1 else None
        self.model.zero_grad(set_to_none=True)
        return {
            "loss": round(float(loss.detach()), 4),
            "step_s": round(seconds, 2),
            "peak_gib": peak,
            "gflop_per_person": round(counter.get_total_flops() / 1e9 / len(self.batch), 1),
            "kept_mib": round(kept, 1),
            "kept_mib_per_person": None if fewer is None else round(kept - fewer, 1),
        }

    def _forward(self, step: base.BaseStep, count: int) -> tuple[torch.Tensor, dict[str, float], float]:
        """Loss, its parts, and MiB that are kept for gradients; weights in another precision are among them."""
        weights, kept = {p.untyped_storage().data_ptr() for p in self.model.parameters()}, {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor.detach()  # itself, it would hold the graph that holds it

        few = self.batch.take(slice(0, count))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss, parts = step(few, 0)
        return loss, parts, sum(kept.values()) / 2**20


def _forget_peak() -> None:
    """Linux forgets the highest resident memory of this process so far, and gets back what was freed."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def _peak_gib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return round(kib / 2**20, 2)


def vision_forward_gflop() -> float:
    """Of one picture, counted on shapes alone."""
    with torch.device("meta"):
        backbone = VisionBackbone(vit_b())
        with FlopCounterMode(display=False) as counter:
            backbone(torch.zeros(1, 3, backbone.side_px, backbone.side_px))
    return counter.get_total_flops() / 1e9


def by_heart(recipe: BaseRecipe, *, quick: bool) -> dict[str, Any]:
    """Loss on the body before and after, of four people shown again and again; the vision model is a small one."""
    sizes = {"width": 128, "denoiser_width": 128, "feed_forward": 256, "encoder_blocks": 2} if quick else {}
    steps = 120 if quick else 100  # of small and of large layers
    config = replace(recipe.model, backbone=small_vit(64), crop_px=64, **sizes)
    rate = 2e-3 if quick else 3e-4
    loop = replace(recipe.loop, steps=steps, learning_rate=rate, warmup_steps=20, slow_rate=1.0)
    recipe = replace(recipe, precision="fp32", loop=loop)
    body = BodyModel.load()
    batch = people(4, 64, body)
    model = model_of(config, batch)
    trainer, step = Trainer(model, model.parameters(), loop), step_of(recipe, model, body)
    losses, started = [], time.perf_counter()
    for number in range(steps):
        loss, parts = step(batch, number)
        trainer.update(loss)
        losses.append(sum(parts[name] for name in BODY))
    last = float(np.mean(losses[-10:]))
    return {
        "weights_millions": round(sum(p.numel() for p in model.parameters()) / 1e6, 2),
        "steps": steps,
        "seconds": round(time.perf_counter() - started, 1),
        "body_loss_first": round(losses[0], 3),
        "body_loss_last": round(last, 4),
        "times_smaller": round(losses[0] / last, 1),
    }


def on_gpus(
    recipe: BaseRecipe, weights: dict[str, float], steps: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Estimates. Weights, gradients, the optimiser's two moments and the average of the weights are float32."""
    people_of_run = (recipe.loop.steps or 0) * (recipe.batch_size + recipe.sightings)
    forward = vision_forward_gflop()
    told: dict[str, Any] = {}
    for name, step in steps.items():
        if not name.startswith("bf16"):
            continue
        for frozen in (False, True) if name == "bf16" else (False,):
            learned = weights["all"] - (weights["vision_model"] if frozen else 0)
            states_gb = (2 * weights["all"] + 3 * learned) * 4e6 / 1e9
            # Gradients of products cost twice what the products do.
            gflop = step["gflop_per_person"] - (2 * forward if frozen else 0)
            case: dict[str, Any] = {
                "states_gb": round(states_gb, 2), "gflop_per_person": round(gflop, 1)
            }  # fmt: skip
            for gpu, (tflops, memory_gb) in GPUS.items():
                people_per_s = UTILISATION * tflops * 1e3 / gflop
                case[gpu] = {
                    "people_per_s": round(people_per_s),
                    "hours_of_the_preset": round(people_of_run / people_per_s / 3600, 1),
                }
                if not frozen and step["kept_mib_per_person"]:
                    room_bytes = (SPARE * memory_gb - states_gb) * 1e9
                    case[gpu]["people_that_fit"] = int(room_bytes / step["kept_mib_per_person"] / 2**20)
            told[name + (", vision model frozen" if frozen else "")] = case
    assumed = {
        "share_of_peak_reached": UTILISATION,
        "share_of_memory_used": SPARE,
        "peak_tflops_bf16": {gpu: peak for gpu, (peak, _) in GPUS.items()},
        "everyone_has_a_picture": True,
    }
    return {"assumed": assumed, "vision_forward_gflop": round(forward, 1), **told}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ends within 60 s")
    quick = parser.parse_args().quick
    torch.set_num_threads(1 if quick else len(os.sched_getaffinity(0)))
    torchvision_shim.install()
    recipe = full_recipe()
    weights = weights_of_parts(recipe)
    step = Step(recipe, 1 if quick else PEOPLE)
    steps = {"fp32": step.measured("fp32"), "bf16": step.measured("bf16")}
    if not quick:
        steps["bf16, recomputed"] = step.measured("bf16", recompute=True)
    values: dict[str, object] = {
        "weights_millions": weights,
        f"step_of_{len(step.batch)}_here": steps,
        "by_heart": by_heart(recipe, quick=quick),
        "estimated_on_one_gpu": on_gpus(recipe, weights, steps),
        "threads": torch.get_num_threads(),
    }
    finish("full_model", values, quick=quick)


if __name__ == "__main__":
    main()
