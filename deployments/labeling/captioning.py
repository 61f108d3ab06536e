"""Where a person's captions come from: the pose itself, vLLM in this job, or a server with OpenAI's API.

A captioner is checked in the driver, before the first row, and put into the pipeline before the recovery or after the
scoring. What a model answers is only ever a row's business: nonsense becomes its ``caption_error``.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from alignhmr.core.language.shown import Shown
from alignhmr.core.language.writing import caption_from_joints
from alignhmr.deployments.labeling.config import LabelConfig
from alignhmr.deployments.labeling.schema import rows_from_table, with_columns

if TYPE_CHECKING:
    from ray.data import Dataset


KEPT = "kept"
"""Source of captions that are there already."""


class Captioner(Protocol):
    """Fills the columns ``captions``, ``caption_source`` and ``caption_error``."""

    source: str
    """What ``caption_source`` says."""
    shown: Shown | None
    """How it wants people shown; None where it doesn't look at them."""
    num_cpus: float
    """Scheduling slots that its stages hold."""
    num_gpus: float

    def check(self) -> dict[str, str]:
        """Raises CaptionerError if it can't work; else name -> digest of what it works with."""
        ...

    def before_recovery(self, people: "Dataset") -> "Dataset": ...

    def ending(self) -> Callable[[pa.Table], pa.Table]:
        """What is done to scored rows before they are written."""
        ...


def make_captioner(config: LabelConfig, device: str) -> Captioner:
    """The captioner that the configuration names."""
    kind, _, name = config.captions.engine.partition(":")
    if kind == "pose":
        return PoseCaptioner()
    if kind == "vllm":
        from alignhmr.deployments.labeling.vllm_captioning import VllmCaptioner

        return VllmCaptioner(name, config.captions, config.resources, device)
    from alignhmr.deployments.labeling.http_captioning import HttpCaptioner

    # Both "http://HOST" and "http:http://HOST" are taken.
    url = name if "://" in name else config.captions.engine
    return HttpCaptioner(url, config.captions, config.resources)


class PoseCaptioner:
    """Sentences read off the selected hypothesis: always there, and never better than the pose."""

    source = "pose"
    shown: Shown | None = None
    num_cpus = 0.0
    num_gpus = 0.0

    def check(self) -> dict[str, str]:
        return {}

    def before_recovery(self, people: "Dataset") -> "Dataset":
        return people

    def ending(self) -> Callable[[pa.Table], pa.Table]:
        return add_pose_captions


def add_pose_captions(table: pa.Table) -> pa.Table:
    """The table with its captions computed from ``selected_joints_cam_m``."""
    if table.column("scores").null_count == table.num_rows:
        return table
    rows = rows_from_table(table.select(["error_code", "selected_joints_cam_m"]))
    good = [row["error_code"] is None for row in rows]
    return with_columns(
        table,
        captions=[
            caption_from_joints(row["selected_joints_cam_m"].reshape(-1, 3)) if ok else None
            for row, ok in zip(rows, good, strict=True)
        ],
        caption_source=[PoseCaptioner.source if ok else None for ok in good],
    )
