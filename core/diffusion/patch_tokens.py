"""Joints, features and patches of a picture from a vision model of `transformers` (``perception/vision_backbone.py``).

The same heat maps as EfficientNet's, on a map finer than the patches by two: so the losses of both are the same.
"""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.diffusion.image_tokens import POINTS, ImageTokens, keypoint_maps, mean_points
from alignhmr.core.perception.vision_backbone import VisionBackbone

_LOCAL = 128
_GLOBAL = 256
_MIDDLE = 256


class PatchTokens(nn.Module):
    """A crop -> ``ImageTokens``, by a vision transformer and a few convolutions on its patches."""

    size: int = POINTS * (4 + _LOCAL) + _GLOBAL
    local_width: int = _LOCAL
    whole_width: int = _GLOBAL

    def __init__(self, described: Mapping[str, Any], *, trained: bool = True) -> None:
        """``described`` as ``vision_backbone.describe`` gives it."""
        super().__init__()
        self.backbone = VisionBackbone(described, trained=trained)
        self.patches = self.backbone.patches
        """On each side of the crop."""
        self.patch_width = channels = self.backbone.channels
        self.trained = trained
        self.reduce = nn.Conv2d(channels, _MIDDLE, 1)
        self.smooth = nn.Conv2d(_MIDDLE, _MIDDLE, 3, padding=1)
        self.fine = nn.Conv2d(_MIDDLE, _LOCAL, 3, padding=1)
        self.heat = nn.Conv2d(_LOCAL, POINTS, 1)
        self.depth = nn.Conv2d(_LOCAL, POINTS, 1)
        self.local = nn.Linear(_MIDDLE, _LOCAL)
        self.whole = nn.Linear(channels, _GLOBAL)
        self.prompt = nn.Conv2d(len(KEYPOINTS), _MIDDLE, 1, bias=False)
        nn.init.zeros_(self.depth.weight)
        nn.init.zeros_(self.prompt.weight)

    def forward(
        self, crops: Float[Tensor, "images 3 side side"], keypoints: Float[Tensor, "images keypoints 3"]
    ) -> ImageTokens:
        patches = self.backbone(crops)
        gelu = nn.functional.gelu
        middle = gelu(self.reduce(patches) + self.prompt(keypoint_maps(keypoints, *patches.shape[-2:])))
        middle = middle + gelu(self.smooth(middle))
        larger = nn.functional.interpolate(middle, scale_factor=2, mode="bilinear")
        fine = gelu(self.fine(larger))
        heat, depth = self.heat(fine).float(), self.depth(fine).float()
        points, spread = mean_points(heat, depth)
        where = points[:, None, :, :2].detach()
        sampled = nn.functional.grid_sample(middle.float(), where, align_corners=False)
        local = gelu(self.local(sampled[:, :, 0].mT))
        whole = gelu(self.whole(patches.mean((-1, -2))))
        return ImageTokens(points, spread, heat, local, whole, patches, depth, fine)

    def frozen(self) -> list[nn.Parameter]:
        """What is never trained."""
        return [] if self.trained else list(self.backbone.parameters())

    def pretrained(self) -> list[nn.Parameter]:
        """What is trained more slowly than the rest."""
        return list(self.backbone.parameters()) if self.trained else []
