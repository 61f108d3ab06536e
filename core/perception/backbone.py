"""Image features of a crop: EfficientNet-Lite0, trained on ImageNet.

EfficientNet (Tan and Le 2019) without squeeze-and-excitation and with ReLU6, as TensorFlow's "lite" models
have it. Batch norms are folded into the convolutions: the network is small enough to be trained further without them.
"""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from alignhmr.core.errors import AssetError

# Expansion, kernel, first stride, channels, repeats: table 1 of the paper.
_STAGES = (
    (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4), (6, 3, 1, 320, 1),
)  # fmt: skip
_STEM = 32
_EPSILON = 1e-3


class EfficientNetLite0(nn.Module):
    """Feature maps at strides 8, 16 and 32 with 40, 112 and 320 channels."""

    channels: tuple[int, int, int] = (40, 112, 320)

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Convolution(3, _STEM, 3, 2)
        blocks, width, taps = [], _STEM, []
        for expansion, kernel, stride, channels, repeats in _STAGES:
            for repeat in range(repeats):
                blocks.append(_Block(width, channels, expansion, kernel, stride if repeat == 0 else 1))
                width = channels
            if channels in self.channels:
                taps.append(len(blocks) - 1)
        self.blocks = nn.ModuleList(blocks)
        self._taps = tuple(taps)

    @classmethod
    def load(cls, weights: Path) -> "EfficientNetLite0":
        """From the ``backbone`` asset's file; only tensors are read from it."""
        model = cls()
        model.read(weights)
        return model

    def read(self, weights: Path) -> None:
        """Replaces the weights by those of the file."""
        found = torch.load(weights, map_location="cpu", weights_only=True)
        try:
            self.stem.fold(found, "_conv_stem", "_bn0")
            for index, block in enumerate(self.blocks):
                assert isinstance(block, _Block)
                block.fold(found, f"_blocks.{index}.")
        except (KeyError, RuntimeError) as error:
            raise AssetError(
                f"{weights} does not hold EfficientNet-Lite0 ({error}); fetch it again"
            ) from error

    def forward(
        self, crops: Float[Tensor, "batch 3 side side"]
    ) -> list[Float[Tensor, "batch channels rows rows"]]:
        """Features of RGB crops in 0..255."""
        first = self.front(crops)
        return [first, *self.rest(first)]

    def front(self, crops: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch 40 rows rows"]:
        """Edges and textures: the layers up to stride 8, a third of the time and 2 % of the weights."""
        x = nn.functional.relu6(self.stem((crops - 127.0) / 128.0))
        for block in self.blocks[: self._taps[0] + 1]:
            x = block(x)
        return x

    def rest(self, x: Float[Tensor, "batch 40 rows rows"]) -> list[Float[Tensor, "batch channels rows rows"]]:
        """What the front's answer becomes: features at strides 16 and 32."""
        maps = []
        for index in range(self._taps[0] + 1, len(self.blocks)):
            x = self.blocks[index](x)
            if index in self._taps:
                maps.append(x)
        return maps

    def front_parameters(self) -> list[nn.Parameter]:
        modules = (self.stem, *self.blocks[: self._taps[0] + 1])
        return [parameter for module in modules for parameter in module.parameters()]


class _Convolution(nn.Conv2d):
    """A convolution padded as TensorFlow pads ("same": the odd pixel at the far side)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        symmetric = (kernel - 1) // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, symmetric, groups=groups)

    def forward(self, input: Tensor) -> Tensor:
        if self.groups > 1 and input.device.type == "cpu":
            # Gradients of depthwise convolutions are slow in half precision there, those of all others fast.
            with torch.autocast("cpu", enabled=False):
                return self._convolve(input.float())
        return self._convolve(input)

    def _convolve(self, input: Tensor) -> Tensor:
        if self.stride[0] > 1:
            pads = []
            for side in (input.shape[-1], input.shape[-2]):
                total = max((-(-side // 2) - 1) * 2 + self.kernel_size[0] - side, 0)
                pads += [total // 2, total - total // 2]
            input = nn.functional.pad(input, pads)
        return super().forward(input)

    def fold(self, found: dict[str, Tensor], convolution: str, norm: str) -> None:
        scale = found[norm + ".weight"] / (found[norm + ".running_var"] + _EPSILON).sqrt()
        assert self.bias is not None
        with torch.no_grad():
            self.weight.copy_(found[convolution + ".weight"] * scale[:, None, None, None])
            self.bias.copy_(found[norm + ".bias"] - found[norm + ".running_mean"] * scale)


class _Block(nn.Module):
    """Inverted residual: expand, filter each channel, project."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = _Convolution(inputs, wide, 1) if expansion > 1 else None
        self.depthwise = _Convolution(wide, wide, kernel, stride, groups=wide)
        self.project = _Convolution(wide, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else nn.functional.relu6(self.expand(x))
        y = self.project(nn.functional.relu6(self.depthwise(y)))
        return x + y if self.residual else y

    def fold(self, found: dict[str, Tensor], prefix: str) -> None:
        if self.expand is not None:
            self.expand.fold(found, prefix + "_expand_conv", prefix + "_bn0")
        self.depthwise.fold(found, prefix + "_depthwise_conv", prefix + "_bn1")
        self.project.fold(found, prefix + "_project_conv", prefix + "_bn2")
