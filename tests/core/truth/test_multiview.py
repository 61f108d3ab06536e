from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from alignhmr.core.errors import InputError
from alignhmr.core.truth.multiview import CalibratedCamera, read_qca, triangulate


def seen_by(cameras: list[CalibratedCamera], points_m: np.ndarray) -> np.ndarray:
    return np.stack([camera.project(points_m.reshape(-1, 3)) for camera in cameras])


def errors_mm(
    cameras: list[CalibratedCamera], points_m: np.ndarray, px: np.ndarray, weights=None
) -> np.ndarray:
    weights = np.ones(px.shape[:2]) if weights is None else weights
    return 1000 * np.linalg.norm(
        triangulate(cameras, px, weights).points_world_m - points_m.reshape(-1, 3), axis=1
    )


def test_exact_pixels_give_exact_points(cameras, keypoints_world_m) -> None:
    result = triangulate(cameras, px := seen_by(cameras, keypoints_world_m), np.ones(px.shape[:2]))
    np.testing.assert_allclose(result.points_world_m, keypoints_world_m.reshape(-1, 3), atol=1e-6)
    assert result.agree.all() and result.residual_px.max() < 1e-3


def test_projection_is_opencv_s(cameras, keypoints_world_m) -> None:
    """An independent reference: OpenCV's own projection, whose pixels count from pixel centres."""
    points = keypoints_world_m[0]
    for camera in cameras:
        x, y = camera.center_px
        matrix = np.array([[camera.focal_px, 0, x - 0.5], [0, camera.focal_px, y - 0.5], [0, 0, 1]])
        turn, _ = cv2.Rodrigues(camera.R_cam_world)
        expected, _ = cv2.projectPoints(
            points, turn, -camera.R_cam_world @ camera.center_world_m, matrix, None
        )
        np.testing.assert_allclose(camera.project(points), expected[:, 0] + 0.5, atol=1e-6)


def test_noise_stays_in_bounds(cameras, keypoints_world_m) -> None:
    """3 px at 4 m with 1,600 px focal length are 7.5 mm across a ray; four views must do better than that."""
    noise = np.random.default_rng(0).normal(0, 3, (4, keypoints_world_m.size // 3, 2))
    error = errors_mm(cameras, keypoints_world_m, seen_by(cameras, keypoints_world_m) + noise)
    assert np.median(error) < 7.5 and error.max() < 25


def test_one_wild_view_of_four_does_no_harm(cameras, keypoints_world_m) -> None:
    generator = np.random.default_rng(1)
    px = seen_by(cameras, keypoints_world_m) + generator.normal(0, 2, (4, keypoints_world_m.size // 3, 2))
    count = px.shape[1]
    wild, where = px.copy(), generator.integers(0, 4, count)
    angle = generator.uniform(0, 2 * np.pi, count)
    wild[where, np.arange(count)] += 200 * np.stack([np.cos(angle), np.sin(angle)], 1)
    error = errors_mm(cameras, keypoints_world_m, wild)
    assert np.median(error) < 8 and np.percentile(error, 98) < 25
    # What it is measured against: the same least squares with every view in it is off by centimetres.
    plain = triangulate(cameras, wild, np.ones(wild.shape[:2]), agree_px=1e9, robust_px=1e9).points_world_m
    assert np.median(1000 * np.linalg.norm(plain - keypoints_world_m.reshape(-1, 3), axis=1)) > 60


def test_a_view_that_is_off_by_less_than_the_bound_counts_little(cameras, keypoints_world_m) -> None:
    px = seen_by(cameras, keypoints_world_m)
    px[2] += [40, 0]
    weights = np.ones(px.shape[:2])
    robust, trusting = (
        np.median(
            np.linalg.norm(
                triangulate(cameras, px, weights, robust_px=bound).points_world_m
                - keypoints_world_m.reshape(-1, 3),
                axis=1,
            )
        )
        for bound in (4.0, 1e9)
    )
    assert robust < 0.6 * trusting


def test_points_known_to_fewer_than_two_views_are_unknown(cameras, keypoints_world_m) -> None:
    px = seen_by(cameras, keypoints_world_m)
    weights = np.ones(px.shape[:2])
    weights[1:, 0], weights[2:, 1] = 0, 0
    px[3, 2] = np.nan
    result = triangulate(cameras, px, weights)
    assert np.isnan(result.points_world_m[0]).all() and not result.agree[:, 0].any()
    assert np.isnan(result.residual_px[:, 0]).all()
    np.testing.assert_allclose(result.points_world_m[1], keypoints_world_m.reshape(-1, 3)[1], atol=1e-6)
    assert result.agree[:, 2].tolist() == [True, True, True, False] and np.isnan(result.residual_px[3, 2])


def test_confidence_decides_between_two_stories(cameras) -> None:
    """Two views tell of one point, two of another: the confident pair is believed."""
    here, there = np.array([[0.0, 0.0, 1.0]]), np.array([[0.6, 0.5, 1.4]])
    px = np.concatenate([seen_by(cameras[:2], here), seen_by(cameras[2:], there)])
    for weights, wanted in (([1, 1, 0.3, 0.3], here), ([0.3, 0.3, 1, 1], there)):
        found = triangulate(cameras, px, np.array(weights)[:, None]).points_world_m
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_moves_with_the_world(cameras, keypoints_world_m) -> None:
    """Turning and moving cameras and points together changes no residual."""
    from scipy.spatial.transform import Rotation

    px = seen_by(cameras, keypoints_world_m) + np.random.default_rng(2).normal(
        0, 4, (4, keypoints_world_m.size // 3, 2)
    )
    turn, move = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix(), np.array([2.0, -5.0, 0.4])
    moved = [
        replace(c, R_cam_world=c.R_cam_world @ turn.T, center_world_m=turn @ c.center_world_m + move)
        for c in cameras
    ]
    one, other = (triangulate(who, px, np.ones(px.shape[:2])) for who in (cameras, moved))
    np.testing.assert_allclose(other.points_world_m, one.points_world_m @ turn.T + move, atol=1e-6)
    np.testing.assert_allclose(other.residual_px, one.residual_px, atol=1e-4)


def qca(cameras: list[CalibratedCamera], flip: np.ndarray) -> str:
    """A Qualisys calibration of these cameras, with `flip` between its axes and OpenCV's."""
    rows = []
    for camera in cameras:
        R, (x, y, z) = flip @ camera.R_cam_world, 1000 * camera.center_world_m
        r = " ".join(f'r{i + 1}{j + 1}="{R[i, j]}"' for i in range(3) for j in range(3))
        cu, cv = (64 * (value - 0.5) for value in camera.center_px)
        k1, k2, p1, p2 = camera.distortion
        rows.append(
            f'<camera serial="{camera.name}"><transform {r} x="{x}" y="{y}" z="{z}"/><intrinsic '
            f'focalLengthU="{64 * camera.focal_px}" focalLengthV="{64 * camera.focal_px}" centerPointU="{cu}" '
            f'centerPointV="{cv}" radialDistortion1="{k1}" radialDistortion2="{k2}" tangentalDistortion1="{p1}" '
            f'tangentalDistortion2="{p2}"/></camera>'
        )
    return f"<calibration><cameras>{''.join(rows)}</cameras></calibration>"


def test_calibration_round_trip(cameras, tmp_path: Path) -> None:
    path = tmp_path / "Calib.qca.txt"
    path.write_text(qca(cameras, np.diag([1.0, -1.0, -1.0])))
    for read, made in zip(read_qca(path), cameras, strict=True):
        assert read.name == made.name and read.distortion == made.distortion
        np.testing.assert_allclose(read.R_cam_world, made.R_cam_world, atol=1e-9)
        np.testing.assert_allclose(read.center_world_m, made.center_world_m)
        np.testing.assert_allclose([read.focal_px, *read.center_px], [made.focal_px, *made.center_px])


@pytest.mark.parametrize("flip", [np.eye(3), np.diag([-1.0, -1.0, 1.0]), np.diag([-1.0, 1.0, -1.0])])
def test_another_convention_of_axes_can_t_pass(cameras, keypoints_world_m, tmp_path: Path, flip) -> None:
    """From a file whose axes are turned otherwise, what the views agree on lies elsewhere."""
    path = tmp_path / "Calib.qca.txt"
    path.write_text(qca(cameras, flip))
    px = seen_by(cameras, keypoints_world_m)
    error = errors_mm(read_qca(path), keypoints_world_m, px)
    assert np.mean(error < 100) < 0.02


@pytest.mark.parametrize("transposed", [False, True])
def test_the_real_file_s_convention_is_settled_by_real_marks(transposed: bool) -> None:
    """The shipped marks on the floor meet within pixels under this reading, and nowhere under the transposed one."""
    import json

    from alignhmr.core.perception.assets import fetch
    from alignhmr.core.truth.pose2sim4_making import MARKS_FILE

    places = json.loads(MARKS_FILE.read_text())["single"]
    px = np.array([[view or (np.nan, np.nan) for view in row] for row in places.values()]).swapaxes(0, 1)
    real = read_qca(fetch("pose2sim") / "single" / "Calib.qca.txt")
    if transposed:
        flip = np.diag([1.0, -1.0, -1.0])
        real = [replace(camera, R_cam_world=flip @ (flip @ camera.R_cam_world).T) for camera in real]
    result = triangulate(real, px, np.isfinite(px[..., 0]).astype(float))
    agreed = result.agree.sum(0) >= 3
    assert agreed.all() if not transposed else not agreed.any()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        ("", "no element found"),
        ("<calibration><cameras>", "no element found"),
        ("<calibration/>", "names no camera"),
        ('<c><camera serial="a"><transform r11="1"/><intrinsic/></camera></c>', "r12"),
        ('<c><camera serial="a"/></c>', "not a readable"),
    ],
)
def test_damaged_calibration(tmp_path: Path, content: str | None, says: str) -> None:
    path = tmp_path / "Calib.qca.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=says):
        read_qca(path)


@pytest.mark.parametrize("flip", [1.1 * np.eye(3), np.diag([1.0, 1.0, -1.0])])
def test_scale_and_mirrors_are_refused(cameras, tmp_path: Path, flip: np.ndarray) -> None:
    path = tmp_path / "Calib.qca.txt"
    path.write_text(qca(cameras, flip))
    with pytest.raises(InputError, match="cam0 has a transform that is no rotation"):
        read_qca(path)


def test_undistorted_pixels_lie_where_the_pinhole_says(cameras) -> None:
    """A spot drawn where a distorting lens puts a point is found, after undistortion, where the pinhole puts it."""
    camera = cameras[0]
    x, y = camera.center_px
    matrix = np.array([[camera.focal_px, 0, x - 0.5], [0, camera.focal_px, y - 0.5], [0, 0, 1]])
    for direction in ([0.2, -0.4, 1.0], [-0.25, 0.1, 1.0], [0.0, 0.3, 1.0]):
        point = np.array([direction])
        bent = cv2.projectPoints(point, np.zeros(3), np.zeros(3), matrix, np.array(camera.distortion))[
            0
        ].ravel()
        yy, xx = np.mgrid[:1920, :1080]
        picture = (255 * np.exp(-((xx - bent[0]) ** 2 + (yy - bent[1]) ** 2) / 18)).astype(np.uint8)
        flat = camera.undistort(np.repeat(picture[..., None], 3, 2))[..., 0].astype(float)
        spot = np.array([(flat * xx).sum(), (flat * yy).sum()]) / flat.sum() + 0.5
        world = camera.R_cam_world.T @ point[0] + camera.center_world_m
        assert np.linalg.norm(spot - camera.project(world)) < 0.15
        assert np.linalg.norm(bent + 0.5 - camera.project(world)) > 0.3
