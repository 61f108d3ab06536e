"""Derivatives of a body's points: against differences in float64, and rows that don't depend on each other."""

import copy

import pytest
import torch

from alignhmr.core.body.derivatives import moving_points
from alignhmr.core.body.model import BodyModel
from alignhmr.core.geometry.rotations import axis_angle_to_matrix


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return copy.deepcopy(BodyModel.load()).double()


@pytest.fixture(scope="module")
def posed() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    turns = torch.randn(2, 3, 24, 3, generator=generator, dtype=torch.float64)
    betas = torch.randn(2, 3, 10, generator=generator, dtype=torch.float64)
    return axis_angle_to_matrix(0.6 * turns), betas


def test_points_are_those_of_kinematics(body, posed):
    points = body.kinematics(*posed)
    both = torch.cat([points.joints, points.keypoints], -2)
    torch.testing.assert_close(moving_points(body, *posed).points_m, both, rtol=0, atol=1e-12)


@pytest.mark.parametrize("which", ["turns", "betas"])
def test_derivatives_are_those_of_finite_differences(body, posed, which):
    rotations, betas = posed
    generator = torch.Generator().manual_seed(1)
    turn = torch.randn(2, 3, 24, 3, generator=generator, dtype=torch.float64)
    shape = torch.randn(2, 3, 10, generator=generator, dtype=torch.float64)
    turn, shape = (turn, 0 * shape) if which == "turns" else (0 * turn, shape)

    def points_at(step: float) -> torch.Tensor:
        points = body.kinematics(rotations @ axis_angle_to_matrix(step * turn), betas + step * shape)
        return torch.cat([points.joints, points.keypoints], -2)

    moving = moving_points(body, rotations, betas)
    told = (moving.by_turns @ turn.flatten(-2)[..., None, :, None])[..., 0]
    told = told + (moving.by_betas @ shape[..., None, :, None])[..., 0]
    differences = (points_at(1e-6) - points_at(-1e-6)) / 2e-6
    assert differences.abs().max() > 0.05
    torch.testing.assert_close(told, differences, rtol=0, atol=1e-6)


def test_a_leg_is_not_moved_by_an_arm(body, posed):
    moving = moving_points(body, *posed)
    knee, elbow = 4, 18
    assert moving.by_turns[..., knee, :, 3 * elbow : 3 * elbow + 3].abs().max() == 0
    assert moving.by_turns[..., 22, :, 3 * elbow : 3 * elbow + 3].abs().max() > 0.1
