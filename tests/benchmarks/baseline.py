"""How good the answers are: alignhmr and the detector's own 3D keypoints on made people and on calibrated videos.

Errors over the 12 limb joints that both systems answer, with true boxes and true cameras given. The detector has
one answer a person, so that its four figures are equal: it has neither noise nor anything to select. ``no_image``
and ``no_keypoints`` are the same model with that evidence kept from it. ``regressor`` is its initial estimate alone,
before any diffusion: a plain regressor of the same training. ``first`` are the figures of the first model, which saw
no pixels, as it was measured on the same pictures (``results/baseline_first.json``; null where they are others now).
``verdict`` compares alignhmr's selected answer with the detector's, paired over clips; null where there are too few
clips to tell. ``coverage`` is the share of true joint errors in their 90 % interval.
People whom a system missed are in ``missed`` and in no error. The truth of ``pose2sim4`` is triangulated from
keypoints of the same family as the detector's: see ``core/truth/pose2sim4.py``.
"""

import argparse
import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from record import RESULTS, finish

from alignhmr.core.diffusion.model import BaseModel
from alignhmr.core.perception.detector import Detector, load_detector
from alignhmr.core.records import Person, Picture, Recovery
from alignhmr.core.recovery import Recoverer
from alignhmr.core.scoring.confidence import interval_coverage
from alignhmr.core.truth.benchmarks import open_benchmark
from alignhmr.core.truth.comparison import compare
from alignhmr.core.truth.evaluate import Evaluation
from alignhmr.core.truth.records import Sample
from alignhmr.core.truth.results import FOUR, Result, result_of
from alignhmr.core.truth.systems import Alignhmr, Detector3D

BENCHMARKS = ("studio", "wild", "crowd", "pose2sim4")
HYPOTHESES = 20
PICTURES, PICTURES_QUICK = 200, 6
SEED = 0


class InitialEstimate(BaseModel):
    """A base model whose hypotheses are all its regressor's answer."""

    def sample(self, condition, noise, steps=4):  # type: ignore[override]
        return self.initial_of(self.views(condition))[:, None].expand(-1, noise.shape[1], -1)


def initial_estimate(recoverer: Recoverer) -> Recoverer:
    """The same networks without their denoiser."""
    model = InitialEstimate(recoverer.base.config).eval().requires_grad_(False)
    model.load_state_dict(recoverer.base.state_dict())
    return Recoverer(model, recoverer.scorer, recoverer.body, recoverer.detector)


class Covered:
    """Share of true joint errors that lie in their interval, over the answers that it is told of."""

    def __init__(self) -> None:
        self.told: list[np.ndarray] = []
        self.errors_mm: list[np.ndarray] = []

    def __call__(self, recovery: Recovery, sample: Sample, index: int) -> None:
        truth = sample.people[index].points.get("smpl24")
        if recovery.joint_error_mm is None or truth is None or truth.cam_m is None:
            return
        joints = recovery.hypotheses.joints_cam_m[recovery.selected]
        off = (joints - joints[:1]) - (truth.cam_m - truth.cam_m[:1])
        self.told.append(recovery.joint_error_mm)
        self.errors_mm.append(1000 * np.linalg.norm(off, axis=-1))

    def share(self) -> float | None:
        if not self.told:
            return None
        return round(interval_coverage(np.stack(self.told), np.stack(self.errors_mm)), 4)


class Once:
    """The detector, asked once for both systems: it costs twenty times what follows it."""

    def __init__(self, detector: Detector) -> None:
        self.detector, self.name, self.digest = detector, detector.name, detector.digest
        self._last: tuple[str, bytes] | None = None
        self._people: list[Person] = []

    def find(self, picture: Picture) -> list[Person]:
        return self.detector.find(picture)

    def from_boxes(self, picture: Picture, boxes_px: np.ndarray) -> list[Person]:
        question = picture.sha256, boxes_px.tobytes()
        if question != self._last:
            self._people, self._last = self.detector.from_boxes(picture, boxes_px), question
        return self._people


def first_figures(benchmark: str, digest: str) -> object:
    """What the first model had on the same pictures."""
    kept = json.loads((RESULTS / "baseline_first.json").read_text())[benchmark]
    return kept["alignhmr"] if kept["data_digest"] == digest else None


def evaluated(benchmark: str, count: int, systems: list[Alignhmr | Detector3D]) -> Iterator[Result]:
    """Each system's record, over the same pictures, made or read once."""
    evaluations = [Evaluation(system.info) for system in systems]
    for sample in open_benchmark(benchmark, count=count, seed=SEED):
        for system, evaluation in zip(systems, evaluations, strict=True):
            evaluation.add(sample, system.answer(sample))
    for evaluation in evaluations:
        yield result_of(evaluation, benchmark, asked={"count": count, "seed": SEED}, made_by={})


def figures(result: Result) -> dict[str, object]:
    """The four figures of both errors, and the interval of the selected one."""
    values: dict[str, object] = {}
    for metric in ("pa_mpjpe_mm", "mpjpe_mm"):
        entry = result.figures[metric]
        named = {name.replace("best_of_m", f"best_of_{HYPOTHESES}"): entry[name]["value"] for name in FOUR}
        values[metric] = {name: round(value, 2) for name, value in named.items()}
        ends = (entry["selected"]["low"], entry["selected"]["high"])
        values[f"{metric}_selected_ci95"] = None if ends[0] is None else [round(end, 2) for end in ends]
    values["pck3d_150mm"] = round(result.figures["pck3d_150mm"]["value"], 4)
    values["missed"] = result.answers["missed"]
    return values


def verdict(ours: Result, detector: Result) -> dict[str, object]:
    """alignhmr's selected answer less the detector's, in mm: below zero is better."""
    found = {}
    for difference in compare(ours, detector).differences:
        if difference.figure == "selected" and difference.metric in ("pa_mpjpe_mm", "mpjpe_mm"):
            low, high = difference.interval.low, difference.interval.high
            ends = None if low is None or high is None else [round(low, 2), round(high, 2)]
            real = None if ends is None else difference.interval.excludes_zero
            found[difference.metric] = {
                "difference": round(difference.interval.value, 2),
                "ci95": ends,
                "real": real,
            }
    return found


def opened(about: str | None) -> tuple[bool, Recoverer]:
    """Whether to be quick, and the models that the command line names, on one thread as `alignhmr predict` has them."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="ends within 60 s")
    parser.add_argument("--base", default="starter")
    parser.add_argument("--scorer", default="starter")
    options = parser.parse_args()
    torch.set_num_threads(1)
    detector = Once(load_detector("blazepose", "cpu"))
    recoverer = Recoverer.load(base=options.base, scorer=options.scorer, detector=detector, device="cpu")
    return options.quick, recoverer


def main() -> None:
    quick, recoverer = opened(__doc__)
    detector = recoverer.detector
    values: dict[str, object] = {}
    for benchmark in BENCHMARKS:
        started = time.perf_counter()
        covered = Covered()
        terms: dict[str, Any] = {"hypotheses": HYPOTHESES, "seed": SEED}
        systems: dict[str, Alignhmr | Detector3D] = {
            "alignhmr": Alignhmr(recoverer, watch=covered, **terms),
            "regressor": Alignhmr(initial_estimate(recoverer), hypotheses=1, seed=SEED),
            "detector3d": Detector3D(detector),
        }
        if recoverer.base.sees_pixels:
            systems["no_image"] = Alignhmr(recoverer, without=["image"], **terms)
            systems["no_keypoints"] = Alignhmr(recoverer, without=["keypoints"], **terms)
        count = PICTURES_QUICK if quick else PICTURES
        found = dict(zip(systems, evaluated(benchmark, count, [*systems.values()]), strict=True))
        ours = found["alignhmr"]
        digest = ours.data["digest"][:16]
        values[benchmark] = {
            **{name: figures(result) for name, result in found.items()},
            "first": first_figures(benchmark, digest),
            "verdict": verdict(ours, found["detector3d"]),
            "coverage": covered.share(),
            "people": ours.answers["people"],
            "not_judged": sum(ours.answers["not_judged"].values()),
            "pictures": ours.data["samples"],
            "clips": ours.figures["mpjpe_mm"]["selected"]["groups"],
            "data_digest": digest,
            "seconds": round(time.perf_counter() - started, 1),
        }
        print(benchmark, values[benchmark], flush=True)
    values |= {"models": recoverer.models, "joints": "limbs12", "boxes": "given", "intrinsics": "given"}
    finish("baseline", values, quick=quick)


if __name__ == "__main__":
    main()
