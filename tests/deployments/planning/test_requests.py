"""The requests that a plan pays for, beside those that a fake S3 counts."""

import logging
import threading
from collections import Counter
from collections.abc import Iterator

import boto3
import numpy as np
import pyarrow as pa
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from alignhmr.deployments.labeling.output import Output
from alignhmr.deployments.labeling.readers import Reader
from alignhmr.deployments.labeling.resume import check_whole
from alignhmr.deployments.labeling.schema import row_schema, table_from_rows
from alignhmr.deployments.labeling.sources import Entry
from alignhmr.deployments.planning.sizing import UPLOAD_BYTES, _requests
from alignhmr.deployments.storage import list_objects, s3_filesystem

LISTS = "list-type"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """What is asked of an S3 with one bucket, by kind of request as it is paid for."""
    application, seen = DomainDispatcherApplication(create_backend_app), Counter[str]()

    def noting(environ, start):
        method, query = environ["REQUEST_METHOD"], environ.get("QUERY_STRING", "")
        seen["list" if LISTS in query else {"GET": "get", "HEAD": "get"}.get(method, "put")] += 1
        return application(environ, start)

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, noting, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="counted")
    yield seen
    server.shutdown()
    thread.join()
    server.server_close()


def _part(bytes_a_row: int) -> pa.Table:
    rows = [
        {"uri": f"s3://counted/{index}.jpg", "image_sha256": f"{index:064x}", "error_code": "no_person",
         "view_jpeg": np.random.default_rng(index).bytes(bytes_a_row)}
        for index in range(30)
    ]  # fmt: skip
    return table_from_rows(rows, row_schema(1))


@pytest.mark.parametrize("bytes_a_row", [1000, 700_000])
def test_a_part_and_its_pictures_ask_as_often_as_was_planned(counted: Counter[str], bytes_a_row: int) -> None:
    client = boto3.client("s3")
    for index in range(30):
        client.put_object(Bucket="counted", Key=f"{index}.jpg", Body=b"x" * 1000)
    output = Output.at("s3://counted/out").of(1)
    output.make_folders()
    counted.clear()
    assert len(list(list_objects("s3://counted"))) >= 30
    reader = Reader(s3=s3_filesystem())
    for index in range(30):
        reader.read(Entry(f"s3://counted/{index}.jpg"))
    name = output.write_part(_part(bytes_a_row))["file"]
    output.parts()
    check_whole(output, output.parts())
    assert output.parts() == [name]
    size = 30 * bytes_a_row
    planned = _requests(30, 1, size)
    assert counted["get"] == planned["get"]
    assert counted["put"] == planned["put"], f"{size / UPLOAD_BYTES:.2f} pieces"
    assert counted["list"] >= planned["list"]
