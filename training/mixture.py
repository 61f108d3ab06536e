"""Prepared people of several sources in one endless stream, each source by its weight; any batch at any time.

The stream's row number g depends on the seed and g alone: neither a resume nor the number of workers changes what
is learned. Of every ``CYCLE`` rows each source has exactly its share, in drawn order; a source goes through all of
its people before anyone comes again. Its shards come in drawn order, ``block_shards`` at a time, and rows are
permuted within such a block: so a file is read once an epoch, and no more than a block of each source is held.
"""

import hashlib
import json
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from pyarrow import fs as arrow_fs

from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.core.truth.predictions import same_body
from alignhmr.training.prefetch import prefetched
from alignhmr.training.sighting_shards import Shard, read_info, read_shard
from alignhmr.training.sightings import Sighting

CYCLE = 4096
"""Rows over which weights hold exactly; a source has at least one row of them."""
BLOCK_SHARDS = 4
MOST_SOURCES = 64
"""So that the largest can give up a row of a cycle for each of the others."""

OpenLocation = Callable[[str], tuple[arrow_fs.FileSystem, str]]
"""From a location to a filesystem and the path in it."""


def local_folder(location: str) -> tuple[arrow_fs.FileSystem, str]:
    return arrow_fs.LocalFileSystem(), str(Path(location).absolute())


@dataclass(frozen=True)
class ShardFile:
    """A file of a source that holds anyone."""

    name: str
    """Below the source's folder."""
    path: str
    rows: int
    bodies: tuple[str, ...]
    identity: str
    """As JSON with sorted keys."""


class Source:
    """The shards of one folder. Holds at most ``block_shards`` of them."""

    def __init__(self, location: str, seed: int, block_shards: int, open_location: OpenLocation) -> None:
        """InputError where there is no folder, nobody in it, or a file that can't be read."""
        self.location = location
        self.filesystem, folder = open_location(location)
        self.files = _files(location, self.filesystem, folder)
        self.rows = sum(file.rows for file in self.files)
        self._seed, self._block_shards = seed, block_shards
        self._forget()

    def _forget(self) -> None:
        self._held: OrderedDict[int, Shard] = OrderedDict()
        self._epoch_order = lru_cache(maxsize=2)(self._draw_order)
        self._block_order = lru_cache(maxsize=2)(self._draw_block)

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs; it reads shards for itself."""
        mine = ("_held", "_epoch_order", "_block_order")
        return {name: value for name, value in vars(self).items() if name not in mine}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._forget()

    def at(self, position: int) -> Sighting:
        """The person at that place of the source's own endless stream."""
        epoch, place = divmod(position, self.rows)
        _, starts = self._epoch_order(epoch)
        block = int(np.searchsorted(starts, place, side="right")) - 1
        shards, rows = self._block_order(epoch, block)
        inside = place - int(starts[block])
        return self._shard(int(shards[inside]))[int(rows[inside])]

    def _draw_order(self, epoch: int) -> tuple[Int[np.ndarray, "files"], Int[np.ndarray, "blocks"]]:
        """The files in the epoch's order, and the place at which each block of them begins."""
        order = _generator(self._seed, 0, epoch).permutation(len(self.files))
        counts = np.array([self.files[file].rows for file in order])
        starts = np.concatenate([[0], counts.cumsum()])[: -1 : self._block_shards]
        return order, starts

    def _draw_block(
        self, epoch: int, block: int
    ) -> tuple[Int[np.ndarray, "places"], Int[np.ndarray, "places"]]:
        """File and row at each place of a block."""
        order, _ = self._epoch_order(epoch)
        files = order[block * self._block_shards : (block + 1) * self._block_shards]
        counts = [self.files[file].rows for file in files]
        drawn = _generator(self._seed, 1, epoch, block).permutation(sum(counts))
        rows = np.concatenate([np.arange(count) for count in counts])
        return np.repeat(files, counts)[drawn], rows[drawn]

    def _shard(self, index: int) -> Shard:
        if index in self._held:
            self._held.move_to_end(index)
            return self._held[index]
        while len(self._held) >= self._block_shards:
            self._held.popitem(last=False)
        file = self.files[index]
        shard = read_shard(self.filesystem, file.path)
        if len(shard) != file.rows:
            raise InputError(
                f"{file.path} had {file.rows} people when training began and has {len(shard)} now; leave the folder"
                " alone while it is read"
            )
        self._held[index] = shard
        return shard


class Mixture:
    """Batches of people of all sources, by number. May be asked from several threads."""

    def __init__(
        self, parts: Sequence[tuple[str | Path, float]], *, seed: int = 0, block_shards: int = BLOCK_SHARDS,
        open_location: OpenLocation = local_folder,
    ) -> None:  # fmt: skip
        """``parts`` are folders of `alignhmr prepare` and the share of rows that each gives; shares are scaled to 1.

        InputError for no parts, a weight that isn't above 0, a folder without people, a file that can't be read;
        CompatibilityError where people of two body models would be mixed.
        """
        if not parts:
            raise InputError(
                "there is nothing to mix; name at least one folder written by `alignhmr prepare`"
            )
        for location, weight in parts:
            if not (math.isfinite(weight) and weight > 0):
                raise InputError(f"{location} has weight {weight}; weights are numbers above 0")
        self.seed = seed
        self.weights = [float(weight) for _, weight in parts]
        self.sources = [
            Source(str(location), _topic(seed, index), block_shards, open_location)
            for index, (location, _) in enumerate(parts)
        ]
        self.body = _one_body(self.sources)
        """Of everyone, as in ``Sighting.body``."""
        self._shares = _shares(np.array([weight for _, weight in parts], np.float64))
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.Lock()

    @property
    def digest(self) -> str:
        """Over names, plans and row counts of all files; not over where they lie."""
        digest = hashlib.sha256()
        for index, source in enumerate(self.sources):
            for file in source.files:
                digest.update(f"{index} {file.name} {file.rows} {file.identity}\n".encode())
        return digest.hexdigest()

    @property
    def about(self) -> list[dict[str, Any]]:
        """Weight, people and plans of each source, for a reader; not where they lie."""
        told = []
        for source, weight in zip(self.sources, self.weights, strict=True):
            plans = sorted({file.identity for file in source.files})
            told.append({"weight": weight, "people": source.rows, "plans": [_told(plan) for plan in plans]})
        return told

    def rows(self, k: int, batch_size: int, rank: int = 0, world: int = 1) -> list[Sighting]:
        """This worker's share of global batch k, which is rows ``k * batch_size`` on of the stream."""
        if batch_size % world:
            raise InputError(
                f"a batch of {batch_size} people can't be shared evenly by {world} workers; choose a multiple"
            )
        assert k >= 0 and 0 <= rank < world
        share = batch_size // world
        first = k * batch_size + rank * share
        with self._lock:
            return [self._at(number) for number in range(first, first + share)]

    def batches(
        self, batch_size: int, *, start: int = 0, rank: int = 0, world: int = 1, ahead: int = 2
    ) -> Iterator[list[Sighting]]:
        """Batches from ``start`` on without end; the next ``ahead`` are read meanwhile."""

        def stream() -> Iterator[list[Sighting]]:
            k = start
            while True:
                yield self.rows(k, batch_size, rank, world)
                k += 1

        return prefetched(stream(), ahead)

    def _at(self, number: int) -> Sighting:
        cycle, place = divmod(number, CYCLE)
        sources, ranks = _draw_cycle(self.seed, self._shares, cycle)
        source = int(sources[place])
        return self.sources[source].at(cycle * self._shares[source] + int(ranks[place]))


def _files(location: str, filesystem: arrow_fs.FileSystem, folder: str) -> list[ShardFile]:
    found = filesystem.get_file_info(arrow_fs.FileSelector(folder, allow_not_found=True, recursive=True))
    root = folder.rstrip("/") + "/"
    names = sorted(info.path.removeprefix(root) for info in found if info.is_file)
    names = [
        name
        for name in names
        if name.endswith(".parquet") and not any(part.startswith((".", "_")) for part in name.split("/"))
    ]
    if not names:
        raise InputError(
            f"{location} holds no prepared people (*.parquet); write them with `alignhmr prepare`"
        )
    files = []
    for name in names:
        info = read_info(filesystem, root + name)
        if info.rows:
            identity = json.dumps(info.identity, sort_keys=True)
            files.append(ShardFile(name, root + name, info.rows, info.bodies, identity))
    if not files:
        raise InputError(f"nobody is in the {len(names)} files of {location}; prepare more pictures")
    return files


def _told(identity: str) -> dict[str, Any]:
    plan = json.loads(identity)
    if "data_set" in plan:
        plan["data_set"] = plan["data_set"].partition(":")[0]  # what follows is a path
    return plan


def _one_body(sources: list[Source]) -> str:
    named = [(body, file.path) for source in sources for file in source.files for body in file.bodies]
    body, path = named[0]
    for other, other_path in named[1:]:
        if not same_body(body, other):
            raise CompatibilityError(
                f"{path} holds people of the body model {body} and {other_path} of {other}; train on one body model"
                " at a time"
            )
    return body


def _shares(weights: np.ndarray) -> tuple[int, ...]:
    """How many of ``CYCLE`` rows each source gives: rounded, at least one, the largest makes up for the rest."""
    if len(weights) > MOST_SOURCES:
        raise InputError(f"{len(weights)} sources were given; mix at most {MOST_SOURCES}")
    shares = np.maximum(1, np.round(weights / weights.sum() * CYCLE)).astype(int)
    shares[shares.argmax()] += CYCLE - shares.sum()
    return tuple(shares.tolist())


@lru_cache(maxsize=4)
def _draw_cycle(
    seed: int, shares: tuple[int, ...], cycle: int
) -> tuple[Int[np.ndarray, "cycle"], Int[np.ndarray, "cycle"]]:
    """Source of each row of a cycle, and how many of that source came before it in the cycle."""
    sources = _generator(seed, 2, cycle).permutation(np.repeat(np.arange(len(shares)), shares))
    ranks = np.empty_like(sources)
    for source, share in enumerate(shares):
        ranks[sources == source] = np.arange(share)
    return sources, ranks


def _topic(seed: int, source: int) -> int:
    """Another seed for each source: the same folder named twice doesn't come in the same order."""
    return int(_generator(seed, 3, source).integers(2**63))


def _generator(*numbers: int) -> np.random.Generator:
    return np.random.default_rng(numbers)
