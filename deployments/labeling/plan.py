"""What is to be labelled, on a disk: the entries of a listing that nobody has labelled yet, in batches.

Written once by the driver, read from anywhere in it. Neither holds more than a few batches in memory.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa

from alignhmr.deployments.labeling.books import Books
from alignhmr.deployments.labeling.sources import Entry

PLAN = "plan.arrow"
LISTED_SCHEMA = pa.schema(
    [("uri", pa.string()), ("file", pa.string()), ("at", pa.int64()), ("size", pa.int64())]
)
MOST_BLOCKS = 50_000
"""More would weigh on Ray's scheduler; blocks grow instead."""
_CHUNK = 4096


@dataclass(frozen=True)
class Planned:
    """What a plan holds."""

    listed: int
    """Pictures of the source, each location once."""
    todo: int
    digest: str
    """SHA-256 over the locations, in their order: tells whether two runs were given the same pictures by name."""
    batches: int

    def blocks(self) -> Iterator[tuple[int, int]]:
        """First batch, and the one after the last, of each block."""
        step = -(-self.batches // MOST_BLOCKS) or 1
        for first in range(0, self.batches, step):
            yield first, min(first + step, self.batches)


def write_plan(entries: Iterable[Entry], books: Books, path: Path, batch: int) -> Planned:
    """Writes the entries that the books haven't seen, ``batch`` at a time; all of them are seen afterwards."""
    listed, todo, batches, digest, waiting = 0, 0, 0, hashlib.sha256(), []
    repeated = Books()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, LISTED_SCHEMA) as writer:
        stream = iter(entries)
        while chunk := list(islice(stream, _CHUNK)):
            once = [
                entry for entry, new in zip(chunk, repeated.see(e.uri for e in chunk), strict=True) if new
            ]
            listed += len(once)
            digest.update("".join(f"{entry.uri}\n" for entry in once).encode())
            new = books.see(entry.uri for entry in once)
            waiting += [entry for entry, fresh in zip(once, new, strict=True) if fresh]
            while len(waiting) >= batch:
                writer.write_batch(_batch(waiting[:batch]))
                waiting, todo, batches = waiting[batch:], todo + batch, batches + 1
        if waiting:
            writer.write_batch(_batch(waiting))
            todo, batches = todo + len(waiting), batches + 1
    repeated.close()
    return Planned(listed, todo, digest.hexdigest(), batches)


class Plan:
    """Reads a plan."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, None

    def read(self, first: int, stop: int) -> pa.Table:
        """The entries of these batches."""
        if self._file is None:
            self._file = pa.ipc.open_file(pa.memory_map(str(self._path)))
        return pa.Table.from_batches([self._file.get_batch(index) for index in range(first, stop)])


def _batch(entries: list[Entry]) -> pa.RecordBatch:
    columns = zip(*entries, strict=True)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, LISTED_SCHEMA, strict=True)]
    return pa.record_batch(arrays, schema=LISTED_SCHEMA)
