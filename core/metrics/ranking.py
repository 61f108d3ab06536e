"""How well a score orders what it rates: over a whole set, and among the hypotheses of one person.

Scores are larger for better answers, errors are smaller; each figure here is 1 for a perfect order, 0 (0.5 for
AUROC and pair precision) for chance. Where one side is constant nothing is ordered, and a correlation is 0.
"""

import numpy as np
from jaxtyping import Bool, Float


def pearson(first: Float[np.ndarray, "n"], second: Float[np.ndarray, "n"]) -> float:
    """Linear correlation (PLCC)."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if len(a) < 2 or a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def spearman(first: Float[np.ndarray, "n"], second: Float[np.ndarray, "n"]) -> float:
    """Rank correlation (SRCC); ties share their mean rank."""
    from scipy.stats import rankdata

    return pearson(rankdata(first), rankdata(second))


def kendall(first: Float[np.ndarray, "n"], second: Float[np.ndarray, "n"]) -> float:
    """Kendall's tau-b (KRCC)."""
    from scipy.stats import kendalltau

    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.asarray(kendalltau(first, second)[0]))


def correlations(scores: Float[np.ndarray, "n"], errors: Float[np.ndarray, "n"]) -> dict[str, float]:
    """PLCC, SRCC and KRCC of scores with the negative error."""
    return {
        name: metric(scores, -errors)
        for name, metric in (("plcc", pearson), ("srcc", spearman), ("krcc", kendall))
    }


def within_groups(
    scores: Float[np.ndarray, "people hyps"], errors: Float[np.ndarray, "people hyps"]
) -> dict[str, float]:
    """The three correlations among one person's hypotheses, as means over people."""
    each = [correlations(s, e) for s, e in zip(scores, errors, strict=True)]
    return {name: float(np.mean([one[name] for one in each])) for name in each[0]} if each else {}


def auroc(scores: Float[np.ndarray, "n"], positive: Bool[np.ndarray, "n"]) -> float:
    """Chance that a positive scores above a negative, ties counting half (Mann-Whitney). NaN without either."""
    from scipy.stats import rankdata

    positive = np.asarray(positive, bool)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    wins = rankdata(scores)[positive].sum() - positives * (positives + 1) / 2
    return float(wins / (positives * negatives))


def pair_precision(
    scores: Float[np.ndarray, "people hyps"],
    errors_mm: Float[np.ndarray, "people hyps"],
    tie_mm: float = 10.0,
) -> float:
    """Share of pairs of one person's hypotheses whose better-scored one is better; NaN if there is no pair.

    Pairs less than ``tie_mm`` apart are left out: nobody needs them told apart. Equal scores count half.
    """
    first, second = np.triu_indices(scores.shape[1], 1)
    apart = errors_mm[:, second] - errors_mm[:, first]
    judged = np.abs(apart) >= tie_mm
    right = 0.5 + 0.5 * np.sign(scores[:, first] - scores[:, second]) * np.sign(apart)
    return float(right[judged].mean()) if judged.any() else float("nan")
