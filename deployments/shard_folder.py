"""A folder of shards that one run writes: a record of what it holds, and files that appear whole or not at all.

The bytes of a shard follow from its name and the run's identity. So a run that was cut short goes on with the
shards that are missing, and another run in the same folder is refused.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pyarrow import fs as arrow_fs

from alignhmr.core.errors import InputError, SetupError
from alignhmr.deployments.storage import open_location


@dataclass(frozen=True)
class Shard:
    """Pictures ``start`` to ``stop - 1`` of a run."""

    start: int
    stop: int


def plan(count: int, shard_pictures: int) -> list[Shard]:
    return [Shard(start, min(start + shard_pictures, count)) for start in range(0, count, shard_pictures)]


@dataclass(frozen=True)
class ShardFolder:
    """One run's folder, on a disk or in a bucket. It travels to the workers."""

    location: str
    filesystem: arrow_fs.FileSystem
    path: str
    identity: dict[str, Any]
    """What decides the bytes of every shard."""

    manifest: ClassVar[str]
    """Name of the record."""
    holds: ClassVar[str]
    """What the shards are of, in words."""
    prefix: ClassVar[str]
    """With which the names of shards begin."""
    endings: ClassVar[tuple[str, ...]]

    @staticmethod
    def place(location: str, holds: str) -> tuple[arrow_fs.FileSystem, str]:
        """Filesystem and path of the folder; InputError where a file is in its place."""
        filesystem, path = open_location(location)
        if filesystem.get_file_info(path).type == arrow_fs.FileType.File:
            raise InputError(f"{location!r} is a file; give a folder for the {holds}")
        return filesystem, path

    def claim(self, count: int | None, *, overwrite: bool) -> None:
        """Makes the folder ready. InputError where it holds anything but this run of at most ``count`` pictures, unless
        ``overwrite``."""
        try:
            self.filesystem.create_dir(self.path)
        except OSError as error:
            raise SetupError(f"{self.location!r} can't be written: {error}; choose another --out") from error
        entries = self._entries()
        record = self.record()
        if not overwrite and entries:
            if record is None:
                raise InputError(
                    f"{self.location!r} is not empty and holds no {self.holds}; choose another --out, or pass"
                    " --overwrite to write beside what is there"
                )
            there = record.get("identity", {})
            changed = [key for key in self.identity if there.get(key) != self.identity[key]]
            if changed:
                key = changed[0]
                raise InputError(
                    f"{self.location!r} holds other {self.holds} ({key} {there.get(key)} there, {self.identity[key]}"
                    " here); choose another --out, or pass --overwrite to replace them"
                )
            there_count = record.get("count") or 0
            if count is not None and there_count > count:
                raise InputError(
                    f"{self.location!r} holds {there_count} pictures of this run, and {count} were asked for; choose"
                    " another --out, or pass --overwrite to drop the others"
                )
        try:
            if overwrite and (record or {}).get("identity") != self.identity:
                self.keep_only(set())
            self.write_record({"status": "running", "identity": self.identity})
        except OSError as error:
            raise SetupError(f"{self.location!r} can't be written: {error}; choose another --out") from error

    def record(self) -> dict[str, Any] | None:
        try:
            with self.filesystem.open_input_stream(f"{self.path}/{self.manifest}") as file:
                return json.loads(file.read())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise InputError(
                f"{self.location}/{self.manifest} isn't JSON ({error}); remove it or choose another --out"
            ) from error

    def write_record(self, record: Mapping[str, Any]) -> None:
        self.write(self.manifest, (json.dumps(record, indent=2) + "\n").encode())

    def named(self) -> str:
        """The identity as one line."""
        return json.dumps(self.identity, sort_keys=True)

    def keep_only(self, names: set[str]) -> int:
        """Removes shards of other ranges, and halves of files; never anything else."""
        lost = [
            path
            for path in self._entries()
            if (name := path.rpartition("/")[2]).startswith(self.prefix)
            and name.endswith((*self.endings, ".partial"))
            and name not in names
        ]
        for path in lost:
            self.filesystem.delete_file(path)
        return len(lost)

    def write(self, name: str, data: bytes) -> None:
        path = f"{self.path}/{name}"
        if not isinstance(self.filesystem, arrow_fs.LocalFileSystem):
            with self.filesystem.open_output_stream(path) as file:  # an object appears whole or not at all
                file.write(data)
            return
        with self.filesystem.open_output_stream(f"{path}.partial") as file:
            file.write(data)
        self.filesystem.move(f"{path}.partial", path)

    def _entries(self) -> list[str]:
        found = self.filesystem.get_file_info(arrow_fs.FileSelector(self.path, allow_not_found=True))
        return [info.path for info in found if info.path.strip("/") != self.path.strip("/")]
