"""Work that is cut into shards, on Ray: one process a worker, and errors of this program's own."""

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from alignhmr.core.errors import AlignhmrError, SetupError


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def check_slots(workers: int) -> None:
    """SetupError where Ray has room for fewer."""
    import ray

    have = ray.cluster_resources().get("CPU", 0.0)
    if workers > have:
        raise SetupError(
            f"{workers} workers need as many CPU slots, Ray has {have:g}; lower --workers or use a larger machine"
        )


def meaning(error: BaseException) -> AlignhmrError:
    """The error of this program that a failed run stands for."""
    seen: BaseException | None = error
    while seen is not None:
        # The cause first: Ray's own error may be of its class too, and its text is a traceback.
        for candidate in (getattr(seen, "cause", None), seen):
            if isinstance(candidate, AlignhmrError):
                return candidate
        seen = seen.__cause__
    text = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    return SetupError(f"a worker failed ({text}); run it again, whole shards are kept")


def each(make: Callable[[], Callable[[Any], Any]], tasks: Iterable[Any], workers: int) -> Iterator[Any]:
    """What the workers answer to each task, as it comes; Ray must be there.

    ``make`` builds a worker in its process. Tasks are taken from the iterable as workers become free, so that it
    may be long. A worker that dies is replaced and its task repeated twice. AlignhmrErrors of a worker come through.
    """
    import ray
    from ray.exceptions import RayError

    check_slots(workers)
    actor = ray.remote(_Worker).options(num_cpus=1, max_restarts=-1, max_task_retries=2)
    pool: list[Any] = [actor.remote(make) for _ in range(workers)]
    left = iter(tasks)
    busy: dict[Any, Any] = {}

    def give(worker: Any) -> None:
        for task in islice(left, 1):
            busy[worker.do.remote(task)] = worker

    try:
        for worker in 2 * pool:  # two tasks each, so that none waits for the next
            give(worker)
        while busy:
            [done], _ = ray.wait(list(busy), num_returns=1)
            worker = busy.pop(done)
            answer = ray.get(done)
            give(worker)
            yield answer
    except RayError as error:
        raise meaning(error) from error
    finally:
        for worker in pool:
            ray.kill(worker)


class _Worker:
    def __init__(self, make: Callable[[], Callable[[Any], Any]]) -> None:
        # Built with the first task: what an actor's constructor raises arrives as the text of an actor's death.
        self._make, self._work = make, None

    def do(self, task: Any) -> Any:
        self._work = self._work or self._make()
        return self._work(task)
