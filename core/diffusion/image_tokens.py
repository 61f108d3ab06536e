"""What a picture says about a body: where each joint seems to be and how deep, and features there.

Heat maps are learned where the truth is known and read by their mean (integral regression: Sun et al., ECCV 2018),
so that few pictures teach much. The detector's keypoints are shown to the network as maps beside its features; what it
answers stands beside them, and may contradict them.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from alignhmr.core.body.skeleton import JOINTS, KEYPOINTS
from alignhmr.core.perception.backbone import EfficientNetLite0

POINTS = len(JOINTS) + len(KEYPOINTS)
"""Joints of the body, then its keypoints."""
_LOCAL = 16
_GLOBAL = 256


@dataclass(frozen=True)
class ImageTokens:
    """Features of each picture."""

    points: Float[Tensor, "images points 3"]
    """x, y over the crop in [-1, 1], and depth in metres behind the root joint."""
    spread: Float[Tensor, "images points"]
    """Standard deviation of each heat map, in half crops: large where the picture doesn't say."""
    heat: Float[Tensor, "images points rows columns"]
    """Logits of each heat map."""
    local: Float[Tensor, "images points local"]
    whole: Float[Tensor, "images global"]
    patches: Float[Tensor, "images channels down across"]
    """Features all over the crop, for an encoder that attends."""
    depth: Float[Tensor, "images points rows columns"]
    """Of each point behind the root joint, in metres, if it were in that cell."""
    fine: Float[Tensor, "images fine rows columns"]
    """Features as fine as the heat maps."""

    def flat(self) -> Float[Tensor, "images features"]:
        spread = self.spread[..., None]
        return torch.cat([torch.cat([self.points, spread, self.local], -1).flatten(1), self.whole], -1)


class PointTokens(nn.Module):
    """A crop -> ``ImageTokens``, by EfficientNet-Lite0 and a small pyramid of its features."""

    size: int = POINTS * (4 + _LOCAL) + _GLOBAL
    local_width: int = _LOCAL
    whole_width: int = _GLOBAL
    patch_width: int = 128
    fine_width: int = 64

    def __init__(self, crop_px: int, *, trained: bool = True) -> None:
        super().__init__()
        self.patches = crop_px // 16
        """On each side of the crop."""
        self.trained = trained
        self.backbone = EfficientNetLite0()
        fine, middle, coarse = self.backbone.channels
        self.coarse = nn.Conv2d(coarse, 128, 1)
        self.middle = nn.Conv2d(middle, 128, 1)
        self.smooth = nn.Conv2d(128, 128, 3, padding=1)
        self.fine = nn.Conv2d(fine, 64, 1)
        self.down = nn.Conv2d(128, 64, 1)
        self.heat = nn.Conv2d(64, POINTS, 1)
        self.depth = nn.Conv2d(64, POINTS, 1)
        self.local = nn.Linear(128, _LOCAL)
        self.squeeze = nn.Conv2d(coarse, 32, 1)
        rows = crop_px // 32
        self.whole = nn.Linear(32 * rows * rows, _GLOBAL)
        self.prompt = nn.Conv2d(len(KEYPOINTS), fine, 1, bias=False)
        nn.init.zeros_(self.depth.weight)
        nn.init.zeros_(self.prompt.weight)

    def forward(
        self, crops: Float[Tensor, "images 3 side side"], keypoints: Float[Tensor, "images keypoints 3"]
    ) -> ImageTokens:
        crops = crops.contiguous(memory_format=torch.channels_last)
        # Half precision while training saves a third of the time; answers are given in full.
        half = self.training and (crops.is_cuda or torch.ops.mkldnn._is_mkldnn_bf16_supported())
        with torch.autocast(crops.device.type, torch.bfloat16, enabled=half):
            with torch.no_grad():  # edges and textures stay ImageNet's
                first = self.backbone.front(crops)
            first = first.float() + self.prompt(keypoint_maps(keypoints, *first.shape[-2:])).float()
            maps = [features.float() for features in self.backbone.rest(first)]
        relu = nn.functional.gelu
        coarse = self.coarse(maps[1])
        middle = self.middle(maps[0]) + nn.functional.interpolate(coarse, scale_factor=2, mode="nearest")
        middle = relu(middle)
        middle = middle + relu(self.smooth(middle))
        fine = relu(
            self.fine(first) + nn.functional.interpolate(self.down(middle), scale_factor=2, mode="bilinear")
        )
        heat, depth = self.heat(fine), self.depth(fine)
        points, spread = mean_points(heat, depth)
        sampled = nn.functional.grid_sample(middle, points[:, None, :, :2].detach(), align_corners=False)
        local = relu(self.local(sampled[:, :, 0].mT))
        whole = relu(self.whole(relu(self.squeeze(maps[1])).flatten(1)))
        return ImageTokens(points, spread, heat, local, whole, middle, depth, fine)

    def frozen(self) -> list[nn.Parameter]:
        """What is never trained."""
        return self.backbone.front_parameters() if self.trained else list(self.backbone.parameters())

    def pretrained(self) -> list[nn.Parameter]:
        """What is trained more slowly than the rest."""
        front = {id(parameter) for parameter in self.frozen()}
        return [p for p in self.backbone.parameters() if id(p) not in front]


def keypoint_maps(
    keypoints: Float[Tensor, "images keypoints 3"], rows: int, columns: int
) -> Float[Tensor, "images keypoints {rows} {columns}"]:
    """A bump of a cell's width where each keypoint was seen, as high as its confidence.

    Shown to the layers that look at the picture, they say whom to look at, and leave only what is wrong with them to be
    found; a keypoint that wasn't seen shows nothing.
    """
    x, y = middles(columns, keypoints), middles(rows, keypoints)
    across = torch.exp(-(((keypoints[..., :1] - x) * columns / 2) ** 2) / 2)
    down = torch.exp(-(((keypoints[..., 1:2] - y) * rows / 2) ** 2) / 2)
    return keypoints[..., 2, None, None] * down[..., :, None] * across[..., None, :]


def middles(count: int, like: Tensor) -> Float[Tensor, "{count}"]:
    """Where the middles of so many cells are, over the crop in [-1, 1]."""
    return (torch.arange(count, device=like.device) + 0.5) * 2 / count - 1


def cells(heat: Float[Tensor, "images points rows columns"]) -> Float[Tensor, "cells 2"]:
    """Where the cells of heat maps are, over the crop in [-1, 1]."""
    rows, columns = heat.shape[-2:]
    y, x = torch.meshgrid(middles(rows, heat), middles(columns, heat), indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], -1)


def heat_loss(
    heat: Float[Tensor, "images points rows columns"], places: Float[Tensor, "images points 2"]
) -> Float[Tensor, "images points"]:
    """Cross entropy to a Gaussian of one cell's width about the true places.

    The means of heat maps alone are learned slowly: far from the truth, a cell's share in the mean hardly matters.
    """
    rows, columns = heat.shape[-2:]
    width = 2 / columns
    # A Gaussian is one of columns times one of rows: a pass over lines, not over cells.
    across, down = (
        (-((places[..., axis, None] - middles(count, heat)) ** 2) / (2 * width**2)).softmax(-1)
        for axis, count in ((0, columns), (1, rows))
    )
    sure = heat.flatten(-2).log_softmax(-1).view_as(heat)
    return -((sure * across[..., None, :]).sum(-1) * down).sum(-1)


def mean_points(
    heat: Float[Tensor, "images points rows columns"], depth: Float[Tensor, "images points rows columns"]
) -> tuple[Float[Tensor, "images points 3"], Float[Tensor, "images points"]]:
    """Mean place and depth under each heat map, and its standard deviation; in float32 whatever the networks use."""
    with torch.autocast(heat.device.type, enabled=False):
        share = heat.float().flatten(-2).softmax(-1)
        places = cells(heat)
        mean = share @ places
        square = share @ places.square().sum(-1)
        spread = (square - mean.square().sum(-1)).clamp_min(1e-6).sqrt()
        deep = (share * depth.float().flatten(-2)).sum(-1)
    return torch.cat([mean, deep[..., None]], -1), spread
