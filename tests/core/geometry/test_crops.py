import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alignhmr.core.geometry.crops import SquareCrop, crop_around, crop_around_box

crops = st.builds(
    SquareCrop,
    st.tuples(st.floats(-500, 2000), st.floats(-500, 2000)),
    st.floats(2, 3000),
    st.floats(-math.pi, math.pi),
)


@settings(deadline=None)
@given(crops, st.integers(8, 512))
def test_there_and_back(crop: SquareCrop, size: int) -> None:
    points = np.array([[0.0, 0.0], [123.4, -56.7], [1000.0, 2000.0]])
    np.testing.assert_allclose(crop.to_picture(crop.to_crop(points, size), size), points, atol=1e-6)


@settings(deadline=None)
@given(crops)
def test_the_crop_is_the_window(crop: SquareCrop) -> None:
    corners = crop.corners_px()
    np.testing.assert_allclose(crop.to_crop(corners, 64), [[0, 0], [64, 0], [64, 64], [0, 64]], atol=1e-6)
    np.testing.assert_allclose(corners.mean(0), crop.center_px, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(corners[1] - corners[0]), crop.side_px)


def test_a_crop_of_the_same_scale_is_a_slice() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    cut = SquareCrop((40.0, 30.0), 32.0).cut(picture, 32)
    np.testing.assert_array_equal(cut, picture[14:46, 24:56])


@pytest.mark.parametrize("reduction", [1.0, 1.5, 2.0, 3.7, 8.0])
@pytest.mark.parametrize("angle", [0.0, 0.7, math.pi])
def test_pixels_land_where_points_do(reduction: float, angle: float) -> None:
    """A soft blob's centre of mass in the crop is where its centre is mapped to, whatever the reduction."""
    y, x = np.mgrid[:600, :800] + 0.5
    center = np.array([412.3, 290.8])
    blob = np.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2) / (2 * 14.0**2))
    picture = np.repeat((blob * 255).astype(np.uint8)[..., None], 3, axis=2)
    size = 128
    crop = SquareCrop((400.0, 300.0), size * reduction, angle)
    cut = crop.cut(picture, size)[..., 0].astype(np.float64)
    rows, columns = np.mgrid[:size, :size] + 0.5
    found = np.array([(cut * columns).sum(), (cut * rows).sum()]) / cut.sum()
    np.testing.assert_allclose(found, crop.to_crop(center, size), atol=0.15)


def test_black_outside_the_picture() -> None:
    cut = SquareCrop((0.0, 0.0), 40.0).cut(np.full((50, 50, 3), 200, np.uint8), 40)
    assert (cut[:19] == 0).all() and (cut[:, :19] == 0).all() and (cut[21:, 21:] == 200).all()


def test_around_what_was_seen() -> None:
    seen = np.array([[100.0, 50, 1], [140, 250, 1], [120, 150, 1]])
    crop = crop_around(seen, margin=1.2)
    assert crop.center_px == (120.0, 150.0)
    assert crop.side_px == pytest.approx(240)
    unseen = np.concatenate([seen, [[5000.0, 5000.0, 0.0]]])
    assert crop_around(unseen, margin=1.2) == crop


def test_a_keypoint_that_fades_moves_the_crop_smoothly() -> None:
    keypoints = np.array([[100.0, 50, 1], [140, 250, 1], [400, 150, 0.0]])
    sides = []
    for confidence in np.linspace(0.001, 1, 200):
        keypoints[2, 2] = confidence
        sides.append(crop_around(keypoints).side_px)
    assert max(np.abs(np.diff(sides))) < 10


def test_nothing_seen_is_refused() -> None:
    with pytest.raises(ValueError, match="got none"):
        crop_around(np.zeros((5, 3)))


def test_around_a_box() -> None:
    assert crop_around_box(np.array([10.0, 20, 30, 100]), margin=1.5) == SquareCrop((20.0, 60.0), 120.0)
