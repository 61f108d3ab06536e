"""The Open Inference Protocol (v2 REST, with its binary tensor extension): tensors in, tensors out.

One input ``image`` of BYTES: encoded pictures, raw in binary form, base64 in JSON. Options are the request's
``parameters``, as in a form. Outputs are told of everyone in all pictures, one row a person; ``image_index`` says whose
picture it is, and ``error_code`` of each picture why it has nobody.
"""

import base64
import binascii
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.errors import InputError
from alignhmr.core.records import Recovery
from alignhmr.deployments.serving.intake import Limits, Query, check, options_from_text
from alignhmr.deployments.serving.messages import Seen
from alignhmr.deployments.serving.schemas import Timings

MODEL = "alignhmr"
HEADER_LENGTH = "Inference-Header-Content-Length"

_PER_PERSON: dict[str, tuple[list[int], Callable[[Recovery], Any]]] = {
    "box_px": ([4], lambda r: r.person.box_px),
    "keypoints_px": ([len(KEYPOINTS), 3], lambda r: r.person.keypoints_px),
    "pose_aa": ([24, 3], lambda r: r.hypotheses.pose_aa[r.selected]),
    "betas": ([10], lambda r: r.hypotheses.betas[r.selected]),
    "transl_cam_m": ([3], lambda r: r.hypotheses.transl_cam_m[r.selected]),
    "joints_cam_m": ([24, 3], lambda r: r.hypotheses.joints_cam_m[r.selected]),
    "joint_spread_mm": ([24], lambda r: r.joint_spread_mm),
    "score": ([], lambda r: r.hypotheses.scores[r.selected]),
    "expected_error_mm": ([], lambda r: r.hypotheses.expected_error_mm[r.selected]),
}
"""FP32, shape of one person's row, and where it comes from; units and frames as in ``PersonAnswer``."""


class _Open(BaseModel):
    """Extensions of the protocol may add keys."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Input(_Open):
    name: Literal["image"]
    datatype: Literal["BYTES"]
    shape: Annotated[list[Annotated[int, Field(ge=0, le=1 << 20)]], Field(min_length=1, max_length=2)]
    parameters: dict[str, Any] = Field(default_factory=dict)
    data: list[Any] | None = None


class _Output(_Open):
    name: str
    parameters: dict[str, Any] = Field(default_factory=dict)


class _Request(_Open):
    id: str = ""
    inputs: Annotated[list[_Input], Field(min_length=1, max_length=1)]
    outputs: list[_Output] | None = None
    parameters: dict[str, str | bool | int | float] = Field(default_factory=dict)


@dataclass(frozen=True)
class Inference:
    """A parsed request: what is to be looked at, and how its outputs are to be written."""

    query: Query
    id: str
    outputs: tuple[tuple[str, bool], ...]
    """Names of the wanted tensors, and whether each is wanted in binary."""


def server() -> dict[str, Any]:
    return {"name": "alignhmr", "version": version("alignhmr"), "extensions": ["binary_tensor_data"]}


def model() -> dict[str, Any]:
    """Metadata of the one model; -1 is any number."""
    outputs = [
        {"name": name, "datatype": "FP32", "shape": [-1, *shape]} for name, (shape, _) in _PER_PERSON.items()
    ]
    outputs += [
        {"name": "joints_px", "datatype": "FP32", "shape": [-1, 24, 2]},
        {"name": "image_index", "datatype": "INT32", "shape": [-1]},
        {"name": "error_code", "datatype": "BYTES", "shape": [-1]},
    ]
    inputs = [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    return {"name": MODEL, "versions": ["1"], "platform": "alignhmr", "inputs": inputs, "outputs": outputs}


OUTPUTS: tuple[str, ...] = tuple(output["name"] for output in model()["outputs"])


def parse(body: bytes, header_length: str | None, limits: Limits) -> Inference:
    """The request, or an InputError that says what to change."""
    if header_length is None:
        head, tail = body, b""
    elif header_length.isdecimal() and int(header_length) <= len(body):
        head, tail = body[: int(header_length)], body[int(header_length) :]
    else:
        message = (
            f"{HEADER_LENGTH} is {header_length[:20]!r}; give the length of the JSON part, at most the body's"
        )
        raise InputError(message, code="bad_request")
    try:
        request = _Request.model_validate_json(head)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the body"
        message = f"{where}: {first['msg']}; GET /v2/models/{MODEL} says what there is"
        raise InputError(message, code="bad_request") from None
    images = _images(request.inputs[0], tail)
    parameters = dict(request.parameters)
    binary = parameters.pop("binary_data_output", False) is True
    options = options_from_text(
        {name: [value if isinstance(value, str) else json.dumps(value)] for name, value in parameters.items()}
    )
    check(images, options, limits)
    wanted = [
        (output.name, output.parameters.get("binary_data", binary) is True)
        for output in request.outputs or ()
    ]
    unknown = [name for name, _ in wanted if name not in OUTPUTS]
    if unknown:
        raise InputError(
            f"there is no output {unknown[0][:60]!r}; choose from {', '.join(OUTPUTS)}", code="bad_request"
        )
    outputs = tuple(wanted) or tuple((name, binary) for name in OUTPUTS)
    return Inference(Query(images, options), request.id, outputs)


def _images(given: _Input, tail: bytes) -> list[bytes]:
    size = given.parameters.get("binary_data_size")
    if size is None:
        images = [_from_text(index, text) for index, text in enumerate(given.data or [])]
    elif size == len(tail):
        images = _elements(tail)
    else:
        message = f"binary_data_size is {size!r}, and {len(tail)} bytes follow the JSON part; make them agree"
        raise InputError(message, code="bad_request")
    expected = int(np.prod(given.shape))
    if len(images) != expected:
        message = (
            f"shape {given.shape} is of {expected} pictures, and {len(images)} are given; make them agree"
        )
        raise InputError(message, code="bad_request")
    return images


def _elements(data: bytes) -> list[bytes]:
    """Elements of a BYTES tensor: each its length as four bytes, little-endian, and itself."""
    found, at = [], 0
    while at < len(data):
        if at + 4 > len(data):
            raise InputError("the binary tensor ends within a length; send it whole", code="bad_request")
        (length,) = struct.unpack_from("<I", data, at)
        at += 4 + length
        if at > len(data):
            raise InputError("the binary tensor ends within a picture; send it whole", code="bad_request")
        found.append(data[at - length : at])
    return found


def _from_text(index: int, text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError):
        message = (
            f"image {index} is not base64; encode the picture's bytes, or send them as binary tensor data"
        )
        raise InputError(message, code="bad_request") from None


def answer(
    asked: Inference, seen: Sequence[Seen | InputError], spent: Timings, request_id: str
) -> tuple[bytes, dict[str, str]]:
    """The response's body and its headers."""
    tensors = _tensors(seen)
    usable = next(item for item in seen if isinstance(item, Seen))
    outputs, tail = [], b""
    for name, binary in asked.outputs:
        datatype, values = tensors[name]
        output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(values.shape)}
        if binary:
            raw = _packed(values)
            output["parameters"] = {"binary_data_size": len(raw)}
            tail += raw
        else:
            output["data"] = values.ravel().tolist()
        outputs.append(output)
    head = {
        "model_name": MODEL,
        "model_version": "1",
        "id": asked.id,
        "parameters": {
            "request_id": request_id,
            "body_model": usable.body_model,
            "seed": asked.query.options.seed,
            "hypotheses": asked.query.options.hypotheses,
            **{f"model_{role}": digest for role, digest in usable.models.items()},
            **{f"{stage}_ms": ms for stage, ms in spent.model_dump().items()},
        },
        "outputs": outputs,
    }
    text = json.dumps(head).encode()
    if not tail:
        return text, {"Content-Type": "application/json"}
    return text + tail, {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(text))}


def _tensors(seen: Sequence[Seen | InputError]) -> dict[str, tuple[str, np.ndarray]]:
    people = [
        (index, recovery)
        for index, item in enumerate(seen)
        if isinstance(item, Seen)
        for recovery in item.recoveries
    ]
    tensors = {
        name: ("FP32", np.array([of(recovery) for _, recovery in people], "<f4").reshape(len(people), *shape))
        for name, (shape, of) in _PER_PERSON.items()
    }
    joints = [rows for item in seen if isinstance(item, Seen) for rows in item.joints_px]
    codes = [item.code if isinstance(item, InputError) else "" for item in seen]
    return tensors | {
        "joints_px": ("FP32", np.array(joints, "<f4").reshape(len(people), 24, 2)),
        "image_index": ("INT32", np.array([index for index, _ in people], "<i4")),
        "error_code": ("BYTES", np.array(codes, object)),
    }


def _packed(values: np.ndarray) -> bytes:
    if values.dtype != object:
        return values.tobytes()
    return b"".join(struct.pack("<I", len(text)) + text for text in (str(value).encode() for value in values))
