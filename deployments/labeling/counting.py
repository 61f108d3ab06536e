"""Live counts and busy seconds of a stage's calls, for the ledger and for Prometheus."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ray.actor import ActorHandle

from alignhmr.deployments.logs import about
from alignhmr.deployments.metrics import count_stage


@contextmanager
def counting(ledger: ActorHandle, stage: str) -> Iterator[Counter[str]]:
    """Reports the counts of one call, the seconds that it took and those that it computed, once it has succeeded."""
    counts: Counter[str] = Counter()
    start, computed = time.perf_counter(), time.process_time()
    with about(stage=stage):
        yield counts
    counts[f"seconds.{stage}"] += time.perf_counter() - start  # type: ignore[assignment]
    counts[f"computed.{stage}"] += time.process_time() - computed  # type: ignore[assignment]
    ledger.count.remote(dict(counts))
    count_stage(counts)
