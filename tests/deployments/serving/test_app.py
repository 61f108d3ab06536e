"""The service over HTTP: real Ray Serve on loopback, a fake recoverer behind it."""

import base64
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import httpx
import numpy as np
import pytest
from PIL import Image
from ray import serve

from alignhmr.core.body.motion_files import bvh, motion_of
from alignhmr.core.body.skeleton import JOINTS, KEYPOINTS
from alignhmr.core.errors import SetupError
from alignhmr.core.perception.images import decode
from alignhmr.deployments.serving.build import assemble
from alignhmr.deployments.serving.client import Client, RefusedError, faces, meshes_cam_m
from alignhmr.deployments.serving.command import start
from alignhmr.deployments.serving.schemas import ErrorAnswer, RecoverAnswer
from alignhmr.deployments.serving.settings import Pool, ServeSettings

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def http(service):
    with httpx.Client(base_url=service.url, timeout=60) as client:
        yield client


def post(http, data: bytes, headers=None, **fields) -> httpx.Response:
    return http.post("/v1/recover", files={"file": ("photo.png", data)}, data=fields, headers=headers)


def refused(response: httpx.Response, status: int, code: str) -> str:
    """Checks an error's shape and returns its message."""
    assert response.status_code == status, response.text
    answer = ErrorAnswer.model_validate_json(response.content)
    assert answer.code == code, answer
    assert answer.request_id == response.headers["x-request-id"]
    for sign in ("Traceback", 'File "', "site-packages", "ray."):
        assert sign not in response.text
    return answer.message


def bodies(answer: RecoverAnswer) -> list:
    """What must be the same for the same request."""
    return [picture.model_dump() for picture in answer.pictures]


def test_a_form_with_a_picture_is_answered_with_its_people(http, picture):
    data = picture(people=3, size=(80, 60))
    response = post(http, data, hypotheses="7", seed="11", focal_px="123.5")
    assert response.status_code == 200, response.text
    answer = RecoverAnswer.model_validate_json(response.content)
    assert answer.request_id == response.headers["x-request-id"]
    assert (answer.hypotheses, answer.seed, answer.body_model) == (7, 11, "fake-body")
    assert answer.models["base"] == "fake:1"
    (seen,) = answer.pictures
    assert (seen.width_px, seen.height_px, len(seen.people), seen.note) == (80, 60, 3, None)
    assert seen.intrinsics is not None
    assert (seen.intrinsics.focal_px, seen.intrinsics.source) == (123.5, "given")
    person = seen.people[0]
    assert len(person.keypoints_px) == len(KEYPOINTS)
    assert np.shape(person.pose_aa) == np.shape(person.joints_cam_m) == (24, 3)
    assert 0 <= person.selected < 7
    spent = answer.timings_ms
    assert all(value >= 0 for value in spent.model_dump().values())
    assert spent.total >= spent.read + spent.decode + spent.find + spent.recover


def test_joints_in_pixels_are_the_joints_in_metres_seen_by_the_camera(http, picture):
    seen = RecoverAnswer.model_validate_json(post(http, picture()).content).pictures[0]
    assert seen.intrinsics is not None
    joints = np.array(seen.people[0].joints_cam_m)
    expected = joints[:, :2] / joints[:, 2:] * seen.intrinsics.focal_px + seen.intrinsics.center_px
    np.testing.assert_allclose(seen.people[0].joints_px, expected, atol=0.01)


def test_json_and_form_give_the_same_answer(http, picture):
    data = picture(people=2)
    boxes = [[1, 2, 30, 40], [5.5, 6, 50, 47]]
    options = {"hypotheses": 4, "seed": 3, "boxes": boxes, "outputs": ["json"]}
    form = post(http, data, hypotheses="4", seed="3", boxes=json.dumps(boxes))
    for text in (base64.b64encode(data).decode(), "data:image/png;base64," + base64.b64encode(data).decode()):
        answer = http.post("/v1/recover", json={"images": [text], **options})
        assert answer.json()["pictures"] == form.json()["pictures"]
    assert [person["box_px"] for person in form.json()["pictures"][0]["people"]] == boxes


def test_the_client_reads_what_the_service_writes(service, picture, tmp_path):
    client = Client(service.url)
    path = tmp_path / "photo.png"
    path.write_bytes(picture(people=2))
    one = client.recover(path, hypotheses=5, boxes=[[0, 0, 20, 20]])
    assert len(one.pictures[0].people) == 1
    assert len(client.recover([path, picture(people=1)]).pictures) == 2
    assert client.ready()
    with pytest.raises(RefusedError, match="hypotheses") as caught:
        client.recover(path, hypotheses=0)
    assert (caught.value.status, caught.value.code) == (422, "invalid_options")
    assert caught.value.request_id


def test_drawings_come_in_json_or_as_the_body(http, picture):
    data = picture(people=2, size=(120, 90))
    (seen,) = post(http, data, outputs="json, overlay,glb").json()["pictures"]
    overlay = base64.b64decode(seen["overlay_png_base64"])
    assert Image.open(BytesIO(overlay)).size == (120, 90)
    assert (np.asarray(Image.open(BytesIO(overlay)))[20:70, 30:90] != 90).any(), "no body was drawn"
    assert base64.b64decode(seen["glb_base64"])[:4] == b"glTF"

    png = post(http, data, headers={"Accept": "image/png"})
    assert (png.headers["content-type"], png.content) == ("image/png", overlay)
    glb = post(http, data, headers={"Accept": "model/gltf-binary"})
    assert glb.headers["content-type"] == "model/gltf-binary"
    assert glb.content[:4] == b"glTF"


def test_every_hypothesis_comes_as_numbers_and_as_a_mesh_when_asked(http, picture):
    data = picture(people=2)
    bare = post(http, data, hypotheses="5", seed="3").json()
    rich = post(http, data, hypotheses="5", seed="3", outputs="hypotheses,meshes").json()
    faces = np.frombuffer(base64.b64decode(rich["faces_base64"]), "<i4").reshape(-1, 3)
    assert faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]]
    assert bare["faces_base64"] is None
    for plain, person in zip(bare["pictures"][0]["people"], rich["pictures"][0]["people"], strict=True):
        assert plain["hypotheses"] is plain["meshes_base64"] is None
        every, mesh = person.pop("hypotheses"), person.pop("meshes_base64")
        assert person == {name: plain[name] for name in person}, "what is asked for beside it changes nothing"
        for name in ("pose_aa", "betas", "transl_cam_m", "joints_cam_m"):
            assert len(every[name]) == 5
            assert every[name][person["selected"]] == person[name]
        assert every["expected_error_mm"][person["selected"]] == person["expected_error_mm"]
        offsets_m = np.frombuffer(base64.b64decode(mesh), "<i2").reshape(5, 4, 3) / 1e4
        np.testing.assert_allclose(offsets_m[:, 1, 0], np.linspace(0.5, 0.25, 5), atol=1e-4)
        np.testing.assert_allclose(offsets_m[:, 0], [[0, -0.5, 0]] * 5, atol=1e-4)


def test_a_picture_with_nobody_is_an_answer_with_a_note(http, picture):
    (seen,) = post(http, picture(people=0), outputs="overlay,glb").json()["pictures"]
    assert seen["people"] == []
    assert "nobody" in seen["note"]
    assert seen["error"] is None
    assert seen["glb_base64"] is None
    png = post(http, picture(people=0), headers={"Accept": "image/png"})
    assert Image.open(BytesIO(png.content)).size == (64, 48)
    message = refused(
        post(http, picture(people=0), headers={"Accept": "model/gltf-binary"}), 422, "no_person"
    )
    assert "nobody" in message


def test_a_bad_picture_costs_no_other_picture(http, picture):
    files = [("a", picture(people=1)), ("b", b"not a picture"), ("c", picture(people=2))]
    response = http.post("/v1/recover", files=[(name, (name, data)) for name, data in files])
    good, bad, other = response.json()["pictures"]
    assert (len(good["people"]), len(bad["people"]), len(other["people"])) == (1, 0, 2)
    assert bad["error"]["code"]
    assert bad["error"]["request_id"] == response.headers["x-request-id"]


def test_a_person_seen_too_little_is_left_out_with_a_note(http, picture, fake):
    (seen,) = post(http, picture(people=1, fault=fake.UNSEEN)).json()["pictures"]
    assert seen["people"] == []
    assert "fewer than 3 keypoints" in seen["note"]
    assert seen["left_out"] == ["fewer than 3 keypoints were seen"]


def test_what_is_not_a_picture_is_refused(http, picture):
    assert "begins with" in refused(post(http, b"%PDF-1.7 not a picture"), 415, "not_an_image")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    refused(post(http, buffer.getvalue()[:-400]), 422, "truncated")
    refused(post(http, picture(size=(8, 8))), 422, "too_small")


def test_limits_hold(http, picture):
    assert "200000" in refused(post(http, b"x" * 200_001), 413, "too_large")
    assert "1000000" in refused(post(http, b"x" * 1_200_000), 413, "too_large")
    refused(post(http, picture(size=(600, 500))), 413, "too_large")
    large = base64.b64encode(b"x" * 200_001).decode()
    refused(http.post("/v1/recover", json={"images": [large]}), 413, "too_large")
    small = base64.b64encode(picture()).decode()
    refused(http.post("/v1/recover", json={"images": [small] * 5}), 413, "too_many_images")
    files = [("file", ("p", picture()))] * 6
    refused(http.post("/v1/recover", files=files), 413, "too_many_images")


def test_a_body_without_a_length_is_bounded_too(http):
    def endless():
        for _ in range(200):
            yield b"x" * 10_000

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    response = http.post("/v1/recover", content=endless(), headers=headers)
    assert response.status_code in (400, 413)
    response = http.post("/v1/recover", content=endless(), headers={"Content-Type": "application/json"})
    refused(response, 413, "too_large")


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"hypotheses": "0"}, "hypotheses"),
        ({"hypotheses": "1000000000"}, "hypotheses"),
        ({"hypotheses": "many"}, "hypotheses"),
        ({"seed": "-1"}, "seed"),
        ({"seed": str(2**64)}, "seed"),
        ({"focal_px": "nan"}, "focal_px"),
        ({"focal_px": "inf"}, "focal_px"),
        ({"focal_px": "-3"}, "focal_px"),
        ({"boxes": "[[30, 30, 10, 10]]"}, "area"),
        ({"boxes": "[[-50, -50, -10, -10]]"}, "outside"),
        ({"boxes": "[[0, 0, 10]]"}, "boxes"),
        ({"boxes": "[[0, 0, 10, NaN]]"}, "boxes"),
        ({"boxes": "0,0,10,10"}, "boxes"),
        ({"boxes": "[]"}, "boxes"),
        ({"refine": "perhaps"}, "refine"),
        ({"text": ""}, "text"),
        ({"text": "the left leg is in front " * 50}, "text"),
        ({"keypoints": "[[[1, 2, 1]]]"}, "keypoints"),
        ({"keypoints": json.dumps([[[1, 2, 7]] * 23])}, "keypoints"),
        ({"keypoints": "left"}, "keypoints is 'left'"),
        ({"keypoints": json.dumps([[[1, 2, 1]] * 23]), "boxes": "[[0, 0, 9, 9], [9, 9, 20, 20]]"}, "2 boxes"),
        ({"outputs": "json,video"}, "outputs"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_option_is_refused_by_name(http, picture, fields, word):
    assert word in refused(post(http, picture(), **fields), 422, "invalid_options")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"hypotheses": "5"}, "hypotheses"),
        ({"hypotheses": 5.5}, "hypotheses"),
        ({"focal_px": float("nan")}, "focal_px"),
        ({"boxes": {"x": 1}}, "boxes"),
        ({"outputs": "json"}, "outputs"),
        ({"image": "x"}, "image"),
        ({"images": []}, "images"),
        ({"images": [5]}, "images"),
    ],
)
def test_a_wrong_type_in_json_is_refused_by_name(http, picture, options, word):
    body = json.dumps({"images": [base64.b64encode(picture()).decode()], **options})
    response = http.post("/v1/recover", content=body, headers={"Content-Type": "application/json"})
    assert word in refused(response, 422, "invalid_options")


def test_a_body_that_is_not_what_it_says_is_refused(http, picture):
    def send(content: bytes, kind: str | None) -> httpx.Response:
        return http.post("/v1/recover", content=content, headers={"Content-Type": kind} if kind else {})

    refused(send(b"", "application/json"), 400, "empty")
    refused(send(b"{", "application/json"), 400, "bad_request")
    refused(send(b"[" * 100_000, "application/json"), 400, "bad_request")
    refused(send(b"[]", "application/json"), 422, "invalid_options")
    refused(send(b'{"images": ["!!!"]}', "application/json"), 400, "bad_request")
    refused(send(b'{"images": [""]}', "application/json"), 400, "empty")
    refused(send(b"", "multipart/form-data"), 400, "bad_request")
    refused(send(b"", "multipart/form-data; boundary=x"), 400, "no_images")
    refused(send(b"nonsense", "multipart/form-data; boundary=x"), 400, "bad_request")
    refused(send(picture(), "image/png"), 415, "unsupported_media_type")
    refused(send(b"a=1", None), 415, "unsupported_media_type")
    refused(post(http, b""), 400, "empty")
    refused(http.post("/v1/recover", data={"seed": "1"}), 415, "unsupported_media_type")
    two = [("file", ("a", picture())), ("file", ("b", picture()))]
    refused(http.post("/v1/recover", files=two, data={"boxes": "[[0,0,9,9]]"}), 422, "invalid_options")
    given = json.dumps([[[1, 2, 1]] * 23])
    refused(http.post("/v1/recover", files=two, data={"keypoints": given}), 422, "invalid_options")
    refused(http.post("/v1/recover", files=two, headers={"Accept": "image/png"}), 422, "invalid_options")


def test_unknown_routes_and_methods_have_the_same_shape(http):
    refused(http.get("/nowhere"), 404, "not_found")
    refused(http.get("/v1/recover"), 405, "method_not_allowed")


def test_the_callers_request_id_is_kept(http, picture):
    response = post(http, picture(), headers={"X-Request-ID": "mine-1"})
    assert response.headers["x-request-id"] == response.json()["request_id"] == "mine-1"


def test_a_failure_inside_is_a_500_without_its_reason(http, picture, fake):
    message = refused(post(http, picture(fault=fake.FAIL)), 500, "internal")
    assert "told to fail" not in message


def test_health_models_and_openapi(http):
    assert http.get("/healthz").json() == {"status": "ok"}
    assert http.get("/readyz").json() == {"status": "ready"}
    models = http.get("/v1/models").json()
    assert models["joints"] == list(JOINTS)
    assert models["limits"]["max_images"] == 4
    document = http.get("/openapi.json").json()
    answer = document["components"]["schemas"]
    for name in ("PersonAnswer", "PictureAnswer", "RecoverAnswer", "Timings", "ErrorAnswer"):
        for field, schema in answer[name]["properties"].items():
            assert schema.get("description"), f"{name}.{field} has no description"
    body = document["paths"]["/v1/recover"]["post"]["requestBody"]["content"]
    for kind in ("multipart/form-data", "application/json"):
        assert body[kind]["schema"]["additionalProperties"] is False
        assert "hypotheses" in body[kind]["schema"]["properties"]


def test_a_service_without_a_place_for_jobs_says_so(http, picture):
    message = refused(http.post("/v1/jobs", files={"file": picture()}), 404, "jobs_off")
    assert "--jobs" in message
    refused(http.get("/v1/jobs/" + 32 * "0"), 404, "jobs_off")


def test_a_second_service_on_the_same_ray_is_refused(service, fake):
    with pytest.raises(SetupError, match="already runs") as caught:
        start(port=0, load=fake.FakeRecoverer)
    assert caught.value.code == "serve_running"
    assert service.replicas() == 1, "the first one is untouched"


def test_the_same_request_has_the_same_answer_alone_and_among_others(service, picture):
    client = Client(service.url, retries=100)
    data = [picture(people=1 + i % 3, delay_ms=20) for i in range(8)]
    alone = [bodies(client.recover(data[i], seed=i, hypotheses=3 + i % 2)) for i in range(8)]
    with ThreadPoolExecutor(8) as threads:
        for _ in range(2):
            jobs = [threads.submit(client.recover, data[i], seed=i, hypotheses=3 + i % 2) for i in range(8)]
            assert [bodies(job.result()) for job in jobs] == alone
    assert alone[0] != bodies(client.recover(data[0], seed=99, hypotheses=3))


def test_a_person_that_fails_in_a_batch_costs_nobody_else(service, picture, fake):
    client = Client(service.url, retries=100)
    good, bad = picture(people=2, delay_ms=50), picture(people=1, fault=fake.FAIL)
    alone = bodies(client.recover(good, seed=1))
    with ThreadPoolExecutor(8) as threads:
        jobs = [threads.submit(client.recover, bad if i % 4 == 0 else good, seed=1) for i in range(8)]
        for i, job in enumerate(jobs):
            if i % 4 == 0:
                with pytest.raises(RefusedError) as caught:
                    job.result()
                assert (caught.value.status, caught.value.code) == (500, "internal")
            else:
                assert bodies(job.result()) == alone


def test_the_shipped_models_answer_over_http_as_they_do_in_process(service, picture, fake):
    pool = Pool(cpus_per_replica=0)
    settings = ServeSettings(perception=pool, recovery=pool)
    serve.run(assemble(fake.starter, settings), name="starter", route_prefix="/starter")
    client, data = Client(service.url + "/starter"), picture(people=2, size=(240, 200))
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: client.recover(data, seed=7, hypotheses=6), range(4)))
    assert all(bodies(answer) == bodies(answers[0]) for answer in answers)
    recoverer, decoded = fake.starter(), decode(data)
    expected = recoverer.recover(decoded, recoverer.find(decoded), hypotheses=6, seed=7)
    assert answers[0].models == recoverer.models
    for person, other in zip(answers[0].pictures[0].people, expected, strict=True):
        assert person.selected == other.selected
        joints_cam_m = other.hypotheses.joints_cam_m[other.selected]
        np.testing.assert_allclose(person.joints_cam_m, joints_cam_m, atol=1e-5)
    assert client.glb(data)[:4] == b"glTF"
    texts = client.bvh(data, seed=7, hypotheses=6)
    assert texts == [bvh(motion_of(other, recoverer.body.name), recoverer.body) for other in expected]
    rich = client.recover(data, seed=7, hypotheses=6, outputs=["hypotheses", "meshes"])
    assert (faces(rich) == recoverer.body.faces).all()
    for person, other in zip(rich.pictures[0].people, expected, strict=True):
        np.testing.assert_allclose(meshes_cam_m(person), recoverer.all_vertices(other), atol=1e-4)
    serve.delete("starter")


def test_overload_is_shed_at_once_with_503_and_retry_after(http, service, picture):
    slow = picture(people=1, delay_ms=400)
    with ThreadPoolExecutor(24) as threads:
        jobs = [threads.submit(post, http, slow) for _ in range(24)]
        time.sleep(0.5)
        assert http.get("/healthz").status_code == 200, "health must answer under overload"
        responses = [job.result() for job in jobs]
    shed = [response for response in responses if response.status_code == 503]
    served = [response for response in responses if response.status_code == 200]
    assert len(shed) + len(served) == 24
    assert len(served) >= 8, "4 at work and 4 queued"
    assert shed, "24 at once do not fit into 8 places"
    for response in shed:
        refused(response, 503, "overloaded")
        assert int(response.headers["retry-after"]) >= 1
        assert response.elapsed.total_seconds() < 2
    assert post(http, picture()).status_code == 200


def test_a_killed_replica_is_replaced_and_its_requests_are_answered(service, picture):
    client = Client(service.url, retries=5)
    expected = bodies(client.recover(picture(people=2), seed=4))
    pid = int(client.models().models["pid"])
    with ThreadPoolExecutor(3) as threads:
        during = [threads.submit(client.recover, picture(people=1, delay_ms=800), seed=i) for i in range(3)]
        time.sleep(0.3)
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 120
        # Either the gap is seen, or the next replica is there before anybody could look.
        gap_or_next = False
        while not gap_or_next and time.monotonic() < deadline:
            try:
                gap_or_next = not client.ready() or int(client.models().models["pid"]) != pid
            except RefusedError as error:
                assert error.status == 503
                gap_or_next = True
            time.sleep(0.05)
        assert gap_or_next, "a dead replica was taken for a live one"
        for job in during:
            try:
                assert len(job.result().pictures[0].people) == 1
            except RefusedError as error:
                assert (error.status, error.code) == (503, "replica_lost")
    while not client.ready() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert bodies(client.recover(picture(people=2), seed=4)) == expected
    assert int(client.models().models["pid"]) != pid
