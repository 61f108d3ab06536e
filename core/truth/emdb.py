"""EMDB: people outdoors and indoors, by a moving phone, with SMPL bodies from electromagnetic sensors.

Where: https://eth-ait.github.io/emdb (Kaufmann et al., ICCV 2023). Licence: non-commercial research, on
application; nothing of it may be passed on.
Files: ``P0/SEQUENCE/P0_SEQUENCE_data.pkl`` and ``P0/SEQUENCE/images/00000.jpg``. The pickles are read without
running anything in them.

Conventions: ``camera.extrinsics[i]`` maps world to camera (OpenCV's axes), metres; ``smpl`` holds root, body,
translation and betas of a gendered body in the world; ``kp2d`` are SMPL's 24 joints in pixels. The file has no
joints in space: ``smpl24`` on camera axes follows where a folder with the user's own SMPL bodies is given
(``emdb:PATH,BODIES``), and is None otherwise. Frames that ``good_frames_mask`` rules out carry no truth. Splits:
``emdb1`` (the one that single-image methods are told on), ``emdb2``, ``all``. A group is a sequence.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from alignhmr.core.body.smpl_import import plain, read_array_pickle
from alignhmr.core.errors import InputError
from alignhmr.core.records import Intrinsics
from alignhmr.core.truth.frames import Frame, box_around, pinhole
from alignhmr.core.truth.records import Truth
from alignhmr.core.truth.smpl_labels import SmplFiles, body_in_camera, joints_m, name_of, points_from_joints

SPLITS = ("emdb1", "emdb2", "all")
_NEEDED = ("gender", "name", "n_frames", "good_frames_mask", "camera", "smpl", "kp2d")


def read_emdb(location: str | Path, split: str = "emdb1") -> Iterator[Frame]:
    """Frames of a split, sequence after sequence; `location` is ROOT or ROOT,BODIES. Raises InputError."""
    if split not in SPLITS:
        raise InputError(f"EMDB has no split {split!r}; choose from {', '.join(SPLITS)}")
    root, _, bodies = str(location).partition(",")
    smpl = SmplFiles.open(bodies)
    files = sorted(Path(root).glob("P*/*/*_data.pkl"))
    if not files:
        raise InputError(f"no EMDB annotations in {root}; give the folder that holds P0, P1, ...")
    for path in files:
        yield from _sequence(path, split, smpl)


def _sequence(path: Path, split: str, smpl: SmplFiles) -> Iterator[Frame]:
    content = read_array_pickle(path, "a sequence of EMDB")
    absent = [key for key in _NEEDED if key not in content]
    if absent:
        raise InputError(f"{path} is not a sequence of EMDB: it lacks {', '.join(absent)}; get the file anew")
    if split != "all" and not plain(content.get(split)):
        return
    try:
        data = {key: plain(content[key]) for key in _NEEDED}
        camera = pinhole(data["camera"]["intrinsics"])
        name, gender = str(data["name"]), str(data["gender"])
        for index in np.flatnonzero(np.asarray(data["good_frames_mask"])[: int(data["n_frames"])]).tolist():
            yield Frame(
                id=f"{name}-{index:05d}",
                group=name,
                domain="emdb",
                image=path.parent / "images" / f"{index:05d}.jpg",
                intrinsics=camera,
                people=[_person(data, index, gender, camera, smpl)],
            )
    except (KeyError, IndexError, TypeError, ValueError) as broken:
        raise InputError(
            f"{path} has arrays that don't fit together ({type(broken).__name__}: {broken}); get the file anew"
        ) from broken


def _person(data: dict[str, Any], index: int, gender: str, camera: Intrinsics, smpl: SmplFiles) -> Truth:
    parameters, T = data["smpl"], np.asarray(data["camera"]["extrinsics"][index], np.float64)
    pose = np.concatenate([parameters["poses_root"][index], parameters["poses_body"][index]]).reshape(24, 3)
    betas, transl = np.ravel(parameters["betas"]), np.asarray(parameters["trans"][index], np.float64)
    px = np.asarray(data["kp2d"][index], np.float64).reshape(24, 2)
    model = smpl.body(gender)
    joints_cam, pelvis = None, None
    if model is not None:
        joints = joints_m(model, pose, betas[:10])
        # The root turns about its rest place, so the posed pelvis still stands there.
        pelvis = joints[0]
        joints_cam = (joints + transl) @ T[:3, :3].T + T[:3, 3]
    return Truth(
        box_px=box_around(px),
        points=points_from_joints(joints_cam, px),
        body=body_in_camera(name_of(gender, model), pose, betas, transl, pelvis, T),
        facts={"gender": gender},
    )
