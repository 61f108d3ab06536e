"""Every picture of a source stands in one portion, in order; what can't be learned from is refused with a sentence."""

import itertools
import json
import pickle

import cv2
import numpy as np
import pytest

from alignhmr.core.errors import InputError
from alignhmr.core.records import Intrinsics
from alignhmr.core.synthetic.samples import Maker, make_sample
from alignhmr.core.synthetic.shards import MANIFEST, SUFFIX, parquet_bytes, tar_bytes, to_row
from alignhmr.core.truth.frames import Frame
from alignhmr.deployments import prepare_sources
from alignhmr.deployments.prepare_sources import open_source


@pytest.fixture(scope="module")
def made():
    maker = Maker("studio", "test", 3, size_px=64)
    return [make_sample(maker, index) for index in range(7)]


def write_samples(folder, made, counts, format="parquet"):
    folder.mkdir()
    start = 0
    for count in counts:
        rows = [to_row(one.sample, one.jpeg) for one in made[start : start + count]]
        data = parquet_bytes(rows, "run") if format == "parquet" else tar_bytes(rows)
        name = f"samples-{start:07d}-{start + count - 1:07d}{SUFFIX[format]}"
        (folder / name).write_bytes(data)
        start += count
    return folder


def ids(source, shard_pictures):
    """Of each portion, read as a worker would, in another process."""
    there = pickle.loads(pickle.dumps(source))
    found = []
    for portion in source.portions(shard_pictures):
        samples = [picture() for picture in there.pictures(pickle.loads(pickle.dumps(portion)))]
        assert len(samples) == portion.stop - portion.start
        found.append([sample.id for sample in samples])
    return found


def test_made_people_are_drawn_by_number() -> None:
    source = open_source("studio", split="test", count=5, seed=3)
    assert source.count == 5
    numbers = [[0, 1], [2, 3], [4]]
    assert ids(source, 2) == [[f"studio-test-3-{number:06d}" for number in part] for part in numbers]
    assert {"domain": "studio", "split": "test", "seed": 3}.items() <= source.identity.items()
    assert open_source("studio", count=9).identity == open_source("studio", count=5).identity


@pytest.mark.parametrize("format", ["parquet", "webdataset"])
@pytest.mark.parametrize(("count", "portions"), [(None, [3, 3, 1]), (5, [3, 2]), (50, [3, 3, 1])])
def test_a_folder_is_read_across_its_files(made, tmp_path, format, count, portions) -> None:
    folder = write_samples(tmp_path / "made", made, [4, 1, 2], format)
    source = open_source(str(folder), count=count)
    found = ids(source, 3)
    assert [len(part) for part in found] == portions and source.count == sum(portions)
    assert list(itertools.chain(*found)) == [one.sample.id for one in made[: source.count]]


def test_a_folder_is_named_by_what_it_holds(made, tmp_path) -> None:
    one = open_source(str(write_samples(tmp_path / "a", made, [4, 3]))).identity
    assert one == open_source(str(write_samples(tmp_path / "b", made, [4, 3]))).identity
    assert one != open_source(str(write_samples(tmp_path / "c", made, [4, 2]))).identity
    (tmp_path / "a" / MANIFEST).write_text(json.dumps({"digest": "abc"}))
    assert open_source(str(tmp_path / "a")).identity == {"made": "abc"}


def test_one_broken_picture_of_a_folder_is_its_own(made, tmp_path) -> None:
    rows = [to_row(one.sample, one.jpeg) for one in made[:3]]
    rows[1]["image"] = b"no picture"
    (tmp_path / "samples-0000000-0000002.parquet").write_bytes(parquet_bytes(rows, "run"))
    source = open_source(str(tmp_path))
    first, second, third = source.pictures(next(source.portions(9)))
    with pytest.raises(InputError):
        second()
    assert [first().id, third().id] == [made[0].sample.id, made[2].sample.id]


def test_a_data_set_is_cut_where_its_annotations_are_read(made, tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(made[0].jpeg)
    truths = made[0].sample.people
    frames = [
        Frame(str(n), "g", "3dpw", path, Intrinsics(90.0, (32.0, 32.0), "given"), truths) for n in range(5)
    ]
    asked = []

    def open_frames(name, *, count=None, seed=0):
        asked.append((name, count, seed))
        return iter(frames[:count])

    monkeypatch.setattr(prepare_sources, "open_frames", open_frames)
    source = open_source("3dpw/train:/data", count=4, seed=2)
    assert ids(source, 3) == [["0", "1", "2"], ["3"]]
    assert asked == [("3dpw/train:/data", None, 0), ("3dpw/train:/data", 4, 2)]
    assert source.identity == {"data_set": "3dpw/train:/data", "count": 4, "seed": 2}
    assert open_source("3dpw/train:/data", seed=2).identity == {"data_set": "3dpw/train:/data"}


def test_a_data_set_without_bodies_is_refused(tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((50, 50, 3), np.uint8))
    person = {"image_id": 1, "keypoints": [10, 10, 2] * 17, "bbox": [0, 0, 40, 40], "num_keypoints": 17}
    labels = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [person]}
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    with pytest.raises(InputError, match=r"coco:.* has 2D or 3D points and no body parameters .*3dpw:PATH"):
        open_source(f"coco:{tmp_path},{tmp_path / 'labels.json'}")
    with pytest.raises(InputError, match="pose2sim4 has 2D or 3D points and no body parameters"):
        open_source("pose2sim4")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("moon", {}, "unknown source 'moon'; choose studio"),
        ("", {}, "unknown source ''"),
        ("wild", {}, "wild has no end; say with --count"),
        ("wild", {"count": 0}, "0 pictures were asked for"),
        ("wild", {"count": 1, "split": "dev"}, "unknown split 'dev'"),
        ("3dpw:/no/such", {"split": "test"}, "--split is for people who are made"),
        ("3dpw:/no/such", {}, "/no/such"),
        ("s3://", {}, "names no bucket"),
    ],
)
def test_what_is_no_source_has_its_sentence(name, options, words) -> None:
    with pytest.raises(InputError, match=words):
        open_source(name, **options)


def test_folders_of_something_else_have_theirs(made, tmp_path) -> None:
    with pytest.raises(InputError, match="holds no samples"):
        open_source(str(tmp_path))
    (tmp_path / "rows.parquet").write_bytes(parquet_bytes([to_row(made[0].sample, made[0].jpeg)], "run"))
    with pytest.raises(InputError, match=r"rows.parquet isn't named as `alignhmr synth` names its files"):
        open_source(str(tmp_path))
    with pytest.raises(InputError, match="--motion is for people who are made"):
        open_source(str(tmp_path), motion=tmp_path)
