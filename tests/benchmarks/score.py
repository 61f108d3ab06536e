"""How well HMR-Scorer judges: ranks within a person, over a set, what selection gains, and what it costs.

The evaluator's figures on the base model's own 20 hypotheses, true boxes and cameras given, over 12 limb joints.
``srcc_group`` is the rank correlation of scores and MPJPE among one person's hypotheses, ``plcc`` the linear one
of the expected error with the true one over all hypotheses of all people, ``selection_gain`` the share of the way from
the zero-noise answer to the best of 20 that selection goes; its interval draws whole clips. ``ways_to_select`` are the
gains of other ways to choose: the best-scored hypothesis, the one nearest to the mean of all, the mode (the densest
place among hypotheses that count by their score), and mean bodies of the N best in which the zero-noise answer has a
weight. ``coverage90`` is the share of selected answers whose MPJPE lies in the interval that the scorer told,
``worst_tenth`` the median error of the tenth of whom it expects most over the median of all. ``pair_precision`` is the
share of mined pairs whose winner is truly better; ``mining`` (of ``wild``) is the same for other rules: of each, the
precision, by how many mm winners are better, pairs, and people who gave any; with the truth as winner that is how
wrong the worst-scored are. ``cleaning_auroc`` is the chance that a wrong label seems worse than a right one, where 30 %
of the labels of ``wild`` are wrong in five ways (``corruptions.py``); ``vetoed_truths`` are the shares of true bodies
that each veto hits. ``cost_ratio`` is the time of scoring 20
hypotheses over that of making them, medians of turns taken.
"""

import time
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from baseline import evaluated, opened
from corruptions import KINDS, corrupted
from predict import frames
from record import finish

from alignhmr.core.body.model import BodyModel
from alignhmr.core.diffusion.condition import person_square
from alignhmr.core.diffusion.parameters import BodyParameters
from alignhmr.core.geometry.cameras import intrinsics_for
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.metrics.bootstrap import mean_interval
from alignhmr.core.metrics.ranking import auroc, pearson, within_groups
from alignhmr.core.perception.images import decode
from alignhmr.core.records import Intrinsics, Recovery, drawn
from alignhmr.core.recovery import Recoverer, RecoveryRequest
from alignhmr.core.scoring.cleaning import CleaningRule, clean
from alignhmr.core.scoring.preference import Abstention, MiningRule, mine_pairs
from alignhmr.core.scoring.selection import mean_of_best
from alignhmr.core.scoring.vetoes import vetoes
from alignhmr.core.truth.frames import project_px
from alignhmr.core.truth.records import Sample
from alignhmr.core.truth.systems import Alignhmr
from alignhmr.deployments.cleaning.rating import rated
from alignhmr.training.calibration import request_of
from alignhmr.training.sightings import Sighting, reason_left_out, sighting_of

BENCHMARKS = ("wild", "crowd", "studio", "pose2sim4")
HYPOTHESES, SEED = 20, 0
PICTURES, PICTURES_QUICK = 200, 6
MODE_M = 0.05
"""Width of the kernel by which the mode is found, a mean over joints."""
_LIMBS = slice(5, 17)
_HIPS = [6, 7]


@dataclass
class Rated:
    """Everything that the figures need, of the answers that it is told of."""

    recoverer: Recoverer
    errors_mm: list[np.ndarray] = field(default_factory=list)
    scores: list[np.ndarray] = field(default_factory=list)
    expected_mm: list[np.ndarray] = field(default_factory=list)
    intervals_mm: list[np.ndarray | None] = field(default_factory=list)
    selected: list[int] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)
    others_mm: dict[str, list[float]] = field(default_factory=dict)
    """Errors of answers that were selected in another way."""
    joints_m: list[np.ndarray] = field(default_factory=list)
    vetoed: list[dict[str, np.ndarray]] = field(default_factory=list)

    def __call__(self, recovery: Recovery, sample: Sample, index: int) -> None:
        if reason_left_out(sample.people[index]) is None:
            self.sightings.append(sighting_of(sample, index, recovery.person))
        truth = sample.people[index].points["coco23"]
        if truth.cam_m is None or not np.isfinite(truth.cam_m[_LIMBS]).all():
            return
        hyps = recovery.hypotheses
        true = truth.cam_m
        self.errors_mm.append(_mpjpe_mm(hyps.keypoints_cam_m, true))
        for name, keypoints in selected_otherwise(recovery, self.recoverer.body).items():
            self.others_mm.setdefault(name, []).append(float(_mpjpe_mm(keypoints, true)))
        self.joints_m.append(hyps.joints_cam_m - hyps.joints_cam_m[:, :1])
        self.vetoed.append(self.recoverer.vetoes(recovery))
        self.scores.append(hyps.scores)
        self.expected_mm.append(hyps.expected_error_mm)
        self.intervals_mm.append(recovery.error_interval_mm)
        self.selected.append(recovery.selected)
        self.groups.append(sample.group)


def _mpjpe_mm(keypoints_m: np.ndarray, true_m: np.ndarray) -> np.ndarray:
    """Over the limbs, about the hips; over any leading axes."""
    answer, true = keypoints_m[..., _LIMBS, :], true_m[_LIMBS]
    off = answer - answer[..., _HIPS, :].mean(-2, keepdims=True) - (true - true[_HIPS].mean(0))
    return 1000 * np.linalg.norm(off, axis=-1).mean(-1)


def selected_otherwise(recovery: Recovery, body: BodyModel) -> dict[str, np.ndarray]:
    """Keypoints of what other ways would have answered, of the hypotheses that were drawn."""
    hyps, drawn = recovery.hypotheses, len(recovery.hypotheses.scores) - 1
    joints = hyps.joints_cam_m[:drawn] - hyps.joints_cam_m[:drawn, :1]
    apart = np.linalg.norm(joints[:, None] - joints[None], axis=-1).mean(-1)
    weight = np.exp(hyps.scores[:drawn] - hyps.scores[:drawn].max())
    chosen = {
        "best scored": int(hyps.scores[:drawn].argmax()),
        "nearest to the mean": int(np.linalg.norm(joints - joints.mean(0), axis=-1).mean(-1).argmin()),
        "mode": int((np.exp(-((apart / MODE_M) ** 2) / 2) @ weight).argmax()),
    }
    answers = {name: hyps.keypoints_cam_m[index] for name, index in chosen.items()}
    rotations = axis_angle_to_matrix(torch.from_numpy(hyps.pose_aa[:drawn]))[None]
    parameters = BodyParameters(
        rotations, torch.from_numpy(hyps.betas[:drawn])[None], torch.zeros(1, drawn, 3)
    )
    for best in (1, 3, 5, 10):
        for zero_noise in (0.0, 0.3, 0.5, 0.7):
            mean = mean_of_best(torch.from_numpy(hyps.scores[:drawn])[None], parameters, best, zero_noise)
            points = body.kinematics(mean.rotations, mean.betas).keypoints[0, 0]
            answers[f"mean of {best} best, zero-noise {zero_noise:g}"] = points.numpy()
    return answers


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
        "ways_to_select": {
            name: gain(errors[:, 0], np.array(each), errors.min(1), rated.groups)["value"]
            for name, each in rated.others_mm.items()
        },
    }  # fmt: skip
    if all(interval is not None for interval in rated.intervals_mm):
        ends = np.stack([interval for interval in rated.intervals_mm if interval is not None])
        values["coverage90"] = round(float(((chosen >= ends[:, 0]) & (chosen <= ends[:, 1])).mean()), 4)
    among = drawn(HYPOTHESES)
    values["vetoed_draws"] = {
        name: round(float(np.mean([vetoed[name][among] for vetoed in rated.vetoed])), 4)
        for name in rated.vetoed[0]
    }
    return values | mined(rated, MiningRule())


def mined(
    rated: Rated, rule: MiningRule, hyps: int = HYPOTHESES, without: str | None = None, everyone: bool = False
) -> dict[str, object]:
    """Precision of pairs of draws, by how much winners are better, and how many people gave any.

    ``without`` is a veto; with ``everyone`` the zero-noise answer and the mean of the best take part."""
    better: list[float] = []
    people = 0
    for index, error in enumerate(rated.errors_mm):
        pairs = mine_pairs(
            rated.scores[index][:hyps], rated.expected_mm[index][:hyps], rule,
            vetoed={reason: hit[:hyps] for reason, hit in rated.vetoed[index].items() if reason != without},
            joints_m=rated.joints_m[index][:hyps], among=None if everyone else drawn(HYPOTHESES)[:hyps],
        )  # fmt: skip
        if isinstance(pairs, Abstention):
            continue
        people += 1
        better += [float(error[pair.loser] - error[pair.winner]) for pair in pairs]
    found = np.array(better or [np.nan])
    return {
        "pair_precision": round(float((found > 0).mean()), 4), "pair_gain_mm": round(float(found.mean()), 2),
        "pairs": len(better), "people_with_pairs": people,
    }  # fmt: skip


def mining(rated: Rated) -> dict[str, object]:
    """Other rules, each in one thing."""
    usual = MiningRule()
    rules = {f"margin {margin:g}": replace(usual, margin=margin) for margin in (0.0, 0.1, 0.2, 0.3, 0.4, 0.6)}
    rules |= {f"top {top}": replace(usual, top=top) for top in (1, 3, 5, 10)}
    rules |= {f"{pairs} pairs": replace(usual, pairs=pairs) for pairs in (1, 3, 5)}
    rules["any diversity"] = replace(usual, apart_mm=0.0)
    found = {name: mined(rated, rule) for name, rule in rules.items()}
    found |= {f"of {hyps} hypotheses": mined(rated, usual, hyps) for hyps in (4, 8, 16)}
    found |= {f"without the veto of {name}": mined(rated, usual, without=name) for name in rated.vetoed[0]}
    found["means take part"] = mined(rated, usual, everyone=True)
    worst = [float(error[score.argmin()]) for error, score in zip(rated.errors_mm, rated.scores, strict=True)]
    found["truth as winner"] = {"pair_precision": 1.0, "pair_gain_mm": round(float(np.mean(worst)), 2)}
    return {"mining": found}


def vetoed_truths(recoverer: Recoverer, sightings: list[Sighting]) -> dict[str, object]:
    """Share of true bodies that each veto hits beside the detector's keypoints."""
    hit: dict[str, list[bool]] = {}
    for sighting in sightings:
        keypoints_px = project_px(
            sighting.coco23_cam_m, Intrinsics(sighting.focal_px, sighting.center_px, "given")
        )
        square = person_square(torch.from_numpy(sighting.box_px)[None])[0].numpy()
        found = vetoes(
            sighting.pose_aa[None], sighting.smpl24_cam_m[None], recoverer.radii_m, keypoints_px[None],
            sighting.keypoints_px, square,
        )  # fmt: skip
        for name, value in found.items():
            hit.setdefault(name, []).append(bool(value[0]))
    return {"vetoed_truths": {name: round(float(np.mean(value)), 4) for name, value in hit.items()}}


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
        rated_people = Rated(recoverer)
        system = Alignhmr(recoverer, hypotheses=HYPOTHESES, seed=SEED, watch=rated_people)
        list(evaluated(benchmark, PICTURES_QUICK if quick else PICTURES, [system]))
        values[benchmark] = figures(rated_people)
        print(benchmark, values[benchmark], flush=True)
        if benchmark == "wild":
            values |= mining(rated_people) | cleaning(recoverer, rated_people.sightings)
            values |= vetoed_truths(recoverer, rated_people.sightings)
    values |= cost(recoverer, 3 if quick else 20)
    values |= {"models": recoverer.models, "joints": "limbs12", "boxes": "given", "intrinsics": "given"}
    finish("score", values, quick=quick)


if __name__ == "__main__":
    main()
