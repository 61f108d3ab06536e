"""Pictures read from a bucket and rows written to one, on a fake S3 on loopback."""

import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alignhmr.core.errors import ImageError, InputError, NoImagesError
from alignhmr.deployments.labeling.identity import check_folder
from alignhmr.deployments.labeling.output import Output
from alignhmr.deployments.labeling.readers import Reader
from alignhmr.deployments.labeling.schema import rows_from_table
from alignhmr.deployments.labeling.sources import list_pictures
from alignhmr.deployments.storage import list_objects, open_location


@pytest.fixture
def bucket(s3):
    s3.create_bucket(Bucket="photos")
    return s3


@pytest.fixture
def filled(bucket, picture, tmp_path):
    for number, key in enumerate(("in/a.png", "in/deeper/b ü.png", "in/c.PNG", "elsewhere/d.png")):
        bucket.put_object(
            Bucket="photos", Key=key, Body=picture(tmp_path / "p.png", 20, number=number).read_bytes()
        )
    bucket.put_object(Bucket="photos", Key="in/broken.jpg", Body=b"not a picture")
    bucket.put_object(Bucket="photos", Key="in/readme.txt", Body=b"not listed")
    return bucket


def test_a_prefix_is_listed_and_read(filled):
    listing = list_pictures("s3://photos/in")
    assert tuple(entry.uri for entry in listing.entries()) == (
        "s3://photos/in/a.png", "s3://photos/in/broken.jpg", "s3://photos/in/c.PNG",
        "s3://photos/in/deeper/b ü.png",
    )  # fmt: skip
    assert Reader.for_sources(listing.sources, 10**6).read("s3://photos/in/broken.jpg") == b"not a picture"
    one = list_pictures("s3://photos/in/a.png")
    assert [entry.uri for entry in one.entries()] == ["s3://photos/in/a.png"]


def test_what_is_missing_or_too_large_has_a_code(filled):
    reader = Reader(max_bytes=20)
    for key, code in (("in/gone.png", "missing"), ("in/a.png", "too_large")):
        with pytest.raises(ImageError) as caught:
            reader.read(f"s3://photos/{key}")
        assert caught.value.code == code


def test_an_empty_prefix_and_a_missing_bucket_are_said(filled, monkeypatch):
    with pytest.raises(NoImagesError, match="holds no pictures"):
        list_pictures("s3://photos/nothing")
    with pytest.raises(InputError, match="there is no bucket 'nobucket'"):
        list_pictures("s3://nobucket/in")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "minio.local")
    with pytest.raises(InputError, match=r"AWS_ENDPOINT_URL is 'minio.local'; write it as"):
        list_pictures("s3://photos/in")


@pytest.mark.ray
def test_rows_go_into_a_bucket(filled, run_label_into):
    run_label_into("s3://photos/in", Output.at("s3://photos/out/run1"))
    filesystem, path = open_location("s3://photos/out/run1/rows")
    rows = rows_from_table(pq.read_table(path, filesystem=filesystem))
    assert sorted((row["uri"].rpartition("/")[2], row["error_code"]) for row in rows) == [
        ("a.png", None), ("b ü.png", None), ("broken.jpg", "not_an_image"), ("c.PNG", None),
    ]  # fmt: skip


def test_a_run_in_a_bucket_is_recognised(bucket):
    output = Output.at("s3://photos/recognised")
    assert check_folder(output, {"seed": 0}, overwrite=False) is None
    finished = {"status": "finished", "attempt": 1, "identity": {"seed": 0}}
    output.write_record(finished)
    assert check_folder(output, {"seed": 0}, overwrite=False) == finished
    with pytest.raises(InputError, match="seed 0 there, 1 here"):
        check_folder(output, {"seed": 1}, overwrite=False)
    assert check_folder(output, {"seed": 1}, overwrite=True) is None
    assert output.record() is None


def test_lists_tables_and_tars_in_a_bucket(filled, tmp_path):
    filled.put_object(Bucket="photos", Key="lists/l.csv", Body=b"url\na.jpg\ns3://photos/in/a.png\n")
    found = [entry.uri for entry in list_pictures("s3://photos/lists/l.csv").entries()]
    assert found == ["s3://photos/lists/a.jpg", "s3://photos/in/a.png"]
    pq.write_table(pa.table({"image": [b"one", b"two"]}), tmp_path / "t.parquet")
    (tmp_path / "one.jpg").write_bytes(b"a jpeg")
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.add(tmp_path / "one.jpg", "one.jpg")
    for name in ("t.parquet", "s.tar"):
        filled.upload_file(str(tmp_path / name), "photos", f"shards/{name}")
    listing = list_pictures("s3://photos/shards")
    reader = Reader.for_sources(listing.sources, 10**6)
    assert [reader.read(entry) for entry in listing.entries()] == [b"a jpeg", b"one", b"two"]


def test_a_prefix_of_many_pages_is_listed_whole(filled):
    uris = list(list_objects("s3://photos/in", page=2))
    assert len(uris) == 5 and uris == sorted(uris)
