"""What is written is what is read: Parquet and tar hold every bit of a sample, and nothing that runs."""

import io
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alignhmr.core.errors import InputError
from alignhmr.core.synthetic import shards
from alignhmr.core.synthetic.samples import MadeSample, Maker, make_sample
from alignhmr.core.synthetic.shards import from_row, parquet_bytes, read_samples, tar_bytes, to_row
from alignhmr.core.truth.records import Sample


@pytest.fixture(scope="module")
def made() -> list[MadeSample]:
    maker = Maker("crowd", "train", 0, size_px=96)
    return [make_sample(maker, index) for index in range(4)]


@pytest.fixture(scope="module")
def rows(made):
    return [to_row(one.sample, one.jpeg) for one in made]


def assert_same(read: Sample, sample: Sample) -> None:
    assert (read.id, read.group, read.domain) == (sample.id, sample.group, sample.domain)
    assert read.intrinsics == sample.intrinsics and read.picture.sha256 == sample.picture.sha256
    np.testing.assert_array_equal(read.picture.pixels, sample.picture.pixels)
    assert len(read.people) == len(sample.people)
    for a, b in zip(read.people, sample.people, strict=True):
        assert a.body is not None and b.body is not None
        assert a.facts == b.facts and a.body.body == b.body.body
        for x, y in ((a.box_px, b.box_px), (a.mask, b.mask), (a.body.pose_aa, b.body.pose_aa),
                     (a.body.betas, b.body.betas), (a.body.transl_cam_m, b.body.transl_cam_m)):  # fmt: skip
            np.testing.assert_array_equal(x, y, strict=True)
        for name in ("smpl24", "coco23"):
            for key in ("cam_m", "px", "visible"):
                np.testing.assert_array_equal(
                    getattr(a.points[name], key), getattr(b.points[name], key), strict=True
                )


@pytest.mark.parametrize("format", shards.FORMATS)
def test_round_trip_over_several_files_in_order(made, rows, tmp_path, format) -> None:
    for start in (2, 0):
        part = rows[start : start + 2]
        data = parquet_bytes(part, "run") if format == "parquet" else tar_bytes(part)
        (tmp_path / f"samples-{start:07d}{shards.SUFFIX[format]}").write_bytes(data)
    read = list(read_samples(tmp_path))
    assert len(read) == len(made)
    for one, sample in zip(read, made, strict=True):
        assert_same(one, sample.sample)


def test_bytes_follow_from_the_rows_alone(rows) -> None:
    assert parquet_bytes(rows, "run") == parquet_bytes(list(rows), "run")
    assert tar_bytes(rows) == tar_bytes(list(rows))


def test_columns_are_typed_and_of_fixed_size(rows) -> None:
    schema = pq.read_schema(pa.BufferReader(parquet_bytes(rows, "run")))
    assert schema.equals(shards.SCHEMA) and schema.metadata[shards.IDENTITY_KEY] == b"run"
    person = schema.field("people").type.value_type
    assert person.field("smpl24_cam_m").type == pa.list_(pa.float32(), 72)
    assert person.field("coco23_visible").type == pa.list_(pa.bool_(), 23)


def test_a_tar_is_what_webdataset_reads(rows) -> None:
    with tarfile.open(fileobj=io.BytesIO(tar_bytes(rows))) as archive:
        names = archive.getnames()
        assert all(entry.mtime == 0 and entry.isfile() for entry in archive)
    assert names[:3] == [f"{rows[0]['id']}.{suffix}" for suffix in ("jpg", "json", "mask.png")]
    assert len(names) == 3 * len(rows)


def test_what_is_no_sample_is_said(rows, tmp_path) -> None:
    with pytest.raises(InputError, match="holds no samples"):
        read_samples(tmp_path)
    whole = parquet_bytes(rows, "run")
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"a\.parquet can't be read"):
        list(read_samples(tmp_path))
    pq.write_table(pa.table({"x": [1]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="doesn't hold made people"):
        list(read_samples(tmp_path))
    (tmp_path / "a.parquet").unlink()
    (tmp_path / "a.tar").write_bytes(tar_bytes(rows)[:3000])
    with pytest.raises(InputError, match=r"a\.tar can't be read"):
        list(read_samples(tmp_path))


def test_a_row_is_plain(rows) -> None:
    assert from_row(rows[0]).id == rows[0]["id"]
    assert isinstance(rows[0]["people"][0]["facts"], str)
