"""A request's bytes become pictures and options, within limits that hold before anything is decoded."""

import asyncio
import base64
import binascii
import json
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import HTTPConnection
from starlette.types import Message

from alignhmr.core.errors import InputError, ServiceError
from alignhmr.deployments.serving.schemas import Options, RecoverRequest

Model = TypeVar("Model", bound=BaseModel)
Read = TypeVar("Read")

MEDIA_TYPES: dict[str, str] = {"overlay": "image/png", "glb": "model/gltf-binary"}
"""Outputs that can be the whole body of an answer, when the request accepts nothing but them."""

IN_JSON = {"boxes": "[[10, 20, 110, 220]]", "keypoints": "[[[120.5, 80, 0.9], ...23 of them]]"}
"""Options that belong to one picture; in a form they are JSON text."""


class Limits(BaseModel):
    """What one ingress replica accepts. Memory held is at most max_held x max_body_bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_body_bytes: int = Field(default=64 << 20, ge=1)
    max_image_bytes: int = Field(default=20 << 20, ge=1)
    max_pixels: int = Field(default=50_000_000, ge=1)
    max_images: int = Field(default=16, ge=1)
    max_held: int = Field(default=64, ge=1)
    """Requests being read, waited for or answered at once."""
    read_s: float = Field(default=30.0, gt=0)
    """For a body to arrive: a caller who dawdles must not keep a place."""
    deadline_s: float = Field(default=25.0, gt=0)
    """From a read request to its answer: less than a service that ends gives its requests (``build.GRACE_S``)."""
    retry_after_s: float = Field(default=1.0, ge=0)


@dataclass(frozen=True)
class Query:
    """A parsed request."""

    images: list[bytes]
    options: Options
    body: str | None = None
    """The one output wanted as the answer's body ('overlay', 'glb'), or None for JSON."""
    outputs: frozenset[str] = field(default_factory=frozenset)


async def read_query(request: Request, limits: Limits) -> Query:
    """The request's pictures and options, or an InputError that says what to change."""
    return await _in_time(_read(request, limits), limits)


async def read_body(request: Request, limits: Limits) -> bytes:
    """The whole body. InputError where it is larger than allowed."""
    return await _in_time(_bounded(request, limits.max_body_bytes).body(), limits)


async def _in_time(reading: Awaitable[Read], limits: Limits) -> Read:
    try:
        async with asyncio.timeout(limits.read_s):
            return await reading
    except TimeoutError:
        message = f"the body did not arrive within {limits.read_s:g} s; send smaller pictures, or from nearer"
        raise InputError(message, code="slow_request") from None


async def _read(request: Request, limits: Limits) -> Query:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    bounded = _bounded(request, limits.max_body_bytes)
    if kind == "multipart/form-data":
        images, options = await _form(bounded, limits)
    elif kind == "application/json":
        images, options = _json(await bounded.body(), limits)
    else:
        raise InputError(
            f"Content-Type is {kind or 'missing'!r}; send multipart/form-data with a file, or "
            "application/json with base64 images",
            code="unsupported_media_type",
        )
    check(images, options, limits)
    body = _wanted_body(request, images)
    return Query(images, options, body, frozenset({*options.outputs, *([body] if body else [])}))


def _bounded(request: Request, limit: int) -> Request:
    """The same request, whose body can't be read beyond the limit, whatever Content-Length claims."""
    error = InputError(
        f"the body is larger than {limit} bytes; send fewer or smaller pictures", code="too_large"
    )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise error
    read = 0

    async def receive() -> Message:
        nonlocal read
        message = await request.receive()
        read += len(message.get("body", b""))
        if read > limit:
            raise error
        return message

    return Request(request.scope, receive)


async def _form(request: Request, limits: Limits) -> tuple[list[bytes], Options]:
    try:
        form = await request.form(max_files=limits.max_images + 1, max_fields=64, max_part_size=1 << 20)
    except (HTTPException, MultiPartException, FormParserError) as error:
        reason = str(getattr(error, "detail", None) or getattr(error, "message", None) or error)
        if "Too many files" in reason:
            raise _too_many(limits) from None
        raise InputError(
            f"the multipart body can't be parsed ({reason}); send it whole", code="bad_request"
        ) from None
    try:
        images: list[bytes] = []
        fields: dict[str, list[str]] = {}
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if value.size is not None and value.size > limits.max_image_bytes:
                    raise _image_too_large(len(images), value.size, limits)
                images.append(await value.read())
            else:
                fields.setdefault(name, []).append(value)
        return images, options_from_text(fields)
    finally:
        await form.close()


def options_from_text(fields: dict[str, list[str]]) -> Options:
    """Options where there is only text: outputs may repeat or hold commas, boxes are JSON, pydantic reads numbers."""
    values: dict = {}
    for name, texts in fields.items():
        if name == "outputs":
            values[name] = [part.strip() for text in texts for part in text.split(",")]
        elif len(texts) > 1:
            raise InputError(
                f"the field {name!r} is given {len(texts)} times; give it once", code="invalid_options"
            )
        elif name in IN_JSON:
            try:
                values[name] = json.loads(texts[0])
            except (ValueError, RecursionError):
                message = f"{name} is {texts[0][:60]!r}; give JSON text such as {IN_JSON[name]}"
                raise InputError(message, code="invalid_options") from None
        else:
            values[name] = texts[0]
    return _validated(Options, values)


def _json(body: bytes, limits: Limits) -> tuple[list[bytes], Options]:
    if not body.strip():
        raise InputError('the body is empty; send {"images": ["<base64>"]}', code="empty")
    request = _validated(RecoverRequest, body)
    if len(request.images) > limits.max_images:
        raise _too_many(limits)
    images = [_from_base64(text, index, limits) for index, text in enumerate(request.images)]
    return images, Options(**request.model_dump(exclude={"images"}))


def _from_base64(text: str, index: int, limits: Limits) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    if len(text) * 3 // 4 > limits.max_image_bytes + 3:
        raise _image_too_large(index, len(text) * 3 // 4, limits)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        message = f"image {index} is not base64; encode the picture file's bytes with standard base64"
        raise InputError(message, code="bad_request") from None


def _validated(model: type[Model], values: dict | bytes) -> Model:
    try:
        return (
            model.model_validate_json(values, strict=True)
            if isinstance(values, bytes)
            else model.model_validate(values)
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        if first["type"] == "json_invalid":
            raise InputError(f"the body is not JSON: {first['msg']}", code="bad_request") from None
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        more = "" if error.error_count() == 1 else f"; and {error.error_count() - 1} more like it"
        seen = repr(first["input"])
        seen = seen if len(seen) <= 60 else seen[:57] + "..."
        message = f"{where}: {first['msg']} (got {seen}){more}; /openapi.json lists every option"
        raise InputError(message, code="invalid_options") from None


def check(images: list[bytes], options: Options, limits: Limits) -> None:
    """InputError for pictures that are too many, too large or empty, and for options that don't go with them."""
    if not images:
        raise InputError("the request holds no picture; attach one as a file field", code="no_images")
    if len(images) > limits.max_images:
        raise _too_many(limits)
    for index, data in enumerate(images):
        if not data:
            raise InputError(f"image {index} is empty (0 bytes); send the picture file's bytes", code="empty")
        if len(data) > limits.max_image_bytes:
            raise _image_too_large(index, len(data), limits)
    for name in IN_JSON:
        if getattr(options, name) is not None and len(images) > 1:
            message = f"{name} with {len(images)} pictures are ambiguous; send one picture a request when giving {name}"
            raise InputError(message, code="invalid_options")
    if options.boxes and options.keypoints and len(options.boxes) != len(options.keypoints):
        message = (
            f"{len(options.boxes)} boxes are given for {len(options.keypoints)} people by keypoints; give one for each,"
            " or none"
        )
        raise InputError(message, code="invalid_options")


def _wanted_body(request: HTTPConnection, images: list[bytes]) -> str | None:
    accepted = [
        part.partition(";")[0].strip().lower() for part in request.headers.get("accept", "").split(",")
    ]
    for output, media_type in MEDIA_TYPES.items():
        if accepted == [media_type]:
            if len(images) > 1:
                message = f"Accept: {media_type} answers one picture, not {len(images)}; send them one by one"
                raise InputError(message, code="invalid_options")
            return output
    return None


def _too_many(limits: Limits) -> InputError:
    return InputError(
        f"the request holds more than {limits.max_images} pictures; send them in several requests",
        code="too_many_images",
    )


def _image_too_large(index: int, size: int, limits: Limits) -> InputError:
    message = f"image {index} has {size} bytes, and {limits.max_image_bytes} are allowed; send a smaller file"
    return InputError(message, code="too_large")


class Gate:
    """Lets at most ``limit`` requests in; the next one is refused before its body is read."""

    def __init__(self, limit: int, retry_after_s: float) -> None:
        self.limit, self.retry_after_s, self.inside, self.closed = limit, retry_after_s, 0, False

    async def close(self) -> None:
        """Lets nobody in any more, and returns when nobody is inside."""
        self.closed = True
        while self.inside:
            await asyncio.sleep(0.05)

    def __enter__(self) -> None:
        if self.closed:
            raise ending(self.retry_after_s)
        if self.inside >= self.limit:
            raise overloaded(self.retry_after_s)
        self.inside += 1

    def __exit__(self, *_: object) -> None:
        self.inside -= 1


def ending(retry_after_s: float) -> ServiceError:
    message = "this service ends and takes nothing more; ask again where another one is"
    return ServiceError(message, code="not_ready", retry_after_s=retry_after_s)


def overloaded(retry_after_s: float) -> ServiceError:
    message = f"the service is full; try again in {retry_after_s:g} s, or add replicas"
    return ServiceError(message, code="overloaded", retry_after_s=retry_after_s)
