"""What a step of preference optimisation costs with the reference's errors known, over one that works them out.

Tiny label rows stand for real ones: as many pairs of bodies about made people as a batch holds, drawn by the shipped
base. Steps with and without the cache take turns in one process on one thread, each of them whole: batch, loss,
gradient, update. ``loss_apart`` is the largest difference of the two loss curves.
"""

import statistics
import time
from itertools import islice

import numpy as np
import torch
from baseline import opened
from record import finish

from alignhmr.core.diffusion.model import BaseModel, hypothesis_noise
from alignhmr.core.diffusion.parameters import SIZE
from alignhmr.core.recovery import Recoverer
from alignhmr.training.data import Labels, People, Preferred
from alignhmr.training.fit import held_out_people
from alignhmr.training.loop import LoopConfig, Trainer
from alignhmr.training.preference import Objective, PreferenceConfig, PreferenceObjective
from alignhmr.training.preference_batches import preference_batches
from alignhmr.training.reference_cache import ReferenceCache

PEOPLE, BATCH, GROUP = 128, 128, 8


@torch.no_grad()
def labels_of(recoverer: Recoverer, bodies: int) -> tuple[Labels, torch.Tensor]:
    """Made people with the base's own answers, in any order: what is learned doesn't matter here."""
    seen = held_out_people(recoverer.body, PEOPLE)
    condition = seen.condition()
    noise = torch.stack(
        [hypothesis_noise(bodies, torch.Generator().manual_seed(index)) for index in range(PEOPLE)]
    )
    packed = recoverer.base.sample(condition, noise)
    advantage = torch.linspace(1, -1, bodies).expand(PEOPLE, bodies)
    views = np.empty(PEOPLE, object)
    people = People(
        np.array([f"{index:064d}" for index in range(PEOPLE)]), seen.keypoints_px, seen.detector_3d_m,
        torch.ones(PEOPLE), seen.crop_px, seen.focal_px, seen.center_px, views,
    )  # fmt: skip
    assert packed.shape == (PEOPLE, bodies, SIZE)
    return Labels(people, Preferred(np.arange(PEOPLE), packed, advantage), {}), noise


def curves(base: BaseModel, labels: Labels, objective: Objective, steps: int) -> dict[str, list[float]]:
    """Milliseconds and losses of steps with the errors known, and of steps without."""
    evidence = labels.people.encoded(base)
    runs = {}
    for name in ("plain", "cached"):
        # A copy each: the objective frees the denoiser of the model that it is given.
        policy = BaseModel(base.config)
        policy.load_state_dict(base.state_dict())
        learning = PreferenceObjective(policy, PreferenceConfig(objective=objective))
        loop = LoopConfig(steps=None, learning_rate=2e-5, warmup_steps=0, ema_decay=0.0)
        known = None
        if name == "cached":
            known = ReferenceCache(None, learning, "base", labels.preferred.bodies.shape[1])
            warm = preference_batches(labels, evidence, BATCH, 0, draws=4, known=known)
            list(islice(warm, steps))
        batches = preference_batches(labels, evidence, BATCH, 0, draws=4, known=known)
        runs[name] = (learning, Trainer(policy, policy.trainable_in_alignment(), loop), batches)
    told: dict[str, list[float]] = {f"{name}_{what}": [] for name in runs for what in ("ms", "loss")}
    for _ in range(steps):
        for name, (learning, trainer, batches) in runs.items():
            began = time.perf_counter()
            loss, _ = learning(next(batches))
            trainer.update(loss)
            told[f"{name}_ms"].append(1000 * (time.perf_counter() - began))
            told[f"{name}_loss"].append(loss.item())
    return told


def main() -> None:
    quick, recoverer = opened(__doc__)
    torch.set_num_threads(1)
    values: dict[str, object] = {}
    for objective, bodies in (("dpo", 2), ("group", GROUP), ("sft", 2)):
        labels, _ = labels_of(recoverer, bodies)
        told = curves(recoverer.base, labels, objective, 5 if quick else 40)  # pyright: ignore[reportArgumentType]
        plain, cached = (statistics.median(told[f"{name}_ms"]) for name in ("plain", "cached"))
        apart = max(abs(a - b) for a, b in zip(told["plain_loss"], told["cached_loss"], strict=True))
        values[objective] = {
            "plain_ms": round(plain, 1), "cached_ms": round(cached, 1), "cached_step_ratio": round(cached / plain, 3),
            "loss_apart": float(f"{apart:.2g}"),
        }  # fmt: skip
        print(objective, values[objective], flush=True)
    values["cached_step_ratio"] = values["dpo"]["cached_step_ratio"]  # pyright: ignore[reportIndexIssue]
    finish("preference", values | {"batch": BATCH, "models": recoverer.models}, quick=quick)


if __name__ == "__main__":
    main()
