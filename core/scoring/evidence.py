"""What a scorer is shown: what was observed of a person, and what hypotheses claim about them."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from alignhmr.core.diffusion.condition import Condition, to_crop
from alignhmr.core.diffusion.image_tokens import POINTS
from alignhmr.core.geometry.rotations import matrix_to_sixd
from alignhmr.core.placement import Bodies

LEAST_PROPOSALS = 2
"""Hypotheses of a person from which on they say how sure the generator is."""


@dataclass(frozen=True)
class Evidence:
    """What was observed of a batch of people. Any kind may be missing for anyone."""

    condition: Condition
    """Crops at the scorer's own size, keypoints, and where the crop looks."""
    crop_px: Float[Tensor, "people 3"]
    detector_3d_m: Float[Tensor, "people keypoints 3"]
    """Hip-centred, camera axes; zeros where the detector has none."""
    has_detector_3d: Bool[Tensor, "people"]
    silhouettes: Float[Tensor, "people 32 32"]
    """Share of each cell of the crop that the person covers; zeros where nobody looked."""
    has_silhouette: Bool[Tensor, "people"]
    proposed_m: Float[Tensor, "people points 3"]
    """Where the generator believes that joints and keypoints are, the mean of its hypotheses: camera axes, about the
    root joint; zeros where there are none."""
    unsure_m: Float[Tensor, "people points"]
    """How far its hypotheses stray from there: root of the mean square."""
    has_proposals: Bool[Tensor, "people"]

    @classmethod
    def observed(
        cls, condition: Condition, crop_px: Tensor, detector_3d_m: Tensor, has_detector_3d: Tensor,
        silhouettes: Tensor, has_silhouette: Tensor,
    ) -> "Evidence":  # fmt: skip
        """What was seen of people of whom nothing was drawn yet."""
        nowhere = crop_px.new_zeros(len(crop_px), POINTS, 3)
        return cls(
            condition, crop_px, detector_3d_m, has_detector_3d, silhouettes, has_silhouette,
            nowhere, nowhere[..., 0], torch.zeros_like(has_silhouette),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.condition)

    def keep(
        self, image: Tensor | None = None, keypoints: Tensor | None = None, detector_3d: Tensor | None = None,
        silhouette: Tensor | None = None, proposals: Tensor | None = None,
    ) -> "Evidence":  # fmt: skip
        """Evidence only for those where the mask says so; no mask keeps the kind as it is."""
        kept = replace(self, condition=self.condition.keep(image, keypoints))
        if detector_3d is not None:
            kept = replace(
                kept,
                detector_3d_m=kept.detector_3d_m * detector_3d[:, None, None],
                has_detector_3d=kept.has_detector_3d & detector_3d,
            )
        if silhouette is not None:
            kept = replace(
                kept,
                silhouettes=kept.silhouettes * silhouette[:, None, None],
                has_silhouette=kept.has_silhouette & silhouette,
            )
        if proposals is not None:
            kept = replace(
                kept,
                proposed_m=kept.proposed_m * proposals[:, None, None],
                unsure_m=kept.unsure_m * proposals[:, None],
                has_proposals=kept.has_proposals & proposals,
            )
        return kept

    def with_proposals(self, claim: "Claim") -> "Evidence":
        """Beside what was observed, what the generator drew of each; fewer than two hypotheses say nothing."""
        if claim.points_m.shape[1] < LEAST_PROPOSALS:
            return self
        mean = claim.points_m.mean(1)
        off = claim.points_m - mean[:, None]
        return replace(
            self,
            proposed_m=mean,
            unsure_m=off.square().sum(-1).mean(1).sqrt(),
            has_proposals=torch.ones_like(self.has_proposals),
        )


@dataclass(frozen=True)
class Claim:
    """What M hypotheses of each of them say."""

    sixd: Float[Tensor, "people hyps 144"]
    betas: Float[Tensor, "people hyps 10"]
    points_m: Float[Tensor, "people hyps points 3"]
    """Joints, then keypoints; camera axes, about the root joint."""
    places: Float[Tensor, "people hyps points 2"]
    """Where they fall, over the crop in [-1, 1]."""

    @classmethod
    def of(cls, bodies: Bodies, crop_px: Float[Tensor, "people 3"]) -> "Claim":
        points = torch.cat([bodies.joints_m, bodies.keypoints_m], -2)
        pixels = torch.cat([bodies.joints_px, bodies.keypoints_px], -2)
        parts = (
            matrix_to_sixd(bodies.parameters.rotations).flatten(-2),
            bodies.parameters.betas,
            points - bodies.joints_m[..., :1, :],
            to_crop(pixels, crop_px[:, None]).clamp(-3, 3),
        )
        # In one order of memory, wherever the bodies come from: the last bits of what is made of them depend on it.
        return cls(*(part.contiguous() for part in parts))

    def take(self, hyps: slice | Tensor) -> "Claim":
        """What some of each person's hypotheses say."""
        return Claim(*(part[:, hyps] for part in vars(self).values()))
