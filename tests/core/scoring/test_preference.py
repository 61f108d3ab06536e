"""Mining: winners outrank losers, nothing is invented, abstentions give their reason."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignhmr.core.records import drawn
from alignhmr.core.scoring.preference import Abstention, MiningRule, group_advantages, mine_pairs

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


def test_winners_are_of_the_top_and_losers_of_the_bottom() -> None:
    mined = mine_pairs(np.arange(20.0), CERTAIN, MiningRule(pairs=9, top=3))
    assert isinstance(mined, list) and len(mined) == 3
    assert {pair.winner for pair in mined} == {17, 18, 19} and {pair.loser for pair in mined} == {0, 1, 2}


def test_the_vetoed_never_win_and_come_last() -> None:
    vetoed = {"joint_limits": np.arange(20) == 19, "keypoints": np.arange(20) == 18}
    mined = mine_pairs(np.arange(20.0), CERTAIN, vetoed=vetoed)
    assert isinstance(mined, list) and mined[0].winner == 17 and mined[0].loser == 0
    everyone = {"self_contact": np.ones(20, bool)}
    assert mine_pairs(np.arange(20.0), CERTAIN, vetoed=everyone) == Abstention("vetoed")
    # One that nobody vetoed, and the worst by score, still beats nobody.
    only = {"keypoints": np.arange(20) != 0}
    assert mine_pairs(np.arange(20.0), CERTAIN, vetoed=only) == Abstention("no_margin")


def test_later_pairs_say_something_new() -> None:
    """Winners stand at one place and losers at two: the second pair of equal bodies is left out."""
    joints = np.zeros((8, 24, 3))
    joints[0:2] += 0.5
    joints[2:4] -= 0.5
    scores = np.array([0.0, 0.1, 0.2, 0.3, 2.0, 2.1, 2.2, 2.3])
    rule = MiningRule(pairs=4, top=4, apart_mm=100.0)
    mined = mine_pairs(scores, np.full(8, 60.0), rule, joints_m=joints)
    assert isinstance(mined, list) and [(pair.winner, pair.loser) for pair in mined] == [(7, 0), (6, 2)]
    same = mine_pairs(scores, np.full(8, 60.0), rule, joints_m=np.zeros((8, 24, 3)))
    assert isinstance(same, list) and len(same) == 1


@pytest.mark.parametrize("hyps", [4, 7, 8, 20])
def test_only_draws_are_preferred_to_each_other(hyps: int) -> None:
    """The zero-noise answer scores best here and the mean worst: neither is in a pair, or has an advantage."""
    among, scores = drawn(hyps), np.linspace(5, 0, hyps)
    assert not among[0] and among[1:-1].all() and among[-1] == (hyps < 8)
    rule = MiningRule(pairs=99, top=99, min_hypotheses=2)
    mined = mine_pairs(scores, np.full(hyps, 60.0), rule, among=among)
    assert isinstance(mined, list) and all(among[pair.winner] and among[pair.loser] for pair in mined)
    assert mined[0].winner == 1 and mined[0].loser == np.flatnonzero(among)[-1]
    advantages = group_advantages(scores, np.full(hyps, 60.0), rule, among=among)
    assert isinstance(advantages, np.ndarray) and (advantages[~among] == 0).all()
    alone = group_advantages(scores[among], np.full(among.sum(), 60.0), rule)
    assert isinstance(alone, np.ndarray)
    np.testing.assert_allclose(advantages[among], alone)
    # Three of four draws are too few where four are asked for.
    few = mine_pairs(scores[:4], np.full(4, 60.0), among=drawn(4))
    assert few == Abstention("too_few")


def test_advantages_are_about_the_mean_of_the_group() -> None:
    scores = np.array([0.0, 1.0, 2.0, 3.0, 10.0])
    found = group_advantages(scores, np.full(5, 60.0))
    assert isinstance(found, np.ndarray)
    assert found.mean() == pytest.approx(0.0) and found.std() == pytest.approx(1.0)
    np.testing.assert_array_equal(np.argsort(found), np.arange(5))
    # A vetoed one is as bad as the worst, and draws the others up.
    vetoed = group_advantages(scores, np.full(5, 60.0), vetoed={"keypoints": np.arange(5) == 4})
    assert isinstance(vetoed, np.ndarray) and vetoed[4] == vetoed[0] == vetoed.min() and vetoed.argmax() == 3
    assert group_advantages(np.zeros(5), np.full(5, 60.0)) == Abstention("no_margin")
    assert group_advantages(scores, np.full(5, 900.0)) == Abstention("unreliable")
