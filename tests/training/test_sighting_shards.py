"""What is written is what is read, bit for bit; files that are something else are named and refused."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs as arrow_fs

from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.training import sighting_shards
from alignhmr.training.sighting_shards import METADATA_KEY, SCHEMA, read_info, read_shard, shard_bytes

DISK = arrow_fs.LocalFileSystem()


def assert_same(one, other) -> None:
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        assert type(a) is type(b), field.name
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b, strict=True)
        else:
            assert a == b, field.name


def test_round_trip_of_every_field_known_and_unknown(sightings, tmp_path) -> None:
    rows = sightings(13)
    rows[2].coco23_cam_m[:5] = np.nan  # a source that knows the limbs alone
    path = tmp_path / "people.parquet"
    path.write_bytes(shard_bytes(rows, {"source": "wild"}))
    read = read_shard(DISK, str(path))
    assert len(read) == 13
    for row, original in zip(read, rows, strict=True):
        assert_same(row, original)
    with pytest.raises(IndexError):
        read[13]


def test_rows_are_the_readers_own(sightings, tmp_path) -> None:
    """Changing a row changes neither the shard nor another reading of it."""
    path = tmp_path / "people.parquet"
    path.write_bytes(shard_bytes(sightings(3), {}))
    read = read_shard(DISK, str(path))
    row = read[1]
    for name in ("pose_aa", "mask", "coco23_visible", "keypoints_3d_m"):
        getattr(row, name)[:] = 1
    assert_same(read[1], sightings(3)[1])


def test_bytes_follow_from_rows_identity_and_counts(sightings) -> None:
    first = shard_bytes(sightings(4), {"seed": 1, "source": "wild"}, {"pictures": 5})
    assert first == shard_bytes(iter(sightings(4)), {"source": "wild", "seed": 1}, {"pictures": 5})
    assert first != shard_bytes(sightings(4), {"seed": 2, "source": "wild"}, {"pictures": 5})
    assert first != shard_bytes(sightings(4, seed=1), {"seed": 1, "source": "wild"}, {"pictures": 5})


def test_a_shard_says_what_it_is_without_its_rows(sightings, tmp_path) -> None:
    rows = sightings(2, body="b:2") + sightings(1, body="a:1")
    (tmp_path / "a").write_bytes(shard_bytes(rows, {"source": "wild"}, {"pictures": 7}))
    info = read_info(DISK, str(tmp_path / "a"))
    assert (info.rows, info.bodies) == (3, ("a:1", "b:2"))
    assert info.identity == {"source": "wild"} and info.counts == {"pictures": 7}


def test_nobody_is_a_shard_too(tmp_path) -> None:
    (tmp_path / "a").write_bytes(shard_bytes([], {"source": "wild"}))
    assert read_info(DISK, str(tmp_path / "a")).rows == 0 and len(read_shard(DISK, str(tmp_path / "a"))) == 0


def test_pictures_lie_as_they_are_and_numbers_compressed(sightings) -> None:
    data = shard_bytes(sightings(8), {})
    group = pq.ParquetFile(pa.BufferReader(data)).metadata.row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    assert {c.path_in_schema for c in columns if c.compression == "UNCOMPRESSED"} == {"crop_jpeg"}
    assert {c.compression for c in columns} == {"UNCOMPRESSED", "ZSTD"}
    assert sightings(8)[5].crop_jpeg in data


def test_missing_broken_and_other_files_are_named(sightings, tmp_path) -> None:
    whole = shard_bytes(sightings(2), {})
    (tmp_path / "half").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text").write_text("hello")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other")
    for name, words in (
        ("half", "half can't be read as prepared people"), ("text", "text can't be read"), ("none", "none can't be"),
        ("other", "other holds no prepared people .its columns begin with x"),
    ):  # fmt: skip
        for read in (read_info, read_shard):
            with pytest.raises(InputError, match=words):
                read(DISK, str(tmp_path / name))


def test_another_version_is_refused(sightings, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sighting_shards, "SCHEMA_VERSION", 9)
    (tmp_path / "a").write_bytes(shard_bytes(sightings(1), {}))
    monkeypatch.undo()
    with pytest.raises(CompatibilityError, match="version 9, this alignhmr reads 1; prepare them again"):
        read_info(DISK, str(tmp_path / "a"))
    about = json.dumps({"version": 1, "identity": {}, "bodies": [], "counts": {}})
    fewer = SCHEMA.remove(0).with_metadata({METADATA_KEY: about.encode()})
    pq.write_table(fewer.empty_table(), tmp_path / "b")
    with pytest.raises(CompatibilityError, match="prepare them again"):
        read_shard(DISK, str(tmp_path / "b"))
