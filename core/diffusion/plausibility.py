"""What no body does, with derivatives: joints turned beyond their range, and parts of a body inside each other.

The same measures as ``scoring/vetoes.py`` judges by, so that what refinement leans on is what it is judged on.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from alignhmr.core.scoring.vetoes import LIMITED, LIMITED_JOINTS, nearest_in_range, squares_beyond_limits
from alignhmr.core.synthetic.contact import ENDS, PAIRS
from alignhmr.core.synthetic.poses import LIMITS

DEEPEST = 6
"""Pairs of capsules of each body that are pushed apart at a time."""
_TINY = 1e-12
_TURNS_MIRRORED = torch.tensor(
    [[1.0, 1.0, 1.0] if joint in LIMITS else [1.0, -1.0, -1.0] for joint in LIMITED]
)
"""Of a turn seen in a mirror y and z change sign."""
_PAIRS = torch.from_numpy(np.ascontiguousarray(PAIRS))
_ENDS = torch.from_numpy(ENDS)


def turned_too_far(
    rotations: Float[Tensor, "bodies 24 3 3"], slack_rad: float
) -> tuple[Float[Tensor, "bodies limited"], Float[Tensor, "bodies limited 72"]]:
    """Radians (of a small angle) by which joints are beyond their range and the slack, and how turns change them.

    The nearest rotation in range is held: where it is the nearest indeed, it changes nothing, and it nearly is.
    """
    both, nearest = nearest_in_range(rotations)
    # |R - S|^2 is twice the squared angle.
    angle = ((both - nearest).square().sum((-1, -2)) / 2 + _TINY).sqrt()
    beyond = (angle - slack_rad).clamp_min(0)
    by_rotation = (both - nearest) / (2 * angle)[..., None, None] * (beyond > 0)[..., None, None]
    by_turn = by_turns(both, by_rotation) * _TURNS_MIRRORED.to(rotations)
    rows = torch.zeros(*beyond.shape, 24, 3, dtype=rotations.dtype, device=rotations.device)
    rows[:, torch.arange(len(LIMITED)), LIMITED_JOINTS] = by_turn
    return beyond, rows.flatten(-2)


def worst_turn(rotations: Float[Tensor, "bodies 24 3 3"]) -> Float[Tensor, "bodies"]:
    """Radians (of a small angle) by which the worst joint of each body is beyond its range."""
    return (squares_beyond_limits(rotations).amax(-1) / 2).sqrt()


def through_itself(
    joints_m: Float[Tensor, "bodies 24 3"], radii_m: Float[Tensor, "capsules"]
) -> tuple[Float[Tensor, "bodies deepest"], Float[Tensor, "bodies deepest 24 3"]]:
    """How deep the worst pairs of capsules overlap, over the smaller radius, and how joints change that.

    Below 0 where they don't touch. Where the two lie nearest is held: at the nearest place it changes nothing.
    """
    of_joints = _ENDS.to(joints_m)
    ends = torch.einsum("cej,bjx->bcex", of_joints, joints_m)
    pairs = _PAIRS.to(joints_m.device)
    one, other = ends[:, pairs[:, 0]], ends[:, pairs[:, 1]]
    along, across = _nearest(one[:, :, 0], one[:, :, 1], other[:, :, 0], other[:, :, 1])

    def at(share: Tensor) -> Tensor:
        return torch.stack([1 - share, share], -1)

    gap = (at(along)[..., None] * one).sum(-2) - (at(across)[..., None] * other).sum(-2)
    distance = (gap.square().sum(-1) + _TINY).sqrt()
    smaller = torch.minimum(radii_m[pairs[:, 0]], radii_m[pairs[:, 1]])
    depth = (radii_m[pairs].sum(-1) - distance) / smaller
    worst = depth.topk(DEEPEST, dim=-1)
    index = worst.indices
    chosen = pairs[index]
    weights = (
        at(along).gather(1, index[..., None].expand(-1, -1, 2))[..., None] * of_joints[chosen[..., 0]]
    ).sum(-2)
    weights = weights - (
        at(across).gather(1, index[..., None].expand(-1, -1, 2))[..., None] * of_joints[chosen[..., 1]]
    ).sum(-2)
    normal = (gap / distance[..., None]).gather(1, index[..., None].expand(-1, -1, 3)) / smaller[index][
        ..., None
    ]
    return worst.values, -weights[..., None] * normal[..., None, :]


def by_turns(
    rotations: Float[Tensor, "*b 3 3"], by_rotation: Float[Tensor, "*b 3 3"]
) -> Float[Tensor, "*b 3"]:
    """Derivative by w of R exp(w) from that by R's entries."""
    through = rotations.mT @ by_rotation
    pairs = ((2, 1), (0, 2), (1, 0))
    return torch.stack([through[..., i, k] - through[..., k, i] for i, k in pairs], -1)


def _nearest(p: Tensor, q: Tensor, r: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Shares along two segments at which they are nearest (Ericson, Real-Time Collision Detection, 5.1.9)."""
    u, v, w = q - p, s - r, p - r
    a, e, b = (u * u).sum(-1), (v * v).sum(-1), (u * v).sum(-1)
    c, d = (u * w).sum(-1), (v * w).sum(-1)
    bottom = a * e - b * b
    along = torch.where(bottom > _TINY, ((b * d - c * e) / bottom.clamp_min(_TINY)).clamp(0, 1), 0.0)
    other = (b * along + d) / e.clamp_min(_TINY)
    before, after = (-c / a.clamp_min(_TINY)).clamp(0, 1), ((b - c) / a.clamp_min(_TINY)).clamp(0, 1)
    along = torch.where(other < 0, before, torch.where(other > 1, after, along))
    return along, other.clamp(0, 1)
