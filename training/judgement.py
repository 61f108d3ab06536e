"""Before and after: what an alignment did to the model on people that it was not trained on.

Two tables. People that were made, in held-out motion, have a truth: the four figures. People in held-out
photos have none: the scorer's reward, its expected error, and the 2D error of the projected keypoints as a
share of the crop. Before and after draw the same noise for the same person, so that a change is the model's.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from alignhmr.core.body.model import BodyModel
from alignhmr.core.diffusion.condition import MIN_CONFIDENCE
from alignhmr.core.diffusion.encoder import Encoded
from alignhmr.core.diffusion.model import BaseModel, hypothesis_noise
from alignhmr.core.diffusion.parameters import unpack
from alignhmr.core.metrics.positions import mpjpe_mm, pa_mpjpe_mm
from alignhmr.core.placement import Bodies, Sight, place
from alignhmr.core.scoring.evidence import Claim, Evidence
from alignhmr.core.scoring.scorer import HMRScorer
from alignhmr.core.synthetic.observations import Observations
from alignhmr.training.data import People
from alignhmr.training.scorer import evidence_of

PerPerson = dict[str, Float[np.ndarray, "people"]]


@dataclass(frozen=True)
class Change:
    """One figure before and after, and half the 95 % interval of the paired change over people."""

    before: float
    after: float
    ci95: float

    @property
    def difference(self) -> float:
        return self.after - self.before


@dataclass(frozen=True)
class Verdict:
    """Whether the new model is to be kept, in words."""

    kept: bool
    reason: str

    def __str__(self) -> str:
        return f"kept: {'yes' if self.kept else 'no'}, {self.reason}"


@dataclass(frozen=True)
class Judgement:
    """Both tables. Names end in the unit; every figure but ``reward`` is better when smaller."""

    made_people: dict[str, Change]
    photos: dict[str, Change]
    people: dict[str, int]
    """How many were judged in each."""
    verdict: Verdict

    def to_dict(self) -> dict:
        tree = asdict(self)
        tree["verdict"] = {**tree["verdict"], "text": str(self.verdict)}
        return tree


def judge(
    before: BaseModel, after: BaseModel, scorer: HMRScorer, body: BodyModel, made: Observations | None,
    photos: People | None, *, hypotheses: int = 20, seed: int = 0,
) -> Judgement:  # fmt: skip
    """Figures of both models on both kinds of held-out people, and a verdict."""

    def table(figures: Callable[[BaseModel], PerPerson]) -> dict[str, Change]:
        first, second = figures(before), figures(after)
        return {name: _change(first[name], second[name]) for name in first}

    on_made, on_photos = {}, {}
    if made is not None:
        on_made = table(lambda model: _on_made(model, scorer, body, made, hypotheses, seed))
    if photos is not None and len(photos):
        on_photos = table(lambda model: _on_photos(model, scorer, body, photos, hypotheses, seed))
    people = {"made": 0 if made is None else len(made.betas), "photos": 0 if photos is None else len(photos)}
    return Judgement(on_made, on_photos, people, _verdict(on_made, on_photos))


@torch.no_grad()
def _on_made(
    model: BaseModel, scorer: HMRScorer, body: BodyModel, made: Observations, hypotheses: int, seed: int
) -> PerPerson:
    scores, _, bodies = _answers(
        model, scorer, body, made, model.encode(made.condition()), evidence_of(made), hypotheses, seed
    )
    joints = bodies.joints_m
    figures: PerPerson = {}
    selected = scores.argmax(1)
    true = made.joints_m[:, None].expand_as(joints)
    for name, metric in (("mpjpe", mpjpe_mm), ("pa_mpjpe", pa_mpjpe_mm)):
        errors = metric(joints, true).numpy()
        figures[f"{name}_zero_noise_mm"] = errors[:, 0]
        figures[f"{name}_mean_mm"] = errors.mean(1)
        figures[f"{name}_selected_mm"] = errors[np.arange(len(errors)), selected.numpy()]
        figures[f"{name}_best_of_m_mm"] = errors.min(1)
    return figures


@torch.no_grad()
def _on_photos(
    model: BaseModel, scorer: HMRScorer, body: BodyModel, photos: People, hypotheses: int, seed: int
) -> PerPerson:
    evidence = photos.evidence(scorer.config.crop_px if scorer.sees_pixels else None)
    scores, expected_mm, bodies = _answers(
        model, scorer, body, photos, photos.encoded(model), evidence, hypotheses, seed
    )
    joints, pixels = bodies.joints_m, bodies.keypoints_px
    confidence = photos.keypoints_px[..., 2] * (photos.keypoints_px[..., 2] >= MIN_CONFIDENCE)
    off_px = (pixels - photos.keypoints_px[:, None, :, :2]).norm(dim=-1)
    off = (off_px * confidence[:, None]).sum(-1) / confidence.sum(-1, keepdim=True).clamp_min(1e-6)
    off_pct = 100 * off / photos.crop_px[:, None, 2]
    relative = joints - joints[..., :1, :]
    spread_mm = 1000 * relative.std(1, correction=0).square().sum(-1).sqrt().mean(-1)
    rows, selected = torch.arange(len(scores)), scores.argmax(1)
    figures = {
        "reward_zero_noise": scores[:, 0],
        "reward_selected": scores[rows, selected],
        "expected_error_zero_noise_mm": expected_mm[:, 0],
        "expected_error_selected_mm": expected_mm[rows, selected],
        "error_2d_zero_noise_pct_of_crop": off_pct[:, 0],
        "error_2d_selected_pct_of_crop": off_pct[rows, selected],
        "spread_mm": spread_mm,
    }
    return {name: value.double().numpy() for name, value in figures.items()}


def _answers(
    model: BaseModel, scorer: HMRScorer, body: BodyModel, seen: Sight, encoded: Encoded,
    evidence: Evidence, hypotheses: int, seed: int,
) -> tuple[Tensor, Tensor, Bodies]:  # fmt: skip
    """Scores and expected errors of each hypothesis, and what it says."""
    noise = torch.stack(
        [
            hypothesis_noise(hypotheses, torch.Generator().manual_seed(seed + i))
            for i in range(len(encoded.vector))
        ]
    )
    bodies = place(unpack(model.eval().sample(encoded, noise)), body, seen)
    rating = scorer.eval()(evidence, Claim.of(bodies, seen.crop_px))
    return rating.score, rating.error_mm, bodies


def _change(before: np.ndarray, after: np.ndarray) -> Change:
    difference = after - before
    half = 1.96 * difference.std(ddof=1) / math.sqrt(len(difference)) if len(difference) > 1 else math.inf
    return Change(float(before.mean()), float(after.mean()), float(half))


def _verdict(made: dict[str, Change], photos: dict[str, Change]) -> Verdict:
    """Kept when the deployable answers are better on held-out photos and no worse on people with a truth."""
    if not photos:
        return Verdict(False, "no photo was held out, so nothing says that it is better; label more pictures")
    rewards = (photos["reward_zero_noise"], photos["reward_selected"])
    reward = sum(change.difference for change in rewards)
    off = photos["error_2d_zero_noise_pct_of_crop"]
    truth = [made[name] for name in ("mpjpe_zero_noise_mm", "mpjpe_selected_mm") if name in made]
    worst = max((100 * change.difference / change.before for change in truth), default=0.0)
    if not math.isfinite(reward):
        return Verdict(False, "its answers are not finite numbers; lower the learning rate")
    if reward == 0:
        return Verdict(False, "the scorer's reward on held-out photos is what it was: no step made it better")
    if reward < 0:
        return Verdict(False, f"the scorer's reward on held-out photos fell by {-reward / 2:.3f}")
    if off.after > 1.02 * off.before:
        return Verdict(
            False,
            f"the 2D error on held-out photos rose from {off.before:.2f} to {off.after:.2f} % of the crop",
        )
    if worst > 2:
        return Verdict(False, f"the error on made people with a truth rose by {worst:.1f} %")
    cost = f"; the error on made people changed by {worst:+.1f} %" if truth else ""
    if not any(change.difference > change.ci95 for change in rewards):
        return Verdict(
            False,
            f"the scorer's reward on held-out photos rose by {reward / 2:.3f}, within its 95 % interval: nothing"
            f" shows that it is better, more pictures might{cost}",
        )
    return Verdict(
        True, f"the scorer's reward on held-out photos rose by {reward / 2:.3f}, beyond chance{cost}"
    )
