"""What words are worth: captions written and read, the text-pose space, and agreement of words and hypotheses.

Poses are drawn from clips that nothing was trained on, as level or tilted cameras see them; captions are of their true
posecodes. ``agreement_auroc_true`` is how well agreement tells the hypothesis nearest the truth from the farthest of
20, pooled over people; ``agreement_in_person`` is how often the nearer one agrees better. Hypotheses are perturbed
truths, and (``_base``) the base model's own from simulated detections. With ``--held-out`` (a folder of `alignhmr
prepare wild --split test`) the captioner describes these people, and ``agreement_auroc_vlm`` is of its captions and the
base's own hypotheses of them; ``--train`` (people of the train split) is what the keypoint classifier learns from.
``--fit`` prints the logistic weights of
``core/language/agreement.py``, fitted on other poses than it is judged by.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from language_paraphrases import PARAPHRASES
from record import finish
from vlm_answers import hypotheses, judged_answers, keypoint_classifier, people_of

from alignhmr.core.body.model import BodyModel
from alignhmr.core.checkpoints import load_checkpoint, resolve
from alignhmr.core.diffusion.model import BaseModel, hypothesis_noise
from alignhmr.core.diffusion.parameters import unpack
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.language.agreement import (
    CHECK_ALONE,
    NEAR_MM,
    PART_JOINTS,
    WITH_LATENT,
    Agreement,
    agreement,
    part_checks,
)
from alignhmr.core.language.captions import parse
from alignhmr.core.language.facts import PARTS
from alignhmr.core.language.posecodes import posecodes, said
from alignhmr.core.language.reading import read
from alignhmr.core.language.text_pose import TextPose
from alignhmr.core.language.vlm_folder import load_vlm, resolve_vlm, shown_to
from alignhmr.core.language.writing import STYLES, omitted, whole, write
from alignhmr.core.metrics.ranking import auroc
from alignhmr.core.synthetic.motion import split_clips
from alignhmr.core.synthetic.poses import JITTER_RAD, PoseMix, PoseSampler
from alignhmr.deployments import torchvision_shim
from alignhmr.training.base_run import samplers
from alignhmr.training.fit import motion_clips
from alignhmr.training.text_pose import draw_poses, evaluate, joints_np
from alignhmr.training.text_pose_run import held_out_poses

HYPOTHESES = 20
_KEEP = 0.6
"""Share of the codes that a caption tells when hypotheses are judged by it."""


@dataclass(frozen=True)
class Case:
    """One person: what is said, and hypotheses with their errors."""

    told: dict[str, str]
    text: str
    rotations: Float[torch.Tensor, "hyps 24 3 3"]
    joints_m: Float[np.ndarray, "hyps 24 3"]
    off_mm: Float[np.ndarray, "hyps 24"]
    """Of each root-relative joint."""

    @property
    def mpjpe_mm(self) -> np.ndarray:
        return self.off_mm.mean(1)


def case(
    truth_m: np.ndarray, rotations: torch.Tensor, joints_m: np.ndarray, rng: np.random.Generator
) -> Case:
    told = omitted(said(posecodes(truth_m).categories()), _KEEP, rng)
    style = STYLES[str(rng.choice(["plain", "sentences", "listed", "unseen_sentences"]))]
    rooted = [points - points[..., :1, :] for points in (joints_m, truth_m)]
    return Case(
        told,
        whole(write(told, style, rng)),
        rotations,
        joints_m,
        1000 * np.linalg.norm(rooted[0] - rooted[1], axis=-1),
    )


def perturbed(body: BodyModel, sampler: PoseSampler, people: int, seed: int) -> list[Case]:
    """Truths with noise of many sizes on every joint, the root included."""
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    truths = draw_poses(sampler, people, generator)
    deviation = torch.tensor(JITTER_RAD).float().clamp_min(0.1)[:, None] * 2
    strength = torch.rand(people, HYPOTHESES, 1, 1, generator=generator)
    noise = torch.randn(people, HYPOTHESES, 24, 3, generator=generator) * deviation * strength
    hypotheses = truths[:, None] @ axis_angle_to_matrix(noise)
    true_joints = joints_np(body, truths)
    joints = joints_np(body, hypotheses.flatten(0, 1)).reshape(people, HYPOTHESES, 24, 3)
    return [case(true_joints[i], hypotheses[i], joints[i], rng) for i in range(people)]


@torch.no_grad()
def of_base(body: BodyModel, people: int, seed: int) -> list[Case]:
    """The shipped base model's own hypotheses, from simulated detections of held-out motion."""
    base, _ = load_checkpoint(resolve("starter", "base"), "base", body_digest=body.digest)
    assert isinstance(base, BaseModel)
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    seen = samplers(body, motion_clips(), PoseMix())[1].sample(people, generator)
    noise = hypothesis_noise(people * HYPOTHESES, generator).reshape(people, HYPOTHESES, -1)
    drawn = unpack(base.sample(seen.condition(), noise))
    joints = body.kinematics(drawn.rotations, drawn.betas).joints.numpy()
    return [case(seen.joints_m[i].numpy(), drawn.rotations[i], joints[i], rng) for i in range(people)]


@torch.no_grad()
def similarities(space: TextPose, cases: list[Case]) -> list[np.ndarray]:
    texts = space.place_of_text([one.text for one in cases])
    return [
        (space.place_of_pose(one.rotations) @ text).numpy() for one, text in zip(cases, texts, strict=True)
    ]


def separated(cases: list[Case], judged: list[Agreement]) -> tuple[float, float]:
    """(pooled AUROC of nearest against farthest, share of people in whom the nearest agrees better)."""
    near = np.array([one.overall[case.mpjpe_mm.argmin()] for case, one in zip(cases, judged, strict=True)])
    far = np.array([one.overall[case.mpjpe_mm.argmax()] for case, one in zip(cases, judged, strict=True)])
    pooled = auroc(np.concatenate([near, far]), np.arange(2 * len(near)) < len(near))
    return pooled, float((near > far).mean() + (near == far).mean() / 2)


def part_calibration(cases: list[Case], judged: list[Agreement]) -> float:
    """Expected calibration error of the parts' numbers, over ten bins."""
    said_of, true = [], []
    for one, found in zip(cases, judged, strict=True):
        for column, part in enumerate(PARTS):
            if found.told[column]:
                said_of.append(found.parts[:, column])
                true.append(one.off_mm[:, PART_JOINTS[part]].mean(1) < NEAR_MM)
    claims, truths = np.concatenate(said_of), np.concatenate(true)
    bins = np.minimum((claims * 10).astype(int), 9)
    gaps = [abs(claims[bins == b].mean() - truths[bins == b].mean()) * (bins == b).mean() for b in set(bins)]
    return float(sum(gaps))


def fit(cases: list[Case], near: list[np.ndarray] | None) -> tuple[float, float, float]:
    """Logistic weights (check, latent, bias) of "the part is near the truth", by Newton's method."""
    rows, labels = [], []
    for index, one in enumerate(cases):
        checks, told = part_checks(one.told, posecodes(one.joints_m))
        for column, part in enumerate(PARTS):
            if told[column]:
                latent = near[index] if near is not None else np.zeros(len(checks))
                rows.append(np.stack([checks[:, column], latent, np.ones(len(checks))], 1))
                labels.append(one.off_mm[:, PART_JOINTS[part]].mean(1) < NEAR_MM)
    features, wanted = np.concatenate(rows), np.concatenate(labels).astype(float)
    weights = np.zeros(3)
    for _ in range(25):
        share = 1 / (1 + np.exp(-features @ weights))
        slope = features.T @ (share - wanted) + 1e-3 * weights
        bend = (features * (share * (1 - share))[:, None]).T @ features + 1e-3 * np.eye(3)
        weights = weights - np.linalg.solve(bend, slope)
    return tuple(round(float(weight), 3) for weight in weights)  # pyright: ignore


def read_back(joints_m: np.ndarray) -> float:
    """Share of descriptions that were read exactly as they were written."""
    rng, codes, exact = np.random.default_rng(0), posecodes(joints_m), 0
    names = list(STYLES)
    for index in range(len(joints_m)):
        told = omitted(said(codes[index].categories()), rng.uniform(0.1, 1.3), rng)
        exact += read(whole(write(told, STYLES[names[index % len(names)]], rng))).codes == told
    return exact / len(joints_m)


def read_others() -> dict[str, float]:
    """Of sentences by other hands: codes that were read of those meant, and codes that were right of those read."""
    meant = found = right = 0
    for text, codes in PARAPHRASES:
        reading = read(text).codes
        meant, found = meant + len(codes), found + len(reading)
        right += sum(reading.get(name) == category for name, category in codes.items())
    return {"paraphrase_recall": right / meant, "paraphrase_precision": right / max(found, 1)}


def judged(cases: list[Case], near: list[np.ndarray] | None) -> list[Agreement]:
    return [
        agreement(one.told, one.joints_m, near[index] if near is not None else None)
        for index, one in enumerate(cases)
    ]


def of_vlm(
    space: TextPose, body: BodyModel, folder: str, train: str | None, captioner: str, *, quick: bool
) -> dict[str, object]:
    """The captioner's answers about prepared people, and whether they tell hypotheses apart."""
    torchvision_shim.install()
    where = resolve_vlm(captioner)
    model, processor = load_vlm(where)
    shown, count = shown_to(where), 48 if quick else 1000
    assert shown is not None, "a model of `alignhmr train captioner` says how people are shown to it"
    people = people_of(folder, body, count, shown.picture_px)
    values, answers = judged_answers(model, processor, people, shown.picture_px)
    if train is not None:
        values["keypoint_classifier_macro_f1"] = keypoint_classifier(train, body, people, quick=quick)
    base, _ = load_checkpoint(resolve("starter", "base"), "base", body_digest=body.digest)
    assert isinstance(base, BaseModel)
    seen, rotations, joints = hypotheses(base, body, folder, count, HYPOTHESES)
    cases = []
    for index, answer in enumerate(answers):
        off = joints[index] - joints[index][:, :1]
        truth = seen.joints_m[index].numpy()
        parsed = parse(answer)
        cases.append(
            Case(
                parsed.codes,
                " ".join(parsed.sentences.values()),
                rotations[index],
                joints[index],
                1000 * np.linalg.norm(off - (truth - truth[:1]), axis=-1),
            )
        )
    both, alone = judged(cases, similarities(space, cases)), judged(cases, None)
    (pooled, inside), (pooled_alone, inside_alone) = separated(cases, both), separated(cases, alone)
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in values.items()} | {
        "agreement_auroc_vlm": round(pooled, 3),
        "agreement_in_person_vlm": round(inside, 3),
        "agreement_auroc_vlm_posecodes_alone": round(pooled_alone, 3),
        "agreement_in_person_vlm_posecodes_alone": round(inside_alone, 3),
        "vlm_people": len(people),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ends within 60 s")
    parser.add_argument("--model", default="starter", help="text-pose space: starter or a .safetensors file")
    parser.add_argument(
        "--captioner", default="starter", help="starter or a folder of `alignhmr train captioner`"
    )
    parser.add_argument("--held-out", help="people to be described, of `alignhmr prepare wild --split test`")
    parser.add_argument("--train", help="people that the keypoint classifier learns from")
    parser.add_argument("--fit", action="store_true", help="print the logistic weights and end")
    options = parser.parse_args()
    torch.set_num_threads(1)
    body = BodyModel.load()
    space, info = load_checkpoint(resolve(options.model, "text-pose"), "text-pose", body_digest=body.digest)
    assert isinstance(space, TextPose)
    training, held_out = split_clips(list(motion_clips()))
    if options.fit:
        cases = perturbed(body, PoseSampler(training), 300, 1) + of_base(body, 200, 1)
        print("CHECK_ALONE", fit(cases, None), "WITH_LATENT", fit(cases, similarities(space, cases)))
        return
    sampler = PoseSampler(held_out)
    count, people = (300, 60) if options.quick else (2000, 500)
    poses = held_out_poses(sampler, count)
    values: dict[str, object] = {key: round(value, 3) for key, value in evaluate(space, poses, body).items()}
    many = draw_poses(sampler, 500 if options.quick else 10_000, torch.Generator().manual_seed(17))
    values |= {"read_back_exactly": read_back(joints_np(body, many)), "read_back_poses": len(many)}
    values |= {key: round(value, 3) for key, value in read_others().items()} | {
        "paraphrases": len(PARAPHRASES)
    }
    makers: dict[str, Callable[[], list[Case]]] = {
        "": lambda: perturbed(body, sampler, people, 2),
        "_base": lambda: of_base(body, people, 2),
    }
    for name, make in makers.items():
        cases = make()
        both, alone = judged(cases, similarities(space, cases)), judged(cases, None)
        pooled, inside = separated(cases, both)
        values |= {
            f"agreement_auroc_true{name}": round(pooled, 3),
            f"agreement_in_person{name}": round(inside, 3),
            f"agreement_auroc_true_posecodes_alone{name}": round(separated(cases, alone)[0], 3),
            f"agreement_calibration_error{name}": round(part_calibration(cases, both), 3),
            f"nearest_mm{name}": round(float(np.mean([one.mpjpe_mm.min() for one in cases])), 1),
            f"farthest_mm{name}": round(float(np.mean([one.mpjpe_mm.max() for one in cases])), 1),
        }
    if options.held_out:
        values |= of_vlm(space, body, options.held_out, options.train, options.captioner, quick=options.quick)
    values |= {
        "poses": count, "people": people, "hypotheses": HYPOTHESES, "model_steps": info.recipe["step"],
        "weights": {"alone": vars(CHECK_ALONE), "with_latent": vars(WITH_LATENT)},
    }  # fmt: skip
    finish("language", values, quick=options.quick)


if __name__ == "__main__":
    main()
