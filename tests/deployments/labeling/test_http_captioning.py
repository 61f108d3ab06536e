"""Captions by a server: a fake one on loopback that answers, refuses, breaks, stalls and recovers."""

import asyncio
import base64
import io
import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from alignhmr.core.errors import CaptionerError
from alignhmr.core.language.captions import PROMPT
from alignhmr.core.language.posecodes import PARTS
from alignhmr.deployments.labeling.captioning import make_captioner
from alignhmr.deployments.labeling.config import Http
from alignhmr.deployments.labeling.http_captioning import KEY_VARIABLE, PatientSession

CAPTION = {part: f"The {part} is straight." for part in PARTS}
# The width of the picture shown tells the server how to behave.
GOOD, ALWAYS_500, STALLS, PROSE, ONCE_503, NOT_JSON, REFUSED = 40, 44, 48, 52, 56, 60, 64
ONCE_PROSE, LIMITED = 68, 72


class FakeServer(ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: Counter[int] = Counter()
        self.requests: list[dict] = []
        self.keys: list[str | None] = []
        self.models = ["org/some-vlm"]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: FakeServer

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer(200, json.dumps({"data": [{"id": name} for name in self.server.models]}))

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        self.server.keys.append(self.headers.get("Authorization"))
        url = request["messages"][0]["content"][0]["image_url"]["url"]
        with Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/jpeg;base64,")))) as image:
            width = image.width
        self.server.asked[width] += 1
        if width == STALLS:
            time.sleep(3)
        if width == ALWAYS_500:
            self.answer(500, "<html>out of memory</html>")
        elif width == ONCE_503 and self.server.asked[width] == 1:
            self.answer(503, "warming up")
        elif width == LIMITED and self.server.asked[width] == 1:
            self.answer(429, "slow down", {"Retry-After": "0.4"})
        elif width == NOT_JSON:
            self.answer(200, "<html>a proxy's page</html>")
        elif width == REFUSED:
            self.answer(400, json.dumps({"error": "picture refused"}))
        else:
            prose = width == PROSE or (width == ONCE_PROSE and self.server.asked[width] == 1)
            text = "A person stands upright." if prose else json.dumps(CAPTION)
            self.answer(200, json.dumps({"choices": [{"message": {"content": text}}]}))

    def answer(self, status, body, headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())


@pytest.fixture
def server():
    with FakeServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def captioner(config, engine):
    return make_captioner(config(captions__engine=engine), "cpu")


def test_the_server_tells_its_model(server, small_config):
    for engine in (server.url, f"http:{server.url}", f"{server.url}/chat/completions"):
        found = captioner(small_config, engine)
        assert found.check() == {"captioner": f"org/some-vlm@127.0.0.1:{server.server_port} (unverified)"}
        assert found.source == "vlm:some-vlm"


def test_no_server_or_no_model_is_said_before_the_first_row(server, small_config):
    server.models = []
    with pytest.raises(CaptionerError, match=r"lists no models; set resources.http.model"):
        captioner(small_config, server.url).check()
    with pytest.raises(
        CaptionerError, match=r"no captioning server answers at .*; start it, correct the URL"
    ):
        captioner(small_config, "http://127.0.0.1:9/v1").check()
    with pytest.raises(CaptionerError, match=KEY_VARIABLE) as caught:
        captioner(small_config, "http://me:hunter2@localhost/v1").check()
    assert "hunter2" not in str(caught.value)
    with pytest.raises(CaptionerError, match="is not a URL"):
        captioner(small_config, "http:localhost").check()


@pytest.fixture
def ask_session(server):
    """Pictures of these widths, all at once, to an impatient session; the answers."""

    async def ask(widths):
        settings = Http(model=None, timeout_s=1.0, retries=1, wait_s=0.05)
        async with PatientSession(settings) as session:
            tasks = [
                session.post(f"{server.url}/chat/completions", {}, json.dumps(body(width)))
                for width in widths
            ]
            return [await (await task).json() for task in tasks]

    def body(width):
        buffer = io.BytesIO()
        Image.new("RGB", (width, 30)).save(buffer, "JPEG")
        url = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
        return json.dumps({"messages": [{"content": [{"image_url": {"url": url}}]}]})

    return lambda *widths: asyncio.run(ask(widths))


def test_nonsense_is_asked_for_once_more_and_less_coldly(server, ask_session):
    once, always = ask_session(ONCE_PROSE, PROSE)
    assert json.loads(once["text"]) == CAPTION and once["problem"] == ""
    assert always["text"] == "A person stands upright." and always["problem"] == "", (
        "the row says what it was"
    )
    assert server.asked[ONCE_PROSE] == server.asked[PROSE] == 2
    assert sorted(request.get("temperature", 0) for request in server.requests) == [0, 0, 0.5, 0.5]


def test_a_server_that_limits_is_left_alone_as_long_as_it_asks(server, ask_session):
    before = time.monotonic()
    (answer,) = ask_session(LIMITED)
    assert json.loads(answer["text"]) == CAPTION
    assert time.monotonic() - before >= 0.4


def test_a_session_waits_retries_and_never_raises(server, ask_session):
    answers = ask_session(GOOD, ONCE_503, ALWAYS_500, STALLS, NOT_JSON, REFUSED)
    assert json.loads(answers[0]["text"]) == json.loads(answers[1]["text"]) == CAPTION
    problems = [answer["problem"] for answer in answers]
    assert problems[:2] == ["", ""]
    assert problems[2].startswith("the server answered 500: <html>out of memory")
    assert problems[3] == "no answer within 1.0 s"
    assert problems[4].startswith("the server's answer is not a chat completion")
    assert problems[5].startswith("the server answered 400")
    assert server.asked[ALWAYS_500] == server.asked[STALLS] == 2, "one retry"
    assert server.asked[REFUSED] == 1, "asking again would get the same answer"


def test_a_session_reports_a_server_that_is_gone():
    async def ask():
        async with PatientSession(Http(model=None, timeout_s=1.0, retries=0, wait_s=0)) as session:
            return await (await session.post("http://127.0.0.1:9/", {}, json.dumps("{}"))).json()

    assert "ClientConnectorError" in asyncio.run(ask())["problem"]


@pytest.mark.ray
def test_each_row_gets_its_caption_or_its_own_error(server, run_label, picture, tmp_path, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "secret-key")
    widths = [GOOD, ALWAYS_500, STALLS, PROSE, ONCE_503, NOT_JSON]
    for width in widths:
        picture(tmp_path / "in" / f"{width}.png", 20, number=width, size=(width, 64))
    picture(tmp_path / "in" / "nobody.png", 0)
    (tmp_path / "in" / "broken.jpg").write_bytes(b"not a picture")

    rows, _ = run_label(
        tmp_path / "in", tmp_path / "out", captions__engine=server.url, resources__http__timeout_s=1.5,
        resources__http__retries=1, resources__http__wait_s=0.05, resources__caption__num_cpus=0.25,
    )  # fmt: skip
    found = {row["uri"].rpartition("/")[2]: row for row in rows}
    for width in (GOOD, ONCE_503):
        assert found[f"{width}.png"]["captions"] == CAPTION
        assert found[f"{width}.png"]["caption_error"] is None
    starts = {
        ALWAYS_500: "engine: the server answered 500",
        STALLS: "engine: no answer within",
        PROSE: "not_json: 'A person stands",
        NOT_JSON: "engine: the server's answer is not",
    }
    for width, start in starts.items():
        assert found[f"{width}.png"]["caption_error"].startswith(start)
        assert found[f"{width}.png"]["captions"] is None
        assert found[f"{width}.png"]["scores"] is not None, "a missing caption costs no hypotheses"
    assert all(found[f"{width}.png"]["caption_source"] == "vlm:some-vlm" for width in widths)
    assert (
        found["nobody.png"]["error_code"] == "no_person"
        and found["broken.jpg"]["error_code"] == "not_an_image"
    )
    assert found["nobody.png"]["caption_source"] is None and found["nobody.png"]["caption_error"] is None

    assert set(server.keys) == {"Bearer secret-key"}
    assert all(request["model"] == "org/some-vlm" for request in server.requests)
    assert server.requests[0]["messages"][0]["content"][1] == {"type": "text", "text": PROMPT}
    assert b"secret-key" not in b"".join(path.read_bytes() for path in (tmp_path / "out" / "rows").iterdir())
