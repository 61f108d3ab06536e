"""The benchmark `pose2sim4`: a man on a beam, filmed by four calibrated cameras, triangulated from all of them.

Pictures: the demonstration videos of pose2sim (BSD-3-Clause, David Pagnon and contributors), fetched as an
asset: four cameras, 100 frames at 60 Hz, once as filmed (`single`) and once with a rendered woman drawn in
(`multi`). Truth: 23 keypoints in space, made once by `python -m alignhmr.core.truth.pose2sim4_making` and shipped,
so that everyone measures against the same points. How they were made, how far they can be trusted and what they
are biased towards stands in README.md.

The woman has no truth: she was drawn through cameras that the film doesn't obey. She hides the man at times, and
a system must not mistake her for him. Bystanders have no truth either.

One person moves for 1.7 s: neighbouring frames show nearly the same pose, and both sets show the same moments. A
group is a fifth of that time, all cameras and both sets: what is resampled. Even so an interval over five groups
speaks of this film, not of people.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
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
FIRST = {"single": 0, "multi": 1}
"""Frame in which a set shows the film's first moment: `multi` begins with it twice."""
EVERY = {"single": 4, "multi": 8}
"""Every how many frames a picture is taken: 100 pictures of one person, 52 of two."""
BLOCKS = 5
"""Of 20 frames: after so many the errors of two systems no longer resembled themselves (README.md)."""
TRUTH_FILE = Path(__file__).parent / "data" / "pose2sim4.npz"


@dataclass(frozen=True)
class FilmTruth:
    """The man's points over the film, and how the cameras of both sets are really turned."""

    points_world_m: Float[np.ndarray, "frames points 3"]
    """``coco23``; NaN where not trusted."""
    residual_px: Float[np.ndarray, "frames points"]
    """Mean over the views that the point was made from."""
    views: UInt8[np.ndarray, "frames points"]
    R_single: Float[np.ndarray, "cameras 3 3"]
    R_multi: Float[np.ndarray, "cameras 3 3"]


def pose2sim4(*, count: int | None = None, seed: int = 0) -> Iterator[Sample]:
    """152 pictures, free of lens distortion, with intrinsics; or `count` of them drawn by the seed.

    AssetError before the first where the videos can't be fetched.
    """
    chosen = [
        (name, camera, frame)
        for name, every in EVERY.items()
        for camera in range(4)
        for frame in range(FIRST[name], FRAMES, every)
    ]
    if count is not None and count < len(chosen):
        picks = np.random.default_rng(seed).choice(len(chosen), count, replace=False)
        chosen = [chosen[pick] for pick in np.sort(picks)]
    return _read(assets.fetch("pose2sim"), chosen)


@cache
def film_truth() -> FilmTruth:
    """The shipped truth."""
    with np.load(TRUTH_FILE) as data:
        return FilmTruth(**{field.name: data[field.name] for field in fields(FilmTruth)})


def cameras_of(name: str, folder: Path) -> list[CalibratedCamera]:
    """The cameras of the set `single` or `multi`, turned to where they really look (see README.md)."""
    calibrated = read_qca(folder / name / "Calib.qca.txt")
    turned = getattr(film_truth(), f"R_{name}")
    return [replace(camera, R_cam_world=R) for camera, R in zip(calibrated, turned, strict=True)]


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
    picture = Picture(upright, sha256(upright.tobytes()).hexdigest())
    moment = frame - FIRST[name]
    return Sample(
        id=f"{name}-{camera.name}-{frame:03d}",
        group=f"block{moment * BLOCKS // FRAMES}",
        domain="pose2sim4",
        picture=picture,
        intrinsics=camera.intrinsics,
        people=[_man(name, camera, moment, picture.size)],
    )


def _man(name: str, camera: CalibratedCamera, moment: int, size: tuple[int, int]) -> Truth:
    film = film_truth()
    world = film.points_world_m[moment].astype(np.float64)
    known = np.isfinite(world[:, 0])
    px = camera.project(world)
    low, high = np.nanmin(px, 0), np.nanmax(px, 0)
    # Keypoints end at eyes and toes: the same margin as the detector's own boxes.
    pad = 0.06 * (high - low).max()
    return Truth(
        box_px=np.clip(np.concatenate([low - pad, high + pad]), 0, [*size, *size]).astype(np.float32),
        points={"coco23": Points(cam_m=camera.to_cam_m(world).astype(np.float32), px=px.astype(np.float32))},
        facts={
            "set": name,
            "camera": camera.name,
            "residual_px": float(film.residual_px[moment][known].mean()),
            "views": float(film.views[moment][known].mean()),
        },
    )
