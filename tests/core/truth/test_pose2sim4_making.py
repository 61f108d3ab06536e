"""The shipped numbers follow from the shipped keypoints, and those, for a part, from the videos."""

import numpy as np
import pytest

from alignhmr.core.perception import assets
from alignhmr.core.truth import pose2sim4_making as making
from alignhmr.core.truth.pose2sim4 import TRUTH_FILE


@pytest.fixture(scope="module")
def shipped() -> dict[str, np.ndarray]:
    with np.load(TRUTH_FILE) as data:
        return dict(data)


def test_cameras_follow_from_the_marks(shipped) -> None:
    for name in making.SETS:
        cameras = making.fitted_cameras(assets.fetch("pose2sim"), name)
        np.testing.assert_allclose(
            np.stack([c.R_cam_world for c in cameras]), shipped[f"R_{name}"], atol=1e-9
        )


def test_points_follow_from_the_keypoints(shipped) -> None:
    cameras = making.fitted_cameras(assets.fetch("pose2sim"), "single")
    made = making.truth(cameras, shipped["keypoints_px"])
    for name in ("points_world_m", "residual_px", "views"):
        np.testing.assert_allclose(made[name], shipped[name], atol=1e-5, equal_nan=True, err_msg=name)


@pytest.mark.slow
def test_keypoints_follow_from_the_videos(shipped) -> None:
    """The first frames, detector and all. Its answers may differ in the last bits from one processor to another."""
    from alignhmr.core.perception.detector import load_detector

    folder, detector = assets.fetch("pose2sim"), load_detector("blazepose")
    assert str(shipped["detector"]) == detector.digest
    cameras = making.fitted_cameras(folder, "single")
    keypoints = making.walker(cameras, making.detections(folder, "single", cameras, detector, limit=4))
    np.testing.assert_allclose(keypoints[..., :2], shipped["keypoints_px"][:, :4, :, :2], atol=1.0)


def test_smoothing_keeps_steady_motion_and_unknowns() -> None:
    time = np.arange(40)[:, None, None]
    steady = np.concatenate([0.01 * time, np.zeros_like(time), 1 + 0 * time], 2).repeat(3, 1)
    steady[10:13, 1] = np.nan
    smooth = making.smoothed(steady)
    assert np.array_equal(np.isnan(smooth), np.isnan(steady))
    np.testing.assert_allclose(smooth[10:30, 0], steady[10:30, 0], atol=1e-9)
    noisy = steady + np.random.default_rng(0).normal(0, 0.01, steady.shape)
    jolt = [np.nanstd(np.diff(points, 2, axis=0)) for points in (noisy, making.smoothed(noisy))]
    assert jolt[1] < jolt[0] / 8


def test_what_is_not_trusted() -> None:
    points = np.zeros((20, 23, 3))
    points[..., 0] = np.arange(23)
    residual, views = np.full((20, 23), 5.0), np.full((20, 23), 4)
    assert making.trusted(points, residual, views).all()
    residual[3, 7], views[4, 8] = 21.0, 2
    points[5, 9] += [0, 0, 3.0]  # a wrist too far from its elbow
    good = making.trusted(points, residual, views)
    assert {tuple(place) for place in np.argwhere(~good).tolist()} == {(3, 7), (4, 8), (5, 9)}
