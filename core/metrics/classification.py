"""How well categories are told: F1, each category counting alike, however rare it is."""

import numpy as np
from jaxtyping import Bool, Int


def macro_f1(
    told: Int[np.ndarray, "people facts"],
    true: Int[np.ndarray, "people facts"],
    counted: Bool[np.ndarray, "people facts"],
) -> float:
    """Mean over facts of the mean over categories of F1 = 2 TP / (2 TP + FP + FN), in 0..1.

    Categories are numbers from 0 on; a negative one in ``told`` is no answer, and misses. What isn't ``counted`` is
    left out. Categories that are never true there don't count, nor do facts that have fewer than two that are. NaN
    where nothing is left.
    """
    facts = []
    for fact in range(true.shape[1]):
        mine = counted[:, fact]
        answers, truth = told[mine, fact], true[mine, fact]
        categories = np.unique(truth)
        if len(categories) > 1:
            hits = [(answers[truth == c] == c).sum() for c in categories]
            claims = [(answers == c).sum() for c in categories]
            those = [(truth == c).sum() for c in categories]
            facts.append(
                np.mean(
                    [2 * hit / (claim + true_) for hit, claim, true_ in zip(hits, claims, those, strict=True)]
                )
            )
    return float(np.mean(facts)) if facts else float("nan")
