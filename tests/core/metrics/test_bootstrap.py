"""Intervals: they hold the truth as often as they say, know that frames of a clip are no independent people."""

import numpy as np
import pytest

from alignhmr.core.metrics.bootstrap import MIN_GROUPS, mean_interval, paired_difference


def _clips(generator: np.random.Generator, clips: int, frames: int = 8) -> tuple[np.ndarray, list[str]]:
    """Errors about 100 whose clips differ by 10 and whose frames by 3."""
    level = 100 + 10 * generator.normal(size=(clips, 1))
    values = level + 3 * generator.normal(size=(clips, frames))
    return values.ravel(), [f"clip{i}" for i in range(clips) for _ in range(frames)]


@pytest.mark.parametrize("clips", [6, 30])
def test_the_interval_holds_the_true_mean_about_as_often_as_it_says(clips: int) -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        interval = mean_interval(*_clips(generator, clips), resamples=1000)
        assert interval.low is not None and interval.high is not None
        held += interval.low <= 100 <= interval.high
    assert 0.9 <= held / 200 <= 0.995


def test_frames_taken_for_groups_give_an_interval_that_is_far_too_narrow() -> None:
    values, groups = _clips(np.random.default_rng(0), 20)
    right = mean_interval(values, groups)
    wrong = mean_interval(values, [str(i) for i in range(len(values))])
    assert (
        right.low is not None and right.high is not None and wrong.low is not None and wrong.high is not None
    )
    assert right.high - right.low > 2 * (wrong.high - wrong.low)


def test_pairing_sees_what_two_intervals_cannot() -> None:
    generator = np.random.default_rng(0)
    values, groups = _clips(generator, 20)
    better = values - 1.5 + 0.5 * generator.normal(size=len(values))
    first, second = mean_interval(better, groups), mean_interval(values, groups)
    assert first.high is not None and second.low is not None and first.high > second.low
    difference = paired_difference(better, values, groups)
    assert difference.excludes_zero
    assert difference.value == pytest.approx(-1.5, abs=0.2)


def test_a_system_beside_itself_shows_no_difference() -> None:
    values, groups = _clips(np.random.default_rng(0), 10)
    assert not paired_difference(values, values, groups).excludes_zero


def test_too_few_groups_give_no_interval_and_no_claim() -> None:
    values, groups = _clips(np.random.default_rng(0), MIN_GROUPS - 1)
    interval = mean_interval(values + 50, groups)
    assert (interval.low, interval.high, interval.excludes_zero) == (None, None, False)
    assert interval.value == pytest.approx(float(values.mean()) + 50)


def test_unknown_values_are_left_out_and_counted() -> None:
    values, groups = _clips(np.random.default_rng(0), 6)
    holed = values.copy()
    holed[:8] = np.nan
    interval = mean_interval(holed, groups)
    assert (interval.people, interval.groups) == (40, 5)
    assert interval.value == pytest.approx(float(values[8:].mean()))
    assert np.isnan(mean_interval(np.full(3, np.nan), ["a", "b", "c"]).value)


def test_the_same_seed_gives_the_same_interval() -> None:
    values, groups = _clips(np.random.default_rng(0), 12)
    assert mean_interval(values, groups, seed=3) == mean_interval(values, groups, seed=3)


def test_many_groups_are_drawn_in_parts_and_give_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(100, 10, 5000)
    interval = mean_interval(values, [str(i) for i in range(5000)], resamples=2000)
    assert interval.low is not None and interval.high is not None
    half = 1.96 * values.std() / np.sqrt(5000)
    assert interval.high - interval.value == pytest.approx(half, rel=0.1)
    assert interval.value - interval.low == pytest.approx(half, rel=0.1)
