"""Body-part descriptions read off a pose: what a caption says, computed from 3D joints.

Angles and relative positions are cut into categories by one table of thresholds; each body part gets one
sentence. Left and right are the person's own. Directions are the body's (from hips and shoulders), 'up' is
against gravity, taken as the camera's up.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from alignhmr.core.body.skeleton import JOINTS

PARTS: tuple[str, ...] = ("head", "torso", "left_arm", "right_arm", "left_leg", "right_leg")

BEND_DEG: tuple[tuple[float, str], ...] = (
    (25, "straight"), (60, "slightly bent"), (100, "bent at about a right angle"), (181, "fully bent"),
)  # fmt: skip
"""Upper edge of the bend in degrees (0 is a straight limb), and its word."""
INCLINATION_DEG: tuple[tuple[float, str], ...] = (
    (15, "upright"), (40, "leaning {way}"), (70, "bent {way}"), (181, "nearly horizontal"),
)  # fmt: skip

_J = {name: index for index, name in enumerate(JOINTS)}


@dataclass(frozen=True)
class BodyFrame:
    """The person's own axes as unit vectors, in the frame of the joints."""

    left: Float[np.ndarray, "3"]
    up: Float[np.ndarray, "3"]
    forward: Float[np.ndarray, "3"]


def body_frame(joints: Float[np.ndarray, "24 3"]) -> BodyFrame:
    """Left from the hips and shoulders, up along the spine made orthogonal to it."""
    left = (
        joints[_J["left_hip"]]
        - joints[_J["right_hip"]]
        + joints[_J["left_shoulder"]]
        - joints[_J["right_shoulder"]]
    )
    left = _unit(left)
    up = joints[_J["neck"]] - joints[_J["pelvis"]]
    up = _unit(up - (up @ left) * left)
    return BodyFrame(left, up, np.cross(left, up))


def bend_deg(joints: Float[np.ndarray, "24 3"], first: str, middle: str, last: str) -> float:
    """How far a limb is bent at its middle joint, in degrees; 0 is straight."""
    a = _unit(joints[_J[middle]] - joints[_J[first]])
    b = _unit(joints[_J[last]] - joints[_J[middle]])
    return float(np.degrees(np.arccos(np.clip(a @ b, -1, 1))))


def caption_from_joints(joints_cam_m: Float[np.ndarray, "24 3"]) -> dict[str, str]:
    """One English sentence per body part, keyed by ``PARTS``, from joints in the camera frame (y down)."""
    joints = np.asarray(joints_cam_m, dtype=np.float64)
    frame = body_frame(joints)
    gravity_up = np.array([0.0, -1.0, 0.0])
    return {
        "head": _head(joints, frame),
        "torso": _torso(frame, gravity_up),
        **{f"{side}_arm": _arm(joints, frame, side) for side in ("left", "right")},
        **{f"{side}_leg": _leg(joints, frame, side) for side in ("left", "right")},
    }


def _torso(frame: BodyFrame, up: Float[np.ndarray, "3"]) -> str:
    tilt = float(np.degrees(np.arccos(np.clip(frame.up @ up, -1, 1))))
    lean = -frame.up + (frame.up @ up) * up  # where the pelvis lies, seen from the neck, in the ground plane
    ahead, aside = -(lean @ frame.forward), -(lean @ frame.left)
    if abs(ahead) >= abs(aside):
        way = "forward" if ahead > 0 else "backward"
    else:
        way = "to the left" if aside > 0 else "to the right"
    posture = _word(tilt, INCLINATION_DEG).format(way=way)
    # The camera looks along +z: a chest that faces it points along -z.
    toward, across = -frame.forward[2], frame.forward[0]
    if abs(toward) > 0.8:
        facing = "facing the camera" if toward > 0 else "facing away from the camera"
    elif abs(toward) < 0.4:
        facing = "seen from the side, facing the picture's " + ("right" if across > 0 else "left")
    else:
        facing = ("turned partly to the " if toward > 0 else "turned away to the ") + (
            "right" if across > 0 else "left"
        )
    return f"The torso is {posture}, {facing}."


def _head(joints: Float[np.ndarray, "24 3"], frame: BodyFrame) -> str:
    neck = _unit(joints[_J["head"]] - joints[_J["neck"]])
    ahead, aside = neck @ frame.forward, neck @ frame.left
    if ahead > 0.55:
        return "The head is bowed forward."
    if ahead < -0.25:
        return "The head is tilted back."
    if abs(aside) > 0.35:
        return f"The head is tilted to the {'left' if aside > 0 else 'right'}."
    return "The head is held straight."


def _arm(joints: Float[np.ndarray, "24 3"], frame: BodyFrame, side: str) -> str:
    shoulder, wrist = joints[_J[f"{side}_shoulder"]], joints[_J[f"{side}_wrist"]]
    upper = _unit(joints[_J[f"{side}_elbow"]] - shoulder)
    out = frame.left if side == "left" else -frame.left
    up, ahead, aside = upper @ frame.up, upper @ frame.forward, upper @ out
    if up > 0.5:
        place = "raised above the shoulder"
    elif up > -0.5:
        place = (
            "held out to the side"
            if aside >= abs(ahead)
            else "held out in front"
            if ahead > 0
            else "drawn back"
        )
    elif ahead > 0.35:
        place = "lowered in front of the body"
    elif ahead < -0.35:
        place = "lowered behind the body"
    else:
        place = "hanging down"
    bend = _word(bend_deg(joints, f"{side}_shoulder", f"{side}_elbow", f"{side}_wrist"), BEND_DEG)
    if (wrist - joints[_J["head"]]) @ frame.up > 0:
        hand = "the hand above the head"
    elif (wrist - shoulder) @ frame.up > 0:
        hand = "the hand above the shoulder"
    elif (wrist - joints[_J["pelvis"]]) @ frame.forward < -0.12:
        hand = "the hand behind the back"
    elif (wrist - joints[_J["pelvis"]]) @ out < -0.05:
        hand = "the hand across the body"
    else:
        hand = "the hand " + (
            "at hip height" if (wrist - joints[_J["pelvis"]]) @ frame.up < 0.12 else "at chest height"
        )
    return f"The {side} arm is {place}, the elbow {bend}, {hand}."


def _leg(joints: Float[np.ndarray, "24 3"], frame: BodyFrame, side: str) -> str:
    other = "right" if side == "left" else "left"
    thigh = _unit(joints[_J[f"{side}_knee"]] - joints[_J[f"{side}_hip"]])
    out = frame.left if side == "left" else -frame.left
    ahead, aside, down = thigh @ frame.forward, thigh @ out, -(thigh @ frame.up)
    if down < 0.35:
        place = "lifted to hip height" if ahead > -0.3 else "swung far back"
    elif abs(aside) > 0.35 and abs(aside) > abs(ahead):
        place = "spread out to the side" if aside > 0 else "crossed inwards"
    elif ahead > 0.3:
        place = "forward"
    elif ahead < -0.2:
        place = "back"
    else:
        place = "under the body"
    bend = _word(bend_deg(joints, f"{side}_hip", f"{side}_knee", f"{side}_ankle"), BEND_DEG)
    height = joints[_J[f"{other}_ankle"]][1] - joints[_J[f"{side}_ankle"]][1]
    foot = ", the foot higher than the other" if height > 0.15 else ""
    return f"The {side} leg is {place}, the knee {bend}{foot}."


def _word(value: float, table: tuple[tuple[float, str], ...]) -> str:
    return next(word for edge, word in table if value < edge)


def _unit(vector: Float[np.ndarray, "3"]) -> Float[np.ndarray, "3"]:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)
