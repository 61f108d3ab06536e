"""Threads are a share of the machine."""

import os

import pytest

from alignhmr.core.perception.detector import own_threads


@pytest.mark.parametrize(
    ("cores", "processes", "threads"), [(1, 1, 1), (2, 1, 2), (2, 2, 1), (2, 3, 1), (16, 1, 2), (16, 8, 2)]
)
def test_threads_share_the_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, processes: int, threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert own_threads(processes) == threads
