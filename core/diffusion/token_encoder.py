"""From evidence to tokens that attend to each other: patches, joints in the picture, keypoints, the crop's place.

A token of something that isn't there is masked for every other, and for the denoiser afterwards: a zero would be
read as a place. The first token belongs to the body; it is always there, and is what the regressor reads.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.diffusion.attention import Layer, Layers
from alignhmr.core.diffusion.condition import Condition
from alignhmr.core.diffusion.encoder import Encoded, ImageEncoder
from alignhmr.core.diffusion.image_tokens import POINTS, ImageTokens, cells

_OCTAVES = 6
"""Of waves over the crop, from twice its side down to a sixteenth of it: about a patch."""
PLACE = 2 + 4 * _OCTAVES


class TokenEncoder(nn.Module):
    """Linear maps of each kind of evidence, plus what each token is and where; then layers of attention."""

    def __init__(
        self, width: int, blocks: int, heads: int, feed_forward: int, image: ImageEncoder | None
    ) -> None:
        super().__init__()
        self.image = image
        self.body = nn.Parameter(_small(1, width))
        self.look = nn.Linear(3, width)
        self.place = nn.Linear(PLACE, width)
        self.confidence = nn.Linear(1, width)
        self.keypoint = nn.Parameter(_small(len(KEYPOINTS), width))
        if image is not None:
            self.point = nn.Parameter(_small(POINTS, width))
            # Beside the place: depth, spread and features there.
            self.from_point = nn.Linear(2 + image.local_width, width)
            self.from_patch = nn.Linear(image.patch_width, width)
            self.from_whole = nn.Linear(image.whole_width, width)
        self.layers = Layers([Layer(width, heads, feed_forward) for _ in range(blocks)])
        self.norm = nn.LayerNorm(width)

    def forward(self, condition: Condition) -> Encoded:
        if self.image is None:
            condition = condition.without("image")
        people = len(condition)
        picture = None
        kinds = [
            (self.body.expand(people, 1, -1), torch.ones_like(condition.has_look)[:, None]),
            (self.look(condition.look)[:, None], condition.has_look[:, None]),
            self._keypoints(condition),
        ]
        if self.image is not None:
            if len(condition.crops):
                picture = self.image(condition.crops, condition.of_pictures())
            kinds.append(self._pictures(picture, condition.has_image))
        seen = torch.cat([there for _, there in kinds], 1)
        tokens = torch.cat([token for token, _ in kinds], 1)
        # Nothing is made of what is missing, not even if it isn't a number.
        tokens = torch.where(seen[..., None], tokens, 0.0)
        tokens = self.norm(self.layers(tokens, [seen[:, None]] * len(self.layers.layers)))
        return Encoded(tokens[:, 0], tokens, seen, picture)

    def _keypoints(
        self, condition: Condition
    ) -> tuple[Float[Tensor, "people keypoints width"], Bool[Tensor, "people keypoints"]]:
        xy, confidence = condition.keypoints[..., :2], condition.keypoints[..., 2:]
        tokens = self.place(place_features(xy)) + self.confidence(confidence) + self.keypoint
        return tokens, condition.has_keypoints[:, None] & (confidence[..., 0] > 0)

    def _pictures(
        self, picture: ImageTokens | None, has: Bool[Tensor, "people"]
    ) -> tuple[Float[Tensor, "people tokens width"], Bool[Tensor, "people tokens"]]:
        """Of everyone, so that each has as many; those of people without a picture are not there."""
        assert self.image is not None
        count = 1 + POINTS + self.image.patches**2
        everyone = self.point.new_zeros(len(has), count, self.point.shape[-1])
        if picture is not None:
            points, patches = picture.points, picture.patches
            beside = torch.cat([points[..., 2:], picture.spread[..., None], picture.local], -1)
            tokens = [
                self.from_whole(picture.whole)[:, None],
                self.place(place_features(points[..., :2])) + self.from_point(beside) + self.point,
                self.from_patch(patches.flatten(2).mT) + self.place(place_features(cells(patches))),
            ]
            index = has.nonzero()[:, 0]
            everyone = everyone.index_copy(0, index, torch.cat(tokens, 1).to(everyone.dtype))
        return everyone, has[:, None].expand(-1, count)


def place_features(xy: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch features"]:
    """x, y over the crop, and sines and cosines of them at octaves."""
    phase = xy[..., None] * (math.pi * 2.0 ** torch.arange(_OCTAVES, device=xy.device) / 2)
    return torch.cat([xy, phase.sin().flatten(-2), phase.cos().flatten(-2)], -1)


def _small(*size: int) -> Tensor:
    return torch.randn(*size) * 0.02
