"""Cleaning: the precision that was asked for is the one that is got, and nothing that seems worse is kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignhmr.core.errors import InputError
from alignhmr.core.scoring.cleaning import (
    NOWHERE_MM,
    USUAL_MM,
    CleaningRule,
    clean,
    judged_mm,
    off_mm,
    standing_m,
)
from alignhmr.core.scoring.confidence import ErrorConfidence, fit_error_confidence


def labels(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What is expected of labels, and their true errors."""
    rng = np.random.default_rng(seed)
    expected = rng.lognormal(4.6, 0.6, count)
    return expected, expected * rng.gamma(8.0, 1 / 8.0, count)


@pytest.fixture(scope="module")
def confidence() -> ErrorConfidence:
    return fit_error_confidence(*labels(4000, 0), data="made up")


@pytest.mark.parametrize("precision", [0.7, 0.9, 0.97])
def test_the_precision_that_was_asked_for(confidence, precision) -> None:
    told, error = labels(4000, 1)
    judged = confidence.of(told)[:, 0]
    found = clean(judged, None, confidence, CleaningRule(120.0, precision))
    kept = np.array([decision == "keep" for decision in found.decisions])
    assert found.expected_precision == pytest.approx(precision, abs=0.01)
    assert (error[kept] <= 120).mean() == pytest.approx(precision, abs=0.03)
    assert (
        judged[kept].max() == pytest.approx(found.threshold_mm) and judged[~kept].min() >= judged[kept].max()
    )
    assert set(found.decisions) == {"keep", "drop"}


def test_the_model_s_answer_replaces_a_label_that_is_clearly_worse(confidence) -> None:
    judged = np.array([40.0, 50.0, 60.0, 400.0, 400.0, 400.0])
    own = np.array([10.0, 10.0, 10.0, 50.0, 380.0, 1000.0])
    found = clean(judged, own, confidence, CleaningRule(150.0, 0.9))
    assert found.decisions == ["keep", "keep", "keep", "relabel", "drop", "drop"]


def test_where_nothing_can_be_trusted_nothing_is_kept(confidence) -> None:
    found = clean(np.full(5, 900.0), None, confidence)
    assert (
        found.decisions == ["drop"] * 5 and found.threshold_mm == 0.0 and np.isnan(found.expected_precision)
    )


@given(st.floats(0.0, 50.0), st.floats(1.0, 10.0))
def test_distances_are_told_in_space(px: float, depth: float) -> None:
    keypoints = np.concatenate([np.full((23, 2), 200.0), np.full((23, 1), 0.9)], 1)
    projected = np.full((2, 23, 2), 200.0)
    projected[1, :, 0] += px
    projected[1, 5, 0] += 1e4  # one stray doesn't matter
    found = off_mm(projected, keypoints, np.full(2, depth), 500.0)
    assert found[0] == 0.0 and found[1] == pytest.approx(px * depth * 2)
    keypoints[:, 2] = 0.1
    assert off_mm(projected, keypoints, np.full(2, depth), 500.0).tolist() == [0.0, 0.0]
    assert judged_mm(np.full(1, 30.0), np.full(1, 40.0))[0] == pytest.approx(50.0)


@pytest.mark.parametrize("depth", [0.0, -3.0, 0.01])
def test_nobody_stands_at_the_camera(depth: float) -> None:
    """Where nothing is off in the picture, and where nobody says."""
    for confidence in (0.9, 0.1):
        keypoints = np.concatenate([np.full((23, 2), 200.0), np.full((23, 1), confidence)], 1)
        found = off_mm(np.full((2, 23, 2), 200.0), keypoints, np.array([depth, 3.0]), 500.0)
        assert found.tolist() == [NOWHERE_MM, 0.0]


def test_a_label_that_stands_too_near_is_judged_where_the_answer_stands() -> None:
    found = standing_m(np.array([0.5, 3.0, 8.0, 0.0]), 4.0)
    assert found.tolist() == [4.0, 4.0, 8.0, 0.0]


def test_who_is_hard_to_tell_is_not_labelled_wrongly_for_that() -> None:
    """The same label seems less wrong the more is expected of the model's own answer, and in what order they are."""
    own = np.array([40.0, USUAL_MM, 400.0])
    found = judged_mm(np.full(3, 150.0), np.full(3, 20.0), own)
    assert found[1] == pytest.approx(np.hypot(150.0, 20.0)) and (np.diff(found) < 0).all()
    assert np.isfinite(judged_mm(np.full(1, 150.0), np.zeros(1), np.zeros(1))).all()


def test_what_can_not_be_asked_is_refused(confidence) -> None:
    for rule, words in (({"tolerance_mm": 0.0}, "positive"), ({"precision": 1.0}, "between 0 and 1")):
        with pytest.raises(InputError, match=words):
            CleaningRule(**rule)
    with pytest.raises(InputError, match="not finite"):
        clean(np.array([1.0, np.nan]), None, confidence)
