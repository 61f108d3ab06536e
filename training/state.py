"""The state of a run on disk: one safetensors file, numbers as tensors, the rest as JSON in its header.

Whoever reads it executes nothing, and a run that is killed while it writes leaves the state before.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.training.loop import Trainer

STATE_VERSION = 1
STATE = "state.safetensors"
"""Name of the state in what Ray Train commits."""
_HEADER = "alignhmr-training"


def save_state(path: Path, trainer: Trainer, notes: dict[str, Any]) -> None:
    """Writes everything that the next step depends on; ``notes`` is the caller's own, JSON only."""
    state = trainer.state_dict()
    optimizer = state["optimizer"]
    tensors: dict[str, Tensor] = {}
    for part in ("module", "ema", "best"):
        tensors |= {f"{part}/{name}": value for name, value in state[part].items()}
    for index, slots in optimizer["state"].items():
        tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(value) for name, value in slots.items()}
    header = {
        "version": STATE_VERSION,
        "step": state["step"],
        "groups": optimizer["param_groups"],
        "notes": notes,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    # Shared storage (an EMA that was just made) would be refused: every tensor is written on its own.
    own = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    save_file(own, partial, metadata={_HEADER: json.dumps(header)})
    partial.replace(path)


def load_state(path: Path, trainer: Trainer) -> dict[str, Any]:
    """Puts the trainer where it was saved, to the bit, and returns the notes."""
    header, tensors = _read(path)
    parts: dict[str, dict[str, Tensor]] = {"module": {}, "ema": {}, "best": {}}
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        part, rest = name.split("/", 1)
        if part == "optimizer":
            index, slot = rest.split("/", 1)
            slots.setdefault(int(index), {})[slot] = value
        else:
            parts[part][rest] = value
    try:
        trainer.load_state_dict(
            {
                "step": header["step"],
                **parts,
                "optimizer": {"state": slots, "param_groups": header["groups"]},
            }
        )
    except (RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise CompatibilityError(
            f"{path} is the state of another model ({first}); give the preset it began with"
        ) from error
    return header["notes"]


def read_notes(path: Path) -> dict[str, Any]:
    """The notes alone; fast."""
    return _header(path)["notes"]


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    header = _header(path)
    with safe_open(path, framework="pt") as file:
        return header, {name: file.get_tensor(name) for name in file.keys()}


def _header(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_HEADER)
    except FileNotFoundError as error:
        raise InputError(f"there is no training state at {path}; start without --resume") from error
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"the training state {path} can't be read ({error}); it was cut short: start without --resume"
        ) from error
    header = json.loads(text) if text else {}
    if header.get("version") != STATE_VERSION:
        raise CompatibilityError(
            f"{path} has training-state version {header.get('version')}, this alignhmr reads {STATE_VERSION};"
            " start without --resume"
        )
    return header
