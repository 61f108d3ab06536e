"""The model card: what a checkpoint is, what it came from and how good it is, for a person to read."""

import json
from pathlib import Path
from typing import Any

from torch import nn

from alignhmr.core.checkpoints import CheckpointInfo

_WHAT = {
    "base": "A conditional diffusion model over SMPL-format parameters: 2D keypoints in, bodies out.",
    "scorer": "HMR-Scorer: rates hypotheses of one person, and estimates their error, without 3D labels.",
}


def write_card(
    path: Path, name: str, digest: str, model: nn.Module, info: CheckpointInfo, history: list[dict[str, Any]]
) -> None:
    """Markdown beside the weights."""
    recipe = dict(info.recipe)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    lines = [
        f"# {name}",
        "",
        _WHAT.get(info.kind, info.kind),
        "",
        f"- {parameters:,} parameters, safetensors, sha256 `{digest}`",
        f"- body model: {info.body_model} (`{info.body_digest[:16]}`)",
        f"- seed {recipe.get('seed')}, {recipe['recipe']['loop']['steps']:,} steps,"
        f" {recipe.get('minutes')} minutes on {recipe.get('machine')}, torch {recipe.get('torch')}",
        f"- learned from made people only; motion: {', '.join(recipe.get('clips', []))}",
        f"- data digest `{recipe.get('data_digest', '')[:16]}`",
        *([f"- hypotheses of base `{recipe['base']}`"] if "base" in recipe else []),
        "- licence: Apache-2.0; the motion clips are under zlib, from the CMU motion capture database",
        "",
        "## Metrics",
        "",
        f"On made people in motion that was never trained on ({', '.join(recipe.get('held_out_clips', []))}):"
        " simulated detections, no photos. Best-of-M needs the truth to choose and is no headline.",
        "",
        "| metric | value |",
        "|---|---|",
        *(f"| {key} | {value:.4g} |" for key, value in info.metrics.items()),
        "",
    ]
    if history:
        keys = [key for key in history[0] if key.endswith(("zero_noise_mm", "srcc_group", "best_of_m_mm"))]
        lines += [
            "## While it learned",
            "",
            "| step | " + " | ".join(keys) + " |",
            "|---" * (len(keys) + 1) + "|",
        ]
        lines += [
            f"| {row['step']} | " + " | ".join(f"{row[key]:.4g}" for key in keys) + " |" for row in history
        ]
        lines += [""]
    lines += ["## Recipe", "", "```json", json.dumps(recipe["recipe"], indent=1), "```", ""]
    path.write_text("\n".join(lines))
