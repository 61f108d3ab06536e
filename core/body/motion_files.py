"""One pose or a sequence of them as JSON parameters and as BVH animation.

JSON keeps everything and names the body model, joint order, units and frame, since betas and rotations of one
body model mean something else in another. BVH is for animation programs: a skeleton with the shaped body's
bone lengths, without a surface.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from alignhmr.core.body.meshes import TO_Y_UP, Frame
from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import JOINTS, PARENTS
from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.records import Recovery

FORMAT = "alignhmr-motion"
VERSION = 1
_UNITS = {"rotation": "axis-angle, radians", "length": "metres", "time": "frames per second"}
_DEFAULT_FPS = 30.0
"""BVH must state a frame time, even for a single pose."""


@dataclass(frozen=True)
class Motion:
    """Poses of one person over time; a single pose is a motion of one frame."""

    body_model: str
    """`BodyModel.name` of the body that betas and rotations belong to."""
    pose_aa: Float[np.ndarray, "frames 24 3"]
    """Relative to the parent joint; joint 0 is the body's orientation in `frame`."""
    betas: Float[np.ndarray, "10"]
    transl_m: Float[np.ndarray, "frames 3"]
    """Added to every joint and vertex of the posed body, in `frame`."""
    frame: Frame = "camera"
    fps: float | None = None
    """None where the frames aren't a film."""

    def __post_init__(self) -> None:
        if not (isinstance(self.body_model, str) and self.body_model):
            raise InputError(
                f"The body_model of a motion is {self.body_model!r}, wanted a body model's name."
            )
        frames = len(self.pose_aa)
        for key, wanted in (
            ("pose_aa", (frames, len(JOINTS), 3)),
            ("betas", (10,)),
            ("transl_m", (frames, 3)),
        ):
            value = getattr(self, key)
            if value.shape != wanted:
                raise InputError(f"{key} of a motion has shape {value.shape}, wanted {wanted}.")
            if not np.isfinite(value).all():
                raise InputError(f"{key} of a motion holds numbers that aren't finite; give finite ones.")
        if frames == 0:
            raise InputError("A motion of no frames can't be kept; give one or more poses.")
        if self.frame not in TO_Y_UP:
            raise InputError(f"The frame of a motion is {self.frame!r}, wanted one of {list(TO_Y_UP)}.")
        if self.fps is not None and not (np.isfinite(self.fps) and self.fps > 0):
            raise InputError(f"The fps of a motion is {self.fps}, wanted a positive number or none.")


def motion_of(recovery: Recovery, body_model: str) -> Motion:
    """The selected answer as a motion of one frame."""
    hyps, one = recovery.hypotheses, slice(recovery.selected, recovery.selected + 1)
    return Motion(body_model, hyps.pose_aa[one], hyps.betas[recovery.selected], hyps.transl_cam_m[one])


def require_body(motion: Motion, body: BodyModel) -> None:
    """CompatibilityError unless the motion was made with this body model."""
    if motion.body_model != body.name:
        raise CompatibilityError(
            f"This motion belongs to the body model {motion.body_model!r} and not to {body.name!r}: betas and "
            f"rotations of two models don't mix. Load {motion.body_model!r}, or recover again with {body.name!r}."
        )


def write_motion(motion: Motion, path: Path) -> None:
    """Save the parameters as JSON, to a tenth of a micrometre."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "body_model": motion.body_model,
        "units": _UNITS,
        "frame": motion.frame,
        "fps": motion.fps,
        "joints": list(JOINTS),
        "betas": _rounded(motion.betas),
        "transl_m": _rounded(motion.transl_m),
        "pose_aa": _rounded(motion.pose_aa),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")


def read_motion(path: Path) -> Motion:
    """The parameters that `write_motion` saved.

    InputError for what is no such file, CompatibilityError for another version, joint order or unit.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as missing:
        raise InputError(f"There is no motion file {path}.") from missing
    except (OSError, ValueError, RecursionError) as unreadable:
        raise InputError(f"{path} is not a readable JSON motion file ({unreadable}).") from unreadable
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f'{path} is not a motion file: its "format" is not {FORMAT!r}.')
    for key, wanted in (("version", VERSION), ("units", _UNITS), ("joints", list(JOINTS))):
        if content.get(key) != wanted:
            raise CompatibilityError(f"{path} has {key} {content.get(key)!r}, wanted {wanted!r}.")
    try:
        return Motion(
            body_model=content["body_model"],
            pose_aa=np.array(content["pose_aa"], np.float64),
            betas=np.array(content["betas"], np.float64),
            transl_m=np.array(content["transl_m"], np.float64),
            frame=content["frame"],
            fps=None if content["fps"] is None else float(content["fps"]),
        )
    except KeyError as missing:
        raise InputError(f"{path} lacks {missing}.") from missing
    except (TypeError, ValueError) as wrong:
        raise InputError(f"{path} holds something else than numbers in its arrays ({wrong}).") from wrong
    except InputError as wrong:
        raise InputError(f"{path} can't be used: {wrong}") from wrong


def write_bvh(motion: Motion, body: BodyModel, path: Path, *, units_per_m: float = 1.0) -> None:
    """Save as BVH what `bvh` gives."""
    text = bvh(motion, body, units_per_m=units_per_m)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="ascii")


def bvh(motion: Motion, body: BodyModel, *, units_per_m: float = 1.0) -> str:
    """A BVH file's text: y up, z forward, metres (or `units_per_m=100`, for programs that expect centimetres).

    Channels are Z, Y, X rotations in degrees, with angles continuous over the frames. Raises
    CompatibilityError if the motion was made with another body model.
    """
    require_body(motion, body)
    turns = axis_angle_to_matrix(torch.as_tensor(motion.pose_aa, dtype=torch.float64)).numpy()
    turns[:, 0] = TO_Y_UP[motion.frame] @ turns[:, 0]
    rest = body.kinematics(torch.eye(3).expand(len(JOINTS), 3, 3), torch.as_tensor(motion.betas).float())
    joints = rest.joints.double().numpy() * units_per_m
    root = (joints[0] + motion.transl_m * units_per_m) @ TO_Y_UP[motion.frame].T
    angles = np.unwrap(np.degrees(_euler_zyx(turns)), period=360, axis=0)
    # The order of the channels is that of the hierarchy's text, which goes depth first.
    order, hierarchy = _hierarchy(joints)
    channels = np.concatenate([root, angles[:, order].reshape(len(angles), -1)], axis=1)
    stream = io.StringIO()
    stream.write("\n".join(["HIERARCHY", *hierarchy, "MOTION", f"Frames: {len(channels)}"]))
    stream.write(f"\nFrame Time: {1 / (motion.fps or _DEFAULT_FPS):.8f}\n")
    np.savetxt(stream, channels, fmt="%.6f")
    return stream.getvalue()


def _hierarchy(joints: np.ndarray) -> tuple[list[int], list[str]]:
    """Joints in depth-first order, and the lines that describe the skeleton."""
    order: list[int] = []
    lines: list[str] = []

    def offset(vector: np.ndarray) -> str:
        return "OFFSET " + " ".join(f"{value:.6f}" for value in vector)

    def describe(joint: int, indent: str) -> None:
        order.append(joint)
        parent, inner = PARENTS[joint], indent + "\t"
        # The root's place is in its channels. Programs disagree on whether an offset there is added to them.
        bone = joints[joint] - joints[parent] if parent >= 0 else np.zeros(3)
        lines.extend([f"{indent}{'JOINT' if parent >= 0 else 'ROOT'} {JOINTS[joint]}", f"{indent}{{"])
        position = "" if parent >= 0 else "Xposition Yposition Zposition "
        lines.append(inner + offset(bone))
        lines.append(f"{inner}CHANNELS {3 if parent >= 0 else 6} {position}Zrotation Yrotation Xrotation")
        children = [child for child, above in enumerate(PARENTS) if above == joint]
        for child in children:
            describe(child, inner)
        if not children:  # the format wants an end; half the last bone only draws a stump
            lines.extend([f"{inner}End Site", f"{inner}{{", f"{inner}\t{offset(bone / 2)}", f"{inner}}}"])
        lines.append(f"{indent}}}")

    describe(0, "")
    return order, lines


def _euler_zyx(turns: np.ndarray) -> np.ndarray:
    """Angles z, y, x [..., 3] in radians with R = Rz Ry Rx; where y is a quarter turn, x is 0."""
    length = np.hypot(turns[..., 0, 0], turns[..., 1, 0])
    locked = length < 1e-9
    y = np.arctan2(-turns[..., 2, 0], length)
    z = np.where(
        locked,
        np.arctan2(-turns[..., 0, 1], turns[..., 1, 1]),
        np.arctan2(turns[..., 1, 0], turns[..., 0, 0]),
    )
    x = np.where(locked, 0.0, np.arctan2(turns[..., 2, 1], turns[..., 2, 2]))
    return np.stack([z, y, x], axis=-1)


def _rounded(values: np.ndarray) -> list:
    return np.round(np.asarray(values, np.float64), 7).tolist()
