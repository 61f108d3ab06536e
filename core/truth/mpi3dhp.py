"""MPI-INF-3DHP: people in a green-screen studio, a room and outdoors, with marker-less joints.

Where: https://vcai.mpi-inf.mpg.de/3dhp-dataset (Mehta et al., 3DV 2017). Licence: non-commercial research only;
nothing of it may be passed on.
Files: for the test split ``TS1``..``TS6/annot_data.mat`` with ``imageSequence/img_000001.jpg``; for the training
split ``S1/Seq1/annot.mat`` with ``imageFrames/video_0/frame_000001.jpg`` (the videos, unpacked as most public code
does). ``annot.mat`` is MATLAB's format 5 (scipy); ``annot_data.mat`` is format 7.3, HDF5, and needs
``pip install h5py``, which alignhmr doesn't bring.

Conventions: ``annot3`` are joints on camera axes (OpenCV's) in mm, ``annot2`` their pixels. No camera matrix lies
beside them: focal length and centre of each video are the least squares fit of its pixels to its joints, which
is exact for a pinhole. 28 joints in training, 17 of them in the test set; pelvis, spine, hips, knees, ankles,
neck (as thorax), head top, shoulders, elbows and wrists give ``h36m17`` (its own "neck" is NaN) and the limbs of
``coco23``; ``smpl24`` is not given. Frames with ``valid_frame`` 0 carry no truth. A group is a sequence.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from alignhmr.core.body.joint_sets import H36M_POINTS
from alignhmr.core.errors import InputError, SetupError
from alignhmr.core.records import Intrinsics
from alignhmr.core.truth.frames import Frame, box_around
from alignhmr.core.truth.human36m import LIMB_POINTS
from alignhmr.core.truth.records import Points, Truth
from alignhmr.core.truth.smpl_labels import limbs

SPLITS = ("test", "train")
TEST_JOINTS: tuple[str, ...] = (
    "head_top", "thorax", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow",
    "left_wrist", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "pelvis",
    "spine", "head",
)  # fmt: skip
"""The test set's joints under the names of ``H36M_POINTS``; its head has none."""
TEST_IN_TRAIN = (7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 4, 3, 6)
"""The training set's joint for each of ``TEST_JOINTS``."""
TRAIN_EVERY = 10


def read_mpi3dhp(root: str | Path, split: str = "test") -> Iterator[Frame]:
    """Annotated frames of a split whose pictures are there. Raises InputError, SetupError without h5py."""
    if split not in SPLITS:
        raise InputError(f"MPI-INF-3DHP has no split {split!r}; choose from {', '.join(SPLITS)}")
    pattern = "TS*/annot_data.mat" if split == "test" else "S*/Seq*/annot.mat"
    files = sorted(Path(root).glob(pattern))
    if not files:
        raise InputError(f"no MPI-INF-3DHP annotations in {root}: nothing there is called {pattern}")
    for path in files:
        yield from (_test_sequence(path) if split == "test" else _train_sequence(path))


def _test_sequence(path: Path) -> Iterator[Frame]:
    data = _read_hdf5(path, ("annot2", "annot3", "valid_frame"))
    try:
        cam_m = data["annot3"].reshape(-1, 17, 3) / 1000
        px, valid = data["annot2"].reshape(-1, 17, 2), data["valid_frame"].ravel() > 0
        camera = fitted_pinhole(cam_m[valid], px[valid])
        numbers = np.flatnonzero(valid).tolist()
    except (ValueError, IndexError) as broken:
        raise InputError(
            f"{path} has arrays that don't fit together ({broken}); get the file anew"
        ) from broken
    name = path.parent.name
    for index in numbers:
        image = path.parent / "imageSequence" / f"img_{index + 1:06d}.jpg"
        yield _frame(f"{name}-{index + 1:06d}", name, image, camera, cam_m[index], px[index])


def _train_sequence(path: Path) -> Iterator[Frame]:
    import scipy.io

    try:
        data = scipy.io.loadmat(path)
        views = list(zip(data["annot3"].ravel(), data["annot2"].ravel(), strict=True))
        joints = [
            (
                np.asarray(cam_mm, np.float64).reshape(-1, 28, 3) / 1000,
                np.asarray(px, np.float64).reshape(-1, 28, 2),
            )
            for cam_mm, px in views
        ]
    except Exception as broken:  # scipy raises nearly anything on a damaged file
        raise InputError(
            f"{path} is no annotation of MPI-INF-3DHP ({type(broken).__name__}: {broken}); get the file anew"
        ) from broken
    subject = f"{path.parent.parent.name}-{path.parent.name}"
    chosen = list(TEST_IN_TRAIN)
    for video, (cam_m, px) in enumerate(joints):
        folder = path.parent / "imageFrames" / f"video_{video}"
        # Few unpack all fourteen videos, or every frame.
        numbers = sorted(int(image.stem.removeprefix("frame_")) for image in folder.glob("frame_*.jpg"))
        if not numbers:
            continue
        if numbers[-1] > len(cam_m) or len(cam_m) != len(px):
            raise InputError(
                f"{folder} has picture {numbers[-1]} and {path} only {min(len(cam_m), len(px))} annotated frames; "
                "unpack the video again, first frame 1"
            )
        camera = fitted_pinhole(cam_m, px)
        for number in numbers:
            if (number - 1) % TRAIN_EVERY == 0:
                name, image = f"{subject}-video{video}-{number:06d}", folder / f"frame_{number:06d}.jpg"
                yield _frame(name, subject, image, camera, cam_m[number - 1, chosen], px[number - 1, chosen])


def fitted_pinhole(
    points_cam_m: Float[np.ndarray, "frames joints 3"], points_px: Float[np.ndarray, "frames joints 2"]
) -> Intrinsics:
    """The pinhole that lays the joints on their pixels: linear least squares. InputError where none does."""
    cam, px = points_cam_m.reshape(-1, 3), points_px.reshape(-1, 2)
    ones, zeros = np.ones(len(cam)), np.zeros(len(cam))
    x, y = cam[:, 0] / cam[:, 2], cam[:, 1] / cam[:, 2]
    rows = np.concatenate([np.stack([x, ones, zeros], 1), np.stack([y, zeros, ones], 1)])
    (focal, cx, cy), *_ = np.linalg.lstsq(rows, np.concatenate([px[:, 0], px[:, 1]]), rcond=None)
    off = np.median(np.abs(focal * np.stack([x, y], 1) + (cx, cy) - px))
    if not off < 10:
        raise InputError(
            f"the joints miss their pixels by {off:.0f} px under any pinhole; get the annotations anew"
        )
    return Intrinsics(float(focal), (float(cx), float(cy)), "given")


def _frame(
    name: str, group: str, image: Path, camera: Intrinsics, cam_m: np.ndarray, px: np.ndarray
) -> Frame:
    as_h36m = {}
    for key, points in (("cam", cam_m), ("px", px)):
        as_h36m[key] = np.full((len(H36M_POINTS), points.shape[1]), np.nan, np.float32)
        for joint, point in zip(TEST_JOINTS, points, strict=True):
            if joint in H36M_POINTS:
                as_h36m[key][H36M_POINTS.index(joint)] = point
    points = {
        "h36m17": Points(as_h36m["cam"], as_h36m["px"]),
        "coco23": Points(limbs(as_h36m["cam"], LIMB_POINTS), limbs(as_h36m["px"], LIMB_POINTS)),
    }
    return Frame(name, group, "mpi3dhp", image, camera, [Truth(box_around(px), points)])


def _read_hdf5(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    try:
        import h5py  # type: ignore[import-not-found]
    except ImportError as missing:
        raise SetupError(
            f"{path} is HDF5 (MATLAB 7.3), which needs the package h5py; install it with `pip install h5py`"
        ) from missing
    try:
        with h5py.File(path, "r") as file:
            return {name: np.asarray(file[name], np.float64) for name in names}
    except (OSError, KeyError, ValueError, TypeError) as broken:
        raise InputError(
            f"{path} is no annotation of MPI-INF-3DHP ({type(broken).__name__}: {broken}); get the file anew"
        ) from broken
