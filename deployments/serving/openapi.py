"""The request of POST /v1/recover for OpenAPI: it is parsed by hand, so that limits hold while it is read."""

from typing import Any

from alignhmr.deployments.serving.intake import IN_JSON
from alignhmr.deployments.serving.schemas import ErrorAnswer, Options, RecoverRequest

_ERRORS: dict[int, str] = {
    400: "The body can't be parsed, or holds no picture.",
    401: "No key, or one that is not known.",
    404: "There is no such job, or this service keeps none.",
    408: "The body did not arrive in time.",
    413: "The body, a picture or its pixel count is too large.",
    415: "The body is neither multipart/form-data nor application/json, or a file is no image.",
    422: "A picture can't be read, or an option is unknown or out of range.",
    429: "The key's rate or daily quota is used up; Retry-After says when to come back.",
    500: "The service failed; its log has the request id.",
    503: "Overloaded or not ready; the Retry-After header says when to try again.",
}

RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": description} for status, description in _ERRORS.items()
}


REFUSALS: dict[int | str, dict[str, Any]] = {status: RESPONSES[status] for status in (401, 429, 503)}
"""Of routes that have no body to be wrong."""

OF_JOBS = REFUSALS | {404: RESPONSES[404]}


def _form_schema() -> dict[str, Any]:
    schema = Options.model_json_schema()
    file = {
        "type": "string",
        "format": "binary",
        "description": "An encoded picture; any field name, any number.",
    }
    # A form carries text: lists travel as JSON text.
    texts = {
        name: {"type": "string", "description": schema["properties"][name]["description"]} for name in IN_JSON
    }
    return {
        **schema,
        "properties": {"file": file, **schema["properties"], **texts},
        "required": ["file"],
    }


REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _form_schema()},
            "application/json": {"schema": RecoverRequest.model_json_schema()},
        },
    }
}

DRAWINGS: dict[str, Any] = {
    "image/png": {"schema": {"type": "string", "format": "binary"}},
    "model/gltf-binary": {"schema": {"type": "string", "format": "binary"}},
}
"""Bodies other than JSON that a 200 can have, when Accept names nothing else."""

INFERENCE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "An inference request of the Open Inference Protocol; as octet-stream with its binary tensor"
        " extension, the JSON part's length in the header Inference-Header-Content-Length.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": "string"},
                        "parameters": {
                            "type": "object",
                            "description": "Options, as in a form of /v1/recover.",
                        },
                        "inputs": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": 1,
                            "items": {
                                "type": "object",
                                "required": ["name", "shape", "datatype", "data"],
                                "properties": {
                                    "name": {"const": "image"},
                                    "datatype": {"const": "BYTES"},
                                    "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
                                    "data": {
                                        "type": "array",
                                        "items": {"type": "string", "format": "byte"},
                                        "description": "Encoded pictures, base64.",
                                    },
                                },
                            },
                        },
                        "outputs": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["name"],
                                "properties": {"name": {"type": "string"}},
                            },
                        },
                    },
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
