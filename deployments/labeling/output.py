"""The folder that a run writes, on a disk or in a bucket: ``run.json``, ``rows/*.parquet``, ``attempts/*.json``.

Each start of the command is an attempt, and a part's name says whose it is. A part counts if the attempt after it has
found it and written so down, or if it is the last attempt's. Whatever a killed attempt's workers still write later
isn't on that list, and is removed: no row comes twice.
"""

import errno
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as arrow_fs

from alignhmr.core.errors import InputError, SetupError
from alignhmr.deployments.labeling.summaries import summary
from alignhmr.deployments.storage import open_location

RECORD, ROWS, ATTEMPTS, HEARTBEAT = "run.json", "rows", "attempts", "heartbeat.json"
SUMMARY_KEY = b"alignhmr.summary"
STALE_S = 120.0
"""After so long without a sign of life a run on another machine is taken for dead."""
_PART = re.compile(r"part-(\d{4,})-[0-9a-f]{20}\.parquet")
_WRITES, _WAIT_S = 4, 1.0


@dataclass(frozen=True)
class Output:
    """A run's folder. It travels to the workers."""

    location: str
    filesystem: arrow_fs.FileSystem
    path: str
    attempt: int = 0

    @classmethod
    def at(cls, location: str) -> "Output":
        filesystem, path = open_location(location)
        if filesystem.get_file_info(path).type == arrow_fs.FileType.File:
            raise InputError(f"{location!r} is a file; give a folder to write the rows into")
        return cls(location, filesystem, path)

    def of(self, attempt: int) -> "Output":
        return Output(self.location, self.filesystem, self.path, attempt)

    def record(self) -> dict[str, Any] | None:
        """What ``run.json`` says, or None without one."""
        return self.read_json(RECORD)

    def read_json(self, name: str) -> Any:
        try:
            with self.filesystem.open_input_stream(f"{self.path}/{name}") as file:
                return json.loads(file.read())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise InputError(
                f"{self.location}/{name} isn't JSON ({error}); remove it or choose another --out"
            ) from error

    def write_json(self, name: str, value: Any) -> None:
        text = json.dumps(value, indent=2 if name == RECORD else None, ensure_ascii=False) + "\n"
        try:
            self.write(name, lambda file: file.write(text.encode()))
        except OSError as error:
            raise _unwritable(self.location, error) from error

    def write_record(self, record: Mapping[str, Any]) -> None:
        self.write_json(RECORD, record)

    def make_folders(self) -> None:
        try:
            for name in (ROWS, ATTEMPTS):
                self.filesystem.create_dir(f"{self.path}/{name}")
        except OSError as error:
            raise SetupError(f"{self.location!r} can't be written: {error}; choose another --out") from error

    def clear(self) -> None:
        """Removes what a run writes, never the folder itself or anything else in it."""
        for name in (ROWS, ATTEMPTS):
            if self.filesystem.get_file_info(f"{self.path}/{name}").type != arrow_fs.FileType.NotFound:
                self.filesystem.delete_dir(f"{self.path}/{name}")
        for name in (RECORD, HEARTBEAT):
            if self.filesystem.get_file_info(f"{self.path}/{name}").type == arrow_fs.FileType.File:
                self.filesystem.delete_file(f"{self.path}/{name}")

    def empty(self) -> bool:
        return not self._entries()

    def write_part(self, table: pa.Table) -> dict[str, Any]:
        """Writes the rows as one Parquet file and says what is in it. Another try, from other hands, gives the same
        name; storage that fails is asked again a few times."""
        name = f"part-{self.attempt:04}-{_rows_digest(table)[:20]}.parquet"
        told = summary(table)
        told["shown"] = [shown | {"file": name} for shown in told["shown"]]
        metadata = {**(table.schema.metadata or {}), SUMMARY_KEY: json.dumps(told)}
        marked = table.replace_schema_metadata(metadata)

        def write(file: Any) -> None:
            pq.write_table(marked, file, compression="zstd")

        for trial in range(_WRITES):
            try:
                self.write(f"{ROWS}/{name}", write)
                break
            except OSError as error:
                if (
                    error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
                    or trial == _WRITES - 1
                ):
                    raise _unwritable(self.location, error) from error
                time.sleep(_WAIT_S * 2**trial)
        return {"file": name, **told}

    def parts(self) -> list[str]:
        """Names of all whole parts, counted or not, in order."""
        names = (path.rpartition("/")[2] for path in self._entries(ROWS))
        return sorted(name for name in names if _PART.fullmatch(name))

    def counted_parts(self, attempt: int) -> list[str]:
        """Parts that count when this was the last attempt."""
        kept = set(self.read_json(f"{ATTEMPTS}/{attempt:04}.json") or ())
        return [name for name in self.parts() if name in kept or attempt_of(name) == attempt]

    def keep_only(self, names: Iterable[str]) -> int:
        """Removes every other file among the rows; returns how many there were."""
        wanted = set(names)
        lost = [path for path in self._entries(ROWS) if path.rpartition("/")[2] not in wanted]
        for path in lost:
            try:
                self.filesystem.delete_file(path)
            except FileNotFoundError:
                continue
        return len(lost)

    def open_part(self, name: str) -> pq.ParquetFile:
        return pq.ParquetFile(self.filesystem.open_input_file(f"{self.path}/{ROWS}/{name}"))

    def beat(self, told: Mapping[str, Any]) -> None:
        """A sign of life, and how far the attempt is."""
        self.write_json(HEARTBEAT, {"attempt": self.attempt} | sign_of_life() | dict(told))

    def check_alone(self) -> None:
        """InputError where another process is at work in this folder."""
        beat = self.read_json(HEARTBEAT)
        if not beat or beat.get("ended"):
            return
        if beat["pid"] != os.getpid() and is_alive(beat):
            raise InputError(
                f"process {beat['pid']} on {beat['host']} is labelling into {self.location!r}; wait for it or end it"
                f" (if that machine is gone, wait {STALE_S:.0f} s)"
            )

    def write(self, name: str, write: Any) -> None:
        path = f"{self.path}/{name}"
        if not isinstance(self.filesystem, arrow_fs.LocalFileSystem):
            with self.filesystem.open_output_stream(path) as file:  # an object appears whole or not at all
                write(file)
            return
        # One name for each writer: a worker that was given up may still write beside its successor.
        unfinished = f"{path}.{os.getpid()}.partial"
        try:
            with self.filesystem.open_output_stream(unfinished) as file:
                write(file)
            self.filesystem.move(unfinished, path)
        except OSError:
            if os.path.exists(unfinished):
                os.unlink(unfinished)
            raise

    def _entries(self, below: str = "") -> list[str]:
        path = f"{self.path}/{below}" if below else self.path
        found = self.filesystem.get_file_info(arrow_fs.FileSelector(path, allow_not_found=True))
        # A bucket's listing may hold the folder itself as an empty object.
        return [info.path for info in found if info.path.strip("/") != path.strip("/")]


def sign_of_life() -> dict[str, Any]:
    """Who and when this is, for ``is_alive``."""
    return {
        "host": socket.gethostname(), "pid": os.getpid(), "born": _born(os.getpid()), "time": time.time(),
    }  # fmt: skip


def is_alive(beat: Mapping[str, Any]) -> bool:
    """Whether the process that gave this sign of life is still there; on another machine, as far as one can know."""
    if beat["host"] == socket.gethostname():
        # A number may have gone to another process since: the time of birth tells.
        return _born(beat["pid"]) == beat.get("born")
    return time.time() - beat["time"] < STALE_S


def attempt_of(part: str) -> int:
    found = _PART.fullmatch(part)
    assert found, part
    return int(found.group(1))


def _born(pid: int) -> float | None:
    """When the process began; None where there is none."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def _unwritable(location: str, error: OSError) -> SetupError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return SetupError(
            f"there is no room left in {location!r}; make room and run the same command again to go on"
        )
    return SetupError(
        f"{location!r} can't be written: {error}; mend that and run the same command again: it goes on where it stood"
    )


def _rows_digest(table: pa.Table) -> str:
    keys = zip(
        *(table.column(name).to_pylist() for name in ("image_sha256", "person_index", "uri")), strict=True
    )
    return hashlib.sha256("\n".join(sorted(map(repr, keys))).encode()).hexdigest()
