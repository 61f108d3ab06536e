"""Where people to prepare come from: made as they are needed, a folder of made people, a data set of one's own.

Each kind cuts itself into shards in the driver and gives a shard's pictures in a worker, one call a picture: what
goes wrong in that call is that picture's alone.
"""

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pyarrow import fs as arrow_fs

from alignhmr.core.errors import InputError
from alignhmr.core.synthetic.samples import Maker, make_sample
from alignhmr.core.synthetic.shards import MANIFEST, from_row, rows_of, sample_files
from alignhmr.core.truth.benchmarks import HELP, MADE, is_data_set, open_frames
from alignhmr.core.truth.frames import Frame
from alignhmr.core.truth.records import Sample
from alignhmr.deployments.shard_folder import Shard, plan
from alignhmr.deployments.storage import open_location
from alignhmr.deployments.wish import Wish
from alignhmr.training.sightings import NO_BODY, NO_JOINTS, reason_left_out


@dataclass(frozen=True)
class Portion(Shard):
    """A shard's pictures, as a worker is told of them."""

    frames: tuple[Frame, ...] = ()
    """Of a data set; the other sources know their pictures by number."""


class PictureSource(Protocol):
    """Travels to the workers."""

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the pictures and their truth."""
        ...

    @property
    def count(self) -> int | None:
        """Pictures; None until the last was read."""
        ...

    def portions(self, shard_pictures: int) -> Iterator[Portion]:
        """In the driver: what there is to do."""
        ...

    def pictures(self, portion: Portion) -> Iterator[Callable[[], Sample]]:
        """In a worker: a portion's pictures, in order."""
        ...


def open_source(
    name: str, *, split: str | None = None, count: int | None = None, seed: int = 0, motion: Path | None = None,
    backgrounds: Path | None = None,
) -> PictureSource:  # fmt: skip
    """The source of that name. InputError where there is none, or nobody in it whom training can learn from."""
    if count is not None and count < 1:
        raise InputError(f"{count} pictures were asked for; ask for at least 1, or leave the count out")
    if name in MADE:
        if count is None:
            raise InputError(f"{name} has no end; say with --count how many pictures to make")
        return MadePictures.of(
            Wish.of(name, split or "train", seed, Wish.size_px, motion, backgrounds), count
        )
    given = {"--split": split, "--motion": motion, "--backgrounds": backgrounds}
    for option in (option for option, value in given.items() if value is not None):
        raise InputError(f"{option} is for people who are made ({', '.join(MADE)}); leave it out for {name}")
    if is_data_set(name):
        return DataSetPictures.of(name, count, seed)
    if name == "pose2sim4":
        raise InputError(f"pose2sim4 {_UNKNOWN_BODY}")
    if name.startswith("s3://") or (name and ":" not in name and Path(name).is_dir()):
        return FolderPictures.of(name, count)
    raise InputError(f"unknown source {name!r}; choose {HELP}")


_UNKNOWN_BODY = (
    "has 2D or 3D points and no body parameters (pose and shape with joints), which training learns from; prepare"
    " made people, 3dpw:PATH, or emdb:PATH,BODIES"
)


@dataclass(frozen=True)
class MadePictures:
    """Drawn where they are needed, as `alignhmr synth` would."""

    wish: Wish
    count: int
    identity: dict[str, Any]
    _maker: list[Maker] = field(default_factory=list)
    """Of this process, once it is needed."""

    @classmethod
    def of(cls, wish: Wish, count: int) -> "MadePictures":
        return cls(wish, count, wish.identity(wish.maker()))  # refuses here what can't be drawn

    def portions(self, shard_pictures: int) -> Iterator[Portion]:
        return (Portion(shard.start, shard.stop) for shard in plan(self.count, shard_pictures))

    def pictures(self, portion: Portion) -> Iterator[Callable[[], Sample]]:
        if not self._maker:
            self._maker.append(self.wish.maker())
        return (partial(self._make, index) for index in range(portion.start, portion.stop))

    def _make(self, index: int) -> Sample:
        return make_sample(self._maker[0], index).sample


@dataclass(frozen=True)
class FolderPictures:
    """The first ``count`` samples of a folder that `alignhmr synth` wrote."""

    filesystem: arrow_fs.FileSystem
    files: tuple[tuple[str, int], ...]
    """Path and number of samples, in order."""
    count: int
    identity: dict[str, Any]

    @classmethod
    def of(cls, location: str, count: int | None) -> "FolderPictures":
        filesystem, path = open_location(location)
        files = tuple((file, _samples_in(file)) for file in sample_files(filesystem, path))
        known = sum(number for _, number in files)
        identity = {"made": _folder_digest(filesystem, path, files)}
        return cls(filesystem, files, known if count is None else min(count, known), identity)

    def portions(self, shard_pictures: int) -> Iterator[Portion]:
        return (Portion(shard.start, shard.stop) for shard in plan(self.count, shard_pictures))

    def pictures(self, portion: Portion) -> Iterator[Callable[[], Sample]]:
        start = 0
        for path, number in self.files:
            first, last = max(portion.start - start, 0), min(portion.stop - start, number)
            start += number
            if first < last:
                for row in itertools.islice(rows_of(self.filesystem, path), first, last):
                    yield partial(from_row, row)


@dataclass(frozen=True)
class DataSetPictures:
    """The annotated pictures of a data set; annotations are read in the driver, pictures in the workers."""

    name: str
    count: int | None
    seed: int
    identity: dict[str, Any]

    @classmethod
    def of(cls, name: str, count: int | None, seed: int) -> "DataSetPictures":
        # Whether bodies are known is a matter of the data set, not of the frame: some show it.
        frames = itertools.islice(open_frames(name), 100)
        reasons = Counter(reason_left_out(person) for frame in frames for person in frame.people)
        if set(reasons) <= {NO_BODY, NO_JOINTS}:
            raise InputError(f"{name} {_UNKNOWN_BODY}")
        drawn = {} if count is None else {"count": count, "seed": seed}
        return cls(name, count, seed, {"data_set": name, **drawn})

    def portions(self, shard_pictures: int) -> Iterator[Portion]:
        frames = open_frames(self.name, count=self.count, seed=self.seed)
        start = 0
        while part := tuple(itertools.islice(frames, shard_pictures)):
            yield Portion(start, start + len(part), part)
            start += len(part)

    def pictures(self, portion: Portion) -> Iterator[Callable[[], Sample]]:
        return (frame.read for frame in portion.frames)


def _samples_in(path: str) -> int:
    name = re.fullmatch(r"samples-(\d+)-(\d+)\.\w+", path.rpartition("/")[2])
    if not name:
        raise InputError(
            f"{path} isn't named as `alignhmr synth` names its files; name a folder that it wrote, with nothing else"
        )
    return int(name[2]) - int(name[1]) + 1


def _folder_digest(filesystem: arrow_fs.FileSystem, path: str, files: tuple[tuple[str, int], ...]) -> str:
    """What `alignhmr synth` says that the folder holds; without a finished record, names and sizes of its files."""
    try:
        with filesystem.open_input_stream(f"{path}/{MANIFEST}") as file:
            record = json.loads(file.read())
        if "digest" in record:
            return record["digest"]
    except (OSError, ValueError):
        pass
    infos = filesystem.get_file_info([file for file, _ in files])
    told = "".join(f"{info.base_name} {info.size}\n" for info in infos)
    return hashlib.sha256(told.encode()).hexdigest()
