"""Jobs: safe on storage once taken, done whoever dies, seen by their owner alone, taken back when asked."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest
from ray.exceptions import RayActorError

from alignhmr.core.errors import ImageError, InputError
from alignhmr.deployments.serving import job_worker
from alignhmr.deployments.serving.client import Client
from alignhmr.deployments.serving.command import Service, start
from alignhmr.deployments.serving.intake import Limits
from alignhmr.deployments.serving.job_store import JobStore
from alignhmr.deployments.serving.keys import add_key
from alignhmr.deployments.serving.schemas import JobAnswer, JobResult, Options, PictureAnswer
from alignhmr.deployments.serving.settings import Jobs, Pool, ServeSettings

NOTHING = PictureAnswer(sha256="", width_px=0, height_px=0, intrinsics=None, people=[])


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path) -> JobStore:
    if request.param == "folder":
        return JobStore(str(tmp_path / "jobs"))
    request.getfixturevalue("s3").create_bucket(Bucket="jobs")
    return JobStore("s3://jobs/here")


def result(index: int) -> JobResult:
    return JobResult(index=index, picture=NOTHING, body_model="b", models={"base": "x"})


def test_what_is_left_is_what_has_no_result(store):
    job = store.add([b"a", b"b", b"c"], Options(hypotheses=3), "ann")
    assert [each.id for each in store.open()] == [job.id]
    assert store.open()[0] == job, "another process reads what this one wrote"
    assert store.left(job) == [0, 1, 2]
    assert [store.picture(job, index) for index in range(3)] == [b"a", b"b", b"c"]
    assert store.answer(job).state == "queued"
    store.finish(job, result(1))
    assert store.left(job) == [0, 2]
    assert (store.answer(job).state, store.answer(job).finished) == ("running", 1)
    store.finish(job, result(0))
    store.finish(job, result(2))
    store.close(job)
    assert (store.open(), store.left(job), store.answer(job).state) == ([], [], "done")
    lines = [JobResult.model_validate_json(line) for line in store.results(job)]
    assert [line.index for line in lines] == [0, 1, 2]


def test_a_job_that_was_cancelled_is_no_work(store):
    job = store.add([b"a", b"b"], Options(), None)
    store.finish(job, result(0))
    store.cancel(job)
    assert (store.open(), store.left(job), store.answer(job).state) == ([], [], "cancelled")
    assert len(list(store.results(job))) == 1
    store.cancel(job)


def test_a_job_is_its_owners(store):
    job = store.add([b"a"], Options(), "ann")
    assert store.find(job.id, "ann") == job
    for identity, owner in (
        (job.id, "bob"),
        (job.id, None),
        ("0" * 32, "ann"),
        ("../keys", "ann"),
        ("", "ann"),
    ):
        with pytest.raises(InputError, match="no job") as caught:
            store.find(identity, owner)
        assert caught.value.code == "not_found"


def test_a_job_that_was_never_whole_is_no_job(store, monkeypatch):
    def die(path: str, data: bytes) -> None:
        if path.endswith("000001"):
            raise OSError("the ingress died")
        real(path, data)

    real = store._write
    monkeypatch.setattr(store, "_write", die)
    with pytest.raises(OSError, match="died"):
        store.add([b"a", b"b"], Options(), None)
    assert store.open() == []


class Nobody:
    """A perception that finds every file to be no picture, but for one that it can't look at without dying."""

    def __init__(self) -> None:
        self.find = self

    def remote(self, data: bytes, look: object) -> asyncio.Future:
        answer = asyncio.get_running_loop().create_future()
        if data == b"deadly":
            answer.set_exception(RayActorError())
        else:
            answer.set_result(ImageError("no", code="not_an_image"))
        return answer


def test_what_is_wrong_with_one_job_or_picture_stands_in_no_others_way(tmp_path, monkeypatch):
    monkeypatch.setattr(job_worker, "POLL_S", 0.02)
    limits, place = Limits(retry_after_s=0.001), Jobs(location=str(tmp_path))
    store = JobStore(str(tmp_path))
    bad, gone, fine = (store.add([b"deadly", b"b"], Options(), None) for _ in range(3))
    (tmp_path / "jobs" / gone.id / "pictures" / "000000").unlink()
    real = store.left

    async def story() -> None:
        settings = ServeSettings(jobs=place, limits=limits)
        worker = job_worker.JobWorker(Nobody(), None, settings)  # type: ignore[arg-type]

        def left(job) -> list[int]:
            if job.id == bad.id:
                raise OSError("unreadable")
            return real(job)

        worker.store.left = left  # type: ignore[method-assign]
        give_up = time.monotonic() + 20
        while len(store.open()) > 1 and time.monotonic() < give_up:
            await asyncio.sleep(0.02)
        worker.check_health()
        worker._working.cancel()

    asyncio.run(story())
    assert [job.id for job in store.open()] == [bad.id], "it is tried again"
    codes = {
        job.id: [json.loads(line)["picture"]["error"]["code"] for line in store.results(job)]
        for job in (gone, fine)
    }
    assert codes == {gone.id: ["not_found", "not_an_image"], fine.id: ["replica_lost", "not_an_image"]}


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("jobs")
    return str(folder / "jobs"), str(folder / "keys.json")


@pytest.fixture(scope="module")
def ann(places) -> dict[str, str]:
    return {"Authorization": f"Bearer {add_key(places[1], 'ann')}"}


@pytest.fixture(scope="module")
def bob(places) -> dict[str, str]:
    return {"Authorization": f"Bearer {add_key(places[1], 'bob')}"}


@pytest.fixture(scope="module")
def desk(ray_session, fake, places, ann, bob) -> Iterator[Service]:
    pool = Pool(max_ongoing=4, max_queued=4, cpus_per_replica=0)
    jobs = Jobs(location=places[0], max_pictures=30, max_body_bytes=1_000_000, at_once=2)
    settings = ServeSettings(perception=pool, recovery=pool, keys=places[1], jobs=jobs)
    running = start(port=0, load=fake.FakeRecoverer, settings=settings)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def http(desk) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=desk.url, timeout=60) as client:
        yield client


def posted(http, headers, pictures: list[bytes], **options) -> JobAnswer:
    files = [("file", (f"{index}.png", data)) for index, data in enumerate(pictures)]
    answer = http.post("/v1/jobs", files=files, data=options, headers=headers)
    assert answer.status_code == 202, answer.text
    return JobAnswer.model_validate_json(answer.content)


def ended(http, headers, identity: str, seconds: float = 60) -> JobAnswer:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        job = JobAnswer.model_validate_json(http.get(f"/v1/jobs/{identity}", headers=headers).content)
        if job.state in ("done", "cancelled"):
            return job
        time.sleep(0.1)
    raise AssertionError(f"the job did not end within {seconds} s: {job}")


def results(http, headers, identity: str) -> list[JobResult]:
    text = http.get(f"/v1/jobs/{identity}/results", headers=headers).text
    return [JobResult.model_validate_json(line) for line in text.splitlines()]


@pytest.mark.ray
def test_a_job_has_the_answers_that_a_caller_has_who_waits(desk, http, ann, picture):
    pictures = [picture(people=1 + index % 3) for index in range(5)]
    job = posted(http, ann, [*pictures, b"no picture"], hypotheses="4", seed="3")
    assert (job.pictures, job.failed) == (6, 0)
    job = ended(http, ann, job.id)
    assert (job.state, job.finished, job.failed) == ("done", 6, 1)
    lines = results(http, ann, job.id)
    assert [line.index for line in lines] == list(range(6))
    assert lines[5].picture.error is not None and lines[5].picture.error.code == "not_an_image"
    for line, data in zip(lines[:5], pictures, strict=True):
        fields = {"hypotheses": "4", "seed": "3"}
        waited = http.post("/v1/recover", files={"file": data}, data=fields, headers=ann).json()
        assert json.loads(line.picture.model_dump_json()) == waited["pictures"][0]
        assert line.models["base"] == "fake:1" and line.body_model == "fake-body"


@pytest.mark.ray
def test_the_client_hands_in_asks_after_and_takes_back(desk, ann, picture):
    with Client(desk.url, api_key=ann["Authorization"].removeprefix("Bearer "), retries=3) as client:
        job = client.add_job(
            [picture(people=1), b"no picture"], hypotheses=3, outputs=["hypotheses", "meshes"]
        )
        give_up = time.monotonic() + 60
        while client.job(job.id).state != "done" and time.monotonic() < give_up:
            time.sleep(0.2)
        good, bad = client.job_results(job.id)
        assert (good.index, len(good.picture.people)) == (0, 1) and good.faces_base64 is not None
        assert bad.picture.error is not None and bad.faces_base64 is None
        taken_back = client.cancel_job(client.add_job([picture(people=1)] * 20).id)
        assert client.job(taken_back.id).state in ("cancelled", "done")


@pytest.mark.ray
def test_a_job_is_nobody_elses_business(http, ann, bob, picture):
    job = posted(http, ann, [picture()])
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/results")):
        answer = http.request(method, f"/v1/jobs/{job.id}{path}", headers=bob)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert ended(http, ann, job.id).state == "done"


@pytest.mark.ray
def test_a_job_is_taken_back(http, ann, picture):
    job = posted(http, ann, [picture(people=1, delay_ms=500)] * 20)
    cancelled = http.delete(f"/v1/jobs/{job.id}", headers=ann)
    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    quick = posted(http, ann, [picture()])
    assert ended(http, ann, quick.id, seconds=5).state == "done", "the cancelled one is still in the way"
    assert JobAnswer.model_validate_json(http.get(f"/v1/jobs/{job.id}", headers=ann).content).finished < 20


@pytest.mark.ray
def test_limits_of_jobs_hold(http, ann, picture):
    files = [("file", ("p", picture()))] * 31
    answer = http.post("/v1/jobs", files=files, headers=ann)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_many_images")
    answer = http.post("/v1/jobs", files={"file": b"x" * 1_100_000}, headers=ann)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def replica_pids(name: str) -> list[int]:
    """Processes of this test's own Ray that hold replicas of the deployment."""
    own = psutil.Process().children(recursive=True)
    return [each.pid for each in own if each.name().startswith("ray::") and f":{name}" in each.cmdline()[0]]


@pytest.mark.ray
@pytest.mark.parametrize("victim", ["Jobs", "Recovery"])
def test_a_job_survives_the_death_of_replicas(http, ann, picture, victim):
    pictures = [picture(people=1 + index % 2, delay_ms=200) for index in range(10)]
    job = posted(http, ann, pictures, seed="1")
    while JobAnswer.model_validate_json(http.get(f"/v1/jobs/{job.id}", headers=ann).content).finished < 2:
        time.sleep(0.05)
    [pid] = replica_pids(victim)
    os.kill(pid, signal.SIGKILL)
    job = ended(http, ann, job.id, seconds=120)
    assert (job.finished, job.failed) == (10, 0)
    lines = results(http, ann, job.id)
    assert [len(line.picture.people) for line in lines] == [1 + index % 2 for index in range(10)]
    assert [line.index for line in lines] == list(range(10))
