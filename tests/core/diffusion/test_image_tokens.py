"""Points read from heat maps, and the loss that teaches them."""

import pytest
import torch

from alignhmr.core.diffusion.image_tokens import (
    POINTS,
    PointTokens,
    cells,
    heat_loss,
    keypoint_maps,
    mean_points,
)


def peaked(row: int, column: int, rows: int = 8) -> torch.Tensor:
    heat = torch.full((1, 2, rows, rows), -30.0)
    heat[0, :, row, column] = 30.0
    return heat


def test_a_peak_is_read_where_it_is_with_the_depth_there() -> None:
    depth = torch.arange(128.0).view(1, 2, 8, 8)
    points, spread = mean_points(peaked(2, 5), depth)
    torch.testing.assert_close(points[0, 0], torch.tensor([5.5 / 4 - 1, 2.5 / 4 - 1, 2 * 8 + 5.0]))
    assert points[0, 1, 2] == 64 + 21 and spread.max() < 0.01


def test_no_peak_is_read_in_the_middle_and_says_that_it_is_unsure() -> None:
    points, spread = mean_points(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8))
    assert points.abs().max() < 1e-6
    uniform = cells(torch.zeros(1, 1, 8, 8)).square().sum(-1).mean().sqrt()
    torch.testing.assert_close(spread[0, 0], uniform)


def test_the_loss_is_least_for_a_gaussian_about_the_truth() -> None:
    place = torch.tensor([[[0.3, -0.2]]])
    grid = cells(torch.zeros(1, 1, 16, 16))
    square = (grid - place[0, 0]).square().sum(-1).view(1, 1, 16, 16)
    right = -square / (2 * (2 / 16) ** 2)
    least = heat_loss(right, place)
    for other in (right.roll(1, -1), right.roll(-2, -2), right * 0.5, right * 2.0, torch.zeros_like(right)):
        assert heat_loss(other, place) > least + 0.01
    torch.testing.assert_close(heat_loss(right + 5.0, place), least)  # logits have no origin


def test_gradient_moves_a_far_peak_towards_the_truth() -> None:
    heat = (peaked(1, 1) * 0.2).requires_grad_(True)
    places = torch.full((1, 2, 2), 0.5)
    heat_loss(heat, places).sum().backward()
    assert heat.grad is not None
    there, here = heat.grad[0, 0, 6, 6], heat.grad[0, 0, 1, 1]
    assert there < -0.05 and here > 0.5


@pytest.mark.parametrize("crop_px", [32, 64, 128])
def test_sizes_and_what_is_trained(crop_px: int) -> None:
    torch.manual_seed(0)
    tokens = PointTokens(crop_px)
    found = tokens(torch.rand(2, 3, crop_px, crop_px) * 255, torch.rand(2, 23, 3))
    assert found.flat().shape == (2, tokens.size) and found.points.shape == (2, POINTS, 3)
    assert found.points[..., :2].abs().max() <= 1
    found.flat().square().sum().backward()
    assert all(parameter.grad is None for parameter in tokens.frozen())
    assert all(parameter.grad is not None for parameter in tokens.pretrained())


def test_training_in_half_precision_answers_nearly_the_same() -> None:
    torch.manual_seed(0)
    tokens, crops, nothing = PointTokens(64), torch.rand(2, 3, 64, 64) * 255, torch.zeros(2, 23, 3)
    with torch.no_grad():
        half, full = tokens.train()(crops, nothing), tokens.eval()(crops, nothing)
    assert (half.points - full.points).abs().max() < 0.05
    again = tokens(crops, nothing)
    assert torch.equal(again.points, full.points)


def test_keypoints_are_bumps_where_they_were_seen() -> None:
    keypoints = torch.tensor([[[-0.875, 0.625, 0.8], [0.0, 0.0, 0.0], [7.0, 0.0, 1.0]]])
    maps = keypoint_maps(keypoints, 8, 8)
    assert maps[0, 0].argmax() == 6 * 8 + 0 and maps[0, 0].max() == pytest.approx(0.8)
    assert maps[0, 0, 5, 0] == pytest.approx(0.8 * 2.718281828**-0.5, rel=1e-5)
    assert maps[0, 1].max() == 0 and maps[0, 2].max() < 1e-6  # not seen, and far beside the crop


def test_keypoints_reach_what_the_picture_says_once_the_prompt_is_learned() -> None:
    torch.manual_seed(0)
    tokens, crops, keypoints = PointTokens(64).eval(), torch.rand(1, 3, 64, 64) * 255, torch.rand(1, 23, 3)
    nothing = torch.zeros(1, 23, 3)
    assert torch.equal(tokens(crops, keypoints).points, tokens(crops, nothing).points)
    torch.nn.init.normal_(tokens.prompt.weight)
    assert not torch.allclose(tokens(crops, keypoints).points, tokens(crops, nothing).points, atol=1e-4)
