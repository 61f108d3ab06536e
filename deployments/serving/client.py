"""A typed client of the service: pictures and options in, a parsed answer or an error out.

with Client("http://127.0.0.1:8000", api_key=key) as client:
    answer = client.recover("photo.jpg", hypotheses=20, outputs=["hypotheses"])
"""

import base64
import json
import random
import time
import uuid
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

import httpx
import numpy as np
from jaxtyping import Float, Int
from pydantic import BaseModel, ValidationError

from alignhmr.core.errors import InputError, ServiceError
from alignhmr.deployments.serving.schemas import (
    ErrorAnswer,
    JobAnswer,
    JobResult,
    ModelsAnswer,
    Output,
    PersonAnswer,
    RecoverAnswer,
)

Model = TypeVar("Model", bound=BaseModel)
Picture = str | Path | bytes
"""A file, or its encoded bytes."""

RETRIED = (429, 503)
"""Statuses that pass by themselves; both say in Retry-After when."""


class RecoverOptions(TypedDict, total=False):
    """The fields of ``schemas.Options``, which says what they mean; None is as good as left out."""

    hypotheses: int
    seed: int
    boxes: Sequence[Sequence[float]] | None
    focal_px: float | None
    refine: bool
    checkpoint: str | None
    text: str | None
    keypoints: Sequence[Sequence[Sequence[float]]] | None
    outputs: Sequence[Output]


class RefusedError(ServiceError):
    """The service answered with an error. ``str`` is its message, ``code`` its code."""

    def __init__(self, status: int, answer: ErrorAnswer, retry_after_s: float | None) -> None:
        super().__init__(answer.message, code=answer.code, retry_after_s=retry_after_s)
        self.status, self.answer, self.request_id = status, answer, answer.request_id

    def __reduce__(self) -> tuple:
        return (RefusedError, (self.status, self.answer, self.retry_after_s))


class Client:
    """One service, over connections that are kept. Threads may share it.

    What is refused with 503 or 429 and Retry-After is asked again up to ``retries`` times, not before the service
    said, and never past ``deadline_s``: the time that a call may take in all.
    """

    def __init__(
        self, url: str = "http://127.0.0.1:8000", *, api_key: str | None = None, deadline_s: float = 120.0,
        retries: int = 0,
    ) -> None:  # fmt: skip
        if not url.startswith(("http://", "https://")):
            raise InputError(f"the service's URL is {url!r}; give one like http://127.0.0.1:8000")
        self.url, self.deadline_s, self.retries = url.rstrip("/"), deadline_s, retries
        headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._http = httpx.Client(headers=headers)
        # Who forgets to close it leaves no socket open.
        self._closer = weakref.finalize(self, self._http.close)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._closer()

    def recover(
        self, pictures: Picture | Sequence[Picture], **options: Unpack[RecoverOptions]
    ) -> RecoverAnswer:
        """Bodies of everyone in the pictures, which travel in one request."""
        return _parsed(RecoverAnswer, self._ask(pictures, options))

    def overlay(self, picture: Picture, **options: Unpack[RecoverOptions]) -> bytes:
        """PNG of the bodies over the picture."""
        return self._ask(picture, options, accept="image/png")

    def glb(self, picture: Picture, **options: Unpack[RecoverOptions]) -> bytes:
        """Binary glTF of everyone in the picture."""
        return self._ask(picture, options, accept="model/gltf-binary")

    def bvh(self, picture: Picture, **options: Unpack[RecoverOptions]) -> list[str]:
        """The text of a BVH file for each person in the picture."""
        (seen,) = self.recover(picture, **(options | {"outputs": ["bvh"]})).pictures
        return [person.bvh or "" for person in seen.people]

    def add_job(self, pictures: Sequence[Picture], **options: Unpack[RecoverOptions]) -> JobAnswer:
        """Hands in many pictures, to be looked at when there is time."""
        return _parsed(JobAnswer, self._ask(pictures, options, path="/v1/jobs"))

    def job(self, identity: str) -> JobAnswer:
        """How far a job is."""
        return _parsed(JobAnswer, self._call("GET", f"/v1/jobs/{identity}"))

    def cancel_job(self, identity: str) -> JobAnswer:
        """Gives up what has no result yet."""
        return _parsed(JobAnswer, self._call("DELETE", f"/v1/jobs/{identity}"))

    def job_results(self, identity: str) -> list[JobResult]:
        """The results that are there, in the order of the pictures."""
        lines = self._call("GET", f"/v1/jobs/{identity}/results", "application/x-ndjson").splitlines()
        return [_parsed(JobResult, line) for line in lines]

    def models(self) -> ModelsAnswer:
        """What the service runs, and what may be sent to it."""
        return _parsed(ModelsAnswer, self._call("GET", "/v1/models"))

    def ready(self) -> bool:
        """Whether a request would be answered now."""
        try:
            self._call("GET", "/readyz")
        except ServiceError:
            return False
        return True

    def _ask(
        self, pictures: Picture | Sequence[Picture], options: RecoverOptions, accept: str = "application/json",
        path: str = "/v1/recover",
    ) -> bytes:  # fmt: skip
        several = [pictures] if isinstance(pictures, (str, Path, bytes)) else pictures
        files = [("file", (f"picture-{index}", _encoded(item))) for index, item in enumerate(several)]
        return self._call("POST", path, accept, data=fields(options), files=files)

    def _call(self, method: str, path: str, accept: str = "application/json", **body: Any) -> bytes:
        ends = time.monotonic() + self.deadline_s
        headers = {"Accept": accept, "X-Request-ID": uuid.uuid4().hex}
        for attempt in range(self.retries + 1):
            try:
                return self._once(method, path, ends, headers=headers, **body)
            except RefusedError as refused:
                # A little later than was said, and not all at once: the others were told the same.
                wait_s = (refused.retry_after_s or 0) * random.uniform(1, 1.25)
                asks_to = refused.status in RETRIED and refused.retry_after_s is not None
                if not asks_to or attempt == self.retries or time.monotonic() + wait_s > ends:
                    raise
                time.sleep(wait_s)
        raise AssertionError("the loop above returns or raises")

    def _once(self, method: str, path: str, ends: float, **request: Any) -> bytes:
        try:
            left_s = max(ends - time.monotonic(), 0.001)
            with self._http.stream(method, self.url + path, timeout=left_s, **request) as response:
                parts = []
                for part in response.iter_bytes():
                    parts.append(part)
                    if time.monotonic() > ends:
                        raise httpx.ReadTimeout("the answer comes too slowly")
        except httpx.TimeoutException:
            message = f"no answer from {self.url} within {self.deadline_s:g} s; try again, or give a longer deadline"
            raise ServiceError(message, code="deadline") from None
        except (httpx.TransportError, httpx.InvalidURL) as error:
            message = (
                f"{self.url} does not answer ({error}); start it with `alignhmr serve`, or check the URL"
            )
            raise ServiceError(message, code="unreachable") from None
        content = b"".join(parts)
        if response.status_code not in (200, 202):
            raise _refused(response, content)
        return content


def fields(options: RecoverOptions) -> dict[str, str]:
    """A form's fields: lists are JSON, but outputs, which hold commas."""
    texts = {}
    for name, value in options.items():
        if value is not None:
            texts[name] = value if isinstance(value, str) else json.dumps(value)
    if "outputs" in options:
        texts["outputs"] = ",".join(options["outputs"])
    return texts


def meshes_cam_m(person: PersonAnswer) -> Float[np.ndarray, "hyps verts 3"]:
    """Every hypothesis's vertices, camera frame, metres, to a tenth of a millimetre.

    InputError unless 'meshes' and 'hypotheses' were among the outputs asked for.
    """
    if person.meshes_base64 is None or person.hypotheses is None:
        raise InputError("the answer holds no meshes; ask with outputs=['hypotheses', 'meshes']")
    transl_cam_m = np.array(person.hypotheses.transl_cam_m)
    tenths = np.frombuffer(base64.b64decode(person.meshes_base64), "<i2")
    return tenths.reshape(len(transl_cam_m), -1, 3) / 1e4 + transl_cam_m[:, None]


def faces(answer: RecoverAnswer) -> Int[np.ndarray, "faces 3"]:
    """Triangles of every mesh. InputError unless 'meshes' were among the outputs asked for."""
    if answer.faces_base64 is None:
        raise InputError("the answer holds no meshes; ask with outputs=['hypotheses', 'meshes']")
    return np.frombuffer(base64.b64decode(answer.faces_base64), "<i4").reshape(-1, 3)


def _encoded(picture: Picture) -> bytes:
    if isinstance(picture, bytes):
        return picture
    try:
        return Path(picture).read_bytes()
    except OSError as error:
        raise InputError(
            f"{picture} can't be read ({error.strerror}); give a picture file", code="unreadable"
        ) from None


def _refused(response: httpx.Response, content: bytes) -> RefusedError:
    retry_after = response.headers.get("Retry-After", "")
    try:
        answer = ErrorAnswer.model_validate_json(content)
    except ValidationError:
        # Not from the application: Serve's proxy, or something between it and here.
        text = content[:200].decode(errors="replace").strip() or response.reason_phrase
        answer = ErrorAnswer(
            code="http_error",
            message=f"HTTP {response.status_code}: {text}",
            request_id=response.headers.get("X-Request-ID", ""),
        )
    return RefusedError(response.status_code, answer, float(retry_after) if retry_after.isdecimal() else None)


def _parsed(model: type[Model], data: bytes) -> Model:
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        message = (
            f"the answer is not a {model.__name__} ({error.error_count()} differences); use a client of the"
        )
        raise ServiceError(f"{message} service's version", code="bad_answer") from None
