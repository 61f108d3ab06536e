"""Impossible bodies: the same verdicts as the vetoes', and derivatives that lead out."""

import numpy as np
import pytest
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.diffusion.plausibility import through_itself, turned_too_far, worst_turn
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.scoring.vetoes import LIMITED, beyond_limits
from alignhmr.core.synthetic.contact import radii_of, self_contact


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="module")
def pose_aa() -> torch.Tensor:
    return 0.7 * torch.randn(60, 24, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_worst_turns_are_the_vetoes(pose_aa):
    told = beyond_limits(pose_aa.numpy())
    chords = 2 * np.sin(told / 2)
    np.testing.assert_allclose(worst_turn(axis_angle_to_matrix(pose_aa)).numpy(), chords, atol=1e-3)


def test_turning_down_the_slope_brings_joints_into_range(pose_aa):
    rotations = axis_angle_to_matrix(pose_aa)
    before, _ = turned_too_far(rotations, 0.1)
    for _ in range(8):
        beyond, by_turn = turned_too_far(rotations, 0.1)
        step = -(beyond[..., None] * by_turn).sum(1)
        rotations = rotations @ axis_angle_to_matrix(step.view(-1, 24, 3))
    after, _ = turned_too_far(rotations, 0.1)
    assert before.max() > 0.5 and after.sum() < 0.02 * before.sum()


def test_a_joint_over_its_limit_about_one_axis_has_the_exact_slope():
    """There the nearest rotation in range is known, and no approximation is left."""
    pose = torch.zeros(2, 24, 3, dtype=torch.float64)
    pose[0, 4, 0], pose[1, 5, 0] = -0.8, -0.8  # knees bent forwards
    rotations = axis_angle_to_matrix(pose)
    _, by_turn = turned_too_far(rotations, 0.0)
    for row, joint in ((0, 4), (1, 5)):
        step = torch.zeros(24, 3, dtype=torch.float64)
        step[joint] = torch.tensor([1.0, 0.3, -0.2])
        column, one = LIMITED.index(joint), rotations[row : row + 1]
        ends = [
            turned_too_far(one @ axis_angle_to_matrix(size * step), 0.0)[0][0, column]
            for size in (1e-6, -1e-6)
        ]
        told = float(by_turn[row, column] @ step.flatten())
        assert told == pytest.approx(float(ends[0] - ends[1]) / 2e-6, abs=1e-5) and told < -0.5


def test_depths_are_the_vetoes_and_slopes_those_of_differences(body, pose_aa):
    radii = radii_of(body)
    joints = body.kinematics(axis_angle_to_matrix(pose_aa.float()), torch.zeros(60, 10)).joints.double()
    depth, slope = through_itself(joints, torch.from_numpy(radii))
    told = np.array([self_contact(one, radii) for one in joints.numpy()])
    np.testing.assert_allclose(depth.amax(-1).clamp_min(0).numpy(), told, atol=1e-6)
    way = torch.randn(joints.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    deepest = [
        through_itself(joints + step * way, torch.from_numpy(radii))[0].amax(-1) for step in (1e-7, -1e-7)
    ]
    first = depth.argmax(-1)
    of_worst = (slope[torch.arange(60), first] * way).sum((-1, -2))
    torch.testing.assert_close(of_worst, (deepest[0] - deepest[1]) / 2e-7, rtol=1e-3, atol=1e-3)
