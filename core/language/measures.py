"""The numbers that facts are read off, for any batch of poses: angles, places along the body's axes, heights.

Joints are in a camera's frame (y down) or any other, as long as ``up`` is given in it. Lengths are divided by the
person's size, so that they are metres of a mean person. Everything is torch, so that words can steer a body by the same
numbers as judge it (``diffusion/told.py``).
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from alignhmr.core.body.skeleton import JOINTS
from alignhmr.core.language.facts import FACTS, PARTS, SIDES, TOUCHED

CAMERA_UP = (0.0, -1.0, 0.0)
"""Against gravity, as far as a level camera knows it."""
_MEAN_M = 1.4
"""Pelvis to neck, and hip to ankle, of the mean person: what sizes are measured by."""
_J = {name: index for index, name in enumerate(JOINTS)}
_MOST_SOFT = 6.0
"""A direction along the axis it is measured about is anybody's guess; its softness grows up to so many times."""
_TINY = 1e-9
Told = dict[str, tuple[Tensor, Tensor | float]]


@dataclass(frozen=True)
class Measured:
    """One number for each of ``FACTS``; posture has none and is 0."""

    values: Float[Tensor, "*batch facts"]
    softer: Float[Tensor, "*batch facts"]
    """Factor on the scale's softness; above 1 where the number is less sure than usual."""
    heights_m: Float[Tensor, "*batch 24"]
    """Of each joint above the lowest one, in metres of a mean person."""


@dataclass(frozen=True)
class Measures:
    """The same as arrays."""

    values: Float[np.ndarray, "*batch facts"]
    softer: Float[np.ndarray, "*batch facts"]
    heights_m: Float[np.ndarray, "*batch 24"]


def measure(
    joints_m: Float[np.ndarray, "*batch 24 3"], up: tuple[float, float, float] = CAMERA_UP
) -> Measures:
    """Every fact's number. Angles in degrees, lengths in metres of a mean person."""
    with torch.no_grad():
        found = measured(torch.from_numpy(np.asarray(joints_m, np.float64)), up)
    return Measures(found.values.numpy(), found.softer.numpy(), found.heights_m.numpy())


def measured(
    joints_m: Float[Tensor, "*batch 24 3"], up: tuple[float, float, float] = CAMERA_UP,
    parts: Collection[str] = PARTS,
) -> Measured:  # fmt: skip
    """``measure`` with a gradient, in the joints' own precision; facts of other parts than these are 0."""
    lead = joints_m.shape[:-2]
    joints = joints_m.reshape(-1, len(JOINTS), 3)
    gravity_up = torch.tensor(up, dtype=joints.dtype, device=joints.device)
    size = _size(joints)[..., None]
    heights = joints @ gravity_up
    heights = (heights - heights.amin(-1, keepdim=True)) / size
    body = _Body(joints, gravity_up, size[..., 0], heights)
    found: Told = {}
    if "torso" in parts:
        found |= _trunk(body)
    if "head" in parts:
        found |= _head(body)
    for side, (limb, of_limb) in product(SIDES, (("arm", _arm), ("leg", _leg))):
        if f"{side}_{limb}" in parts:
            found |= {f"{side}_{stem}": told for stem, told in of_limb(body, side).items()}
    nothing = torch.zeros_like(size[..., 0])
    told = [found.get(fact.name, (nothing, 1.0)) for fact in FACTS]
    values = torch.stack([value for value, _ in told], -1)
    softer = torch.stack(
        [soft if isinstance(soft, Tensor) else torch.full_like(nothing, soft) for _, soft in told], -1
    )
    return Measured(
        values.reshape(*lead, len(FACTS)),
        softer.reshape(*lead, len(FACTS)),
        heights.reshape(*lead, len(JOINTS)),
    )


class _Body:
    """Joints by name, and the axes that they are measured along."""

    def __init__(self, joints: Tensor, gravity_up: Tensor, size: Tensor, heights: Tensor) -> None:
        self.joints, self.size, self._heights = joints, size, heights
        self.gravity_up = gravity_up.expand_as(joints[..., 0, :])
        across = self["left_hip"] - self["right_hip"] + self["left_shoulder"] - self["right_shoulder"]
        self.left = _unit(across)
        spine = self["neck"] - self["pelvis"]
        self.up = _unit(spine - _dot(spine, self.left)[..., None] * self.left)
        self.forward = torch.linalg.cross(self.left, self.up)
        self.trunk = _dot(spine, self.up).clamp_min(1e-6)

    def __getitem__(self, name: str) -> Tensor:
        return self.joints[..., _J[name], :]

    def height(self, name: str) -> Tensor:
        return self._heights[..., _J[name]]

    def out(self, side: str) -> Tensor:
        return self.left if side == "left" else -self.left

    def metres(self, vector: Tensor, axis: Tensor) -> Tensor:
        return _dot(vector, axis) / self.size


def _trunk(body: _Body) -> Told:
    up, gravity = body.up, body.gravity_up
    tilt = _degrees_between(up, gravity)
    # The trunk's own direction in the ground plane, told by its forward and left; both are taken level.
    flat = _flat(up, gravity)
    ahead, left = _flat(body.forward, gravity), _flat(body.left, gravity)
    lean, lean_softer = _heading(_dot(flat, _unit(ahead)), _dot(flat, _unit(left)), _norm(flat))
    # Cameras look along z: a chest that faces one points along -z.
    facing, facing_softer = _heading(
        -body.forward[..., 2], body.forward[..., 0], _hypot(body.forward[..., 2], body.forward[..., 0])
    )
    chest = 90 - _degrees_between(body.forward, gravity)
    hips = _unit(_flat(body["left_hip"] - body["right_hip"], up))
    shoulders = _unit(_flat(body["left_shoulder"] - body["right_shoulder"], up))
    twist = torch.rad2deg(torch.atan2(_dot(torch.linalg.cross(hips, shoulders), up), _dot(hips, shoulders)))
    return {
        "inclination": (tilt, 1.0), "lean": (lean, lean_softer), "facing": (facing, facing_softer),
        "chest": (chest, 1.0), "twist": (twist, 1.0), "hips_ground": (body.height("pelvis"), 1.0),
    }  # fmt: skip


def _head(body: _Body) -> Told:
    neck = _unit(body["head"] - body["neck"])
    up = _dot(neck, body.up)
    nod = torch.rad2deg(torch.atan2(_dot(neck, body.forward), up))
    tilt = torch.rad2deg(torch.atan2(_dot(neck, body.left), _hypot(up, _dot(neck, body.forward))))
    return {"nod": (nod, 1.0), "tilt": (tilt, 1.0)}


def _arm(body: _Body, side: str) -> Told:
    other = SIDES[side == "left"]
    shoulder, elbow, wrist = (body[f"{side}_{joint}"] for joint in ("shoulder", "elbow", "wrist"))
    hand, out = body[f"{side}_hand"], body.out(side)
    from_hip = hand - body["pelvis"]
    found: Told = {
        **_limb(body, elbow - shoulder, "upper_arm", out),
        **_limb(body, wrist - elbow, "forearm", out),
        "elbow": (_degrees_between(elbow - shoulder, wrist - elbow), 1.0),
        "hand_height": (_dot(from_hip, body.up) / body.trunk, 1.0),
        "hand_depth": (body.metres(hand - body["neck"], body.forward), 1.0),
        "hand_side": (body.metres(from_hip, out), 1.0),
        "hands_spread": (_norm(hand - body[f"{other}_hand"]) / body.size, 1.0),
        "hand_ground": (body.height(f"{side}_hand"), 1.0),
    }
    for stem, (joint, others) in TOUCHED.items():
        name = joint if joint == "head" else f"{other if others else side}_{joint}"
        found[stem] = (_norm(hand - body[name]) / body.size, 1.0)
    return found


def _leg(body: _Body, side: str) -> Told:
    other = SIDES[side == "left"]
    hip, knee, ankle = (body[f"{side}_{joint}"] for joint in ("hip", "knee", "ankle"))
    out = body.out(side)
    between = ankle - body[f"{other}_ankle"]
    return {
        **_limb(body, knee - hip, "thigh", out),
        "knee": (_degrees_between(knee - hip, ankle - knee), 1.0),
        "shin": (90 - _degrees_between(ankle - knee, body.gravity_up), 1.0),
        "feet_spread": (_norm(between) / body.size, 1.0),
        "foot_ahead": (body.metres(between, body.forward), 1.0),
        "foot_higher": (body.metres(between, body.gravity_up), 1.0),
        "legs_crossed": (body.metres(between, out), 1.0),
        "foot_ground": (torch.minimum(body.height(f"{side}_foot"), body.height(f"{side}_ankle")), 1.0),
        "knee_ground": (body.height(f"{side}_knee"), 1.0),
    }


def _limb(body: _Body, limb: Tensor, stem: str, out: Tensor) -> Told:
    """Pitch above the body's horizontal, and heading from straight ahead outwards."""
    limb = _unit(limb)
    ahead, aside = _dot(limb, body.forward), _dot(limb, out)
    level = _hypot(ahead, aside)
    pitch = torch.rad2deg(torch.atan2(_dot(limb, body.up), level))
    return {stem: (pitch, 1.0), f"{stem}_way": _heading(ahead, aside, level)}


def _heading(ahead: Tensor, aside: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
    """Degrees from ahead to aside, and how much less sure they are than of a vector in the plane."""
    return torch.rad2deg(torch.atan2(aside, ahead)), (1 / level.clamp_min(1e-6)).clamp_max(_MOST_SOFT)


def _size(joints: Tensor) -> Tensor:
    """The person's size, 1 for the mean."""

    def length(*names: str) -> Tensor:
        chain = joints[..., [_J[name] for name in names], :]
        return _norm(chain[..., 1:, :] - chain[..., :-1, :]).sum(-1)

    legs = [length(f"{side}_hip", f"{side}_knee", f"{side}_ankle") for side in SIDES]
    spine = length("pelvis", "spine1", "spine2", "spine3", "neck")
    return ((spine + (legs[0] + legs[1]) / 2) / _MEAN_M).clamp_min(1e-6)


def _flat(vector: Tensor, normal: Tensor) -> Tensor:
    return vector - _dot(vector, normal)[..., None] * normal


def _degrees_between(one: Tensor, other: Tensor) -> Tensor:
    # By both sine and cosine: an arc cosine has no gradient where two directions are one.
    return torch.rad2deg(torch.atan2(_norm(torch.linalg.cross(one, other)), _dot(one, other)))


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum(-1)


def _norm(vector: Tensor) -> Tensor:
    """Length; of nothing it has the gradient 0."""
    return (vector.square().sum(-1) + _TINY**2).sqrt()


def _hypot(one: Tensor, other: Tensor) -> Tensor:
    return (one.square() + other.square() + _TINY**2).sqrt()


def _unit(vector: Tensor) -> Tensor:
    return vector / _norm(vector)[..., None]
