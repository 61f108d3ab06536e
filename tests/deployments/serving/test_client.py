"""The client against a scripted server: what it sends, and what it makes of every kind of answer."""

import json
import pickle
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from alignhmr.core.errors import InputError, ServiceError
from alignhmr.deployments.serving.client import Client, RecoverOptions, RefusedError, faces, meshes_cam_m
from alignhmr.deployments.serving.schemas import Options, PersonAnswer, RecoverAnswer


class Scripted(HTTPServer):
    """Answers with the next of its (status, headers, body) and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[tuple[int, dict[str, str], bytes]] = []
        self.received: list[tuple[str, dict[str, str], bytes]] = []
        self.delay_s = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Scripted

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.received.append((self.path, headers, body))
        status, headers, answer = self.server.script.pop(0)
        time.sleep(self.server.delay_s)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(answer))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Scripted]:
    with Scripted() as scripted:
        thread = threading.Thread(target=scripted.serve_forever, args=(0.01,))
        thread.start()
        yield scripted
        scripted.shutdown()
        thread.join()


def error(code: str = "overloaded") -> bytes:
    return json.dumps({"code": code, "message": "the service is full", "request_id": "r1"}).encode()


ANSWER = json.dumps(
    {
        "request_id": "r2",
        "pictures": [],
        "hypotheses": 1,
        "seed": 0,
        "body_model": "b",
        "models": {},
        "timings_ms": dict.fromkeys(("read", "wait", "decode", "find", "recover", "draw", "total"), 1.0),
    }
).encode()


def test_an_error_keeps_status_code_and_request_id(server):
    server.script = [(503, {"Retry-After": "7"}, error())]
    with pytest.raises(RefusedError, match="full") as caught:
        Client(server.url).recover(b"x")
    refused = caught.value
    assert (refused.status, refused.code, refused.request_id) == (503, "overloaded", "r1")
    assert refused.retry_after_s == 7
    copy = pickle.loads(pickle.dumps(refused))
    assert (copy.status, copy.code, copy.retry_after_s, str(copy)) == (503, "overloaded", 7, str(refused))


def test_a_503_is_tried_again_when_it_asks_for_it_and_no_other_error_is(server):
    busy, bad = (503, {"Retry-After": "0"}, error()), (422, {}, error("invalid_options"))
    server.script = [busy, busy, (200, {}, ANSWER)]
    assert Client(server.url, retries=2).recover(b"x").request_id == "r2"
    server.script = [busy, busy]
    with pytest.raises(RefusedError):
        Client(server.url, retries=1).recover(b"x")
    server.script = [bad, (200, {}, ANSWER)]
    with pytest.raises(RefusedError):
        Client(server.url, retries=5).recover(b"x")
    server.script = [(503, {}, error()), (200, {}, ANSWER)]
    with pytest.raises(RefusedError):
        Client(server.url, retries=5).recover(b"x")
    server.script = [(429, {"Retry-After": "0"}, error("rate")), (200, {}, ANSWER)]
    assert Client(server.url, retries=1).recover(b"x").request_id == "r2"


def test_it_comes_back_when_it_was_told_to_and_not_before(server):
    server.script = [(503, {"Retry-After": "1"}, error()), (200, {}, ANSWER)]
    started = time.monotonic()
    Client(server.url, retries=1).recover(b"x")
    assert 1.0 <= time.monotonic() - started < 5


def test_a_deadline_is_for_all_tries_together(server):
    server.script = [(503, {"Retry-After": "60"}, error())]
    started = time.monotonic()
    with pytest.raises(RefusedError, match="full"):
        Client(server.url, deadline_s=5, retries=9).recover(b"x")
    server.script, server.delay_s = [(200, {}, ANSWER)], 2.0
    with pytest.raises(ServiceError, match=r"within 0\.3 s") as caught:
        Client(server.url, deadline_s=0.3, retries=9).recover(b"x")
    assert caught.value.code == "deadline"
    assert time.monotonic() - started < 5, "nothing was waited for that could not help"


def test_the_key_goes_with_every_request(server):
    server.script = [(200, {}, ANSWER), (401, {}, error("unauthorized"))]
    with Client(server.url, api_key="s3cret") as client:
        client.recover(b"x")
        with pytest.raises(RefusedError) as caught:
            client.models()
    assert caught.value.status == 401
    for _, headers, _ in server.received:
        assert headers["authorization"] == "Bearer s3cret"


def test_its_options_are_those_of_the_service():
    assert RecoverOptions.__annotations__.keys() == Options.model_fields.keys()


def test_answers_that_are_not_the_services_are_errors_in_words(server):
    server.script = [(502, {}, b"<html>bad gateway</html>")]
    with pytest.raises(RefusedError, match=r"HTTP 502.*bad gateway") as caught:
        Client(server.url).recover(b"x")
    assert caught.value.code == "http_error"
    server.script = [(200, {}, b"{}")]
    with pytest.raises(ServiceError, match="not a RecoverAnswer") as caught:
        Client(server.url).recover(b"x")
    assert caught.value.code == "bad_answer"


def test_nobody_listening_is_an_error_with_the_next_action(server):
    url = server.url
    server.server_close()
    with pytest.raises(ServiceError, match="alignhmr serve") as caught:
        Client(url).recover(b"x")
    assert caught.value.code == "unreachable"
    assert not Client(url).ready()


def test_bad_arguments_are_refused_before_anything_is_sent(tmp_path):
    with pytest.raises(InputError, match="ftp://"):
        Client("ftp://x")
    with pytest.raises(InputError, match=r"no\.jpg"):
        Client().recover(tmp_path / "no.jpg")


def test_options_travel_as_form_fields(server):
    server.script = [(200, {}, ANSWER)]
    Client(server.url).recover(
        b"PIXELS", boxes=[[0, 1, 2, 3]], outputs=["json", "glb"], seed=5, focal_px=None
    )
    ((path, headers, body),) = server.received
    assert path == "/v1/recover"
    assert headers["accept"] == "application/json"
    for part in (
        b'name="boxes"\r\n\r\n[[0, 1, 2, 3]]',
        b'name="outputs"\r\n\r\njson,glb',
        b'name="seed"\r\n\r\n5',
    ):
        assert part in body
    assert b"PIXELS" in body
    assert b"focal_px" not in body


def test_pictures_travel_byte_for_byte(server, tmp_path):
    server.script = [(200, {}, ANSWER)]
    (tmp_path / "b").write_bytes(bytes(range(255, -1, -1)))
    Client(server.url).recover([bytes(range(256)), tmp_path / "b", str(tmp_path / "b")])
    ((_, headers, body),) = server.received
    assert body.count(b"--" + headers["content-type"].partition("boundary=")[2].encode() + b"\r\n") == 3
    assert bytes(range(256)) in body
    assert body.count(bytes(range(255, -1, -1))) == 2


def test_meshes_that_were_not_asked_for_are_told_of():
    with pytest.raises(InputError, match="outputs="):
        meshes_cam_m(PersonAnswer.model_construct(meshes_base64=None, hypotheses=None))
    with pytest.raises(InputError, match="outputs="):
        faces(RecoverAnswer.model_construct(faces_base64=None))
