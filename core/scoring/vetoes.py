"""What disqualifies a hypothesis whatever its score: a body that can't be, or one that was seen elsewhere.

Bounds of limits and contact are set so that they never speak against the truth. Keypoints do where the detector errs:
in the made domains beside a real detector, of one true body in fifty in ``studio`` and of one in five in ``wild``
(``vetoed_truths`` of ``tests/benchmarks/score.py``); hypotheses follow the detector, and are hit less.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from alignhmr.core.body.skeleton import JOINT_MIRROR
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.synthetic.contact import self_contact
from alignhmr.core.synthetic.poses import LIMITS

_LOW, _HIGH = (torch.tensor([[ends[side] for ends in LIMITS[j]] for j in LIMITS]) for side in (0, 1))
LIMITED: tuple[int, ...] = (*LIMITS, *(JOINT_MIRROR[j] for j in LIMITS if JOINT_MIRROR[j] != j))
"""Joints with limits: those of the left side and the middle, then those of the right, which are read in a mirror."""
LIMITED_JOINTS = list(LIMITED)
_ROW_OF_LIMITED = [list(LIMITS).index(j if j in LIMITS else JOINT_MIRROR[j]) for j in LIMITED]
_FLIP = torch.tensor([1.0, -1.0, -1.0])
_MIRRORED = torch.stack([torch.ones(3, 3) if j in LIMITS else _FLIP[:, None] * _FLIP for j in LIMITED])


@dataclass(frozen=True)
class VetoRule:
    """Bounds beyond which a hypothesis can be no winner."""

    joint_slack_rad: float = 1.0
    """How far a joint may turn beyond what goniometry says, about any axis."""
    contact: float = 1.3
    """How deep two parts of the body may sink into each other, over the smaller radius."""
    keypoint_confidence: float = 0.7
    """Keypoints seen with less are no witnesses."""
    keypoint_off: float = 0.35
    """How far a witness may lie from its place, in half crops."""
    keypoint_share: float = 0.25
    """Of the witnesses that may lie farther."""


def vetoes(
    pose_aa: Float[np.ndarray, "hyps 24 3"],
    joints_m: Float[np.ndarray, "hyps 24 3"],
    radii_m: Float[np.ndarray, "capsules"],
    projected_px: Float[np.ndarray, "hyps keypoints 2"],
    keypoints_px: Float[np.ndarray, "keypoints 3"],
    crop_px: Float[np.ndarray, "3"],
    rule: VetoRule | None = None,
) -> dict[str, Bool[np.ndarray, "hyps"]]:
    """Which hypotheses each veto hits: ``joint_limits``, ``self_contact``, ``keypoints``."""
    rule = rule or VetoRule()
    return {
        "joint_limits": beyond_limits(pose_aa) > rule.joint_slack_rad,
        "self_contact": np.array([self_contact(body, radii_m) for body in joints_m]) > rule.contact,
        "keypoints": contradicted(projected_px, keypoints_px, crop_px, rule) > rule.keypoint_share,
    }


def beyond_limits(pose_aa: Float[np.ndarray, "hyps 24 3"]) -> Float[np.ndarray, "hyps"]:
    """Angle in radians by which the worst joint of each body would have to turn back into its range."""
    rotations = axis_angle_to_matrix(torch.as_tensor(np.asarray(pose_aa, np.float32)))
    # Of the turn from one to the other: |R - S|^2 = 4 (1 - cos angle).
    angle = torch.acos((1 - squares_beyond_limits(rotations) / 4).clamp(-1, 1))
    return angle.amax(-1).numpy()


def squares_beyond_limits(
    rotations: Float[Tensor, "*batch 24 3 3"],
) -> Float[Tensor, "*batch limited"]:
    """|R - S|^2 of each joint of ``LIMITED`` and the nearest rotation S in its range."""
    both, nearest = nearest_in_range(rotations)
    return (both - nearest).square().sum((-1, -2))


def nearest_in_range(
    rotations: Float[Tensor, "*batch 24 3 3"],
) -> tuple[Float[Tensor, "*batch limited 3 3"], Float[Tensor, "*batch limited 3 3"]]:
    """Rotations of ``LIMITED``, the right side's as a mirror shows them, and about the nearest ones in their range."""
    # A mirror leaves x and turns y and z about, and so changes the sign of what mixes it with them.
    both = rotations[..., LIMITED_JOINTS, :, :] * _MIRRORED.to(rotations)
    low, high = (ends.to(both)[_ROW_OF_LIMITED] for ends in (_LOW, _HIGH))
    # Rz Ry Rx, as the limits are given; each rotation has two such triples of angles, and the nearer one counts.
    y = torch.asin((-both[..., 2, 0]).clamp(-1, 1))
    x = torch.atan2(both[..., 2, 1], both[..., 2, 2])
    z = torch.atan2(both[..., 1, 0], both[..., 0, 0])
    triples = torch.stack(
        [torch.stack([x, y, z], -1), torch.stack([x + math.pi, math.pi - y, z + math.pi], -1)]
    )
    # An angle is the same a whole turn on.
    middle, half = (low + high) / 2, (high - low) / 2
    off = torch.remainder(triples - middle + math.pi, 2 * math.pi) - math.pi
    nearest = _zyx(middle + torch.maximum(torch.minimum(off, half), -half))
    first = (both - nearest).square().sum((-1, -2)).diff(dim=0)[0] >= 0
    return both, torch.where(first[..., None, None], nearest[0], nearest[1])


def _zyx(angles: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rz Ry Rx, written out."""
    (sx, sy, sz), (cx, cy, cz) = angles.sin().unbind(-1), angles.cos().unbind(-1)
    rows = [
        cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx,
        sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx,
        -sy, cy * sx, cy * cx,
    ]  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def contradicted(
    projected_px: Float[np.ndarray, "hyps keypoints 2"],
    keypoints_px: Float[np.ndarray, "keypoints 3"],
    crop_px: Float[np.ndarray, "3"],
    rule: VetoRule,
) -> Float[np.ndarray, "hyps"]:
    """Share of the surely seen keypoints that a hypothesis puts elsewhere; 0 without any."""
    sure = keypoints_px[:, 2] >= rule.keypoint_confidence
    if not sure.any():
        return np.zeros(len(projected_px))
    off = np.linalg.norm(projected_px[:, sure] - keypoints_px[sure, :2], axis=-1)
    return (off > rule.keypoint_off * crop_px[2] / 2).mean(1)
