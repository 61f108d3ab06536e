"""Features of a crop's patches from a vision model of `transformers`: DINOv2, DINOv3, ViT, ViTPose and their like.

A model is described once, from its folder, as plain JSON. That goes into the checkpoint of whatever was trained on
it, so that the architecture is built again where the folder is not. Weights are read as safetensors only.
"""

import inspect
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from alignhmr.core.errors import CompatibilityError, SetupError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LARGEST_PREFIX = 16
"""Class and register tokens before the patches; DINOv3 has 5."""
_SAID_ELSEWHERE = (
    "_name_or_path", "architectures", "auto_map", "dtype", "id2label", "label2id", "transformers_version",
)  # fmt: skip


def describe(source: str) -> dict[str, Any]:
    """What the model under that folder or name is, as JSON: its config, its input and the grid of its patches.

    Input size, mean and deviation are those of its image processor's file; without one, the config's size and
    ImageNet's. No weights are read. SetupError where there is no such model, CompatibilityError where it doesn't
    answer pictures with patch tokens.
    """
    whole = _config(source)
    config = getattr(whole, "backbone_config", None) or whole
    tree = json.loads(config.to_json_string(use_diff=False))
    processor = _processor(source)
    rows, columns = _input_px(processor, config)
    described = {
        "config": {key: value for key, value in tree.items() if key not in _SAID_ELSEWHERE},
        "input_px": [rows, columns],
        "mean": [float(value) for value in processor.get("image_mean") or IMAGENET_MEAN],
        "std": [float(value) for value in processor.get("image_std") or IMAGENET_STD],
    }
    with torch.device("meta"):
        model = _build(described["config"])
        try:
            answer = model(pixel_values=torch.zeros(1, 3, rows, columns), **_options(model, 1))
            features = _map_of(answer, rows, columns, config)
        except (AttributeError, RuntimeError, TypeError, ValueError) as error:
            raise _without_patches(source, config, _first_line(error)) from error
    if features is None:
        raise _without_patches(
            source, config, f"its answer to {rows} x {columns} pixels is no grid of patches"
        )
    _, channels, *grid = features.shape
    if rows % grid[0] or columns % grid[1] or rows // grid[0] != columns // grid[1]:
        raise _without_patches(source, config, f"{rows} x {columns} pixels become {grid[0]} x {grid[1]}")
    return {**described, "grid": list(grid), "channels": channels}


class VisionBackbone(nn.Module):
    """Square crops -> features of square patches.

    Where the model's input isn't square (ViTPose: 256 x 192), the whole crop is shown, at the size of the shorter
    side, with black above and below or beside it; patches of the black are left out of the answer.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, described: Mapping[str, Any], *, trained: bool = True) -> None:
        """With random weights. What isn't trained stays in evaluation mode."""
        super().__init__()
        self.model = _build(described["config"])
        self.trained = trained
        self.channels: int = described["channels"]
        rows, columns = self.input_px = tuple(described["input_px"])
        self.side_px = min(rows, columns)
        stride = rows // described["grid"][0]
        self.patches = self.side_px // stride
        """On each side of the crop."""
        # Whole patches of black only: a crop in the very middle might begin inside one.
        self._top, self._left = ((side - self.side_px) // 2 // stride for side in (rows, columns))
        left, top = self._left * stride, self._top * stride
        self._pads = (left, columns - self.side_px - left, top, rows - self.side_px - top)
        for name in ("mean", "std"):
            value = torch.tensor(described[name], dtype=torch.float32)[:, None, None]
            self.register_buffer(name, value, persistent=False)

    def train(self, mode: bool = True) -> "VisionBackbone":
        return super().train(mode and self.trained)

    def recompute(self, on: bool) -> None:
        """Whether gradients work activations out again instead of keeping them."""
        switch = "gradient_checkpointing_enable" if on else "gradient_checkpointing_disable"
        if getattr(self.model, "supports_gradient_checkpointing", False):
            getattr(self.model, switch)(*([{"use_reentrant": False}] if on else []))

    def forward(
        self, crops: Float[Tensor, "images 3 side side"]
    ) -> Float[Tensor, "images channels patches patches"]:
        """Features of RGB crops in 0..255."""
        pixels = crops
        if crops.shape[-1] != self.side_px:
            size = (self.side_px, self.side_px)
            pixels = nn.functional.interpolate(pixels, size, mode="bilinear", antialias=True)
        pixels = nn.functional.pad(pixels / 255, self._pads)
        answer = self.model(pixel_values=(pixels - self.mean) / self.std, **_options(self.model, len(crops)))
        features = _map_of(answer, self.input_px[0], self.input_px[1], self.model.config)
        assert features is not None, "describe() has seen its patches"
        rows, columns = (slice(first, first + self.patches) for first in (self._top, self._left))
        return features[:, :, rows, columns]

    def read(self, source: str) -> None:
        """Replaces the weights by those of the model that was described.

        SetupError where there are none or some are missing, CompatibilityError where they are another model's.
        """
        loaded = _pretrained(source)
        try:
            self.model.load_state_dict(loaded.state_dict())
        except RuntimeError as error:
            raise CompatibilityError(
                f"the weights under {source!r} don't fit the model that was described ({_first_line(error)});"
                " name the folder that training began with"
            ) from error


def _config(source: str) -> Any:
    try:
        from transformers import AutoConfig

        with _quiet():
            return AutoConfig.from_pretrained(source, local_files_only=_local())
    except (OSError, ValueError) as error:
        why = _first_line(error)
        if _local() and not os.path.isdir(source):
            why = "there is no such folder, and no such name in the model hub's cache"
        raise _missing(f"no vision model under {source!r} ({why})") from error


def _processor(source: str) -> dict[str, Any]:
    """The image processor's own JSON; empty where there is none. The processors themselves want torchvision."""
    from transformers.utils.hub import cached_file

    for name in ("preprocessor_config.json", "processor_config.json"):
        path = cached_file(
            source, name, local_files_only=_local(), _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )  # fmt: skip
        if path is None:
            continue
        try:
            with open(path) as file:
                found = json.load(file)
        except (OSError, ValueError) as error:
            raise SetupError(
                f"{path} can't be read ({_first_line(error)}); download the model anew"
            ) from error
        found = found.get("image_processor", found)
        if "image_mean" in found or "size" in found:
            return found
    return {}


def _input_px(processor: Mapping[str, Any], config: Any) -> tuple[int, int]:
    """Rows and columns."""
    wanted = processor.get("crop_size") if processor.get("do_center_crop", True) else None
    for size in (wanted, processor.get("size"), getattr(config, "image_size", None), 224):
        if isinstance(size, Mapping):
            size = [size["height"], size["width"]] if "height" in size else size.get("shortest_edge")
        if isinstance(size, list | tuple) and len(size) == 2:
            return int(size[0]), int(size[1])
        if isinstance(size, int):
            return size, size
    raise AssertionError("224 is a size")


def _build(config: Mapping[str, Any]) -> nn.Module:
    """The architecture, with random weights."""
    try:
        from transformers import AutoConfig, AutoModel

        made = AutoConfig.for_model(**config)
        kind = _backbone_class(made)
        model = AutoModel.from_config(made) if kind is None else kind._from_config(made)
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        raise SetupError(
            f"transformers can't build a {config.get('model_type')!r} model here ({_first_line(error)}); install a"
            " version that knows it, and the torchvision that belongs to this torch, or none"
        ) from error
    return _trimmed(model)


def _pretrained(source: str) -> nn.Module:
    config = _config(source)
    inside = getattr(config, "backbone_config", None) is not None
    try:
        import transformers

        if inside:
            kind = getattr(transformers, (config.architectures or [""])[0], None)
            if kind is None:
                raise ValueError(f"its config.json names no architecture that holds a {config.model_type}")
        else:
            kind = _backbone_class(config) or transformers.AutoModel
        with _quiet():
            model, info = kind.from_pretrained(
                source, config=config, local_files_only=_local(), use_safetensors=True, dtype=torch.float32,
                output_loading_info=True,
            )  # fmt: skip
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        raise _missing(f"no weights of a vision model under {source!r} ({_first_line(error)})") from error
    lacking = sorted(
        key for key in info["missing_keys"] if not key.startswith("pooler.") and "mask_token" not in key
    )
    if lacking:
        raise _missing(f"{source!r} lacks {len(lacking)} weights of its own model, {lacking[0]} first")
    return _trimmed(model.backbone if inside else model)


def _backbone_class(config: Any) -> Any:
    """The class that answers with feature maps; None for a model that has none of the kind."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING

    return MODEL_FOR_BACKBONE_MAPPING.get(type(config), None)


def _trimmed(model: nn.Module) -> nn.Module:
    """Without the parts that are never asked: they would wait for gradients."""
    if getattr(model, "pooler", None) is not None:
        model.register_module("pooler", None)
    for module in model.modules():
        if getattr(module, "mask_token", None) is not None:
            module.register_parameter("mask_token", None)
    return model


def _options(model: nn.Module, images: int) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if "interpolate_pos_encoding" in inspect.signature(model.forward).parameters:
        options["interpolate_pos_encoding"] = True
    if getattr(model.config, "num_experts", 1) > 1:
        # ViTPose++ has experts for each of its training sets; the first is COCO's.
        options["dataset_index"] = torch.zeros(
            images, dtype=torch.long, device=next(model.parameters()).device
        )
    return options


def _map_of(answer: Any, rows: int, columns: int, config: Any) -> Tensor | None:
    """Features as a map, whatever the model calls them; None where they are no grid."""
    maps = getattr(answer, "feature_maps", None)
    features = answer.last_hidden_state if maps is None else maps[-1]
    if features.ndim == 4:
        return features
    patch = getattr(config, "patch_size", None)
    high, wide = patch if isinstance(patch, list | tuple) else (patch, patch)
    if features.ndim != 3 or not high or not wide:
        return None
    down, across = rows // high, columns // wide
    prefix = features.shape[1] - down * across
    if not 0 <= prefix <= _LARGEST_PREFIX:
        return None
    return features[:, prefix:].mT.unflatten(-1, (down, across))


def _local() -> bool:
    """Nothing is downloaded unless the user's environment says HF_HUB_OFFLINE=0 in so many words."""
    return os.environ.get("HF_HUB_OFFLINE") != "0"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own bars and reports; what matters is raised."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _missing(what: str) -> SetupError:
    return SetupError(
        f"{what}; download the model (config.json and model.safetensors) and name its folder (base: model: image:"
        " transformers:FOLDER), or set HF_HUB_OFFLINE=0 to have a name of the model hub downloaded",
        code="model_missing",
    )


def _without_patches(source: str, config: Any, why: str) -> CompatibilityError:
    return CompatibilityError(
        f"the {config.model_type} model under {source!r} gives no square patch tokens ({why}); take a vision"
        " transformer such as DINOv2, DINOv3, ViT or ViTPose"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
