"""What BlazePose's inner layers say about a body: where each joint seems to be and how deep, and features there.

The same answers as ``image_tokens.PointTokens`` gives, from a network that is never trained here: it learned from
photos of people, and made pictures can't spoil what it sees. On top of it learn a few small layers.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.diffusion.image_tokens import POINTS, ImageTokens, keypoint_maps, mean_points
from alignhmr.core.perception.pose_features import INPUT, MAPS, SIZE, WORLD, pose_features

_LOCAL = 16
_GLOBAL = 256


class PoseTokens(nn.Module):
    """Crops of 256 px, or their features as ``pose_features`` gives them -> ``ImageTokens``."""

    size: int = POINTS * (4 + _LOCAL) + _GLOBAL
    local_width: int = _LOCAL
    whole_width: int = _GLOBAL
    patches: int = MAPS[0][1]
    """On each side of the crop."""

    def __init__(self, width: int = 64, blocks: int = 1) -> None:
        """``width`` channels in each of ``blocks`` pairs of layers that learn."""
        super().__init__()
        self.patch_width = self.fine_width = width
        (fine, _), (trunk, rows), (deep, few) = MAPS
        # Norms are of one crop: another camera's contrast is no news.
        self.norm_fine, self.norm_trunk = nn.GroupNorm(8, fine), nn.GroupNorm(8, trunk)
        self.fine = nn.Conv2d(fine, width, 1)
        self.trunk = nn.Conv2d(trunk, width, 1)
        self.prompt = nn.Conv2d(len(KEYPOINTS), width, 1, bias=False)
        self.near = _near(width)
        self.far = _far(width)
        self.more_near = nn.ModuleList(_near(width) for _ in range(blocks - 1))
        self.more_far = nn.ModuleList(_far(width) for _ in range(blocks - 1))
        self.heat = nn.Conv2d(width, POINTS, 1)
        self.depth = nn.Conv2d(width, POINTS, 1)
        self.local = nn.Linear(width, _LOCAL)
        self.squeeze_trunk, self.squeeze_deep = nn.Conv2d(trunk, 48, 1), nn.Conv2d(deep, 64, 1)
        self.whole = nn.Linear(48 * rows * rows + 64 * few * few + WORLD, _GLOBAL)
        nn.init.zeros_(self.depth.weight)

    def forward(
        self,
        crops: Float[Tensor, "images channels rows columns"],
        keypoints: Float[Tensor, "images keypoints 3"],
    ) -> ImageTokens:
        features = crops if crops.shape[1] == SIZE else features_of(crops)
        fine, trunk, deep, world = split(features.flatten(1).to(self.heat.weight.dtype))
        fine, trunk = self.norm_fine(fine), self.norm_trunk(trunk)
        gelu = nn.functional.gelu
        middle = nn.functional.interpolate(self.trunk(trunk), scale_factor=2, mode="bilinear")
        middle = gelu(self.fine(fine) + middle + self.prompt(keypoint_maps(keypoints, *fine.shape[-2:])))
        pairs = zip(self.more_near, self.more_far, strict=True)
        for near, far in ((self.near, self.far), *pairs):
            middle = middle + gelu(near(middle))
            middle = middle + gelu(far(middle))
        heat, depth = self.heat(middle), self.depth(middle)
        points, spread = mean_points(heat, depth)
        sampled = nn.functional.grid_sample(middle, points[:, None, :, :2].detach(), align_corners=False)
        local = gelu(self.local(sampled[:, :, 0].mT))
        squeezed = [gelu(self.squeeze_trunk(trunk)).flatten(1), gelu(self.squeeze_deep(deep)).flatten(1)]
        whole = gelu(self.whole(torch.cat([*squeezed, world], 1)))
        return ImageTokens(points, spread, heat, local, whole, middle, depth, middle)

    def frozen(self) -> list[nn.Parameter]:
        """What is never trained: the network has no weights here at all."""
        return []

    def pretrained(self) -> list[nn.Parameter]:
        """What is trained more slowly than the rest."""
        return []


def _near(width: int) -> nn.Module:
    return nn.Conv2d(width, width, 3, padding=1)


def _far(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(width, width, 5, padding=2, groups=width), nn.Conv2d(width, width, 1))


@torch.no_grad()
def features_of(
    crops: Float[Tensor, "images 3 side side"], threads: int = 1
) -> Float[Tensor, "images size 1 1"]:
    """Of RGB crops in 0..255; worked out on the CPU, wherever they are."""
    pixels = crops.detach().round().clamp(0, 255).to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy()
    features = torch.from_numpy(
        pose_features([np.ascontiguousarray(crop) for crop in pixels], threads=threads)
    )
    return features[:, :, None, None].to(crops.device)


def split(features: Float[Tensor, "images size"]) -> list[Tensor]:
    """The maps, then the points."""
    parts, start = [], 0
    for channels, rows in MAPS:
        end = start + channels * rows * rows
        parts.append(features[:, start:end].view(-1, channels, rows, rows))
        start = end
    return [*parts, features[:, start:]]


assert INPUT == 256, "views are of that size (perception/views.py)"
