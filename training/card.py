"""The model card: what a checkpoint is, what it came from and how good it is, for a person to read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from alignhmr.core.checkpoints import CheckpointInfo
from alignhmr.core.diffusion.model import TRANSFORMERS

FIGURES: tuple[str, ...] = ("zero_noise", "mean", "best_of_m")
COLUMNS: tuple[tuple[str, str], ...] = tuple(
    (metric, told) for metric in ("pa_mpjpe", "mpjpe") for told in FIGURES
)
"""Of ``by_evidence``: PA-MPJPE's figures, then MPJPE's."""
TITLES = {
    "pa_mpjpe": "PA-MPJPE", "mpjpe": "MPJPE", "zero_noise": "zero-noise", "mean": "mean", "best_of_m": "best of M",
}  # fmt: skip

_LICENCES = {
    "": "Apache-2.0; the motion clips are under zlib, from the CMU motion capture database",
    "blazepose": "the image encoder reads BlazePose's inner layers, Apache-2.0, which stay in its own file",
    "efficientnet-lite0": "the image encoder began with EfficientNet-Lite0's ImageNet weights, Apache-2.0",
}
_PLACES = "where the crop looks, from box and camera"


def write_card(
    path: Path, name: str, digest: str, model: nn.Module, info: CheckpointInfo, history: list[dict[str, Any]]
) -> None:
    """Markdown beside the weights."""
    recipe = dict(info.recipe)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    steps = recipe["recipe"]["loop"]["steps"]
    lines = [
        f"# {name}",
        "",
        _what(info),
        "",
        f"- {parameters:,} parameters, safetensors, sha256 `{digest}`",
        f"- body model: {info.body_model} (`{info.body_digest[:16]}`)",
        f"- {'preset ' + recipe['preset'] + ', ' if recipe.get('preset') else ''}seed {recipe.get('seed')},"
        f" {steps:,} steps, {recipe.get('minutes')} minutes on {recipe.get('machine')}, torch {recipe.get('torch')}",
        *_shipped(recipe, name, steps),
        *_data(recipe, info.kind),
        *([f"- hypotheses of base `{recipe['base']}`"] if "base" in recipe else []),
        *([f"- began with the weights of `{recipe['init']}`"] if "init" in recipe else []),
        f"- licence: {'; '.join(_licences(info))}",
        "",
        "## Metrics",
        "",
        _judged_by(recipe, info.kind),
        "",
        *_metrics(info.metrics),
    ]
    if history:
        keys = [key for key in history[0] if _followed(key)]
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


def by_evidence(metrics: Mapping[str, float]) -> list[tuple[str, list[float]]]:
    """What the model was shown, and its errors in mm in the order of ``COLUMNS``; empty for a scorer."""
    rows = []
    for prefix, shown in (
        ("", "everything"),
        ("without_image_", "no image"),
        ("without_keypoints_", "no keypoints"),
    ):
        names = [f"{prefix}{metric}_{told}_mm" for metric, told in COLUMNS]
        if all(name in metrics for name in names) and "srcc_group" not in metrics:
            rows.append((shown, [metrics[name] for name in names]))
    return rows


def others(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that ``by_evidence`` leaves."""
    told = [f"{metric}_{figure}_mm" for metric, figure in COLUMNS] if by_evidence(metrics) else []
    return {name: value for name, value in metrics.items() if not name.endswith(tuple(told))}


def _metrics(metrics: Mapping[str, float]) -> list[str]:
    lines = []
    if rows := by_evidence(metrics):
        titles = [f"{TITLES[metric]} {TITLES[told]}" for metric, told in COLUMNS]
        lines += [f"| mm, given | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
        lines += [f"| {shown} | {' | '.join(f'{value:.1f}' for value in values)} |" for shown, values in rows]
        lines += [""]
    lines += ["| metric | value |", "|---|---|"]
    return [*lines, *(f"| {key} | {value:.4g} |" for key, value in others(metrics).items()), ""]


def _followed(key: str) -> bool:
    """Whether the history shows it."""
    wanted = (
        "pa_mpjpe_zero_noise_mm"
        if key.startswith("without_")
        else ("zero_noise_mm", "srcc_group", "best_of_m_mm")
    )
    return key.endswith(wanted) or key in ("vqvae_mpjpe_mm", "codebook_use", "mean_recall", "macro_f1")


def _what(info: CheckpointInfo) -> str:
    if info.kind == "text-pose":
        return (
            "A space where descriptions of poses and poses meet: a pose VQ-VAE (24 rotations to"
            f" {24 * info.config['levels']} tokens of {info.config['levels']} codebooks of {info.config['codes']}"
            f" codes), and clauses of text by {info.config['text_encoder']}, which isn't in this file. It reads and"
            " writes nothing by itself: it says how near a text and a pose are."
        )
    if info.kind == "captioner":
        shown = "with the detector's keypoints drawn in" if info.config["drawn"] else "as they are"
        return (
            "A vision-language model that describes a person's pose in posecodes, as JSON. People are shown to it in"
            f" squares of {info.config['picture_px']} pixels, {shown}. It answers one question, that of"
            " `core/language/captions.py`, and knows nothing else."
        )
    if info.kind != "base":
        return "HMR-Scorer: rates hypotheses of one person, and estimates their error, without 3D labels."
    image = _image(info)
    if image == "none":
        return (
            "A conditional diffusion model over SMPL-format parameters. It sees 2D keypoints and "
            f"{_PLACES}; no pixels."
        )
    return (
        f"A conditional diffusion model over SMPL-format parameters. It sees a crop of {info.config['crop_px']} x"
        f" {info.config['crop_px']} pixels (through {image}), 2D keypoints, and {_PLACES}; any of them may be missing."
    )


def _image(info: CheckpointInfo) -> str:
    """What looks at pixels; of a vision model's folder the last name, since a card travels farther than a disk."""
    image = info.config.get("image", "none")
    return Path(image.removeprefix(TRANSFORMERS)).name if image.startswith(TRANSFORMERS) else image


def _shipped(recipe: dict[str, Any], name: str, steps: int) -> list[str]:
    if "step" not in recipe:
        return []
    if recipe["step"] == steps:
        return [f"- the weights shipped are those of the last step, {steps:,}"]
    return [
        f"- the weights shipped are the best on the way, of step {recipe['step']:,}, chosen by the zero-noise PA-MPJPE"
        " of the people below, which therefore flatters them a little; those of the last step are in"
        f" `{name}-last.safetensors`"
    ]


def _data(recipe: dict[str, Any], kind: str) -> list[str]:
    motion = f"motion: {', '.join(recipe.get('clips', []))} (`{recipe.get('data_digest', '')[:16]}`)"
    if kind == "text-pose":
        return [f"- learned from drawn poses and captions of their posecodes; {motion}"]
    if "mixture" not in recipe:
        return [f"- learned from made people's simulated detections only; {motion}"]
    lines = [f"- learned from prepared people (`{recipe['mixture'][:16]}`) with pictures:"]
    for source in recipe.get("data", []):
        plans = "; ".join(map(plan_in_words, source["plans"]))
        lines.append(f"  - weight {source['weight']:g}, {source['people']:,} people: {plans}")
    return [*lines, f"- and from simulated detections; {motion}"]


def plan_in_words(plan: dict[str, Any]) -> str:
    """A source's plan in words, as far as it says where the people are from."""
    if "data_set" in plan:
        return f"data set {plan['data_set']}"
    if "domain" in plan:
        return f"made people, {plan['domain']} {plan.get('split', '')} seed {plan.get('seed', 0)}"
    return f"made people of folder `{str(plan['made'])[:16]}`" if "made" in plan else "unknown source"


def _licences(info: CheckpointInfo) -> list[str]:
    texts = [_LICENCES[""]]
    if (image := _image(info)) in _LICENCES:
        texts.append(_LICENCES[image])
    elif image != "none":
        texts.append(f"the image encoder began with the weights of {image}, whose licence goes on with them")
    plans = [plan for source in info.recipe.get("data", []) for plan in source["plans"]]
    names = sorted({plan["data_set"] for plan in plans if "data_set" in plan})
    if names:
        texts.append(f"learned from {', '.join(names)}, whose licences say who may use what came of them")
    return texts


def _judged_by(recipe: dict[str, Any], kind: str) -> str:
    if kind == "text-pose":
        return (
            "On poses drawn from clips that were never trained on"
            f" ({', '.join(recipe.get('held_out_clips', []))}), told in wordings and sentences that were never trained"
            " on. Recall in per cent; mean_recall is the mean of R@1, 5 and 10 both ways with complete captions, by the"
            " space and by the posecodes that patterns read, mean_recall_space by the space alone, mean_recall_half"
            " with half of the clauses left out."
        )
    if kind == "captioner":
        clips = ", ".join(recipe.get("held_out_clips", []))
        who = f"people in motion that was never trained on ({clips}), drawn on black"
        if judged := recipe.get("judged_by"):
            plans = [plan for source in judged["data"] for plan in source["plans"]]
            who = f"{judged['people']} prepared people who were held out ({'; '.join(map(plan_in_words, plans))})"
        return (
            f"Unconstrained answers about {who}. macro_f1 is the mean over facts of the mean over categories of F1,"
            " over what has a meaning and isn't hidden; 'unknown' misses. majority_macro_f1 is that of always answering"
            " the most frequent category. valid_json is the share of answers in which nothing is wrong with the form."
        )
    oracle = "Best-of-M needs the truth to choose and is no headline."
    if judged := recipe.get("judged_by"):
        plans = [plan for source in judged["data"] for plan in source["plans"]]
        people = (
            f"on {judged['people']} prepared people who were held out (`{judged['digest'][:16]}`:"
            f" {'; '.join(map(plan_in_words, plans))}), with true boxes and cameras, over"
        )
        if kind == "scorer":
            return f"Of the base's own hypotheses {people} the 24 joints; the selected are the best-scored. {oracle}"
        return (
            f"By the evaluator, {people} 12 limb joints; _low and _high are the ends of a 95 % interval over clips."
            f" {oracle}"
        )
    return (
        f"On made people in motion that was never trained on ({', '.join(recipe.get('held_out_clips', []))}):"
        f" simulated detections, no photos. {oracle}"
    )
