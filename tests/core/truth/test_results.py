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
    from alignhmr.core.plain_json import plain

    return json.dumps({key: plain(value) for key, value in vars(result).items()})


def test_missed_people_lower_the_share_of_right_points_and_not_the_error(made) -> None:
    skipped = {(f"frame{i:02d}", 0) for i in range(12)}
    whole, half = made(noise_m=0.0), made(noise_m=0.0, skip=skipped)
    assert half.figures["pck3d_150mm"]["value"] == pytest.approx(whole.figures["pck3d_150mm"]["value"] / 2)
    assert half.figures["mpjpe_mm"]["selected"]["people"] == 12
    assert half.answers["missed_share"] == 0.5


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
