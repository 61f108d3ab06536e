"""How well each way of making pose2sim4's truth predicts a camera that it hasn't seen.

From the shipped keypoints: each camera is held out in turn, the points are made from the other three, and the
distance to the held-out view's own keypoints is told, in pixels and in per cent of the person's height in the
picture; then bone lengths and jitter of the points from all four. The held-out view is a detector's answer,
too: its own error bounds every figure from below.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from record import finish
from scipy.spatial.transform import Rotation

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import SHARED_KEYPOINTS
from alignhmr.core.geometry.cameras import project
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.perception.assets import fetch
from alignhmr.core.truth import pose2sim4_making as making
from alignhmr.core.truth.multiview import CalibratedCamera, read_qca
from alignhmr.core.truth.pose2sim4 import TRUTH_FILE, cameras_of

LIMBS = list(SHARED_KEYPOINTS)
BONES = [(5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16)]
TORSO = [5, 6, 11, 12]
Make = Callable[[Sequence[CalibratedCamera], np.ndarray], np.ndarray]


def linear(cameras: Sequence[CalibratedCamera], keypoints: np.ndarray) -> np.ndarray:
    """Confidence-weighted least squares over all views, whoever disagrees."""
    from alignhmr.core.truth.multiview import _linear

    flat = keypoints.reshape(len(cameras), -1, 3).astype(np.float64)
    return _linear(cameras, flat[..., :2], np.clip(flat[..., 2], 0.05, 1)).reshape(*keypoints.shape[1:3], 3)


def robust(cameras: Sequence[CalibratedCamera], keypoints: np.ndarray) -> np.ndarray:
    return making.points_of(cameras, keypoints).points_world_m.reshape(*keypoints.shape[1:3], 3)


def robust_smooth(cameras: Sequence[CalibratedCamera], keypoints: np.ndarray) -> np.ndarray:
    return making.smoothed(robust(cameras, keypoints))


class BodyFit:
    """The open body, one shape and a pose for each frame, fitted to all views and frames at once."""

    def __init__(self, smoothness: float) -> None:
        self.smoothness = smoothness
        self.body = BodyModel.load("open", "small").double()

    def __call__(self, cameras: Sequence[CalibratedCamera], keypoints: np.ndarray) -> np.ndarray:
        start_m = robust(cameras, keypoints)
        frames = len(start_m)
        k = torch.tensor(keypoints.astype(np.float64))
        # Faces and feet are drawn differently by every detector: they count less.
        kind = torch.ones(23, dtype=torch.double)
        kind[:5] = kind[17:] = 0.3
        confidence = k[..., 2].clamp(0.05, 1) * kind
        R = torch.tensor(np.stack([camera.R_cam_world for camera in cameras]))
        C = torch.tensor(np.stack([camera.center_world_m for camera in cameras]))
        focal = torch.tensor([camera.focal_px for camera in cameras]).double()[:, None].expand(-1, frames)
        center = (
            torch.tensor([camera.center_px for camera in cameras]).double()[:, None].expand(-1, frames, 2)
        )
        pose, transl = self._start(start_m)
        betas = torch.zeros(10, dtype=torch.double)
        unknowns = [pose.requires_grad_(), transl.requires_grad_(), betas.requires_grad_()]
        stiff = torch.full((24, 1), 0.3, dtype=torch.double)
        stiff[[3, 6, 9, 13, 14]], stiff[[10, 11, 22, 23]], stiff[0] = 1, 3, 0

        def points() -> torch.Tensor:
            rotations = axis_angle_to_matrix(pose)
            return self.body.kinematics(rotations, betas.expand(frames, 10)).keypoints + transl[:, None]

        def prior(points_m: torch.Tensor) -> torch.Tensor:
            bend = (stiff * pose**2).sum() + frames * 0.01 * (betas**2).sum()
            acceleration = points_m[2:] - 2 * points_m[1:-1] + points_m[:-2]
            return bend + self.smoothness * 2e3 * (acceleration**2).sum()

        def in_space() -> torch.Tensor:
            gap = torch.nan_to_num(points() - torch.tensor(start_m)).norm(dim=-1) / 0.05
            return 10 * (kind * (torch.sqrt(1 + gap**2) - 1)).sum() + prior(points())

        def in_pictures() -> torch.Tensor:
            points_m = points()
            cam = torch.einsum("vij,vfkj->vfki", R, points_m - C[:, None, None])
            gap = (project(cam, focal, center) - k[..., :2]).norm(dim=-1) / 10
            return 100 / 64 * (confidence * (torch.sqrt(1 + gap**2) - 1)).sum() + prior(points_m)

        for loss in (in_space, in_pictures):
            self._minimise(loss, unknowns)
        return points().detach().numpy()

    @staticmethod
    def _minimise(loss: Callable[[], torch.Tensor], unknowns: list[torch.Tensor]) -> None:
        optimizer = torch.optim.LBFGS(
            unknowns, max_iter=400, history_size=20, tolerance_change=1e-9, line_search_fn="strong_wolfe"
        )

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            value = loss()
            value.backward()
            return value

        optimizer.step(closure)

    def _start(self, points_m: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """T-pose, turned and placed by the torso."""
        eye = torch.eye(3, dtype=torch.double).expand(1, 24, 3, 3)
        rest = self.body.kinematics(eye, torch.zeros(1, 10, dtype=torch.double)).keypoints[0].numpy()[TORSO]
        pose, transl, last = np.zeros((len(points_m), 24, 3)), np.zeros((len(points_m), 3)), None
        for frame, torso in enumerate(points_m[:, TORSO]):
            if np.isfinite(torso).all():
                last = Rotation.align_vectors(torso - torso.mean(0), rest - rest.mean(0))[0]
            if last is None:
                raise SystemExit("no torso in the first frame")
            turn = last.as_rotvec()
            other = turn * (1 - 2 * np.pi / np.linalg.norm(turn))
            before = pose[frame - 1, 0]
            nearer = np.linalg.norm(other - before) < np.linalg.norm(turn - before)
            pose[frame, 0] = other if frame and nearer else turn
            transl[frame] = np.nanmean(torso, 0) - last.apply(rest.mean(0))
        return torch.tensor(pose), torch.tensor(transl)


def figures(make: Make, cameras: Sequence[CalibratedCamera], keypoints: np.ndarray) -> dict[str, float]:
    began, away, share = time.perf_counter(), [], []
    for out in range(len(cameras)):
        rest = [view for view in range(len(cameras)) if view != out]
        px = cameras[out].project(make([cameras[view] for view in rest], keypoints[rest]))
        error = np.linalg.norm(px - keypoints[out, ..., :2], axis=-1)[:, LIMBS]
        away.append(error)
        share.append(100 * error / np.ptp(px[..., 1], axis=1)[:, None])
    points_mm = 1000 * make(cameras, keypoints)
    bones = np.stack([np.linalg.norm(points_mm[:, a] - points_mm[:, b], axis=-1) for a, b in BONES])
    jolt = np.linalg.norm(np.diff(points_mm[:, LIMBS], 2, axis=0), axis=-1)
    return {
        "held_out_px_median": round(float(np.nanmedian(away)), 2),
        "held_out_px_mean": round(float(np.nanmean(np.minimum(away, 100))), 2),
        "held_out_px_p90": round(float(np.nanpercentile(away, 90)), 1),
        "held_out_height_percent": round(float(np.nanmedian(share)), 2),
        "bone_std_mm": round(float(np.nanstd(bones, axis=1).mean()), 1),
        "bone_mean_mm": round(float(np.nanmean(bones)), 0),
        "jitter_mm": round(float(np.nanmedian(jolt)), 2),
        "seconds": round(time.perf_counter() - began, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="without the body fits")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    folder = fetch("pose2sim")
    on_file, turned = read_qca(folder / "single" / "Calib.qca.txt"), cameras_of("single", folder)
    with np.load(TRUTH_FILE) as data:
        keypoints = data["keypoints_px"]
    ways: dict[str, tuple[Make, Sequence[CalibratedCamera]]] = {
        "linear, cameras as calibrated": (linear, on_file),
        "linear": (linear, turned),
        "robust, cameras as calibrated": (robust, on_file),
        "robust": (robust, turned),
        "robust, smoothed": (robust_smooth, turned),
        "robust, smoothed, a camera 1 degree off": (
            robust_smooth,
            [replace(turned[0], R_cam_world=_turned(turned[0].R_cam_world)), *turned[1:]],
        ),
    }
    if not quick:
        ways["body fit, each frame alone"] = (BodyFit(0), turned)
        ways["body fit, smooth"] = (BodyFit(1), turned)
    results = {}
    for name, (make, cameras) in ways.items():
        results[name] = figures(make, cameras, keypoints)
        print(f"{name:42s}", *(f"{key} {value}" for key, value in results[name].items()), flush=True)
    finish("pose2sim4_truth", {"ways": results}, quick=quick)


def _turned(R: np.ndarray) -> np.ndarray:
    return Rotation.from_rotvec([0, np.radians(1), 0]).as_matrix() @ R


if __name__ == "__main__":
    main()
