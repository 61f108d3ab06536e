"""Standing, sitting, kneeling and the like: soft rules over a pose's measures.

Each rule is a product of soft conditions, so that a posture's share of all is its confidence. What fits none (in the
air, halfway) is ``other``. Joints know no chair: thighs level, shins hanging and a foot down is sitting.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from alignhmr.core.body.skeleton import JOINTS
from alignhmr.core.language.facts import INDEX, SCALES
from alignhmr.core.language.measures import Measured

POSTURES = SCALES["posture"].names
_OTHER = 0.12
"""What a rule must reach to speak louder than ``other``."""
_LEG_M = 0.845
"""Hip to ankle of the mean person."""


def posture_shares(measures: Measured) -> Float[Tensor, "*batch postures"]:
    """Share of each posture, in the order of ``POSTURES``; they sum to 1."""

    def value(name: str) -> Tensor:
        return measures.values[..., INDEX[name]]

    def height(*joints: str) -> Tensor:
        return torch.stack([measures.heights_m[..., JOINTS.index(joint)] for joint in joints]).amin(0)

    tilt = value("inclination")
    hips = height("pelvis") / _LEG_M
    knees = [height(f"{side}_knee") for side in ("left", "right")]
    ankles = height("left_ankle", "right_ankle")
    hands = height("left_hand", "right_hand")
    bent = torch.minimum(value("left_knee"), value("right_knee"))
    # Thighs above the horizontal of the trunk: 0 is at a right angle to it.
    thighs = torch.maximum(value("left_thigh"), value("right_thigh"))
    level = torch.minimum(value("left_thigh"), value("right_thigh"))
    kneel = _above(torch.minimum(*knees), 0.14, 0.03, below=True) * _above(hips, 0.3, 0.05)
    foot_down = _above(ankles, 0.16, 0.03, below=True)
    rules = {
        "standing": _above(hips, 0.82, 0.05) * _above(tilt, 40, 6, below=True) * foot_down,
        "bending": _above(hips, 0.72, 0.05) * _above(tilt, 45, 6) * _above(tilt, 130, 8, below=True) * foot_down,
        "squatting": _above(hips, 0.2, 0.04) * _above(hips, 0.76, 0.05, below=True) * _above(bent, 85, 8)
        * _above(tilt, 70, 8, below=True) * foot_down * (1 - kneel),
        "sitting": _above(tilt, 55, 7, below=True)
        * torch.maximum(
            _above(hips, 0.28, 0.04, below=True),
            _above(level, -35, 8) * _above(thighs, 35, 8, below=True) * _above(bent, 50, 8)
            * _above(bent, 112, 8, below=True) * foot_down,
        ) * (1 - kneel),
        "kneeling": kneel * _above(tilt, 50, 7, below=True),
        "all_fours": _above(torch.maximum(*knees), 0.2, 0.04, below=True) * _above(hands, 0.16, 0.04, below=True)
        * _above(tilt, 45, 7) * _above(hips, 0.25, 0.05),
        "lying": _above(tilt, 60, 7) * _above(tilt, 125, 8, below=True) * _above(hips, 0.42, 0.05, below=True)
        * (1 - _above(hips, 0.25, 0.05) * _above(hands, 0.16, 0.04, below=True)),
        "upside_down": _above(tilt, 128, 8) * _above(hips, 0.45, 0.06),
    }  # fmt: skip
    shares = torch.stack([rules.get(name, torch.full_like(hips, _OTHER)) for name in POSTURES], -1)
    return shares / shares.sum(-1, keepdim=True)


def _above(value: Tensor, edge: float, softness: float, *, below: bool = False) -> Tensor:
    """How much the value lies above the edge (below it), from 0 to 1."""
    share = torch.sigmoid((1.7 * (value - edge) / softness).clamp(-50, 50))
    return 1 - share if below else share
