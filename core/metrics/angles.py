"""How far parts of the body are turned from the truth, in degrees.

``mpjae_deg`` is the 3DPW challenge's figure (von Marcard et al., ECCV 2018, and the challenge's evaluation):
geodesic distance between the *global* orientations, in the camera's frame, of nine parts: root, upper and
lower legs, upper and lower arms. ``local_angle_deg`` compares each of the 23 joints with its parent instead,
so that a wrongly turned hip doesn't count again at the knee; it has no standing in the literature's tables.
Both mean something only between two poses of one skeleton.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from alignhmr.core.body.skeleton import JOINTS, PARENTS
from alignhmr.core.geometry.rotations import geodesic_angle

ORIENTED_PARTS: tuple[int, ...] = tuple(
    JOINTS.index(name)
    for name in (
        "pelvis", "left_hip", "right_hip", "left_knee", "right_knee", "left_shoulder", "right_shoulder",
        "left_elbow", "right_elbow",
    )
)  # fmt: skip
"""SMPL's joints 0, 1, 2, 4, 5, 16, 17, 18, 19: each turns the part below it."""


def global_rotations(local: Float[Tensor, "*batch 24 3 3"]) -> Float[Tensor, "*batch 24 3 3"]:
    """Orientation of each joint in the camera's frame: the product of its parents' rotations and its own."""
    turned = [local[..., 0, :, :]]
    for joint, parent in enumerate(PARENTS[1:], start=1):
        turned.append(turned[parent] @ local[..., joint, :, :])
    return torch.stack(turned, -3)


def mpjae_deg(
    predicted: Float[Tensor, "*batch 24 3 3"], true: Float[Tensor, "*batch 24 3 3"]
) -> Float[Tensor, "*batch"]:
    """Mean angle between the global orientations of the nine parts; both are given relative to the parent."""
    first, second = (
        global_rotations(local.double())[..., ORIENTED_PARTS, :, :] for local in (predicted, true)
    )
    return torch.rad2deg(geodesic_angle(first, second.expand_as(first))).mean(-1)


def local_angle_deg(
    predicted: Float[Tensor, "*batch 24 3 3"], true: Float[Tensor, "*batch 24 3 3"]
) -> Float[Tensor, "*batch"]:
    """Mean angle between the rotations of the 23 joints relative to their parents; the root is left out."""
    first, second = predicted.double()[..., 1:, :, :], true.double()[..., 1:, :, :]
    return torch.rad2deg(geodesic_angle(first, second.expand_as(first))).mean(-1)
