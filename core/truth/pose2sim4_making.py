"""How the truth of `pose2sim4` was made: `python -m alignhmr.core.truth.pose2sim4_making --out FILE`.

A minute or two of detector, then seconds. What was chosen and why, with figures, stands in README.md;
`tests/benchmarks/pose2sim4_truth.py` measures the alternatives.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.ndimage import gaussian_filter1d

from alignhmr.core.perception import assets
from alignhmr.core.perception.detector import Detector, load_detector
from alignhmr.core.perception.video import frames
from alignhmr.core.records import Picture
from alignhmr.core.truth.association import associate
from alignhmr.core.truth.bundle import turn_cameras
from alignhmr.core.truth.multiview import CalibratedCamera, Triangulated, read_qca, triangulate

logger = logging.getLogger(__name__)

MARKS_FILE = Path(__file__).parent / "data" / "pose2sim4_marks.json"
SQUARE_SIGMA_PX, BOLT_SIGMA_PX = 1.0, 2.0
SETS = ("single", "multi")
SMOOTH_FRAMES = 2.0
"""Standard deviation of the smoothing over time: 33 ms. Without it the detector's jitter is taken for motion."""
LEAST_VIEWS = 3
MOST_RESIDUAL_PX = 20.0
"""Mean over the views that agree. 20 px are 4 cm at this distance: past it the detector saw something else."""
MOST_STRETCH = 0.2
"""Share by which a limb may differ from its median length over time."""
_LIMBS = (
    (5, 7),
    (7, 9),
    (6, 8),
    (8, 10),
    (11, 13),
    (13, 15),
    (12, 14),
    (14, 16),
    (15, 17),
    (15, 19),
    (16, 20),
    (16, 22),
)
"""Pairs of keypoints, inner and outer, at a fixed distance."""


def fitted_cameras(folder: Path, name: str) -> list[CalibratedCamera]:
    """The calibrated cameras of a set, turned until the marks on the treadmill meet in space."""
    places = json.loads(MARKS_FILE.read_text())[name]
    marks = np.array(
        [[view or (np.nan, np.nan) for view in views] for views in places.values()], np.float64
    ).swapaxes(0, 1)
    sigma = np.array([SQUARE_SIGMA_PX if mark.startswith("square") else BOLT_SIGMA_PX for mark in places])
    weights = np.isfinite(marks[..., 0]) / sigma**2
    return turn_cameras(read_qca(folder / name / "Calib.qca.txt"), marks, weights)


def detections(
    folder: Path, name: str, cameras: Sequence[CalibratedCamera], detector: Detector, limit: int | None = None
) -> list[list[Float[np.ndarray, "people keypoints 3"]]]:
    """Everyone's keypoints in each frame of each view, in undistorted pixels."""
    found = []
    for camera in cameras:
        video = frames(folder / name / f"{camera.name}.mp4", limit=limit)
        people = [detector.find(Picture(camera.undistort(pixels), "")) for pixels in video]
        found.append(
            [np.array([person.keypoints_px for person in all_]).reshape(-1, 23, 3) for all_ in people]
        )
        logger.info("%s %s: %d frames", name, camera.name, len(people))
    return found


def walker(
    cameras: Sequence[CalibratedCamera], found: Sequence[Sequence[np.ndarray]]
) -> Float[np.ndarray, "views frames keypoints 3"]:
    """The keypoints of the person whom most views agree about, frame by frame; NaN where a view has none."""
    tracks = []
    for frame in zip(*found, strict=True):
        people = associate(cameras, frame)
        tracks.append(people[0] if people else np.full((len(cameras), 23, 3), np.nan))
    return np.stack(tracks, 1)


def points_of(
    cameras: Sequence[CalibratedCamera], keypoints: Float[np.ndarray, "views frames keypoints 3"]
) -> Triangulated:
    """All frames' points in one array, frame after frame, weighted by the detector's confidence."""
    flat = keypoints.reshape(len(cameras), -1, 3).astype(np.float64)
    weights = np.where(np.isfinite(flat[..., 2]), np.clip(flat[..., 2], 0.05, 1), 0)
    return triangulate(cameras, flat[..., :2], weights)


def smoothed(points: Float[np.ndarray, "frames points 3"]) -> Float[np.ndarray, "frames points 3"]:
    """Each point's Gaussian mean over its known neighbours in time; what is unknown stays unknown."""
    known = np.isfinite(points)
    total = gaussian_filter1d(np.where(known, points, 0), SMOOTH_FRAMES, axis=0)
    weight = gaussian_filter1d(known.astype(float), SMOOTH_FRAMES, axis=0)
    return np.where(known, total / np.maximum(weight, 1e-9), np.nan)


def trusted(
    points: Float[np.ndarray, "frames points 3"],
    residual_px: Float[np.ndarray, "frames points"],
    views: Int[np.ndarray, "frames points"],
) -> Bool[np.ndarray, "frames points"]:
    """Where enough views agree closely enough and no limb is stretched; of a stretched limb the outer end falls."""
    good = (views >= LEAST_VIEWS) & (residual_px <= MOST_RESIDUAL_PX)
    for inner, outer in _LIMBS:
        length = np.linalg.norm(points[:, inner] - points[:, outer], axis=-1)
        usual = np.nanmedian(np.where(good[:, inner] & good[:, outer], length, np.nan))
        good[:, outer] &= ~(np.abs(length / usual - 1) > MOST_STRETCH)
    return good


def truth(
    cameras: Sequence[CalibratedCamera], keypoints: Float[np.ndarray, "views frames keypoints 3"]
) -> dict[str, np.ndarray]:
    """The shipped arrays but for the cameras: points, their residuals and views, NaN or 0 where not trusted."""
    shape = keypoints.shape[1:3]
    found = points_of(cameras, keypoints)
    points, views = found.points_world_m.reshape(*shape, 3), found.agree.sum(0).reshape(shape)
    with np.errstate(invalid="ignore"):
        first = np.where(found.agree, found.residual_px, 0).sum(0).reshape(shape) / views
    points = smoothed(np.where(trusted(points, first, views)[..., None], points, np.nan))
    known = np.isfinite(points[..., 0])
    flat = points.reshape(-1, 3)
    away = np.stack(
        [
            np.linalg.norm(camera.project(flat) - seen.reshape(-1, 3)[:, :2], axis=1)
            for camera, seen in zip(cameras, keypoints, strict=True)
        ]
    )
    residual = np.where(found.agree, away, 0).sum(0).reshape(shape) / np.maximum(views, 1)
    return {
        "points_world_m": points.astype(np.float32),
        "residual_px": np.where(known, residual, np.nan).astype(np.float32),
        "views": np.where(known, views, 0).astype(np.uint8),
    }


def make(folder: Path, detector: Detector) -> dict[str, np.ndarray]:
    """Everything that is shipped, from the videos of the one-person set and the marks of both."""
    cameras = fitted_cameras(folder, "single")
    # float32 before the points are made: from the shipped keypoints the same points follow.
    keypoints = walker(cameras, detections(folder, "single", cameras, detector)).astype(np.float32)
    turned = {f"R_{name}": np.stack([c.R_cam_world for c in fitted_cameras(folder, name)]) for name in SETS}
    return (
        truth(cameras, keypoints)
        | turned
        | {"keypoints_px": keypoints, "detector": np.array(detector.digest)}
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Makes the truth of the benchmark pose2sim4 from its videos."
    )
    parser.add_argument("--out", type=Path, required=True, help="the .npz file to write")
    out = parser.parse_args().out
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    made = make(assets.fetch("pose2sim"), load_detector("blazepose"))
    np.savez_compressed(out, **made)  # type: ignore[arg-type]
    known = np.isfinite(made["residual_px"])
    logger.info(
        "%s: %.1f %% of the points, %.1f px", out, 100 * known.mean(), made["residual_px"][known].mean()
    )


if __name__ == "__main__":
    main()
