"""The machine as the doctor sees it: ports that are taken, disks that are full, a GPU that torch can't use."""

import socket
from collections import namedtuple
from pathlib import Path

import psutil
import pytest
import torch

from alignhmr.deployments.doctor import machine

Usage = namedtuple("Usage", "total used free")


def test_a_port_that_is_taken_fails_and_says_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        first = next(machine.ports(serving=number))
        assert (first.name, first.state) == ("port", "fail")
        assert str(number) in first.said and "--port" in first.mend
    assert next(machine.ports(serving=number)).state == "ok"


def test_a_port_of_rays_own_that_is_taken_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(machine, "_RAY_PORTS", {taken.getsockname()[1]: "Ray's head"})
        states = [one.state for one in machine.ports(serving=_free())]
    assert states == ["ok", "warn"]


def _free() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize(("free_gib", "state"), [(0.2, "fail"), (4, "warn"), (40, "ok")])
def test_a_disk_is_judged_by_its_room(monkeypatch: pytest.MonkeyPatch, free_gib: float, state: str) -> None:
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: Usage(0, 0, int(free_gib * 2**30)))
    found = list(machine.disks())
    assert [one.state for one in found] == [state, state]
    assert all(bool(one.mend) == (state != "ok") for one in found)


def test_a_folder_that_is_not_there_yet_is_judged_by_its_disk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ALIGNHMR_CACHE", str(tmp_path / "a" / "b"))
    assert str(tmp_path / "a" / "b") in list(machine.disks())[1].said
    assert not (tmp_path / "a").exists(), "looking changes nothing"


def test_shared_memory_that_is_small_or_absent_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert machine.shared_memory(str(tmp_path / "absent")).state == "warn"
    whole = psutil.virtual_memory().total
    for share, state in ((0.1, "warn"), (0.5, "ok")):
        monkeypatch.setattr(machine.shutil, "disk_usage", lambda _, part=share: Usage(part * whole, 0, 0))
        found = machine.shared_memory()
        assert found.state == state and ("--shm-size=" in found.mend) == (state == "warn")


def test_few_open_files_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, state in ((1024, "warn"), (65536, "ok"), (-1, "ok")):
        monkeypatch.setattr(machine.resource, "getrlimit", lambda _, soft=limit: (soft, 65536))
        assert machine.open_files().state == state


def test_a_driver_beside_a_torch_for_cpus_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if torch.version.cuda is not None:
        pytest.skip("this torch is built for GPUs")
    assert machine.gpu().state == "ok"
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 580.1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = machine.gpu()
    assert found.state == "fail" and "driver 580.1" in found.said and "--torch-backend auto" in found.mend


def test_a_driver_that_does_not_answer_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexit 9\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert machine._driver() is None


@pytest.mark.parametrize(("answer", "state"), [(0, "ok"), (5, "warn"), (-1, "warn")])
def test_the_clock_is_what_the_kernel_says(monkeypatch: pytest.MonkeyPatch, answer: int, state: str) -> None:
    class Kernel:
        def __init__(self, *_: object, **__: object) -> None:
            self.adjtimex = lambda _: answer

    monkeypatch.setattr(machine.ctypes, "CDLL", Kernel)
    assert machine.clock().state == state


def test_this_machines_clock_gets_an_answer() -> None:
    assert machine.clock().state in ("ok", "warn")
