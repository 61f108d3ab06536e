"""What a labelling run is told, as one closed set of keys: a preset, then a file, then single options."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, PositiveInt, model_validator

from alignhmr.core.language.shown import Shown
from alignhmr.core.scoring.preference import MiningRule, WordRule
from alignhmr.deployments.labeling.fetching import Fetcher
from alignhmr.deployments.presets import load_settings

HOW_KEYS = frozenset({"device", "resources", "fetch", "guard", "prices", "digests"})
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
    drawn: Literal["auto"] | bool
    """Whether the detector's keypoints are drawn into a square of ``max_side_px``; auto: where the model's folder was
    written by `alignhmr train captioner`, as it was there."""
    max_side_px: int = Field(ge=56, le=4096)
    max_tokens: PositiveInt
    constrained: bool
    veto_below: float = Field(ge=0, lt=1)
    """This and the next mirror ``WordRule``, which says what each means."""
    tie_within: float = Field(ge=0)
    required: bool
    """A person without a whole caption of the model's is an error row."""

    def words(self) -> WordRule:
        return WordRule(self.veto_below, self.tie_within)

    def shown(self, learned: Shown | None) -> Shown:
        """How people are shown to a model that learned to see them so, if it is known."""
        if self.drawn == "auto" and learned is not None:
            return learned
        return Shown(self.drawn is True, self.max_side_px)


class ImageLimits(_Closed):
    max_bytes: PositiveInt
    max_pixels: PositiveInt
    max_people: PositiveInt
    """Of one picture; the most confident are kept."""


class Fetch(_Closed):
    """Mirrors ``Fetcher``, which says what each key means."""

    enabled: bool
    timeout_s: float = Field(gt=0)
    retries: int = Field(ge=0, le=20)
    wait_s: float = Field(ge=0)
    max_redirects: int = Field(ge=0, le=20)
    allow_networks: tuple[IPvAnyNetwork, ...]
    opt_out: tuple[str, ...]

    def fetcher(self) -> Fetcher | None:
        """None where the web is off limits."""
        if not self.enabled:
            return None
        return Fetcher(
            self.timeout_s, self.retries, self.wait_s, self.max_redirects,
            tuple(str(network) for network in self.allow_networks), tuple(word.lower() for word in self.opt_out),
        )  # fmt: skip


class GuardLimits(_Closed):
    tries: int = Field(ge=2, le=20)
    """So many workers may die of one item."""
    limit_s: float = Field(gt=0)
    """For one item in one stage."""


class Prices(_Closed):
    """What things cost for an hour, in the user's currency; 0 where nothing is paid."""

    currency: str
    cpu_hour: float = Field(ge=0)
    """For each CPU slot that the stages hold."""
    gpu_hour: float = Field(ge=0)
    hour: float = Field(ge=0)
    """For the whole, whatever it holds: the head node, storage."""


class Stage(_Closed):
    batch_size: PositiveInt
    workers: PositiveInt
    """Held from the start to the end."""
    max_workers: PositiveInt | None = None
    """Where work piles up, as many more are started as there is room for; None: no more than ``workers``."""
    num_cpus: float = Field(ge=0)
    num_gpus: float | None = Field(default=None, ge=0)
    """None: what the device asks for, a quarter of a GPU per model worker on CUDA."""

    @property
    def most(self) -> int:
        return self.max_workers or self.workers

    @model_validator(mode="after")
    def _range(self) -> "Stage":
        if self.most < self.workers:
            raise ValueError(f"max_workers is {self.max_workers}, less than workers {self.workers}")
        return self


class ReadStage(Stage):
    parallel: PositiveInt
    """Entries read at the same time by one worker; for what waits for a network."""


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
    """What is read, worked on and written at once, and what a killed writer has to do again."""
    block_bytes: PositiveInt
    """Of encoded pictures in a block; what is beyond is read when it is its turn."""
    read: ReadStage
    people: Stage
    caption: Stage
    recover: Stage
    score: Stage
    vllm: Vllm
    http: Http


class LabelConfig(_Closed):
    hypotheses: int = Field(ge=1, le=1000)
    seed: int = Field(ge=0, lt=2**63)
    refine: Literal["none", "keypoints", "captions"]
    """What hypotheses are drawn to before they are scored; captions are a model's, beside keypoints."""
    base: str
    scorer: str
    body: str
    detector: str
    pairs: Pairs
    captions: Captions
    images: ImageLimits
    device: str
    resources: Resources
    fetch: Fetch
    guard: GuardLimits
    prices: Prices
    digests: dict[str, str]
    """Name (base, scorer, body, detector, captioner) -> first digits of the digest that it must have."""

    @model_validator(mode="after")
    def _captions_of_a_model(self) -> "LabelConfig":
        if self.refine == "captions" and self.captions.engine == "pose":
            raise ValueError(
                "captions of the pose say nothing that the pose doesn't; name a model's with captions.engine, or"
                " refine to keypoints"
            )
        return self

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
