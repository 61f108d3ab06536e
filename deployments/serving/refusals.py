"""An error leaves the service as a status, a code, one sentence and a request id; never as a traceback."""

import logging
import math
import uuid

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alignhmr.core.errors import AlignhmrError, InputError, ServiceError
from alignhmr.deployments.serving.metrics import CODE_HEADER
from alignhmr.deployments.serving.schemas import ErrorAnswer

log = logging.getLogger("ray.serve.alignhmr")  # into the replica's own log file, with the request id

STATUS: dict[str, int] = {
    "bad_request": 400,
    "empty": 400,
    "no_images": 400,
    "unauthorized": 401,
    "not_found": 404,
    "jobs_off": 404,
    "slow_request": 408,
    "too_large": 413,
    "too_many_images": 413,
    "unsupported_media_type": 415,
    "not_an_image": 415,
    "unsupported": 415,
    "rate_limited": 429,
    "quota_exceeded": 429,
}
"""Status by error code. Any other InputError is 422: well-formed, and still not usable."""


def status_of(error: AlignhmrError) -> int:
    if error.code in STATUS:
        return STATUS[error.code]
    return 422 if isinstance(error, InputError) else 503 if isinstance(error, ServiceError) else 500


def request_id(request: Request) -> str:
    """The caller's X-Request-ID, or the one that Ray Serve's proxy gave the request."""
    return request.headers.get("x-request-id") or uuid.uuid4().hex


def error_answer(error: AlignhmrError, identity: str) -> ErrorAnswer:
    return ErrorAnswer(code=error.code, message=str(error), request_id=identity)


def _body(request: Request, answer: ErrorAnswer) -> dict[str, str]:
    told = answer.model_dump()
    # The Open Inference Protocol has a name of its own for the message.
    return {"error": answer.message, **told} if request.url.path.startswith("/v2") else told


def refuse(request: Request, error: AlignhmrError) -> JSONResponse:
    """The error as a response."""
    status = status_of(error)
    retry_after_s = getattr(error, "retry_after_s", None)
    headers = {CODE_HEADER: error.code}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(retry_after_s))
    log.info("refused request_id=%s status=%d code=%s", request_id(request), status, error.code)
    return JSONResponse(_body(request, error_answer(error, request_id(request))), status, headers)


def install(app: FastAPI) -> None:
    """Every way out of the application ends in an ErrorAnswer."""

    @app.exception_handler(AlignhmrError)
    async def _ours(request: Request, error: AlignhmrError) -> JSONResponse:
        return refuse(request, error)

    @app.exception_handler(HTTPException)
    async def _routing(request: Request, error: HTTPException) -> JSONResponse:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
        message = f"{request.method} {request.url.path}: {error.detail}; see /openapi.json for what there is"
        answer = ErrorAnswer(code=code, message=message, request_id=request_id(request))
        headers = {**(error.headers or {}), CODE_HEADER: code}
        return JSONResponse(_body(request, answer), error.status_code, headers)

    app.add_middleware(NoTraceback)


class NoTraceback:
    """What nobody foresaw becomes a 500 with a request id; FastAPI's own handler would raise it further."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except ClientDisconnect:
            log.info("the caller left before its request was read")
        except Exception:
            request = Request(scope)
            log.exception("failed request_id=%s", request_id(request))
            if not started:
                message = "the service failed on this request; tell its operator the request id"
                answer = ErrorAnswer(code="internal", message=message, request_id=request_id(request))
                await JSONResponse(_body(request, answer), 500, {CODE_HEADER: "internal"})(
                    scope, receive, watched
                )
