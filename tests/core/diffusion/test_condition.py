"""The condition vector: what it must not depend on, and that it stays finite."""

import numpy as np
import torch

from alignhmr.core.diffusion.condition import CONDITION_SIZE, encode_condition, keypoint_square, to_crop
from alignhmr.core.geometry.crops import crop_around

FOCAL = torch.tensor([1000.0])


def keypoints(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    xy = torch.rand(1, 23, 2, generator=generator) * 300 + 100
    return torch.cat([xy, torch.rand(1, 23, 1, generator=generator)], -1)


def encode(points: torch.Tensor, center: torch.Tensor) -> torch.Tensor:
    return encode_condition(points, keypoint_square(points), FOCAL, center)


def test_square_is_the_one_that_perception_cuts() -> None:
    for seed in range(20):
        points = keypoints(seed)
        square = crop_around(points[0].numpy())
        expected = np.array([*square.center_px, square.side_px])
        np.testing.assert_allclose(keypoint_square(points)[0].numpy(), expected, rtol=1e-4)


def test_moving_the_picture_and_its_centre_changes_nothing() -> None:
    points, center, shift = keypoints(), torch.tensor([[320.0, 240.0]]), torch.tensor([57.0, -31.0])
    moved = torch.cat([points[..., :2] + shift, points[..., 2:]], -1)
    torch.testing.assert_close(encode(points, center), encode(moved, center + shift), atol=1e-4, rtol=1e-4)


def test_unseen_keypoints_say_nothing() -> None:
    points, center = keypoints(), torch.tensor([[320.0, 240.0]])
    points[0, 3, 2] = 0.0
    elsewhere = points.clone()
    elsewhere[0, 3, :2] = 1e6
    crop = keypoint_square(points)
    first = encode_condition(points, crop, FOCAL, center)
    second = encode_condition(elsewhere, crop, FOCAL, center)
    assert torch.equal(first, second) and first.shape == (1, CONDITION_SIZE)


def test_crop_coordinates_span_minus_one_to_one() -> None:
    crop = torch.tensor([[100.0, 200.0, 50.0]])
    corners = torch.tensor([[[75.0, 175.0], [125.0, 225.0], [100.0, 200.0]]])
    expected = torch.tensor([[[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]]])
    torch.testing.assert_close(to_crop(corners, crop), expected)


def test_finite_when_every_keypoint_is_in_one_place() -> None:
    points = torch.ones(1, 23, 3)
    assert torch.isfinite(encode(points, torch.zeros(1, 2))).all()
