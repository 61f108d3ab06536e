"""The folder that ``alignhmr synth`` writes: shards named by the range of their indices, and ``synth.json``.

A shard appears whole or not at all, and its bytes follow from its name and the run's identity. So a run that was
cut short goes on with the shards that are missing, and a larger count keeps the full ones.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as arrow_fs

from alignhmr.core.errors import InputError, SetupError
from alignhmr.core.synthetic.shards import IDENTITY_KEY, MANIFEST, SUFFIX, parquet_bytes, tar_bytes
from alignhmr.deployments.storage import open_location

SHARD_SAMPLES = 50
"""Of one file. It doesn't depend on the number of workers, or the files would."""


@dataclass(frozen=True)
class Shard:
    """Samples ``start`` to ``stop - 1`` of a run."""

    start: int
    stop: int

    def name(self, format: str) -> str:
        return f"samples-{self.start:07d}-{self.stop - 1:07d}{SUFFIX[format]}"


def plan(count: int) -> list[Shard]:
    return [Shard(start, min(start + SHARD_SAMPLES, count)) for start in range(0, count, SHARD_SAMPLES)]


@dataclass(frozen=True)
class SynthOutput:
    """One run's folder, on a disk or in a bucket. It travels to the workers."""

    location: str
    filesystem: arrow_fs.FileSystem
    path: str
    identity: dict[str, Any]
    """What decides the bytes of every shard."""
    format: str

    @classmethod
    def at(cls, location: str, identity: dict[str, Any], format: str) -> "SynthOutput":
        filesystem, path = open_location(location)
        if filesystem.get_file_info(path).type == arrow_fs.FileType.File:
            raise InputError(f"{location!r} is a file; give a folder for the samples")
        return cls(location, filesystem, path, identity, format)

    def claim(self, count: int, *, overwrite: bool) -> None:
        """Makes the folder ready. InputError where it holds anything but this run of at most ``count`` samples, unless
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
                    f"{self.location!r} is not empty and holds no made people; choose another --out, or pass"
                    " --overwrite to write beside what is there"
                )
            there = record.get("identity", {})
            changed = [key for key in self.identity if there.get(key) != self.identity[key]]
            if changed:
                key = changed[0]
                raise InputError(
                    f"{self.location!r} holds other made people ({key} {there.get(key)} there, {self.identity[key]}"
                    " here); choose another --out, or pass --overwrite to replace them"
                )
            there_count = record.get("count", 0)
            if there_count > count:
                raise InputError(
                    f"{self.location!r} holds {there_count} samples of this run, and {count} were asked for; choose"
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
            with self.filesystem.open_input_stream(f"{self.path}/{MANIFEST}") as file:
                return json.loads(file.read())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise InputError(
                f"{self.location}/{MANIFEST} isn't JSON ({error}); remove it or choose another --out"
            ) from error

    def write_record(self, record: Mapping[str, Any]) -> None:
        self._write(MANIFEST, (json.dumps(record, indent=2) + "\n").encode())

    def kept(self, shard: Shard) -> str | None:
        """Digest of a shard that is there already and whole; None where it has to be made."""
        path = f"{self.path}/{shard.name(self.format)}"
        try:
            with self.filesystem.open_input_stream(path) as file:
                data = file.read()
        except FileNotFoundError:
            return None
        if self.format == "parquet":
            try:
                parquet = pq.ParquetFile(pa.BufferReader(data))
            except pa.ArrowInvalid:
                return None
            named = (parquet.schema_arrow.metadata or {}).get(IDENTITY_KEY)
            if named != self.named().encode() or parquet.metadata.num_rows != shard.stop - shard.start:
                return None
        return hashlib.sha256(data).hexdigest()

    def named(self) -> str:
        """The identity as one line."""
        return json.dumps(self.identity, sort_keys=True)

    def write_shard(self, shard: Shard, rows: list[dict[str, Any]]) -> str:
        """Writes the shard; returns its digest."""
        data = parquet_bytes(rows, self.named()) if self.format == "parquet" else tar_bytes(rows)
        self._write(shard.name(self.format), data)
        return hashlib.sha256(data).hexdigest()

    def keep_only(self, names: set[str]) -> int:
        """Removes shards of other ranges, and halves of files; never anything else."""
        endings = (*SUFFIX.values(), ".partial")
        lost = [
            path
            for path in self._entries()
            if (name := path.rpartition("/")[2]).startswith("samples-")
            and name.endswith(endings)
            and name not in names
        ]
        for path in lost:
            self.filesystem.delete_file(path)
        return len(lost)

    def _entries(self) -> list[str]:
        found = self.filesystem.get_file_info(arrow_fs.FileSelector(self.path, allow_not_found=True))
        return [info.path for info in found if info.path.strip("/") != self.path.strip("/")]

    def _write(self, name: str, data: bytes) -> None:
        path = f"{self.path}/{name}"
        if not isinstance(self.filesystem, arrow_fs.LocalFileSystem):
            with self.filesystem.open_output_stream(path) as file:  # an object appears whole or not at all
                file.write(data)
            return
        with self.filesystem.open_output_stream(f"{path}.partial") as file:
            file.write(data)
        self.filesystem.move(f"{path}.partial", path)
