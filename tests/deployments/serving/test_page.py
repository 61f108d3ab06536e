"""The page in a real Chromium, against real Ray Serve; where a service must answer oddly, against a stand-in."""

import io
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
import trimesh
import uvicorn
from fastapi import FastAPI, Request, Response
from PIL import Image
from ray import serve

from alignhmr.core.body.skeleton import JOINTS
from alignhmr.core.errors import InputError, ServiceError
from alignhmr.deployments.serving import page_files, refusals
from alignhmr.deployments.serving.build import ServeSettings, assemble
from alignhmr.deployments.serving.client import Client

pytestmark = pytest.mark.ray

DONE = "!document.getElementById('result').hidden"
ALARM = "!document.getElementById('alarm').hidden"


@pytest.fixture(scope="module")
def starter(service, fake) -> Iterator[str]:
    """The shipped models, with people made up, under a route prefix of their own."""
    serve.run(
        assemble(fake.starter, ServeSettings(cpus_per_replica=0)), name="starter", route_prefix="/starter"
    )
    yield service.url + "/starter/"
    serve.delete("starter")


@pytest.fixture
def photo(picture, tmp_path):
    def make(name: str = "photo.png", **told: int) -> Path:
        (tmp_path / name).write_bytes(picture(**{"size": (240, 200)} | told))
        return tmp_path / name

    return make


def text(tab, id: str) -> str:
    return tab.js(f"document.getElementById('{id}').innerText")


def click(tab, selector: str) -> None:
    tab.js(f"document.querySelector({json.dumps(selector)}).click()")


def seen(tab, id: str) -> np.ndarray:
    """The pixels that a person sees there, once nothing moves any more; without the edge, which marks the focus."""
    tab.js(f"document.getElementById('{id}').scrollIntoView({{ block: 'center', behavior: 'instant' }})")
    time.sleep(0.6)
    window = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
    left, top, width, height = place(tab, id)
    inside = (left + 8, top + 8, left + width - 8, top + height - 8)
    return np.asarray(window.crop(inside)).astype(int)


def place(tab, id: str) -> list[int]:
    """Left, top, width and height in the window."""
    box = f"document.getElementById('{id}').getBoundingClientRect()"
    return tab.js(f"(box => [box.x, box.y, box.width, box.height].map(Math.round))({box})")


def show_bodies(tab, percent: int) -> None:
    slider = "document.getElementById('opacity')"
    tab.js(f"{slider}.value = {percent}; {slider}.dispatchEvent(new Event('input'))")


def changed(before: np.ndarray, after: np.ndarray) -> float:
    """The share of pixels that differ visibly."""
    return float((np.abs(before - after).max(-1) > 24).mean())


def settled(tab, *, expected: str = "") -> None:
    """Nothing was complained of but what was expected, and nothing was asked of anybody else."""
    tab.js("0")
    assert [one for one in tab.complaints if not expected or expected not in one] == []
    for url in tab.requests:
        parts = urlsplit(url)
        assert parts.scheme in ("blob", "data") or parts.hostname == "127.0.0.1", url


def test_a_dropped_photo_is_drawn_turned_and_leafed_through(browser, starter, photo):
    tab = browser.open(starter)
    tab.drop(photo(people=2), at=(640, 350))
    tab.wait(DONE)
    assert "photo.png: 2 people" in text(tab, "result-title")
    with_bodies, body = seen(tab, "picture"), seen(tab, "body")
    blue = body[..., 2] - body[..., 0] > 40
    assert 0.03 < blue.mean() < 0.6, "a body in the first person's colour stands in the round"
    show_bodies(tab, 0)
    assert changed(with_bodies, seen(tab, "picture")) > 0.1, "bodies lie over the photo"
    show_bodies(tab, 90)

    tab.js("document.getElementById('body').focus()")
    tab.press("ArrowRight", "ArrowRight", "ArrowRight")
    turned = seen(tab, "body")
    assert changed(body, turned) > 0.02
    tab.press("0")
    assert changed(body, seen(tab, "body")) < 0.005, "0 goes back"
    x, y, width, height = place(tab, "body")
    tab.drag((x + width / 2, y + height / 2), (x + width / 2 + 90, y + height / 2))
    assert changed(body, seen(tab, "body")) > 0.02
    click(tab, '[data-yaw="0"][data-pitch="0"]')
    assert changed(body, seen(tab, "body")) < 0.005

    assert "the answer" in text(tab, "rank-text")
    tab.js("document.getElementById('rank').focus()")
    tab.press("End")
    assert text(tab, "rank-text").startswith("20 of 20: score")
    assert "the answer" not in text(tab, "rank-text")
    assert changed(body, seen(tab, "body")) > 0.005
    assert changed(with_bodies, seen(tab, "picture")) > 0.002
    click(tab, "#chosen")
    assert changed(body, seen(tab, "body")) < 0.005
    for toggle in ("ghosts", "doubt"):
        click(tab, f"#{toggle}")
        assert changed(body, seen(tab, "body")) > 0.01, toggle
        click(tab, f"#{toggle}")

    click(tab, "#people button:nth-child(2)")
    assert "person 2" in tab.js("document.getElementById('body').ariaLabel")
    yellow = seen(tab, "body")
    assert (yellow[..., 0] - yellow[..., 2] > 40).mean() > 0.03
    settled(tab)


def test_it_tells_what_the_service_tells(browser, starter, photo):
    tab, path = browser.open(starter), photo(people=1)
    tab.js("document.querySelector('details').open = true")
    for name, value in (
        ("hypotheses", "9"),
        ("seed", "4"),
        ("text", "The left arm is raised straight up, purple monkeys"),
    ):
        tab.js(f"document.querySelector('[name={name}]').value = {json.dumps(value)}")
    tab.choose("#files", path)
    tab.wait(DONE)
    answer = Client(starter.rstrip("/")).recover(
        path, hypotheses=9, seed=4, text="The left arm is raised straight up, purple monkeys"
    )
    (person,) = answer.pictures[0].people
    assert f"{person.expected_error_mm:.0f} mm off on average" in text(tab, "overall")
    assert person.joint_error_mm is not None
    wrist = person.joint_error_mm[JOINTS.index("left_wrist")]
    row = tab.js(
        "[...document.querySelectorAll('#parts tr')].find(row => row.innerText.startsWith('wrist')).innerText"
    )
    assert f"{wrist[0]:.0f} mm" in row
    assert f"{wrist[1]:.0f} to {wrist[2]:.0f} mm" in row
    order = sorted(range(9), key=lambda index: -person.hypothesis_scores[index])
    assert text(tab, "rank-text").startswith(f"{order.index(person.selected) + 1} of 9")
    assert person.refinement is not None
    told = text(tab, "told")
    assert "left upper arm" in told
    assert "1 of 1 things" in told or "0 of 1 things" in told
    assert f"Not understood: {person.refinement.unread[0]}" in told
    figure = tab.js("document.querySelector('#figure svg').getAttribute('aria-label')")
    assert "Surest is the" in figure
    assert tab.js("import('./page/confidence.js').then(module => module.JOINTS)") == list(JOINTS)
    settled(tab)


def test_what_is_taken_away_is_what_was_answered(browser, starter, photo, tmp_path):
    tab, path, out = browser.open(starter), photo(people=2), tmp_path / "downloads"
    tab.choose("#files", path)
    tab.wait(DONE)
    tab.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(out))
    for kind in ("glb", "bvh", "json", "png"):
        click(tab, f'[data-file="{kind}"]')
        time.sleep(0.3)
    names = {"photo.glb", "photo_person1.bvh", "photo.json", "photo_overlay.png"}
    deadline = time.monotonic() + 30
    while {file.name for file in out.glob("*")} != names:
        assert time.monotonic() < deadline, sorted(out.glob("*"))
        time.sleep(0.1)
    client = Client(starter.rstrip("/"))
    answer = client.recover(path, outputs=["hypotheses", "bvh"])
    saved = json.loads((out / "photo.json").read_text())
    for person, other in zip(answer.pictures[0].people, saved["pictures"][0]["people"], strict=True):
        assert person.model_dump(mode="json", exclude={"bvh", "meshes_base64"}) == other
    assert (out / "photo_person1.bvh").read_text() == answer.pictures[0].people[0].bvh
    assert (out / "photo.glb").read_bytes() == client.glb(path)
    assert len(trimesh.load_scene(out / "photo.glb").geometry) == 2
    shown = np.asarray(Image.open(out / "photo_overlay.png").convert("RGB")).astype(int)
    assert shown.shape == (200, 240, 3)
    assert (np.abs(shown - 90).max(-1) > 24).mean() > 0.1, "the bodies are in it"
    settled(tab)


def test_everything_can_be_done_with_keys_alone(browser, starter):
    tab = browser.open(starter, prefers_reduced_motion="reduce")

    def go_to(id: str) -> None:
        for _ in range(60):
            tab.press("Tab")
            if tab.js("document.activeElement.id || document.activeElement.dataset.file || ''") == id:
                # The file field itself is too small to be seen; its label shows where the focus is.
                marked = "document.querySelector('#files:focus + label') ?? document.activeElement"
                outline = tab.js(f"getComputedStyle({marked}).outlineStyle")
                assert outline != "none", f"nobody sees that {id} has the focus"
                return
        raise AssertionError(f"{id} can't be reached with Tab")

    go_to("files")
    go_to("example")
    tab.press("Enter")
    tab.wait(DONE)
    go_to("body")
    front = seen(tab, "body")
    tab.press("ArrowLeft", "ArrowUp", "+")
    assert changed(front, seen(tab, "body")) > 0.02
    go_to("ghosts")
    tab.press(" ")
    assert tab.js("document.getElementById('ghosts').checked")
    go_to("rank")
    tab.press("ArrowRight", "ArrowRight")
    assert text(tab, "rank-text").startswith("3 of 20")
    assert "3 of 20" in tab.js("document.getElementById('rank').ariaValueText")
    go_to("chosen")
    tab.press("Enter")
    assert "the answer" in text(tab, "rank-text")
    for file in ("glb", "bvh", "json", "png"):
        go_to(file)
    settled(tab)


def test_several_photos_are_answered_each_for_itself(browser, service, photo):
    tab = browser.open(service.url)
    (broken := photo("broken.png")).write_bytes(b"no picture at all")
    tab.choose(
        "#files",
        photo("one.png", people=1),
        broken,
        photo("empty.png", people=0),
        photo("three.png", people=3),
    )
    tab.wait(
        "[...document.querySelectorAll('#strip button')].every(b => ['done', 'failed'].includes(b.className))"
    )
    captions = text(tab, "strip").splitlines()
    assert [line for line in captions if line] == [
        "one.png: 1 person", "broken.png: no answer", "empty.png: nobody", "three.png: 3 people"
    ]  # fmt: skip
    assert text(tab, "result-title") == "one.png: 1 person"
    click(tab, "#strip li:nth-child(2) button")
    assert "415" not in text(tab, "alarm")
    assert "begins with" in text(tab, "alarm")
    assert "Request " in text(tab, "alarm")
    assert tab.js("document.getElementById('result').hidden")
    click(tab, "#strip li:nth-child(3) button")
    assert "Nobody was found" in text(tab, "note")
    assert tab.js("document.getElementById('body').offsetParent === null"), "there is nobody to turn"
    click(tab, "#strip li:nth-child(4) button")
    assert tab.js("document.querySelectorAll('#people button').length") == 3
    settled(tab, expected="status of 415")


def test_limits_and_bad_options_are_told_in_words(browser, service, photo, tmp_path):
    tab = browser.open(service.url)
    tab.wait("document.getElementById('limits').innerText")
    noise = np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "heavy.png")
    tab.choose("#files", tmp_path / "heavy.png")
    tab.wait(ALARM)
    assert "Too large. This service takes 0.2 MB, and heavy.png has 0.48 MB" in text(tab, "alarm")
    tab.choose("#files", photo("wide.png", size=(600, 500)))
    tab.wait(f"{ALARM} && document.getElementById('alarm').innerText.includes('pixels')")
    assert text(tab, "alarm").startswith("Too large.")
    tab.js("document.querySelector('[name=text]').value = 'purple monkeys'")
    tab.choose("#files", photo())
    tab.wait("document.getElementById('alarm').innerText.includes('nothing was understood') ||"
             " document.getElementById('alarm').innerText.includes('Nothing was understood')")  # fmt: skip
    settled(tab, expected="status of 4")


def test_it_waits_while_the_service_is_full(browser, service, photo, picture):
    tab = browser.open(service.url)
    slow = picture(people=1, delay_ms=900)

    def ask(_: int) -> int:
        return httpx.post(service.url + "/v1/recover", files={"file": slow}, timeout=60).status_code

    with ThreadPoolExecutor(12) as threads:
        jobs = [threads.submit(ask, number) for number in range(12)]
        time.sleep(0.5)
        tab.choose("#files", photo())
        tab.wait("document.getElementById('status').innerText.includes('The service is full')", 10)
        tab.wait(DONE)
        assert {job.result() for job in jobs} <= {200, 503}
    settled(tab, expected="status of 503")


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (360, "light"), (1280, "dark")])
def test_it_fits_and_follows_the_scheme(browser, starter, photo, width, scheme):
    tab = browser.open(starter, width=width, prefers_color_scheme=scheme)
    tab.js("document.querySelector('details').open = true")
    tab.choose("#files", photo(people=2), photo("other.png"))
    tab.wait(DONE)
    assert tab.js("document.documentElement.scrollWidth") == width, "nothing sticks out"
    paper = tab.js("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) < 150) == (scheme == "dark")
    settled(tab)


class StandIn:
    """The page before a service that answers as a test says: (status, headers, answer), or what a real one said."""

    def __init__(self, real: str) -> None:
        self.script: list[Exception | None] = []
        self.keys: list[str | None] = []
        self.wanted_key: str | None = None
        app = FastAPI()
        refusals.install(app)
        page_files.install(app)

        async def forward(request: Request) -> Response:
            self.keys.append(request.headers.get("authorization"))
            if self.wanted_key is not None and self.keys[-1] != f"Bearer {self.wanted_key}":
                body = {"code": "unauthorized", "message": "give an API key", "request_id": "r-401"}
                return Response(json.dumps(body), 401, media_type="application/json")
            if request.method == "POST" and self.script and (error := self.script.pop(0)):
                raise error
            async with httpx.AsyncClient(timeout=60) as client:
                kind = {"content-type": request.headers.get("content-type", "")}
                answer = await client.request(
                    request.method, real + request.url.path, content=await request.body(), headers=kind
                )
            return Response(answer.content, answer.status_code, media_type="application/json")

        app.add_api_route("/v1/models", forward)
        app.add_api_route("/v1/recover", forward, methods=["POST"])
        self.server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical"))
        self.thread = threading.Thread(target=self.server.run)

    def __enter__(self) -> "StandIn":
        self.thread.start()
        while not self.server.started:
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}/"
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join()


@pytest.fixture
def stand_in(service) -> Iterator[StandIn]:
    with StandIn(service.url) as running:
        yield running


def test_a_key_is_asked_for_when_the_service_wants_one(browser, stand_in, photo):
    stand_in.wanted_key = "s3cret"
    tab = browser.open(stand_in.url)
    tab.wait("!document.getElementById('key-form').hidden")
    tab.choose("#files", photo("a.png"), photo("b.png"))
    tab.wait(ALARM)
    assert text(tab, "alarm") == "This service wants an API key. Give an API key. Request r-401."
    tab.js("document.getElementById('key').focus()")
    tab.type("s3cret")
    tab.press("Enter")
    tab.wait(DONE)
    tab.wait("[...document.querySelectorAll('#strip button')].every(b => b.className === 'done')")
    tab.wait("document.getElementById('key-form').hidden")
    assert stand_in.keys[0] is None
    assert stand_in.keys[-1] == "Bearer s3cret"
    assert tab.js("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    settled(tab, expected="status of 401")


def test_refusals_are_told_with_what_to_do(browser, stand_in, photo):
    tab = browser.open(stand_in.url)
    busy = ServiceError("the service is full; try again in 1 s", code="overloaded", retry_after_s=1)
    stand_in.script = [busy, busy, None]
    tab.choose("#files", photo())
    tab.wait("document.getElementById('status').innerText.includes('again in 1 s')")
    tab.wait(DONE)
    stand_in.script = [busy] * 9
    click(tab, "#again")
    tab.wait("document.getElementById('status').innerText.includes('again in 1 s')")
    click(tab, "#stop")
    tab.wait(ALARM)
    assert "You stopped before photo.png had an answer" in text(tab, "alarm")
    stand_in.script = [InputError("a sentence is about one person, and 2 were found; give its box")]
    click(tab, "#again")
    tab.wait(f"{ALARM} && document.getElementById('alarm').innerText.includes('one person')")
    stand_in.script = [RuntimeError("secret reason")]
    click(tab, "#again")
    tab.wait(f"{ALARM} && document.getElementById('alarm').innerText.startsWith('The service failed.')")
    assert "secret" not in text(tab, "alarm")
    stand_in.script = []
    click(tab, "#again")
    tab.wait(DONE)
    stand_in.__exit__()
    click(tab, "#again")
    tab.wait(f"{ALARM} && document.getElementById('alarm').innerText.startsWith('No answer.')")
    settled(tab, expected="Failed to load resource")
