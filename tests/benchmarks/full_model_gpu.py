"""Training steps of the preset `full` on a CUDA GPU: time, memory and the share of its peak that they reach.

`full_model.py` estimates these from counted operations; here they are measured, on people with pictures of noise and
a ViTPose-B of random weights, which cost what trained ones do. Without a GPU it says so and measures nothing.
"""

import argparse
import gc
import time
from dataclasses import replace
from typing import Any

import torch
from full_model import full_recipe, model_of, people, step_of
from record import finish

from alignhmr.core.body.model import BodyModel
from alignhmr.core.synthetic.observations import Observations
from alignhmr.deployments import torchvision_shim
from alignhmr.training import base
from alignhmr.training.loop import Trainer
from alignhmr.training.recipe import BaseRecipe

PEOPLE = 128
"""Of a step; 32 in a quick run."""
WARM, TIMED = 3, 10


def measured(
    recipe: BaseRecipe, batch: Observations, precision: base.Precision, *, recompute: bool
) -> dict[str, Any]:
    """Means over TIMED steps after WARM ones; memory is the most that was held at once."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    model = model_of(recipe.model, batch).cuda()
    model.recompute(recompute)
    step = step_of(replace(recipe, precision=precision), model, BodyModel.load().to("cuda"))
    image = model.encoder.image
    assert image is not None
    trainer = Trainer(model, model.parameters(), recipe.loop, image.pretrained())
    there = batch.to("cuda")
    started, loss = 0.0, torch.zeros(())
    for number in range(WARM + TIMED):
        if number == WARM:
            torch.cuda.synchronize()
            started = time.perf_counter()
        loss, _ = step(there, number)
        trainer.update(loss)
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - started) / TIMED
    assert torch.isfinite(loss)
    return {
        "step_ms": round(1000 * seconds, 1),
        "people_per_s": round(len(batch) / seconds),
        "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ends within 60 s")
    quick = parser.parse_args().quick
    if not torch.cuda.is_available():
        finish("full_model_gpu", {"gpu": None, "why": "there is no CUDA GPU here"}, quick=True)
        return
    torchvision_shim.install()
    recipe, body = full_recipe(), BodyModel.load()
    batch = people(32 if quick else PEOPLE, recipe.model.crop_px, body)
    told = {
        "fp32": measured(recipe, batch, "fp32", recompute=False),
        "bf16": measured(recipe, batch, "bf16", recompute=False),
        "bf16, recomputed": measured(recipe, batch, "bf16", recompute=True),
    }
    values = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, f"step_of_{len(batch)}": told}
    finish("full_model_gpu", values, quick=quick)


if __name__ == "__main__":
    main()
