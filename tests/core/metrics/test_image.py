"""Errors in the picture: pixels, shares of the box, PCK, and points that nobody annotated."""

import pytest
import torch

from alignhmr.core.metrics.image import box_size_px, error_px, share_within


def test_a_known_shift_in_pixels() -> None:
    true = torch.rand(3, 5, 2) * 100
    torch.testing.assert_close(
        error_px(true + torch.tensor([3.0, 4.0]), true), torch.full((3, 5), 5.0).double(), atol=1e-4, rtol=0
    )


def test_the_box_is_its_longer_side() -> None:
    assert box_size_px(torch.tensor([10.0, 20.0, 40.0, 120.0])).item() == 100
    assert box_size_px(torch.tensor([10.0, 20.0, 340.0, 120.0])).item() == 330


def test_share_within_counts_known_points_only() -> None:
    errors = torch.tensor([1.0, 5.0, 9.0, torch.nan])
    assert share_within(errors, 5.0).item() == pytest.approx(2 / 3)
    assert share_within(errors[None], torch.tensor([0.5])).item() == 0
    assert share_within(torch.full((4,), torch.nan), 5.0).isnan()
