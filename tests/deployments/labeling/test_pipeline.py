"""The labelling pipeline on a real Ray, with fake models: what comes in, what comes out, what fails alone."""

import dataclasses

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from alignhmr.core.errors import AssetError, SetupError
from alignhmr.core.language.posecodes import PARTS

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, picture):
    """Good pictures with 0 to 3 people, and bad ones among them; name -> number of people or error code."""
    folder = tmp_path_factory.mktemp("corpus")
    expected: dict[str, int | str] = {}
    for number in range(14):
        name, people = f"good_{number:02}.png", number % 4
        picture(folder / name, 20 * people, number=number)
        expected[name] = people or "no_person"
    picture(folder / "sub" / "ünïcödé näme.png", 40, number=100)
    expected["sub/ünïcödé näme.png"] = 2
    picture(folder / "bmp inside.jpg", 20, number=101)
    expected["bmp inside.jpg"] = 1

    whole = (folder / "good_01.png").read_bytes()
    for name, data, code in (
        ("truncated.png", (folder / "good_02.png").read_bytes()[:60], "truncated"),
        ("zero_bytes.jpg", b"", "empty"),
        ("html.jpg", b"<html><body>not found</body></html>", "not_an_image"),
        ("noise.jpg", np.random.default_rng(0).bytes(2000), "not_an_image"),
    ):
        (folder / name).write_bytes(data)
        expected[name] = code
    Image.new("RGB", (1200, 900)).save(folder / "huge.png")
    expected["huge.png"] = "too_large"
    (folder / "dangling.jpg").symlink_to(folder / "nowhere.jpg")
    expected["dangling.jpg"] = "missing"
    for name, order, code in (
        ("detector.png", 255, "detector_failed"),
        ("recovery.png", 250, "recovery_failed"),
        ("nan.png", 245, "recovery_failed"),
    ):
        picture(folder / name, order)
        expected[name] = code
    (folder / "copy_of_01.png").write_bytes(whole)
    (folder / "notes.txt").write_text("not a picture, and not listed")
    # Of two pictures with the same bytes either may be the one that is labelled.
    del expected["good_01.png"]
    return folder, expected


@pytest.fixture(scope="module")
def labelled(corpus, run_label, tmp_path_factory):
    out = tmp_path_factory.mktemp("labelled")
    rows, parts = run_label(corpus[0], out, images__max_pixels=1_000_000)
    return out, rows, parts


def by_name(rows, folder):
    names: dict[str, list] = {}
    for row in rows:
        names.setdefault(row["uri"].removeprefix(f"{folder}/"), []).append(row)
    return names


def test_every_picture_ends_as_its_people_or_as_one_error_row(corpus, labelled):
    folder, expected = corpus
    found = by_name(labelled[1], folder)
    assert found.keys() == expected.keys() | {"good_01.png", "copy_of_01.png"}
    for name, wanted in expected.items():
        rows = found[name]
        if isinstance(wanted, int):
            assert [row["error_code"] for row in rows] == [None] * wanted, name
            assert [row["person_index"] for row in rows] == list(range(wanted)), name
        else:
            assert [row["error_code"] for row in rows] == [wanted], name


def test_an_error_row_says_where_and_what(corpus, labelled):
    found = by_name(labelled[1], corpus[0])
    stages = {"dangling.jpg": "read", "html.jpg": "decode", "huge.png": "decode", "detector.png": "people",
              "good_00.png": "people", "recovery.png": "recover", "nan.png": "score"}  # fmt: skip
    for name, stage in stages.items():
        (row,) = found[name]
        assert row["error_stage"] == stage, name
        assert row["error_message"], name
        assert row["scores"] is None and row["pairs"] is None and row["captions"] is None, name
    assert found["nan.png"][0]["person_index"] == 0, "the person was found, only the recovery failed"
    assert "RuntimeError: the detector chokes" in found["detector.png"][0]["error_message"]


def test_the_same_bytes_are_labelled_once(corpus, labelled):
    found = by_name(labelled[1], corpus[0])
    pair = [found["good_01.png"], found["copy_of_01.png"]]
    assert sorted(row["error_code"] or "" for rows in pair for row in rows) == ["", "duplicate"]
    duplicate = next(row for rows in pair for row in rows if row["error_code"])
    assert "the same bytes as" in duplicate["error_message"]


def test_a_good_row_is_whole(labelled):
    for row in (row for row in labelled[1] if row["error_code"] is None):
        assert row["pose_aa"].shape == (6 * 72,) and row["betas"].shape == (60,)
        assert row["keypoints_px"].shape == (69,) and row["selected_joints_cam_m"].shape == (72,)
        assert row["selected"] == np.argmax(row["scores"])
        assert row["captions"].keys() == set(PARTS) and all(row["captions"].values())
        assert row["caption_source"] == "pose" and row["caption_error"] is None
        assert (row["pairs"] is None) == (row["abstained"] is not None)
        for pair in row["pairs"] or ():
            margin = row["scores"][pair["winner"]] - row["scores"][pair["loser"]]
            assert pair["margin"] == pytest.approx(margin) and margin >= 0.3
            assert min(pair["winner"], pair["loser"]) > 0, "the zero-noise answer is no draw"
        assert dict(row["models"])["body"] == "fake-body:0123"
        assert row["intrinsics_source"] == "default" and row["focal_px"] == pytest.approx(80.0)
        assert row["package_version"] == "0.test" and row["schema_version"] == 1


def test_summaries_agree_with_the_rows(labelled):
    from alignhmr.deployments.labeling.summaries import add_up

    out, rows, parts = labelled
    total = add_up(parts)
    assert sorted(part["file"] for part in parts) == sorted(path.name for path in (out / "rows").iterdir())
    assert total["rows"] == len(rows)
    assert total["images"] == len({row["uri"] for row in rows}) == 26
    assert total["people"] == sum(row["person_index"] is not None for row in rows)
    assert total["pairs"] == sum(len(row["pairs"] or ()) for row in rows)
    assert sum(total["errors"].values()) == sum(row["error_code"] is not None for row in rows)


def test_parts_have_the_documented_schema(labelled):
    from alignhmr.deployments.labeling.schema import row_schema

    for path in (labelled[0] / "rows").iterdir():
        schema = pq.read_schema(path)
        assert schema.equals(row_schema(6))
        assert schema.metadata[b"alignhmr.schema_version"] == b"1"
        assert b"axis-angle" in schema.field("pose_aa").metadata[b"doc"]


def test_rows_do_not_depend_on_blocks_and_batches(corpus, labelled, run_label, same_rows, tmp_path):
    again, parts = run_label(
        corpus[0], tmp_path, images__max_pixels=1_000_000, resources__images_per_block=1,
        resources__people__batch_size=1, resources__recover__batch_size=1, resources__score__batch_size=2,
        resources__block_bytes=1,
    )  # fmt: skip
    assert len(parts) > len(labelled[2])
    same_rows(labelled[1], again)


def test_a_part_is_a_block_whatever_stages_share_and_ask_for(run_label, picture, tmp_path):
    for number in range(12):
        picture(tmp_path / "in" / f"{number}.png", 20, number=number)
    _, parts = run_label(
        tmp_path / "in", tmp_path / "out", resources__images_per_block=3, resources__people__batch_size=64,
        resources__recover__batch_size=64, resources__score__batch_size=64, resources__read__num_cpus=0.5,
    )  # fmt: skip
    assert [part["images"] for part in parts] == [3, 3, 3, 3]


def test_a_model_that_fails_to_load_in_a_worker_ends_the_run(run_label_with, fake_models, picture, tmp_path):
    picture(tmp_path / "in" / "a.png", 20)
    broken = dataclasses.replace(fake_models, broken=AssetError("weights.bin is missing; put it there"))
    with pytest.raises((AssetError, SetupError), match=r"weights.bin is missing"):
        run_label_with(broken, tmp_path / "in", tmp_path / "out")
    assert list((tmp_path / "out" / "rows").iterdir()) == []


def test_more_workers_than_ray_has_room_for_is_said_not_waited_for(run_label, picture, tmp_path):
    picture(tmp_path / "in" / "a.png", 20)
    with pytest.raises(SetupError, match=r"CPU slots together, Ray has .*; lower workers"):
        run_label(tmp_path / "in", tmp_path / "out", resources__recover__workers=1000)
