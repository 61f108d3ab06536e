"""A service with keys over HTTP: who gets in and how often, and callers who dawdle or leave."""

import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from alignhmr.deployments.serving.command import Service, start
from alignhmr.deployments.serving.intake import Limits
from alignhmr.deployments.serving.keys import add_key
from alignhmr.deployments.serving.settings import Pool, ServeSettings

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def key_file(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("keys") / "keys.json")


@pytest.fixture(scope="module")
def ann(key_file) -> str:
    return add_key(key_file, "ann")


@pytest.fixture(scope="module")
def guarded(ray_session, fake, key_file, ann) -> Iterator[Service]:
    pool, limits = Pool(cpus_per_replica=0), Limits(read_s=1.0, max_held=3)
    settings = ServeSettings(keys=key_file, perception=pool, recovery=pool, limits=limits)
    running = start(port=0, load=fake.FakeRecoverer, settings=settings)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def http(guarded) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=guarded.url, timeout=60) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_key_lets_in_and_another_does_not(http, ann, picture):
    files = {"file": picture()}
    assert http.post("/v1/recover", files=files, headers=bearer(ann)).status_code == 200
    assert http.post("/v1/recover", files=files, headers={"X-API-Key": ann}).status_code == 200
    assert http.post("/v1/recover", files=files, headers=bearer(ann[:-1])).status_code == 401


def test_rate_and_quota_of_a_key_hold(http, key_file, picture):
    slow = add_key(key_file, "slow", rate_per_s=0.001)
    few = add_key(key_file, "few", pictures_per_day=2)
    give_up = time.monotonic() + 30
    while http.get("/v1/models", headers=bearer(few)).status_code != 200:
        assert time.monotonic() < give_up, "a new key was never noticed"
        time.sleep(0.2)
    assert http.get("/v1/models", headers=bearer(slow)).status_code == 200
    second = http.get("/v1/models", headers=bearer(slow))
    assert (second.status_code, second.json()["code"]) == (429, "rate_limited")
    assert int(second.headers["retry-after"]) > 100
    files = [("a", ("a", picture())), ("b", ("b", picture()))]
    assert http.post("/v1/recover", files=files, headers=bearer(few)).status_code == 200
    third = http.post("/v1/recover", files=files[:1], headers=bearer(few))
    assert (third.status_code, third.json()["code"]) == (429, "quota_exceeded")


def test_who_dawdles_over_a_body_loses_the_place(guarded, http, ann, picture):
    at = urlsplit(guarded.url)
    head = f"POST /v1/recover HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ann}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n{"
    dawdlers = [socket.create_connection((at.hostname, at.port)) for _ in range(3)]
    for each in dawdlers:
        each.sendall(head.encode())
    time.sleep(0.4)
    full = http.post("/v1/recover", files={"file": picture()}, headers=bearer(ann))
    assert full.status_code == 503, "three places, three dawdlers"
    for each in dawdlers:
        each.settimeout(20)
        assert b" 408 " in each.recv(4096).split(b"\r\n")[0]
        each.close()
    assert http.post("/v1/recover", files={"file": picture()}, headers=bearer(ann)).status_code == 200


def test_half_a_body_costs_nobody_else(guarded, http, ann, picture):
    at = urlsplit(guarded.url)
    head = f"POST /v1/recover HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ann}\r\n"
    head += "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000\r\n\r\n--b\r\n"
    for _ in range(6):
        with socket.create_connection((at.hostname, at.port)) as gone:
            gone.sendall(head.encode())
    give_up = time.monotonic() + 10
    while http.post("/v1/recover", files={"file": picture()}, headers=bearer(ann)).status_code != 200:
        assert time.monotonic() < give_up, "callers who left kept their places"
        time.sleep(0.1)
