"""What a labelling run is told, as one closed set of keys: a preset, then a file, then single options."""

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from alignhmr.core.errors import InputError
from alignhmr.core.scoring.preference import MiningRule

HOW_KEYS = frozenset({"device", "resources"})
"""Top-level keys that change the speed of a run and not its rows."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Pairs(_Closed):
    """Mirrors ``MiningRule``, which says what each key means."""

    pairs: PositiveInt
    margin: float = Field(ge=0)
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
    tree = _preset(preset)
    if path is not None:
        _overlay(tree, _read_yaml(Path(path)))
    for name, value in (overrides or {}).items():
        if value is not None:
            *parents, last = name.split(".")
            for value_key in reversed([*parents, last]):
                value = {value_key: value}
            _overlay(tree, value)
    try:
        return LabelConfig.model_validate(tree)
    except ValidationError as error:
        raise InputError(_sentence(error)) from error


def presets() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in _preset_folder().iterdir()
        if entry.name.endswith(".yaml")
    )


def default_pairs() -> Pairs:
    return Pairs(**asdict(MiningRule()))


def _preset_folder():
    return resources.files("alignhmr.deployments.labeling") / "presets"


def _preset(name: str) -> dict[str, Any]:
    if name not in presets():
        raise InputError(f"label preset {name!r} is unknown; choose one of {', '.join(presets())}")
    return yaml.safe_load((_preset_folder() / f"{name}.yaml").read_text())


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(f"config file {str(path)!r} can't be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"config file {str(path)!r} isn't YAML: {' '.join(str(error).split())}") from error
    if tree is not None and not isinstance(tree, dict):
        raise InputError(f"config file {str(path)!r} holds a {type(tree).__name__}; write keys and values")
    return tree or {}


def _overlay(tree: dict[str, Any], over: Mapping[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), dict):
            _overlay(tree[key], value)
        else:
            tree[key] = value


def _sentence(error: ValidationError) -> str:
    """The first thing that is wrong with a configuration, in one sentence."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(first["loc"][-1]), _known_keys(LabelConfig), n=1)
        return f"label config has no key {where!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    more = error.error_count() - 1
    also = f" (and {more} more)" if more else ""
    return f"label config: {where} is {first['input']!r}: {first['msg'].lower()}{also}"


def _known_keys(model: type[BaseModel]) -> list[str]:
    keys = []
    for name, info in model.model_fields.items():
        keys.append(name)
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            keys.extend(_known_keys(info.annotation))
    return keys
