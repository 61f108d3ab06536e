"""How good the answers are: alignhmr and the detector's own 3D keypoints on made people and on calibrated videos.

Errors over the 12 limb joints that both systems answer, with true boxes and true cameras given. The detector has
one answer a person, so that its four figures are equal: it has neither noise nor anything to select. ``verdict``
compares alignhmr's selected answer with it, paired over clips; null where there are too few clips to tell.
People whom a system missed are in ``missed`` and in no error. The truth of ``pose2sim4`` is triangulated from
keypoints of the same family as the detector's: see ``core/truth/pose2sim4.py``.
"""

import argparse
import time
from collections.abc import Iterator

import numpy as np
import torch
from record import finish

from alignhmr.core.perception.detector import Detector, load_detector
from alignhmr.core.records import Person, Picture
from alignhmr.core.recovery import Recoverer
from alignhmr.core.truth.benchmarks import open_benchmark
from alignhmr.core.truth.comparison import compare
from alignhmr.core.truth.evaluate import Evaluation
from alignhmr.core.truth.results import FOUR, Result, result_of
from alignhmr.core.truth.systems import Alignhmr, Detector3D

BENCHMARKS = ("studio", "wild", "crowd", "pose2sim4")
HYPOTHESES = 20
PICTURES, PICTURES_QUICK = 200, 6
SEED = 0


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ends within 60 s")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    detector = Once(load_detector("blazepose", "cpu"))
    recoverer = Recoverer.load(detector=detector, device="cpu")
    systems = [
        Alignhmr(recoverer, version="", hypotheses=HYPOTHESES, seed=SEED),
        Detector3D(detector, version=""),
    ]
    values: dict[str, object] = {}
    for benchmark in BENCHMARKS:
        started = time.perf_counter()
        ours, theirs = evaluated(benchmark, PICTURES_QUICK if quick else PICTURES, systems)
        values[benchmark] = {
            "detector3d": figures(theirs),
            "alignhmr": figures(ours),
            "verdict": verdict(ours, theirs),
            "people": ours.answers["people"],
            "not_judged": sum(ours.answers["not_judged"].values()),
            "pictures": ours.data["samples"],
            "clips": ours.figures["mpjpe_mm"]["selected"]["groups"],
            "data_digest": ours.data["digest"][:16],
            "seconds": round(time.perf_counter() - started, 1),
        }
        print(benchmark, values[benchmark], flush=True)
    values |= {"models": recoverer.models, "joints": "limbs12", "boxes": "given", "intrinsics": "given"}
    finish("baseline", values, quick=quick)


if __name__ == "__main__":
    main()
