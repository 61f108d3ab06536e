"""EfficientNet-Lite0: folded norms and TensorFlow's padding, against the network as it is written down."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from alignhmr.core.errors import AssetError
from alignhmr.core.perception.backbone import EfficientNetLite0

STAGES = [(1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
          (6, 3, 1, 320, 1)]  # fmt: skip


def random_weights() -> dict[str, Tensor]:
    """As the file has them: convolutions without bias, and norms with running statistics."""
    torch.manual_seed(0)
    found: dict[str, Tensor] = {}

    def convolution(name: str, outputs: int, inputs: int, kernel: int) -> None:
        found[name + ".weight"] = (
            torch.randn(outputs, inputs, kernel, kernel) * (2 / (inputs * kernel**2)) ** 0.5
        )

    def norm(name: str, width: int) -> None:
        found[name + ".weight"] = torch.rand(width) + 0.5
        found[name + ".bias"] = torch.randn(width) * 0.1
        found[name + ".running_mean"] = torch.randn(width) * 0.1
        found[name + ".running_var"] = torch.rand(width) + 0.5

    convolution("_conv_stem", 32, 3, 3)
    norm("_bn0", 32)
    width, number = 32, 0
    for expansion, kernel, _, channels, repeats in STAGES:
        for _ in range(repeats):
            prefix, wide = f"_blocks.{number}.", width * expansion
            if expansion > 1:
                convolution(prefix + "_expand_conv", wide, width, 1)
                norm(prefix + "_bn0", wide)
            convolution(prefix + "_depthwise_conv", wide, 1, kernel)
            norm(prefix + "_bn1", wide)
            convolution(prefix + "_project_conv", channels, wide, 1)
            norm(prefix + "_bn2", channels)
            width, number = channels, number + 1
    return found


def reference(found: dict[str, Tensor], crops: Tensor) -> list[Tensor]:
    """Float64, norms unfolded, padding worked out for each convolution."""
    found = {name: value.double() for name, value in found.items()}

    def convolve(x: Tensor, name: str, norm: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight = found[name + ".weight"]
        kernel, size = weight.shape[-1], x.shape[-1]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        x = functional.pad(x, [total // 2, total - total // 2] * 2)
        x = functional.conv2d(x, weight, stride=stride, groups=groups)
        mean, var, weight, bias = (
            found[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(x, mean, var, weight, bias, eps=1e-3)

    x = functional.relu6(convolve((crops.double() - 127) / 128, "_conv_stem", "_bn0", 2))
    width, number, taps = 32, 0, []
    for expansion, _, stride, channels, repeats in STAGES:
        for repeat in range(repeats):
            prefix, inside = f"_blocks.{number}.", x
            if expansion > 1:
                inside = functional.relu6(convolve(inside, prefix + "_expand_conv", prefix + "_bn0"))
            step = stride if repeat == 0 else 1
            inside = convolve(inside, prefix + "_depthwise_conv", prefix + "_bn1", step, inside.shape[1])
            inside = convolve(functional.relu6(inside), prefix + "_project_conv", prefix + "_bn2")
            x = x + inside if step == 1 and width == channels else inside
            width, number = channels, number + 1
        if channels in (40, 112, 320):
            taps.append(x)
    return taps


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> tuple[dict[str, Tensor], Path]:
    found = random_weights()
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(found, path)
    return found, path


@pytest.mark.parametrize("side", [64, 96])
def test_agrees_with_the_network_as_written_down(weights, side: int) -> None:
    found, path = weights
    crops = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1)) * 255
    model = EfficientNetLite0.load(path).eval()
    with torch.no_grad():
        maps = model(crops)
    for features, expected, stride in zip(maps, reference(found, crops), (8, 16, 32), strict=True):
        assert features.shape[-1] == side // stride
        torch.testing.assert_close(
            features.double(), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())
        )


def test_front_and_rest_are_the_whole(weights) -> None:
    model = EfficientNetLite0.load(weights[1]).eval()
    crops = torch.rand(1, 3, 64, 64) * 255
    first = model.front(crops)
    for one, other in zip([first, *model.rest(first)], model(crops), strict=True):
        assert torch.equal(one, other)
    front = sum(p.numel() for p in model.front_parameters())
    assert 0 < front < 0.03 * sum(p.numel() for p in model.parameters())


def test_another_networks_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(AssetError, match="does not hold EfficientNet-Lite0"):
        EfficientNetLite0.load(tmp_path / "other.pth")
