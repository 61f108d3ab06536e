"""Which hypotheses are preferred over which: pairs of a winner and a loser, a group with advantages, or neither.

Pure functions of scores. The rule of the ADHMR release isn't published (``methods``: 'upper against lower
part of the ranking'); here the best of the top k meet the worst of the bottom k, a pair must differ by a margin in
score, and later pairs must say something new. A vetoed hypothesis wins over nobody and may lose to anybody.

``among`` tells who takes part. The zero-noise answer and the mean of the best are no draws: they score best in nearly
everybody, and to prefer them says that a mean is better than a draw, which narrows what is drawn and teaches nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from alignhmr.core.records import PreferencePair


@dataclass(frozen=True)
class MiningRule:
    """How pairs are made of one person's ranked hypotheses."""

    pairs: int = 3
    top: int = 3
    """Winners are among so many best, and losers among so many worst."""
    margin: float = 0.3
    """Least difference in score; with sigma = 5 in the ranking loss, 0.3 is a preference of 82 %."""
    apart_mm: float = 20.0
    """How far the winner or the loser of a pair must be from those of every other pair, in MPJPE."""
    min_hypotheses: int = 4
    max_expected_error_mm: float = 250.0
    """Above this even the best hypothesis is likely wrong: a pair would teach which failure to prefer."""


@dataclass(frozen=True)
class WordRule:
    """What a caption may do in mining (``language/agreement.py``)."""

    veto_below: float = 0.1
    """A hypothesis with a part that agrees less is no winner; 0 vetoes nobody."""
    tie_within: float = 0.1
    """Scores that are nearer than this may change places."""


@dataclass(frozen=True)
class Abstention:
    """Nothing was made, and why: ``too_few``, ``non_finite``, ``vetoed``, ``unreliable`` or ``no_margin``."""

    reason: str


def mine_pairs(
    scores: Float[np.ndarray, "hyps"],
    expected_error_mm: Float[np.ndarray, "hyps"],
    rule: MiningRule | None = None,
    *,
    vetoed: Mapping[str, Bool[np.ndarray, "hyps"]] | None = None,
    joints_m: Float[np.ndarray, "hyps joints 3"] | None = None,
    among: Bool[np.ndarray, "hyps"] | None = None,
) -> list[PreferencePair] | Abstention:
    """Pairs of one person, widest margin first; nobody is in two of them.

    ``vetoed`` are those of ``scoring/vetoes.py``, ``joints_m`` the root-relative joints, which diversity needs,
    ``among`` is ``records.drawn``; None: everyone.
    """
    rule = rule or MiningRule()
    ranked = _ranked(scores, expected_error_mm, rule, vetoed, among)
    if isinstance(ranked, Abstention):
        return ranked
    order, out = ranked
    top = min(rule.top, len(order) // 2)
    winners = [int(index) for index in order[:top] if not out[index]]
    losers = [int(index) for index in order[::-1][:top]]
    meetings = [
        (float(scores[winner] - scores[loser]), winner, loser) for winner in winners for loser in losers
    ]
    pairs: list[PreferencePair] = []
    for margin, winner, loser in sorted(meetings, key=lambda meeting: -meeting[0]):
        used = {index for pair in pairs for index in (pair.winner, pair.loser)}
        if len(pairs) == rule.pairs or margin < rule.margin or used & {winner, loser}:
            continue
        if joints_m is None or all(_new(pair, winner, loser, joints_m, rule.apart_mm) for pair in pairs):
            pairs.append(PreferencePair(winner, loser, margin))
    return pairs or Abstention("no_margin")


def group_advantages(
    scores: Float[np.ndarray, "hyps"],
    expected_error_mm: Float[np.ndarray, "hyps"],
    rule: MiningRule | None = None,
    *,
    vetoed: Mapping[str, Bool[np.ndarray, "hyps"]] | None = None,
    among: Bool[np.ndarray, "hyps"] | None = None,
) -> Float[np.ndarray, "hyps"] | Abstention:
    """How much better each hypothesis of a group is than its mean, in standard deviations (arXiv 2602.19180, 3.3).

    A vetoed one is as bad as the worst. They sum to 0, and whoever isn't ``among`` them has 0; no advantage is made of
    scores that hardly differ.
    """
    rule = rule or MiningRule()
    ranked = _ranked(scores, expected_error_mm, rule, vetoed, among)
    if isinstance(ranked, Abstention):
        return ranked
    order, out = ranked
    told = np.where(out, np.min(scores[order]), scores).astype(np.float64)[order]
    if told.max() - told.min() < rule.margin:
        return Abstention("no_margin")
    advantages = np.zeros(len(scores))
    advantages[order] = (told - told.mean()) / told.std()
    return advantages


def _ranked(
    scores: np.ndarray, expected_error_mm: np.ndarray, rule: MiningRule, vetoed: Mapping[str, np.ndarray] | None,
    among: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray] | Abstention:  # fmt: skip
    """Those who take part, best first, the vetoed at the end; and who of all is vetoed."""
    if not (np.isfinite(scores).all() and np.isfinite(expected_error_mm).all()):
        return Abstention("non_finite")
    mine = np.arange(len(scores)) if among is None else np.flatnonzero(among)
    if len(mine) < rule.min_hypotheses:
        return Abstention("too_few")
    out = np.zeros(len(scores), bool)
    for hit in (vetoed or {}).values():
        out |= hit
    if out[mine].all():
        return Abstention("vetoed")
    order = mine[np.lexsort((-scores[mine], out[mine]))]
    if expected_error_mm[order[0]] > rule.max_expected_error_mm:
        return Abstention("unreliable")
    return order, out


def _new(pair: PreferencePair, winner: int, loser: int, joints_m: np.ndarray, apart_mm: float) -> bool:
    """Whether winner or loser says something that the pair doesn't."""

    def apart(one: int, other: int) -> float:
        return 1000 * float(np.linalg.norm(joints_m[one] - joints_m[other], axis=-1).mean())

    return max(apart(pair.winner, winner), apart(pair.loser, loser)) >= apart_mm
