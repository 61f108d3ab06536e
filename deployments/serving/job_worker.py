"""Works through jobs on storage, a few pictures at a time, and steps back where callers are waiting.

One replica. When it dies the next one reads from storage what is left; a picture that was at work is looked at again.
"""

import asyncio
import contextlib
import logging

from ray.serve.handle import DeploymentHandle

from alignhmr.core.errors import InputError, ServiceError
from alignhmr.deployments.serving.answers import draw, faces_answer, picture_answer
from alignhmr.deployments.serving.asking import Models, together
from alignhmr.deployments.serving.job_store import Job, JobStore
from alignhmr.deployments.serving.messages import Look, Seen
from alignhmr.deployments.serving.schemas import JobResult
from alignhmr.deployments.serving.settings import ServeSettings

log = logging.getLogger("ray.serve.alignhmr")

POLL_S = 10.0
"""Storage is looked at so often for what nobody told of: jobs of another cluster, or of before a restart."""
RETRIES = 5
"""Of a picture that costs replicas their lives, or the deadline; 'overloaded' is waited out, however long."""


class JobWorker:
    def __init__(
        self, perception: DeploymentHandle, recovery: DeploymentHandle, settings: ServeSettings
    ) -> None:
        assert settings.jobs.location is not None
        self.models = Models(perception, recovery, settings)
        self.store, self.at_once = JobStore(settings.jobs.location), settings.jobs.at_once
        self._told = asyncio.Event()
        self._working = asyncio.create_task(self._work())

    async def wake(self) -> None:
        """There is a new job."""
        self._told.set()

    def check_health(self) -> None:
        """Serve puts another in the place of one that no longer works."""
        if self._working.done():
            raise RuntimeError("the worker ended") from self._working.exception()

    async def _work(self) -> None:
        while True:
            self._told.clear()
            for job in await self._open():
                try:
                    await self._do(job)
                except Exception:
                    # It stays open and is tried again; meanwhile it must not stand in the others' way.
                    log.exception("job %s could not be gone on with", job.id)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), POLL_S)

    async def _open(self) -> list[Job]:
        try:
            return await asyncio.to_thread(self.store.open)
        except OSError:
            log.exception("storage of jobs can't be used now; trying again")
            return []

    async def _do(self, job: Job) -> None:
        left = await asyncio.to_thread(self.store.left, job)
        while left:
            now, left = left[: self.at_once], left[self.at_once :]
            results = await together([self._result(job, index) for index in now])
            for result in results:
                await asyncio.to_thread(self.store.finish, job, result)
            # Asked anew: the job may have been cancelled.
            left = left and await asyncio.to_thread(self.store.left, job)
        await asyncio.to_thread(self.store.close, job)
        log.info("job %s is done", job.id)

    async def _result(self, job: Job, index: int) -> JobResult:
        data = await asyncio.to_thread(self.store.picture, job, index)
        outputs = frozenset(job.options.outputs)
        if data is None:
            seen = InputError("the picture is gone from storage; send it in another job", code="not_found")
        else:
            seen = await self._seen(data, Look.of(job.options, outputs))
        drawn = await asyncio.to_thread(draw, data or b"", seen, outputs)
        picture = picture_answer(seen, drawn, job.id, job.options.outputs)
        if isinstance(seen, Seen):
            return JobResult(
                index=index, picture=picture, body_model=seen.body_model, models=seen.models,
                faces_base64=faces_answer(seen),
            )  # fmt: skip
        return JobResult(index=index, picture=picture, body_model=None, models={})

    async def _seen(self, data: bytes, look: Look) -> Seen | InputError:
        tries = 0
        while True:
            try:
                return await self.models.see(data, look)
            except ServiceError as error:
                tries += error.code != "overloaded"
                if tries == RETRIES:
                    return InputError(f"given up after {RETRIES} tries: {error}", code=error.code)
                await asyncio.sleep(error.retry_after_s or 1.0)
            except Exception:
                log.exception("a picture of a job failed")
                return InputError(
                    "the models failed on this picture; tell the operator the job's id", code="internal"
                )
