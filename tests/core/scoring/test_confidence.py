"""Expected joint errors: right on average and in their intervals where the spread means something, honest where not."""

import numpy as np
import pytest

from alignhmr.core.errors import InputError
from alignhmr.core.scoring.confidence import (
    ErrorConfidence,
    JointConfidence,
    fit_confidence,
    fit_error_confidence,
    interval_coverage,
)


def people(count: int, seed: int, informative: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Spreads in mm, and errors that grow with their square root, each joint by its own factor; the root has none."""
    rng = np.random.default_rng(seed)
    spread = rng.lognormal(3.0, 0.6, (count, 24))
    mean = np.linspace(2, 9, 24) * (np.sqrt(spread) if informative else 6.0)
    error = mean * rng.gamma(3.0, 1 / 3.0, (count, 24))
    spread[:, 0] = error[:, 0] = 0.0
    return spread, error


@pytest.mark.parametrize("informative", [True, False])
def test_right_on_average_and_in_its_intervals_on_others(informative: bool) -> None:
    confidence = fit_confidence(*people(2000, 0, informative), hypotheses=20, data="made up")
    spread, error = people(2000, 1, informative)
    told = confidence.of(spread)
    assert told[..., 0].mean(0)[1:] == pytest.approx(error.mean(0)[1:], rel=0.1)
    assert 0.88 < interval_coverage(told, error) < 0.92
    # Not only on average: those with little spread and those with much are told apart, and each rightly.
    for part in (spread < np.quantile(spread, 0.2), spread > np.quantile(spread, 0.8)):
        part[:, 0] = False
        assert told[..., 0][part].mean() == pytest.approx(error[part].mean(), rel=0.12)
    assert (confidence.power[5] > 0.4) == informative


def test_one_hypothesis_gets_the_mean_and_percentiles_of_all() -> None:
    _, error = fitted = people(3000, 2)
    alone = fit_confidence(*fitted, hypotheses=20, data="").of(None)
    np.testing.assert_allclose(alone[:, 0], error.mean(0), rtol=1e-5)
    inside = (error >= alone[:, 1]) & (error <= alone[:, 2])
    assert inside.mean() == pytest.approx(0.9, abs=0.01)


def test_the_root_has_no_error() -> None:
    confidence = fit_confidence(*people(100, 3), hypotheses=5, data="")
    assert confidence.of(people(3, 4)[0])[:, 0].max() < 1e-6


def test_it_survives_a_checkpoint() -> None:
    confidence = fit_confidence(*people(100, 3), hypotheses=5, data="test")
    again = JointConfidence.from_dict(confidence.to_dict())
    spread = people(4, 4)[0]
    np.testing.assert_array_equal(again.of(spread), confidence.of(spread))
    assert again == confidence


def test_too_few_people_and_broken_numbers_are_refused() -> None:
    spread, error = people(49, 0)
    with pytest.raises(InputError, match="at least 50"):
        fit_confidence(spread, error, hypotheses=20, data="")
    spread, error = people(60, 0)
    error[3, 3] = np.nan
    with pytest.raises(InputError, match="not finite"):
        fit_confidence(spread, error, hypotheses=20, data="")


def told_and_true(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A scorer that says half of what is true on average, and compresses it."""
    rng = np.random.default_rng(seed)
    mean = rng.lognormal(4.5, 0.5, count)
    return 0.5 * mean**0.9, mean * rng.gamma(6.0, 1 / 6.0, count)


def test_expected_errors_of_a_scorer_are_put_right() -> None:
    fitted = fit_error_confidence(*told_and_true(3000, 0), data="made up")
    told, error = told_and_true(3000, 1)
    expected, low, high = fitted.of(told).T
    assert expected.mean() == pytest.approx(error.mean(), rel=0.05)
    assert ((error >= low) & (error <= high)).mean() == pytest.approx(0.9, abs=0.02)
    worst = told >= np.quantile(told, 0.9)
    assert expected[worst].mean() == pytest.approx(error[worst].mean(), rel=0.08)
    for tolerance in (60.0, 100.0, 150.0):
        chance = fitted.chance_within(expected, tolerance)
        assert chance.mean() == pytest.approx((error <= tolerance).mean(), abs=0.03)
        # Not only on average: those of whom it is sure are right more often, by as much as it says.
        sure = chance > 0.8
        assert (error[sure] <= tolerance).mean() == pytest.approx(chance[sure].mean(), abs=0.05)
    assert fitted.chance_within(np.array([50.0]), 0.0)[0] == 0.0
    assert fitted.chance_within(np.array([50.0]), 1e6)[0] == 1.0
    assert ErrorConfidence.from_dict(fitted.to_dict()) == fitted


def test_a_scorer_that_told_no_numbers_is_refused() -> None:
    told, error = told_and_true(60, 0)
    with pytest.raises(InputError, match="not finite"):
        fit_error_confidence(np.where(told > told[5], told, np.inf), error, data="")
    with pytest.raises(InputError, match="at least 50"):
        fit_error_confidence(told[:9], error[:9], data="")
