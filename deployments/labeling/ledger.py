"""What the workers of one run must know of each other: who labels which picture, and how far the run is."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import cast

import ray
from ray.actor import ActorHandle


@ray.remote(num_cpus=0)
class Ledger:
    """One actor for a run. Holds a digest and a location for each picture read."""

    def __init__(self) -> None:
        self._owner: dict[bytes, str] = {}
        self._counts: Counter[str] = Counter()

    def claim(self, pictures: Sequence[tuple[str, str]]) -> list[str]:
        """For each (sha256, uri), the location that labels those bytes: the first that asked.

        A retried task asks again for what is already its own, and gets it.
        """
        return [self._owner.setdefault(bytes.fromhex(sha256), uri) for sha256, uri in pictures]

    def count(self, increments: Mapping[str, float]) -> None:
        """Adds to the live counts. A retried task counts twice: these are for the eye, not for the record."""
        self._counts.update(increments)

    def counts(self) -> dict[str, float]:
        return dict(self._counts)


def open_ledger() -> ActorHandle:
    """A new ledger. It ends with ``ray.kill``, or when its handle is gone."""
    return cast(ActorHandle, Ledger.remote())
