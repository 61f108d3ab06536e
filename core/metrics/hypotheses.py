"""M answers for one person: the four figures that stand side by side, and whether the answers know their doubt."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float, Int

LEVELS: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class FourFigures:
    """One metric of a set of people with M hypotheses each.

    ``best_of_m`` needs the truth to choose: it is an oracle, never a headline.
    """

    zero_noise: float
    mean: float
    """Mean error over all hypotheses: what a random one of them costs, not the error of their mean pose."""
    selected: float
    best_of_m: float

    @property
    def selection_gain(self) -> float:
        """Share of the way from zero-noise to the oracle that selection goes, without any truth."""
        room = self.zero_noise - self.best_of_m
        return (self.zero_noise - self.selected) / room if room > 0 else 0.0

    def to_dict(self) -> dict[str, float]:
        return {**asdict(self), "selection_gain": self.selection_gain}


def four_per_person(
    errors: Float[np.ndarray, "people hyps"], selected: Int[np.ndarray, "people"]
) -> dict[str, Float[np.ndarray, "people"]]:
    """Each person's four figures: column 0 is the zero-noise answer, ``selected`` was chosen without truth."""
    errors = np.asarray(errors, dtype=np.float64)
    return {
        "zero_noise": errors[:, 0],
        "mean": errors.mean(1),
        "selected": errors[np.arange(len(errors)), np.asarray(selected, dtype=int)],
        "best_of_m": errors.min(1),
    }


def four_figures(
    errors: Float[np.ndarray, "people hyps"], selected: Int[np.ndarray, "people"]
) -> FourFigures:
    """Means over people of their four figures."""
    return FourFigures(**{key: float(v.mean()) for key, v in four_per_person(errors, selected).items()})


def spread_mm(
    points_m: Float[np.ndarray, "hyps points 3"], root: Sequence[int] = (0,)
) -> Float[np.ndarray, "points"]:
    """Standard deviation over the hypotheses of each root-relative point, as ``Recovery.joint_spread_mm``."""
    relative = _root_relative(points_m, root)
    return 1000 * np.sqrt(relative.var(axis=0).sum(-1))


def truth_ranks(
    points_m: Float[np.ndarray, "hyps points 3"],
    true_m: Float[np.ndarray, "points 3"],
    root: Sequence[int] = (0,),
) -> Float[np.ndarray, "points"]:
    """For each point, the share in 1/M..1 of answers that lie no farther out than the truth, itself included.

    Hypothesis 0 is no draw and is left out. The truth joins the other M - 1 as if it were one more draw, and
    distances are to the mean of all M: had the truth been drawn as they were, its rank would be uniform on
    1/M, 2/M, ... 1. Ranks near 1 say that the answers are too sure. NaN where the truth is, and if M < 3.
    """
    hyps = len(points_m)
    if hyps < 3:
        return np.full(points_m.shape[1], np.nan)
    draws = np.concatenate([_root_relative(true_m[None], root), _root_relative(points_m[1:], root)])
    distances = np.linalg.norm(draws - draws.mean(axis=0), axis=-1)
    ranks = (distances <= distances[0]).mean(axis=0)
    return np.where(np.isfinite(distances).all(axis=0), ranks, np.nan)


def coverage(ranks: Float[np.ndarray, "*any"], levels: Sequence[float] = LEVELS) -> dict[float, float]:
    """Nominal level -> share of truths inside the innermost part of the answers that holds that much of them.

    From ``truth_ranks``. Answers that know their doubt give the level itself (to 1/M); smaller is too sure.
    """
    known = ranks[np.isfinite(ranks)]
    if not len(known):
        return {}
    return {level: float((known <= level + 1e-9).mean()) for level in levels}


@dataclass(frozen=True)
class CalibrationBin:
    """People whose expected errors are neighbours."""

    expected_mm: float
    actual_mm: float
    people: int


@dataclass(frozen=True)
class Calibration:
    """Expected errors beside actual ones."""

    bins: tuple[CalibrationBin, ...]
    gap_mm: float
    """Mean over people of |mean expected - mean actual| of their bin (as expected calibration error)."""
    bias_mm: float
    """Mean expected minus mean actual error: below zero is too sure."""


def calibration(
    expected_mm: Float[np.ndarray, "people"], actual_mm: Float[np.ndarray, "people"], bins: int = 10
) -> Calibration:
    """In bins of equally many people, ordered by what was expected; at least 5 people a bin where there are."""
    order = np.argsort(expected_mm, kind="stable")
    count = max(1, min(bins, len(order) // 5))
    parts = [
        CalibrationBin(float(expected_mm[part].mean()), float(actual_mm[part].mean()), len(part))
        for part in np.array_split(order, count)
    ]
    gap = sum(part.people * abs(part.expected_mm - part.actual_mm) for part in parts) / len(order)
    return Calibration(tuple(parts), float(gap), float(np.mean(expected_mm) - np.mean(actual_mm)))


def _root_relative(points_m: np.ndarray, root: Sequence[int]) -> np.ndarray:
    points = np.asarray(points_m, np.float64)
    return points - points[:, list(root)].mean(axis=1, keepdims=True)
