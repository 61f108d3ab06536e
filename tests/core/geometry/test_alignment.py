"""Similarity alignment: what it removes, what it must not remove."""

import torch

from alignhmr.core.geometry.alignment import similarity_align
from alignhmr.core.geometry.rotations import axis_angle_to_matrix


def test_removes_rotation_scale_and_translation() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(30, 14, 3, generator=generator)
    turn = axis_angle_to_matrix(torch.randn(30, 3, generator=generator) * 2)
    moved = 0.37 * points @ turn.mT + torch.randn(30, 1, 3, generator=generator) * 5
    torch.testing.assert_close(similarity_align(moved, points), points, atol=1e-5, rtol=1e-5)


def test_does_not_remove_a_reflection() -> None:
    points = torch.randn(10, 14, 3, generator=torch.Generator().manual_seed(0))
    mirrored = points * torch.tensor([-1.0, 1.0, 1.0])
    assert (similarity_align(mirrored, points) - points).norm(dim=-1).mean() > 0.1


def test_no_small_similarity_does_better() -> None:
    generator = torch.Generator().manual_seed(1)
    source, target = torch.randn(8, 3, generator=generator), torch.randn(8, 3, generator=generator)
    aligned = similarity_align(source, target)
    best = (aligned - target).square().sum()
    for _ in range(100):
        nudge = axis_angle_to_matrix(torch.randn(3, generator=generator) * 0.02)
        other = (1 + 0.02 * torch.randn(1, generator=generator)) * aligned @ nudge.T + 0.02 * torch.randn(
            3, generator=generator
        )
        assert (other - target).square().sum() >= best - 1e-6
