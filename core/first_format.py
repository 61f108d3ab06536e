"""Checkpoints of format 1 as those of today: the same networks under other names.

Their base models saw keypoints alone, in a square around the keypoints; now the square is the box's, a little larger.
They answer as well there as they did (``tests/benchmarks/baseline.py``). This file goes when the last of them has gone.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.diffusion.parameters import SIZE

_KEYPOINTS = 3 * len(KEYPOINTS)
_MOVED = {"regressor.": "regressor.", "time.": "denoiser.time.", "denoiser_out.": "denoiser.out.",
          "denoiser.": "denoiser.blocks."}  # fmt: skip


def config_of_first(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as it is written today."""
    return {"image": "none", **config} if kind == "base" else dict(config)


def is_first(tensors: Mapping[str, Tensor]) -> bool:
    """Whether they are a base model's of format 1; scorers haven't changed."""
    return "denoiser_in.weight" in tensors


def tensors_of_first(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under today's names: a layer that took several kinds of input is one layer for each kind now."""
    first, bias = tensors["encoder.0.weight"], tensors["encoder.0.bias"]
    both, denoiser_bias = tensors["denoiser_in.weight"], tensors["denoiser_in.bias"]
    found = {
        "mean": tensors["mean"],
        "residual_std": tensors["residual_std"],
        "encoder.missing": torch.zeros(3, len(bias)),
        "encoder.from_keypoints.weight": first[:, :_KEYPOINTS],
        "encoder.from_keypoints.bias": bias,
        "encoder.from_look.weight": first[:, _KEYPOINTS:],
        "encoder.from_look.bias": torch.zeros_like(bias),
        "denoiser.from_x.weight": both[:, :SIZE],
        "denoiser.from_x.bias": denoiser_bias,
        "denoiser.from_evidence.weight": both[:, SIZE:],
        "denoiser.from_evidence.bias": torch.zeros_like(denoiser_bias),
    }
    for name, value in tensors.items():
        if name.startswith("encoder.") and not name.startswith("encoder.0."):
            block, rest = name.removeprefix("encoder.").split(".", 1)
            found[f"encoder.blocks.{int(block) - 1}.{rest}"] = value
        for before, after in _MOVED.items():
            if name.startswith(before):
                found[after + name.removeprefix(before)] = value
    return found
