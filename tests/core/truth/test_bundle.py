from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from alignhmr.core.truth.bundle import turn_cameras
from alignhmr.core.truth.multiview import triangulate


def marks_on_the_floor(cameras, noise_px: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(5)
    marks = np.concatenate([generator.uniform(-1, 1, (10, 2)), generator.uniform(0, 0.1, (10, 1))], 1)
    px = np.stack([camera.project(marks) for camera in cameras])
    return px + noise_px * generator.normal(size=px.shape), np.ones(px.shape[:2])


def knocked(cameras) -> list:
    """Each camera turned by up to a degree."""
    generator = np.random.default_rng(6)
    turns = Rotation.from_rotvec(np.radians(0.5) * generator.normal(size=(len(cameras), 3))).as_matrix()
    return [replace(c, R_cam_world=turn @ c.R_cam_world) for c, turn in zip(cameras, turns, strict=True)]


def away_deg(cameras, others) -> np.ndarray:
    return np.degrees(
        [
            Rotation.from_matrix(a.R_cam_world @ b.R_cam_world.T).magnitude()
            for a, b in zip(cameras, others, strict=True)
        ]
    )


def test_turns_are_found_again(cameras) -> None:
    px, weights = marks_on_the_floor(cameras)
    wrong = knocked(cameras)
    found = turn_cameras(wrong, px, weights, turn_rad=1.0)
    assert away_deg(wrong, cameras).max() > 0.5
    assert away_deg(found, cameras).max() < 0.01
    assert np.nanmax(triangulate(found, px, weights).residual_px) < 0.1


def test_places_and_lenses_stay(cameras) -> None:
    px, weights = marks_on_the_floor(cameras, 1.0)
    for before, after in zip(knocked(cameras), turn_cameras(knocked(cameras), px, weights), strict=True):
        assert after == replace(before, R_cam_world=after.R_cam_world)
        np.testing.assert_allclose(after.R_cam_world @ after.R_cam_world.T, np.eye(3), atol=1e-12)


def test_right_cameras_are_left_alone(cameras) -> None:
    px, weights = marks_on_the_floor(cameras)
    assert away_deg(turn_cameras(cameras, px, weights), cameras).max() < 1e-4


def test_with_noisy_and_hidden_marks_points_get_nearer(cameras, keypoints_world_m) -> None:
    """What counts: points that the marks don't hold are triangulated better afterwards."""
    px, weights = marks_on_the_floor(cameras, 1.0)
    weights[2, :2] = 0
    px[2, :2] = np.nan
    points = keypoints_world_m.reshape(-1, 3)
    seen = np.stack([camera.project(points) for camera in cameras])
    wrong = knocked(cameras)
    errors = [
        1000
        * np.median(
            np.linalg.norm(triangulate(who, seen, np.ones(seen.shape[:2])).points_world_m - points, axis=1)
        )
        for who in (wrong, turn_cameras(wrong, px, weights))
    ]
    assert errors[1] < errors[0] / 3
    assert errors[1] < 15


def test_marks_in_the_wrong_place_are_outvoted(cameras) -> None:
    """One by much, which no other view agrees with, and one by less: with a narrow bound it counts little."""
    px, weights = marks_on_the_floor(cameras)
    px[1, 4] += [80, -60]
    far = turn_cameras(knocked(cameras), px, weights, turn_rad=1.0)
    assert away_deg(far, cameras).max() < 0.02
    px[1, 4] -= [56, -42]  # 30 px off
    near = turn_cameras(knocked(cameras), px, weights, turn_rad=1.0, robust_px=0.5, steps=60)
    trusting = turn_cameras(knocked(cameras), px, weights, turn_rad=1.0, robust_px=1e9)
    assert away_deg(near, cameras).max() < 0.6 * away_deg(trusting, cameras).max()


def test_a_calibration_that_is_believed_holds(cameras) -> None:
    px, weights = marks_on_the_floor(cameras)
    wrong = knocked(cameras)
    assert away_deg(turn_cameras(wrong, px, weights, turn_rad=1e-7), wrong).max() < 1e-3
    half = away_deg(turn_cameras(wrong, px, weights, turn_rad=1e-3), wrong).max()
    assert 1e-3 < half < away_deg(cameras, wrong).max()
