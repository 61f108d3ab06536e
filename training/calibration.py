"""What a base model's spreads are worth, measured on people whose truth is known and whom it didn't learn from.

Two things are settled. The temperature of the initial noise is the one whose hypotheses lie best about the truth by
the energy score (Gneiting and Raftery, JASA 2007, eq. 22), a proper rule: neither too sure nor too vague pays. With it,
each joint's expected error and interval are fitted to the spread (``core/scoring/confidence.py``): on half of the
people, so that the other half says how well that holds, and then on all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from alignhmr.core.metrics.hypotheses import Calibration, calibration, spread_mm
from alignhmr.core.perception.views import from_jpeg
from alignhmr.core.records import Intrinsics, Person
from alignhmr.core.recovery import Recoverer, RecoveryRequest
from alignhmr.core.scoring.confidence import JointConfidence, fit_confidence, interval_coverage
from alignhmr.training.sightings import Sighting, view_of

TEMPERATURES: tuple[float, ...] = (0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0, 2.4, 2.8, 3.4)


@dataclass(frozen=True)
class Answers:
    """Root-relative joints of everyone's hypotheses beside the truth, metres."""

    joints_m: Float[np.ndarray, "people hyps joints 3"]
    true_m: Float[np.ndarray, "people joints 3"]
    selected: np.ndarray
    groups: list[str]

    @property
    def spread_mm(self) -> Float[np.ndarray, "people joints"]:
        return np.stack([spread_mm(joints) for joints in self.joints_m])

    @property
    def error_mm(self) -> Float[np.ndarray, "people joints"]:
        """Of the selected answers."""
        chosen = self.joints_m[np.arange(len(self.selected)), self.selected]
        return 1000 * np.linalg.norm(chosen - self.true_m, axis=-1)

    def part(self, keep: np.ndarray) -> "Answers":
        groups = [group for group, kept in zip(self.groups, keep, strict=True) if kept]
        return Answers(self.joints_m[keep], self.true_m[keep], self.selected[keep], groups)


@dataclass(frozen=True)
class Calibrated:
    """What was settled, and how it does on the half of the people that it wasn't fitted on."""

    temperature: float
    energy_mm: dict[float, float]
    """Energy score of each temperature; smaller is better."""
    confidence: JointConfidence
    coverage: float
    """Share of true joint errors in their 90 % interval."""
    before: Calibration
    """Spread as it is, taken for the expected error, beside the actual one."""
    after: Calibration
    people: int


def answer(
    recoverer: Recoverer, sightings: Sequence[Sighting], *, hypotheses: int = 20, seed: int = 0
) -> Answers:
    """Everyone's hypotheses, as users get them: with the detector's keypoints, the scorer's choice, and a view."""
    joints, true, selected = [], [], []
    for index, sighting in enumerate(sightings):
        [recovery] = recoverer.recover_batch([request_of(sighting, seed + index, hypotheses)])
        found = recovery.hypotheses.joints_cam_m
        joints.append(found - found[:, :1])
        true.append(sighting.smpl24_cam_m - sighting.smpl24_cam_m[:1])
        selected.append(recovery.selected)
    return Answers(np.stack(joints), np.stack(true), np.array(selected), [s.group for s in sightings])


def request_of(sighting: Sighting, seed: int, hypotheses: int) -> RecoveryRequest:
    """What a user would ask about that person, the true box and camera being given."""
    person = Person(
        box_px=np.asarray(sighting.box_px), score=float(sighting.score), keypoints_px=sighting.keypoints_px,
        keypoints_3d_m=sighting.keypoints_3d_m, view=view_of(sighting, from_jpeg(sighting.crop_jpeg)),
    )  # fmt: skip
    x, y = (float(value) for value in sighting.center_px)
    return RecoveryRequest(person, Intrinsics(float(sighting.focal_px), (x, y), "given"), seed, hypotheses)


def energy_mm(answers: Answers) -> float:
    """Mean energy score over people and joints: E|x - y| - E|x - x'| / 2, of the hypotheses that are draws."""
    draws = torch.from_numpy(answers.joints_m[:, 1:]).transpose(1, 2)
    true = torch.from_numpy(answers.true_m)[:, :, None]
    count = draws.shape[2]
    off = (draws - true).norm(dim=-1).mean(-1)
    apart = torch.cdist(draws, draws).sum((-1, -2)) / (count * (count - 1))
    return float(1000 * (off - apart / 2)[:, 1:].mean())


def calibrate(
    recoverer: Recoverer, sightings: Sequence[Sighting], *, hypotheses: int = 20, seed: int = 0, data: str = "",
    temperatures: Sequence[float] = TEMPERATURES,
) -> Calibrated:  # fmt: skip
    """Settles temperature and confidence; the recoverer's own model isn't changed.

    People of one clip stay on one side of the halves. InputError for fewer than 100 people.
    """
    base = recoverer.base
    config = base.config
    energies, found = {}, {}
    try:
        for temperature in temperatures:
            base.config = replace(config, temperature=float(temperature))
            found[temperature] = answer(recoverer, sightings, hypotheses=hypotheses, seed=seed)
            energies[float(temperature)] = energy_mm(found[temperature])
    finally:
        base.config = config
    best = min(energies, key=energies.__getitem__)
    answers = found[best]
    side = _halves(answers.groups)
    fitted, judged = answers.part(side), answers.part(~side)
    confidence = fit_confidence(fitted.spread_mm, fitted.error_mm, hypotheses=hypotheses, data=data)
    told, error, spread = confidence.of(judged.spread_mm), judged.error_mm, judged.spread_mm
    return Calibrated(
        temperature=best,
        energy_mm=energies,
        confidence=fit_confidence(answers.spread_mm, answers.error_mm, hypotheses=hypotheses, data=data),
        coverage=interval_coverage(told, error),
        before=calibration(spread[:, 1:].ravel(), error[:, 1:].ravel()),
        after=calibration(told[:, 1:, 0].ravel(), error[:, 1:].ravel()),
        people=len(sightings),
    )


def _halves(groups: Sequence[str]) -> np.ndarray:
    """Every other group, in the order of their names."""
    order = {group: number for number, group in enumerate(sorted(set(groups)))}
    return np.array([order[group] % 2 == 0 for group in groups])
