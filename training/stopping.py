"""When an alignment has had enough, by people in held-out photos: the scorer's reward, and how far answers drifted.

Accuracy and margin rise while the model breaks. So the policy is judged on the way by what it is for: the reward of its
zero-noise answer and of the answer that the scorer selects, and the distance of its zero-noise answers from the
reference's. The reference is judged first, as step 0. What ships is the judgement's best within the drift allowed; the
run ends where the reward no longer rises, or the drift is too large.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.diffusion.model import BaseModel, hypothesis_noise
from alignhmr.core.diffusion.parameters import unpack
from alignhmr.core.metrics.positions import mpjpe_mm
from alignhmr.core.placement import place
from alignhmr.core.scoring.evidence import Claim
from alignhmr.core.scoring.scorer import HMRScorer
from alignhmr.training.data import People

Judged = dict[str, float]
"""``step``, ``reward_zero_noise``, ``reward_selected``, ``reward`` (the mean of both), ``drift_mm``."""


@dataclass(frozen=True)
class StopRule:
    """How often, on how many held-out people with how many hypotheses each, and what ends a run."""

    every: int = 20
    """Steps."""
    patience: int = 3
    """Judgements in a row without a new best."""
    drift_mm: float = 40.0
    """Mean distance of joints from the reference's, roots aligned; whoever is further away answers something else."""
    people: int = 64
    hypotheses: int = 8


def best_of(judged: Sequence[Judged], rule: StopRule) -> Judged:
    """The highest reward within the drift allowed; of equals the first. Step 0 has no drift."""
    allowed = [one for one in judged if one["drift_mm"] <= rule.drift_mm]
    return max(allowed, key=lambda one: one["reward"] if math.isfinite(one["reward"]) else -math.inf)


def reason_to_stop(judged: Sequence[Judged], rule: StopRule) -> str | None:
    """A sentence where the last judgement is the last that is needed, else None."""
    last, best = judged[-1], best_of(judged, rule)
    # Written so that a drift that is no number is too large.
    if not last["drift_mm"] <= rule.drift_mm:
        return (
            f"at step {last['step']} answers had drifted {last['drift_mm']:.1f} mm from the reference's, and"
            f" {rule.drift_mm:g} mm are allowed"
        )
    since = sum(one["step"] > best["step"] for one in judged)
    if since >= rule.patience:
        return (
            f"the reward on held-out photos has not risen in {since} judgements since step {best['step']}"
            f" ({best['reward']:.3f}, then {last['reward']:.3f})"
        )
    return None


class HeldOutReward:
    """Policy -> what held-out photos say of it; the same people, draws and evidence each time.

    The scorer isn't told what a generator drew: policy and reference are to be judged by the same evidence. Bodies are
    few, and are placed and scored on the CPU.
    """

    @torch.no_grad()
    def __init__(
        self, reference: BaseModel, scorer: HMRScorer, body: BodyModel, photos: People, rule: StopRule, *,
        seed: int = 0, device: str | torch.device = "cpu",
    ) -> None:  # fmt: skip
        # By digest: the first rows may all be of one video.
        chosen = np.argsort(photos.image_sha256, kind="stable")[: rule.people]
        self._photos, self._body, self._scorer = photos.take(chosen), body, scorer.eval()
        self._encoded = self._photos.encoded(reference, device)
        self._seen = scorer.look(self._photos.evidence(scorer.config.crop_px if scorer.sees_pixels else None))
        self._noise = torch.stack(
            [
                hypothesis_noise(rule.hypotheses, torch.Generator().manual_seed(seed + person))
                for person in range(len(chosen))
            ]
        ).to(device)
        self._joints_m = self._answers(reference).joints_m[:, 0]

    @torch.no_grad()
    def __call__(self, policy: BaseModel, step: int) -> Judged:
        bodies = self._answers(policy)
        scores = self._scorer.rate(self._seen, Claim.of(bodies, self._photos.crop_px)).score
        zero_noise, selected = float(scores[:, 0].mean()), float(scores.max(1).values.mean())
        return {
            "step": step,
            "reward_zero_noise": zero_noise,
            "reward_selected": selected,
            "reward": (zero_noise + selected) / 2,
            "drift_mm": float(mpjpe_mm(bodies.joints_m[:, 0], self._joints_m).mean()),
        }

    def _answers(self, model: BaseModel):
        return place(unpack(model.sample(self._encoded, self._noise).cpu()), self._body, self._photos)
