"""How an item that can't be labelled is told: a code of the closed list, the stage, one short sentence."""

import re
from typing import Any

from alignhmr.deployments.labeling.schema import ERROR_CODES

_OTHERWISE = {"read": "read_failed", "decode": "unreadable", "people": "detector_failed"}
_LONGEST = 500


def failure(stage: str, code: str, message: str) -> dict[str, Any]:
    """The columns of an error row."""
    # A code that isn't on the list would be new to whoever counts by it; the message keeps the fact.
    known = code if code in ERROR_CODES else _OTHERWISE.get(stage, "recovery_failed")
    # Addresses of objects would make the same error differ from run to run.
    message = re.sub(r" at 0x[0-9a-f]+", "", " ".join(message.split()))
    return {"error_code": known, "error_stage": stage, "error_message": message[:_LONGEST]}
