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


def test_the_gradient_of_what_is_left_is_right_and_what_is_not_finite_stays_so() -> None:
    generator = torch.Generator().manual_seed(2)
    source, target = torch.randn(2, 5, 8, 3, generator=generator, dtype=torch.float64)
    source = source.clone().requires_grad_()
    left = (similarity_align(source, target) - target).square().sum()
    (gradient,) = torch.autograd.grad(left, source)
    step = 1e-5 * torch.randn(source.shape, generator=generator, dtype=torch.float64)
    ends = [
        (similarity_align(source + side * step, target) - target).square().sum().detach() for side in (1, -1)
    ]
    torch.testing.assert_close((ends[0] - ends[1]) / 2, (gradient * step).sum(), rtol=1e-6, atol=1e-12)
    broken = source.detach().clone()
    broken[0, 0, 0] = torch.nan
    aligned = similarity_align(broken, target)
    assert aligned[0].isnan().any() and torch.equal(aligned[1:], similarity_align(source, target)[1:])
