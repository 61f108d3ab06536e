"""People in pictures nobody labelled, answered and scored, aligned to, and judged by a truth that only the judge sees.

What `alignhmr improve` does in a round, on people who were found already (`alignhmr prepare`), in one process: a
dozen alignments share what doesn't change between them, the encoded pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from alignhmr.core.diffusion.condition import person_square
from alignhmr.core.diffusion.encoder import Encoded, concatenate
from alignhmr.core.diffusion.model import BaseModel, View, hypothesis_noise
from alignhmr.core.diffusion.parameters import pack, unpack
from alignhmr.core.diffusion.pose_tokens import features_of
from alignhmr.core.geometry.cameras import project
from alignhmr.core.geometry.crops import SquareCrop
from alignhmr.core.geometry.rotations import matrix_to_axis_angle
from alignhmr.core.metrics.positions import pa_mpjpe_mm
from alignhmr.core.perception.silhouettes import SILHOUETTE_PX, silhouette_over
from alignhmr.core.perception.views import to_jpeg
from alignhmr.core.placement import place, together
from alignhmr.core.records import drawn
from alignhmr.core.recovery import Recoverer, RecoveryRequest
from alignhmr.core.scoring.evidence import Claim, Evidence
from alignhmr.core.scoring.preference import Abstention, MiningRule, group_advantages, mine_pairs
from alignhmr.core.scoring.selection import BEST, mean_of_best
from alignhmr.core.scoring.vetoes import vetoes
from alignhmr.training.alignment import PreferencePlan, finished, learn
from alignhmr.training.data import Labels, People, Preferred, split
from alignhmr.training.preference import Objective
from alignhmr.training.workplace import Alone

HYPOTHESES, AT_ONCE = 20, 48
LIMBS, HIPS = slice(5, 17), [6, 7]
"""Keypoints that errors are over, and among these the hips that bodies are compared about."""
BY_TRUTH_MM = 50.0
"""Of error that make a score of 1 where the truth ranks: the margin of mining is 15 mm."""


@dataclass(frozen=True)
class Subject:
    request: RecoveryRequest
    picture: str
    group: str
    true_m: np.ndarray
    """The 23 keypoints, camera frame; only ``Crowd.errors`` looks at them."""


@dataclass(frozen=True)
class Answers:
    """Of everyone in a crowd: drawn hypotheses, then the mean of the best, which is what a user gets."""

    packed: Tensor
    pose_aa: Tensor
    joints_m: Tensor
    keypoints_m: Tensor
    keypoints_px: Tensor
    scores: Tensor
    expected_mm: Tensor


class Crowd:
    """Subjects as the models see them; pictures are encoded once, since alignment leaves encoder and scorer alone."""

    @torch.no_grad()
    def __init__(self, subjects: Sequence[Subject], recoverer: Recoverer) -> None:
        self.recoverer, self.subjects = recoverer, list(subjects)
        self.people = _people(subjects)
        self.groups = [subject.group for subject in subjects]
        views, evidence = [], []
        for part in self._parts():
            people = self.people.take(np.arange(len(subjects))[part])
            condition = people.condition(recoverer.scorer.config.crop_px)
            condition = replace(condition, crops=features_of(condition.crops))
            views.append(recoverer.base.views(condition))
            evidence.append(
                Evidence.observed(
                    condition, people.crop_px, people.detector_3d_m, people.has_detector_3d > 0,
                    *_silhouettes(subjects[part], people.crop_px),
                )
            )  # fmt: skip
        self.views: list[list[View]] = views
        self._row = {name: row for row, name in enumerate(_names(self.people))}
        self.evidence: list[Evidence] = evidence

    def encoded_of(self, people: People) -> Encoded:
        """Of some of them, with their pictures."""
        rows = torch.tensor([self._row[name] for name in _names(people)])
        return concatenate([views[0][1] for views in self.views]).take(rows)

    def _parts(self) -> list[slice]:
        return [slice(start, start + AT_ONCE) for start in range(0, len(self.subjects), AT_ONCE)]

    @torch.no_grad()
    def answers(self, model: BaseModel, hypotheses: int = HYPOTHESES, seed: int = 0) -> Answers:
        """As ``Recoverer.judged`` makes them, for many people at once."""
        body, scorer = self.recoverer.body, self.recoverer.scorer
        found: dict[str, list[Tensor]] = {}
        for part, views, evidence in zip(self._parts(), self.views, self.evidence, strict=True):
            people = self.people.take(np.arange(len(self.subjects))[part])
            noise = [
                hypothesis_noise(hypotheses - 1, torch.Generator().manual_seed(seed + part.start + index))
                for index in range(len(people))
            ]
            drawn = place(unpack(model.sample(views, torch.stack(noise))), body, people)
            claim = Claim.of(drawn, people.crop_px)
            seen = scorer.look(evidence.with_proposals(claim))
            rating = scorer.rate(seen, claim)
            mean = place(mean_of_best(rating.score, drawn.parameters, BEST), body, people)
            last = scorer.rate(seen, Claim.of(mean, people.crop_px))
            bodies = together([drawn, mean])
            told = {
                "packed": pack(bodies.parameters),
                "pose_aa": matrix_to_axis_angle(bodies.parameters.rotations),
                "joints_m": bodies.joints_m + bodies.transl_cam_m[..., None, :],
                "keypoints_m": bodies.keypoints_m + bodies.transl_cam_m[..., None, :],
                "keypoints_px": bodies.keypoints_px,
                "scores": torch.cat([rating.score, last.score], 1),
                "expected_mm": torch.cat([rating.error_mm, last.error_mm], 1),
            }
            for name, value in told.items():
                found.setdefault(name, []).append(value)
        return Answers(**{name: torch.cat(values) for name, values in found.items()})

    def _true(self) -> Tensor:
        return torch.from_numpy(np.stack([subject.true_m for subject in self.subjects])).float()[:, LIMBS]

    def mpjpe_mm(self, answers: Answers) -> np.ndarray:
        """Of everyone's bodies, over 12 limb joints about the hips."""
        true, points = self._true(), answers.keypoints_m[..., LIMBS, :]
        off = points - points[..., HIPS, :].mean(-2, keepdim=True)
        off = off - (true - true[:, HIPS].mean(-2, keepdim=True))[:, None]
        return (1000 * off.norm(dim=-1).mean(-1)).numpy()

    def errors(self, answers: Answers) -> dict[str, np.ndarray]:
        """Of each person, in mm over 12 limb joints; ``error2d`` in hundredths of the crop's side."""
        true, points = self._true(), answers.keypoints_m[..., LIMBS, :]
        mpjpe = torch.from_numpy(self.mpjpe_mm(answers))
        true_px = project(true, self.people.focal_px, self.people.center_px)
        off_px = (answers.keypoints_px[:, 0, LIMBS] - true_px).norm(dim=-1).mean(-1)
        figures = {
            "zero_noise": mpjpe[:, 0], "selected": mpjpe[:, -1], "best_of_20": mpjpe.min(1).values,
            "pa_zero_noise": pa_mpjpe_mm(points[:, 0], true),
            "error2d": 100 * off_px / self.people.crop_px[:, 2],
        }  # fmt: skip
        return {name: value.double().numpy() for name, value in figures.items()}

    def labels(
        self,
        answers: Answers,
        objective: Objective,
        keep: np.ndarray,
        hypotheses: int,
        *,
        by_truth: bool = False,
    ) -> Labels:
        """What is preferred of those where ``keep`` is true, among their first so many hypotheses.

        ``by_truth`` puts a judge who knows in the scorer's place: what a perfect scorer would bring.
        """
        radii, rule = self.recoverer.radii_m, MiningRule()
        if by_truth:
            error = torch.from_numpy(self.mpjpe_mm(answers)).float()
            answers = replace(answers, scores=-error / BY_TRUTH_MM, expected_mm=error)
            rule = replace(rule, max_expected_error_mm=1e9)
        person, bodies, advantages = [], [], []
        for index in np.flatnonzero(keep):
            first = slice(0, hypotheses)
            scores, expected = (part[index, first].numpy() for part in (answers.scores, answers.expected_mm))
            joints = answers.joints_m[index, first].numpy()
            out = vetoes(
                answers.pose_aa[index, first].numpy(), joints, radii, answers.keypoints_px[index, first].numpy(),
                self.people.keypoints_px[index].numpy(), self.people.crop_px[index].numpy(),
            )  # fmt: skip
            # Fewer are as if no more had been asked for, but that their last is a draw.
            among = drawn(HYPOTHESES)[first]
            if objective == "group":
                found = group_advantages(scores, expected, rule, vetoed=out, among=among)
                if isinstance(found, Abstention):
                    continue
                order = np.argsort(-found, kind="stable")
                order = order[among[order]]
                chosen = [(order.tolist(), found[order])]
            else:
                relative = joints - joints[:, :1]
                found = mine_pairs(scores, expected, rule, vetoed=out, joints_m=relative, among=among)
                if isinstance(found, Abstention):
                    continue
                chosen = [([pair.winner, pair.loser], np.array([1.0, -1.0])) for pair in found]
            for which, advantage in chosen:
                person.append(index)
                bodies.append(answers.packed[index, which])
                advantages.append(torch.from_numpy(advantage).float())
        preferred = Preferred(np.array(person), torch.stack(bodies), torch.stack(advantages))
        return Labels(self.people, preferred, {}).part(keep)


def aligned(
    plan: PreferencePlan, labels: Labels, crowd: Crowd, folder: Path
) -> tuple[BaseModel, dict[str, float]]:
    """The policy that ships by the plan, and at which step of how many."""
    state = folder / "state.safetensors"
    training, held_out = split(labels)
    learn(plan, training, held_out, Alone(state), encode=crowd.encoded_of)
    run = finished(plan, state)
    state.unlink()
    return run.policy, {"step": run.step, "preferences": len(training.preferred)}


def _names(people: People) -> list[bytes]:
    return [
        picture.encode() + keypoints.numpy().tobytes()
        for picture, keypoints in zip(people.image_sha256, people.keypoints_px, strict=True)
    ]


def _people(subjects: Sequence[Subject]) -> People:
    requests = [subject.request for subject in subjects]
    persons = [request.person for request in requests]
    views = np.empty(len(subjects), object)
    views[:] = [None if person.view is None else to_jpeg(person.view) for person in persons]
    zeros = np.zeros((23, 3), np.float32)

    def stacked(values: Sequence[object]) -> Tensor:
        return torch.from_numpy(np.stack([np.asarray(value, np.float32) for value in values]))

    return People(
        image_sha256=np.array([subject.picture for subject in subjects]),
        keypoints_px=stacked([person.keypoints_px for person in persons]),
        detector_3d_m=stacked([zeros if p.keypoints_3d_m is None else p.keypoints_3d_m for p in persons]),
        has_detector_3d=stacked([person.keypoints_3d_m is not None for person in persons]),
        crop_px=person_square(stacked([person.box_px for person in persons])),
        focal_px=stacked([request.intrinsics.focal_px for request in requests]),
        center_px=stacked([request.intrinsics.center_px for request in requests]),
        view_jpeg=views,
    )


def _silhouettes(subjects: Sequence[Subject], crop_px: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of cells that each covers, and who has any."""
    found = [
        silhouette_over(subject.request.person, SquareCrop((x, y), side), SILHOUETTE_PX)
        for subject, (x, y, side) in zip(subjects, crop_px.tolist(), strict=True)
    ]
    nothing = np.zeros((SILHOUETTE_PX, SILHOUETTE_PX), np.uint8)
    shares = np.stack([nothing if one is None else one for one in found]).astype(np.float32) / 255
    return torch.from_numpy(shares), torch.tensor([one is not None for one in found])
