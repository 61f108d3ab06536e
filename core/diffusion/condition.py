"""What the model is told about a person: keypoints in a square crop, and where that crop looks.

The condition of one person is a flat vector: 23 keypoints as (x, y, confidence) with x, y in [-1, 1] over
the crop, then the crop's direction and size seen from the camera, (dx / f, dy / f, half / f), which lets
the network undo perspective (CLIFF, ECCV 2022).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from alignhmr.core.body.skeleton import KEYPOINTS

CONDITION_SIZE = 3 * len(KEYPOINTS) + 3
CROP_MARGIN = 1.25
MIN_CONFIDENCE = 0.05
"""Below this a keypoint is 'not seen': its place is noise and is hidden from the network."""


def keypoint_square(keypoints_px: Float[Tensor, "*batch keypoints 3"]) -> Float[Tensor, "*batch 3"]:
    """Centre x, centre y and side in pixels of the square around the keypoints that were seen.

    The batched twin of ``crops.crop_around``: each keypoint is drawn towards the confidence-weighted mean
    by what it lacks of confidence 0.3, so that one that fades in and out moves the square smoothly.
    """
    xy, confidence = keypoints_px[..., :2], keypoints_px[..., 2:]
    mean = (xy * confidence).sum(-2, keepdim=True) / confidence.sum(-2, keepdim=True).clamp_min(1e-6)
    drawn = mean + (xy - mean) * (confidence / 0.3).clamp(0, 1)
    low, high = drawn.amin(-2), drawn.amax(-2)
    side = ((high - low).amax(-1, keepdim=True) * CROP_MARGIN).clamp_min(1.0)
    return torch.cat([(low + high) / 2, side], -1)


def to_crop(
    pixels: Float[Tensor, "*batch points 2"], crop_px: Float[Tensor, "*#batch 3"]
) -> Float[Tensor, "*batch points 2"]:
    """Pixels of the picture to [-1, 1] over the crop."""
    return (pixels - crop_px[..., None, :2]) / (crop_px[..., None, 2:] / 2)


def encode_condition(
    keypoints_px: Float[Tensor, "*batch keypoints 3"],
    crop_px: Float[Tensor, "*batch 3"],
    focal_px: Float[Tensor, "*batch"],
    center_px: Float[Tensor, "*batch 2"],
) -> Float[Tensor, "*batch condition"]:
    """The condition vector; finite whatever the keypoints are, as long as the crop is."""
    confidence = keypoints_px[..., 2:]
    seen = confidence >= MIN_CONFIDENCE
    xy = to_crop(keypoints_px[..., :2], crop_px).clamp(-3, 3)
    tokens = torch.cat([xy, confidence], -1) * seen
    half = crop_px[..., 2:] / 2
    look = torch.cat([crop_px[..., :2] - center_px, half], -1) / focal_px[..., None]
    return torch.cat([tokens.flatten(-2), look], -1)
