"""What a base model's spreads are worth, measured on people whose truth is known and whom it didn't learn from.

Two things are settled. The temperature of the initial noise is the one whose hypotheses lie best about the truth by
the energy score (Gneiting and Raftery, JASA 2007, eq. 22), a proper rule: neither too sure nor too vague pays; among
those whose mean hypothesis is hardly worse than the zero-noise answer. With it, each joint's expected error and
interval are fitted to the spread, and those of the whole answer to what the scorer expects
(``core/scoring/confidence.py``): on half of the people, so that the other half says how well that holds, and then on
all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from alignhmr.core.metrics.hypotheses import Calibration, calibration, spread_mm
from alignhmr.core.perception.views import from_jpeg
from alignhmr.core.records import Intrinsics, Person
from alignhmr.core.recovery import Recoverer, Recovery, RecoveryRequest
from alignhmr.core.scoring.confidence import (
    ErrorConfidence,
    JointConfidence,
    fit_confidence,
    fit_error_confidence,
    interval_coverage,
)
from alignhmr.training.sightings import Sighting, view_of

DEAREST = 0.08
"""How far above the zero-noise answer's error the mean of all hypotheses may lie."""
TEMPERATURES: tuple[float, ...] = (0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0, 2.4, 2.8, 3.4)
TRIED_ON = 300
"""People by whom temperatures are compared, at most; what spreads and scores are worth is fitted on all."""


@dataclass(frozen=True)
class Answers:
    """Root-relative joints of everyone's hypotheses beside the truth, metres."""

    joints_m: Float[np.ndarray, "people hyps joints 3"]
    true_m: Float[np.ndarray, "people joints 3"]
    selected: np.ndarray
    expected_mm: Float[np.ndarray, "people"]
    """What the scorer told of the selected answers."""
    groups: list[str]

    @property
    def mpjpe_mm(self) -> Float[np.ndarray, "people hyps"]:
        return 1000 * np.linalg.norm(self.joints_m - self.true_m[:, None], axis=-1).mean(-1)

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
        return Answers(
            self.joints_m[keep], self.true_m[keep], self.selected[keep], self.expected_mm[keep], groups
        )


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
    scorer: ErrorConfidence
    scorer_coverage: float
    """Share of selected answers whose true error lies in the 90 % interval of what the scorer expects."""
    scorer_after: Calibration


def answer(
    recoverer: Recoverer, sightings: Sequence[Sighting], temperatures: Sequence[float], *, hypotheses: int = 20,
    seed: int = 0,
) -> dict[float, Answers]:  # fmt: skip
    """Everyone's hypotheses at each temperature, as users get them: with the detector's keypoints, the scorer's choice,
    and a view, which is looked at once."""
    base, config = recoverer.base, recoverer.base.config
    found: dict[float, list[Recovery]] = {float(temperature): [] for temperature in temperatures}
    try:
        for index, sighting in enumerate(sightings):
            request = request_of(sighting, seed + index, hypotheses)
            for temperature, recoveries in found.items():
                base.config = replace(config, temperature=temperature)
                recoveries += recoverer.recover_batch([request])
    finally:
        base.config = config
    return {temperature: _beside_truth(recoveries, sightings) for temperature, recoveries in found.items()}


def _beside_truth(recoveries: Sequence[Recovery], sightings: Sequence[Sighting]) -> Answers:
    joints = np.stack([recovery.hypotheses.joints_cam_m for recovery in recoveries])
    true = np.stack([sighting.smpl24_cam_m for sighting in sightings])
    selected = [recovery.selected for recovery in recoveries]
    expected = [recovery.hypotheses.expected_error_mm[recovery.selected] for recovery in recoveries]
    groups = [sighting.group for sighting in sightings]
    return Answers(
        joints - joints[:, :, :1], true - true[:, :1], np.array(selected), np.array(expected), groups
    )


def request_of(sighting: Sighting, seed: int, hypotheses: int) -> RecoveryRequest:
    """What a user would ask about that person, the true box and camera being given."""
    person = Person(
        box_px=np.asarray(sighting.box_px), score=float(sighting.score), keypoints_px=sighting.keypoints_px,
        keypoints_3d_m=sighting.keypoints_3d_m, mask=sighting.mask,
        mask_box_px=None if sighting.mask is None else _window_box(sighting),
        view=view_of(sighting, from_jpeg(sighting.crop_jpeg)),
    )  # fmt: skip
    x, y = (float(value) for value in sighting.center_px)
    return RecoveryRequest(person, Intrinsics(float(sighting.focal_px), (x, y), "given"), seed, hypotheses)


def _window_box(sighting: Sighting) -> Float[np.ndarray, "4"]:
    x, y, side = (float(value) for value in sighting.window_px)
    return np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], np.float32)


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
    told_by = recoverer.error_confidence
    recoverer.error_confidence = None  # what the scorer says itself is what is put right
    try:
        tried = answer(recoverer, sightings[:TRIED_ON], temperatures, hypotheses=hypotheses, seed=seed)
        energies = {temperature: energy_mm(found) for temperature, found in tried.items()}
        best = _best(energies, tried)
        answers = answer(recoverer, sightings, [best], hypotheses=hypotheses, seed=seed)[best]
    finally:
        recoverer.error_confidence = told_by
    side = _halves(answers.groups)
    fitted, judged = answers.part(side), answers.part(~side)
    confidence = fit_confidence(fitted.spread_mm, fitted.error_mm, hypotheses=hypotheses, data=data)
    told, error, spread = confidence.of(judged.spread_mm), judged.error_mm, judged.spread_mm
    half = fit_error_confidence(fitted.expected_mm, _of_selected(fitted), data=data)
    scorer_told, scorer_error = half.of(judged.expected_mm), _of_selected(judged)
    inside = (scorer_error >= scorer_told[:, 1]) & (scorer_error <= scorer_told[:, 2])
    return Calibrated(
        temperature=best,
        energy_mm=energies,
        confidence=fit_confidence(answers.spread_mm, answers.error_mm, hypotheses=hypotheses, data=data),
        coverage=interval_coverage(told, error),
        before=calibration(spread[:, 1:].ravel(), error[:, 1:].ravel()),
        after=calibration(told[:, 1:, 0].ravel(), error[:, 1:].ravel()),
        people=len(sightings),
        scorer=fit_error_confidence(answers.expected_mm, _of_selected(answers), data=data),
        scorer_coverage=float(inside.mean()),
        scorer_after=calibration(scorer_told[:, 0], scorer_error),
    )


def _best(energies: dict[float, float], tried: dict[float, Answers]) -> float:
    """Spread costs whoever takes one hypothesis at random, and may be wider than its score can pay for."""
    dear = {t: a.mpjpe_mm.mean() / a.mpjpe_mm[:, 0].mean() - 1 for t, a in tried.items()}
    affordable = [t for t in energies if dear[t] <= DEAREST] or [min(dear, key=dear.__getitem__)]
    return min(affordable, key=energies.__getitem__)


def _of_selected(answers: Answers) -> Float[np.ndarray, "people"]:
    return answers.mpjpe_mm[np.arange(len(answers.selected)), answers.selected]


def _halves(groups: Sequence[str]) -> np.ndarray:
    """Every other group, in the order of their names."""
    order = {group: number for number, group in enumerate(sorted(set(groups)))}
    return np.array([order[group] % 2 == 0 for group in groups])
