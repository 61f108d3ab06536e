"""How HMR-Scorer learns: to rank hypotheses whose truth is known, of people that were made.

Hypotheses are the frozen base model's own (what it will be asked to rank), drawn now and then from a part of the
evidence alone, as a worse model would draw them; and labels (``perturbation.py``): truths with noise, so that it knows
what right looks like, and wrong ones. Evidence is taken away at random, so that any subset of it is enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from alignhmr.core.body.model import BodyModel
from alignhmr.core.diffusion.condition import Condition
from alignhmr.core.diffusion.model import BaseModel, hypothesis_noise
from alignhmr.core.diffusion.parameters import unpack
from alignhmr.core.metrics.hypotheses import four_figures
from alignhmr.core.metrics.positions import mpjpe_mm, pa_mpjpe_mm, pa_pve_mm, pve_mm, root_errors_mm
from alignhmr.core.metrics.ranking import spearman
from alignhmr.core.placement import Bodies, place, together
from alignhmr.core.scoring.evidence import Claim, Evidence
from alignhmr.core.scoring.scorer import HMRScorer, Rating, ranking_loss
from alignhmr.core.synthetic.observations import Observations
from alignhmr.training.base import BaseLossWeights, ImageTruth, image_losses
from alignhmr.training.base_batches import Rows
from alignhmr.training.perturbation import Perturbation
from alignhmr.training.workers import mean_over_workers

RANKED = ("mpjpe", "pa_mpjpe", "pve", "pa_pve")
"""Errors that hypotheses are ranked by."""
_EVERY_VERTEX = 4
"""One vertex in so many stands for the surface."""


@dataclass(frozen=True)
class ScorerLossWeights:
    mpjpe: float = 1.0
    pa_mpjpe: float = 0.5
    pve: float = 0.5
    pa_pve: float = 0.25
    error: float = 0.5
    joint_error: float = 0.5
    image: float = 0.1
    """Of what the image encoder answers about joints, beside the ranking: with its weights in the base model."""


@dataclass(frozen=True)
class ScorerDropRates:
    """Probabilities that a kind of evidence is hidden from a person who has it."""

    image: float = 0.1
    keypoints: float = 0.1
    detector_3d: float = 0.15
    silhouette: float = 0.15
    proposals: float = 0.1
    """What the base drew of them, taken together."""
    generator: float = 0.15
    """That the hypotheses are drawn without the picture, and as often without keypoints."""


@dataclass(frozen=True)
class Group:
    """People with hypotheses and their true errors."""

    evidence: Evidence
    claim: Claim
    errors_mm: dict[str, Float[Tensor, "people hyps"]]
    joint_errors_mm: Float[Tensor, "people hyps 24"]
    own: int
    """The first so many hypotheses are the base's; the others are perturbed truths."""
    batch: Observations


def evidence_of(batch: Observations) -> Evidence:
    """All that was observed of made people."""
    has_3d = batch.detector_3d_m.abs().sum((-1, -2)) > 0
    return Evidence.observed(
        batch.condition(), batch.crop_px, batch.detector_3d_m, has_3d, batch.silhouettes, batch.has_silhouette
    )


class GroupSampler:
    """Observations -> a ``Group``: the base's hypotheses, then perturbed truths."""

    def __init__(
        self, base: BaseModel, body: BodyModel, own: int = 8, perturbed: int = 4,
        rates: ScorerDropRates | None = None, perturbation: Perturbation | None = None,
    ) -> None:  # fmt: skip
        self.perturbation = perturbation or Perturbation()
        self.base, self.body, self.own, self.perturbed = base.eval(), body, own, perturbed
        self.rates = rates or ScorerDropRates()

    @torch.no_grad()
    def __call__(
        self, batch: Observations, generator: torch.Generator, rows: Rows | None = None, *, drop: bool = True
    ) -> Group:
        """What is drawn for a person depends on the person's row in the whole batch."""
        rows = rows or Rows.whole(len(batch))
        device = batch.betas.device
        draw = torch.rand(rows.of, 7, generator=generator)[rows.index].to(device)
        seeds = torch.randint(2**31, (rows.of,), generator=generator)[rows.index]
        condition, evidence = batch.condition(), evidence_of(batch)
        if drop:
            condition, evidence = self._dropped(condition, evidence, draw)
        each = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        noise = torch.stack([hypothesis_noise(self.own, one) for one in each]).to(device)
        drawn = unpack(self.base.sample(self._resized(condition), noise))
        bodies = place(drawn, self.body, batch)
        evidence = evidence.with_proposals(Claim.of(bodies, batch.crop_px))
        if drop:
            evidence = evidence.keep(proposals=draw[:, 6] >= self.rates.proposals)
        if self.perturbed:
            labels = self.perturbation(batch, self.perturbed, each)
            bodies = together([bodies, place(labels, self.body, batch)])
        return Group(evidence, Claim.of(bodies, batch.crop_px), *self._errors(bodies, batch), self.own, batch)

    def _dropped(
        self, condition: Condition, evidence: Evidence, draw: Float[Tensor, "people 7"]
    ) -> tuple[Condition, Evidence]:
        r = self.rates
        without_image = draw[:, 0] < r.generator
        without_keypoints = ~without_image & (draw[:, 0] < 2 * r.generator)
        condition = condition.keep(
            image=~without_image | ~condition.has_keypoints,
            keypoints=~(without_keypoints & condition.has_image),
        )
        evidence = evidence.keep(
            draw[:, 1] >= r.image, draw[:, 2] >= r.keypoints, draw[:, 3] >= r.detector_3d, draw[:, 4] >= r.silhouette
        )  # fmt: skip
        return condition, evidence

    def _resized(self, condition: Condition) -> Condition:
        """With crops as the base wants them; the batch holds the scorer's."""
        side = self.base.config.crop_px
        as_they_are = condition.crops.shape[-1] == side or condition.crops.shape[1] != 3
        if not self.base.sees_pixels or not len(condition.crops) or as_they_are:
            return condition
        crops = nn.functional.interpolate(
            condition.crops, (side, side), mode="bilinear", antialias=True, align_corners=False
        )
        return Condition(**{**vars(condition), "crops": crops})

    def _errors(self, bodies: Bodies, batch: Observations) -> tuple[dict[str, Tensor], Tensor]:
        joints, true = bodies.joints_m, batch.joints_m[:, None].expand_as(bodies.joints_m)
        mesh = self.body.vertices(bodies.parameters.rotations, bodies.parameters.betas)[
            ..., ::_EVERY_VERTEX, :
        ]
        true_mesh = self.body.vertices(batch.rotations, batch.betas)[:, None, ::_EVERY_VERTEX].expand_as(mesh)
        errors = {
            "mpjpe": mpjpe_mm(joints, true),
            "pa_mpjpe": pa_mpjpe_mm(joints, true),
            "pve": pve_mm(mesh, true_mesh, joints[..., 0, :], true[..., 0, :]),
            "pa_pve": pa_pve_mm(mesh, true_mesh),
        }
        return {name: value.float() for name, value in errors.items()}, root_errors_mm(joints, true).float()


class ScorerStep(nn.Module):
    """(batch, step number) -> ranking losses, those of the expected errors, and what the image encoder learns.

    Hypotheses are drawn here, where the accelerator is; what is drawn at a step depends on (seed, step) alone.
    """

    def __init__(
        self, scorer: HMRScorer, groups: GroupSampler, seed: int = 0, weights: ScorerLossWeights | None = None,
        rows: Rows | None = None, image: BaseLossWeights | None = None,
    ) -> None:  # fmt: skip
        """``rows`` says which people of the global batch its batches hold; all of them by default."""
        super().__init__()
        self.scorer, self.weights = scorer, weights or ScorerLossWeights()
        self.groups, self.seed, self.rows = groups, seed, rows
        self.image = image or BaseLossWeights()

    def forward(self, batch: Observations, step: int) -> tuple[Tensor, dict[str, float]]:
        generator = torch.Generator().manual_seed(self.seed * 7_919 + step)
        return self.losses(self.groups(batch, generator, self.rows))

    def losses(self, group: Group) -> tuple[Tensor, dict[str, float]]:
        """Of people whose hypotheses are there."""
        w = self.weights
        seen, tokens = self.scorer.look_closely(group.evidence)
        rating = self.scorer.rate(seen, group.claim)
        parts = {
            f"rank_{name}": getattr(w, name) * _ranking(rating.score, group.errors_mm[name], group.own)
            for name in RANKED
            if getattr(w, name)
        }
        parts |= _expected(rating, group, w)
        if self.scorer.sees_pixels and w.image:
            truth = ImageTruth.of(group.batch, group.evidence.condition.has_image)
            counts = torch.stack([truth.inside.sum(), truth.inside.new_tensor(len(truth.inside))])
            inside, images = mean_over_workers(counts)
            answered = image_losses(self.image, tokens, truth, inside, images)
            parts |= {name: w.image * value for name, value in answered.items()}
        return torch.stack(list(parts.values())).sum(), {k: float(v.detach()) for k, v in parts.items()}


def _ranking(
    scores: Float[Tensor, "people hyps"], errors_mm: Float[Tensor, "people hyps"], own: int
) -> Float[Tensor, ""]:
    """The base's hypotheses among themselves; perturbed truths only where there are no others.

    Ranked against each other, they teach to tell who made them, which is easy, and hardly anything else; ranked apart,
    too, perturbed truths teach less than the base's alone (README of ``core/scoring``).
    """
    part = slice(0, own) if own > 1 else slice(own, None)
    return ranking_loss(scores[:, part], errors_mm[:, part])


def _expected(rating: Rating, group: Group, w: ScorerLossWeights) -> dict[str, Tensor]:
    """Relative errors: 20 mm off matters at 40 mm, not at 200 mm."""

    def apart(expected: Tensor, true: Tensor) -> Tensor:
        return ((expected + 10).log() - (true + 10).log()).abs().mean()

    return {
        "error": w.error * apart(rating.error_mm, group.errors_mm["mpjpe"]),
        "joint_error": w.joint_error * apart(rating.joint_error_mm[..., 1:], group.joint_errors_mm[..., 1:]),
    }


@torch.no_grad()
def evaluate(
    scorer: HMRScorer, base: BaseModel, body: BodyModel, batch: Observations, *, hyps: int = 20, seed: int = 99
) -> dict[str, float]:  # fmt: skip
    """Rank correlation within a person, and the four figures, on the base model's own hypotheses."""
    sampler = GroupSampler(base, body, own=hyps, perturbed=0)
    device = next(scorer.parameters()).device
    parts = [batch.take(slice(start, start + 32)).to(device) for start in range(0, len(batch), 32)]
    return judged(
        scorer,
        [
            sampler(part, torch.Generator().manual_seed(seed + index), drop=False)
            for index, part in enumerate(parts)
        ],
    )


@torch.no_grad()
def judged(scorer: HMRScorer, groups: Sequence[Group]) -> dict[str, float]:
    """What ``evaluate`` says, of groups that are there."""
    scorer.eval()
    ratings = [scorer(group.evidence, group.claim) for group in groups]
    scores = torch.cat([rating.score for rating in ratings]).cpu().numpy()
    expected_mm = torch.cat([rating.error_mm for rating in ratings]).cpu().numpy()
    errors, pa_errors = (
        torch.cat([group.errors_mm[name] for group in groups]).cpu().numpy() for name in ("mpjpe", "pa_mpjpe")
    )
    chosen = scores.argmax(1)
    figures, pa = four_figures(errors, chosen), four_figures(pa_errors, chosen)
    ranked = np.take_along_axis(errors, np.argsort(-scores, axis=1), 1)
    return {
        "srcc_group": float(np.mean([spearman(s, -e) for s, e in zip(scores, errors, strict=True)])),
        "plcc_expected": float(np.corrcoef(expected_mm.ravel(), errors.ravel())[0, 1]),
        **{f"mpjpe_{k}{'' if k == 'selection_gain' else '_mm'}": v for k, v in figures.to_dict().items()},
        **{f"pa_mpjpe_{k}{'' if k == 'selection_gain' else '_mm'}": v for k, v in pa.to_dict().items()},
        "pair_precision": float((ranked[:, :3] < ranked[:, ::-1][:, :3]).mean()),
    }
