"""Jobs on storage, as files: what is there is what is known, so that nothing is lost with a process.

    LOCATION/open/ID                what a worker has still to do; gone once all is done, or cancelled
    LOCATION/jobs/ID/job.json       what was asked for
    LOCATION/jobs/ID/pictures/N     encoded bytes, as they came
    LOCATION/jobs/ID/results/N.STATE.json   one JobResult; STATE is 'ok' or 'error'
    LOCATION/jobs/ID/cancelled      nobody wants the rest

A picture without a result is work. Two workers at one job do some work twice, to the same end: answers are the same.
"""

import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

from pyarrow import fs as arrow_fs
from pydantic import BaseModel, ConfigDict

from alignhmr.core.errors import InputError
from alignhmr.deployments.serving.schemas import JobAnswer, JobResult, Options
from alignhmr.deployments.storage import open_location, write_whole

_ID = re.compile(r"[0-9a-f]{32}")


class Job(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    pictures: int
    options: Options
    created: datetime
    owner: str | None
    """Name of the key that asked; None in an open service."""


class JobStore:
    """Blocking: for threads, not for an event loop."""

    def __init__(self, location: str) -> None:
        self.filesystem, self.root = open_location(location)

    def add(self, pictures: list[bytes], options: Options, owner: str | None) -> Job:
        """A new job, which is work from the moment it is whole."""
        job = Job(
            id=uuid.uuid4().hex,
            pictures=len(pictures),
            options=options,
            created=datetime.now(UTC),
            owner=owner,
        )
        for index, data in enumerate(pictures):
            self._write(f"jobs/{job.id}/pictures/{index:06d}", data)
        self._write(f"jobs/{job.id}/job.json", job.model_dump_json().encode())
        self._write(f"open/{job.id}", b"")
        return job

    def find(self, identity: str, owner: str | None) -> Job:
        """InputError where there is no such job, or it is somebody else's: that must look the same."""
        job = self.read(identity) if _ID.fullmatch(identity) else None
        if job is None or job.owner != owner:
            raise InputError(f"there is no job {identity[:40]!r}; check its id", code="not_found")
        return job

    def read(self, identity: str) -> Job | None:
        text = self._read(f"jobs/{identity}/job.json")
        return None if text is None else Job.model_validate_json(text)

    def open(self) -> list[Job]:
        """What is still to do, oldest first."""
        found = (self.read(name) for name in self._names("open"))
        return sorted((job for job in found if job is not None), key=lambda job: job.created)

    def left(self, job: Job) -> list[int]:
        """Pictures that have no result; none of a job that was cancelled."""
        if self._there(f"jobs/{job.id}/cancelled"):
            return []
        done = {int(name.partition(".")[0]) for name in self._names(f"jobs/{job.id}/results")}
        return [index for index in range(job.pictures) if index not in done]

    def picture(self, job: Job, index: int) -> bytes | None:
        """Its bytes; None where somebody has deleted it."""
        return self._read(f"jobs/{job.id}/pictures/{index:06d}")

    def finish(self, job: Job, result: JobResult) -> None:
        """Keeps one picture's result."""
        state = "ok" if result.picture.error is None else "error"
        self._write(
            f"jobs/{job.id}/results/{result.index:06d}.{state}.json", result.model_dump_json().encode()
        )

    def close(self, job: Job) -> None:
        """Nothing of it is work any more."""
        if self._there(f"open/{job.id}"):
            self.filesystem.delete_file(f"{self.root}/open/{job.id}")

    def cancel(self, job: Job) -> None:
        self._write(f"jobs/{job.id}/cancelled", b"")
        self.close(job)

    def answer(self, job: Job) -> JobAnswer:
        """How far it is."""
        names = self._names(f"jobs/{job.id}/results")
        cancelled = self._there(f"jobs/{job.id}/cancelled")
        started = "running" if names else "queued"
        state = "done" if len(names) == job.pictures else "cancelled" if cancelled else started
        return JobAnswer(
            id=job.id,
            state=state,
            pictures=job.pictures,
            finished=len(names),
            failed=sum(name.endswith(".error.json") for name in names),
            created=job.created.isoformat(timespec="seconds"),
        )

    def results(self, job: Job) -> Iterator[bytes]:
        """A JSON line for each picture that has a result, in their order."""
        for name in self._names(f"jobs/{job.id}/results"):
            text = self._read(f"jobs/{job.id}/results/{name}")
            if text is not None:
                yield text + b"\n"

    def _names(self, folder: str) -> list[str]:
        found = self.filesystem.get_file_info(
            arrow_fs.FileSelector(f"{self.root}/{folder}", allow_not_found=True)
        )
        names = (info.base_name for info in found if info.type == arrow_fs.FileType.File)
        return sorted(name for name in names if not name.endswith(".unfinished"))

    def _there(self, path: str) -> bool:
        return self.filesystem.get_file_info(f"{self.root}/{path}").type == arrow_fs.FileType.File

    def _read(self, path: str) -> bytes | None:
        try:
            with self.filesystem.open_input_stream(f"{self.root}/{path}") as stream:
                return stream.read()
        except FileNotFoundError:
            return None

    def _write(self, path: str, data: bytes) -> None:
        write_whole(self.filesystem, f"{self.root}/{path}", data)
