"""Checkpoints: weights as safetensors, everything else as JSON in the same file's header. Nothing unpickles.

The header names the kind of model, its configuration, the body model it speaks of, and its format version;
a checkpoint that doesn't belong is refused with the reason.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from alignhmr.core.diffusion.model import BaseModel, BaseModelConfig
from alignhmr.core.diffusion.parameters import POSE
from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.core.language.text_pose import TextPose, TextPoseConfig
from alignhmr.core.scoring.scorer import HMRScorer, ScorerConfig

FORMAT_VERSION = 2
SHIPPED = Path(__file__).parent / "weights"
_KINDS: dict[str, tuple[type[nn.Module], type]] = {
    "base": (BaseModel, BaseModelConfig),
    "scorer": (HMRScorer, ScorerConfig),
    "text-pose": (TextPose, TextPoseConfig),
}


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says about itself."""

    kind: str
    config: dict[str, Any]
    body_model: str
    body_digest: str
    recipe: dict[str, Any] = field(default_factory=dict)
    """Seed, steps, data and how it came about; not needed to load it."""
    metrics: dict[str, Any] = field(default_factory=dict)
    confidence: dict[str, Any] | None = None
    """What a base model's spreads, or a scorer's expected errors, are worth: see ``scoring/confidence.py``."""
    format_version: int = FORMAT_VERSION


def save_checkpoint(path: Path, model: nn.Module, info: CheckpointInfo, *, half: bool = False) -> str:
    """Writes the weights (float16 if ``half``) and returns the file's SHA-256; never leaves half a file."""
    tensors = {
        name: value.detach()
        .cpu()
        .contiguous()
        .to(torch.float16 if half and value.is_floating_point() else value.dtype)
        for name, value in model.state_dict().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"alignhmr": json.dumps(asdict(info), sort_keys=True)})
    partial.chmod(0o644)  # safetensors writes 0600, and a service often runs as another user
    partial.replace(path)
    return file_digest(path)


def read_info(path: Path) -> CheckpointInfo:
    """The header alone; fast."""
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get("alignhmr")
    except FileNotFoundError as error:
        raise InputError(
            f"no checkpoint at {path}; give a .safetensors file, or the name of a shipped preset"
        ) from error
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path} is not a readable safetensors file ({error}); it may be cut short: copy it anew"
        ) from error
    if header is None:
        raise CompatibilityError(f"{path} holds no alignhmr header; it was written by another program")
    try:
        told = dict(json.loads(header))
    except (ValueError, TypeError) as error:
        raise CompatibilityError(
            f"the alignhmr header of {path} can't be read ({error}); copy it anew"
        ) from error
    # First of all: another version may have other fields.
    if told.get("format_version") != FORMAT_VERSION:
        raise CompatibilityError(
            f"{path} has checkpoint format {told.get('format_version')}, this alignhmr reads {FORMAT_VERSION};"
            " use the version of alignhmr that wrote it, or train anew"
        )
    try:
        return CheckpointInfo(**told)
    except TypeError as error:
        raise CompatibilityError(f"the alignhmr header of {path} isn't one of ours: {error}") from error


def load_checkpoint(
    path: Path, kind: str, *, body_digest: str | None = None
) -> tuple[nn.Module, CheckpointInfo]:
    """The model in evaluation mode, float32, and its header; refuses another kind or another body."""
    info = read_info(path)
    if info.kind != kind:
        raise CompatibilityError(
            f"{path} is a checkpoint of a {info.kind!r} model; a {kind!r} model is wanted"
        )
    if body_digest is not None and info.body_digest != body_digest:
        raise CompatibilityError(
            f"{path} was trained with body model {info.body_model} ({info.body_digest[:12]}), but the body loaded has"
            f" digest {body_digest[:12]}; load the body it was trained with: betas of two bodies don't mix"
        )
    model_type, config_type = _KINDS[kind]
    lost = [name for name, value in info.config.items() if isinstance(value, float) and not isfinite(value)]
    if lost:
        raise CompatibilityError(f"{path} has {lost[0]} {info.config[lost[0]]}; it must be a finite number")
    try:
        model = model_type(config_type(**info.config))
    except (TypeError, ValueError, RuntimeError) as error:
        raise CompatibilityError(
            f"{path} has a configuration that this alignhmr can't build ({error}); use the version that wrote it"
        ) from error
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}
    broken = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if broken:
        raise InputError(f"{path} holds non-finite weights in {broken[0]}; the run that wrote it diverged")
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CompatibilityError(f"{path} doesn't fit its own configuration: {error}") from error
    if isinstance(model, BaseModel) and model.residual_std[POSE].max() > 2:
        raise CompatibilityError(
            f"{path} measures residuals to estimates that are no bodies, as alignhmr did before 2026-12; train it anew"
        )
    return model.eval().requires_grad_(False), info


def resolve(name_or_path: str | Path, kind: str) -> Path:
    """Path of a shipped preset (``starter``) or of the user's own file."""
    if (
        isinstance(name_or_path, str)
        and "/" not in name_or_path
        and not name_or_path.endswith(".safetensors")
    ):
        shipped = SHIPPED / f"{kind}-{name_or_path}.safetensors"
        if shipped.exists():
            return shipped
        known = sorted(p.stem.removeprefix(f"{kind}-") for p in SHIPPED.glob(f"{kind}-*.safetensors"))
        if not Path(name_or_path).exists():
            raise InputError(
                f"no {kind} checkpoint called {name_or_path!r}; shipped: {', '.join(known) or 'none'}"
            )
    return Path(name_or_path)


def absolute(name_or_path: str | Path) -> str:
    """The same for a process that works in another folder: files get their whole path, names of what ships stay."""
    text = str(name_or_path)
    return str(Path(text).absolute()) if "/" in text or Path(text).suffix else text


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
