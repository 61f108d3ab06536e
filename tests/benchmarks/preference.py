"""What alignment brings on pictures that nobody labelled, and what a step of it costs.

``--unlabelled``, ``--tune`` and ``--held-out`` are folders of `alignhmr prepare target` (the first two of its train
split under different seeds, the last of its test split), ``--studio`` one of `studio` (test). Base and scorer have seen
none of the domain with its truth. The base labels the unlabelled people, pairs are mined by the scorer, each objective
aligns the base with ``seeds`` seeds, and what ships by held-out reward is judged on the held-out people by their truth:
MPJPE in mm over 12 limb joints, of the zero-noise answer, the selected one and the best of 20; 2D error of the
zero-noise answer in hundredths of the crop. ``..._gain`` are shares of the error before; intervals are of the mean over
seeds, paired over people, and draw whole clips. Learning rate and beta of each objective are chosen on ``--tune`` by
the zero-noise error (``tuned``); there, too, stands what pairs of the same draws bring that the truth ranked, the most
that a scorer could. ``curve`` is the gain by number of unlabelled pictures, and by hypotheses a person.
``objective`` is that of dpo and group which did better on ``--tune``; ``less_than_sft`` is by how many mm it beats sft.
pose2sim4: aligned on three cameras' frames, judged on the fourth, each camera in turn.

Step costs. Tiny label rows stand for real ones: as many pairs of bodies about made people as a batch holds, drawn by
the shipped base. Steps with and without the cache take turns in one process on one thread, each of them whole: batch,
loss, gradient, update. ``loss_apart`` is the largest difference of the two loss curves.
"""

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from adaptation import HYPOTHESES, LIMBS, Answers, Crowd, Subject, aligned
from record import finish

from alignhmr.core.checkpoints import resolve
from alignhmr.core.diffusion.model import BaseModel, hypothesis_noise
from alignhmr.core.diffusion.parameters import SIZE
from alignhmr.core.metrics.bootstrap import mean_interval
from alignhmr.core.perception.detector import load_detector
from alignhmr.core.perception.views import with_views
from alignhmr.core.recovery import Recoverer, RecoveryRequest
from alignhmr.core.truth.benchmarks import open_benchmark
from alignhmr.deployments.training_config import load_training_config
from alignhmr.training.calibration import request_of
from alignhmr.training.data import Labels, People, Preferred
from alignhmr.training.fit import held_out_people
from alignhmr.training.loop import LoopConfig, Trainer
from alignhmr.training.mixture import Mixture
from alignhmr.training.preference import Objective, PreferenceConfig, PreferenceObjective
from alignhmr.training.preference_batches import preference_batches
from alignhmr.training.reference_cache import ReferenceCache
from alignhmr.training.sightings import Sighting

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


def costs(recoverer: Recoverer, quick: bool) -> dict[str, object]:
    found: dict[str, dict[str, float]] = {}
    for objective, bodies in (("dpo", 2), ("group", GROUP), ("sft", 2)):
        labels, _ = labels_of(recoverer, bodies)
        told = curves(recoverer.base, labels, objective, 5 if quick else 40)  # pyright: ignore[reportArgumentType]
        plain, cached = (statistics.median(told[f"{name}_ms"]) for name in ("plain", "cached"))
        apart = max(abs(a - b) for a, b in zip(told["plain_loss"], told["cached_loss"], strict=True))
        found[objective] = {
            "plain_ms": round(plain, 1), "cached_ms": round(cached, 1), "cached_step_ratio": round(cached / plain, 3),
            "loss_apart": float(f"{apart:.2g}"),
        }  # fmt: skip
        print(objective, found[objective], flush=True)
    return {"cached_step_ratio": found["dpo"]["cached_step_ratio"], "steps": found, "batch": BATCH}


OBJECTIVES: tuple[Objective, ...] = ("dpo", "group", "sft")
TRIED = tuple(
    {"learning_rate": rate, "beta": beta} for rate in (2e-5, 1e-4, 3e-4) for beta in (1000.0, 4000.0)
)
CEILING = "dpo, ranked by the truth"
"""What a perfect judge of the same draws would bring; on the tuning part alone."""
SEEDS = (0, 1, 2)
PICTURES, BODIES = (100, 300, 1000), (6, 10, 14)
"""Of the curves, beside all pictures and 20 hypotheses."""
SHOWN = ("zero_noise", "selected", "best_of_20", "error2d", "pa_zero_noise")


class Adaptation:
    """One base, one scorer, the crowds; every alignment is told and judged alike."""

    def __init__(self, recoverer: Recoverer, options: argparse.Namespace) -> None:
        self.recoverer, self.steps, self.options = recoverer, 4 if options.quick else 100, options
        self.paths = {name: resolve(getattr(options, name), name) for name in ("base", "scorer")}  # pyright: ignore[reportArgumentType]

    def crowd(self, folder: str) -> Crowd:
        [source] = (mixture := Mixture([(folder, 1.0)])).sources
        people = mixture.rows(0, min(source.rows, 48) if self.options.quick else source.rows)
        return Crowd([subject_of(one, index) for index, one in enumerate(people)], self.recoverer)

    def aligned(
        self, objective: Objective, crowd: Crowd, answers: Answers, folder: Path, *, seed: int = 0,
        keep: np.ndarray | None = None, hypotheses: int = HYPOTHESES, settings: Mapping[str, float],
        by_truth: bool = False,
    ) -> tuple[BaseModel, dict[str, float]]:  # fmt: skip
        """Under the starter preset with these settings, on those people of the crowd; by the truth, all steps count."""
        preference = load_training_config(
            "starter",
            None,
            {f"preference.{name}": value for name, value in {"steps": self.steps, **settings}.items()},
        ).preference
        scorer = None if by_truth else str(self.paths["scorer"])
        plan = preference.plan(objective, data="", base=str(self.paths["base"]), scorer=scorer, seed=seed)
        keep = np.ones(len(crowd.subjects), bool) if keep is None else keep
        labels = crowd.labels(answers, objective, keep, hypotheses, by_truth=by_truth)
        return aligned(plan, labels, crowd, folder)

    def tuned(self, crowd: Crowd, answers: Answers, tune: Crowd, folder: Path) -> dict[str, dict[str, float]]:
        """Settings of each objective, and its change of the zero-noise error under each that was tried."""
        before = tune.errors(tune.answers(self.recoverer.base))["zero_noise"].mean()
        chosen = {}
        wanted: list[tuple[str, Objective]] = [(name, name) for name in OBJECTIVES]
        for name, objective in [*wanted, (CEILING, "dpo")]:
            found = []
            for settings in TRIED[:1] if self.options.quick else TRIED:
                policy, told = self.aligned(
                    objective, crowd, answers, folder, settings=settings, by_truth=name == CEILING
                )
                after = tune.errors(tune.answers(policy))["zero_noise"].mean()
                found.append({**settings, **told, "change": round(float(after / before - 1), 5)})
                print("tried", name, found[-1], flush=True)
            best = min(found, key=lambda one: one["change"])
            chosen[name] = {name: best[name] for name in (*TRIED[0], "change")} | {"tried": found}
        return chosen


def subject_of(sighting: Sighting, index: int) -> Subject:
    picture = hashlib.sha256(sighting.id.rpartition("#")[0].encode()).hexdigest()
    return Subject(request_of(sighting, index, HYPOTHESES), picture, sighting.group, sighting.coco23_cam_m)


def on_film(recoverer: Recoverer, quick: bool) -> list[tuple[str, Subject]]:
    """The man of pose2sim4, and which camera saw him."""
    subjects = []
    for sample in open_benchmark("pose2sim4", count=24 if quick else None, seed=0):
        [truth] = sample.people
        [person] = recoverer.detector.from_boxes(sample.picture, truth.box_px[None])
        [person] = with_views(sample.picture, [person])
        request = RecoveryRequest(person, sample.intrinsics, 0, HYPOTHESES)
        true = truth.points["coco23"].cam_m
        if true is None or not np.isfinite(true[LIMBS]).all() or (person.keypoints_px[:, 2] > 0.3).sum() < 6:
            continue
        picture = hashlib.sha256(sample.id.encode()).hexdigest()
        subjects.append((str(truth.facts["camera"]), Subject(request, picture, sample.group, true)))
    return subjects


def gains(
    before: dict[str, np.ndarray], after: list[dict[str, np.ndarray]], groups: list[str]
) -> dict[str, object]:
    """Shares of the error before, of the mean over what was aligned with several seeds."""
    found: dict[str, object] = {}
    for name in SHOWN:
        fallen = before[name] - np.mean([one[name] for one in after], 0)
        interval, scale = mean_interval(fallen, groups), float(before[name].mean())
        ends = (
            None
            if interval.low is None or interval.high is None
            else [interval.low / scale, interval.high / scale]
        )
        found[f"{name}_gain"] = {
            "value": round(interval.value / scale, 5), "ci95": ends and [round(end, 5) for end in ends],
            "before": round(scale, 2),
            "seeds": [round(1 - float(one[name].mean()) / scale, 5) for one in after],
        }  # fmt: skip
    return found


def adapted(recoverer: Recoverer, options: argparse.Namespace, folder: Path) -> dict[str, object]:
    quick, adaptation = options.quick, Adaptation(recoverer, options)
    base = recoverer.base
    crowd, tune, held_out, studio = (
        adaptation.crowd(getattr(options, name)) for name in ("unlabelled", "tune", "held_out", "studio")
    )
    answers = crowd.answers(base)
    values: dict[str, object] = {
        "people": {"unlabelled": len(crowd.subjects), "tune": len(tune.subjects), "held_out": len(held_out.subjects)},
        "clips": len(set(held_out.groups)), "seeds": len(SEEDS[: 1 if quick else None]),
    }  # fmt: skip
    settings = adaptation.tuned(crowd, answers, tune, folder)
    values["tuned"] = settings
    before, before_studio = (part.errors(part.answers(base)) for part in (held_out, studio))
    after: dict[str, list[dict[str, np.ndarray]]] = {}
    for objective in OBJECTIVES:
        chosen = {name: settings[objective][name] for name in TRIED[0]}
        runs = [
            adaptation.aligned(objective, crowd, answers, folder, seed=seed, settings=chosen)
            for seed in SEEDS[: 1 if quick else None]
        ]
        after[objective] = [held_out.errors(held_out.answers(policy)) for policy, _ in runs]
        on_studio = [studio.errors(studio.answers(policy)) for policy, _ in runs]
        values[objective] = gains(before, after[objective], held_out.groups) | {
            "studio": gains(before_studio, on_studio, studio.groups)["zero_noise_gain"],
            "told": [told for _, told in runs],
        }
        print(objective, values[objective], flush=True)
    error = {name: np.mean([one["zero_noise"] for one in runs], 0) for name, runs in after.items()}
    best: Objective = min(("dpo", "group"), key=lambda name: settings[name]["change"])
    values |= {
        "objective": best,
        "less_than_sft": mean_interval(error["sft"] - error[best], held_out.groups).to_dict(),
        **{name: values[best][name] for name in ("zero_noise_gain", "selected_gain", "best_of_20_gain")},  # pyright: ignore[reportIndexIssue]
        "studio_change": -values[best]["studio"]["value"],  # pyright: ignore[reportIndexIssue]
    }  # fmt: skip
    chosen = {name: settings[best][name] for name in TRIED[0]}
    values["curve"] = curve(adaptation, best, crowd, answers, held_out, before, folder, chosen)
    values["pose2sim4_gain"] = film(adaptation, best, folder, chosen)
    return values


def curve(
    adaptation: Adaptation, objective: Objective, crowd: Crowd, answers: Answers, held_out: Crowd,
    before: dict[str, np.ndarray], folder: Path, settings: Mapping[str, float],
) -> dict[str, object]:  # fmt: skip
    """Gain by number of pictures, drawn by lot, and by number of hypotheses."""
    found: dict[str, object] = {}
    # In an order of its own: pictures are held out by their digests.
    pictures = np.random.default_rng(0).permutation(np.unique(crowd.people.image_sha256)).tolist()
    asked: dict[str, tuple[int, int]] = {f"{count} pictures": (count, HYPOTHESES) for count in PICTURES}
    asked |= {f"{bodies} hypotheses": (len(pictures), bodies) for bodies in BODIES}
    asked[f"{len(pictures)} pictures, {HYPOTHESES} hypotheses"] = (len(pictures), HYPOTHESES)
    for name, (count, bodies) in list(asked.items())[: 1 if adaptation.options.quick else None]:
        keep = np.isin(crowd.people.image_sha256, pictures[:count])
        policy, told = adaptation.aligned(
            objective, crowd, answers, folder, keep=keep, hypotheses=bodies, settings=settings
        )
        after = held_out.errors(held_out.answers(policy))
        found[name] = {
            f"{kind}_gain": round(1 - float(after[kind].mean() / before[kind].mean()), 5) for kind in SHOWN
        }
        found[name] |= told  # pyright: ignore[reportOperatorIssue]
        print(name, found[name], flush=True)
    return found


def film(
    adaptation: Adaptation, objective: Objective, folder: Path, settings: Mapping[str, float]
) -> dict[str, object]:
    """Each camera judged by what was learned from the others."""
    base, seen = adaptation.recoverer.base, on_film(adaptation.recoverer, adaptation.options.quick)
    before: list[dict[str, np.ndarray]] = []
    after: list[dict[str, np.ndarray]] = []
    groups: list[str] = []
    for camera in sorted({name for name, _ in seen}):
        others, mine = (
            Crowd([subject for name, subject in seen if (name == camera) == own], adaptation.recoverer)
            for own in (False, True)
        )
        policy, told = adaptation.aligned(objective, others, others.answers(base), folder, settings=settings)
        before.append(mine.errors(mine.answers(base)))
        after.append(mine.errors(mine.answers(policy)))
        groups += mine.groups
        print(camera, told, before[-1]["zero_noise"].mean(), after[-1]["zero_noise"].mean(), flush=True)
    together = [
        {name: np.concatenate([one[name] for one in part]) for name in SHOWN} for part in (before, after)
    ]
    return gains(together[0], together[1:], groups)["zero_noise_gain"]  # pyright: ignore[reportReturnType]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="ends within 60 s; without folders, costs alone")
    for name in ("unlabelled", "tune", "held-out", "studio"):
        parser.add_argument(f"--{name}", help="folder of `alignhmr prepare`")
    for name in ("base", "scorer"):
        parser.add_argument(f"--{name}", default="starter")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recoverer = Recoverer.load(
        base=options.base, scorer=options.scorer, detector=load_detector("blazepose", "cpu"), device="cpu"
    )
    values: dict[str, object] = {"models": recoverer.models}
    if options.unlabelled:
        with tempfile.TemporaryDirectory() as folder:
            values |= adapted(recoverer, options, Path(folder))
    values |= costs(recoverer, options.quick)
    finish("preference", values, quick=options.quick)


if __name__ == "__main__":
    main()
