"""The benchmark `pose2sim4`: a walker filmed by four calibrated cameras, triangulated from all of them.

Pictures: the demonstration videos of pose2sim (BSD-3-Clause, David Pagnon and contributors), two sets of four
cameras x 100 frames at 60 Hz, fetched as an asset. Truth: 23 keypoints in space, made once by
`python -m alignhmr.core.truth.pose2sim4_making` and shipped, so that everyone measures against the same points;
how they were made, how far they can be trusted and what they are biased towards stands in README.md.

One person walks for 1.7 s: neighbouring frames show the same pose, and both sets show the same moments. A group
is a camera and a quarter of that time; even so an interval over groups speaks of this walk, not of people.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from alignhmr.core.errors import InputError
from alignhmr.core.perception import assets
from alignhmr.core.perception.video import frames
from alignhmr.core.records import Picture
from alignhmr.core.truth.multiview import CalibratedCamera, read_qca
from alignhmr.core.truth.records import Points, Sample, Truth

FRAMES = 100
EVERY = {"single": 4, "multi": 8}
"""Every how many frames a picture is taken: 100 pictures of one person, 52 of two."""
BLOCKS = 4
TRUTH_FILE = Path(__file__).parent / "data" / "pose2sim4.npz"


@dataclass(frozen=True)
class SetTruth:
    """Everyone's points over one set of videos, and where its pictures lie on the calibrated sensors."""

    points_world_m: Float[np.ndarray, "frames people points 3"]
    """``coco23``; NaN where it isn't trusted."""
    residual_px: Float[np.ndarray, "frames people points"]
    """Mean over the views that the point was made from."""
    views: UInt8[np.ndarray, "frames people points"]
    shift_px: Float[np.ndarray, "cameras 2"]


def pose2sim4(*, count: int | None = None, seed: int = 0) -> Iterator[Sample]:
    """152 pictures, free of lens distortion, with intrinsics; or `count` of them drawn by the seed.

    AssetError before the first where the videos can't be fetched.
    """
    chosen = [
        (name, camera, frame)
        for name, every in EVERY.items()
        for camera in range(4)
        for frame in range(0, FRAMES, every)
    ]
    if count is not None and count < len(chosen):
        picks = np.random.default_rng(seed).choice(len(chosen), count, replace=False)
        chosen = [chosen[pick] for pick in np.sort(picks)]
    return _read(assets.fetch("pose2sim"), chosen)


@cache
def truth_of(name: str) -> SetTruth:
    """The shipped truth of the set `single` or `multi`."""
    with np.load(TRUTH_FILE) as data:
        return SetTruth(
            *(data[f"{name}_{key}"] for key in ("points_world_m", "residual_px", "views", "shift_px"))
        )


def cameras_of(name: str, folder: Path) -> list[CalibratedCamera]:
    """The cameras of one set, moved to where its videos really lie on their sensors (see README.md)."""
    calibrated = read_qca(folder / name / "Calib.qca.txt")
    shifts = truth_of(name).shift_px.tolist()
    return [camera.shifted(*shift) for camera, shift in zip(calibrated, shifts, strict=True)]


def _read(folder: Path, chosen: list[tuple[str, int, int]]) -> Iterator[Sample]:
    for name in EVERY:
        for index, camera in enumerate(cameras_of(name, folder)):
            wanted = {frame for n, c, frame in chosen if (n, c) == (name, index)}
            if not wanted:
                continue
            # Read through, not sought: these files have few key frames.
            video = folder / name / f"{camera.name}.mp4"
            for frame, pixels in enumerate(frames(video, limit=max(wanted) + 1)):
                if frame in wanted:
                    yield _sample(name, camera, frame, pixels)
                    wanted.remove(frame)
            if wanted:
                raise InputError(
                    f"{video} ends before frame {max(wanted)}; `alignhmr assets` fetches it again"
                )


def _sample(name: str, camera: CalibratedCamera, frame: int, pixels: UInt8[np.ndarray, "h w 3"]) -> Sample:
    upright = camera.undistort(pixels)
    truth = truth_of(name)
    picture = Picture(upright, sha256(upright.tobytes()).hexdigest())
    found = [
        _person(name, index, camera, frame, picture.size) for index in range(truth.points_world_m.shape[1])
    ]
    return Sample(
        id=f"{name}-{camera.name}-{frame:03d}",
        group=f"{camera.name}-{frame * BLOCKS // FRAMES}",
        domain="pose2sim4",
        picture=picture,
        intrinsics=camera.intrinsics,
        people=[person for person in found if person is not None],
    )


def _person(
    name: str, index: int, camera: CalibratedCamera, frame: int, size: tuple[int, int]
) -> Truth | None:
    truth = truth_of(name)
    world = truth.points_world_m[frame, index].astype(np.float64)
    known = np.isfinite(world[:, 0])
    if known.sum() < 8:
        return None
    px = camera.project(world)
    low, high = np.nanmin(px, 0), np.nanmax(px, 0)
    # Keypoints end at eyes and ankles: the same margin as the detector's own boxes.
    pad = 0.06 * (high - low).max()
    return Truth(
        box_px=np.clip(np.concatenate([low - pad, high + pad]), 0, [*size, *size]).astype(np.float32),
        points={"coco23": Points(cam_m=camera.to_cam_m(world).astype(np.float32), px=px.astype(np.float32))},
        facts={
            "residual_px": float(np.nanmean(truth.residual_px[frame, index][known])),
            "views": float(truth.views[frame, index][known].mean()),
            "set": name,
            "composited": index == 1,
        },
    )
