"""Captions read off a pose: known poses, and mirrored poses that give mirrored sentences."""

import re

import numpy as np
import pytest
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import JOINT_MIRROR, JOINTS
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.language.posecodes import PARTS, bend_deg, body_frame, caption_from_joints

BODY = BodyModel.load()
TO_CAMERA = torch.diag(torch.tensor([1.0, -1.0, -1.0]))


def joints(
    root: tuple[float, float, float] = (0, 0, 0), **axis_angles: tuple[float, float, float]
) -> np.ndarray:
    """Camera-frame joints of the rest pose with the named joints turned; the rest pose faces the camera."""
    pose = torch.zeros(24, 3)
    for name, value in axis_angles.items():
        pose[JOINTS.index(name)] = torch.tensor(value)
    rotations = axis_angle_to_matrix(pose)
    rotations[0] = TO_CAMERA @ axis_angle_to_matrix(torch.tensor(root, dtype=torch.float32))
    return BODY.kinematics(rotations[None], torch.zeros(1, 10)).joints[0].numpy()


def test_rest_pose() -> None:
    caption = caption_from_joints(joints())
    assert set(caption) == set(PARTS)
    assert "upright" in caption["torso"] and "facing the camera" in caption["torso"]
    assert "held out to the side" in caption["left_arm"] and "straight" in caption["right_arm"]
    assert "straight" in caption["left_leg"]


@pytest.mark.parametrize(
    ("turn", "words"),
    [(0.0, "facing the camera"), (np.pi, "facing away"), (np.pi / 2, "seen from the side, facing the picture's right"),
     (-np.pi / 2, "seen from the side, facing the picture's left")],
)  # fmt: skip
def test_facing(turn: float, words: str) -> None:
    assert words in caption_from_joints(joints(root=(0, turn, 0)))["torso"]


def test_limbs_are_named_by_the_persons_own_sides() -> None:
    caption = caption_from_joints(
        joints(
            left_shoulder=(0, 0, 1.3), right_elbow=(0, 1.5, 0), left_hip=(-1.5, 0, 0), left_knee=(1.5, 0, 0)
        )
    )
    assert "raised above the shoulder" in caption["left_arm"] and "above the head" in caption["left_arm"]
    assert "right angle" in caption["right_arm"]
    assert "hip height" in caption["left_leg"] and "higher than the other" in caption["left_leg"]
    assert "higher" not in caption["right_leg"]


def test_leaning_and_bowing() -> None:
    bent = caption_from_joints(joints(root=(0.6, 0, 0), neck=(0.6, 0, 0)))
    assert "leaning forward" in bent["torso"] and bent["head"] == "The head is bowed forward."


def test_bend_is_zero_for_a_straight_limb_and_grows_with_the_joint() -> None:
    assert bend_deg(joints(), "left_hip", "left_knee", "left_ankle") < 12
    bent = bend_deg(joints(left_knee=(1.2, 0, 0)), "left_hip", "left_knee", "left_ankle")
    assert abs(bent - np.degrees(1.2)) < 12


def test_body_frame_is_orthonormal_and_left_handed_to_nobody() -> None:
    frame = body_frame(joints(root=(0.3, 1.0, 0.2)))
    axes = np.stack([frame.left, frame.up, frame.forward])
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(axes) == pytest.approx(1.0)


def test_a_mirrored_pose_has_a_mirrored_caption() -> None:
    pose = axis_angle_to_matrix(torch.randn(200, 24, 3, generator=torch.Generator().manual_seed(0)) * 0.4)
    pose[:, 0] = TO_CAMERA @ pose[:, 0]
    points = BODY.kinematics(pose, torch.zeros(200, 10)).joints.numpy()
    for original in points:
        mirrored = original[list(JOINT_MIRROR)] * [-1, 1, 1]
        caption, other = caption_from_joints(original), caption_from_joints(mirrored)
        assert caption == {part: _swap(other[_swap(part)]) for part in PARTS}


def _swap(text: str) -> str:
    sides = {"left": "right", "right": "left"}
    return re.sub(r"right angle|(?<![a-z])(left|right)(?![a-z])", lambda m: sides.get(m[0], m[0]), text)
