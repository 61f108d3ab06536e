"""Pictures read from a bucket and rows written to one, on a fake S3 on loopback."""

import pyarrow.parquet as pq
import pytest

from alignhmr.core.errors import ImageError, InputError, NoImagesError
from alignhmr.deployments.labeling.output import Output
from alignhmr.deployments.labeling.schema import rows_from_table
from alignhmr.deployments.labeling.sources import Reader, list_pictures
from alignhmr.deployments.storage import open_location


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
    assert listing.uris == (
        "s3://photos/in/a.png", "s3://photos/in/broken.jpg", "s3://photos/in/c.PNG",
        "s3://photos/in/deeper/b ü.png",
    )  # fmt: skip
    assert Reader(listing.s3).read("s3://photos/in/broken.jpg") == b"not a picture"
    assert list_pictures("s3://photos/in/a.png").uris == ("s3://photos/in/a.png",)


def test_what_is_missing_or_too_large_has_a_code(filled):
    reader = Reader(list_pictures("s3://photos/in").s3, max_bytes=20)
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
    assert output.claim({"seed": 0}) is None
    finished = {"status": "finished", "identity": {"seed": 0}}
    output.write_record(finished)
    assert output.claim({"seed": 0}) == finished
    with pytest.raises(InputError, match="seed 0 there, 1 here"):
        output.claim({"seed": 1})
    assert output.claim({"seed": 1}, overwrite=True) is None
