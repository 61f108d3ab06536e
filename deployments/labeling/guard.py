"""Keeps one bad item from taking its worker along for ever: dead or stuck workers are traced to what they held.

A worker says what it begins and what it has ended. What a dead worker left behind is tried alone; what kills its
worker ``tries`` times, or takes longer than the time limit, becomes an error row. A stuck worker can't be talked to
(the loop is in a decoder's C code): it ends itself, and Ray starts another one. Where the loop lets no other thread
run, faulthandler, which needs none of Python, ends it later.
"""

import faulthandler
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from ray.actor import ActorHandle

from alignhmr.deployments.labeling.ledger import ALONE, FRESH
from alignhmr.deployments.logs import about

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
NOTHING: tuple[str, float] = "", float("inf")
"""What is watched, and until when; read and written whole."""
_MESSAGES = {
    "worker_killed": "its worker died of it, again and again",
    "timed_out": "it took longer than the time limit",
}


class Guard:
    """One stage's, in one worker."""

    def __init__(self, ledger: ActorHandle, stage: str, limit_s: float | None = None) -> None:
        self.ledger, self.stage, self.limit_s = ledger, stage, limit_s
        self._held, self._armed = NOTHING, 0.0
        if limit_s is not None:
            threading.Thread(target=self._watch, daemon=True, name=f"watch-{stage}").start()

    def run(
        self, items: Sequence[Item], keys: Sequence[str], work: Callable[[Sequence[Item]], list[Result]],
        failed: Callable[[Item, str, str], Result],
    ) -> list[Result]:  # fmt: skip
        """``work`` of each item, in their order; ``failed`` of those that were set aside (code and message)."""
        import ray

        if not items:
            return []
        verdicts = ray.get(self.ledger.begin.remote(self.stage, list(keys)))
        try:
            return self._run(items, keys, verdicts, work, failed)
        finally:
            self._armed = 0.0
            faulthandler.cancel_dump_traceback_later()

    def _run(self, items, keys, verdicts, work, failed):  # as ``run``
        import ray

        results: dict[int, Any] = {}
        fresh = [index for index, verdict in enumerate(verdicts) if verdict == FRESH]
        for index, result in zip(
            fresh, work([items[index] for index in fresh]) if fresh else (), strict=True
        ):
            results[index] = result
        # Those are safe from now on, whatever the others do.
        self.ledger.end.remote(self.stage, [keys[index] for index in fresh])
        for index, verdict in enumerate(verdicts):
            if verdict == ALONE:
                ray.get(self.ledger.begin_alone.remote(self.stage, keys[index]))
                (results[index],) = work([items[index]])
                self.ledger.end.remote(self.stage, [keys[index]])
            elif verdict != FRESH:
                results[index] = failed(items[index], verdict, _MESSAGES[verdict])
        return [results[index] for index in range(len(items))]

    @contextmanager
    def watching(self, key: str) -> Iterator[None]:
        """What happens inside concerns this item, and may take as long as the limit."""
        if self.limit_s is not None:
            now = time.monotonic()
            self._held = key, now + self.limit_s
            if now - self._armed > self.limit_s / 2:
                self._armed = now
                faulthandler.dump_traceback_later(3 * self.limit_s, exit=True, file=sys.__stderr__ or 2)
        try:
            with about(row=key):
                yield
        finally:
            self._held = NOTHING

    def _watch(self) -> None:
        import ray

        assert self.limit_s is not None
        while True:
            time.sleep(min(1.0, self.limit_s / 4))
            key, until = self._held
            if time.monotonic() > until:
                said = {"row": key, "stage": self.stage}
                log.error(
                    "%s has taken more than %g s at stage %s", key, self.limit_s, self.stage, extra=said
                )
                try:
                    ray.get(self.ledger.set_aside.remote(self.stage, key, "timed_out"), timeout=30)
                finally:
                    os.kill(os.getpid(), signal.SIGKILL)
