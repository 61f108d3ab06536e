"""A skirt as a mesh of its own: rings around hips and thighs that hold everything in them and never narrow much.

It hangs along the line from the waist to the middle of both legs. Its radius in a direction is the farthest that
the dressed surface reaches there, so no leg shows through.
"""

import numpy as np
from jaxtyping import Float, Int

from alignhmr.core.body.skeleton import JOINTS
from alignhmr.core.synthetic.objects import Thing

MAX_SPREAD_RAD = 1.0
"""Between the thighs; past it no skirt is drawn."""
_RINGS, _SIDES = 10, 36
_J = JOINTS.index
_PARTS = [_J(name) for name in ("pelvis", "left_hip", "right_hip", "left_knee", "right_knee", "spine1")]


def make_skirt(
    length: float, color: Float[np.ndarray, "3"], joints_m: Float[np.ndarray, "24 3"],
    vertices_m: Float[np.ndarray, "verts 3"], part: Int[np.ndarray, "verts"], person: int,
) -> Thing | None:  # fmt: skip
    """A skirt over a posed, dressed body, down to ``length`` thighs: 1 is the knee.

    None where the legs are wide apart or bent up, which no cone of cloth looks right on.
    """
    hips, knees, ankles = (joints_m[[_J(f"left_{n}"), _J(f"right_{n}")]] for n in ("hip", "knee", "ankle"))
    thighs = (knees - hips) / np.sqrt(((knees - hips) ** 2).sum(1, keepdims=True))
    shins = (ankles - knees) / np.sqrt(((ankles - knees) ** 2).sum(1, keepdims=True))
    if np.arccos(np.clip((thighs[0] * thighs[1]).sum(), -1, 1)) > MAX_SPREAD_RAD:
        return None
    trunk = joints_m[_J("pelvis")] - joints_m[_J("spine3")]
    if (trunk * thighs.sum(0)).sum() < 0.9 * np.sqrt(
        (trunk**2).sum()
    ):  # sitting: a cone would stand off the lap
        return None
    if length > 1 and (thighs * shins).sum(1).min() < 0.75:  # over a bent knee cloth hangs, it doesn't bend
        length = 0.95
    ends = hips + min(length, 1.0) * (knees - hips) + max(length - 1.0, 0.0) * (ankles - knees)
    top = 0.55 * joints_m[_J("spine1")] + 0.45 * joints_m[_J("pelvis")]
    axis = ends.mean(0) - top
    tall = float(np.sqrt((axis**2).sum()))
    axis = axis / tall
    across = hips[0] - hips[1]
    across = across - (across * axis).sum() * axis
    across = across / np.sqrt((across**2).sum())
    front = np.array([
        axis[1] * across[2] - axis[2] * across[1], axis[2] * across[0] - axis[0] * across[2],
        axis[0] * across[1] - axis[1] * across[0],
    ])  # fmt: skip
    near = vertices_m[np.isin(part, _PARTS)] - top
    along, u, v = ((near * direction).sum(1) for direction in (axis, across, front))
    turn = np.linspace(0, 2 * np.pi, _SIDES, endpoint=False)
    rings, held = [], np.zeros(_SIDES)
    for share in np.linspace(0, 1, _RINGS):
        slab = np.abs(along - share * tall) < 0.06
        reach = np.zeros(_SIDES)
        if slab.any():
            reach = (u[slab, None] * np.cos(turn) + v[slab, None] * np.sin(turn)).max(0) + 0.012
        held = np.maximum(np.maximum(reach, 0.97 * held), 0.05)
        pleat = held * (1 + 0.03 * share * np.cos(9 * turn))
        rings.append(
            top + share * tall * axis
            + pleat[:, None] * (np.cos(turn)[:, None] * across + np.sin(turn)[:, None] * front)
        )  # fmt: skip
    faces, colors = [], []
    for ring in range(_RINGS - 1):
        for side in range(_SIDES):
            a, b = ring * _SIDES + side, ring * _SIDES + (side + 1) % _SIDES
            faces += [(a, b, a + _SIDES), (b, b + _SIDES, a + _SIDES)]
            colors += [color * (0.7 if ring == _RINGS - 2 and side % 2 == 0 else 1.0)] * 2
    return Thing("skirt", np.concatenate(rings), np.array(faces), np.array(colors), owner=person)
