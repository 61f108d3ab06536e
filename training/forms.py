"""In what form weights are kept: most models as one file, a vision-language model as a folder that others can read."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from alignhmr.core.checkpoints import CheckpointInfo, load_checkpoint, read_info, save_checkpoint


class Form(Protocol):
    @property
    def suffix(self) -> str:
        """Of the name; empty for a folder."""
        ...

    def shipped(self, module: nn.Module) -> nn.Module:
        """A copy of what learns, as it is when it was written in half precision and read again."""
        ...

    def write(self, path: Path, model: nn.Module, info: CheckpointInfo, *, half: bool) -> str:
        """Never leaves half of it; returns the weights' SHA-256."""
        ...

    def read(self, path: Path) -> tuple[nn.Module, CheckpointInfo]: ...

    def card(self, path: Path) -> Path:
        """Where the card of what is at ``path`` stands."""
        ...


@dataclass(frozen=True)
class OneFile:
    """A checkpoint of ours (``core/checkpoints.py``)."""

    kind: str
    config: Any
    """The model's configuration, of which its class builds it."""
    body_digest: str

    suffix = ".safetensors"

    def shipped(self, module: nn.Module) -> nn.Module:
        model = type(module)(self.config)
        model.load_state_dict(rounded(module.state_dict(), torch.float16))
        return model.eval().requires_grad_(False)

    def write(self, path: Path, model: nn.Module, info: CheckpointInfo, *, half: bool) -> str:
        return save_checkpoint(path, model, info, half=half)

    def read(self, path: Path) -> tuple[nn.Module, CheckpointInfo]:
        return load_checkpoint(path, self.kind, body_digest=self.body_digest)

    def card(self, path: Path) -> Path:
        return path.with_suffix(".md")


def rounded(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """A module's state as float32, after it was written as ``dtype``."""
    return {
        name: value.to(dtype).float() if value.is_floating_point() else value for name, value in state.items()
    }


def info_at(path: Path) -> CheckpointInfo:
    """What the weights at a path say of themselves, in either form."""
    from alignhmr.core.language.vlm_folder import read_folder_info

    return read_folder_info(path) if path.is_dir() else read_info(path)


def remove(path: Path) -> None:
    """Weights in either form, if they are there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
