"""The predictions file: what is written comes back, parameters become points, each mistake gets its sentence."""

import json
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.errors import AlignhmrError, CompatibilityError, InputError
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.truth import predictions
from alignhmr.core.truth.predictions import (
    FORMAT,
    KEY,
    PredictionWriter,
    SystemInfo,
    body_key,
    read_predictions,
    same_body,
    write_predictions,
)

INFO = SystemInfo("ours", "1.2", "detected", "default", {"base": "b:1"}, None)


def test_what_is_written_comes_back(tmp_path: Path, samples, predict, body: BodyModel) -> None:
    predictions = [p for sample in samples for p in predict(sample)]
    info = replace(INFO, body=body_key(body))
    write_predictions(tmp_path / "p.parquet", info, predictions)
    found = read_predictions(tmp_path / "p.parquet")
    assert (found.info, found.hypotheses, len(found.predictions)) == (info, 4, 24)
    for before, after in zip(predictions, found.predictions, strict=True):
        assert (before.sample_id, before.person, before.selected) == (
            after.sample_id,
            after.person,
            after.selected,
        )
        for name in ("smpl24", "coco23"):
            np.testing.assert_array_equal(before.points_m[name], after.points_m[name])
            np.testing.assert_array_equal(before.points_px[name], after.points_px[name])
        for name in ("pose_aa", "betas", "scores", "expected_error_mm"):
            np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


def test_a_file_written_in_parts_is_one_and_a_broken_run_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples, predict, body: BodyModel
) -> None:
    monkeypatch.setattr(predictions, "_ROW_GROUP", 5)
    path = tmp_path / "p.parquet"
    with PredictionWriter(path, replace(INFO, body=body_key(body))) as writer:
        for sample in samples:
            writer.write(predict(sample))
        assert not path.exists()
    assert pq.ParquetFile(path).num_row_groups == 5
    assert len(read_predictions(path).predictions) == 24
    path.unlink()
    with (
        pytest.raises(InputError, match=r"6 hypotheses of .* the first one 4"),
        PredictionWriter(path, INFO) as writer,
    ):
        for hyps in (4, 4, 4, 6):
            writer.write(predict(samples[0], hyps=hyps))
    assert list(tmp_path.iterdir()) == []


def test_the_example_in_the_docstring_runs_and_its_parameters_become_the_bodys_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples, body: BodyModel
) -> None:
    people = [(s.id, i, t) for s in samples for i, t in enumerate(s.people)]
    outputs = []
    for sample_id, index, truth in people:
        rotations = axis_angle_to_matrix(torch.from_numpy(truth.body.pose_aa)).numpy()
        outputs.append((sample_id, index, {"rotations": rotations, "betas": truth.body.betas}))
    start, end = "    import json, pyarrow", "\n\nFrom SAM"
    example = start + str(predictions.__doc__).split(start)[1].split(end)[0]
    example = textwrap.dedent(example)
    monkeypatch.chdir(tmp_path)
    exec(example.replace("smpl-neutral:DIGEST", body_key(body)), {"outputs": outputs})
    found = read_predictions(tmp_path / "camerahmr.parquet")
    assert (found.info.name, found.info.intrinsics, len(found.predictions)) == ("CameraHMR", "default", 24)
    for (_, _, truth), prediction in zip(people, found.predictions, strict=True):
        for name in ("smpl24", "coco23"):
            expected = truth.points[name].cam_m - truth.body.transl_cam_m
            np.testing.assert_allclose(prediction.points_m[name][0], expected, atol=2e-5)


def _file(tmp_path: Path, samples, predict, change: Callable[[dict, dict], None]) -> Path:
    """A good file of joints with something changed in its columns or its metadata."""
    predictions = [p for sample in samples for p in predict(sample)]
    columns = {
        "sample_id": pa.array([p.sample_id for p in predictions]),
        "person": pa.array([p.person for p in predictions], pa.int32()),
        "selected": pa.array([p.selected for p in predictions], pa.int32()),
        "points_m.coco23": pa.array([p.points_m["coco23"].ravel() for p in predictions]),
    }
    about = {"format": FORMAT, "hypotheses": 4, "name": "other", "version": "1", "boxes": "given",
             "intrinsics": "given", "digests": {}, "body": None}  # fmt: skip
    change(columns, about)
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table(columns).replace_schema_metadata({KEY: json.dumps(about)} if about else {}), path)
    return path


def _millimetres(columns: dict, about: dict) -> None:
    columns["points_m.coco23"] = pa.array(
        [1000 * np.array(row) for row in columns["points_m.coco23"].to_pylist()]
    )


def _infinite(columns: dict, about: dict) -> None:
    rows = columns["points_m.coco23"].to_pylist()
    rows[7][3] = float("inf")
    columns["points_m.coco23"] = pa.array(rows)


MISTAKES = {
    "no metadata": (lambda c, a: a.clear(), "doesn't say which system"),
    "another format": (lambda c, a: a.update(format="x/2"), "format 'x/2'"),
    "boxes": (lambda c, a: a.update(boxes="mine"), "boxes is 'mine'; say one of given, detected"),
    "camera": (lambda c, a: a.pop("intrinsics"), "intrinsics is None; say one of given, default"),
    "name": (lambda c, a: a.update(name=""), "name is ''"),
    "hypotheses": (lambda c, a: a.update(hypotheses=0), "hypotheses is 0"),
    "unknown column": (lambda c, a: c.update(pose=c["person"]), "has a column 'pose'; columns are"),
    "unknown set": (lambda c, a: c.update({"points_m.mhr70": c["person"]}), "'points_m.mhr70'"),
    "no person": (lambda c, a: c.pop("person"), "no column person"),
    "nothing said": (lambda c, a: c.pop("points_m.coco23"), "neither points_m.SET nor pose_aa"),
    "wrong width": (lambda c, a: a.update(hypotheses=3), "lists of 207 numbers for 3 hypotheses"),
    "twice": (lambda c, a: c.update(person=pa.array([0] * 24, pa.int32())), "person 0 of frame00 twice"),
    "null": (lambda c, a: c.update(selected=pa.array([None] * 24, pa.int32())), "selected is null in 24 rows"),
    "selected": (lambda c, a: c.update(selected=pa.array([4] * 24, pa.int32())), "selects hypothesis 4 of 4"),
    "millimetres": (_millimetres, r"span .*e\+03 at the median; metres are wanted"),
    "infinite": (_infinite, "person 1 of frame03 holds numbers that aren't finite"),
    "half a body": (lambda c, a: c.update(betas=pa.array([[0.0] * 40] * 24)), "pose_aa or betas alone"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_has_its_sentence(tmp_path: Path, samples, predict, mistake: str) -> None:
    change, sentence = MISTAKES[mistake]
    with pytest.raises(AlignhmrError, match=sentence):
        read_predictions(_file(tmp_path, samples, predict, change))


def test_the_unchanged_file_is_good_and_unknown_points_may_be_nan(tmp_path: Path, samples, predict) -> None:
    def no_feet(columns: dict, about: dict) -> None:
        rows = np.array(columns["points_m.coco23"].to_pylist()).reshape(24, 4, 23, 3)
        rows[:, :, 17:] = np.nan
        columns["points_m.coco23"] = pa.array(list(rows.reshape(24, -1)))

    assert len(read_predictions(_file(tmp_path, samples, predict, lambda c, a: None)).predictions) == 24
    assert len(read_predictions(_file(tmp_path, samples, predict, no_feet)).predictions) == 24


def test_a_text_file_and_a_foreign_body_are_refused(
    tmp_path: Path, samples, predict, body: BodyModel
) -> None:
    (tmp_path / "text.parquet").write_text("sample_id,person\n")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        read_predictions(tmp_path / "text.parquet")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        read_predictions(tmp_path / "missing.parquet")
    predictions = [replace(p, points_m={}) for p in predict(samples[0])]
    rows = {
        "sample_id": pa.array([p.sample_id for p in predictions]),
        "person": pa.array([p.person for p in predictions], pa.int32()),
        "pose_aa": pa.array([p.pose_aa.ravel() for p in predictions]),
        "betas": pa.array([p.betas.ravel() for p in predictions]),
    }
    about = {"format": FORMAT, "hypotheses": 4, "name": "other", "version": "1", "boxes": "given",
             "intrinsics": "given", "digests": {}, "body": "smpl:0123"}  # fmt: skip
    path = tmp_path / "smpl.parquet"
    pq.write_table(pa.table(rows).replace_schema_metadata({KEY: json.dumps(about)}), path)
    with pytest.raises(
        InputError, match="smpl:0123, which doesn't ship with alignhmr; name its file with --body"
    ):
        read_predictions(path)
    with pytest.raises(
        CompatibilityError, match=r"parameters of body smpl:0123, but the body loaded is open"
    ):
        read_predictions(path, body)


def test_bodies_are_the_same_by_digest_or_as_resolutions_of_one_open_body() -> None:
    assert same_body("smpl:1", "smpl:1")
    assert not same_body("smpl:1", "smpl:2")
    assert same_body("open-body-v1:1", "open-body-v1:2")
    assert not same_body("open-body-v1:1", "open-body-v2:1")
