"""What is asked over a network: an S3 location, and Ray."""

import os
import time
import uuid
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from alignhmr.core.errors import AlignhmrError, InputError
from alignhmr.deployments.doctor.findings import Finding, fail, ok, warn
from alignhmr.deployments.storage import list_objects, open_location

_MOST_SKEW_S, _MUCH_SKEW_S = 900.0, 60.0
"""S3 refuses requests that are further off than the first."""


def s3(location: str) -> Iterator[Finding]:
    """Whether the location can be listed, read and written, and how far this machine's clock is from the server's."""
    if not location.startswith("s3://"):
        raise InputError(f"{location!r} is no s3:// location; write s3://BUCKET/PREFIX")
    try:
        some = list(islice(list_objects(location), 1))
    except AlignhmrError as error:
        said, _, mend = str(error).partition("; ")
        yield fail("s3", said, mend or "check the bucket, the credentials and AWS_ENDPOINT_URL")
        return
    yield ok("s3", f"{location} can be listed" + ("" if some else ", and is empty"))
    if some:
        yield _read(some[0])
    yield _written(location)
    yield _skew(location)


def _read(uri: str) -> Finding:
    filesystem, path = open_location(uri)
    try:
        with filesystem.open_input_stream(path) as file:
            size = len(file.read(1024))
        return ok("s3", f"{uri} can be read ({size} bytes of it were)")
    except OSError as error:
        return fail("s3", f"{uri} can't be read: {_reason(error)}", "let these credentials do s3:GetObject")


def _written(location: str) -> Finding:
    filesystem, path = open_location(location)
    probe = f"{path}/.alignhmr-doctor-{uuid.uuid4().hex}"
    try:
        with filesystem.open_output_stream(probe) as file:
            file.write(b"written to see if it can be; remove it")
    except OSError as error:
        return warn(
            "s3",
            f"{location} can't be written: {_reason(error)}",
            "fine for a source of pictures; an --out needs s3:PutObject and s3:DeleteObject",
        )
    bucket, _, key = probe.partition("/")
    try:
        # Not by Arrow, which leaves an empty object in the place of a folder whose last object went.
        _client().delete_object(Bucket=bucket, Key=key)
    except (BotoCoreError, ClientError) as error:
        return fail(
            "s3", f"{probe} was written and can't be removed: {error}", "allow s3:DeleteObject, and remove it"
        )
    return ok("s3", f"{location} can be written")


def _skew(location: str) -> Finding:
    bucket = location.removeprefix("s3://").split("/")[0]
    try:
        answer = _client().list_objects_v2(Bucket=bucket, MaxKeys=1)
        told = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
    except (BotoCoreError, ClientError, KeyError) as error:
        return warn("clock", f"the server's time isn't known ({type(error).__name__})", "see that NTP runs")
    off = time.time() - parsedate_to_datetime(told).timestamp()
    said = f"{off:+.0f} s from the S3 server's"
    if abs(off) > _MOST_SKEW_S:
        return fail("clock", said, "set the clock: S3 refuses what is more than 15 minutes off")
    if abs(off) > _MUCH_SKEW_S:
        return warn("clock", said, "set the clock before it is 15 minutes off")
    return ok("clock", said)


def _client() -> Any:
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    return boto3.client("s3", region_name=region)


def _reason(error: OSError) -> str:
    return " ".join(str(error).split())[:200]


def ray_works() -> Finding:
    """A task on the Ray of RAY_ADDRESS, or on one that is started here for it."""
    import ray

    from alignhmr.deployments import runtime

    address, there = os.environ.get("RAY_ADDRESS"), ray.is_initialized()
    try:
        runtime.start_ray(num_cpus=1)
        start = time.perf_counter()
        other = ray.get(ray.remote(_version_there).options(num_cpus=0).remote(), timeout=120)
        seconds = time.perf_counter() - start
        has = {name: value for name, value in ray.cluster_resources().items() if name in ("CPU", "GPU")}
        nodes = sum(node["Alive"] for node in ray.nodes())
    except AlignhmrError as error:
        said, _, mend = str(error).partition("; ")
        return fail("ray", said, mend)
    except Exception as error:  # whatever keeps it from working is what was asked
        reason = str(error).strip().splitlines() or [type(error).__name__]
        return fail(
            "ray",
            f"no task could be run: {reason[0][:200]}",
            "see Ray's logs in /tmp/ray/session_latest/logs",
        )
    finally:
        if not there:
            runtime.shutdown()
    here = _version_there()
    where = f"at {address}" if address else "already running" if there else "started here"
    slots = ", ".join(f"{value:g} {name}" for name, value in sorted(has.items()))
    said = f"{where}: {nodes} nodes, {slots}, a task took {seconds:.1f} s"
    if other != here:
        return fail(
            "ray",
            f"{said}; workers have alignhmr {other}, here is {here}",
            "install the same wheel on every node",
        )
    return ok("ray", said)


def _version_there() -> str:
    from alignhmr.deployments.version import package_version

    return package_version()
