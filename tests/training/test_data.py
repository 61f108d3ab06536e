import logging

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from alignhmr.core.diffusion.parameters import unpack
from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.core.geometry.cameras import lift_crop_camera
from alignhmr.core.geometry.rotations import axis_angle_to_matrix, geodesic_angle
from alignhmr.core.perception.views import to_jpeg
from alignhmr.training.data import read_labels, split


@pytest.fixture
def labels(bench):
    return read_labels(bench.folder, bench.body, bench.digest)


def test_pairs_hold_the_bodies_of_the_rows(bench, labels):
    """Winner and loser, unpacked and lifted, are the row's pose, shape and translation."""
    by_image = {row["image_sha256"]: row for row in bench.rows}
    pairs, people = labels.preferred, labels.people
    assert len(pairs) == sum(len(row["pairs"] or ()) for row in bench.rows)
    seen: dict[int, int] = {}
    for i, person in enumerate(pairs.person):
        row = by_image[people.image_sha256[person]]
        pair = row["pairs"][seen.get(person, 0)]
        seen[person] = seen.get(person, 0) + 1
        for packed, hypothesis in ((pairs.winner[i], pair["winner"]), (pairs.loser[i], pair["loser"])):
            body = unpack(packed)
            truth = axis_angle_to_matrix(torch.tensor(row["pose_aa"][hypothesis]))
            assert geodesic_angle(body.rotations, truth).max() < 2e-3
            assert torch.allclose(body.betas, torch.tensor(row["betas"][hypothesis]))
            crop, focal, center = people.crop_px[person], people.focal_px[person], people.center_px[person]
            root = bench.body.kinematics(body.rotations, body.betas).joints[0]
            transl = lift_crop_camera(body.camera, crop, focal, center) - root
            expected = torch.tensor(row["transl_cam_m"][hypothesis])
            if 0.06 < float(body.camera[0]) < 7:  # the lift holds scales outside
                assert torch.allclose(transl, expected, atol=2e-3 * float(expected[2]))


def test_condition_and_evidence(bench, labels):
    order = np.argsort(labels.people.image_sha256)
    rows = sorted(bench.rows, key=lambda row: row["image_sha256"])
    for i, row in zip(order, rows, strict=True):
        assert bool(labels.people.has_detector_3d[i]) == (row["keypoints_3d_m"] is not None)
        assert torch.equal(labels.people.keypoints_px[i], torch.tensor(row["keypoints_px"]))
    assert torch.isfinite(labels.people.condition().flat()).all()


def test_views_in_the_rows_become_the_pictures_that_a_model_sees(bench, made, tmp_path):
    rows = [dict(row) for row in bench.rows]
    view = np.zeros((256, 256, 3), np.uint8)
    view[:, :128], view[:, 128:] = (200, 40, 90), (10, 220, 60)
    for row in rows[::2]:
        row["view_jpeg"] = to_jpeg(view)
    people = read_labels(made.write_rows(tmp_path, rows), bench.body, bench.digest).people
    seen = {row["image_sha256"] for row in rows[::2]}
    condition = people.condition(64)
    assert condition.has_image.tolist() == [digest in seen for digest in people.image_sha256]
    assert condition.crops.shape == (len(seen), 3, 64, 64)
    expected = torch.tensor([[200.0, 40.0, 90.0], [10.0, 220.0, 60.0]])
    assert (condition.crops[0, :, 32, [10, 53]].T - expected).abs().max() < 8
    assert not people.condition().has_image.any()


def test_people_are_encoded_as_one_batch_would_be(bench, labels):
    model = bench.model()
    whole = model.encode(labels.people.condition()).vector
    torch.testing.assert_close(labels.people.encoded(model).vector, whole)


def test_split_never_parts_a_picture_and_is_stable(bench, made, tmp_path):
    rows = [dict(row) for row in bench.rows]
    for i in range(1, len(rows), 3):  # two people in one picture
        rows[i]["image_sha256"] = rows[i - 1]["image_sha256"]
    read = lambda name, some: read_labels(  # noqa: E731
        made.write_rows(tmp_path / name, some), bench.body, bench.digest
    )
    training, held_out = split(read("all", rows), 0.3)
    sides = [set(part.people.image_sha256) for part in (training, held_out)]
    assert not sides[0] & sides[1] and all(sides)
    assert len(training.people) + len(held_out.people) == len(rows)
    fewer = split(read("some", rows[:15]), 0.3)
    assert set(fewer[1].people.image_sha256) <= sides[1]
    for part in (training, held_out):
        assert not len(part.preferred) or part.preferred.person.max() < len(part.people)


def test_split_of_two_pictures_holds_one_out_and_of_one_none(bench, made, tmp_path):
    two = read_labels(made.write_rows(tmp_path / "2", bench.rows[:2], parts=1), bench.body, bench.digest)
    assert [len(part.people) for part in split(two, 1e-9)] == [1, 1]
    assert [len(part.people) for part in split(two, 1.0)] == [1, 1]
    one = read_labels(made.write_rows(tmp_path / "1", bench.rows[:1], parts=1), bench.body, bench.digest)
    assert [len(part.people) for part in split(one, 1.0)] == [1, 0]


def test_pairs_in_held_out_pictures_only_are_told(bench, made, tmp_path):
    first, second = sorted(bench.rows[:2], key=lambda row: row["image_sha256"])
    rows = [first, {**second, "pairs": None, "abstained": "no_margin"}]
    labels = read_labels(made.write_rows(tmp_path, rows, parts=1), bench.body, bench.digest)
    with pytest.raises(InputError, match="label more pictures"):
        split(labels, 1e-9)


def test_rows_of_another_model_are_refused_by_name(bench, made, tmp_path):
    with pytest.raises(CompatibilityError, match="base base:"):
        read_labels(bench.folder, bench.body, "f" * 64)
    rows = [dict(row) for row in bench.rows]
    rows[3]["models"] = {**rows[3]["models"], "body": "smpl:0123456789abcdef"}
    with pytest.raises(CompatibilityError, match="body smpl:0123456789abcdef"):
        read_labels(made.write_rows(tmp_path, rows), bench.body, bench.digest)


def test_no_pairs_says_why(bench, made, tmp_path):
    rows = [{**row, "pairs": None, "abstained": "no_margin"} for row in bench.rows[:4]]
    rows += [{"image_sha256": "a" * 64, "error_code": "no_person"}, {"error_code": "unreadable"}]
    with pytest.raises(InputError) as caught:
        read_labels(made.write_rows(tmp_path, rows), bench.body, bench.digest)
    for words in ("6 rows", "abstained:no_margin 4", "error:no_person 1", "error:unreadable 1"):
        assert words in str(caught.value)


def test_a_cut_file_is_skipped_unless_all_are(bench, made, tmp_path, caplog):
    whole, cut = sorted(made.write_rows(tmp_path, bench.rows).glob("*.parquet"))
    cut.write_bytes(cut.read_bytes()[:500])
    with caplog.at_level(logging.WARNING):
        labels = read_labels(tmp_path, bench.body, bench.digest)
    assert labels.counts["broken files"] == 1 and labels.counts["rows"] == 12
    assert str(cut) in caplog.text
    whole.write_bytes(b"PAR1 nothing")
    with pytest.raises(InputError, match="none of the 2"):
        read_labels(tmp_path, bench.body, bench.digest)


def test_a_file_that_is_gone_when_its_turn_comes_is_skipped(bench, made, tmp_path, monkeypatch, caplog):
    gone, _ = sorted(made.write_rows(tmp_path, bench.rows).glob("*.parquet"))
    read = pq.read_schema

    def schema(path, **options):
        gone.unlink(missing_ok=True)  # after the folder was listed
        return read(path, **options)

    monkeypatch.setattr(pq, "read_schema", schema)
    labels = read_labels(tmp_path, bench.body, bench.digest)
    assert labels.counts["broken files"] == 1 and labels.counts["rows"] == 12
    assert str(gone) in caplog.text


def test_damage_inside_a_file_is_skipped_too(bench, made, tmp_path):
    _, damaged = sorted(made.write_rows(tmp_path, bench.rows).glob("*.parquet"))
    content = bytearray(damaged.read_bytes())
    content[100:2000] = bytes(1900)
    damaged.write_bytes(content)
    labels = read_labels(tmp_path, bench.body, bench.digest)
    assert labels.counts["broken files"] == 1 and labels.counts["rows"] == 12


@pytest.mark.parametrize("what", ["nothing there", "no files", "other columns"])
def test_folders_that_hold_no_rows(bench, tmp_path, what):
    folder = tmp_path / "labels"
    error: type[Exception] = InputError
    if what != "nothing there":
        folder.mkdir()
    if what == "other columns":
        pq.write_table(
            pq.read_table(next(bench.folder.rglob("*.parquet"))).drop(["pairs"]), folder / "x.parquet"
        )
        error = CompatibilityError
    with pytest.raises(error):
        read_labels(folder, bench.body, bench.digest)


def test_groups_are_all_draws_best_first(bench, made, tmp_path):
    rows = [dict(row) for row in bench.rows]
    rows[2]["vetoes"] = [None, "limits"] + [None] * 4
    labels = read_labels(made.write_rows(tmp_path, rows), bench.body, bench.digest, objective="group")
    groups, by_image = labels.preferred, {row["image_sha256"]: row for row in rows}
    assert len(groups) and groups.bodies.shape[1] == 5
    torch.testing.assert_close(groups.advantage.sum(1), torch.zeros(len(groups)), atol=1e-4, rtol=0)
    for person, bodies, advantage in zip(groups.person, groups.bodies, groups.advantage, strict=True):
        row = by_image[labels.people.image_sha256[person]]
        scores = np.array(row["scores"], np.float64)[1:]
        if row is rows[2]:
            scores[0] = scores.min()
        order = np.argsort(-scores, kind="stable")
        betas = torch.tensor(np.array(row["betas"])[1:][order], dtype=torch.float32)
        torch.testing.assert_close(unpack(bodies).betas, betas)
        expected = (scores - scores.mean()) / scores.std()
        np.testing.assert_allclose(advantage.numpy(), expected[order], atol=1e-3)


def test_groups_of_several_sizes_are_refused(bench, made, tmp_path):
    model = bench.model()
    fewer = made.label_rows(model, bench.base, bench.body, bench.people.take(slice(0, 4)), hypotheses=5)
    for row in fewer:
        # However alike and wrong they are, they are told apart and believed.
        row["scores"], row["expected_error_mm"] = 10 * row["scores"], row["expected_error_mm"] / 10
    made.write_rows(tmp_path / "five", fewer, parts=1, hypotheses=5)
    made.write_rows(tmp_path / "six", bench.rows, parts=1)
    with pytest.raises(InputError, match="4 to 5 draws"):
        read_labels(tmp_path, bench.body, bench.digest, objective="group")
