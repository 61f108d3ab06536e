"""Where a model's caption and the pose beside it disagree: what mining takes from it, and what a row shows of it.

A caption is read into posecodes, and each hypothesis is held against them (``core/language/agreement.py``): one number
for each body part. Captions that were read off the pose itself can't disagree with it, and say nothing here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from alignhmr.core.language.agreement import Agreement, agreement
from alignhmr.core.language.facts import PARTS
from alignhmr.core.language.reading import read_parts
from alignhmr.core.language.writing import caption_from_joints

BELOW = 0.2
"""Agreement of a part under which words and pose are said to disagree."""


@dataclass(frozen=True)
class Disagreement:
    part: str
    agreement: float
    caption: str
    pose: str


def said_codes(row: Mapping[str, Any]) -> dict[str, str]:
    """Fact -> category of what a model said of the row's person; empty where no model did."""
    if not str(row.get("caption_source") or "").startswith("vlm:"):
        return {}
    return read_parts({part: said for part, said in (row["captions"] or {}).items() if said}).codes


def agreement_of(row: Mapping[str, Any], joints_m: Float[np.ndarray, "hyps 24 3"]) -> Agreement | None:
    """Of each hypothesis with the row's caption; None where nothing that can be checked was said."""
    told = said_codes(row)
    return agreement(told, joints_m) if told else None


def disagreements_in(row: Mapping[str, Any]) -> list[Disagreement]:
    """Parts in which the selected hypothesis is not as a model said, the worst first."""
    joints = np.asarray(row["selected_joints_cam_m"]).reshape(1, -1, 3)
    if (judged := agreement_of(row, joints)) is None:
        return []
    pose = caption_from_joints(joints[0])
    found = [
        Disagreement(part, float(value), row["captions"].get(part) or "", pose.get(part) or "")
        for part, value in zip(PARTS, judged.parts[0], strict=True)
        if value < BELOW
    ]
    return sorted(found, key=lambda one: one.agreement)
