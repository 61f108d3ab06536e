"""What the workers of one run must know of each other: who labels which picture, what kills workers, how far it is.

One actor for a run, beside the driver. If it is killed, Ray starts it again: who owns which bytes is on the disk,
the counts begin anew and are for the eye alone.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import pyarrow as pa
import ray
from ray.actor import ActorHandle

from alignhmr.deployments.labeling.books import BOOKS, Books
from alignhmr.deployments.labeling.plan import PLAN, Plan

FRESH, ALONE = "", "alone"


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class Ledger:
    """Claims, tries and counts."""

    def __init__(self, folder: str, tries: int) -> None:
        self._books = Books(Path(folder) / BOOKS, lasting=True)
        self._plan, self._tries = Plan(Path(folder) / PLAN), tries
        self._begun: dict[tuple[str, str], int] = {}
        self._set_aside: dict[tuple[str, str], str] = {}
        self._counts: Counter[str] = Counter()

    def entries(self, first: int, stop: int) -> pa.Table:
        """What lies at these places of the plan."""
        return self._plan.read(first, stop)

    def claim(self, pictures: Sequence[tuple[str, str]]) -> list[str]:
        """For each (sha256, uri), the location that labels those bytes: the first that asked.

        A retried task asks again for what is already its own, and gets it.
        """
        return self._books.claim(pictures)

    def begin(self, stage: str, keys: Sequence[str]) -> list[str]:
        """How each item is to be worked on: FRESH with the others, ALONE, or not at all, for the reason returned.

        An item that was begun and never ended was there when a worker died. It is tried alone from then on, until it
        is found out or has ended.
        """
        answers = []
        for key in keys:
            item = (stage, key)
            if item in self._set_aside:
                answers.append(self._set_aside[item])
            elif item not in self._begun:
                self._begun[item] = 1
                answers.append(FRESH)
            elif self._begun[item] < self._tries:
                answers.append(ALONE)
            else:
                answers.append(self._set_aside.setdefault(item, "worker_killed"))
        return answers

    def begin_alone(self, stage: str, key: str) -> None:
        self._begun[stage, key] = self._begun.get((stage, key), 0) + 1

    def end(self, stage: str, keys: Sequence[str], increments: Mapping[str, float] | None = None) -> None:
        for key in keys:
            self._begun.pop((stage, key), None)
        self._counts.update(increments or {})

    def set_aside(self, stage: str, key: str, code: str) -> None:
        """Whatever comes, this item isn't tried again."""
        self._set_aside[stage, key] = code

    def count(self, increments: Mapping[str, float]) -> None:
        """Adds to the live counts. A retried task counts twice: these are for the eye, not for the record."""
        self._counts.update(increments)

    def counts(self) -> dict[str, float]:
        return dict(self._counts)

    def pid(self) -> int:
        return os.getpid()


def open_ledger(folder: str | Path, tries: int = 3) -> ActorHandle:
    """A new ledger on this node, over the books and the plan in this folder. It ends with ``ray.kill``."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = Ledger.options(scheduling_strategy=here).remote(str(folder), tries)  # type: ignore[attr-defined]
    return cast(ActorHandle, actor)
