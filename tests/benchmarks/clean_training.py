"""Whether a model learns better from labels that were cleaned: the same small model taught by four sets of labels.

30 % of the labels of ``--train`` (a folder of `alignhmr prepare` whom base and scorer didn't learn from) are made wrong
in five ways (``corruptions.py``). ``everything`` learns from all of them, ``cleaned`` from those that `alignhmr clean`
keeps, ``relabelled`` from these and its replacements, ``random`` from as many as ``cleaned`` drawn at random, ``true``
from all as they were. The model sees keypoints alone, so that nothing but labels teaches it; each set teaches one for
each seed, as many steps. Errors in mm are those of the zero-noise answer on ``--held-out``, over 24 joints;
``..._less_than_...`` are differences over the same people, with 95 % intervals that draw
whole clips. ``auroc`` is the chance that a wrong label is judged worse than a right one.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from corruptions import corrupted
from record import finish, prepared_folders

from alignhmr.core.body.model import BodyModel
from alignhmr.core.checkpoints import load_checkpoint
from alignhmr.core.diffusion.model import BaseModel, BaseModelConfig
from alignhmr.core.diffusion.parameters import SIZE, unpack
from alignhmr.core.metrics.bootstrap import mean_interval
from alignhmr.core.metrics.positions import mpjpe_mm, pa_mpjpe_mm
from alignhmr.core.metrics.ranking import auroc
from alignhmr.deployments.cleaning.command import run_clean
from alignhmr.training.augmentation import AS_IT_IS, observe
from alignhmr.training.fit import fit_base
from alignhmr.training.loop import LoopConfig
from alignhmr.training.mixture import Mixture
from alignhmr.training.recipe import BaseRecipe, Evaluation
from alignhmr.training.sighting_shards import shard_bytes
from alignhmr.training.sightings import Sighting

STEPS, SEEDS, SHARD = 700, (0, 1), 250
ARMS = ("everything", "cleaned", "relabelled", "random", "true")


def written(sightings: Sequence[Sighting], folder: Path) -> str:
    folder.mkdir(parents=True)
    for start in range(0, len(sightings), SHARD):
        part = sightings[start : start + SHARD]
        (folder / f"people-{start:07d}.parquet").write_bytes(shard_bytes(part, {"arm": folder.name}))
    return str(folder)


def everyone(folder: str) -> list[Sighting]:
    [source] = (mixture := Mixture([(folder, 1.0)])).sources
    return mixture.rows(0, source.rows)


def taught(folder: str, steps: int, seed: int, out: Path, body: BodyModel) -> BaseModel:
    recipe = BaseRecipe(
        LoopConfig(steps, learning_rate=1e-3, ema_decay=0.99, warmup_steps=min(50, steps // 4)),
        model=BaseModelConfig(image="none", width=384, denoiser_width=256), batch_size=2, sightings=96,
        evaluation=Evaluation(every=10**6, people=8, hypotheses=2), save_every=10**6,
    )  # fmt: skip
    fit_base(recipe, out, mixture=Mixture([(folder, 1.0)], seed=seed), seed=seed, body=body)
    model, _ = load_checkpoint(out / "base.safetensors", "base", body_digest=body.digest)
    assert isinstance(model, BaseModel)
    return model.eval()


@torch.no_grad()
def errors_mm(
    model: BaseModel, sightings: Sequence[Sighting], body: BodyModel
) -> tuple[np.ndarray, np.ndarray]:
    """MPJPE and PA-MPJPE of each person's zero-noise answer."""
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for start in range(0, len(sightings), 64):
        seen = observe(sightings[start : start + 64], body, 32, torch.Generator(), AS_IT_IS)
        drawn = unpack(model.sample(seen.condition(), torch.zeros(len(seen), 1, SIZE)))
        joints = body.kinematics(drawn.rotations, drawn.betas).joints[:, 0]
        found[0].append(mpjpe_mm(joints, seen.joints_m).numpy())
        found[1].append(pa_mpjpe_mm(joints, seen.joints_m).numpy())
    return np.concatenate(found[0]), np.concatenate(found[1])


def sets_of_labels(train: str, folder: Path, body: BodyModel, values: dict[str, Any]) -> dict[str, str]:
    """Folders to learn from; what was cleaned away is told in ``values``."""
    truth = everyone(train)
    labels, kinds = corrupted(truth, body)
    folders = {"true": written(truth, folder / "true"), "everything": written(labels, folder / "everything")}
    for name, relabel in (("cleaned", False), ("relabelled", True)):
        record = run_clean(folders["everything"], folder / f"{name}-out", relabel=relabel)
        folders[name] = str(folder / f"{name}-out" / "people")
        values[f"{name}_labels"] = record
    manifest = pq.read_table(folder / "cleaned-out" / "manifest.parquet").to_pylist()
    wrong = {label.id: bool(kind) for label, kind in zip(labels, kinds, strict=True)}
    judged = [row for row in manifest if row["decision"] != "not_judged"]
    is_wrong = np.array([wrong[row["id"]] for row in judged])
    kept = np.array([row["decision"] == "keep" for row in judged])
    values |= {
        "auroc": round(auroc(np.array([row["judged_mm"] for row in judged]), is_wrong), 4),
        "wrong": round(float(is_wrong.mean()), 4), "wrong_of_kept": round(float(is_wrong[kept].mean()), 4),
    }  # fmt: skip
    drawn = np.random.default_rng(0).permutation(len(labels))[: int(kept.sum())]
    folders["random"] = written([labels[index] for index in sorted(drawn)], folder / "random")
    return folders


def main() -> None:
    options = prepared_folders(__doc__).parse_args()
    steps, seeds = (4, SEEDS[:1]) if options.quick else (STEPS, SEEDS)
    body, values = BodyModel.load(), dict[str, Any]()
    judges = everyone(options.held_out)
    with tempfile.TemporaryDirectory() as name:
        folders = sets_of_labels(options.train, Path(name), body, values)
        print(values, flush=True)
        found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for arm in ARMS:
            each = [
                errors_mm(
                    taught(folders[arm], steps, seed, Path(name) / f"model-{arm}-{seed}", body), judges, body
                )
                for seed in seeds
            ]
            found[arm] = (np.mean([mpjpe for mpjpe, _ in each], 0), np.mean([pa for _, pa in each], 0))
            values[arm] = {
                "mpjpe_mm": round(float(found[arm][0].mean()), 2),
                "pa_mpjpe_mm": round(float(found[arm][1].mean()), 2),
            }
            print(arm, values[arm], flush=True)
    groups = [sighting.group for sighting in judges]
    for arm in ("cleaned", "relabelled"):
        for other in ("everything", "random"):
            values[f"{arm}_less_than_{other}"] = {
                name: mean_interval(found[other][which] - found[arm][which], groups).to_dict()
                for which, name in enumerate(("mpjpe_mm", "pa_mpjpe_mm"))
            }
    values |= {"steps": steps, "seeds": len(seeds)}
    finish("clean_training", values, quick=options.quick)


if __name__ == "__main__":
    main()
