"""Records and their comparison: figures from people, what JSON keeps, refusals, and verdicts that hold."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.core.truth.comparison import compare
from alignhmr.core.truth.evaluate import Evaluation
from alignhmr.core.truth.predictions import SystemInfo
from alignhmr.core.truth.records import Sample
from alignhmr.core.truth.results import Result, result_of
from alignhmr.deployments.evaluation.tables import headline, tables

INFO = SystemInfo("fake", "1", "given", "given")


@pytest.fixture(scope="module")
def made(samples, predict):
    def result(info: SystemInfo = INFO, joints: str = "limbs12", used=None, skip=(), **options) -> Result:
        evaluation = Evaluation(info, joints)
        for sample in samples if used is None else used:
            evaluation.add(
                sample, [p for p in predict(sample, **options) if (sample.id, p.person) not in skip]
            )
        asked = {"count": None, "seed": 0}
        return result_of(evaluation, "tiny", asked=asked, made_by={"version": "0"})

    return result


def test_the_figures_are_the_means_of_the_people(made) -> None:
    result = made()
    column = result.people["values"]["mpjpe_mm"]
    for figure in ("zero_noise", "mean", "selected", "best_of_m"):
        entry = result.figures["mpjpe_mm"][figure]
        assert entry["value"] == pytest.approx(np.mean(column[figure]), abs=1e-3)
        assert entry["low"] < entry["value"] < entry["high"]
        assert (entry["people"], entry["groups"]) == (24, 6)
    assert result.figures["mpjpe_mm"]["selected"]["value"] < result.figures["mpjpe_mm"]["mean"]["value"]
    assert result.hypotheses["selection_gain"]["mpjpe_mm"] == pytest.approx(1.0)
    assert result.hypotheses["scores_mpjpe_mm"]["within_person"]["srcc"] > 0.5


def test_one_answer_says_nothing_of_spread_and_its_four_figures_are_one(made) -> None:
    result = made(hyps=1, selected=0)
    assert result.hypotheses == {"count": 1}
    assert len({entry["value"] for entry in result.figures["pa_mpjpe_mm"].values()}) == 1


def test_breakdowns_add_up_to_the_whole(made) -> None:
    result = made()
    whole = result.figures["mpjpe_mm"]["selected"]["value"]
    joints = result.breakdowns["by_joint"]
    assert len(joints) == 12
    assert np.mean([joint["mpjpe_mm"] for joint in joints.values()]) == pytest.approx(whole)
    seen = result.breakdowns["by_visibility"]
    assert set(seen) == {"visible", "hidden"}
    total = sum(kind["points"] for kind in seen.values())
    assert sum(k["points"] * k["mpjpe_mm"] for k in seen.values()) / total == pytest.approx(whole)
    facts = result.breakdowns["by_fact"]
    assert set(facts["clothing"]) == {"loose", "tight"}
    assert len(facts["occlusion"]) == 3
    for table in facts.values():
        assert sum(kind["people"] for kind in table.values()) == 24


def test_a_record_survives_its_file(made, tmp_path: Path) -> None:
    result = made(skip={("frame00", 1)})
    result.write(tmp_path / "record.json")
    assert Result.read(tmp_path / "record.json") == replace(result, **json.loads(_text(result)))
    assert result.answers["missed"] == 1
    assert result.people["values"]["mpjpe_mm"]["selected"][1] is None
    assert result.people["values"]["pck3d_150mm"]["selected"][1] == 0


def _text(result: Result) -> str:
    from alignhmr.core.truth.results import _plain

    return json.dumps({key: _plain(value) for key, value in vars(result).items()})


def test_missed_people_lower_the_share_of_right_points_and_not_the_error(made) -> None:
    skipped = {(f"frame{i:02d}", 0) for i in range(12)}
    whole, half = made(noise_m=0.0), made(noise_m=0.0, skip=skipped)
    assert half.figures["pck3d_150mm"]["value"] == pytest.approx(whole.figures["pck3d_150mm"]["value"] / 2)
    assert half.figures["mpjpe_mm"]["selected"]["people"] == 12
    assert half.answers["missed_share"] == 0.5


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


def _flat(sample: Sample) -> Sample:
    people = [
        replace(t, points={"coco23": replace(t.points["coco23"], cam_m=None)}, body=None)
        for t in sample.people
    ]
    return replace(sample, people=people)


def test_a_benchmark_of_the_picture_alone_has_a_record_and_can_be_compared(made, samples, predict) -> None:
    def result(noise_m: float) -> Result:
        evaluation = Evaluation(INFO)
        for sample in samples:
            evaluation.add(_flat(sample), predict(sample, noise_m=noise_m)[:1])
        return result_of(evaluation, "flat", asked={}, made_by={})

    near, far = result(0.01), result(0.1)
    assert set(near.figures) == {"error_px", "error_box_pct", "pck_0.05", "pck_0.1"}
    assert near.figures["pck_0.05"]["people"] == 24 and near.figures["error_px"]["people"] == 12
    assert near.breakdowns["by_joint"]["left_wrist"]["mpjpe_mm"] is None
    assert near.breakdowns["by_joint"]["left_wrist"]["points"] == 12
    assert near.hypotheses == {"count": 4}
    found = compare(near, far)
    assert found.both == 12
    assert {d.metric: d.better for d in found.differences}["error_px"] == 0
    assert "2D error" in headline(near) and "2D errors alone" in tables([near, far])


def test_nobody_to_judge_and_nobody_answered_are_errors(samples) -> None:
    nobody = Evaluation(INFO, "h36m17")
    nobody.add(samples[0], [])
    with pytest.raises(InputError, match="nobody of tiny can be judged: the truth has no points of h36m17"):
        result_of(nobody, "tiny", asked={}, made_by={})
    silent = Evaluation(INFO)
    silent.add(samples[0], [])
    with pytest.raises(InputError, match="fake answered none of the 2 people of tiny"):
        result_of(silent, "tiny", asked={}, made_by={})


def test_files_that_are_no_records_are_refused(tmp_path: Path) -> None:
    for name, content, sentence in (
        ("text.json", "hello", "not a JSON record"),
        ("other.json", "{}", "format None"),
        ("part.json", '{"format": "alignhmr.evaluation/1"}', "lacks a part"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises((InputError, CompatibilityError), match=sentence):
            Result.read(tmp_path / name)
    with pytest.raises(InputError, match="can't be read"):
        Result.read(tmp_path / "missing.json")
