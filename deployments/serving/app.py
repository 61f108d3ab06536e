"""The service: an HTTP ingress over model replicas, as one Ray Serve application.

    request -> Ingress: key, gate, limits, options -> Perception: decode, find people
            -> Recovery: batches of people, bodies -> Ingress: draw, answer

A picture that shows nobody is not an error: its answer is 200 with no people and a note, because a caller who
sends a thousand pictures wants to tell an empty street from a broken file.
"""

import asyncio
import time
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from ray import serve
from ray.serve.handle import DeploymentHandle

from alignhmr.core.errors import InputError, ServiceError
from alignhmr.deployments.serving import admission, metrics, open_inference, openapi, page_files, refusals
from alignhmr.deployments.serving.answers import (
    about,
    draw,
    models_answer,
    recover_answer,
    single_body,
    timings,
)
from alignhmr.deployments.serving.asking import Models, together
from alignhmr.deployments.serving.canary import Canary
from alignhmr.deployments.serving.hardening import SecureHeaders
from alignhmr.deployments.serving.intake import MEDIA_TYPES, Gate, Query, ending, read_body, read_query
from alignhmr.deployments.serving.job_desk import JobDesk, Lines, job_desk
from alignhmr.deployments.serving.messages import Look, Seen
from alignhmr.deployments.serving.readiness import PERCEPTION, RECOVERY, running_replicas
from alignhmr.deployments.serving.schemas import (
    HealthAnswer,
    JobAnswer,
    JobResult,
    ModelsAnswer,
    RecoverAnswer,
)
from alignhmr.deployments.serving.settings import ServeSettings

api = FastAPI(title="alignhmr", summary="A picture in, bodies out.", docs_url=None, redoc_url=None)
_KEY = [Depends(admission.BEARER)]
_INFER: dict[str, Any] = {
    "responses": openapi.RESPONSES,
    "openapi_extra": openapi.INFERENCE,
    "dependencies": _KEY,
}
DRAINED_S = 0.5
refusals.install(api)
api.add_middleware(metrics.Counted)
api.add_middleware(SecureHeaders)
page_files.install(api)


@serve.deployment
@serve.ingress(api)
class Ingress:
    """Reads, limits, asks, draws and answers. Holds no model."""

    def __init__(
        self,
        perception: DeploymentHandle,
        recovery: DeploymentHandle,
        settings: ServeSettings,
        worker: DeploymentHandle | None = None,
    ) -> None:
        self.settings, self.limits = settings, settings.limits
        canary = None if settings.canary is None else Canary(settings.canary)
        self.models = Models(perception, recovery, settings, canary)
        self.admission = admission.Admission(settings.keys, settings.ingress_replicas)
        self.gate = Gate(self.limits.max_held, self.limits.retry_after_s)
        self.jobs = None if worker is None else JobDesk(worker, settings)

    @api.post(
        "/v1/recover",
        response_model=RecoverAnswer,
        responses={200: {"content": openapi.DRAWINGS}, **openapi.RESPONSES},
        openapi_extra=openapi.REQUEST,
        dependencies=_KEY,
    )
    async def recover(self, request: Request) -> Response:
        """Bodies of everyone in the pictures."""
        allowance = self.admission.admit(request)
        with self.gate:
            started = time.perf_counter()
            query = await read_query(request, self.limits)
            admission.charge(allowance, len(query.images))
            read = time.perf_counter()
            seen = await self._see(query)
            looked = time.perf_counter()
            drawn = [
                await asyncio.to_thread(draw, *each, query.outputs)
                for each in zip(query.images, seen, strict=True)
            ]
            spent = timings(seen, started, read, looked)
            metrics.meters().spent(spent)
            headers = about(seen, spent)
            if query.body:
                return Response(
                    single_body(drawn[0], query.body), headers=headers, media_type=MEDIA_TYPES[query.body]
                )
            answer = recover_answer(query, seen, drawn, spent, refusals.request_id(request))
            return Response(answer.model_dump_json(), headers=headers, media_type="application/json")

    async def _see(self, query: Query) -> list[Seen | InputError]:
        """What is in each picture; the error of the first where none can be used."""
        look = Look.of(query.options, query.outputs)
        seen = await together([self.models.see(data, look) for data in query.images])
        errors = [item for item in seen if isinstance(item, InputError)]
        if len(errors) == len(seen):
            raise errors[0]
        return seen

    async def drain(self) -> str:
        """Takes nothing more, and returns when what was taken is answered: this replica's name."""
        await self.gate.close()
        if self.jobs is not None:
            await self.jobs.gate.close()
        # Long enough that a call to each of several replicas goes where none is waiting yet.
        await asyncio.sleep(DRAINED_S)
        return str(serve.get_replica_context().replica_id.unique_id)

    @api.get("/v1/models", responses=openapi.REFUSALS, dependencies=_KEY)
    async def describe(self, request: Request) -> ModelsAnswer:
        """What runs here, and the names that go with its numbers."""
        self.admission.admit(request)
        return models_answer(await self.models.describe(), self.limits, list(self.settings.checkpoints))

    @api.post(
        "/v1/jobs",
        status_code=202,
        responses=openapi.RESPONSES,
        openapi_extra=openapi.REQUEST,
        dependencies=_KEY,
    )
    async def add_job(self, request: Request) -> JobAnswer:
        """Take many pictures now, and look at them when there is time. Options as for /v1/recover."""
        allowance = self.admission.admit(request)
        return await job_desk(self.jobs).add(request, allowance)

    @api.get("/v1/jobs/{identity}", responses=openapi.OF_JOBS, dependencies=_KEY)
    async def job(self, identity: str, request: Request) -> JobAnswer:
        """How far a job is."""
        allowance = self.admission.admit(request)
        return await job_desk(self.jobs).find(identity, allowance)

    @api.delete("/v1/jobs/{identity}", responses=openapi.OF_JOBS, dependencies=_KEY)
    async def cancel_job(self, identity: str, request: Request) -> JobAnswer:
        """Look at no more of its pictures; results that are there stay."""
        allowance = self.admission.admit(request)
        return await job_desk(self.jobs).cancel(identity, allowance)

    @api.get(
        "/v1/jobs/{identity}/results",
        response_class=Lines,
        responses={200: {"model": JobResult}, **openapi.OF_JOBS},
        dependencies=_KEY,
    )
    async def job_results(self, identity: str, request: Request) -> Lines:
        """The results that are there, a JSON line for each picture, in their order."""
        allowance = self.admission.admit(request)
        return Lines(await job_desk(self.jobs).results(identity, allowance))

    @api.get("/v2", responses=openapi.REFUSALS, dependencies=_KEY)
    async def server(self, request: Request) -> dict[str, Any]:
        """What this server is, to the Open Inference Protocol."""
        self.admission.admit(request)
        return open_inference.server()

    @api.get("/v2/health/live")
    async def live(self) -> HealthAnswer:
        """Whether this process answers."""
        return HealthAnswer(status="ok")

    @api.get("/v2/health/ready", responses={503: openapi.RESPONSES[503]})
    @api.get("/v2/models/alignhmr/ready", responses={503: openapi.RESPONSES[503]})
    async def model_ready(self) -> HealthAnswer:
        """As /readyz."""
        return await self.ready()

    @api.get("/v2/models/alignhmr", responses=openapi.REFUSALS, dependencies=_KEY)
    @api.get("/v2/models/alignhmr/versions/1", responses=openapi.REFUSALS, dependencies=_KEY)
    async def model(self, request: Request) -> dict[str, Any]:
        """Inputs and outputs of the model."""
        self.admission.admit(request)
        return open_inference.model()

    @api.post(
        "/v2/models/alignhmr/infer",
        responses=openapi.RESPONSES,
        openapi_extra=openapi.INFERENCE,
        dependencies=_KEY,
    )
    @api.post(
        "/v2/models/alignhmr/versions/1/infer",
        responses=openapi.RESPONSES,
        openapi_extra=openapi.INFERENCE,
        dependencies=_KEY,
    )
    async def infer(self, request: Request) -> Response:
        """Bodies as tensors. Inputs and outputs: GET /v2/models/alignhmr."""
        allowance = self.admission.admit(request)
        with self.gate:
            started = time.perf_counter()
            body = await read_body(request, self.limits)
            asked = open_inference.parse(body, request.headers.get(open_inference.HEADER_LENGTH), self.limits)
            read = time.perf_counter()
            admission.charge(allowance, len(asked.query.images))
            seen = await self._see(asked.query)
            spent = timings(seen, started, read, time.perf_counter())
            metrics.meters().spent(spent)
            content, headers = open_inference.answer(asked, seen, spent, refusals.request_id(request))
            return Response(content, headers=headers)

    @api.get("/metrics", response_class=PlainTextResponse, responses=openapi.REFUSALS, dependencies=_KEY)
    async def metrics(self, request: Request) -> Response:
        """What all replicas count and time, for Prometheus."""
        self.admission.admit(request)
        return Response(await metrics.exposition(), media_type=metrics.MEDIA_TYPE)

    @api.get("/healthz")
    async def health(self) -> HealthAnswer:
        """Whether this process answers."""
        return HealthAnswer(status="ok")

    @api.get("/readyz", responses={503: openapi.RESPONSES[503]})
    async def ready(self) -> HealthAnswer:
        """Whether models run, or may sleep until somebody asks, so that a request would be answered."""
        if self.gate.closed:
            raise ending(self.limits.retry_after_s)
        running = await asyncio.to_thread(running_replicas, serve.get_replica_context().app_name)
        wanted = {PERCEPTION: self.settings.perception, RECOVERY: self.settings.recovery}
        missing = [name for name, pool in wanted.items() if pool.min_replicas and not running[name]]
        if missing:
            message = f"no replica of {' and '.join(missing)} is running; wait"
            raise ServiceError(message, code="not_ready", retry_after_s=1.0)
        return HealthAnswer(status="ready")
