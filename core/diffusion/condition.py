"""What the model is told about a person: a crop of the picture, keypoints, and where the crop looks.

Three kinds of evidence, and any of them may be missing for anyone: pixels of a square around the person's box;
23 keypoints as (x, y, confidence) with x, y in [-1, 1] over that square; and the square's direction and size seen
from the camera, (dx / f, dy / f, half / f), which lets a network undo perspective (CLIFF, ECCV 2022).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from alignhmr.core.body.skeleton import KEYPOINTS

CROP_MARGIN = 1.25
"""Side of the square over the longer side of the person's box."""
BOX_PAD = 0.06
"""What a detector's box adds to its keypoints on each side, as a share of their longer extent."""
MIN_CONFIDENCE = 0.05
"""Below this a keypoint is 'not seen': its place is noise and is hidden from the network."""

Batch = TypeVar("Batch")
"""A dataclass of tensors over people, whose ``crops`` are of those with ``has_image`` alone, in their order."""


@dataclass(frozen=True)
class Condition:
    """Evidence about a batch of people. What is missing is zero, and its ``has_`` is false."""

    keypoints: Float[Tensor, "people keypoints 3"]
    """x, y over the crop and confidence; zeros where a keypoint was not seen."""
    look: Float[Tensor, "people 3"]
    crops: Float[Tensor, "images channels side side"]
    """RGB, 0..255, of those who have one, in their order; or what an encoder that is never trained made of them."""
    has_keypoints: Bool[Tensor, "people"]
    has_look: Bool[Tensor, "people"]
    has_image: Bool[Tensor, "people"]

    def __len__(self) -> int:
        return len(self.look)

    def to(self, device: str | torch.device) -> "Condition":
        return moved(self, device)

    def take(self, index: slice) -> "Condition":
        """Some consecutive people."""
        return taken(self, index)

    def without(self, *kinds: str) -> "Condition":
        """The same people with some kinds of evidence taken away from all of them."""
        missing = {kind: torch.zeros(len(self), dtype=torch.bool, device=self.look.device) for kind in kinds}
        return self.keep(**missing)

    def keep(
        self, image: Tensor | None = None, keypoints: Tensor | None = None, look: Tensor | None = None
    ) -> "Condition":
        """Evidence only for those where the mask says so; no mask keeps the kind as it is."""
        changed = self
        if image is not None:
            kept = self.has_image & image
            changed = replace(changed, crops=self.crops[image[self.has_image]], has_image=kept)
        if keypoints is not None:
            changed = replace(
                changed,
                keypoints=self.keypoints * keypoints[:, None, None],
                has_keypoints=self.has_keypoints & keypoints,
            )
        if look is not None:
            changed = replace(changed, look=self.look * look[:, None], has_look=self.has_look & look)
        return changed

    def of_pictures(self) -> Float[Tensor, "images keypoints 3"]:
        """Keypoints of those who have a picture; zeros for what wasn't seen, whatever stands in its place."""
        seen = self.has_keypoints[:, None, None] & (self.keypoints[..., 2:] > 0)
        return torch.where(seen, self.keypoints, 0.0)[self.has_image]

    def flat(self) -> Float[Tensor, "people condition"]:
        """Keypoints and look as one vector a person."""
        return torch.cat([self.keypoints.flatten(-2), self.look], -1)


FLAT_SIZE = 3 * len(KEYPOINTS) + 3
"""Of ``Condition.flat``."""


def moved(batch: Batch, device: str | torch.device) -> Batch:
    """The same people on another device."""
    whole: Any = batch
    return type(whole)(**{field.name: getattr(whole, field.name).to(device) for field in fields(whole)})


def taken(batch: Batch, index: slice) -> Batch:
    """Some consecutive people of a batch, with their pictures."""
    whole: Any = batch
    first = int(whole.has_image[: index.start or 0].sum())
    count = int(whole.has_image[index].sum())
    names = [field.name for field in fields(whole) if field.name != "crops"]
    rest = {name: getattr(whole, name)[index] for name in names}
    return type(whole)(crops=whole.crops[first : first + count], **rest)


def concatenate(parts: Sequence[Batch]) -> Batch:
    """People of several batches, one after another. All pictures must be of one size."""
    every: Sequence[Any] = parts
    names = [field.name for field in fields(every[0]) if field.name != "crops"]
    rest = {name: torch.cat([getattr(part, name) for part in every]) for name in names}
    with_pictures = [part.crops for part in every if len(part.crops)] or [every[0].crops]
    return type(every[0])(crops=torch.cat(with_pictures), **rest)


def person_square(box_px: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3"]:
    """Centre x, centre y and side in pixels of the square that the model looks at."""
    low, high = box_px[..., :2], box_px[..., 2:]
    side = ((high - low).amax(-1, keepdim=True) * CROP_MARGIN).clamp_min(1.0)
    return torch.cat([(low + high) / 2, side], -1)


def person_square_of(box_px: Float[np.ndarray, "4"]) -> tuple[tuple[float, float], float]:
    """Centre and side of the same square, of one box."""
    x, y, side = person_square(torch.as_tensor(np.asarray(box_px, np.float64))).tolist()
    return (x, y), side


def keypoint_box(
    keypoints_px: Float[Tensor, "*batch keypoints 3"],
    picture_px: Float[Tensor, "*batch 2"],
    min_confidence: float = 0.3,
) -> Float[Tensor, "*batch 4"]:
    """Box around the keypoints that were seen, padded, inside the picture: what a keypoint detector's box is."""
    seen = keypoints_px[..., 2:] >= min_confidence
    seen = torch.where(seen.sum(-2, keepdim=True) < 2, torch.ones_like(seen), seen)
    xy = keypoints_px[..., :2]
    low = torch.where(seen, xy, torch.inf).amin(-2)
    high = torch.where(seen, xy, -torch.inf).amax(-2)
    pad = BOX_PAD * (high - low).amax(-1, keepdim=True)
    zero = torch.zeros_like(picture_px)
    return torch.cat([(low - pad).clamp(zero, picture_px), (high + pad).clamp(zero, picture_px)], -1)


def to_crop(
    pixels: Float[Tensor, "*batch points 2"], crop_px: Float[Tensor, "*#batch 3"]
) -> Float[Tensor, "*batch points 2"]:
    """Pixels of the picture to [-1, 1] over the crop."""
    return (pixels - crop_px[..., None, :2]) / (crop_px[..., None, 2:] / 2)


def make_condition(
    keypoints_px: Float[Tensor, "people keypoints 3"],
    crop_px: Float[Tensor, "people 3"],
    focal_px: Float[Tensor, "people"],
    center_px: Float[Tensor, "people 2"],
    crops: Float[Tensor, "images channels side side"] | None = None,
    has_image: Bool[Tensor, "people"] | None = None,
) -> Condition:
    """From what was seen; finite whatever the keypoints are, as long as the crop is.

    ``crops`` are those of everyone unless ``has_image`` says whose they are. Who shows no keypoint has none.
    """
    confidence = keypoints_px[..., 2:]
    seen = confidence >= MIN_CONFIDENCE
    xy = to_crop(keypoints_px[..., :2], crop_px).clamp(-3, 3)
    half = crop_px[..., 2:] / 2
    look = torch.cat([crop_px[..., :2] - center_px, half], -1) / focal_px[..., None]
    everyone = torch.ones(len(look), dtype=torch.bool, device=look.device)
    if crops is None:
        crops, has_image = look.new_zeros(0, 3, 1, 1), ~everyone
    return Condition(
        keypoints=torch.cat([xy, confidence], -1).nan_to_num() * seen,
        look=look,
        crops=crops,
        has_keypoints=seen.squeeze(-1).any(-1),
        has_look=everyone,
        has_image=everyone if has_image is None else has_image,
    )
