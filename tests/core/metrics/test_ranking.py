"""Rank figures: perfect, reversed and constant orders; agreement with counting pairs by hand."""

import itertools

import numpy as np
import pytest

from alignhmr.core.metrics.ranking import (
    auroc,
    correlations,
    kendall,
    pair_precision,
    pearson,
    spearman,
    within_groups,
)


def test_spearman_and_kendall_are_invariant_to_monotone_maps_and_pearson_is_not() -> None:
    x = np.random.default_rng(0).normal(size=50)
    for metric in (spearman, kendall):
        assert metric(x, np.exp(3 * x)) == pytest.approx(1.0)
        assert metric(x, -(x**3)) == pytest.approx(-1.0)
        assert metric(x, np.ones(50)) == 0.0
    assert pearson(x, 2 * x + 1) == pytest.approx(1.0)
    assert pearson(x, np.exp(3 * x)) < 0.9


def test_kendall_agrees_with_counting_pairs() -> None:
    generator = np.random.default_rng(1)
    a, b = generator.normal(size=12), generator.normal(size=12)
    signs = [np.sign((a[i] - a[j]) * (b[i] - b[j])) for i, j in itertools.combinations(range(12), 2)]
    assert kendall(a, b) == pytest.approx(np.mean(signs))


def test_a_score_that_is_the_negative_error_is_perfect_within_groups_whatever_the_groups_level() -> None:
    errors = np.random.default_rng(0).uniform(50, 150, (8, 20))
    scores = -errors + np.arange(8)[:, None] * 1000
    assert within_groups(scores, errors) == pytest.approx({"plcc": 1.0, "srcc": 1.0, "krcc": 1.0})
    assert abs(correlations(scores.ravel(), errors.ravel())["srcc"]) < 0.3


def test_auroc_agrees_with_counting_pairs_with_ties() -> None:
    scores, positive = np.array([1.0, 2, 2, 3, 0, 2]), np.array([False, True, False, True, False, True])
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a in scores[positive] for b in scores[~positive]]
    assert auroc(scores, positive) == pytest.approx(np.mean(wins))
    assert np.isnan(auroc(scores, np.ones(6, bool)))


def test_pair_precision_leaves_near_ties_out() -> None:
    errors = np.array([[50.0, 55.0, 100.0]])
    assert pair_precision(np.array([[1.0, 2.0, 0.0]]), errors) == 1.0
    assert pair_precision(np.array([[0.0, 2.0, 1.0]]), errors) == 0.5
    assert pair_precision(np.zeros((1, 3)), errors) == 0.5
    assert np.isnan(pair_precision(np.zeros((1, 3)), np.full((1, 3), 80.0)))
