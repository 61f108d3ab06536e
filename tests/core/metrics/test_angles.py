"""Angles: a known turn is measured, global and local differ where they should, a frame of reference doesn't matter."""

import pytest
import torch

from alignhmr.core.body.skeleton import JOINTS, PARENTS
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.metrics.angles import ORIENTED_PARTS, global_rotations, local_angle_deg, mpjae_deg


def _pose(seed: int = 0) -> torch.Tensor:
    turns = torch.randn(24, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return axis_angle_to_matrix(turns)


def _turned(pose: torch.Tensor, joint: str, radians: float) -> torch.Tensor:
    other = pose.clone()
    turn = axis_angle_to_matrix(torch.tensor([0.0, radians, 0.0], dtype=torch.float64))
    other[JOINTS.index(joint)] = other[JOINTS.index(joint)] @ turn
    return other


def test_a_pose_is_zero_degrees_from_itself() -> None:
    assert mpjae_deg(_pose(), _pose()).item() == pytest.approx(0, abs=1e-5)
    assert local_angle_deg(_pose(), _pose()).item() == pytest.approx(0, abs=1e-5)


def test_a_turned_elbow_counts_once_in_both() -> None:
    other = _turned(_pose(), "left_elbow", 0.9)
    degrees = torch.rad2deg(torch.tensor(0.9)).item()
    assert mpjae_deg(other, _pose()).item() == pytest.approx(degrees / 9, abs=1e-4)
    assert local_angle_deg(other, _pose()).item() == pytest.approx(degrees / 23, abs=1e-4)


def test_a_turned_hip_takes_its_knee_along_in_the_global_figure_only() -> None:
    other = _turned(_pose(), "right_hip", 0.5)
    degrees = torch.rad2deg(torch.tensor(0.5)).item()
    assert mpjae_deg(other, _pose()).item() == pytest.approx(2 * degrees / 9, abs=1e-4)
    assert local_angle_deg(other, _pose()).item() == pytest.approx(degrees / 23, abs=1e-4)


def test_turning_the_camera_changes_neither() -> None:
    a, b = _pose(0), _pose(1)
    turn = axis_angle_to_matrix(torch.tensor([0.4, -1.0, 0.2], dtype=torch.float64))
    turned = [torch.cat([(turn @ pose[0])[None], pose[1:]]) for pose in (a, b)]
    assert mpjae_deg(*turned).item() == pytest.approx(mpjae_deg(a, b).item())
    assert local_angle_deg(*turned).item() == pytest.approx(local_angle_deg(a, b).item())


def test_global_rotations_agree_with_a_walk_to_the_root() -> None:
    pose, fast = _pose(), global_rotations(_pose())
    for joint in range(24):
        slow, at = pose[joint], PARENTS[joint]
        while at >= 0:
            slow, at = pose[at] @ slow, PARENTS[at]
        torch.testing.assert_close(fast[joint], slow)


def test_the_parts_are_those_of_the_challenge() -> None:
    assert ORIENTED_PARTS == (0, 1, 2, 4, 5, 16, 17, 18, 19)
