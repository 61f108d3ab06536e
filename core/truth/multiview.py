"""Points in space from several calibrated views: cameras from a Qualisys file, and robust triangulation.

World axes are the calibration's own, metres. A camera's axes are OpenCV's: x right, y down, z forward. Pixels
are continuous (the first pixel's centre is at 0.5, 0.5) and free of lens distortion unless a name says
otherwise.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8

from alignhmr.core.errors import InputError
from alignhmr.core.records import Intrinsics


@dataclass(frozen=True)
class CalibratedCamera:
    """A pinhole with square pixels, a lens, and a place in the world."""

    name: str
    focal_px: float
    center_px: tuple[float, float]
    distortion: tuple[float, float, float, float]
    """OpenCV's k1, k2, p1, p2."""
    R_cam_world: Float[np.ndarray, "3 3"]
    center_world_m: Float[np.ndarray, "3"]

    @property
    def intrinsics(self) -> Intrinsics:
        return Intrinsics(self.focal_px, self.center_px, "given")

    def to_cam_m(self, points_world_m: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 3"]:
        """World -> camera axes."""
        return (points_world_m - self.center_world_m) @ self.R_cam_world.T

    def project(self, points_world_m: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch 2"]:
        """World -> pixels of the undistorted picture; NaN behind the camera."""
        cam = self.to_cam_m(points_world_m)
        depth = np.where(cam[..., 2:] > 0, cam[..., 2:], np.nan)
        return cam[..., :2] / depth * self.focal_px + np.array(self.center_px)

    def undistort(self, pixels: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
        """The picture as this camera would have taken it without a lens' distortion; same size."""
        import cv2

        # OpenCV counts from pixel centres.
        x, y = (value - 0.5 for value in self.center_px)
        matrix = np.array([[self.focal_px, 0, x], [0, self.focal_px, y], [0, 0, 1]])
        return cv2.undistort(pixels, matrix, np.array(self.distortion))

    def slope_px_per_m(self, points_cam_m: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 2 3"]:
        """By how many pixels a projection moves with its point, on camera axes."""
        x, y, z = points_cam_m.T
        slope = np.zeros((len(points_cam_m), 2, 3))
        slope[:, 0, 0] = slope[:, 1, 1] = 1 / z
        slope[:, 0, 2], slope[:, 1, 2] = -x / z**2, -y / z**2
        return self.focal_px * slope


def read_qca(path: Path) -> list[CalibratedCamera]:
    """The cameras of a Qualisys calibration (.qca.txt, XML), in its order. Raises InputError.

    Lengths are in 1/64 pixel and mm; r_ij is row i of a rotation to axes whose y points up and z backward
    (both signs are turned here); x, y, z is the camera's own place. The two focal lengths of these files differ
    by 0.01 %, a fifth of a pixel at the picture's edge: their mean is taken.
    """
    try:
        found = list(ET.parse(path).getroot().iter("camera"))
        cameras = [_qca_camera(camera) for camera in found]
    except (OSError, ET.ParseError, AttributeError, KeyError, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
        raise InputError(
            f"{path} is not a readable Qualisys calibration ({why}); get the file anew"
        ) from error
    if not cameras:
        raise InputError(f"{path} names no camera; give a Qualisys .qca.txt calibration")
    return cameras


def _qca_camera(camera: ET.Element) -> CalibratedCamera:
    place, lens = camera.find("transform").attrib, camera.find("intrinsic").attrib  # type: ignore[union-attr]
    rotation = np.array([[float(place[f"r{row}{column}"]) for column in (1, 2, 3)] for row in (1, 2, 3)])
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) or np.linalg.det(rotation) < 0:
        raise ValueError(f"camera {camera.get('serial')} has a transform that is no rotation")
    focal = (float(lens["focalLengthU"]) + float(lens["focalLengthV"])) / 2 / 64
    return CalibratedCamera(
        name=camera.get("serial", ""),
        focal_px=focal,
        # It counts from the first pixel's centre.
        center_px=(float(lens["centerPointU"]) / 64 + 0.5, float(lens["centerPointV"]) / 64 + 0.5),
        distortion=tuple(
            float(lens[key])
            for key in (
                "radialDistortion1",
                "radialDistortion2",
                "tangentalDistortion1",
                "tangentalDistortion2",
            )
        ),  # type: ignore[arg-type]
        R_cam_world=np.diag([1.0, -1.0, -1.0]) @ rotation,
        center_world_m=np.array([float(place[axis]) for axis in "xyz"]) / 1000,
    )


@dataclass(frozen=True)
class Triangulated:
    """Points in the world, and how well the views agree about them."""

    points_world_m: Float[np.ndarray, "points 3"]
    """NaN where fewer than two views agree."""
    residual_px: Float[np.ndarray, "views points"]
    """Distance of each view's pixel from the point's projection; NaN where the view has no pixel."""
    agree: Bool[np.ndarray, "views points"]
    """The views that the point was made from."""


def triangulate(
    cameras: Sequence[CalibratedCamera],
    points_px: Float[np.ndarray, "views points 2"],
    weights: Float[np.ndarray, "views points"],
    *,
    agree_px: float = 60.0,
    robust_px: float = 8.0,
) -> Triangulated:
    """The points that most views agree on within `agree_px`, refined by Huber-weighted least squares.

    Every pair of views proposes a point (RANSAC with all samples drawn); the proposal with the least truncated
    residual, weighted by confidence, decides which views agree, and these alone refine it by Gauss-Newton on
    pixels. A view with weight 0 or NaN pixels has no say.
    """
    points_px, weights = np.asarray(points_px, np.float64), np.array(weights, np.float64)
    weights[~np.isfinite(points_px).all(-1)] = 0
    pixels = np.where(weights[..., None] > 0, points_px, 0.0)
    best, best_cost = np.full((pixels.shape[1], 3), np.nan), np.full(pixels.shape[1], np.inf)
    for first, second in combinations(range(len(cameras)), 2):
        pair = [first, second]
        proposed = _linear([cameras[view] for view in pair], pixels[pair], np.ones_like(weights[pair]))
        cost = (weights * np.minimum(_residuals(cameras, proposed, pixels), agree_px)).sum(0)
        cost[(weights[pair] <= 0).any(0)] = np.inf
        better = cost < best_cost
        best[better], best_cost[better] = proposed[better], cost[better]
    agree = (weights > 0) & (_residuals(cameras, best, pixels) < agree_px)
    enough = agree.sum(0) >= 2
    points = _refined(cameras, best, pixels, weights * agree, robust_px)
    points[~enough] = np.nan
    residual = np.where(weights > 0, _residuals(cameras, points, pixels), np.nan)
    residual[:, ~enough] = np.nan
    return Triangulated(points, residual, agree & enough)


def _linear(
    cameras: Sequence[CalibratedCamera], pixels: np.ndarray, weights: np.ndarray
) -> Float[np.ndarray, "points 3"]:
    """Points nearest to the views' rays, in closed form: sum of (I - d d^T) over the views."""
    normal, right = np.zeros((pixels.shape[1], 3, 3)), np.zeros((pixels.shape[1], 3))
    for camera, uv, weight in zip(cameras, pixels, weights, strict=True):
        rays = np.concatenate([(uv - camera.center_px) / camera.focal_px, np.ones((len(uv), 1))], 1)
        rays = rays / np.linalg.norm(rays, axis=1, keepdims=True) @ camera.R_cam_world
        across = weight[:, None, None] * (np.eye(3) - rays[:, :, None] * rays[:, None, :])
        normal += across
        right += across @ camera.center_world_m
    # Parallel rays meet nowhere: the least squares answer is then far off, and no view agrees with it.
    return np.linalg.solve(normal + 1e-9 * np.eye(3), right[..., None])[..., 0]


def _residuals(
    cameras: Sequence[CalibratedCamera], points: np.ndarray, pixels: np.ndarray
) -> Float[np.ndarray, "views points"]:
    """Pixel distances; infinite where a point lies behind the camera or is unknown."""
    away = np.stack(
        [
            np.linalg.norm(camera.project(points) - uv, axis=-1)
            for camera, uv in zip(cameras, pixels, strict=True)
        ]
    )
    return np.where(np.isfinite(away), away, np.inf)


def _refined(
    cameras: Sequence[CalibratedCamera],
    points: np.ndarray,
    pixels: np.ndarray,
    weights: np.ndarray,
    robust_px: float,
    steps: int = 8,
) -> Float[np.ndarray, "points 3"]:
    """Gauss-Newton on reprojection, each view's weight falling as robust_px / residual past it (Huber)."""
    points = points.copy()
    for _ in range(steps):
        normal, right = 1e-6 * np.tile(np.eye(3), (len(points), 1, 1)), np.zeros((len(points), 3))
        for camera, uv, weight in zip(cameras, pixels, weights, strict=True):
            cam = camera.to_cam_m(points)
            usable = (weight > 0) & (cam[:, 2] > 0.05)
            cam = np.where(usable[:, None], cam, [0.0, 0.0, 1.0])
            off = uv - np.array(camera.center_px) - camera.focal_px * cam[:, :2] / cam[:, 2:]
            length = np.linalg.norm(off, axis=1)
            w = np.where(usable, weight * np.minimum(1, robust_px / np.maximum(length, 1e-9)), 0.0)
            slope = camera.slope_px_per_m(cam) @ camera.R_cam_world
            normal += w[:, None, None] * (slope.transpose(0, 2, 1) @ slope)
            right += w[:, None] * np.einsum("nij,ni->nj", slope, np.where(usable[:, None], off, 0.0))
        points = points + np.linalg.solve(normal, right[..., None])[..., 0]
    return points
