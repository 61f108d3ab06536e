"""Mining: winners outrank losers, nothing is invented, abstentions give their reason."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignhmr.core.scoring.preference import Abstention, MiningRule, mine_pairs

CERTAIN = np.full(20, 60.0)


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=40), st.integers(1, 6))
def test_pairs_follow_the_ranking(scores: list[float], count: int) -> None:
    rule = MiningRule(pairs=count)
    mined = mine_pairs(np.array(scores), np.full(len(scores), 60.0), rule)
    if isinstance(mined, Abstention):
        assert mined.reason == "no_margin" and max(scores) - min(scores) < rule.margin
        return
    assert len(mined) <= count
    used = [index for pair in mined for index in (pair.winner, pair.loser)]
    assert len(set(used)) == len(used)
    for pair in mined:
        assert (
            pair.margin == pytest.approx(scores[pair.winner] - scores[pair.loser])
            and pair.margin >= rule.margin
        )
    assert scores[mined[0].winner] == max(scores) and scores[mined[0].loser] == min(scores)


@pytest.mark.parametrize(
    ("scores", "expected_mm", "reason"),
    [
        (np.zeros(20), CERTAIN, "no_margin"),
        (np.arange(3.0), np.full(3, 60.0), "too_few"),
        (np.append(np.arange(19.0), np.nan), CERTAIN, "non_finite"),
        (np.arange(20.0), np.full(20, 900.0), "unreliable"),
    ],
)
def test_abstentions_name_their_reason(scores: np.ndarray, expected_mm: np.ndarray, reason: str) -> None:
    assert mine_pairs(scores, expected_mm) == Abstention(reason)
