"""When an alignment has had enough, and what held-out photos say of a policy."""

import math

import numpy as np
import pytest
import torch

from alignhmr.core.checkpoints import load_checkpoint
from alignhmr.training.data import read_labels, split
from alignhmr.training.judgement import judge
from alignhmr.training.stopping import HeldOutReward, StopRule, best_of, reason_to_stop

RULE = StopRule(every=10, patience=2, drift_mm=30.0, people=4, hypotheses=3)


def course(*told: tuple[float, float]) -> list[dict[str, float]]:
    """Rewards and drifts of steps 0, 10, 20, ..."""
    return [
        {"step": 10 * index, "reward": reward, "drift_mm": drift}
        for index, (reward, drift) in enumerate(told)
    ]


@pytest.mark.parametrize(
    ("told", "best", "words"),
    [
        ([(1.0, 0)], 0, None),
        ([(1.0, 0), (1.2, 5), (1.1, 8)], 10, None),
        ([(1.0, 0), (1.2, 5), (1.1, 8), (1.2, 9)], 10, "not risen in 2 judgements since step 10"),
        ([(1.0, 0), (0.9, 5), (0.8, 8)], 0, "since step 0"),
        ([(1.0, 0), (1.2, 5), (1.1, 8), (1.3, 9)], 30, None),
        # Reward can be had by leaving the reference altogether.
        ([(1.0, 0), (1.2, 5), (9.0, 30.1)], 10, "at step 20 answers had drifted 30.1 mm"),
        ([(1.0, 0), (1.2, 30.0)], 10, None),
        ([(1.0, 0), (math.nan, 5), (1.1, 6)], 20, None),
        ([(1.0, 0), (math.nan, math.nan)], 0, "drifted nan mm"),
    ],
)
def test_rule(told, best, words):
    judged = course(*told)
    assert best_of(judged, RULE)["step"] == best
    reason = reason_to_stop(judged, RULE)
    assert reason is None if words is None else words in str(reason)


@pytest.fixture
def scene(bench):
    scorer, _ = load_checkpoint(bench.scorer, "scorer")
    _, held_out = split(read_labels(bench.folder, bench.body, bench.digest), 0.4)
    assert len(held_out.people) > 4
    return scorer, held_out.people


def moved(bench, by: float):
    model = bench.model()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.trainable_in_alignment():
            parameter.add_(by * torch.randn(parameter.shape, generator=generator))
    return model


def test_the_reference_has_not_drifted_and_who_moves_further_drifts_further(bench, scene):
    scorer, photos = scene
    reward = HeldOutReward(bench.model(), scorer, bench.body, photos, RULE)
    still, near, far = (reward(moved(bench, by), 7) for by in (0.0, 0.01, 0.05))
    assert still["drift_mm"] == 0 and still["step"] == 7
    assert 0 < near["drift_mm"] < far["drift_mm"]
    assert far["reward"] != still["reward"]
    assert still["reward_selected"] >= still["reward_zero_noise"]
    assert still["reward"] == pytest.approx((still["reward_selected"] + still["reward_zero_noise"]) / 2)
    assert reward(moved(bench, 0.05), 7) == far, "the same people and draws each time"


def test_rewards_are_those_of_the_last_judgement(bench, scene):
    """All held-out people, as many hypotheses, the same seed: what stops a run is what it is judged by."""
    scorer, photos = scene
    photos = photos.take(np.argsort(photos.image_sha256, kind="stable"))
    rule = StopRule(people=len(photos), hypotheses=4)
    other = moved(bench, 0.05)
    told = HeldOutReward(bench.model(), scorer, bench.body, photos, rule, seed=3)(other, 1)
    table = judge(bench.model(), other, scorer, bench.body, None, photos, hypotheses=4, seed=3).photos
    for name in ("reward_zero_noise", "reward_selected"):
        assert told[name] == pytest.approx(table[name].after, rel=1e-5)


def test_few_people_are_chosen_whatever_the_rows_order(bench, scene):
    scorer, photos = scene
    backwards = photos.take(np.arange(len(photos))[::-1].copy())
    one, other = (
        HeldOutReward(bench.model(), scorer, bench.body, people, RULE)(moved(bench, 0.05), 1)
        for people in (photos, backwards)
    )
    assert one == other
