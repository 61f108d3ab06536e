"""Cameras: lifting and its inverse, projection through the lifted camera, translation fits."""

import pytest
import torch

from alignhmr.core.errors import InputError
from alignhmr.core.geometry import cameras

CROP = torch.tensor([[300.0, 420.0, 250.0], [800.0, 100.0, 90.0]])
FOCAL = torch.tensor([900.0, 1500.0])
CENTER = torch.tensor([[640.0, 360.0], [500.0, 400.0]])


def test_lift_and_its_inverse() -> None:
    camera = torch.tensor([[0.9, 0.1, -0.3], [1.4, -0.2, 0.05]])
    transl = cameras.lift_crop_camera(camera, CROP, FOCAL, CENTER)
    torch.testing.assert_close(
        cameras.crop_camera_of(transl, CROP, FOCAL, CENTER), camera, atol=1e-5, rtol=1e-5
    )


def test_lifted_root_lands_where_the_crop_camera_says() -> None:
    camera = torch.tensor([[0.9, 0.1, -0.3], [1.4, -0.2, 0.05]])
    transl = cameras.lift_crop_camera(camera, CROP, FOCAL, CENTER)
    pixel = cameras.project(transl[:, None], FOCAL, CENTER)[:, 0]
    expected = CROP[:, :2] + CROP[:, 2:] / 2 * camera[:, :1] * camera[:, 1:]
    torch.testing.assert_close(pixel, expected, atol=1e-3, rtol=1e-5)


def test_fit_translation_recovers_the_truth_and_ignores_weightless_points() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(2, 12, 3, generator=generator) * 0.4
    true = torch.tensor([[0.3, -0.2, 4.0], [-1.0, 0.5, 9.0]])
    pixels = cameras.project(points + true[:, None], FOCAL, CENTER)
    weights = torch.ones(2, 12)
    pixels[:, 0], weights[:, 0] = 1e4, 0.0
    fitted = cameras.fit_translation(points, pixels, weights, FOCAL, CENTER, true + 0.5, prior_weight=1e-8)
    torch.testing.assert_close(fitted, true, atol=1e-3, rtol=1e-3)


def test_fit_translation_keeps_the_prior_when_nothing_was_seen() -> None:
    prior = torch.tensor([[0.1, 0.2, 3.0]])
    points, pixels = torch.randn(1, 5, 3), torch.randn(1, 5, 2)
    fitted = cameras.fit_translation(points, pixels, torch.zeros(1, 5), FOCAL[:1], CENTER[:1], prior)
    torch.testing.assert_close(fitted, prior)


def test_intrinsics_prefer_given_over_exif_over_diagonal() -> None:
    assert cameras.intrinsics_for(300, 400).focal_px == pytest.approx(500)
    assert cameras.intrinsics_for(300, 400, exif_focal_px=420.0).source == "exif"
    given = cameras.intrinsics_for(300, 400, exif_focal_px=420.0, focal_px=333.0)
    assert (given.focal_px, given.source, given.center_px) == (333.0, "given", (150.0, 200.0))


@pytest.mark.parametrize("focal", [0.0, -5.0, float("nan"), float("inf")])
def test_impossible_focal_lengths_are_refused(focal: float) -> None:
    with pytest.raises(InputError, match="focal length"):
        cameras.intrinsics_for(100, 100, focal_px=focal)
