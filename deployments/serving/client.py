"""A small typed client on the standard library: pictures and options in, a parsed answer or an error out."""

import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from alignhmr.core.errors import InputError, ServiceError
from alignhmr.deployments.serving.schemas import ErrorAnswer, ModelsAnswer, RecoverAnswer

Model = TypeVar("Model", bound=BaseModel)
Picture = str | Path | bytes
"""A file, or its encoded bytes."""


class RefusedError(ServiceError):
    """The service answered with an error. ``str`` is its message, ``code`` its code."""

    def __init__(self, status: int, answer: ErrorAnswer, retry_after_s: float | None) -> None:
        super().__init__(answer.message, code=answer.code, retry_after_s=retry_after_s)
        self.status, self.answer, self.request_id = status, answer, answer.request_id

    def __reduce__(self) -> tuple:
        return (RefusedError, (self.status, self.answer, self.retry_after_s))


class Client:
    """One service. A 503 with Retry-After is tried again up to ``retries`` times, when it asks to."""

    def __init__(
        self, url: str = "http://127.0.0.1:8000", *, timeout_s: float = 120.0, retries: int = 0
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise InputError(f"the service's URL is {url!r}; give one like http://127.0.0.1:8000")
        self.url, self.timeout_s, self.retries = url.rstrip("/"), timeout_s, retries

    def recover(self, pictures: Picture | Sequence[Picture], **options: Any) -> RecoverAnswer:
        """Bodies of everyone in the pictures. Options as in ``schemas.Options``."""
        body, kind = multipart(_listed(pictures), options)
        return _parsed(RecoverAnswer, self._call("/v1/recover", body, kind))

    def overlay(self, picture: Picture, **options: Any) -> bytes:
        """PNG of the bodies over the picture."""
        return self._drawing(picture, "image/png", options)

    def glb(self, picture: Picture, **options: Any) -> bytes:
        """Binary glTF of everyone in the picture."""
        return self._drawing(picture, "model/gltf-binary", options)

    def models(self) -> ModelsAnswer:
        """What the service runs."""
        return _parsed(ModelsAnswer, self._call("/v1/models"))

    def ready(self) -> bool:
        """Whether a request would be answered now."""
        try:
            self._call("/readyz")
        except ServiceError:
            return False
        return True

    def _drawing(self, picture: Picture, media_type: str, options: dict[str, Any]) -> bytes:
        body, kind = multipart(_listed(picture), options)
        return self._call("/v1/recover", body, kind, accept=media_type)

    def _call(
        self, path: str, body: bytes | None = None, kind: str = "", accept: str = "application/json"
    ) -> bytes:
        headers = {"Accept": accept, "X-Request-ID": uuid.uuid4().hex}
        if body is not None:
            headers["Content-Type"] = kind
        for attempt in range(self.retries + 1):
            request = urllib.request.Request(self.url + path, data=body, headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=self.timeout_s) as response:
                    return response.read()
            except urllib.error.HTTPError as error:
                with error:
                    refused = _refused(error)
                if refused.status != 503 or refused.retry_after_s is None or attempt == self.retries:
                    raise refused from None
                time.sleep(refused.retry_after_s)
            except OSError as error:
                reason = getattr(error, "reason", error)
                message = (
                    f"{self.url} does not answer ({reason}); start it with `alignhmr serve`, or check the URL"
                )
                raise ServiceError(message, code="unreachable") from None
        raise AssertionError("the loop above returns or raises")


def multipart(pictures: Sequence[bytes], options: dict[str, Any]) -> tuple[bytes, str]:
    """The form as a body and its Content-Type."""
    boundary = uuid.uuid4().hex
    parts = []
    for name, value in options.items():
        if value is None:
            continue
        text = (
            value if isinstance(value, str) else ",".join(value) if name == "outputs" else json.dumps(value)
        )
        parts.append(f'Content-Disposition: form-data; name="{name}"\r\n\r\n{text}'.encode())
    for index, data in enumerate(pictures):
        header = f'Content-Disposition: form-data; name="file"; filename="picture-{index}"\r\n'
        parts.append(f"{header}Content-Type: application/octet-stream\r\n\r\n".encode() + data)
    edge = f"--{boundary}".encode()
    body = b"".join(edge + b"\r\n" + part + b"\r\n" for part in parts) + edge + b"--\r\n"
    return body, f"multipart/form-data; boundary={boundary}"


def _listed(pictures: Picture | Sequence[Picture]) -> list[bytes]:
    several = [pictures] if isinstance(pictures, (str, Path, bytes)) else pictures
    return [item if isinstance(item, bytes) else _read(Path(item)) for item in several]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} can't be read ({error.strerror}); give a picture file", code="unreadable"
        ) from None


def _refused(error: urllib.error.HTTPError) -> RefusedError:
    retry_after = error.headers.get("Retry-After", "")
    text = error.read()
    try:
        answer = ErrorAnswer.model_validate_json(text)
    except ValidationError:
        # Not from the application: Serve's proxy, or something between it and here.
        message = f"HTTP {error.code}: {text[:200].decode(errors='replace').strip() or error.reason}"
        answer = ErrorAnswer(
            code="http_error", message=message, request_id=error.headers.get("X-Request-ID", "")
        )
    return RefusedError(error.code, answer, float(retry_after) if retry_after.isdecimal() else None)


def _parsed(model: type[Model], data: bytes) -> Model:
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        message = (
            f"the answer is not a {model.__name__} ({error.error_count()} differences); use a client of the"
        )
        raise ServiceError(f"{message} service's version", code="bad_answer") from None
