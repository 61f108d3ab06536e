"""Motion clips as SMPL joint rotations.

The clips are the humanoid3d motions of the pybullet package (DeepMimic's retargeting of the CMU motion
database). A frame holds 44 numbers: duration, root position (3), then unit quaternions (w first) and hinge
angles for root, chest, neck, right hip, knee, ankle, shoulder, elbow and the same on the left. DeepMimic's
frame is x forward, y up, z to the right, and its rest pose has the arms hanging; SMPL's is x to the left,
y up, z forward, arms out.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from alignhmr.core.errors import AssetError

HELD_OUT_CLIPS: tuple[str, ...] = ("dance_b", "kick", "walk")
"""Clips that no model is trained on: validation is by clip, never by frame."""

TARGET_CLIPS: tuple[str, ...] = ("crawl", "punch", "roll", "spin")
"""Clips of the domain ``target`` alone (``domains.py``): nothing is trained or validated on them before a model is
adapted to that domain. The starter weights that ship today were trained on them, before this was decided."""

TARGET_TEST_CLIPS: tuple[str, ...] = ("crawl", "spin")
"""Which of them ``target`` is measured on; it is adapted on the others."""

_TO_SMPL = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
_BALL = {0: 4, 9: 8, 12: 12, 2: 16, 8: 21, 1: 30, 7: 35}  # SMPL joint -> first of 4 quaternion numbers
_HINGE = {5: 20, 4: 34}  # knees
_ARMS = ((17, 19, 25, 29, -1.0), (16, 18, 39, 43, 1.0))  # shoulder, elbow, their numbers, side


@dataclass(frozen=True)
class Clip:
    """One motion. ``rotations[:, 0]`` turns the body out of SMPL's rest frame in a y-up world."""

    name: str
    rotations: Float[np.ndarray, "frames 24 3 3"]


def load_clips(folder: Path) -> list[Clip]:
    """All clips under ``folder`` (the ``motion`` asset), sorted by name."""
    paths = sorted(folder.rglob("humanoid3d_*.txt"))
    if not paths:
        raise AssetError(
            f"no motion clips (humanoid3d_*.txt) in {folder}; run `alignhmr assets --fetch motion`"
        )
    return [_read(path) for path in paths]


def split_clips(clips: list[Clip]) -> tuple[list[Clip], list[Clip]]:
    """(training, held-out) by clip name; the clips kept for ``target`` are in neither."""
    held_out = [clip for clip in clips if clip.name in HELD_OUT_CLIPS]
    return [clip for clip in clips if clip.name not in HELD_OUT_CLIPS + TARGET_CLIPS], held_out


def _read(path: Path) -> Clip:
    frames = np.array(json.loads(path.read_text())["Frames"], dtype=np.float64)
    if frames.ndim != 2 or frames.shape[1] != 44:
        raise AssetError(f"{path} has frames of shape {frames.shape}; expected (n, 44)")
    return Clip(path.stem.removeprefix("humanoid3d_"), _convert(frames))


def _convert(frames: Float[np.ndarray, "frames 44"]) -> Float[np.ndarray, "frames 24 3 3"]:
    def change_frame(matrix: np.ndarray) -> np.ndarray:
        return _TO_SMPL @ matrix @ _TO_SMPL.T

    def ball(first: int) -> np.ndarray:
        wxyz = frames[:, first : first + 4]
        return change_frame(Rotation.from_quat(np.roll(wxyz, -1, axis=1)).as_matrix())

    def hinge(column: int) -> np.ndarray:
        return change_frame(
            Rotation.from_rotvec(frames[:, column, None] * np.array([0.0, 0.0, 1.0])).as_matrix()
        )

    rotations = np.tile(np.eye(3), (len(frames), 24, 1, 1))
    for joint, first in _BALL.items():
        rotations[:, joint] = ball(first)
    for joint, column in _HINGE.items():
        rotations[:, joint] = hinge(column)
    for shoulder, elbow, first, column, side in _ARMS:
        hang = Rotation.from_rotvec([0.0, 0.0, -side * np.pi / 2]).as_matrix()
        rotations[:, shoulder] = ball(first) @ hang
        rotations[:, elbow] = hang.T @ hinge(column) @ hang
    return rotations
