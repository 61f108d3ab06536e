"""3DPW: people outdoors, by a moving hand-held camera, with SMPL bodies from inertial sensors.

Where: https://virtualhumans.mpi-inf.mpg.de/3DPW (von Marcard et al., ECCV 2018). Licence: non-commercial
scientific research only; nothing of it may be passed on.
Files: ``sequenceFiles/{train,validation,test}/NAME.pkl`` and ``imageFiles/NAME/image_00000.jpg``. The pickles are
Python 2's and are read without running anything in them.

Conventions: ``jointPositions`` are SMPL's 24 joints in the world, metres; ``cam_poses[i]`` maps world to camera
(OpenCV's axes); ``poses`` and ``trans`` are SMPL's in the world, at the pictures' 30 Hz; gendered bodies. Frames
whose camera wasn't aligned to a person (``campose_valid`` 0) carry no truth for that person. ``smpl24`` comes
from the file, the limbs of ``coco23`` from it; face, feet and ``h36m17`` are not given (the field's 14 joints are
regressed from SMPL's mesh). A group is a sequence.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from alignhmr.core.body.smpl_import import plain, read_array_pickle
from alignhmr.core.errors import InputError
from alignhmr.core.truth.frames import Frame, box_around, pinhole
from alignhmr.core.truth.records import Truth
from alignhmr.core.truth.smpl_labels import body_in_camera, name_of, points_from_joints

SPLITS = ("test", "validation", "train")
_NEEDED = (
    "sequence",
    "betas",
    "poses",
    "trans",
    "jointPositions",
    "cam_poses",
    "cam_intrinsics",
    "campose_valid",
    "genders",
)
_GENDER = {"m": "male", "f": "female"}


def read_3dpw(root: str | Path, split: str = "test") -> Iterator[Frame]:
    """Frames of a split with at least one person, sequence after sequence. Raises InputError."""
    if split not in SPLITS:
        raise InputError(f"3DPW has no split {split!r}; choose from {', '.join(SPLITS)}")
    folder = Path(root) / "sequenceFiles" / split
    files = sorted(folder.glob("*.pkl"))
    if not files:
        raise InputError(
            f"no 3DPW annotations in {folder}; give the folder that holds sequenceFiles and imageFiles"
        )
    for path in files:
        yield from _sequence(path, Path(root) / "imageFiles")


def _sequence(path: Path, images: Path) -> Iterator[Frame]:
    content = read_array_pickle(path, "a sequence of 3DPW")
    absent = [key for key in _NEEDED if key not in content]
    if absent:
        raise InputError(f"{path} is not a sequence of 3DPW: it lacks {', '.join(absent)}; get the file anew")
    try:
        data = {key: plain(content[key]) for key in _NEEDED}
        genders = [_GENDER[letter] for letter in data["genders"]]
        camera = pinhole(data["cam_intrinsics"])
        poses = np.asarray(data["cam_poses"], np.float64).reshape(-1, 4, 4)
        for index, T_cam_world in enumerate(poses):
            people = [
                _person(data, actor, index, T_cam_world, gender, camera)
                for actor, gender in enumerate(genders)
                if np.ravel(data["campose_valid"][actor])[index]
            ]
            if people:
                name = str(data["sequence"])
                image = images / name / f"image_{index:05d}.jpg"
                yield Frame(f"{name}-{index:05d}", name, "3dpw", image, camera, people)
    except (KeyError, IndexError, TypeError, ValueError) as broken:
        raise InputError(
            f"{path} has arrays that don't fit together ({type(broken).__name__}: {broken}); get the file anew"
        ) from broken


def _person(data: dict[str, Any], actor: int, index: int, T: np.ndarray, gender: str, camera: Any) -> Truth:
    joints = np.asarray(data["jointPositions"][actor][index], np.float64).reshape(24, 3)
    transl = np.asarray(data["trans"][actor][index], np.float64)
    points = points_from_joints(joints @ T[:3, :3].T + T[:3, 3], None, camera)
    px = points["smpl24"].px
    assert px is not None
    return Truth(
        box_px=box_around(px),
        points=points,
        # The posed pelvis is the rest pelvis and the translation.
        body=body_in_camera(
            name_of(gender, None),
            np.asarray(data["poses"][actor][index]).reshape(24, 3),
            np.ravel(data["betas"][actor]),
            transl,
            joints[0] - transl,
            T,
        ),
        facts={"gender": gender, "actor": float(actor)},
    )
