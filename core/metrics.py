"""Errors in millimetres, and the four figures that are told side by side for M hypotheses.

Inputs are metres, outputs millimetres. Accumulation is in float64.
"""

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from alignhmr.core.geometry.alignment import similarity_align


def mpjpe_mm(
    predicted_m: Float[Tensor, "*batch joints 3"],
    true_m: Float[Tensor, "*batch joints 3"],
    root: int | None = 0,
) -> Float[Tensor, "*batch"]:
    """Mean per-joint position error after the root joints are laid on each other (None: the means are)."""
    predicted, true = predicted_m.double(), true_m.double()
    if root is None:
        predicted, true = predicted - predicted.mean(-2, keepdim=True), true - true.mean(-2, keepdim=True)
    else:
        predicted, true = predicted - predicted[..., root : root + 1, :], true - true[..., root : root + 1, :]
    return 1000 * (predicted - true).norm(dim=-1).mean(-1)


def pa_mpjpe_mm(
    predicted_m: Float[Tensor, "*batch joints 3"], true_m: Float[Tensor, "*batch joints 3"]
) -> Float[Tensor, "*batch"]:
    """Mean per-joint position error after the best rotation, scale and translation."""
    true = true_m.expand_as(predicted_m)
    return 1000 * (similarity_align(predicted_m, true).double() - true.double()).norm(dim=-1).mean(-1)


@dataclass(frozen=True)
class FourFigures:
    """One metric of a set of people with M hypotheses each, in mm.

    ``best_of_m`` needs the truth to choose: it is an oracle, never a headline.
    """

    zero_noise: float
    mean: float
    """Mean error over all hypotheses: what a random one of them costs."""
    selected: float
    best_of_m: float

    @property
    def selection_gain(self) -> float:
        """Share of the way from zero-noise to the oracle that selection goes, without any truth."""
        room = self.zero_noise - self.best_of_m
        return (self.zero_noise - self.selected) / room if room > 0 else 0.0

    def to_dict(self) -> dict[str, float]:
        return {**asdict(self), "selection_gain": self.selection_gain}


def four_figures(
    errors_mm: Float[np.ndarray, "people hyps"], selected: Int[np.ndarray, "people"]
) -> FourFigures:
    """Figures from per-hypothesis errors (column 0 is the zero-noise answer) and the index that was selected."""
    errors = np.asarray(errors_mm, dtype=np.float64)
    rows = np.arange(len(errors))
    return FourFigures(
        zero_noise=float(errors[:, 0].mean()),
        mean=float(errors.mean()),
        selected=float(errors[rows, np.asarray(selected, dtype=int)].mean()),
        best_of_m=float(errors.min(1).mean()),
    )


def spearman(first: Float[np.ndarray, "n"], second: Float[np.ndarray, "n"]) -> float:
    """Rank correlation; ties share their mean rank."""
    from scipy.stats import rankdata

    a, b = rankdata(first), rankdata(second)
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
