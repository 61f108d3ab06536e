"""Evidence: what it must not depend on, that it stays finite, and what is left when some is taken away."""

import numpy as np
import torch

from alignhmr.core.diffusion.condition import (
    CROP_MARGIN,
    FLAT_SIZE,
    Condition,
    concatenate,
    keypoint_box,
    make_condition,
    person_square,
    to_crop,
)
from alignhmr.core.geometry.crops import crop_around_box
from alignhmr.core.perception.blazepose import keypoint_box as detectors_box

FOCAL = torch.tensor([1000.0])
PICTURE = torch.tensor([[600.0, 500.0]])


def keypoints(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    xy = torch.rand(1, 23, 2, generator=generator) * 300 + 100
    return torch.cat([xy, torch.rand(1, 23, 1, generator=generator)], -1)


def encode(points: torch.Tensor, center: torch.Tensor, crop: torch.Tensor) -> torch.Tensor:
    return make_condition(points, crop, FOCAL, center).flat()


def people(count: int, pictured: list[bool]) -> Condition:
    """Each picture is filled with its owner's number."""
    points = torch.cat([keypoints(i) for i in range(count)])
    crop = person_square(keypoint_box(points, PICTURE.expand(count, -1)))
    seen = torch.tensor(pictured)
    crops = torch.arange(count)[seen].float()[:, None, None, None].expand(-1, 3, 4, 4)
    return make_condition(points, crop, FOCAL.expand(count), PICTURE.expand(count, -1) / 2, crops, seen)


def test_square_is_the_one_that_perception_cuts() -> None:
    box = np.array([10.0, 20.0, 110.0, 90.0])
    square = crop_around_box(box, margin=CROP_MARGIN)
    found = person_square(torch.from_numpy(box))
    np.testing.assert_allclose(found.numpy(), [*square.center_px, square.side_px])


def test_box_of_keypoints_is_the_detectors() -> None:
    for seed in range(20):
        points = keypoints(seed)
        points[..., :2] *= 1.4  # some lie beside the picture
        expected = detectors_box(points[0].numpy(), (600, 500))
        np.testing.assert_allclose(keypoint_box(points, PICTURE)[0].numpy(), expected, rtol=1e-5)


def test_moving_the_picture_and_its_centre_changes_nothing() -> None:
    points, center, shift = keypoints(), torch.tensor([[320.0, 240.0]]), torch.tensor([57.0, -31.0])
    crop = torch.tensor([[250.0, 240.0, 200.0]])
    moved = torch.cat([points[..., :2] + shift, points[..., 2:]], -1)
    there = torch.cat([crop[:, :2] + shift, crop[:, 2:]], -1)
    torch.testing.assert_close(
        encode(points, center, crop), encode(moved, center + shift, there), atol=1e-4, rtol=1e-4
    )


def test_unseen_keypoints_say_nothing() -> None:
    points, center = keypoints(), torch.tensor([[320.0, 240.0]])
    points[0, 3, 2] = 0.0
    elsewhere = points.clone()
    elsewhere[0, 3, :2] = torch.nan
    crop = torch.tensor([[250.0, 240.0, 200.0]])
    first, second = encode(points, center, crop), encode(elsewhere, center, crop)
    assert torch.equal(first, second) and first.shape == (1, FLAT_SIZE)


def test_who_shows_no_keypoint_has_none() -> None:
    points = keypoints()
    points[..., 2] = 0.0
    condition = make_condition(points, torch.ones(1, 3), FOCAL, torch.zeros(1, 2))
    assert not condition.has_keypoints.any() and not condition.has_image.any() and condition.has_look.all()


def test_crop_coordinates_span_minus_one_to_one() -> None:
    crop = torch.tensor([[100.0, 200.0, 50.0]])
    corners = torch.tensor([[[75.0, 175.0], [125.0, 225.0], [100.0, 200.0]]])
    expected = torch.tensor([[[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]]])
    torch.testing.assert_close(to_crop(corners, crop), expected)


def test_finite_when_every_keypoint_is_in_one_place() -> None:
    points = torch.ones(1, 23, 3)
    crop = person_square(keypoint_box(points, PICTURE))
    assert torch.isfinite(encode(points, torch.zeros(1, 2), crop)).all()


def test_a_part_keeps_the_pictures_of_its_own_people() -> None:
    condition = people(5, [True, False, True, True, False])
    part = condition.take(slice(2, 4))
    assert part.crops[:, 0, 0, 0].tolist() == [2.0, 3.0] and part.has_image.tolist() == [True, True]
    assert torch.equal(part.keypoints, condition.keypoints[2:4])


def test_taking_evidence_away_takes_it_from_those_named_only() -> None:
    condition = people(4, [True, False, True, True])
    kept = condition.keep(
        image=torch.tensor([False, True, True, False]), look=torch.tensor([True] * 3 + [False])
    )
    assert kept.crops[:, 0, 0, 0].tolist() == [2.0] and kept.has_image.tolist() == [False, False, True, False]
    assert kept.look[3].abs().max() == 0 and torch.equal(kept.look[:3], condition.look[:3])
    assert torch.equal(kept.keypoints, condition.keypoints)
    nothing = condition.without("image", "keypoints", "look")
    assert len(nothing.crops) == 0 and nothing.flat().abs().max() == 0 and not nothing.has_keypoints.any()


def test_joining_keeps_everyone_with_their_pictures() -> None:
    first, second = people(3, [False, True, False]), people(2, [True, True])
    both = concatenate([first, second])
    assert both.has_image.tolist() == [False, True, False, True, True]
    assert both.crops[:, 0, 0, 0].tolist() == [1.0, 0.0, 1.0]
    none = concatenate([first.without("image"), second.without("image")])
    assert len(none) == 5 and len(none.crops) == 0
