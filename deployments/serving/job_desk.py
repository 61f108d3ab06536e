"""Where callers hand jobs in, ask after them and take them back; the work is done elsewhere (``job_worker.py``)."""

import asyncio
from collections.abc import Iterator

from fastapi import Request
from fastapi.responses import StreamingResponse
from ray.serve.handle import DeploymentHandle

from alignhmr.core.errors import InputError
from alignhmr.deployments.serving.admission import Allowance, charge
from alignhmr.deployments.serving.intake import Gate, read_query
from alignhmr.deployments.serving.job_store import Job, JobStore
from alignhmr.deployments.serving.schemas import JobAnswer
from alignhmr.deployments.serving.settings import ServeSettings


class Lines(StreamingResponse):
    """JSON lines, sent as they are read."""

    media_type = "application/x-ndjson"


class JobDesk:
    def __init__(self, worker: DeploymentHandle, settings: ServeSettings) -> None:
        jobs = settings.jobs
        assert jobs.location is not None
        self.worker, self.store = worker, JobStore(jobs.location)
        # A body is held in memory and on disk while it is read: few at once, and others than those who wait.
        self.gate = Gate(jobs.max_uploads, settings.limits.retry_after_s)
        self.limits = settings.limits.model_copy(
            update={
                "max_images": jobs.max_pictures,
                "max_body_bytes": jobs.max_body_bytes,
                "read_s": jobs.read_s,
            }
        )

    async def add(self, request: Request, allowance: Allowance | None) -> JobAnswer:
        """A new job, safe on storage when this returns."""
        with self.gate:
            query = await read_query(request, self.limits)
            charge(allowance, len(query.images))
            job = await asyncio.to_thread(self.store.add, query.images, query.options, _owner(allowance))
        self.worker.wake.remote()  # it would notice by itself, later
        return await asyncio.to_thread(self.store.answer, job)

    async def find(self, identity: str, allowance: Allowance | None) -> JobAnswer:
        return await asyncio.to_thread(self.store.answer, await self._job(identity, allowance))

    async def cancel(self, identity: str, allowance: Allowance | None) -> JobAnswer:
        job = await self._job(identity, allowance)
        await asyncio.to_thread(self.store.cancel, job)
        return await asyncio.to_thread(self.store.answer, job)

    async def results(self, identity: str, allowance: Allowance | None) -> Iterator[bytes]:
        return self.store.results(await self._job(identity, allowance))

    async def _job(self, identity: str, allowance: Allowance | None) -> Job:
        return await asyncio.to_thread(self.store.find, identity, _owner(allowance))


def job_desk(desk: JobDesk | None) -> JobDesk:
    """The desk, or an InputError where there is none."""
    if desk is None:
        message = (
            "this service keeps no jobs; ask /v1/recover, or start it with `alignhmr serve --jobs FOLDER`"
        )
        raise InputError(message, code="jobs_off")
    return desk


def _owner(allowance: Allowance | None) -> str | None:
    return None if allowance is None else allowance.key.name
