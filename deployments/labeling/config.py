"""What a labelling run is told, as one closed set of keys: a preset, then a file, then single options."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from alignhmr.core.scoring.preference import MiningRule
from alignhmr.deployments.presets import load_settings

HOW_KEYS = frozenset({"device", "resources"})
"""Top-level keys that change the speed of a run and not its rows."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Pairs(_Closed):
    """Mirrors ``MiningRule``, which says what each key means."""

    pairs: PositiveInt
    top: PositiveInt
    margin: float = Field(ge=0)
    apart_mm: float = Field(ge=0)
    min_hypotheses: int = Field(ge=2)
    max_expected_error_mm: float = Field(gt=0)

    def rule(self) -> MiningRule:
        return MiningRule(**self.model_dump())


class Captions(_Closed):
    engine: str = Field(pattern=r"^(pose|vllm:.+|https?:.+)$")
    max_side_px: int = Field(ge=56, le=4096)
    max_tokens: PositiveInt
    constrained: bool


class ImageLimits(_Closed):
    max_bytes: PositiveInt
    max_pixels: PositiveInt


class Stage(_Closed):
    batch_size: PositiveInt
    workers: PositiveInt
    num_cpus: float = Field(ge=0)
    num_gpus: float | None = Field(default=None, ge=0)
    """None: what the device asks for, one GPU per model worker on CUDA."""


class Vllm(_Closed):
    max_model_len: PositiveInt
    max_num_seqs: PositiveInt
    kv_cache_gib: PositiveInt
    """Only for vLLM on a CPU."""
    engine: dict[str, Any]


class Http(_Closed):
    model: str | None
    timeout_s: float = Field(gt=0)
    retries: int = Field(ge=0)
    wait_s: float = Field(ge=0)
    """Before the first retry; doubled for each further one."""


class Resources(_Closed):
    images_per_block: PositiveInt
    rows_per_part: PositiveInt
    read: Stage
    people: Stage
    recover: Stage
    caption: Stage
    vllm: Vllm
    http: Http


class LabelConfig(_Closed):
    hypotheses: int = Field(ge=1, le=1000)
    seed: int = Field(ge=0, lt=2**63)
    base: str
    scorer: str
    body: str
    detector: str
    pairs: Pairs
    captions: Captions
    images: ImageLimits
    device: str
    resources: Resources

    def what(self) -> dict[str, Any]:
        """The keys that decide what the rows say."""
        return self.model_dump(mode="json", exclude=set(HOW_KEYS))

    def digest(self) -> str:
        """SHA-256 over ``what``: two runs with the same digest make the same rows of the same pictures."""
        return hashlib.sha256(json.dumps(self.what(), sort_keys=True).encode()).hexdigest()


def load_config(
    preset: str = "laptop", path: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> LabelConfig:
    """The preset, with the keys of the YAML file laid over it, and the overrides over both.

    Overrides have dotted names (``"captions.engine"``); those that are None are not given.
    """
    return load_settings(LabelConfig, "label", "alignhmr.deployments.labeling", preset, path, overrides)


def default_pairs() -> Pairs:
    return Pairs(**asdict(MiningRule()))
