"""How sure a mean is: percentile bootstrap over groups, alone or paired between two systems.

Frames of one clip resemble each other, so that clips are drawn, not frames: an interval over frames would be
several times too narrow. The mean of a draw is the sum over its people by their number. With few groups plain
percentiles are too narrow as well; they are widened as Hesterberg does (What Teachers Should Know About the
Bootstrap, 2015, section 5.4, "expanded percentile interval").
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

RESAMPLES = 10_000
MIN_GROUPS = 5
"""With fewer, the draws are so few that no interval can be trusted, and none is given."""
_CELLS = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A mean over people and where it lies with 95 % confidence; the ends are None with too few groups."""

    value: float
    low: float | None
    high: float | None
    people: int
    groups: int

    @property
    def excludes_zero(self) -> bool:
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    def to_dict(self) -> dict[str, float | int | None]:
        return asdict(self)


def mean_interval(
    values: Float[np.ndarray, "people"],
    groups: Sequence[str],
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean over people and its interval. NaN values are left out; ``value`` is NaN if none is left."""
    values = np.asarray(values, np.float64)
    known = np.isfinite(values)
    values, names = values[known], np.asarray(groups, dtype=object)[known]
    if not len(values):
        return Interval(float("nan"), None, None, 0, 0)
    _, member = np.unique(names.astype(str), return_inverse=True)
    sums = np.bincount(member, values)
    counts = np.bincount(member).astype(np.float64)
    low = high = None
    if len(sums) >= MIN_GROUPS:
        means = _resampled_means(sums, counts, resamples, seed)
        tail = _expanded_tail(len(sums), level)
        low, high = (float(end) for end in np.quantile(means, [tail, 1 - tail]))
    return Interval(float(values.mean()), low, high, len(values), len(sums))


def paired_difference(
    first: Float[np.ndarray, "people"],
    second: Float[np.ndarray, "people"],
    groups: Sequence[str],
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean of first minus second over the people that both know, and its interval.

    What is hard for both cancels in each person's difference, so that this sees changes that two separate
    intervals can't.
    """
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    return mean_interval(difference, groups, level=level, resamples=resamples, seed=seed)


def _resampled_means(sums: np.ndarray, counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Mean of each draw, some thousands of draws at a time: a large set has more groups than memory has room."""
    rows = max(1, min(resamples, _CELLS // len(sums)))
    means = []
    for start in range(0, resamples, rows):
        draws = _draws(len(sums), rows, seed + start)
        means.append((draws @ sums) / (draws @ counts))
    return np.concatenate(means)[:resamples]


@lru_cache(maxsize=2)
def _draws(groups: int, rows: int, seed: int) -> Float[np.ndarray, "rows groups"]:
    """How often each group is drawn: ``groups`` draws with replacement a row."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(groups, np.full(groups, 1 / groups), size=rows).astype(np.float64)


def _expanded_tail(groups: int, level: float) -> float:
    """Phi(-sqrt(n / (n - 1)) t): for n groups, in place of (1 - level) / 2."""
    from scipy.stats import norm, t

    factor = np.sqrt(groups / (groups - 1))
    return float(norm.cdf(-factor * t.ppf((1 + level) / 2, groups - 1)))
