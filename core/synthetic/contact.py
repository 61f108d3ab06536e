"""Whether a body passes through itself or another: capsules along the bones, with radii taken from the mesh.

Flesh gives way and capsules don't, so a pair counts as through only when it overlaps by more than a share of
its radii. At the share below 91 % of the shipped mocap's frames pass; most of the rest are of ``punch``, ``roll``
and ``spin``, whose retargeting puts hands into the belly of a body as wide as ours. Microseconds a pose, where
meshes would cost a tenth of a second.
"""

import numpy as np
from jaxtyping import Float

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import JOINTS
from alignhmr.core.synthetic.rasterizer import compiled
from alignhmr.core.synthetic.skinning import Skin

_J = JOINTS.index
# Ends as (joint, joint, share): the point that share of the way from the first to the second.
_BONES: tuple[tuple[str, tuple[str, str, float], tuple[str, str, float], tuple[str, ...]], ...] = (
    ("pelvis", ("left_hip", "right_hip", 0.15), ("left_hip", "right_hip", 0.85), ("pelvis", "spine1")),
    ("belly", ("spine1", "left_hip", 0.5), ("spine1", "right_hip", 0.5), ("spine1", "spine2")),
    ("chest_left", ("spine2", "left_shoulder", 0.2), ("spine3", "left_shoulder", 0.5), ("spine3",)),
    ("chest_right", ("spine2", "right_shoulder", 0.2), ("spine3", "right_shoulder", 0.5), ("spine3",)),
    ("head", ("head", "neck", 0.0), ("head", "neck", -0.8), ("head",)),
    ("left_thigh", ("left_hip", "left_knee", 0.1), ("left_hip", "left_knee", 1.0), ("left_hip",)),
    ("right_thigh", ("right_hip", "right_knee", 0.1), ("right_hip", "right_knee", 1.0), ("right_hip",)),
    ("left_shin", ("left_knee", "left_ankle", 0.0), ("left_knee", "left_ankle", 1.0), ("left_knee",)),
    ("right_shin", ("right_knee", "right_ankle", 0.0), ("right_knee", "right_ankle", 1.0), ("right_knee",)),
    ("left_foot", ("left_ankle", "left_foot", 0.0), ("left_ankle", "left_foot", 1.2), ("left_ankle",)),
    ("right_foot", ("right_ankle", "right_foot", 0.0), ("right_ankle", "right_foot", 1.2), ("right_ankle",)),
    ("left_arm", ("left_shoulder", "left_elbow", 0.2), ("left_shoulder", "left_elbow", 1.0), ("left_shoulder",)),
    ("right_arm", ("right_shoulder", "right_elbow", 0.2), ("right_shoulder", "right_elbow", 1.0), ("right_shoulder",)),
    ("left_forearm", ("left_elbow", "left_wrist", 0.0), ("left_elbow", "left_wrist", 1.0), ("left_elbow",)),
    ("right_forearm", ("right_elbow", "right_wrist", 0.0), ("right_elbow", "right_wrist", 1.0), ("right_elbow",)),
    ("left_hand", ("left_wrist", "left_hand", 0.2), ("left_wrist", "left_hand", 1.4), ("left_wrist", "left_hand")),
    ("right_hand", ("right_wrist", "right_hand", 0.2), ("right_wrist", "right_hand", 1.4),
     ("right_wrist", "right_hand")),
)  # fmt: skip
CAPSULES: tuple[str, ...] = tuple(bone[0] for bone in _BONES)
_FROM = np.array([[_J(a), _J(b)] for _, (a, b, _s), _, _ in _BONES])
_FROM_SHARE = np.array([s for _, (_, _, s), _, _ in _BONES])
_TO = np.array([[_J(a), _J(b)] for _, _, (a, b, _s), _ in _BONES])
_TO_SHARE = np.array([s for _, _, (_, _, s), _ in _BONES])

_NEIGHBOURS = [
    {"pelvis", "belly", "chest_left", "chest_right"},
    *[{f"{s}_thigh", "pelvis", "belly"} for s in ("left", "right")],
    *[{f"{s}_thigh", f"{s}_shin"} for s in ("left", "right")],
    *[{f"{s}_shin", f"{s}_foot"} for s in ("left", "right")],
    *[{f"{s}_arm", "chest_left", "chest_right"} for s in ("left", "right")],
    *[{f"{s}_arm", f"{s}_forearm"} for s in ("left", "right")],
    *[{f"{s}_forearm", f"{s}_hand"} for s in ("left", "right")],
    {"left_thigh", "right_thigh"},
    {"head", "chest_left", "chest_right"},
    {"left_arm", "head"},
    {"right_arm", "head"},
]
_PAIRS = np.array([
    (i, k) for i in range(len(CAPSULES)) for k in range(i + 1, len(CAPSULES))
    if not any({CAPSULES[i], CAPSULES[k]} <= group for group in _NEIGHBOURS)
])  # fmt: skip

ENDS = np.zeros((len(CAPSULES), 2, len(JOINTS)))
"""Both ends of every capsule as weights of joints."""
for _end, (_pairs, _shares) in enumerate(((_FROM, _FROM_SHARE), (_TO, _TO_SHARE))):
    for _capsule, ((_first, _second), _share) in enumerate(zip(_pairs, _shares, strict=True)):
        ENDS[_capsule, _end, _first] += 1 - _share
        ENDS[_capsule, _end, _second] += _share
PAIRS = _PAIRS
"""Capsules of one body that may not pass through each other."""

ALLOWED_OVERLAP = 0.3
"""Share of the smaller radius that two capsules may sink into each other."""


def radii_m(skin: Skin) -> Float[np.ndarray, "capsules"]:
    """Lower-quartile distance of each part's vertices from its bone, on the mean body: trunks are wider than deep."""
    return _radii_m(skin.template_m, skin.part, skin.joint_template_m)


def radii_of(body: BodyModel) -> Float[np.ndarray, "capsules"]:
    """The same of any body of SMPL's format."""
    data = body._body
    template = data.v_template.astype(np.float64)
    return _radii_m(template, data.weights.argmax(1), data.J_regressor.astype(np.float64) @ template)


def _radii_m(template_m: np.ndarray, part: np.ndarray, joints_m: np.ndarray) -> np.ndarray:
    ends = segments(joints_m)
    found = []
    for index, (_, _, _, parts) in enumerate(_BONES):
        own = template_m[np.isin(part, [_J(name) for name in parts])]
        a, b = ends[index]
        along = np.clip(((own - a) * (b - a)).sum(1) / ((b - a) ** 2).sum(), 0, 1)
        found.append(np.quantile(np.linalg.norm(own - a - along[:, None] * (b - a), axis=1), 0.25))
    return np.array(found)


def segments(joints_m: Float[np.ndarray, "24 3"]) -> Float[np.ndarray, "capsules 2 3"]:
    """Both ends of every capsule."""

    def between(pair: np.ndarray, share: np.ndarray) -> np.ndarray:
        first, second = joints_m[pair[:, 0]], joints_m[pair[:, 1]]
        return first + share[:, None] * (second - first)

    return np.stack([between(_FROM, _FROM_SHARE), between(_TO, _TO_SHARE)], 1)


def self_contact(joints_m: Float[np.ndarray, "24 3"], radii: Float[np.ndarray, "capsules"]) -> float:
    """How deep the worst pair of one body's capsules overlaps, over the smaller radius; 0 where none touch."""
    ends = segments(np.asarray(joints_m, np.float64))
    return _deepest(ends, ends, radii, radii, _PAIRS)


_ALL = np.array([(i, k) for i in range(len(CAPSULES)) for k in range(len(CAPSULES))])


def contact(
    first_m: Float[np.ndarray, "24 3"],
    second_m: Float[np.ndarray, "24 3"],
    radii: Float[np.ndarray, "capsules"],
) -> float:
    """``self_contact`` between two bodies."""
    one, other = segments(np.asarray(first_m, np.float64)), segments(np.asarray(second_m, np.float64))
    return _deepest(one, other, radii, radii, _ALL)


@compiled
def _deepest(first, second, first_radii, second_radii, pairs):
    worst = 0.0
    for index in range(len(pairs)):
        i, k = pairs[index, 0], pairs[index, 1]
        reach = first_radii[i] + second_radii[k]
        gap = _distance(first[i, 0], first[i, 1], second[k, 0], second[k, 1])
        worst = max(worst, (reach - gap) / min(first_radii[i], second_radii[k]))
    return worst


@compiled
def _distance(p, q, r, s):
    """Between two segments (Ericson, Real-Time Collision Detection, 5.1.9)."""
    a = b = c = d = e = 0.0
    for axis in range(3):
        u, v, w = q[axis] - p[axis], s[axis] - r[axis], p[axis] - r[axis]
        a += u * u
        e += v * v
        b += u * v
        c += u * w
        d += v * w
    along = 0.0
    bottom = a * e - b * b
    if bottom > 1e-12:
        along = min(1.0, max(0.0, (b * d - c * e) / bottom))
    other = (b * along + d) / max(e, 1e-12)
    if other < 0.0:
        other = 0.0
        along = min(1.0, max(0.0, -c / max(a, 1e-12)))
    elif other > 1.0:
        other = 1.0
        along = min(1.0, max(0.0, (b - c) / max(a, 1e-12)))
    total = 0.0
    for axis in range(3):
        gap = p[axis] + along * (q[axis] - p[axis]) - r[axis] - other * (s[axis] - r[axis])
        total += gap * gap
    return np.sqrt(total)
