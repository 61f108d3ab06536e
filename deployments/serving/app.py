"""The service: an HTTP ingress over model replicas, as one Ray Serve application.

    request -> Ingress: gate, limits, options -> Replica: decode, find, batch people -> Ingress: draw, answer

A picture that shows nobody is not an error: its answer is 200 with no people and a note, because a caller who
sends a thousand pictures wants to tell an empty street from a broken file.
"""

import asyncio
import logging
import time

from fastapi import FastAPI, Request, Response
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from alignhmr.core.errors import InputError, ServiceError
from alignhmr.deployments.serving import openapi, page_files, refusals
from alignhmr.deployments.serving.answers import draw, models_answer, recover_answer, single_body, timings
from alignhmr.deployments.serving.intake import MEDIA_TYPES, Gate, Limits, Query, overloaded, read_query
from alignhmr.deployments.serving.messages import Look, Seen
from alignhmr.deployments.serving.readiness import running_replicas
from alignhmr.deployments.serving.schemas import HealthAnswer, ModelsAnswer, RecoverAnswer

log = logging.getLogger("ray.serve.alignhmr")  # into the replica's own log file, with the request id
api = FastAPI(title="alignhmr", summary="A picture in, bodies out.", docs_url=None, redoc_url=None)
refusals.install(api)
page_files.install(api)


@serve.deployment
@serve.ingress(api)
class Ingress:
    """Reads, limits, asks, draws and answers. Holds no model."""

    def __init__(self, models: DeploymentHandle, limits: Limits) -> None:
        self.models, self.limits = models, limits
        self.gate = Gate(limits.max_held, limits.retry_after_s)

    @api.post(
        "/v1/recover",
        response_model=RecoverAnswer,
        responses={200: {"content": openapi.DRAWINGS}, **openapi.RESPONSES},
        openapi_extra=openapi.REQUEST,
    )
    async def recover(self, request: Request) -> Response:
        """Bodies of everyone in the pictures."""
        with self.gate:
            started = time.perf_counter()
            query = await read_query(request, self.limits)
            read = time.perf_counter()
            seen = await asyncio.gather(*(self._look(data, query) for data in query.images))
            errors = [item for item in seen if isinstance(item, InputError)]
            if len(errors) == len(seen):
                raise errors[0]
            looked = time.perf_counter()
            drawn = [
                await asyncio.to_thread(draw, *each, query.outputs)
                for each in zip(query.images, seen, strict=True)
            ]
            if query.body:
                return Response(single_body(drawn[0], query.body), media_type=MEDIA_TYPES[query.body])
            spent = timings(seen, started, read, looked)
            answer = recover_answer(query, seen, drawn, spent, refusals.request_id(request))
            return Response(answer.model_dump_json(), media_type="application/json")

    async def _look(self, data: bytes, query: Query) -> Seen | InputError:
        look = Look.of(query.options, query.outputs)
        try:
            async with asyncio.timeout(self.limits.deadline_s):
                return await self._ask(data, look)
        except BackPressureError:
            raise overloaded(self.limits.retry_after_s) from None
        except TimeoutError:
            message = f"no answer within {self.limits.deadline_s:g} s; try again, or with fewer hypotheses"
            raise ServiceError(message, code="deadline", retry_after_s=self.limits.retry_after_s) from None

    async def _ask(self, data: bytes, look: Look) -> Seen | InputError:
        try:
            return await self.models.look.remote(data, look)
        except RayActorError:
            log.warning("a model replica died under a request; asking another one")
        try:
            # Once: recovery has no side effects, but a picture that kills replicas must not kill them all.
            return await self.models.look.remote(data, look)
        except RayActorError:
            message = "two model replicas died under this request; tell the operator the request id"
            raise ServiceError(
                message, code="replica_lost", retry_after_s=self.limits.retry_after_s
            ) from None

    @api.get("/v1/models")
    async def describe(self) -> ModelsAnswer:
        """What runs here, and the names that go with its numbers."""
        return models_answer(await self.models.describe.remote(), self.limits)

    @api.get("/healthz")
    async def health(self) -> HealthAnswer:
        """Whether this process answers."""
        return HealthAnswer(status="ok")

    @api.get("/readyz", responses={503: openapi.RESPONSES[503]})
    async def ready(self) -> HealthAnswer:
        """Whether a model replica runs, so that a request would be answered now."""
        if await asyncio.to_thread(running_replicas, serve.get_replica_context().app_name) == 0:
            raise ServiceError("no model replica is running; wait", code="not_ready", retry_after_s=1.0)
        return HealthAnswer(status="ready")
