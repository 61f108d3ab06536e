"""Comparison: verdicts that hold, and refusals that say what differs."""

from dataclasses import replace

import pytest

from alignhmr.core.errors import CompatibilityError
from alignhmr.core.truth.comparison import compare
from alignhmr.core.truth.predictions import SystemInfo

INFO = SystemInfo("fake", "1", "given", "given")


def test_a_better_system_is_found_better_and_by_how_much(made) -> None:
    worse, better = made(noise_m=0.06), made(noise_m=0.03)
    found = {(d.metric, d.figure): d for d in compare(better, worse).differences}
    difference = found["mpjpe_mm", "selected"]
    assert difference.better == 0
    assert difference.interval.value == pytest.approx(difference.first - difference.second)
    assert difference.sentence().startswith("A (fake 1) is better by ")
    turned = {(d.metric, d.figure): d for d in compare(worse, better).differences}["mpjpe_mm", "selected"]
    assert turned.better == 1
    assert found["pck_0.05", "selected"].better == 0  # larger is better there


def test_two_draws_of_the_same_noise_show_no_real_difference(made) -> None:
    found = {(d.metric, d.figure): d for d in compare(made(seed=1), made(seed=2)).differences}
    assert found["mpjpe_mm", "mean"].better is None
    assert found["mpjpe_mm", "mean"].sentence().startswith("no real difference")


def test_another_number_of_hypotheses_has_no_best_to_compare(made) -> None:
    figures = {d.figure for d in compare(made(hyps=4), made(hyps=8)).differences if d.metric == "mpjpe_mm"}
    assert figures == {"zero_noise", "mean", "selected"}


def test_few_clips_give_no_verdict(made, samples) -> None:
    first, second = (made(noise_m=noise, used=samples[:4]) for noise in (0.02, 0.2))
    found = compare(first, second).differences
    assert all(d.better is None for d in found)
    assert "2 clips are too few" in found[0].sentence()


def test_people_that_only_one_answered_are_left_out_of_the_errors(made) -> None:
    comparison = compare(made(skip={("frame03", 0)}), made(skip={("frame04", 1), ("frame05", 1)}))
    assert (comparison.both, comparison.missed, comparison.people) == (21, (1, 2), 24)
    assert all(d.interval.people == 21 for d in comparison.differences if d.metric == "mpjpe_mm")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"joints": "coco17"}, "joint_set limbs12 against coco17|joints"),
        ({"info": replace(INFO, boxes="detected")}, "boxes given against detected"),
        ({"info": replace(INFO, intrinsics="default")}, "intrinsics given against default"),
    ],
)
def test_two_protocols_are_refused_with_what_differs(made, change, reason: str) -> None:
    with pytest.raises(CompatibilityError, match=rf"different protocols \(.*({reason})"):
        compare(made(), made(**change))


def test_two_sets_of_people_are_refused(made, samples) -> None:
    with pytest.raises(CompatibilityError, match=r"different people: tiny with 24 people .* 22 people"):
        compare(made(), made(used=samples[1:]))


def test_the_same_people_in_other_pictures_are_refused(made) -> None:
    first, second = made(), made(seed=1)
    second = replace(second, data={**second.data, "pictures": "0" * 64})
    with pytest.raises(CompatibilityError, match="the same people in other pictures"):
        compare(first, second)


def test_what_must_be_known_of_the_truth_travels_with_the_verdict(made) -> None:
    first, second = made(), made(seed=1)
    told = replace(first, data={**first.data, "caveat": "One man."})
    assert compare(told, second).caveat == "One man."
