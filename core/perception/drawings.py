"""A person as a small vision-language model is shown them: their view, darkened, with what the detector saw drawn in.

Every bone has a colour of its own, cool on the person's left and warm on the right. Where the detector guesses depth,
far bones are drawn first and darker, so that the drawing tells what keypoints alone don't: what is in front.
"""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.diffusion.condition import person_square_of
from alignhmr.core.geometry.crops import SquareCrop
from alignhmr.core.perception.views import shrunk
from alignhmr.core.records import Person

_BONES: dict[tuple[str, str], tuple[int, int, int]] = {
    ("left_shoulder", "right_shoulder"): (255, 255, 255), ("left_hip", "right_hip"): (160, 160, 160),
    ("left_shoulder", "left_hip"): (90, 160, 200), ("right_shoulder", "right_hip"): (200, 160, 90),
    ("left_shoulder", "left_elbow"): (0, 200, 255), ("left_elbow", "left_wrist"): (0, 110, 255),
    ("right_shoulder", "right_elbow"): (255, 200, 0), ("right_elbow", "right_wrist"): (255, 110, 0),
    ("left_hip", "left_knee"): (0, 255, 160), ("left_knee", "left_ankle"): (0, 190, 60),
    ("right_hip", "right_knee"): (255, 0, 160), ("right_knee", "right_ankle"): (190, 0, 60),
    ("left_ankle", "left_big_toe"): (120, 255, 60), ("left_ankle", "left_heel"): (120, 255, 60),
    ("right_ankle", "right_big_toe"): (255, 90, 120), ("right_ankle", "right_heel"): (255, 90, 120),
    ("nose", "left_eye"): (150, 220, 255), ("left_eye", "left_ear"): (60, 120, 255),
    ("nose", "right_eye"): (255, 220, 150), ("right_eye", "right_ear"): (255, 120, 60),
}  # fmt: skip
_ENDS = [(KEYPOINTS.index(a), KEYPOINTS.index(b)) for a, b in _BONES]
_COLOURS = np.array(list(_BONES.values()), np.float64)
_DARKENED = 0.45
_LEAST_CONFIDENCE = 0.2
_LIGHT, _LIGHT_PER_M, _DARKEST = 0.68, 0.8, 0.3
"""Of a bone at the hips' depth, what it loses with each metre further away, and what stays of any."""
_SUBPIXEL = 4
_FARTHEST_PX = 30_000
"""Lines to points further out aren't drawn: OpenCV counts their places in 32 bits."""


def drawn_person(person: Person, side: int) -> UInt8[np.ndarray, "side side 3"]:
    """The person's view with the detector's keypoints drawn in; the person has been given a view."""
    assert person.view is not None, "a view is cut where the picture is at hand"
    square = SquareCrop(*person_square_of(person.box_px))
    places = square.to_crop(np.asarray(person.keypoints_px[:, :2], np.float64), side)
    depth = None if person.keypoints_3d_m is None else person.keypoints_3d_m[:, 2]
    return drawn(shrunk(person.view, side), places, person.keypoints_px[:, 2], depth)


def drawn(
    view: UInt8[np.ndarray, "side side 3"],
    places: Float[np.ndarray, "keypoints 2"],
    confidence: Float[np.ndarray, "keypoints"],
    depth_m: Float[np.ndarray, "keypoints"] | None,
) -> UInt8[np.ndarray, "side side 3"]:
    """A view with keypoints drawn in, whose places are in its pixels; depth is from the hips, away from the camera."""
    picture = (view * _DARKENED).astype(np.uint8)
    ends = np.array(_ENDS)
    depth = np.zeros(len(ends)) if depth_m is None else np.asarray(depth_m, np.float64)[ends].mean(1)
    light = (_LIGHT - _LIGHT_PER_M * depth).clip(_DARKEST, 1.0) if depth_m is not None else np.ones(len(ends))
    fixed = np.rint((places - 0.5) * 2**_SUBPIXEL)
    known = (confidence >= _LEAST_CONFIDENCE) & np.isfinite(fixed).all(1)
    known &= np.abs(np.nan_to_num(fixed)).max(1) < _FARTHEST_PX
    thick = max(1, round(len(view) / 56))
    for bone in np.argsort(-depth, kind="stable").tolist():
        a, b = _ENDS[bone]
        if known[a] and known[b]:
            line = [tuple(int(v) for v in fixed[end]) for end in (a, b)]
            colour = tuple((_COLOURS[bone] * light[bone]).tolist())
            for width, paint in ((thick + 2, (0, 0, 0)), (thick, colour)):
                cv2.line(picture, line[0], line[1], paint, width, cv2.LINE_AA, _SUBPIXEL)
    return picture
