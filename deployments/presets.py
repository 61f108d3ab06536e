"""Settings as YAML: a complete preset, then a file's keys over it, then single options; unknown keys are refused."""

import difflib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from alignhmr.core.errors import InputError

Settings = TypeVar("Settings", bound=BaseModel)


def load_settings(
    kind: type[Settings], title: str, package: str, preset: str, path: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:  # fmt: skip
    """``package``'s preset of that name, with the keys of the YAML file laid over it, and the overrides over both.

    Overrides have dotted names (``"captions.engine"``); those that are None are not given. InputError says what is
    wrong first, calling it ``title``.
    """
    known = preset_names(package)
    if preset not in known:
        raise InputError(f"{title} preset {preset!r} is unknown; choose one of {', '.join(known)}")
    tree = yaml.safe_load((_folder(package) / f"{preset}.yaml").read_text())
    if path is not None:
        overlay(tree, _read(Path(path)))
    for name, value in (overrides or {}).items():
        if value is not None:
            for key in reversed(name.split(".")):
                value = {key: value}
            overlay(tree, value)
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise InputError(_sentence(error, kind, title)) from error


def preset_names(package: str) -> list[str]:
    """Names of the presets that come with the package."""
    files = (entry.name for entry in _folder(package).iterdir())
    return sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml"))


def overlay(tree: dict[str, Any], over: Mapping[str, Any]) -> None:
    """Lays ``over`` on ``tree``, key by key."""
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), dict):
            overlay(tree[key], value)
        else:
            tree[key] = value


def _folder(package: str):
    return resources.files(package) / "presets"


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


def _sentence(error: ValidationError, kind: type[BaseModel], title: str) -> str:
    """The first thing that is wrong with a configuration, in one sentence."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        keys = _known_keys(kind)
        near = difflib.get_close_matches(str(first["loc"][-1]), [key.rpartition(".")[2] for key in keys], n=1)
        meant = [key for key in keys if near and key.rpartition(".")[2] == near[0]]
        # Of those with that name the ones beside it, if there are any.
        beside = [key for key in meant if key.rpartition(".")[0] == where.rpartition(".")[0]] or meant
        return f"{title} config has no key {where!r}" + (
            f"; did you mean {' or '.join(map(repr, beside))}?" if beside else ""
        )
    more = error.error_count() - 1
    also = f" (and {more} more)" if more else ""
    return f"{title} config: {where} is {first['input']!r}: {first['msg'].lower()}{also}"


def _known_keys(model: type[BaseModel], within: str = "") -> list[str]:
    """Each with the sections it stands in, as ``base.loop.steps``."""
    keys = []
    for name, info in model.model_fields.items():
        keys.append(within + name)
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            keys.extend(_known_keys(info.annotation, f"{within}{name}."))
    return keys
