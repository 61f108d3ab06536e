"""Judging people: known errors come out, nobody disappears, and a question that wasn't answered is refused."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from alignhmr.core.body.model import BodyModel
from alignhmr.core.errors import InputError
from alignhmr.core.truth.evaluate import Evaluation
from alignhmr.core.truth.predictions import SystemInfo
from alignhmr.core.truth.records import Prediction, Sample

SYSTEM = SystemInfo("fake", "1", "given", "given")


def _evaluated(
    samples: list[Sample], answers: list[Sequence[Prediction]], joints: str = "limbs12", bodies=()
) -> Evaluation:
    evaluation = Evaluation(SYSTEM, joints, bodies)
    for sample, predictions in zip(samples, answers, strict=True):
        evaluation.add(sample, predictions)
    return evaluation


@pytest.mark.parametrize("joints", ["limbs12", "smpl24", "coco17"])
def test_the_truth_itself_has_no_error(samples, predict, body: BodyModel, joints: str) -> None:
    evaluation = _evaluated(samples, [predict(s, noise_m=0.0) for s in samples], joints, [body])
    for person in evaluation.people:
        for metric, errors in person.per_hypothesis.items():
            assert errors == pytest.approx(0, abs=2e-2), metric  # float32 predictions
        assert person.single["error_px"] == pytest.approx(0, abs=1e-2)
        assert person.single["pck3d_150mm"] == person.single["pck_0.05"] == 1
    assert set(evaluation.people[0].per_hypothesis) == {
        "mpjpe_mm", "pa_mpjpe_mm", "pve_mm", "pa_pve_mm", "mpjae_deg", "local_angle_deg"
    }  # fmt: skip


def test_errors_agree_with_a_slow_reference(samples, predict) -> None:
    evaluation = _evaluated(samples, [predict(s) for s in samples])
    person, prediction = evaluation.people[3], predict(samples[1])[1]
    true = samples[1].people[1].points["coco23"].cam_m.astype(np.float64)
    for hyp in range(4):
        predicted = prediction.points_m["coco23"][hyp].astype(np.float64)
        shift = predicted[[11, 12]].mean(0) - true[[11, 12]].mean(0)
        slow = np.mean([np.linalg.norm(predicted[j] - shift - true[j]) for j in range(5, 17)])
        assert person.per_hypothesis["mpjpe_mm"][hyp] == pytest.approx(1000 * slow)
    assert person.key == "frame01#1"
    assert person.per_point["mpjpe_mm"].mean() == pytest.approx(person.per_hypothesis["mpjpe_mm"][2])


def test_where_a_system_stands_does_not_matter_for_space_and_does_for_the_picture(samples, predict) -> None:
    [sample] = samples[:1]
    here = predict(sample)
    moved = [
        replace(
            p,
            points_m={k: v + np.float32(3) for k, v in p.points_m.items()},
            points_px={k: v + np.float32(30) for k, v in p.points_px.items()},
        )
        for p in here
    ]
    first, second = (_evaluated([sample], [answers]).people[0] for answers in (here, moved))
    np.testing.assert_allclose(first.per_hypothesis["mpjpe_mm"], second.per_hypothesis["mpjpe_mm"], atol=1e-2)
    assert second.single["error_px"] > first.single["error_px"] + 20


def test_missed_people_are_counted_and_cost_their_share_of_right_points(samples, predict) -> None:
    answers = [predict(sample, noise_m=0.0) for sample in samples]
    answers[0], answers[5] = answers[0][1:], []
    evaluation = _evaluated(samples, answers)
    missed = [person.key for person in evaluation.people if person.missed]
    assert missed == ["frame00#0", "frame05#0", "frame05#1"]
    assert len(evaluation.people) == 24
    assert evaluation.people[0].single == {"pck3d_150mm": 0.0, "pck_0.05": 0.0, "pck_0.1": 0.0}


def _with_points(sample: Sample, **changes: np.ndarray | None) -> Sample:
    """The sample with something else known of its first person."""
    truth = sample.people[0]
    points = {**truth.points, "coco23": replace(truth.points["coco23"], **changes)}
    return replace(sample, people=[replace(truth, points=points), *sample.people[1:]])


def _without(sample: Sample, keep: list[int]) -> Sample:
    """Of the first person only these points are known, in space and in the picture."""
    points, known = sample.people[0].points["coco23"], np.isin(np.arange(23), keep)[:, None]
    masked = {name: np.where(known, getattr(points, name), np.nan) for name in ("cam_m", "px")}
    return _with_points(sample, **masked)


def test_points_that_the_truth_does_not_know_are_left_out(samples, predict) -> None:
    keep = [5, 6, 7, 8, 11, 12, 13]
    whole = _evaluated(samples[:1], [predict(samples[0])]).people[0]
    part = _evaluated([_without(samples[0], keep)], [predict(samples[0])]).people[0]
    known = [joint - 5 for joint in keep]
    np.testing.assert_allclose(part.per_point["mpjpe_mm"][known], whole.per_point["mpjpe_mm"][known])
    assert np.isnan(part.per_point["mpjpe_mm"]).sum() == 5
    assert np.isnan(part.per_point["truth_rank"]).sum() == 5
    assert part.per_hypothesis["mpjpe_mm"][2] == pytest.approx(whole.per_point["mpjpe_mm"][known].mean())


def test_people_of_whom_too_little_is_known_are_not_judged_and_are_counted(samples, predict) -> None:
    evaluation = _evaluated([_without(samples[0], [5, 6, 7, 11, 12])], [predict(samples[0])])
    assert [person.key for person in evaluation.people] == ["frame00#1"]
    assert sum(evaluation.not_judged.values()) == 1


def test_without_a_root_there_are_errors_in_the_picture_only(samples, predict) -> None:
    person = _evaluated([_without(samples[0], [5, 6, 7, 8, 9, 10, 11])], [predict(samples[0])]).people[0]
    assert person.per_hypothesis == {}
    assert np.isfinite(person.per_point["error_px"]).sum() == 7


def test_people_whom_the_picture_hardly_shows_are_not_judged(samples, predict) -> None:
    truth = samples[0].people[0]
    for shown, judged in ((2, 1), (3, 2)):
        visible = np.zeros(23, bool)
        visible[[0, 1, 2, 3, 4, 17, *range(5, 5 + shown)]] = (
            True  # face and feet are in no joint set of limbs
        )
        points = {**truth.points, "coco23": replace(truth.points["coco23"], visible=visible)}
        sample = replace(samples[0], people=[replace(truth, points=points), samples[0].people[1]])
        assert len(_evaluated([sample], [predict(sample)]).people) == judged


def test_a_truth_of_the_picture_alone_has_errors_in_the_picture_alone(samples, predict) -> None:
    flat = _with_points(samples[0], cam_m=None)
    part, whole = (_evaluated([sample], [predict(samples[0])]).people for sample in (flat, samples[0]))
    assert part[0].per_hypothesis == {}
    assert "pck3d_150mm" not in part[0].single
    for metric in ("error_px", "error_box_pct", "pck_0.05"):
        assert part[0].single[metric] == whole[0].single[metric]
    assert part[1].per_hypothesis["mpjpe_mm"][0] == whole[1].per_hypothesis["mpjpe_mm"][0]
    assert set(_evaluated([flat], [[]]).people[0].single) == {"pck_0.05", "pck_0.1"}
    silent = [replace(p, points_px={}) for p in predict(samples[0])]
    with pytest.raises(InputError, match="in pixels alone, and fake says nothing in pixels"):
        _evaluated([flat], [silent])


def test_leaving_out_a_hard_point_is_refused(samples, predict) -> None:
    predictions = predict(samples[0])
    predictions[1].points_m["coco23"][:, 9] = np.nan
    with pytest.raises(InputError, match=r"left_wrist of person 1 of frame00"):
        _evaluated(samples[:1], [predictions])


def test_leaving_out_a_hard_pixel_is_refused(samples, predict) -> None:
    predictions = predict(samples[0])
    predictions[1].points_px["coco23"][:, 9] = np.nan
    with pytest.raises(InputError, match=r"no pixel for the left_wrist of person 1 of frame00"):
        _evaluated(samples[:1], [predictions])


def test_pixels_of_the_easy_people_alone_are_refused(samples, predict) -> None:
    predictions = predict(samples[0])
    silent = [predictions[0], replace(predictions[1], points_px={})]
    with pytest.raises(InputError, match="gives pixels of some people and not of person 1 of frame00"):
        _evaluated(samples[:1], [silent])
    with pytest.raises(InputError, match="gives pixels of person 1 of frame00 and not of people before"):
        _evaluated(samples[:1], [[replace(predictions[0], points_px={}), predictions[1]]])


def test_the_same_people_in_other_pictures_are_another_question(samples) -> None:
    other = [replace(samples[0], picture=replace(samples[0].picture, sha256="f" * 64)), *samples[1:]]
    first, second = (_evaluated(these, [[] for _ in these]) for these in (samples, other))
    assert first.data_digest == second.data_digest
    assert first.pictures_digest != second.pictures_digest
    assert first.pictures_digest == _evaluated(samples[::-1], [[] for _ in samples]).pictures_digest


def test_another_point_set_is_refused(samples, predict) -> None:
    predictions = [replace(p, points_m={"smpl24": p.points_m["smpl24"]}) for p in predict(samples[0])]
    with pytest.raises(InputError, match=r"answers smpl24, not coco23.*--joints"):
        _evaluated(samples[:1], [predictions])


def test_two_numbers_of_hypotheses_are_refused(samples, predict) -> None:
    with pytest.raises(InputError, match="has 6 hypotheses, others have 4"):
        _evaluated(samples[:2], [predict(samples[0]), predict(samples[1], hyps=6)])


def test_parameters_of_another_body_are_not_compared(samples, predict, body: BodyModel) -> None:
    predictions = [replace(p, body="smpl:0123456789abcdef") for p in predict(samples[0])]
    person = _evaluated(samples[:1], [predictions], bodies=[body]).people[0]
    assert set(person.per_hypothesis) == {"mpjpe_mm", "pa_mpjpe_mm"}


def test_the_digest_is_of_the_data_not_of_its_order_or_of_the_system(samples, predict) -> None:
    first = _evaluated(samples, [predict(s) for s in samples]).data_digest
    assert first == _evaluated(samples[::-1], [[] for _ in samples]).data_digest
    assert first != _evaluated(samples[1:], [[] for _ in samples[1:]]).data_digest
    truth = samples[0].people[0]
    points = {
        **truth.points,
        "coco23": replace(truth.points["coco23"], cam_m=truth.points["coco23"].cam_m + 0.01),
    }
    moved = replace(samples[0], people=[replace(truth, points=points), *samples[0].people[1:]])
    assert first != _evaluated([moved, *samples[1:]], [[] for _ in samples]).data_digest
