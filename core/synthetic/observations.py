"""Made people as a detector would report them: a batch of true bodies with noisy 2D (and 3D) keypoints.

No picture is drawn. The noise imitates what BlazePose and ViTPose do on photos: jitter that grows with the
person's size, a systematic offset per keypoint that stays the same within a batch row, outliers with low
confidence, swapped legs or arms, whole sides hidden, pictures cut off at any edge.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.diffusion.condition import (
    CROP_MARGIN,
    Condition,
    keypoint_box,
    make_condition,
    moved,
    person_square,
    taken,
)
from alignhmr.core.geometry.cameras import crop_camera_of, project
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.perception.silhouettes import SILHOUETTE_PX
from alignhmr.core.synthetic.poses import PoseSampler, view_rotations

MIN_SEEN = 6
"""Fewest keypoints with confidence above 0.3 that make a person."""

_N = len(KEYPOINTS)
_FACE = list(range(5))
_FEET = list(range(17, 23))
_SMALL_TOES = [KEYPOINTS.index("left_small_toe"), KEYPOINTS.index("right_small_toe")]
_ARMS = ([5, 7, 9], [6, 8, 10])
_LEGS = ([11, 13, 15, 17, 18, 19], [12, 14, 16, 20, 21, 22])
# The open body's mean is 1.83 m tall; adults average 1.72 m, one sigma of its first beta less.
_MEAN_BETAS = torch.tensor([-1.0] + [0.0] * 9)
# How far a detector's idea of a keypoint lies from the regressor's, as a share of the half crop: the face
# and the hips are conventions more than places.
_BIAS = torch.tensor([0.025] * 5 + [0.02] * 2 + [0.01] * 4 + [0.035] * 2 + [0.015] * 4 + [0.025] * 6)


@dataclass(frozen=True)
class Observations:
    """A batch of people: truth, and what was seen of it."""

    rotations: Float[Tensor, "batch 24 3 3"]
    betas: Float[Tensor, "batch 10"]
    camera: Float[Tensor, "batch 3"]
    """Crop camera (s, tx, ty) of the true root."""
    joints_m: Float[Tensor, "batch 24 3"]
    """Camera axes, untranslated: as ``BodyModel.kinematics`` gives them."""
    body_keypoints_m: Float[Tensor, "batch keypoints 3"]
    transl_cam_m: Float[Tensor, "batch 3"]
    keypoints_px: Float[Tensor, "batch keypoints 3"]
    detector_3d_m: Float[Tensor, "batch keypoints 3"]
    """The detector's own 3D, hip-centred, camera axes: flattened, tilted and noisy."""
    crop_px: Float[Tensor, "batch 3"]
    focal_px: Float[Tensor, "batch"]
    center_px: Float[Tensor, "batch 2"]
    visible: Bool[Tensor, "batch points"]
    """Joints, then keypoints: in the picture and not behind anything, the person's own body included."""
    silhouettes: Float[Tensor, "batch 32 32"]
    """The detector's, over the crop, in 0..1; zeros where there is none."""
    has_silhouette: Bool[Tensor, "batch"]
    has_image: Bool[Tensor, "batch"]
    crops: Float[Tensor, "images channels side side"]
    """As in ``Condition``."""

    def __len__(self) -> int:
        return len(self.betas)

    def to(self, device: str | torch.device) -> "Observations":
        return moved(self, device)

    def take(self, index: slice) -> "Observations":
        """Some consecutive people."""
        return taken(self, index)

    def condition(self) -> Condition:
        """What the model is told."""
        return make_condition(
            self.keypoints_px, self.crop_px, self.focal_px, self.center_px, self.crops, self.has_image
        )


class ObservationSampler:
    """Draws batches of ``Observations``; the generator alone decides what comes."""

    def __init__(self, body: BodyModel, poses: PoseSampler) -> None:
        self.body = body
        self.poses = poses

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator) -> Observations:
        def normal(*size: int) -> Tensor:
            return torch.randn(*size, generator=generator)

        def uniform(low: float, high: float, *size: int) -> Tensor:
            return low + (high - low) * torch.rand(*size, generator=generator)

        rotations = self.poses.sample(count, generator)
        view = view_rotations(count, generator)
        rotations = torch.cat([(view @ rotations[:, 0])[:, None], rotations[:, 1:]], 1)
        betas = normal(count, 10).clamp(-3, 3) + _MEAN_BETAS
        points = self.body.kinematics(rotations, betas)

        # Pictures are 1000 px high; only the ratios matter.
        height = 1000.0
        width = height * torch.exp(uniform(-0.6, 0.6, count))
        diagonal = (width.square() + height**2).sqrt()
        focal = diagonal * torch.exp(uniform(-0.35, 0.7, count))
        center = torch.stack([width / 2, torch.full((count,), height / 2)], -1)
        extent_m = (points.keypoints.amax(-2) - points.keypoints.amin(-2))[:, :2].amax(-1)
        size_px = height * torch.exp(uniform(-2.0, 0.25, count))
        depth = (focal * extent_m / size_px).clamp_min(1.2)
        middle_px = torch.stack([uniform(0.1, 0.9, count) * width, uniform(0.25, 0.75, count) * height], -1)
        middle_m = points.keypoints.mean(-2)
        transl = torch.cat([(middle_px - center) / focal[:, None] * depth[:, None], depth[:, None]], -1)
        transl[:, :2] -= middle_m[:, :2]

        true_px = project(points.keypoints + transl[:, None], focal, center)
        keypoints_px = simulate_detection(
            true_px, torch.stack([width, torch.full((count,), height)], -1), generator
        )
        crop = person_square(keypoint_box(keypoints_px, 2 * center))
        # The detector's box is never exact: the crop's place and size wander as the keypoints' box does.
        half = crop[:, 2:] / 2
        crop = torch.cat(
            [crop[:, :2] + 0.04 * half * normal(count, 2), 2 * half * (1 + 0.05 * normal(count, 1))], -1
        )
        root = points.joints[:, 0]
        return Observations(
            rotations=rotations,
            betas=betas,
            camera=crop_camera_of(transl + root, crop, focal, center),
            joints_m=points.joints,
            body_keypoints_m=points.keypoints,
            transl_cam_m=transl,
            keypoints_px=keypoints_px,
            detector_3d_m=_detector_3d(points.keypoints, generator),
            crop_px=crop,
            focal_px=focal,
            center_px=center,
            visible=torch.ones(count, points.joints.shape[1] + _N, dtype=torch.bool),
            silhouettes=torch.zeros(count, SILHOUETTE_PX, SILHOUETTE_PX),
            has_silhouette=torch.zeros(count, dtype=torch.bool),
            has_image=torch.zeros(count, dtype=torch.bool),
            crops=torch.zeros(0, 3, 1, 1),
        )


def simulate_detection(
    true_px: Float[Tensor, "batch keypoints 2"],
    picture_px: Float[Tensor, "batch 2"],
    generator: torch.Generator,
) -> Float[Tensor, "batch keypoints 3"]:
    """x, y and confidence as a detector would report true keypoints; everyone's follow from their row alone."""
    count = len(true_px)

    def chance(probability: float, *size: int) -> Tensor:
        return torch.rand(*size, generator=generator) < probability

    span = (true_px.amax(-2) - true_px.amin(-2)).amax(-1)
    half = (CROP_MARGIN * span / 2)[:, None, None]
    level = 0.006 + 0.02 * torch.rand(count, 1, 1, generator=generator).square()
    hard = 1 + 3 * chance(0.08, count, _N, 1)
    noise = torch.randn(count, _N, 2, generator=generator) * level * hard
    noise = noise + torch.randn(count, _N, 2, generator=generator) * _BIAS[:, None] * 0.7
    outlier = chance(0.015, count, _N, 1)
    noise = torch.where(outlier, torch.randn(count, _N, 2, generator=generator) * 0.3, noise)
    pixels = true_px + noise * half
    error = noise.norm(dim=-1)
    confidence = torch.sigmoid(3.5 - 22 * error + 0.8 * torch.randn(count, _N, generator=generator))

    # Hidden parts: the detector guesses, badly and with little confidence, or says nothing.
    hidden = chance(0.04, count, _N)
    for group in (*_ARMS, *_LEGS):
        hidden[:, group] |= chance(0.04, count, 1)
    hidden[:, _FACE] |= chance(0.08, count, 1)
    outside = ((pixels < 0) | (pixels > picture_px[:, None])).any(-1)
    # A band of the crop cut off: most often the legs.
    lowest = true_px.amax(-2)[:, 1:]
    cut = lowest - torch.rand(count, 1, generator=generator) * 0.6 * span[:, None]
    cut_off = chance(0.12, count, 1) & (pixels[..., 1] > cut)
    unsure = hidden | outside | cut_off
    guess = torch.randn(count, _N, 2, generator=generator) * 0.08 * half
    pixels = torch.where(unsure[..., None], pixels + guess, pixels)
    confidence = torch.where(
        unsure, confidence * 0.4 * torch.rand(count, _N, generator=generator), confidence
    )
    silent = unsure & chance(0.5, count, 1)
    for left, right in (_ARMS, _LEGS):
        swap = chance(0.015, count, 1, 1)
        order = torch.arange(_N)
        order[left + right] = torch.tensor(right + left)
        pixels = torch.where(swap, pixels[:, order], pixels)
    silent[:, _SMALL_TOES] |= chance(0.7, count, 1)  # BlazePose has no small toes
    silent[:, _FEET] |= chance(0.15, count, 1)  # COCO-17 detectors have no feet at all
    confidence = torch.where(silent, torch.zeros_like(confidence), confidence)
    # A detector reports nobody where it sees next to nothing: such rows are seen in full instead.
    blind = ((confidence > 0.3).sum(-1) < MIN_SEEN)[:, None]
    pixels = torch.where(blind[..., None], true_px, pixels)
    confidence = torch.where(blind, torch.full_like(confidence, 0.9), confidence)
    return torch.cat([pixels, confidence[..., None]], -1)


def _detector_3d(
    keypoints_m: Float[Tensor, "batch keypoints 3"], generator: torch.Generator
) -> Float[Tensor, "batch keypoints 3"]:
    count = len(keypoints_m)
    hips = keypoints_m[:, 11:13].mean(1, keepdim=True)
    tilt = axis_angle_to_matrix(torch.randn(count, 3, generator=generator) * 0.12)
    points = (keypoints_m - hips) @ tilt.mT
    scale = 1 + 0.08 * torch.randn(count, 1, 1, generator=generator)
    flatten = torch.stack(
        [torch.ones(count), torch.ones(count), 0.75 + 0.3 * torch.rand(count, generator=generator)], -1
    )
    # Errors are shared along a limb: a wrong knee takes its ankle and foot along.
    limb = torch.zeros(count, _N, 3)
    for group in (*_ARMS, *_LEGS):
        walk = torch.cumsum(torch.randn(count, len(group[:3]), 3, generator=generator) * 0.035, 1)
        limb[:, group] = torch.cat([walk, walk[:, -1:].expand(-1, len(group) - 3, -1)], 1)
    depth_heavy = torch.tensor([0.6, 0.6, 1.6])
    return (
        points * scale * flatten[:, None]
        + limb * depth_heavy
        + 0.012 * torch.randn(count, _N, 3, generator=generator)
    )
