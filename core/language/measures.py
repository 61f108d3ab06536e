"""The numbers that facts are read off, for any batch of poses: angles, places along the body's axes, heights.

Joints are in a camera's frame (y down) or any other, as long as ``up`` is given in it. Lengths are divided by the
person's size, so that they are metres of a mean person.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from alignhmr.core.body.skeleton import JOINTS
from alignhmr.core.language.facts import FACTS, SIDES, TOUCHED

CAMERA_UP = (0.0, -1.0, 0.0)
"""Against gravity, as far as a level camera knows it."""
_MEAN_M = 1.4
"""Pelvis to neck, and hip to ankle, of the mean person: what sizes are measured by."""
_J = {name: index for index, name in enumerate(JOINTS)}
_MOST_SOFT = 6.0
"""A direction along the axis it is measured about is anybody's guess; its softness grows up to so many times."""


@dataclass(frozen=True)
class Measures:
    """One number for each of ``FACTS``; posture has none and is 0."""

    values: Float[np.ndarray, "*batch facts"]
    softer: Float[np.ndarray, "*batch facts"]
    """Factor on the scale's softness; above 1 where the number is less sure than usual."""
    heights_m: Float[np.ndarray, "*batch 24"]
    """Of each joint above the lowest one, in metres of a mean person."""


def measure(
    joints_m: Float[np.ndarray, "*batch 24 3"], up: tuple[float, float, float] = CAMERA_UP
) -> Measures:
    """Every fact's number. Angles in degrees, lengths in metres of a mean person."""
    lead = np.shape(joints_m)[:-2]
    joints = np.asarray(joints_m, np.float64).reshape(-1, len(JOINTS), 3)
    size = _size(joints)[..., None]
    heights = joints @ np.asarray(up, np.float64)
    heights = (heights - heights.min(-1, keepdims=True)) / size
    body = _Body(joints, np.asarray(up, np.float64), size[..., 0], heights)
    found: dict[str, tuple[np.ndarray, np.ndarray | float]] = {**_trunk(body), **_head(body)}
    for side in SIDES:
        found |= {f"{side}_{stem}": told for stem, told in {**_arm(body, side), **_leg(body, side)}.items()}
    nothing = np.zeros(len(joints))
    told = [found.get(fact.name, (nothing, 1.0)) for fact in FACTS]
    values, softer = (
        np.stack([np.broadcast_to(pair[which], nothing.shape) for pair in told], -1).reshape(
            *lead, len(FACTS)
        )
        for which in (0, 1)
    )
    return Measures(values, softer, heights.reshape(*lead, len(JOINTS)))


class _Body:
    """Joints by name, and the axes that they are measured along."""

    def __init__(
        self, joints: np.ndarray, gravity_up: np.ndarray, size: np.ndarray, heights: np.ndarray
    ) -> None:
        self.joints, self.size, self._heights = joints, size, heights
        self.gravity_up = np.broadcast_to(gravity_up, joints[..., 0, :].shape)
        across = self["left_hip"] - self["right_hip"] + self["left_shoulder"] - self["right_shoulder"]
        self.left = _unit(across)
        spine = self["neck"] - self["pelvis"]
        self.up = _unit(spine - _dot(spine, self.left)[..., None] * self.left)
        self.forward = np.cross(self.left, self.up)
        self.trunk = np.maximum(_dot(spine, self.up), 1e-6)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.joints[..., _J[name], :]

    def height(self, name: str) -> np.ndarray:
        return self._heights[..., _J[name]]

    def out(self, side: str) -> np.ndarray:
        return self.left if side == "left" else -self.left

    def metres(self, vector: np.ndarray, axis: np.ndarray) -> np.ndarray:
        return _dot(vector, axis) / self.size


def _trunk(body: _Body) -> dict[str, tuple[np.ndarray, np.ndarray | float]]:
    up, gravity = body.up, body.gravity_up
    tilt = _degrees_between(up, gravity)
    # The trunk's own direction in the ground plane, told by its forward and left; both are taken level.
    flat = _flat(up, gravity)
    ahead, left = _flat(body.forward, gravity), _flat(body.left, gravity)
    lean, lean_softer = _heading(
        _dot(flat, _unit(ahead)), _dot(flat, _unit(left)), np.linalg.norm(flat, axis=-1)
    )
    # Cameras look along z: a chest that faces one points along -z.
    facing, facing_softer = _heading(
        -body.forward[..., 2], body.forward[..., 0], np.hypot(body.forward[..., 2], body.forward[..., 0])
    )
    chest = np.degrees(np.arcsin(np.clip(_dot(body.forward, gravity), -1, 1)))
    hips = _unit(_flat(body["left_hip"] - body["right_hip"], up))
    shoulders = _unit(_flat(body["left_shoulder"] - body["right_shoulder"], up))
    twist = np.degrees(np.arctan2(_dot(np.cross(hips, shoulders), up), _dot(hips, shoulders)))
    return {
        "inclination": (tilt, 1.0), "lean": (lean, lean_softer), "facing": (facing, facing_softer),
        "chest": (chest, 1.0), "twist": (twist, 1.0), "hips_ground": (body.height("pelvis"), 1.0),
    }  # fmt: skip


def _head(body: _Body) -> dict[str, tuple[np.ndarray, np.ndarray | float]]:
    neck = _unit(body["head"] - body["neck"])
    up = _dot(neck, body.up)
    nod = np.degrees(np.arctan2(_dot(neck, body.forward), up))
    tilt = np.degrees(np.arctan2(_dot(neck, body.left), np.hypot(up, _dot(neck, body.forward))))
    return {"nod": (nod, 1.0), "tilt": (tilt, 1.0)}


def _arm(body: _Body, side: str) -> dict[str, tuple[np.ndarray, np.ndarray | float]]:
    other = SIDES[side == "left"]
    shoulder, elbow, wrist = (body[f"{side}_{joint}"] for joint in ("shoulder", "elbow", "wrist"))
    hand, out = body[f"{side}_hand"], body.out(side)
    from_hip = hand - body["pelvis"]
    found: dict[str, tuple[np.ndarray, np.ndarray | float]] = {
        **_limb(body, elbow - shoulder, "upper_arm", out),
        **_limb(body, wrist - elbow, "forearm", out),
        "elbow": (_degrees_between(elbow - shoulder, wrist - elbow), 1.0),
        "hand_height": (_dot(from_hip, body.up) / body.trunk, 1.0),
        "hand_depth": (body.metres(hand - body["neck"], body.forward), 1.0),
        "hand_side": (body.metres(from_hip, out), 1.0),
        "hands_spread": (np.linalg.norm(hand - body[f"{other}_hand"], axis=-1) / body.size, 1.0),
        "hand_ground": (body.height(f"{side}_hand"), 1.0),
    }
    for stem, (joint, others) in TOUCHED.items():
        name = joint if joint == "head" else f"{other if others else side}_{joint}"
        found[stem] = (np.linalg.norm(hand - body[name], axis=-1) / body.size, 1.0)
    return found


def _leg(body: _Body, side: str) -> dict[str, tuple[np.ndarray, np.ndarray | float]]:
    other = SIDES[side == "left"]
    hip, knee, ankle = (body[f"{side}_{joint}"] for joint in ("hip", "knee", "ankle"))
    out = body.out(side)
    between = ankle - body[f"{other}_ankle"]
    return {
        **_limb(body, knee - hip, "thigh", out),
        "knee": (_degrees_between(knee - hip, ankle - knee), 1.0),
        "shin": (90 - _degrees_between(ankle - knee, body.gravity_up), 1.0),
        "feet_spread": (np.linalg.norm(between, axis=-1) / body.size, 1.0),
        "foot_ahead": (body.metres(between, body.forward), 1.0),
        "foot_higher": (body.metres(between, body.gravity_up), 1.0),
        "legs_crossed": (body.metres(between, out), 1.0),
        "foot_ground": (np.minimum(body.height(f"{side}_foot"), body.height(f"{side}_ankle")), 1.0),
        "knee_ground": (body.height(f"{side}_knee"), 1.0),
    }


def _limb(
    body: _Body, limb: np.ndarray, stem: str, out: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray | float]]:
    """Pitch above the body's horizontal, and heading from straight ahead outwards."""
    limb = _unit(limb)
    ahead, aside = _dot(limb, body.forward), _dot(limb, out)
    level = np.hypot(ahead, aside)
    pitch = np.degrees(np.arctan2(_dot(limb, body.up), level))
    return {stem: (pitch, 1.0), f"{stem}_way": _heading(ahead, aside, level)}


def _heading(ahead: np.ndarray, aside: np.ndarray, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Degrees from ahead to aside, and how much less sure they are than of a vector in the plane."""
    return np.degrees(np.arctan2(aside, ahead)), np.minimum(1 / np.maximum(level, 1e-6), _MOST_SOFT)


def _size(joints: np.ndarray) -> np.ndarray:
    """The person's size, 1 for the mean."""

    def length(*names: str) -> np.ndarray:
        chain = joints[..., [_J[name] for name in names], :]
        return np.linalg.norm(np.diff(chain, axis=-2), axis=-1).sum(-1)

    legs = sum(length(f"{side}_hip", f"{side}_knee", f"{side}_ankle") for side in SIDES) / 2
    return np.maximum((length("pelvis", "spine1", "spine2", "spine3", "neck") + legs) / _MEAN_M, 1e-6)


def _flat(vector: np.ndarray, normal: np.ndarray) -> np.ndarray:
    return vector - _dot(vector, normal)[..., None] * normal


def _degrees_between(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip(_dot(_unit(one), _unit(other)), -1, 1)))


def _dot(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one * other).sum(-1)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.maximum(np.linalg.norm(vector, axis=-1, keepdims=True), 1e-9)
