"""Replicas that die, a service that ends, callers who give up: nobody gets a wrong answer, and none waits for ever."""

import importlib.util
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import httpx
import psutil
import pytest
import ray
from ray import serve

from alignhmr.deployments.serving.client import Client, RefusedError
from alignhmr.deployments.serving.command import APPLICATION, start
from alignhmr.deployments.serving.intake import Limits
from alignhmr.deployments.serving.readiness import PERCEPTION, running_replicas
from alignhmr.deployments.serving.settings import Pool, ServeSettings

pytestmark = pytest.mark.ray


@pytest.fixture
def started(ray_session, fake):
    """Starts services that are stopped in the end."""
    running = []

    def make(load=fake.FakeRecoverer, **settings):
        pool = settings.pop("pool", Pool(cpus_per_replica=0))
        settings = ServeSettings(perception=pool, recovery=pool, **settings)
        running.append(start(port=0, load=load, settings=settings))
        return running[-1]

    yield make
    if ray.is_initialized():  # else a test has stopped it
        running[-1].stop()


def _module(path: str) -> ModuleType:
    """A module of other tests."""
    file = Path(__file__).parents[1] / path
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def people_of(answer) -> list:
    return [picture.model_dump()["people"] for picture in answer.pictures]


def pid_of_perception() -> int:
    """Where people are found: the state API would need Ray's dashboard."""
    handle = serve.get_deployment_handle(PERCEPTION, APPLICATION)
    return int(handle.detector.remote().result().split("pid-")[1].split(":")[0])


@pytest.mark.parametrize("ingresses", [1, 2])
def test_shutdown_in_the_middle_of_requests_loses_none_that_were_accepted(started, picture, ingresses):
    pool = Pool(cpus_per_replica=0, max_ongoing=8, max_queued=8)
    service = started(pool=pool, ingress_replicas=ingresses)
    client = Client(service.url)
    expected = [people_of(client.recover(picture(people=2), seed=i)) for i in range(6)]
    late = []

    def ask_on() -> None:
        time.sleep(0.5)
        while not ended.is_set():
            try:
                late.append(httpx.get(service.url + "/readyz", timeout=30).status_code)
            except httpx.TransportError:
                late.append(0)
            time.sleep(0.2)

    ended = threading.Event()
    with ThreadPoolExecutor(8) as threads:
        slow = picture(people=2, delay_ms=400)
        jobs = [threads.submit(client.recover, slow, seed=i) for i in range(6)]
        time.sleep(0.8)
        asker = threads.submit(ask_on)
        service.stop()
        ended.set()
        answers = [people_of(job.result()) for job in jobs]
        asker.result()
    # The delay is no part of a fake's answer but for the detector's name, which isn't told.
    assert answers == expected
    assert 503 in late, "who comes too late is told so"
    assert set(late[late.index(503) :]) <= {404, 503, 0}, late


def test_work_that_nobody_waits_for_is_not_done(started, picture):
    service = started(limits=Limits(deadline_s=1.3))
    client = Client(service.url)
    client.recover(picture())
    alone = {"hypotheses": 100, "refine": True}  # a batch is full with one of them
    with ThreadPoolExecutor(8) as threads:
        slow = picture(people=1, delay_ms=800)
        jobs = [threads.submit(client.recover, slow, seed=i, **alone) for i in range(8)]
        codes = []
        for job in jobs:
            try:
                codes.append(job.result() and "ok")
            except RefusedError as error:
                codes.append(error.code)
    assert codes.count("ok") >= 1 and codes.count("deadline") >= 5, codes
    began = time.monotonic()
    Client(service.url, retries=3).recover(picture())
    assert time.monotonic() - began < 3.0, "eight times 800 ms stood in the way"


def test_a_model_that_no_longer_answers_is_replaced(started, picture, fake):
    service = started()
    client = Client(service.url, retries=5)
    expected, pid = people_of(client.recover(picture(), seed=1)), client.models().models["pid"]
    with pytest.raises(RefusedError, match="failed on this request"):
        client.recover(picture(fault=fake.FAIL))
    time.sleep(5)
    assert client.models().models["pid"] == pid, "a picture was at fault, not the model"
    with pytest.raises(RefusedError, match="failed on this request"):
        client.recover(picture(fault=fake.SICKEN))
    give_up = time.monotonic() + 90
    while time.monotonic() < give_up:
        try:
            if client.models().models["pid"] != pid:
                break
        except RefusedError as error:
            assert error.status == 503, error
        time.sleep(0.5)
    assert people_of(client.recover(picture(), seed=1)) == expected
    assert client.models().models["pid"] != pid


def test_no_broken_picture_is_more_than_its_own_error(started, fake, tmp_path):
    corpus = _module("labeling/broken_corpus.py")
    codes = corpus.write_corpus(tmp_path, each=3)
    client = Client(started(load=fake.Blind).url)
    pid = client.models().models["pid"]
    for name, code in codes.items():
        path = tmp_path / name
        if not path.is_file():
            continue
        try:
            client.recover(path.read_bytes())
            told = None
        except RefusedError as error:
            assert error.status in (400, 413, 415, 422), (name, error.status)
            told = error.code
        assert code in (told, corpus.ANY, corpus.READ) or told in ("too_small", "too_large"), (
            name,
            code,
            told,
        )
    assert client.models().models["pid"] == pid


@pytest.mark.slow
def test_memory_is_flat_over_many_requests(started, picture):
    service = started(pool=Pool(cpus_per_replica=0, max_ongoing=8, max_queued=32))
    data = [picture(people=index % 4, size=(200 + index, 160)) for index in range(20)]

    def ask(client: httpx.Client, count: int) -> None:
        for index in range(count):
            outputs = "json,glb" if index % 10 == 0 else "json"
            answer = client.post(
                "/v1/recover", files={"file": data[index % 20]}, data={"outputs": outputs, "hypotheses": "4"}
            )
            assert answer.status_code == 200, answer.text

    def mb() -> float:
        replicas = [
            each for each in psutil.Process().children(recursive=True) if "ServeReplica" in each.name()
        ]
        assert len(replicas) == 3
        return sum(each.memory_full_info().uss for each in replicas) / 2**20

    with ThreadPoolExecutor(4) as threads, httpx.Client(base_url=service.url, timeout=60) as client:
        before = 0.0
        for hundreds in (10, 40):  # the first thousand fills caches
            list(threads.map(lambda _: ask(client, 100), range(hundreds)))
            grown, before = mb() - before, mb()
    assert grown < 12, f"{grown:.1f} MB in 4,000 requests"


@pytest.mark.slow
def test_perception_killed_under_load_gives_no_wrong_answer_and_comes_back(started, picture):
    service = started(pool=Pool(cpus_per_replica=0, max_ongoing=8, max_queued=32))
    client = Client(service.url, retries=20)
    expected = [people_of(client.recover(picture(people=1 + i % 3), seed=i)) for i in range(6)]
    outcomes, until = [], time.monotonic() + 12

    def caller(first: int) -> None:
        i = first
        while time.monotonic() < until:
            try:
                right = people_of(client.recover(picture(people=1 + i % 3), seed=i)) == expected[i]
                outcomes.append("right" if right else "wrong")
            except RefusedError as error:
                outcomes.append(error.code)
            i = (i + 1) % 6

    with ThreadPoolExecutor(4) as threads:
        callers = [threads.submit(caller, first) for first in range(4)]
        time.sleep(2)
        os.kill(pid_of_perception(), signal.SIGKILL)
        for each in callers:
            each.result()
    assert "wrong" not in outcomes
    assert set(outcomes) <= {"right", "replica_lost", "overloaded", "deadline"}, set(outcomes)
    assert len([outcome for outcome in outcomes if outcome != "right"]) <= 8
    assert running_replicas(APPLICATION)[PERCEPTION] == 1
    assert people_of(client.recover(picture(people=1), seed=0)) == expected[0]
