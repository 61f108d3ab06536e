"""A posed body's points and how they move with it, in closed form: what Gauss-Newton steps are made of.

A small turn w of joint j, R_j exp(w), carries everything below it about the joint. With G_j the joint's turn in the
body's frame, x_j its place and p a point that hangs on joints d by shares,

    dp / dw_j  =  -[ sum_d (p_d - share_d x_j) ]_x G_j,        d over j and everything below it,

and points are linear in betas. For a body with pose blend shapes their own part is left out: it is a hundredth of the
whole, and whoever steps by these looks at the energy afterwards.
"""

from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import JOINTS, PARENTS

POINTS = 47
"""Joints, then keypoints."""


@dataclass(frozen=True)
class MovingPoints:
    """Joints, then keypoints, in metres before any translation."""

    points_m: Float[Tensor, "*b 47 3"]
    by_turns: Float[Tensor, "*b 47 3 72"]
    """Metres a radian of R_j exp(w_j), the three of joint 0 first."""
    by_betas: Float[Tensor, "*b 47 3 10"]


def moving_points(
    body: BodyModel, rotations: Float[Tensor, "*b 24 3 3"], betas: Float[Tensor, "*b 10"]
) -> MovingPoints:
    """``BodyModel.kinematics`` and its derivatives; rows of a batch don't depend on each other."""
    lead = rotations.shape[:-3]
    turns, betas = rotations.reshape(-1, len(JOINTS), 3, 3), betas.expand(*lead, -1).reshape(-1, 10)
    count, pair = len(turns), body.pair_joint
    rest = body.joint_template + (betas @ body.joint_dirs.flatten(0, 1).T).view(count, len(JOINTS), 3)
    motions = body._walk(turns.permute(1, 2, 3, 0).contiguous(), rest.permute(1, 2, 0)).permute(3, 0, 1, 2)
    world, place = motions[..., :3], motions[..., 3]

    held = body.pair_template + (betas @ body.pair_dirs.flatten(0, 1).T).view(count, -1, 3)
    if body.pair_posedirs is not None:
        eye = torch.eye(3, dtype=turns.dtype, device=turns.device)
        held = held + torch.einsum("pcf,bf->bpc", body.pair_posedirs, (turns[:, 1:] - eye).flatten(1))
    share = body.pair_weight[:, :, 0]
    held = held - share * rest[:, pair]
    moved = (world[:, pair] * held[:, :, None]).sum(-1) + share * place[:, pair]

    below = _below().to(turns)
    of_pair = body.keypoint_of_pair.to(turns)
    # What of each point hangs on a joint or below it: its place by its share, and the share alone.
    hung = (of_pair[:, None] * below[pair].T).flatten(0, 1) @ moved
    hung = torch.cat([below[:, :, None] * place[:, :, None], hung.view(count, -1, len(JOINTS), 3)], 1)
    shares = torch.cat([below, of_pair @ (share * below[pair])])
    lever = hung - shares[..., None] * place[:, None]
    # -[lever]_x G, by components: products of 3x3 matrices one by one would take ten times as long.
    turn, arm = world[:, None].unbind(-2), lever[..., None].unbind(-2)
    by_turns = torch.stack(
        [turn[i] * arm[k] - turn[k] * arm[i] for i, k in ((1, 2), (2, 0), (0, 1))], 2
    ).flatten(-2)

    bones = torch.cat([body.joint_dirs[:1], body.joint_dirs[1:] - body.joint_dirs[body.parents[1:]]])
    carried = torch.cat([bones[:1].expand(count, 1, 3, 10), world[:, body.parents[1:]] @ bones[1:]], 1)
    place_by_betas = (below @ carried.flatten(2)).view(count, len(JOINTS), 3, 10)
    moved_by_betas = world[:, pair] @ (body.pair_dirs - body.pair_weight * body.joint_dirs[pair])
    moved_by_betas = moved_by_betas + body.pair_weight * place_by_betas[:, pair]
    by_betas = torch.cat([place_by_betas, (of_pair @ moved_by_betas.flatten(2)).view(count, -1, 3, 10)], 1)
    points = torch.cat([place, of_pair @ moved], 1)
    return MovingPoints(
        points.reshape(*lead, POINTS, 3),
        by_turns.reshape(*lead, POINTS, 3, 72),
        by_betas.reshape(*lead, POINTS, 3, 10),
    )


@cache
def _below() -> Float[Tensor, "joints ancestors"]:
    """1 where the joint is the ancestor or hangs below it."""
    found = torch.eye(len(JOINTS))
    for joint, parent in enumerate(PARENTS[1:], start=1):
        found[joint] += found[parent]
    return found
