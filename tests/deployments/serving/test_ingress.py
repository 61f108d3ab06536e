"""The ingress in this process, its replicas replaced by canned answers: what comes in is judged, whatever it is."""

import asyncio
import base64
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from ray import serve

from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.errors import ImageError
from alignhmr.core.records import Hypotheses, Intrinsics, Person, Recovery
from alignhmr.deployments.serving import app, metrics
from alignhmr.deployments.serving.hardening import HEADERS
from alignhmr.deployments.serving.intake import Limits
from alignhmr.deployments.serving.keys import add_key
from alignhmr.deployments.serving.messages import Description, Found, Seen
from alignhmr.deployments.serving.schemas import ErrorAnswer, RecoverAnswer
from alignhmr.deployments.serving.settings import Jobs, ServeSettings

CAMERA = Intrinsics(500.0, (32.0, 24.0), "default")
OPEN = {"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/v2/models/alignhmr/ready"}
FUZZED = 3000


def seen(count: int) -> Seen:
    """One person of so many hypotheses."""
    zeros, keypoints = np.zeros(count, np.float32), np.zeros((len(KEYPOINTS), 3), np.float32)
    joints = np.zeros((count, 24, 3), np.float32)
    hypotheses = Hypotheses(
        joints, np.zeros((count, 10), np.float32), np.zeros((count, 3), np.float32), joints,
        np.zeros((count, len(KEYPOINTS), 3), np.float32), np.zeros((count, len(KEYPOINTS), 2), np.float32),
        zeros, zeros,
    )  # fmt: skip
    person = Person(np.array([0, 0, 9, 9], np.float32), 0.9, keypoints)
    crop, spread = np.zeros(3, np.float32), np.zeros(24, np.float32)
    recovery = Recovery(person, CAMERA, crop, hypotheses, 0, spread, 0)
    timings = {"decode": 1.0, "find": 1.0, "recover": 1.0}
    joints_px = [np.zeros((24, 2), np.float32)]
    return Seen(
        (64, 48), "a" * 64, CAMERA, [recovery], joints_px, [], "body", {"base": "b"}, None, None, timings
    )


class Replica:
    """A method's handle that answers by itself."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def remote(self, *told: Any) -> Any:
        future = asyncio.get_running_loop().create_future()
        future.set_result(self.answer(*told))
        return future


def found(data: bytes, look: Any) -> Found | ImageError:
    if not data.startswith(b"\x89PNG"):
        return ImageError("the file begins with no picture's signature", code="not_an_image")
    return Found((64, 48), "a" * 64, CAMERA, [], "d:1", {})


@pytest.fixture
def ingress(monkeypatch, tmp_path) -> Any:
    """Makes the ingress of these settings, and a caller of it."""

    def make(with_jobs: bool = True, **settings: Any) -> TestClient:
        perception = SimpleNamespace(find=Replica(found), detector=Replica(lambda: "d:1"))
        recovery = SimpleNamespace(
            recover=Replica(lambda _, look: seen(look.hypotheses)),
            describe=Replica(lambda: Description("body", {"base": "b"}, 4)),
        )
        plain = app.Ingress.func_or_class.__mro__[1]  # the class as it stands in the file
        worker = SimpleNamespace(wake=Replica(lambda: None))
        jobs = Jobs(location=str(tmp_path / "jobs"), max_pictures=5, max_body_bytes=100_000)
        made = plain(
            perception, recovery, ServeSettings(jobs=jobs, **settings), worker if with_jobs else None
        )
        context = SimpleNamespace(servable_object=made, app_name="x")
        monkeypatch.setattr(serve, "get_replica_context", lambda: context)
        one = SimpleNamespace(replica_states={"RUNNING": 1})
        status = SimpleNamespace(deployments={"Perception": one, "Recovery": one})
        monkeypatch.setattr(serve, "status", lambda: SimpleNamespace(applications={"x": status}))
        return TestClient(app.api, raise_server_exceptions=False)

    async def page() -> str:
        return "# nothing\n"

    monkeypatch.setattr(metrics, "exposition", page)
    return make


@pytest.fixture
def key_file(tmp_path) -> Iterator[str]:
    yield str(tmp_path / "keys.json")


@pytest.mark.parametrize("with_jobs", [True, False])
def test_every_route_but_the_probes_needs_a_key(ingress, key_file, picture, with_jobs):
    key = add_key(key_file, "ann")
    client = ingress(with_jobs, keys=key_file)
    paths = client.get("/openapi.json").json()["paths"]
    assert len(paths) >= 12
    for path, methods in paths.items():
        for method in methods:
            answer = client.request(method, path.replace("{identity}", "0" * 32))
            if path in OPEN:
                assert answer.status_code == 200, path
                continue
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path
            assert answer.json()["code"] == answer.headers["x-error-code"] == "unauthorized"
            assert methods[method]["security"], f"{path}: OpenAPI must say that it needs a key"
    let_in = client.post("/v1/recover", files={"file": picture()}, headers={"Authorization": f"Bearer {key}"})
    assert let_in.status_code == 200
    assert len(RecoverAnswer.model_validate_json(let_in.content).pictures[0].people) == 1


def test_quota_counts_pictures_and_rate_counts_requests(ingress, key_file, picture):
    few, slow = add_key(key_file, "few", pictures_per_day=3), add_key(key_file, "slow", rate_per_s=0.001)
    client, two = ingress(keys=key_file), [("a", picture()), ("b", picture())]

    def code(key: str) -> str:
        answer = client.post("/v1/recover", files=two, headers={"X-API-Key": key})
        return "ok" if answer.status_code == 200 else f"{answer.status_code} {answer.json()['code']}"

    assert [code(few), code(few)] == ["ok", "429 quota_exceeded"]
    assert [code(slow), code(slow)] == ["ok", "429 rate_limited"]
    one = client.post("/v1/jobs", files=two[:1], headers={"X-API-Key": few})
    assert one.status_code == 202, "one is left"
    assert client.post("/v1/jobs", files=two[:1], headers={"X-API-Key": few}).status_code == 429


def test_every_answer_has_the_headers_that_browsers_heed_and_no_other_origin_may_use_it(ingress):
    client = ingress()
    asked = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    for answer in (
        client.get("/healthz"),
        client.get("/nowhere", headers=asked),
        client.get("/v1/models", headers=asked),
        client.options("/v1/recover", headers=asked),
    ):
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_a_failure_that_nobody_foresaw_says_nothing_of_itself(ingress, monkeypatch, picture):
    client = ingress()
    made = serve.get_replica_context().servable_object
    monkeypatch.setattr(made.models, "see", None)
    for path in ("/v1/recover", "/v2/models/alignhmr/infer"):
        picture_64 = base64.b64encode(picture()).decode()
        tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [picture_64]}
        body = {"images": [picture_64]} if "v1" in path else {"inputs": [tensor]}
        answer = client.post(path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert "NoneType" not in answer.text and "Traceback" not in answer.text
        assert answer.headers["x-error-code"] == "internal"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_refusals_of_v2_are_what_its_clients_read(ingress):
    answer = ingress().post("/v2/models/alignhmr/infer", content=b"{}")
    assert answer.status_code == 400
    told = answer.json()
    assert told["error"] == told.pop("message")
    assert ErrorAnswer(message=told.pop("error"), **told).code == "bad_request"


def test_a_job_is_taken_told_of_and_taken_back(ingress, picture):
    client = ingress()
    made = client.post("/v1/jobs", files=[("a", picture()), ("b", b"no picture")], data={"seed": "3"})
    assert (made.status_code, made.json()["state"], made.json()["pictures"]) == (202, "queued", 2)
    path = f"/v1/jobs/{made.json()['id']}"
    assert client.get(path).json() == made.json()
    assert client.get(f"{path}/results").text == ""
    assert client.delete(path).json()["state"] == "cancelled"
    assert client.post("/v1/jobs", files=[("a", b"x")] * 6).status_code == 413
    assert client.post("/v1/jobs", files={"a": b"x" * 120_000}).status_code == 413
    assert client.post("/v1/jobs", files={"a": b"x"}, data={"seed": "-1"}).status_code == 422


def test_a_tensor_request_has_the_answer_of_v1(ingress, picture):
    client, data = ingress(), base64.b64encode(picture()).decode()
    tensor = {"name": "image", "datatype": "BYTES", "shape": [2], "data": [data, "bm8="]}
    answer = client.post(
        "/v2/models/alignhmr/infer", json={"inputs": [tensor], "parameters": {"hypotheses": 3}}
    ).json()
    outputs = {output["name"]: output for output in answer["outputs"]}
    assert outputs["pose_aa"]["shape"] == [1, 24, 3]
    assert outputs["image_index"]["data"] == [0]
    assert outputs["error_code"]["data"] == ["", "not_an_image"]
    assert answer["parameters"]["hypotheses"] == 3


def fuzz(operation: Any, mode: Any, number: int, statuses: Counter[int]) -> None:
    """Some requests of that kind, valid ones or others; nothing where there is nothing to be wrong."""
    from hypothesis import HealthCheck, Phase, given, seed, settings
    from hypothesis.errors import Unsatisfiable

    @seed(number)
    @settings(
        max_examples=25, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),  # type: ignore[arg-type]
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        answer = case.call()
        statuses[answer.status_code] += 1
        assert answer.status_code < 500 or answer.status_code == 503, (case, answer.text)
        assert "Traceback" not in answer.text
        if answer.status_code >= 400:
            assert answer.headers["x-error-code"]

    with suppress(Unsatisfiable):
        ask()


@pytest.mark.slow
def test_a_fuzzer_on_our_own_document_finds_no_failure(ingress):
    import schemathesis
    from schemathesis import GenerationMode

    ingress(limits=Limits(max_body_bytes=100_000))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app.api)
    every: list[Any] = list(schema.get_all_operations())
    operations = [one.ok() for one in every]
    statuses: dict[str, Counter[int]] = {one.label: Counter() for one in operations}
    kinds = list(product(GenerationMode, operations))
    number = 0
    while sum(told.total() for told in statuses.values()) < FUZZED:
        mode, operation = kinds[number % len(kinds)]
        fuzz(operation, mode, number, statuses[operation.label])
        number += 1
    print({label: dict(told) for label, told in statuses.items()})
    assert statuses["POST /v1/recover"][422] and statuses["POST /v1/jobs"][422]
    assert statuses["GET /v1/models"][200] and statuses["GET /v1/jobs/{identity}"][404]
