"""The port is checked before anything starts, a service that can't start says why, one that runs stops."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
import ray

from alignhmr.core.errors import AlignhmrError, AssetError, InputError, PortError
from alignhmr.deployments.serving import command
from alignhmr.deployments.serving.address import is_loopback
from alignhmr.deployments.serving.settings import ServeSettings


def test_a_port_in_use_is_refused_with_the_next_action():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortError, match=f"port {port} on 127.0.0.1 is in use.*--port") as caught:
            command.start(port=port)
        assert caught.value.code == "port_in_use"
        with pytest.raises(PortError, match="in use"):
            command.check_port("0.0.0.0", port)
    assert command.check_port("127.0.0.1", port) == port


def test_port_0_is_a_free_one():
    assert command.check_port("127.0.0.1", 0) > 0


@pytest.mark.parametrize(
    ("host", "port", "code"),
    [
        ("127.0.0.1", 70_000, "bad_port"),
        ("127.0.0.1", -1, "bad_port"),
        ("no-such-host.invalid", 8000, "bad_host"),
        ("203.0.113.7", 8000, "bad_host"),
    ],
)
def test_an_impossible_address_is_refused(host, port, code):
    with pytest.raises(PortError) as caught:
        command.start(host, port)
    assert caught.value.code == code
    assert caught.value.exit_code == 4


def test_no_replicas_are_refused():
    with pytest.raises(InputError, match="replicas is 0"):
        command.start(port=0, replicas=0)


def test_a_model_that_does_not_load_is_reported_before_anything_starts():
    def load():
        raise AssetError("the weights are not there; run `alignhmr assets fetch`")

    with pytest.raises(AssetError, match="assets fetch"):
        command.start(port=0, load=load)
    with pytest.raises(AlignhmrError, match="no-such-model"):
        command.start(port=0, base="no-such-model")


@pytest.mark.parametrize(
    ("cores", "owns_ray", "replicas", "threads", "expected"),
    [
        (2, True, None, None, 2),
        (8, True, None, None, 2),  # up to four replicas
        (8, True, 8, None, 1),
        (1, True, None, None, 1),
        (8, False, None, None, 1),  # somebody's cluster: each replica has the one core it reserves
        (8, False, None, 3, 3),
        (2, True, 2, 4, 4),
    ],
)
def test_replicas_share_the_cores(monkeypatch, cores, owns_ray, replicas, threads, expected):
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": cores})
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    scaled = command._scaled(ServeSettings(), "cpu", replicas, threads, owns_ray)
    assert scaled.perception.threads == scaled.recovery.threads == expected


def test_what_listens_to_this_machine_only_is_known():
    assert is_loopback("127.0.0.1") and is_loopback("localhost") and is_loopback("::1")
    assert not is_loopback("0.0.0.0") and not is_loopback("::")


RUN = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("fake", sys.argv[1])
fake = importlib.util.module_from_spec(spec)
sys.modules["fake"] = fake
spec.loader.exec_module(fake)
from ray import cloudpickle
cloudpickle.register_pickle_by_value(fake)
from alignhmr.deployments.serving import build, command
build.load_recoverer = build.load_finder = lambda settings: fake.FakeRecoverer()
command.run(port=int(sys.argv[2]), replicas=1)
"""


@pytest.mark.ray
def test_the_command_serves_until_sigterm_and_leaves_nothing(tmp_path):
    port = command.check_port("127.0.0.1", 0)
    fake = os.path.join(os.path.dirname(__file__), "fake_recoverer.py")
    arguments = [sys.executable, "-c", RUN, fake, str(port)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(3)]
            assert f"ready at http://127.0.0.1:{port}" in lines[1], lines
            assert "curl" in lines[2]
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=60).close()
            process.send_signal(signal.SIGTERM)
            rest, errors = process.communicate(timeout=90)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    assert "stopped" in rest
    assert "Traceback" not in errors, errors
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            command.check_port("127.0.0.1", port)
            break
        except PortError:
            time.sleep(0.2)
    assert command.check_port("127.0.0.1", port) == port
