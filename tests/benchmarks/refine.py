"""What refinement is worth: guided diffusion beside regression and optimisation alone, on the same people.

Errors over 12 limb joints by the evaluator, true boxes and cameras given, of each variant's one answer: ``none`` (the
unguided zero-noise answer), ``regression`` (the initial estimate alone), ``keypoints`` (guided by the detector's),
``denoised_again`` (the same, noised to step 40 and denoised between), ``words`` (by a true caption alone), ``both``,
``others_words`` (both, with the caption of somebody else), ``optimisation`` (the same terms from the mean pose, with
several times the time), ``loose`` (as much freedom from the unguided answer) and ``put_right`` (true keypoints given).
``off_true`` is the distance of projected joints from the true ones, ``off_seen`` from the detector's (by confidence),
in % of the true box's longer side; ``off_seen_median`` is of all joints seen with 0.5 or more.

``error2d_change`` and ``mpjpe_change`` are relative, of ``keypoints`` against ``none`` on ``wild``; ``error2d_change``
is against the truth, ``error2d_seen_change`` against what guidance was shown. True captions are those that the
posecodes of the true joints write, in brief, read back. A person is ambiguous in depth if the true keypoints with their
depths mirrored about the root fall, once placed anew, within 3 % of the box of the true ones (about the detector's own
error on visible joints), and lie 150 mm or more from them in space. ``text_gain_ambiguous_true`` is the relative fall
of MPJPE there, ``both`` against ``keypoints``. ``vs_optimisation_mpjpe`` is ``keypoints`` less ``optimisation`` in mm.
``mining`` compares pairs mined from refined and from unrefined hypotheses. ``cost_ratio_20``: 20 refined hypotheses
over 20 unrefined, a person found before, medians of turns taken; ``photo_ms`` is a whole photo of one person, refined.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from baseline import opened
from predict import frames
from record import finish
from score import Rated, mined
from torch import Tensor

from alignhmr.core.diffusion.condition import Condition, concatenate
from alignhmr.core.diffusion.guidance import precision_of, refine
from alignhmr.core.diffusion.guidance_terms import GuidanceConfig, Guide
from alignhmr.core.diffusion.optimisation import OPTIMISED, optimise
from alignhmr.core.diffusion.parameters import unpack
from alignhmr.core.diffusion.told import Told
from alignhmr.core.errors import InputError
from alignhmr.core.geometry.cameras import fit_translation, intrinsics_for, project
from alignhmr.core.language.agreement import PART_JOINTS
from alignhmr.core.language.posecodes import posecodes, said
from alignhmr.core.language.reading import read
from alignhmr.core.language.writing import brief, whole, write
from alignhmr.core.metrics.bootstrap import paired_difference
from alignhmr.core.perception.images import decode
from alignhmr.core.placement import Bodies, chosen, place
from alignhmr.core.plain_json import plain
from alignhmr.core.recovery import Recoverer, RecoveryRequest
from alignhmr.core.refinement import Prompt, denoised_again
from alignhmr.core.scoring.preference import MiningRule
from alignhmr.core.truth.benchmarks import open_benchmark
from alignhmr.core.truth.evaluate import Evaluation
from alignhmr.core.truth.predictions import SystemInfo
from alignhmr.core.truth.records import Prediction, Sample

HYPOTHESES, SEED = 20, 0
PICTURES = {"wild": (200, 4), "pose2sim4": (60, 2)}
MINED = (80, 3)
LEVEL = 40
MIRRORED_WITHIN, MIRRORED_MM = 0.03, 150.0
SURE = 0.5
_LIMBS, _HIPS = slice(5, 17), [6, 7]


@dataclass
class Seen:
    """Everyone of a benchmark, as the models see them."""

    samples: list[tuple[Sample, int]] = field(default_factory=list)
    requests: list[RecoveryRequest] = field(default_factory=list)
    conditions: list[Condition] = field(default_factory=list)
    sights: list = field(default_factory=list)
    drawn: list[Bodies] = field(default_factory=list)

    def guide(self) -> Guide:
        def of_all(name: str) -> Tensor:
            return torch.cat([getattr(sight, name) for sight in self.sights])

        return Guide(of_all("keypoints_px"), of_all("crop_px"), of_all("focal_px"), of_all("center_px"))


def seen(recoverer: Recoverer, benchmark: str, count: int) -> Seen:
    """Whom the evaluator judges and the models can answer."""
    everyone, judge = Seen(), Evaluation(SystemInfo("nobody", "", "given", "given"))
    for sample in open_benchmark(benchmark, count=count, seed=SEED):
        if not sample.people:
            continue
        judged = {row.key for row in judge.add(sample, [])}
        boxes = np.stack([truth.box_px for truth in sample.people]).astype(np.float32)
        for index, person in enumerate(recoverer.from_boxes(sample.picture, boxes)):
            if f"{sample.id}#{index}" not in judged:
                continue
            request = RecoveryRequest(person, sample.intrinsics, SEED + len(everyone.samples), HYPOTHESES)
            try:
                sight, drawn = recoverer.hypothesise(request)
            except InputError:
                continue
            everyone.samples.append((sample, index))
            everyone.requests.append(request)
            everyone.sights.append(sight)
            everyone.drawn.append(drawn)
            everyone.conditions.append(recoverer._condition(person, sight, recoverer.base))
    return everyone


def joined(parts: list[Bodies]) -> Bodies:
    """One batch of people."""
    names = ("joints_m", "keypoints_m", "transl_cam_m", "joints_px", "keypoints_px")
    parameters = type(parts[0].parameters)(
        *(
            torch.cat([getattr(part.parameters, name) for part in parts])
            for name in ("rotations", "betas", "camera")
        )
    )
    return Bodies(parameters, *(torch.cat([getattr(part, name) for part in parts]) for name in names))


@torch.no_grad()
def answers(
    recoverer: Recoverer, everyone: Seen
) -> tuple[dict[str, Bodies], dict[str, float], dict[str, object]]:
    """Each variant's body of each person, seconds a person that it took, and who fell back."""
    base, body, radii = recoverer.base, recoverer.body, torch.as_tensor(recoverer.radii_m).float()
    guide, drawn = everyone.guide(), joined(everyone.drawn)
    first = chosen(drawn, torch.zeros(len(everyone.samples), dtype=torch.long))
    views = base.views(concatenate(everyone.conditions))
    usual = GuidanceConfig()
    worded = usual.with_words()

    def guided(config: GuidanceConfig, towards: Guide = guide, start: Bodies = first) -> Bodies:
        refined = refine(body, start, towards, radii, config, precision_of(drawn, config))
        fell_back.append({reason: int(which.sum()) for reason, which in refined.fell_back.items()})
        return refined.bodies

    def again() -> Bodies:
        return guided(usual, start=denoised_again(base, views, body, guide, guided(usual), LEVEL))

    ways = {
        "none": lambda: first,
        "regression": lambda: place(unpack(base.initial_of(views)[:, None]), body, guide),
        "keypoints": partial(guided, usual),
        "denoised_again": again,
        "optimisation": lambda: optimise(body, base.mean, guide, radii),
        "loose": partial(guided, replace(usual, free=OPTIMISED.free, iterations=OPTIMISED.iterations)),
    }
    true_px = true_keypoints(everyone)
    if true_px is not None:
        put_right = replace(guide, keypoints_px=true_px)
        ways["put_right"] = partial(guided, usual.with_given_keypoints(), put_right)
    codes = captions(everyone)
    if codes is not None:
        told = replace(guide, told=Told.of(codes))
        others = replace(guide, told=Told.of([*codes[1:], codes[0]]))
        ways |= {
            "words": partial(guided, replace(worded, keypoints=0), told),
            "both": partial(guided, worded, told),
            "others_words": partial(guided, worded, others),
        }
    found, seconds, reasons = {}, {}, {}
    for name, way in ways.items():
        fell_back: list[dict[str, int]] = []
        began = time.perf_counter()
        found[name] = way()
        seconds[name] = round((time.perf_counter() - began) / len(everyone.samples), 4)
        if fell_back:
            reasons[name] = fell_back[-1]
    return found, seconds, reasons


def captions(everyone: Seen) -> list[Mapping[str, str]] | None:
    """What true captions say; None where the truth knows too few joints for them."""
    told = []
    for sample, index in everyone.samples:
        joints = sample.people[index].points.get("smpl24")
        if joints is None or joints.cam_m is None:
            return None
        codes = brief(said(posecodes(np.asarray(joints.cam_m, np.float64)).categories()))
        told.append(read(whole(write(codes))).codes)
    return told


def true_keypoints(everyone: Seen) -> Tensor | None:
    """Where they really are, all of them and sure; None where the truth doesn't know them all."""
    rows = [sample.people[index].points["coco23"].px for sample, index in everyone.samples]
    known = torch.from_numpy(np.stack([row for row in rows if row is not None]))
    if len(known) < len(rows) or not known.isfinite().all():
        return None
    return torch.cat([known, torch.ones_like(known[..., :1])], -1)


def ambiguous(everyone: Seen) -> np.ndarray:
    """Whose truth, mirrored in depth, fits the keypoints as well and is another pose."""
    hit = []
    for sample, index in everyone.samples:
        truth = sample.people[index]
        points = torch.from_numpy(np.asarray(truth.points["coco23"].cam_m)[_LIMBS]).float()
        camera = sample.intrinsics
        focal, center = torch.tensor(camera.focal_px).float(), torch.tensor(camera.center_px).float()
        root = points[_HIPS].mean(0)
        twin = points.clone()
        twin[:, 2] = 2 * root[2] - twin[:, 2]
        true_px = project(points, focal, center)
        moved = fit_translation(twin, true_px, torch.ones(len(twin)), focal, center, torch.zeros(3))
        off = (project(twin + moved, focal, center) - true_px).norm(dim=-1).mean()
        size = float(max(truth.box_px[2:] - truth.box_px[:2]))
        apart_mm = 2000 * (points[:, 2] - root[2]).abs().mean()
        hit.append(bool(off <= MIRRORED_WITHIN * size and apart_mm >= MIRRORED_MM))
    return np.array(hit)


@dataclass
class Errors:
    """Of one variant, a number for each person."""

    mpjpe_mm: np.ndarray
    pa_mpjpe_mm: np.ndarray
    off_true: np.ndarray
    off_seen: np.ndarray
    off_seen_median: float
    joints_mm: np.ndarray
    groups: list[str]

    def told(self, who: np.ndarray | slice = slice(None)) -> dict[str, float]:
        names = ("mpjpe_mm", "pa_mpjpe_mm", "off_true", "off_seen")
        means = {name: round(float(np.nanmean(getattr(self, name)[who])), 2) for name in names}
        return means | {"off_seen_median": round(self.off_seen_median, 2)}


def judged(everyone: Seen, bodies: Bodies) -> Errors:
    """By the evaluator."""
    evaluation = Evaluation(SystemInfo("variant", "", "given", "given"))
    points_m = (bodies.keypoints_m + bodies.transl_cam_m[..., None, :]).numpy()
    points_px = bodies.keypoints_px.numpy()
    rows, off_seen, surely = [], [], []
    for row, ((sample, index), sight) in enumerate(zip(everyone.samples, everyone.sights, strict=True)):
        prediction = Prediction(sample.id, index, {"coco23": points_m[row]}, {"coco23": points_px[row]})
        mine = f"{sample.id}#{index}"
        rows += [told for told in evaluation.add(sample, [prediction]) if told.key == mine]
        box = sample.people[index].box_px
        keypoints = sight.keypoints_px[0, _LIMBS].numpy()
        off = np.linalg.norm(points_px[row, 0, _LIMBS] - keypoints[:, :2], axis=-1)
        off *= 100 / max(box[2:] - box[:2])
        off_seen.append((off * keypoints[:, 2]).sum() / max(keypoints[:, 2].sum(), 1e-6))
        surely += off[keypoints[:, 2] >= SURE].tolist()
    return Errors(
        np.array([row.per_hypothesis["mpjpe_mm"][0] for row in rows]),
        np.array([row.per_hypothesis["pa_mpjpe_mm"][0] for row in rows]),
        np.array([row.single["error_box_pct"] for row in rows]),
        np.array(off_seen),
        float(np.median(surely)),
        np.stack([row.per_point["mpjpe_mm"] for row in rows]),
        [row.group for row in rows],
    )


def change(after: np.ndarray, before: np.ndarray) -> float:
    return round(float(np.nanmean(after) / np.nanmean(before) - 1), 4)


def gain_by_part(before: Errors, after: Errors, who: np.ndarray) -> dict[str, float]:
    """Relative fall of the error of each limb's lower two joints."""
    places = {"left_arm": [2, 4], "right_arm": [3, 5], "left_leg": [8, 10], "right_leg": [9, 11]}
    assert places.keys() <= PART_JOINTS.keys()
    return {
        part: -change(after.joints_mm[who][:, joints], before.joints_mm[who][:, joints])
        for part, joints in places.items()
    }


def mining(recoverer: Recoverer, everyone: Seen, count: int) -> dict[str, object]:
    """Pairs from hypotheses with and without refinement."""
    values: dict[str, object] = {}
    for name, prompt in (("unrefined", None), ("refined", Prompt())):
        rated = Rated(recoverer)
        for (sample, index), request in list(zip(everyone.samples, everyone.requests, strict=True))[:count]:
            [recovery] = recoverer.recover_batch([replace(request, prompt=prompt)])
            rated(recovery, sample, index)
        errors = rated.errors_mm
        chosen = [error[index] for error, index in zip(errors, rated.selected, strict=True)]
        values[name] = mined(rated, MiningRule()) | {
            "selected_mm": round(float(np.mean(chosen)), 2),
            "zero_noise_mm": round(float(np.mean([error[0] for error in errors])), 2),
            "best_of_20_mm": round(float(np.mean([error.min() for error in errors])), 2),
        }
    return values


def cost(recoverer: Recoverer, photos: int, rounds: int) -> dict[str, object]:
    """Medians in ms."""
    told = "the left arm is raised, the right knee is bent"
    prompts = {"unrefined": None, "refined": Prompt(), "told": Prompt(told)}
    person_ms: dict[str, list[float]] = {name: [] for name in prompts}
    photo_ms: list[float] = []
    for photo in frames(photos):
        picture = decode(photo)
        people = recoverer.find(picture)
        if len(people) != 1:
            continue
        camera = intrinsics_for(*picture.size)
        for _ in range(rounds):
            for name, prompt in prompts.items():
                began = time.perf_counter()
                recoverer.recover_batch([RecoveryRequest(people[0], camera, SEED, HYPOTHESES, prompt)])
                person_ms[name].append(1000 * (time.perf_counter() - began))
        began = time.perf_counter()
        picture = decode(photo)
        recoverer.recover(picture, recoverer.find(picture), hypotheses=HYPOTHESES, prompt=Prompt())
        photo_ms.append(1000 * (time.perf_counter() - began))
    medians = {name: float(np.median(ms)) for name, ms in person_ms.items()}
    return {
        "cost_ratio_20": round(medians["refined"] / medians["unrefined"], 2),
        "cost_ratio_20_told": round(medians["told"] / medians["unrefined"], 2),
        "person_ms": {name: round(ms, 1) for name, ms in medians.items()},
        "photo_ms": round(float(np.median(photo_ms)), 1),
        "photos": len(photo_ms),
    }


def main() -> None:
    quick, recoverer = opened(__doc__)
    values: dict[str, object] = {}
    for benchmark, counts in PICTURES.items():
        everyone = seen(recoverer, benchmark, counts[quick])
        bodies, seconds, fell_back = answers(recoverer, everyone)
        errors = {name: judged(everyone, found) for name, found in bodies.items()}
        before, after = errors["none"], errors["keypoints"]
        told: dict[str, object] = {
            **{name: found.told() for name, found in errors.items()},
            "mpjpe_difference_mm": paired_difference(
                after.mpjpe_mm, before.mpjpe_mm, before.groups
            ).to_dict(),
            "error2d_change": change(after.off_true, before.off_true),
            "error2d_seen_change": change(after.off_seen, before.off_seen),
            "mpjpe_change": change(after.mpjpe_mm, before.mpjpe_mm),
            "worse_by_50_mm": round(float((after.mpjpe_mm - before.mpjpe_mm > 50).mean()), 4),
            "seconds_a_person": seconds,
            "fell_back": fell_back,
            "people": len(everyone.samples),
        }
        if benchmark == "wild":
            hard = ambiguous(everyone)
            both = errors["both"]
            told["ambiguous"] = {
                "people": int(hard.sum()),
                **{name: errors[name].told(hard) for name in ("none", "keypoints", "words", "both", "others_words")},
                "difference_mm": paired_difference(
                    both.mpjpe_mm[hard], after.mpjpe_mm[hard], [g for g, h in zip(both.groups, hard, strict=True) if h]
                ).to_dict(),
                "gain_by_part": gain_by_part(after, both, hard),
            }  # fmt: skip
            values |= {name: told[name] for name in ("error2d_change", "error2d_seen_change", "mpjpe_change")}
            values["text_gain_ambiguous_true"] = -change(both.mpjpe_mm[hard], after.mpjpe_mm[hard])
            values["vs_optimisation_mpjpe"] = round(
                float(np.mean(after.mpjpe_mm - errors["optimisation"].mpjpe_mm)), 2
            )
            values["mining"] = mining(recoverer, everyone, MINED[quick])
        values[benchmark] = told
        print(benchmark, told, flush=True)
    values["text_gain_vlm"] = None
    values["text_gain_vlm_reason"] = "no vision-language model ships; its captions can't be measured"
    values |= cost(recoverer, 9 if quick else 36, 1 if quick else 3)
    values |= {"models": recoverer.models, "joints": "limbs12", "boxes": "given", "intrinsics": "given"}
    finish("refine", plain(values), quick=quick)


if __name__ == "__main__":
    main()
