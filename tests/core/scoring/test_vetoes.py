"""Vetoes hit bodies that can't be, and keypoints that were seen elsewhere; hardly ever the truth."""

import numpy as np
import pytest
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import JOINTS
from alignhmr.core.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from alignhmr.core.scoring.vetoes import VetoRule, beyond_limits, contradicted, vetoes
from alignhmr.core.synthetic.motion import load_clips
from alignhmr.core.synthetic.poses import PoseMix, PoseSampler

CROP = np.array([100.0, 100.0, 200.0])


def turned(joint: str, *aa: float) -> np.ndarray:
    pose = np.zeros((1, 24, 3), np.float32)
    pose[0, JOINTS.index(joint)] = aa
    return pose


@pytest.mark.parametrize(
    ("pose", "beyond"),
    [
        (turned("left_knee", 1.5, 0, 0), 0.0),
        (turned("right_knee", 1.5, 0, 0), 0.0),
        (turned("left_knee", -1.2, 0, 0), 1.2),  # it bends backwards
        (turned("right_knee", -1.2, 0, 0), 1.2),
        (turned("left_elbow", 0, -1.2, 0), 0.0),
        (turned("right_elbow", 0, 1.2, 0), 0.0),
        (turned("left_elbow", 0, 1.2, 0), 1.2),
        (turned("right_elbow", 0, -1.2, 0), 1.2),
        (turned("pelvis", 3.0, 0, 0), 0.0),  # the body may lie as it likes
    ],
)
def test_joints_have_limits_on_both_sides(pose, beyond) -> None:
    assert beyond_limits(pose)[0] == pytest.approx(beyond, abs=1e-3)


def test_poses_that_people_take_pass(clips) -> None:
    sampled = PoseSampler(load_clips(clips), PoseMix(0.0, 0.0, 1.0)).sample(
        500, torch.Generator().manual_seed(0)
    )
    beyond = beyond_limits(matrix_to_axis_angle(sampled).numpy())
    assert (beyond <= VetoRule().joint_slack_rad).mean() > 0.98


def test_keypoints_that_were_surely_seen_elsewhere() -> None:
    keypoints = np.concatenate([np.full((23, 2), 100.0), np.full((23, 1), 0.9)], 1)
    keypoints[12:, 2] = 0.2  # who was hardly seen is no witness
    projected = np.full((3, 23, 2), 100.0)
    projected[1, :6] += 80
    projected[2, 12:] += 80
    assert contradicted(projected, keypoints, CROP, VetoRule()).tolist() == [0.0, 0.5, 0.0]
    keypoints[:, 2] = 0
    assert contradicted(projected, keypoints, CROP, VetoRule()).tolist() == [0.0] * 3


def test_a_body_in_itself_is_vetoed_and_each_veto_is_told_apart() -> None:
    from alignhmr.core.synthetic.contact import radii_m
    from alignhmr.core.synthetic.skinning import Skin

    body = BodyModel.load()
    pose = np.concatenate([np.zeros((1, 24, 3), np.float32), turned("left_shoulder", 0, 0, -1.5)])
    pose[1, JOINTS.index("left_elbow")] = (0, -2.2, 0)
    pose[1, JOINTS.index("left_shoulder")] = (0.9, -0.5, -1.4)
    points = body.kinematics(axis_angle_to_matrix(torch.from_numpy(pose)), torch.zeros(2, 10))
    keypoints = np.concatenate([np.full((23, 2), 100.0), np.full((23, 1), 0.9)], 1)
    projected = np.full((2, 23, 2), 100.0)
    projected[0] += 90
    deep = VetoRule(contact=0.3)
    hit = vetoes(pose, points.joints.numpy(), radii_m(Skin.of(body)), projected, keypoints, CROP, deep)
    assert hit["keypoints"].tolist() == [True, False]
    assert hit["self_contact"].tolist() == [False, True]
    assert set(hit) == {"joint_limits", "self_contact", "keypoints"}
