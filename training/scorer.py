"""How HMR-Scorer learns: to rank hypotheses whose truth is known, of people that were made.

Hypotheses are the frozen base model's own (what it will be asked to rank) and Gaussian perturbations of the
truth (so that it knows what right looks like, where the base never gets there).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from alignhmr.core.body.model import BodyModel
from alignhmr.core.diffusion.condition import concatenate
from alignhmr.core.diffusion.model import BaseModel, hypothesis_noise
from alignhmr.core.diffusion.parameters import BodyParameters, unpack
from alignhmr.core.geometry.cameras import fit_translation, lift_crop_camera, project
from alignhmr.core.geometry.rotations import axis_angle_to_matrix, matrix_to_sixd
from alignhmr.core.metrics.hypotheses import four_figures
from alignhmr.core.metrics.positions import mpjpe_mm, pa_mpjpe_mm
from alignhmr.core.metrics.ranking import spearman
from alignhmr.core.scoring.scorer import Claim, Evidence, HMRScorer, ranking_loss
from alignhmr.core.synthetic.observations import Observations, ObservationSampler
from alignhmr.training.base_batches import PictureBatches


class Sighting(Protocol):
    """Where people were seen: what made people and people in photos have in common."""

    @property
    def keypoints_px(self) -> Tensor: ...
    @property
    def crop_px(self) -> Tensor: ...
    @property
    def focal_px(self) -> Tensor: ...
    @property
    def center_px(self) -> Tensor: ...


@dataclass(frozen=True)
class Group:
    """People with hypotheses and their true errors."""

    evidence: Evidence
    claim: Claim
    mpjpe_mm: Tensor
    pa_mpjpe_mm: Tensor


def evidence_of(batch: Observations, generator: torch.Generator | None = None) -> Evidence:
    """Evidence of made people; with a generator, a tenth lose their 3D (detectors without any exist)."""
    has_3d = torch.ones(len(batch.betas))
    if generator is not None:
        has_3d = (torch.rand(len(batch.betas), generator=generator) > 0.1).float()
    return Evidence(
        batch.condition().flat(), batch.crop_px, batch.detector_3d_m * has_3d[:, None, None], has_3d
    )


@torch.no_grad()
def claim_of(parameters: BodyParameters, batch: Sighting, body: BodyModel) -> tuple[Claim, Tensor]:
    """The claim of hypotheses as recovery makes it (translation fitted to the keypoints), and joints."""
    points = body.kinematics(parameters.rotations, parameters.betas)
    hyps = parameters.betas.shape[1]
    spread = lambda x: x[:, None].expand(-1, hyps, *x.shape[1:])  # noqa: E731
    focal, center, crop = spread(batch.focal_px), spread(batch.center_px), spread(batch.crop_px)
    root = points.joints[..., 0, :]
    prior = lift_crop_camera(parameters.camera, crop, focal, center) - root
    observed = spread(batch.keypoints_px)
    transl = fit_translation(points.keypoints, observed[..., :2], observed[..., 2], focal, center, prior)
    pixels = project(points.keypoints + transl[..., None, :], focal, center)
    sixd = matrix_to_sixd(parameters.rotations).flatten(-2)
    return Claim(sixd, parameters.betas, points.keypoints, pixels), points.joints


class GroupSampler:
    """Observations -> a ``Group``: the base's hypotheses, then perturbed truths."""

    def __init__(self, base: BaseModel, body: BodyModel, own: int = 8, perturbed: int = 4) -> None:
        self.base, self.body, self.own, self.perturbed = base.eval(), body, own, perturbed

    @torch.no_grad()
    def __call__(self, batch: Observations, generator: torch.Generator) -> Group:
        noise = torch.stack([hypothesis_noise(self.own, generator) for _ in range(len(batch.betas))])
        drawn = unpack(self.base.sample(batch.condition(), noise))
        if self.perturbed:
            near = self._perturb(batch, generator)
            drawn = BodyParameters(
                torch.cat([drawn.rotations, near.rotations], 1),
                torch.cat([drawn.betas, near.betas], 1),
                torch.cat([drawn.camera, near.camera], 1),
            )
        claim, joints = claim_of(drawn, batch, self.body)
        true = batch.joints_m[:, None].expand_as(joints)
        return Group(
            evidence_of(batch, generator),
            claim,
            mpjpe_mm(joints, true).float(),
            pa_mpjpe_mm(joints, true).float(),
        )

    def _perturb(self, batch: Observations, generator: torch.Generator) -> BodyParameters:
        count = (len(batch.betas), self.perturbed)
        sigma = 0.03 + 0.25 * torch.rand(*count, 1, 1, generator=generator).square()
        noise = torch.randn(*count, 24, 3, generator=generator) * sigma
        noise[:, :, 0] *= 0.5
        rotations = batch.rotations[:, None] @ axis_angle_to_matrix(noise)
        betas = batch.betas[:, None] + 0.3 * torch.randn(*count, 10, generator=generator)
        return BodyParameters(rotations, betas, batch.camera[:, None].expand(-1, self.perturbed, -1))


class ScorerStep:
    """(group, step number) -> ranking on MPJPE and PA-MPJPE, and the error head's loss."""

    def __init__(self, scorer: HMRScorer) -> None:
        self.scorer = scorer

    def __call__(self, group: Group, step: int) -> tuple[Tensor, dict[str, float]]:
        scores, expected_mm = self.scorer(group.evidence, group.claim)
        rank = ranking_loss(scores, group.mpjpe_mm)
        rank_pa = ranking_loss(scores, group.pa_mpjpe_mm)
        # Relative error: 20 mm off matters at 40 mm, not at 200 mm.
        error = ((expected_mm.clamp_min(1).log() - group.mpjpe_mm.clamp_min(1).log()).abs()).mean()
        parts = {"rank_mpjpe": rank, "rank_pa_mpjpe": rank_pa, "expected_error": error}
        return rank + 0.5 * rank_pa + error, {k: float(v.detach()) for k, v in parts.items()}


def group_batches(
    sampler: ObservationSampler, groups: GroupSampler, batch_size: int, seed: int, start: int = 0,
    pictures: PictureBatches | None = None,
) -> Iterator[Group]:  # fmt: skip
    """An endless stream; group k depends on (seed, k) alone. People with pictures come first where there are any."""
    k = start
    while True:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + k)
        people = sampler.sample(batch_size, generator)
        if pictures is not None:
            people = concatenate([pictures.at(k, seed), people])
        yield groups(people, generator)
        k += 1


@torch.no_grad()
def evaluate(
    scorer: HMRScorer,
    base: BaseModel,
    body: BodyModel,
    batch: Observations,
    *,
    hyps: int = 20,
    seed: int = 99,
) -> dict[str, float]:
    """Rank correlation within a person, and the four figures, on the base model's own hypotheses."""
    scorer.eval()
    generator = torch.Generator().manual_seed(seed)
    group = GroupSampler(base, body, own=hyps, perturbed=0)(batch, generator)
    evidence = evidence_of(batch)
    scores, expected_mm = scorer(evidence, group.claim)
    errors = group.mpjpe_mm.numpy()
    chosen = scores.argmax(1).numpy()
    figures = four_figures(errors, chosen)
    pa = four_figures(group.pa_mpjpe_mm.numpy(), chosen)
    order = scores.argsort(1, descending=True)
    ranked = np.take_along_axis(errors, order.numpy(), 1)
    return {
        "srcc_group": float(np.mean([spearman(s, -e) for s, e in zip(scores.numpy(), errors, strict=True)])),
        "plcc_expected": float(np.corrcoef(expected_mm.flatten().numpy(), errors.ravel())[0, 1]),
        **{f"mpjpe_{k}{'' if k == 'selection_gain' else '_mm'}": v for k, v in figures.to_dict().items()},
        **{f"pa_mpjpe_{k}{'' if k == 'selection_gain' else '_mm'}": v for k, v in pa.to_dict().items()},
        "pair_precision": float((ranked[:, :3] < ranked[:, ::-1][:, :3]).mean()),
    }
