"""Many answers: the order of the four figures, and calibration that is right by construction is found right."""

import numpy as np
import pytest

from alignhmr.core.metrics.hypotheses import (
    calibration,
    coverage,
    four_figures,
    spread_mm,
    truth_ranks,
)


def test_four_figures_and_selection_gain() -> None:
    errors = np.array([[100.0, 80.0, 120.0], [60.0, 90.0, 50.0]])
    figures = four_figures(errors, np.array([1, 0]))
    assert (figures.zero_noise, figures.selected, figures.best_of_m) == (80.0, 70.0, 65.0)
    assert figures.mean == pytest.approx(errors.mean())
    assert figures.selection_gain == pytest.approx(10 / 15)


def test_one_answer_has_four_equal_figures_and_nothing_to_gain() -> None:
    figures = four_figures(np.array([[100.0], [50.0]]), np.array([0, 0]))
    assert figures.zero_noise == figures.mean == figures.selected == figures.best_of_m == 75.0
    assert figures.selection_gain == 0.0


def test_spread_agrees_with_a_loop_and_ignores_where_the_body_stands() -> None:
    points = np.random.default_rng(0).normal(size=(7, 4, 3))
    moved = points + np.random.default_rng(1).normal(size=(7, 1, 3))
    relative = points - points[:, :1]
    for joint in range(4):
        mean = relative[:, joint].mean(0)
        slow = np.sqrt(np.mean([np.sum((relative[h, joint] - mean) ** 2) for h in range(7)]))
        assert spread_mm(points)[joint] == pytest.approx(1000 * slow)
    np.testing.assert_allclose(spread_mm(moved), spread_mm(points))


def _ranks(truth_scale: float, people: int = 1500, hyps: int = 20) -> np.ndarray:
    """Answers drawn with deviation 1 about an unknown place, the truth with ``truth_scale`` about the same."""
    generator = np.random.default_rng(0)
    ranks = []
    for _ in range(people):
        place = generator.normal(size=(1, 2, 3)) * 5
        answers = place + generator.normal(size=(hyps, 2, 3))
        truth = place[0] + truth_scale * generator.normal(size=(2, 3))
        answers[:, 0] = truth[0] = 0  # the root
        ranks.append(truth_ranks(answers, truth)[1])
    return np.array(ranks)


def test_a_truth_drawn_like_the_answers_is_covered_at_the_nominal_levels() -> None:
    for level, observed in coverage(_ranks(1.0)).items():
        assert observed == pytest.approx(level, abs=0.03)


def test_answers_that_are_too_sure_or_too_broad_are_told_apart() -> None:
    assert coverage(_ranks(3.0, 300))[0.9] < 0.6
    assert coverage(_ranks(0.3, 300))[0.5] > 0.8


def test_no_ranks_from_fewer_than_three_answers_or_an_unknown_truth() -> None:
    points = np.random.default_rng(0).normal(size=(5, 3, 3))
    truth = np.zeros((3, 3))
    truth[2] = np.nan
    assert np.isnan(truth_ranks(points[:2], truth)).all()
    assert np.isnan(truth_ranks(points, truth)).tolist() == [False, False, True]
    assert coverage(np.array([np.nan])) == {}


def test_calibration_of_a_constant_bias_is_that_bias() -> None:
    actual = np.random.default_rng(0).uniform(50, 150, 200)
    found = calibration(actual - 12.5, actual)
    assert found.gap_mm == pytest.approx(12.5)
    assert found.bias_mm == pytest.approx(-12.5)
    assert sum(part.people for part in found.bins) == 200


def test_calibration_of_a_constant_guess_that_is_right_on_average_has_no_gap_within_its_one_bin() -> None:
    actual = np.array([90.0, 110.0, 95.0, 105.0])
    assert calibration(np.full(4, 100.0), actual).gap_mm == pytest.approx(0)


def test_calibration_sees_a_gap_that_cancels_in_the_mean() -> None:
    actual = np.r_[np.full(50, 50.0), np.full(50, 150.0)]
    expected = np.r_[np.full(50, 80.0), np.full(50, 120.0)]
    found = calibration(expected, actual, bins=2)
    assert (found.gap_mm, found.bias_mm) == (pytest.approx(30), pytest.approx(0))
