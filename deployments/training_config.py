"""Training presets: complete YAML files, overlaid by a file of the user's, refused where a key is unknown."""

import difflib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from alignhmr.core.diffusion.model import BaseModelConfig
from alignhmr.core.errors import InputError
from alignhmr.core.scoring.scorer import ScorerConfig
from alignhmr.core.synthetic.poses import PoseMix
from alignhmr.training.base import BaseLossWeights
from alignhmr.training.loop import LoopConfig
from alignhmr.training.recipe import BaseRecipe, Evaluation, ScorerRecipe


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _BaseSizes(_Closed):
    width: PositiveInt
    encoder_blocks: PositiveInt
    denoiser_width: PositiveInt
    denoiser_blocks: PositiveInt


class _ScorerSizes(_Closed):
    token_width: PositiveInt
    width: PositiveInt
    blocks: PositiveInt


class _Loop(_Closed):
    steps: PositiveInt
    learning_rate: PositiveFloat
    warmup_steps: int = Field(ge=0)
    final_rate: float = Field(ge=0, le=1)
    decay_share: float = Field(gt=0, le=1)
    clip_norm: PositiveFloat
    weight_decay: float = Field(ge=0)
    ema_decay: float = Field(ge=0, lt=1)
    report_every: PositiveInt


class _Losses(_Closed):
    rotation: float = Field(ge=0)
    root_rotation: float = Field(ge=0)
    betas: float = Field(ge=0)
    camera: float = Field(ge=0)
    joints: float = Field(ge=0)
    reprojection: float = Field(ge=0)
    diffusion: float = Field(ge=0)
    diffusion_joints: float = Field(ge=0)


class _Poses(_Closed):
    mocap: float = Field(ge=0, le=1)
    recombined: float = Field(ge=0, le=1)
    jitter: float = Field(ge=0)


class _Evaluation(_Closed):
    every: PositiveInt
    people: PositiveInt
    hypotheses: PositiveInt


class _Shared(_Closed):
    loop: _Loop
    batch_size: PositiveInt
    poses: _Poses
    evaluation: _Evaluation
    save_every: PositiveInt

    def _parts(self) -> dict[str, Any]:
        return {
            "loop": LoopConfig(**self.loop.model_dump()),
            "poses": PoseMix(**self.poses.model_dump()),
            "evaluation": Evaluation(**self.evaluation.model_dump()),
            "batch_size": self.batch_size,
            "save_every": self.save_every,
        }


class _Base(_Shared):
    model: _BaseSizes
    losses: _Losses

    def recipe(self) -> BaseRecipe:
        model, losses = (
            BaseModelConfig(**self.model.model_dump()),
            BaseLossWeights(**self.losses.model_dump()),
        )
        return BaseRecipe(model=model, losses=losses, **self._parts())


class _Scorer(_Shared):
    model: _ScorerSizes
    own: PositiveInt
    perturbed: int = Field(ge=0)

    def recipe(self) -> ScorerRecipe:
        model = ScorerConfig(**self.model.model_dump())
        return ScorerRecipe(model=model, own=self.own, perturbed=self.perturbed, **self._parts())


class TrainingConfig(_Closed):
    """One preset: how each model learns."""

    base: _Base
    scorer: _Scorer


def load_training_config(preset: str = "starter", path: str | Path | None = None) -> TrainingConfig:
    """The preset, with the keys of the YAML file laid over it."""
    if preset not in training_presets():
        raise InputError(
            f"training preset {preset!r} is unknown; choose one of {', '.join(training_presets())}"
        )
    tree = yaml.safe_load((_folder() / f"{preset}.yaml").read_text())
    if path is not None:
        _overlay(tree, _read(Path(path)))
    try:
        return TrainingConfig.model_validate(tree)
    except ValidationError as error:
        raise InputError(_sentence(error)) from error


def training_presets() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(
        entry.name.removesuffix(".yaml") for entry in _folder().iterdir() if entry.name.endswith(".yaml")
    )


def _folder():
    return resources.files("alignhmr.training") / "presets"


def _read(path: Path) -> dict[str, Any]:
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
        near = difflib.get_close_matches(str(first["loc"][-1]), _known_keys(TrainingConfig), n=1)
        return f"training config has no key {where!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    more = error.error_count() - 1
    also = f" (and {more} more)" if more else ""
    return f"training config: {where} is {first['input']!r}: {first['msg'].lower()}{also}"


def _known_keys(model: type[BaseModel]) -> list[str]:
    keys = []
    for name, info in model.model_fields.items():
        keys.append(name)
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            keys.extend(_known_keys(info.annotation))
    return keys
