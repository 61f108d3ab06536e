"""Where bytes live: from a path, ``file://`` or ``s3://`` to a pyarrow filesystem and a path in it.

S3 credentials in the environment are taken here and travel with the filesystem to every worker; profiles and
machine roles are looked up by each node itself. ``AWS_ENDPOINT_URL_S3`` or ``AWS_ENDPOINT_URL`` names any
S3-compatible server.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes, urlsplit

from pyarrow import fs as arrow_fs

from alignhmr.core.errors import InputError

CONNECT_TIMEOUT_S, REQUEST_TIMEOUT_S = 10.0, 60.0
ATTEMPTS = 8
"""Of a request that S3 answers with 500 or 503, or not in time; with the waits between them about 20 s."""


def open_location(location: str | Path) -> tuple[arrow_fs.FileSystem, str]:
    """The filesystem and the path in it. Local paths come back absolute."""
    text = os.fspath(location)
    if text.startswith("s3://"):
        bucket_and_key = text.removeprefix("s3://").strip("/")
        if not bucket_and_key:
            raise InputError(f"{text!r} names no bucket; write s3://BUCKET/PREFIX")
        return s3_filesystem(), bucket_and_key
    if "://" in text and not text.startswith("file://"):
        raise InputError(
            f"{text!r}: only local paths, file:// and s3:// are read; copy the files there first"
        )
    return arrow_fs.LocalFileSystem(), os.path.abspath(local_path(text))


def write_whole(filesystem: arrow_fs.FileSystem, path: str, data: bytes) -> None:
    """Writes a small file, and the folders above it; nobody ever finds half of it under its name."""
    if isinstance(filesystem, arrow_fs.S3FileSystem):  # an object is there when all of it is
        with filesystem.open_output_stream(path) as stream:
            stream.write(data)
        return
    filesystem.create_dir(path.rpartition("/")[0], recursive=True)
    with filesystem.open_output_stream(f"{path}.unfinished") as stream:
        stream.write(data)
    filesystem.move(f"{path}.unfinished", path)


def s3_filesystem() -> arrow_fs.S3FileSystem:
    """S3 as the environment describes it; anonymous where no credentials are found, for public buckets."""
    options: dict = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "request_timeout": REQUEST_TIMEOUT_S,
        "retry_strategy": arrow_fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    }
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        parts = urlsplit(endpoint)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise InputError(f"AWS_ENDPOINT_URL is {endpoint!r}; write it as http(s)://HOST:PORT")
        options |= {"scheme": parts.scheme, "endpoint_override": parts.netloc}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if region or endpoint:
        options["region"] = region or "us-east-1"
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        options |= {
            "access_key": os.environ["AWS_ACCESS_KEY_ID"],
            "secret_key": os.environ.get("AWS_SECRET_ACCESS_KEY", ""),
            "session_token": os.environ.get("AWS_SESSION_TOKEN") or None,
        }
    elif not _has_credentials():
        options["anonymous"] = True
    return arrow_fs.S3FileSystem(**options)


def list_objects(location: str, *, page: int = 1000) -> Iterator[str]:
    """Every object below ``s3://BUCKET/PREFIX`` by key, as ``s3://`` locations; a page at a time. InputError if it
    can't be listed."""
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, key = location.removeprefix("s3://").strip("/").partition("/")
    retries = {"total_max_attempts": ATTEMPTS, "mode": "standard"}
    options: dict = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": REQUEST_TIMEOUT_S,
        "retries": retries,
    }
    if not (os.environ.get("AWS_ACCESS_KEY_ID") or _has_credentials()):
        options["signature_version"] = UNSIGNED
    client = boto3.client(
        "s3",
        config=Config(**options),
        region_name=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
    )
    prefix = f"{key}/" if key else ""
    try:
        for found in client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix, PaginationConfig={"PageSize": page}
        ):
            for item in found.get("Contents", ()):
                if not item["Key"].endswith("/"):
                    yield f"s3://{bucket}/{item['Key']}"
    except (ClientError, BotoCoreError) as error:
        if getattr(error, "response", {}).get("Error", {}).get("Code") == "NoSuchBucket":
            raise InputError(
                f"there is no bucket {bucket!r}; check its name, and AWS_ENDPOINT_URL"
            ) from error
        raise InputError(
            f"{location!r} can't be listed: {error}; check the bucket, the credentials and AWS_ENDPOINT_URL"
        ) from error


def _has_credentials() -> bool:
    import boto3

    return boto3.Session().get_credentials() is not None


def local_uri(path: str | Path) -> str:
    """A local path as text that Arrow can hold: itself, or a ``file://`` URI if it isn't UTF-8."""
    text = os.path.abspath(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        return "file://" + quote(os.fsencode(text))
    return text


def local_path(uri: str) -> str:
    """Inverse of ``local_uri``."""
    if not uri.startswith("file://"):
        return uri
    return os.fsdecode(unquote_to_bytes(uri.removeprefix("file://")))
