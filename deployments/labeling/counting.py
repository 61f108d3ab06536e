"""Live counts and busy seconds of a stage's calls, for the ledger."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ray.actor import ActorHandle


@contextmanager
def counting(ledger: ActorHandle, stage: str) -> Iterator[Counter[str]]:
    """Reports the counts and the busy seconds of one call, once it has succeeded."""
    counts: Counter[str] = Counter()
    start = time.perf_counter()
    yield counts
    counts[f"seconds.{stage}"] += time.perf_counter() - start  # type: ignore[assignment]
    ledger.count.remote(dict(counts))
