"""Folders of vision-language models: Hugging Face's format, with a file of ours beside it.

``alignhmr.json`` is what a checkpoint's header is elsewhere (``core/checkpoints.py``): what the model came from, and
how people are to be shown to it. Folders of others have none; they are shown people as they are.
"""

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from alignhmr.core.checkpoints import FORMAT_VERSION, SHIPPED, CheckpointInfo
from alignhmr.core.errors import CaptionerError, CompatibilityError, InputError
from alignhmr.core.language.shown import Shown

ABOUT = "alignhmr.json"
KIND = "captioner"


def shown_to(folder: Path) -> Shown | None:
    """How the model in the folder wants people shown; None where it was never told."""
    if not (folder / ABOUT).is_file():
        return None
    config = read_folder_info(folder).config
    return Shown(bool(config["drawn"]), int(config["picture_px"]))


def read_folder_info(folder: Path) -> CheckpointInfo:
    """InputError where there is no such file, CompatibilityError where it isn't one of this version's."""
    try:
        told = json.loads((folder / ABOUT).read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder} has no readable {ABOUT} ({error}); it wasn't written by alignhmr"
        ) from error
    if not isinstance(told, dict) or told.get("format_version") != FORMAT_VERSION:
        raise CompatibilityError(
            f"{folder / ABOUT} is of another version than this alignhmr reads ({FORMAT_VERSION}); train anew"
        )
    try:
        return CheckpointInfo(**told)
    except TypeError as error:
        raise CompatibilityError(f"{folder / ABOUT} isn't one of ours: {error}") from error


def load_vlm(folder: str | Path) -> tuple[Any, Any]:
    """Model (evaluation mode, float32) and processor of `transformers`.

    CaptionerError where the folder holds no model that answers about pictures.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise CaptionerError(f"there is no model folder {folder}; give the folder of a downloaded model")
    try:
        processor = AutoProcessor.from_pretrained(str(folder), local_files_only=True)
        model = AutoModelForImageTextToText.from_pretrained(
            str(folder), local_files_only=True, dtype=torch.float32
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CaptionerError(
            f"the vision-language model in {folder} can't be used: {reason}; download it again"
        ) from error
    return model.eval(), processor


def save_vlm(folder: Path, model: Any, processor: Any, info: CheckpointInfo, dtype: torch.dtype) -> str:
    """Writes model, processor and ``ABOUT``; returns the SHA-256 of the weights. Never leaves half a folder."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model.save_pretrained(partial, state_dict=_as(model, dtype))
    config = json.loads((partial / "config.json").read_text())
    config["dtype"] = str(dtype).removeprefix("torch.")
    (partial / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    processor.save_pretrained(partial)
    (partial / ABOUT).write_text(json.dumps(asdict(info), indent=1, sort_keys=True) + "\n")
    for file in partial.iterdir():
        file.chmod(0o644)
    if folder.exists():
        shutil.rmtree(folder)
    partial.replace(folder)
    return weights_digest(folder)


def weights_digest(folder: Path) -> str:
    """SHA-256 over the folder's weights, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def kept_dtype(folder: Path) -> torch.dtype:
    """In which the folder's weights are, as its configuration says; float32 where it doesn't."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise CaptionerError(
            f"{folder}/config.json can't be read ({error}); download the model again"
        ) from error
    told = config.get("dtype") or config.get("torch_dtype") or "float32"
    kinds = {"float16": torch.float16, "bfloat16": torch.bfloat16}
    return kinds.get(str(told), torch.float32)


def resolve_vlm(name_or_path: str) -> Path:
    """Folder of a shipped model (``starter``), or the path as it is."""
    shipped = SHIPPED / f"{KIND}-{name_or_path}"
    if "/" not in name_or_path and shipped.is_dir():
        return shipped
    return Path(name_or_path).expanduser()


def _as(model: nn.Module, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {
        name: value.detach().cpu().to(dtype) if value.is_floating_point() else value.detach().cpu()
        for name, value in model.state_dict().items()
    }
