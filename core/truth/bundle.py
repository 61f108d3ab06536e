"""Cameras turned by a little, so that all views agree about marks that they see.

For pictures that don't lie where their calibration says: a tripod was touched, or a video was stabilised or cut.
Focal lengths and places stay, so that the world keeps its scale; each camera may turn within a prior.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from alignhmr.core.truth.multiview import CalibratedCamera, triangulate


def turn_cameras(
    cameras: Sequence[CalibratedCamera],
    marks_px: Float[np.ndarray, "views marks 2"],
    weights: Float[np.ndarray, "views marks"],
    *,
    turn_rad: float = 0.01,
    robust_px: float = 8.0,
    agree_px: float = 60.0,
    steps: int = 20,
) -> list[CalibratedCamera]:
    """The cameras at the least Huber-weighted reprojection error over their turns and the marks' places.

    `weights` are 1 / sigma_px^2 of each mark, 0 where a view doesn't see it; `turn_rad` is the standard deviation
    of a turn, 17 px in these videos. Gauss-Newton in float64 with the marks eliminated (Schur complement).
    """
    now = list(cameras)
    seen = (weights > 0) & np.isfinite(marks_px).all(-1)
    for _ in range(steps):
        found = triangulate(now, marks_px, weights, agree_px=agree_px, robust_px=robust_px)
        residual = np.where(seen & found.agree, found.residual_px, np.inf)
        w = np.where(
            np.isfinite(residual), weights * np.minimum(1, robust_px / np.maximum(residual, 1e-9)), 0
        )
        turns = np.stack([_turn(camera, first) for camera, first in zip(now, cameras, strict=True)])
        update = _step(now, turns, found.points_world_m, marks_px, w, turn_rad)
        now = [
            replace(camera, R_cam_world=Rotation.from_rotvec(delta).as_matrix() @ camera.R_cam_world)
            for camera, delta in zip(now, update, strict=True)
        ]
        if np.abs(update).max() < 1e-8:
            break
    return now


def _turn(camera: CalibratedCamera, first: CalibratedCamera) -> Float[np.ndarray, "3"]:
    return Rotation.from_matrix(camera.R_cam_world @ first.R_cam_world.T).as_rotvec()


def _step(
    now: Sequence[CalibratedCamera],
    turns: Float[np.ndarray, "views 3"],
    points: Float[np.ndarray, "marks 3"],
    pixels: Float[np.ndarray, "views marks 2"],
    weights: Float[np.ndarray, "views marks"],
    turn_rad: float,
) -> Float[np.ndarray, "views 3"]:
    """Gauss-Newton's next turn of each camera."""
    views, prior = len(now), turn_rad**-2.0
    normal = prior * np.eye(3 * views)
    right = -prior * turns.ravel()
    point_normal, point_right = np.zeros((len(points), 3, 3)), np.zeros((len(points), 3))
    mixed = np.zeros((len(points), 3 * views, 3))
    for view, camera in enumerate(now):
        w = np.where(np.isfinite(points).all(-1), weights[view], 0)
        on = (w > 0)[:, None]
        cam = np.where(on, camera.to_cam_m(points), [0.0, 0.0, 1.0])
        slope = camera.slope_px_per_m(cam)
        # A turn by d moves a point by d x cam.
        by_turn = slope @ np.cross(np.eye(3)[None], cam[:, None, :]).transpose(0, 2, 1)
        by_point = slope @ camera.R_cam_world
        off = np.where(on, pixels[view] - camera.project(points), 0)
        rows = slice(3 * view, 3 * view + 3)
        normal[rows, rows] += np.einsum("n,nij,nik->jk", w, by_turn, by_turn)
        right[rows] += np.einsum("n,nij,ni->j", w, by_turn, off)
        point_normal += np.einsum("n,nij,nik->njk", w, by_point, by_point)
        point_right += np.einsum("n,nij,ni->nj", w, by_point, off)
        mixed[:, rows] = np.einsum("n,nij,nik->njk", w, by_turn, by_point)
    folded = mixed @ np.linalg.inv(point_normal + 1e-9 * np.eye(3))
    normal -= np.einsum("nij,nkj->ik", folded, mixed)
    right -= np.einsum("nij,nj->i", folded, point_right)
    return np.linalg.solve(normal, right).reshape(views, 3)
