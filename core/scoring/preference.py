"""Which hypotheses are preferred over which: pairs of a winner and a loser, or an abstention with its reason.

Pure functions of scores. The rule of the ADHMR release isn't published (``methods``: 'upper against lower
part of the ranking'); here the k-th best meets the k-th worst, and a pair must differ by a margin.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from alignhmr.core.records import PreferencePair


@dataclass(frozen=True)
class MiningRule:
    """How pairs are made of one person's ranked hypotheses."""

    pairs: int = 3
    margin: float = 0.3
    """Least difference in score; with sigma = 5 in the ranking loss, 0.3 is a preference of 82 %."""
    min_hypotheses: int = 4
    max_expected_error_mm: float = 250.0
    """Above this even the best hypothesis is likely wrong: a pair would teach which failure to prefer."""


@dataclass(frozen=True)
class Abstention:
    """No pair was made, and why: ``too_few``, ``non_finite``, ``unreliable`` or ``no_margin``."""

    reason: str


def mine_pairs(
    scores: Float[np.ndarray, "hyps"],
    expected_error_mm: Float[np.ndarray, "hyps"],
    rule: MiningRule | None = None,
) -> list[PreferencePair] | Abstention:
    """Pairs of one person, widest margin first: best against worst, second best against second worst, ..."""
    rule = rule or MiningRule()
    if not (np.isfinite(scores).all() and np.isfinite(expected_error_mm).all()):
        return Abstention("non_finite")
    if len(scores) < rule.min_hypotheses:
        return Abstention("too_few")
    order = np.argsort(-scores, kind="stable")
    if expected_error_mm[order[0]] > rule.max_expected_error_mm:
        return Abstention("unreliable")
    pairs = []
    for k in range(min(rule.pairs, len(scores) // 2)):
        winner, loser = int(order[k]), int(order[-1 - k])
        margin = float(scores[winner] - scores[loser])
        if margin >= rule.margin:
            pairs.append(PreferencePair(winner, loser, margin))
    return pairs or Abstention("no_margin")
