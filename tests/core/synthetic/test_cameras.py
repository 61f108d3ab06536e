"""Cameras keep what they are told: round trips, the target's place, the height above the ground."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignhmr.core.synthetic.cameras import look

_numbers = {
    "azimuth": st.floats(-np.pi, np.pi), "height": st.floats(0.2, 4.0), "distance": st.floats(1.5, 12.0),
    "u": st.floats(20, 236), "v": st.floats(20, 236), "focal": st.floats(150, 900),
}  # fmt: skip


@given(**_numbers, roll=st.floats(-0.3, 0.3))
def test_round_trip(azimuth, height, distance, u, v, focal, roll) -> None:
    camera = look(
        np.array([0.2, 1.0, -0.1]), azimuth, height, distance, roll_rad=roll, focal_px=focal, size=(256, 256),
        target_px=(u, v),
    )  # fmt: skip
    np.testing.assert_allclose(camera.R_cam_world @ camera.R_cam_world.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(camera.R_cam_world) == pytest.approx(1)
    points = np.random.default_rng(0).normal(0, 2, (20, 3))
    np.testing.assert_allclose(camera.unsee(camera.see(points)), points, atol=1e-12)


@given(**_numbers)
def test_without_roll_the_target_is_seen_near_where_it_was_asked_for(
    azimuth, height, distance, u, v, focal
) -> None:
    target = np.array([0.2, 1.0, -0.1])
    camera = look(
        target, azimuth, height, distance, roll_rad=0.0, focal_px=focal, size=(256, 256), target_px=(u, v)
    )
    seen = camera.see(target[None])
    assert seen[0, 2] > 0.6 * distance  # before the camera, in the corner of a wide lens, too
    # Turning first sideways, then up: exact on both axes of the picture, a few pixels off in the corners.
    off = np.abs(camera.project(seen)[0] - [u, v])
    corner = abs(u - 128) * abs(v - 128) / focal
    assert off.max() <= 1e-6 + 1.1 * corner
    assert camera.eye_m[1] == height
    assert np.hypot(*(camera.eye_m - target)[[0, 2]]) == pytest.approx(distance)


def test_up_is_up_and_left_is_left() -> None:
    camera = look(
        np.zeros(3), 0.0, 0.5, 4.0, roll_rad=0.0, focal_px=300, size=(256, 256), target_px=(128, 128)
    )
    origin, up, right = camera.project(camera.see(np.array([[0, 0, 0], [0, 0.5, 0], [0.5, 0, 0]], float)))
    assert up[1] < origin[1] and right[0] > origin[0]  # seen from +z, x is to the right
