"""`alignhmr prepare`: whole shards, resumed runs, the same bytes for any number of workers, a disk or a bucket."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from alignhmr.core.errors import InputError
from alignhmr.core.perception.detector import load_detector
from alignhmr.core.records import Intrinsics
from alignhmr.core.synthetic.samples import Maker, make_sample
from alignhmr.core.synthetic.shards import parquet_bytes, to_row
from alignhmr.core.truth.frames import Frame
from alignhmr.deployments import prepare, prepare_sources
from alignhmr.deployments.prepare import told
from alignhmr.deployments.prepare_output import PreparedOutput
from alignhmr.deployments.shard_folder import Shard
from alignhmr.deployments.storage import open_location
from alignhmr.training.mixture import Mixture
from alignhmr.training.sighting_shards import read_info, read_shard, shard_bytes

QUIET = Console(file=io.StringIO())


def look(source, out, count: int | None = 5, **options):
    return prepare.run(source, out, count=count, shard_pictures=2, console=QUIET, **options)


def people_in(location):
    filesystem, _ = open_location(str(location))
    [source] = Mixture([(str(location), 1.0)], open_location=open_location).sources
    return [person for file in source.files for person in read_shard(filesystem, file.path)]


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


@pytest.mark.slow
def test_any_number_of_workers_writes_the_same_people_as_this_process(ray_session, tmp_path) -> None:
    one, two = (look("wild", tmp_path / str(n), workers=n) for n in (1, 2))
    assert content(tmp_path / "1") == content(tmp_path / "2")
    names = [f"people-000000{n}-000000{min(n + 1, 4)}.parquet" for n in (0, 2, 4)]
    assert list(content(tmp_path / "1")) == names and one["shards"] == two["shards"]
    maker, detector = Maker("wild"), load_detector("blazepose")
    wanted = {}
    for index in range(5):
        sample = make_sample(maker, index).sample
        boxes = np.stack([truth.box_px for truth in sample.people])
        for place, person in enumerate(detector.from_boxes(sample.picture, boxes)):
            wanted[f"{sample.id}#{place}"] = person.keypoints_px, sample.people[place]
    found = people_in(tmp_path / "2")
    assert len(found) == one["people"] > 4 and one["count"] == 5
    for person in found:
        keypoints, truth = wanted[person.id]
        np.testing.assert_array_equal(person.keypoints_px, keypoints)
        np.testing.assert_array_equal(person.pose_aa, truth.body.pose_aa)
        np.testing.assert_array_equal(person.box_px, truth.box_px)
    record = json.loads((tmp_path / "1" / "prepare.json").read_text())
    assert record == one and record["status"] == "finished" and 0.5 < record["detector_error_percent"] < 30
    assert sum(one["left_out"].values()) == len(wanted) - len(found)


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_cut_and_grows_and_refuses_others(ray_session, tmp_path) -> None:
    first = look("studio", tmp_path / "a", workers=1)
    before = content(tmp_path / "a")
    names = sorted(before)
    (tmp_path / "a" / names[0]).unlink()
    (tmp_path / "a" / names[1]).write_bytes(before[names[1]][:500])  # a half file
    (tmp_path / "a" / (names[0] + ".partial")).write_bytes(b"half")
    kept = (tmp_path / "a" / names[2]).stat().st_mtime_ns
    again = look("studio", tmp_path / "a", workers=1)
    assert content(tmp_path / "a") == before and again["kept"] == first["shards"][names[2]]
    assert (tmp_path / "a" / names[2]).stat().st_mtime_ns == kept
    assert not list((tmp_path / "a").glob("*.partial"))
    assert {**again, "kept": 0, "seconds": 0, "people_per_s": 0} == {**first, "seconds": 0, "people_per_s": 0}
    more = look("studio", tmp_path / "a", count=7, workers=1)
    assert more["count"] == 7 and more["kept"] == sum(first["shards"][name] for name in names[:2])
    assert sorted(content(tmp_path / "a"))[:2] == names[:2] and len(content(tmp_path / "a")) == 4
    for options, words in (
        ({"count": 5}, "holds 7 pictures of this run, and 5 were asked for"),
        ({"count": 7, "seed": 1}, r"holds other prepared people \(seed 0 there, 1 here\)"),
    ):
        with pytest.raises(InputError, match=words):
            look("studio", tmp_path / "a", **options)


def test_a_finished_run_needs_no_ray_to_say_so(tmp_path, monkeypatch) -> None:
    """Nor any picture: everything is in the files."""

    def never(*_, **__):
        raise AssertionError("Ray was started")

    monkeypatch.setattr(prepare.runtime, "start_ray", never)
    with pytest.raises(AssertionError, match="Ray was started"):
        look("studio", tmp_path, count=3)
    identity = json.loads((tmp_path / "prepare.json").read_text())["identity"]
    output = PreparedOutput.at(str(tmp_path), identity)
    counts = {
        "pictures": 2, "people": 2, "left_out": {"box below 24 px": 3}, "failed": {}, "keypoints_judged": 10,
        "keypoint_error_of_box": 0.5,
    }  # fmt: skip
    output.write(output.name(Shard(0, 2)), shard_bytes([], identity, counts))
    last = {**counts, "pictures": 1, "people": 1, "failed": {"unreadable": 1}}
    output.write(output.name(Shard(2, 3)), shard_bytes([], identity, last))
    record = look("studio", tmp_path, count=3)
    assert (record["people"], record["kept"], record["count"]) == (3, 3, 3)
    assert told(record) == (
        "3 people of 3 pictures, 3 of them were there; people left out: box below 24 px 6; failed pictures:"
        " unreadable 1; the detector's limb keypoints are 5.0 % of the box off"
    )


@pytest.mark.slow
def test_from_a_bucket_into_a_bucket(ray_session, tmp_path, s3) -> None:
    s3.create_bucket(Bucket="made")
    maker = Maker("studio")
    rows = [to_row(one.sample, one.jpeg) for one in (make_sample(maker, index) for index in range(3))]
    data = parquet_bytes(rows, "run")
    s3.put_object(Bucket="made", Key="samples/samples-0000000-0000002.parquet", Body=data)
    record = look("s3://made/samples", "s3://made/people", count=None, workers=1)
    assert record["count"] == 3 and len(record["shards"]) == 2
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "samples-0000000-0000002.parquet").write_bytes(data)
    look(str(tmp_path / "samples"), tmp_path / "people", count=None, workers=2)
    for name, written in content(tmp_path / "people").items():
        assert s3.get_object(Bucket="made", Key=f"people/{name}")["Body"].read() == written
    assert [p.id for p in people_in("s3://made/people")] == [p.id for p in people_in(tmp_path / "people")]


@pytest.mark.slow
def test_a_data_set_loses_the_picture_that_is_missing_and_no_other(
    ray_session, tmp_path, monkeypatch
) -> None:
    maker = Maker("studio")
    frames = []
    for index in range(4):
        made = make_sample(maker, index)
        path = tmp_path / f"{index}.jpg"
        path.write_bytes(made.jpeg)
        sample = made.sample
        frames.append(Frame(f"f{index}", "g", "3dpw", path, sample.intrinsics, sample.people))
    (tmp_path / "1.jpg").unlink()
    monkeypatch.setattr(prepare_sources, "open_frames", lambda name, **_: iter(frames))
    record = look("3dpw:/data", tmp_path / "out", count=None, workers=1)
    assert record["failed"] == {"invalid_input": 1} and record["count"] == 4 and record["people"] == 3
    assert [person.id for person in people_in(tmp_path / "out")] == ["f0#0", "f2#0", "f3#0"]
    filesystem, path = open_location(str(tmp_path / "out"))
    info = read_info(filesystem, f"{path}/people-0000000-0000001.parquet")
    assert info.counts["failed"] == {"invalid_input": 1} and info.rows == 1
    for index in (0, 2, 3):
        (tmp_path / f"{index}.jpg").unlink()
    with pytest.raises(InputError, match=r"all 4 pictures of 3dpw:/data failed, the first with: .*0\.jpg"):
        look("3dpw:/data", tmp_path / "none", count=None, workers=1)
    assert not content(tmp_path / "none")  # another run tries them again


@pytest.mark.slow
def test_nobody_to_learn_from_says_why(ray_session, tmp_path, monkeypatch) -> None:
    made = make_sample(Maker("studio", size_px=64), 0)
    (tmp_path / "a.jpg").write_bytes(made.jpeg)
    [truth] = made.sample.people
    small = type(truth)(np.array([1, 1, 5, 9], np.float32), truth.points, truth.body)
    frames = [Frame("f", "g", "3dpw", tmp_path / "a.jpg", Intrinsics(90.0, (32.0, 32.0), "given"), [small])]
    monkeypatch.setattr(prepare_sources, "open_frames", lambda name, **_: iter(frames))
    with pytest.raises(
        InputError, match=r"nobody in 3dpw:/data can be learned from \(pictures 1: box below 24 px 1\)"
    ):
        look("3dpw:/data", tmp_path / "out", count=None, workers=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"source": "moon"}, "unknown source 'moon'"),
        ({"shard_pictures": 0}, "0 pictures a shard were asked for"),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_written(tmp_path, options, words) -> None:
    with pytest.raises(InputError, match=words):
        prepare.run(options.pop("source", "wild"), tmp_path / "a", count=1, console=QUIET, **options)
    assert not (tmp_path / "a").exists()
