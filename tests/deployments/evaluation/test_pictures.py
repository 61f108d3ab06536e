"""Worst cases: one of each clip, the worst of them, with truth and answer where they belong."""

import numpy as np
import pytest

from alignhmr.core.body.joint_sets import JOINT_SETS
from alignhmr.core.records import Intrinsics, Picture
from alignhmr.core.truth.evaluate import Evaluation
from alignhmr.core.truth.predictions import SystemInfo
from alignhmr.core.truth.records import Points, Prediction, Sample, Truth
from alignhmr.deployments.evaluation.pictures import (
    BONES,
    PREDICTED_RGB,
    SHOWN,
    SHOWN_MISSED,
    SIZE,
    TRUE_RGB,
    WorstCases,
)

CAMERA = Intrinsics(400.0, (160.0, 120.0), "given")


def _offered(
    errors_m: list[float | None],
    clip_of=lambda number: f"clip{number}",
    depth_m: float = 4.0,
    flat: bool = False,
):
    """Cases after samples whose answers are off by these scales of noise; None is no answer."""
    evaluation = Evaluation(SystemInfo("fake", "1", "given", "given"))
    worst = WorstCases(evaluation.joints)
    for number, error in enumerate(errors_m):
        generator = np.random.default_rng(0)  # one person and one noise, more or less of it
        cam_m = generator.normal(size=(23, 3)) * [0.3, 0.6, 0.2] + [0, 0, depth_m]
        px = cam_m[:, :2] / cam_m[:, 2:] * CAMERA.focal_px + np.array(CAMERA.center_px)
        sample = Sample(
            f"s{number}", clip_of(number), "made", Picture(np.full((240, 320, 3), 120, np.uint8), "0" * 64), CAMERA,
            [Truth(np.concatenate([px.min(0), px.max(0)]), {"coco23": Points(None if flat else cam_m, px)})],
        )  # fmt: skip
        answers = []
        if error is not None:
            noisy = cam_m + error * generator.normal(size=cam_m.shape)
            answers = [Prediction(sample.id, 0, {"coco23": noisy[None]}, {"coco23": px[None] + 9})]
        worst.offer(sample, evaluation.add(sample, answers), answers)
    return worst.drawn()


def test_the_worst_come_first_and_only_so_many() -> None:
    scales = [0.003 * (1 + (7 * i) % 20) for i in range(20)]
    cases = _offered([*scales])
    assert [case.title for case in cases] == [f"s{i}#0" for i in np.argsort(scales)[::-1][:SHOWN]]


def test_one_of_each_clip() -> None:
    cases = _offered([0.01, 0.04, 0.03, 0.02, 0.03, 0.06], clip_of=lambda number: f"clip{number // 3}")
    assert [case.title for case in cases] == ["s5#0", "s1#0"]


def test_the_missed_are_shown_without_an_answer() -> None:
    cases = _offered([0.1, *[None] * 5])
    missed = [case for case in cases if case.error == float("inf")]
    assert len(missed) == SHOWN_MISSED
    assert [len(case.views) for case in cases] == [3, 1, 1, 1]
    assert missed[0].notes[0] == "no answer"


def test_both_colours_are_in_every_view_of_an_answer() -> None:
    [case] = _offered([0.1])
    for label, picture in case.views:
        assert picture.shape == (SIZE[1], SIZE[0], 3), label
        for color in (TRUE_RGB, PREDICTED_RGB):
            near = np.abs(picture.astype(int) - color).max(-1) < 30
            assert near.sum() > 50, (label, color)


def test_a_truth_of_the_picture_alone_is_drawn_on_the_picture_alone() -> None:
    [case] = _offered([0.1], flat=True)
    assert [label for label, _ in case.views] == ["photo"]
    assert case.notes[0].startswith("2D error ")


def test_a_person_far_outside_the_picture_can_be_drawn() -> None:
    assert len(_offered([0.5], depth_m=0.4)) == 1


@pytest.mark.parametrize("name", JOINT_SETS)
def test_bones_join_the_points_of_each_joint_set(name: str) -> None:
    joints = JOINT_SETS[name]
    used = {joint for bone in BONES[joints.points] for joint in bone} & set(joints.indices)
    assert len(used) >= len(joints.indices) - 4  # eyes and ears hang on no bone
