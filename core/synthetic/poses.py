"""Random body poses: mocap frames widened by mirroring, limb recombination, jitter and a procedural sampler.

Forty seconds of motion are narrow. Each widening keeps what it can't know plausible: limbs are exchanged
whole, jitter is smooth noise on the joints' own axes, and procedural poses stay inside anatomical limits.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from alignhmr.core.body.skeleton import JOINT_MIRROR
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.synthetic.motion import Clip

LIMBS: tuple[tuple[int, ...], ...] = (
    (1, 4, 7, 10), (2, 5, 8, 11), (13, 16, 18, 20, 22), (14, 17, 19, 21, 23), (3, 6, 9), (12, 15),
)  # fmt: skip
"""Left leg, right leg, left arm, right arm, spine, head: what recombination exchanges."""

# Limits in radians about x, y, z for the body's left side (the right is its mirror image), applied as
# Rz Ry Rx. Ranges from goniometry (Norkin and White), rounded; the spine's share is spread over three joints.
LIMITS: dict[int, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    1: ((-2.1, 0.4), (-0.6, 0.6), (-0.35, 0.8)),
    4: ((0.0, 2.5), (-0.1, 0.1), (-0.05, 0.05)),
    7: ((-0.5, 0.6), (-0.2, 0.2), (-0.3, 0.3)),
    3: ((-0.15, 0.5), (-0.25, 0.25), (-0.2, 0.2)),
    6: ((-0.1, 0.35), (-0.25, 0.25), (-0.15, 0.15)),
    9: ((-0.1, 0.3), (-0.2, 0.2), (-0.15, 0.15)),
    12: ((-0.35, 0.4), (-0.45, 0.45), (-0.25, 0.25)),
    15: ((-0.3, 0.4), (-0.4, 0.4), (-0.2, 0.2)),
    13: ((-0.1, 0.1), (-0.25, 0.2), (-0.1, 0.35)),
    16: ((-0.9, 0.9), (-1.9, 0.6), (-1.5, 1.3)),
    18: ((-0.7, 0.7), (-2.4, 0.0), (-0.1, 0.1)),
    20: ((-0.4, 0.4), (-0.3, 0.3), (-0.6, 0.6)),
}
_LEFT_OR_MIDDLE = tuple(LIMITS)
JITTER_RAD = np.array([0.05 if j in (0, 3, 6, 9, 13, 14) else 0.14 for j in range(24)])
"""Standard deviation of a joint's jitter: less on the trunk, which carries everything."""


@dataclass(frozen=True)
class PoseMix:
    """Shares of each source of poses, and how strongly they are widened."""

    mocap: float = 0.45
    recombined: float = 0.3
    jitter: float = 1.0
    """Multiplies the joints' jitter (0.05 rad on the trunk, 0.14 rad on limbs)."""


def mirror(rotations: Float[Tensor, "*batch 24 3 3"]) -> Float[Tensor, "*batch 24 3 3"]:
    """The pose seen in a mirror across the body's x axis."""
    flip = torch.tensor([1.0, -1.0, -1.0], dtype=rotations.dtype, device=rotations.device)
    return rotations[..., list(JOINT_MIRROR), :, :] * (flip[:, None] * flip[None, :])


def mirror_axis_angle(pose_aa: Float[Tensor, "*batch 24 3"]) -> Float[Tensor, "*batch 24 3"]:
    """``mirror`` for axis-angle: y and z change sign."""
    flip = torch.tensor([1.0, -1.0, -1.0], dtype=pose_aa.dtype, device=pose_aa.device)
    return pose_aa[..., list(JOINT_MIRROR), :] * flip


def euler_zyx(angles: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rz Ry Rx of (x, y, z) angles in radians."""
    axes = torch.eye(3, dtype=angles.dtype, device=angles.device)
    x, y, z = (axis_angle_to_matrix(angles[..., i, None] * axes[i]) for i in range(3))
    return z @ y @ x


class PoseSampler:
    """Draws body poses in a y-up world, in which the clips' own tilt of the root is kept."""

    def __init__(self, clips: list[Clip], mix: PoseMix | None = None) -> None:
        self.mix = mix or PoseMix()
        frames = np.concatenate([clip.rotations for clip in clips])
        self.frames = torch.tensor(frames, dtype=torch.float32)
        # A clip is drawn first, then its frame, or the long clips (getting up) would be a third of all.
        self.starts = torch.tensor(np.cumsum([0] + [len(clip.rotations) for clip in clips[:-1]]))
        self.lengths = torch.tensor([len(clip.rotations) for clip in clips])

    def sample(self, count: int, generator: torch.Generator) -> Float[Tensor, "count 24 3 3"]:
        def uniform(*size: int) -> Tensor:
            return torch.rand(*size, generator=generator)

        poses = self._mocap(count, generator)
        recombined = poses.clone()
        for limb in LIMBS:
            donor = self._mocap(count, generator)
            take = uniform(count) < 0.5
            recombined[:, list(limb)] = torch.where(
                take[:, None, None, None], donor[:, list(limb)], recombined[:, list(limb)]
            )
        kind = uniform(count)[:, None, None, None]
        poses = torch.where(
            kind < self.mix.mocap,
            poses,
            torch.where(
                kind < self.mix.mocap + self.mix.recombined, recombined, self._procedural(count, generator)
            ),
        )
        noise = (
            torch.randn(count, 24, 3, generator=generator)
            * torch.tensor(JITTER_RAD).float()[:, None]
            * self.mix.jitter
        )
        strength = uniform(count, 1, 1)
        poses = poses @ axis_angle_to_matrix(noise * strength)
        return torch.where(uniform(count)[:, None, None, None] < 0.5, mirror(poses), poses)

    def _mocap(self, count: int, generator: torch.Generator) -> Float[Tensor, "count 24 3 3"]:
        clip = torch.randint(len(self.starts), (count,), generator=generator)
        offset = (torch.rand(count, generator=generator) * self.lengths[clip]).long()
        return self.frames[self.starts[clip] + offset].clone()

    def _procedural(self, count: int, generator: torch.Generator) -> Float[Tensor, "count 24 3 3"]:
        limits = torch.tensor([LIMITS[j] for j in _LEFT_OR_MIDDLE])
        # The mean of two uniforms: mid-range is commoner than the limit, as in life.
        draws = torch.rand(2, 2, count, len(_LEFT_OR_MIDDLE), 3, generator=generator).mean(0)
        angles = limits[..., 0] + draws * (limits[..., 1] - limits[..., 0])
        left, right = (euler_zyx(a) for a in angles)
        poses = torch.eye(3).expand(count, 24, 3, 3).clone()
        poses[:, list(_LEFT_OR_MIDDLE)] = right
        poses = mirror(poses)
        left_or_middle = list(_LEFT_OR_MIDDLE)
        poses[:, left_or_middle] = left
        tilt = torch.randn(count, 3, generator=generator) * torch.tensor([0.35, 0.0, 0.2])
        poses[:, 0] = axis_angle_to_matrix(tilt)
        return poses


def view_rotations(count: int, generator: torch.Generator) -> Float[Tensor, "count 3 3"]:
    """World (y up) to camera (y down): any heading, mostly level views, a tenth from well above or below."""
    yaw = torch.rand(count, generator=generator) * 2 * math.pi
    steep = torch.rand(count, generator=generator) < 0.1
    pitch = torch.randn(count, generator=generator) * torch.where(steep, 0.7, 0.2)
    roll = torch.randn(count, generator=generator) * 0.08
    heading = euler_zyx(torch.stack([torch.zeros(count), yaw, torch.zeros(count)], -1))
    tilt = euler_zyx(torch.stack([pitch, torch.zeros(count), roll], -1))
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    return tilt @ flip @ heading
