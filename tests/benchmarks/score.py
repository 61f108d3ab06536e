"""How well HMR-Scorer judges: ranks within a person, over a set, what selection gains, and what it costs.

The evaluator's figures on the base model's own 20 hypotheses, true boxes and cameras given, over 12 limb joints.
``srcc_group`` is the rank correlation of scores and MPJPE among one person's hypotheses, ``plcc`` the linear one
of the expected error with the true one over all hypotheses of all people, ``selection_gain`` the share of the way from
the zero-noise answer to the best of 20 that selection goes; its interval draws whole clips. ``coverage90`` is the share
of selected answers whose MPJPE lies in the interval that the scorer told, ``worst_tenth`` the median error of the tenth
of whom it expects most over the median of all. ``pair_precision`` is the share of mined pairs whose winner is truly
better. ``cleaning_auroc`` is the chance that a wrong label seems worse than a right one, where 30 % of the labels of
``wild`` are wrong in five ways (``corruptions.py``). ``cost_ratio`` is the time of scoring 20 hypotheses over that of
making them, medians of turns taken.
"""

import time
from dataclasses import dataclass, field

import numpy as np
from baseline import evaluated, opened
from corruptions import KINDS, corrupted
from predict import frames
from record import finish

from alignhmr.core.geometry.cameras import intrinsics_for
from alignhmr.core.metrics.bootstrap import mean_interval
from alignhmr.core.metrics.ranking import auroc, pearson, within_groups
from alignhmr.core.perception.images import decode
from alignhmr.core.records import Recovery
from alignhmr.core.recovery import Recoverer, RecoveryRequest
from alignhmr.core.scoring.cleaning import CleaningRule, clean
from alignhmr.core.scoring.preference import Abstention, MiningRule, mine_pairs
from alignhmr.core.truth.records import Sample
from alignhmr.core.truth.systems import Alignhmr
from alignhmr.deployments.cleaning.rating import rated
from alignhmr.training.calibration import request_of
from alignhmr.training.sightings import Sighting, reason_left_out, sighting_of

BENCHMARKS = ("wild", "crowd", "studio", "pose2sim4")
HYPOTHESES, SEED = 20, 0
PICTURES, PICTURES_QUICK = 200, 6
_LIMBS = slice(5, 17)
_HIPS = [6, 7]


@dataclass
class Rated:
    """Everything that the figures need, of the answers that it is told of."""

    errors_mm: list[np.ndarray] = field(default_factory=list)
    scores: list[np.ndarray] = field(default_factory=list)
    expected_mm: list[np.ndarray] = field(default_factory=list)
    intervals_mm: list[np.ndarray | None] = field(default_factory=list)
    selected: list[int] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)

    def __call__(self, recovery: Recovery, sample: Sample, index: int) -> None:
        if reason_left_out(sample.people[index]) is None:
            self.sightings.append(sighting_of(sample, index, recovery.person))
        truth = sample.people[index].points["coco23"]
        if truth.cam_m is None or not np.isfinite(truth.cam_m[_LIMBS]).all():
            return
        hyps = recovery.hypotheses
        answer, true = hyps.keypoints_cam_m[:, _LIMBS], truth.cam_m[_LIMBS]
        off = answer - answer[:, _HIPS].mean(1, keepdims=True) - (true - true[_HIPS].mean(0))
        self.errors_mm.append(1000 * np.linalg.norm(off, axis=-1).mean(-1))
        self.scores.append(hyps.scores)
        self.expected_mm.append(hyps.expected_error_mm)
        self.intervals_mm.append(recovery.error_interval_mm)
        self.selected.append(recovery.selected)
        self.groups.append(sample.group)


def gain(zero: np.ndarray, chosen: np.ndarray, best: np.ndarray, groups: list[str]) -> dict[str, object]:
    """Selection gain, and a 95 % interval by drawing clips."""
    generator, names = np.random.default_rng(0), sorted(set(groups))
    members = {name: np.array([i for i, group in enumerate(groups) if group == name]) for name in names}

    def of(index: np.ndarray) -> float:
        room = float((zero[index] - best[index]).mean())
        return float((zero[index] - chosen[index]).mean()) / room if room > 0 else 0.0

    draws = [
        of(np.concatenate([members[names[i]] for i in generator.integers(len(names), size=len(names))]))
        for _ in range(1000)
    ]
    ends = None if len(names) < 8 else [round(float(end), 3) for end in np.quantile(draws, [0.025, 0.975])]
    return {"value": round(of(np.arange(len(zero))), 4), "ci95": ends, "clips": len(names)}


def figures(rated: Rated) -> dict[str, object]:
    errors, scores, expected = (np.stack(part) for part in (rated.errors_mm, rated.scores, rated.expected_mm))
    rows, selected = np.arange(len(errors)), np.array(rated.selected)
    chosen = errors[rows, selected]
    told = expected[rows, selected]
    worst = told >= np.quantile(told, 0.9)
    values: dict[str, object] = {
        "srcc_group": round(within_groups(scores, errors)["srcc"], 4),
        "plcc": round(pearson(expected.ravel(), errors.ravel()), 4),
        "plcc_selected": round(pearson(told, chosen), 4),
        "selection_gain": gain(errors[:, 0], chosen, errors.min(1), rated.groups),
        "mpjpe_mm": {
            "zero_noise": round(float(errors[:, 0].mean()), 2), "mean": round(float(errors.mean()), 2),
            "selected": round(float(chosen.mean()), 2), "best_of_20": round(float(errors.min(1).mean()), 2),
        },
        "selected_less_zero_noise_mm": mean_interval(chosen - errors[:, 0], rated.groups).to_dict(),
        "worst_tenth": round(float(np.median(chosen[worst]) / np.median(chosen)), 2),
        "people": len(errors),
    }  # fmt: skip
    if all(interval is not None for interval in rated.intervals_mm):
        ends = np.stack([interval for interval in rated.intervals_mm if interval is not None])
        values["coverage90"] = round(float(((chosen >= ends[:, 0]) & (chosen <= ends[:, 1])).mean()), 4)
    return values | mined(errors, scores, expected, MiningRule())


def mined(
    errors: np.ndarray, scores: np.ndarray, expected: np.ndarray, rule: MiningRule
) -> dict[str, object]:
    """Precision of pairs, by how much winners are better, and how many people gave any."""
    better: list[float] = []
    people = 0
    for error, score, told in zip(errors, scores, expected, strict=True):
        pairs = mine_pairs(score, told, rule)
        if isinstance(pairs, Abstention):
            continue
        people += 1
        better += [float(error[pair.loser] - error[pair.winner]) for pair in pairs]
    found = np.array(better or [np.nan])
    return {
        "pair_precision": round(float((found > 0).mean()), 4), "pair_gain_mm": round(float(found.mean()), 2),
        "pairs": len(better), "people_with_pairs": people,
    }  # fmt: skip


def cleaning(recoverer: Recoverer, sightings: list[Sighting]) -> dict[str, object]:
    """AUROC of what is judged of labels, over all and for each way to be wrong, and what a precision of 0.9 keeps."""
    labels, kinds = corrupted(sightings, recoverer.body)
    found = [
        rated(recoverer, label, request_of(label, SEED + index, HYPOTHESES))
        for index, label in enumerate(labels)
    ]
    judged = np.array([label.judged_mm for label in found])
    wrong = np.array([bool(kind) for kind in kinds])
    by_kind = {
        kind: round(auroc(judged[mine], wrong[mine]), 4)
        for kind in KINDS
        if (mine := np.array([other in ("", kind) for other in kinds])).any()
    }
    values: dict[str, object] = {
        "cleaning_auroc": round(auroc(judged, wrong), 4),
        "cleaning_auroc_by_kind": by_kind,
    }
    if recoverer.error_confidence is not None:
        rule = CleaningRule()
        kept = np.array(
            [d == "keep" for d in clean(judged, None, recoverer.error_confidence, rule).decisions]
        )
        values["cleaning_kept"] = {
            "share": round(float(kept.mean()), 4), "asked_precision": rule.precision,
            "uncorrupted": round(float((~wrong[kept]).mean()), 4) if kept.any() else None,
        }  # fmt: skip
    return values


def cost(recoverer: Recoverer, rounds: int) -> dict[str, float]:
    """Medians in ms of making and of scoring 20 hypotheses of people on real frames."""
    making, scoring = [], []
    for photo in frames(12):
        picture = decode(photo)
        for person in recoverer.find(picture)[:1]:
            camera = intrinsics_for(*picture.size, exif_focal_px=picture.exif_focal_px)
            request = RecoveryRequest(person, camera, SEED, HYPOTHESES)
            for _ in range(rounds):
                a, b = timed(recoverer, request)
                making.append(a)
                scoring.append(b)
    made, scored = float(np.median(making)), float(np.median(scoring))
    return {"make_ms": round(made, 2), "score_ms": round(scored, 2), "cost_ratio": round(scored / made, 3)}


def timed(recoverer: Recoverer, request: RecoveryRequest) -> tuple[float, float]:
    began = time.perf_counter()
    sight, bodies = recoverer.hypothesise(request)
    made = time.perf_counter()
    recoverer.rate(request.person, sight, bodies, bodies)
    return 1000 * (made - began), 1000 * (time.perf_counter() - made)


def main() -> None:
    quick, recoverer = opened(__doc__)
    values: dict[str, object] = {}
    for benchmark in BENCHMARKS:
        rated_people = Rated()
        system = Alignhmr(recoverer, hypotheses=HYPOTHESES, seed=SEED, watch=rated_people)
        list(evaluated(benchmark, PICTURES_QUICK if quick else PICTURES, [system]))
        values[benchmark] = figures(rated_people)
        print(benchmark, values[benchmark], flush=True)
        if benchmark == "wild":
            values |= cleaning(recoverer, rated_people.sightings)
    values |= cost(recoverer, 3 if quick else 20)
    values |= {"models": recoverer.models, "joints": "limbs12", "boxes": "given", "intrinsics": "given"}
    finish("score", values, quick=quick)


if __name__ == "__main__":
    main()
