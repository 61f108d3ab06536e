"""BEDLAM: rendered people in motion, by its .npz training labels; the same labels cover AGORA (`agora.py`).

Where: https://bedlam.is.tue.mpg.de (Black et al., CVPR 2023). Licence: non-commercial research, on registration;
nothing of it may be passed on.
Files: ``labels/*.npz``, one for each scene (the published ``all_npz_12_training`` unpacked, or the SMPL labels of the
same keys), and ``images/SCENE/png/`` or ``images/`` with the ``imgname`` of each row.

Conventions: a row is one person in one picture. ``cam_int`` is the camera matrix, ``gtkps`` the model's joints in
pixels; ``pose_cam`` (axis-angle, root on OpenCV's camera axes), ``shape`` and ``trans_cam`` + ``cam_ext[:3, 3]``
are the body: SMPL-X where a pose has 165 numbers, SMPL where it has 72. The first 22 joints of both models bear the
same names, so ``smpl24`` has their pixels and the limbs of ``coco23`` follow; hands, face and feet are NaN. No joints
in space are given: they follow for SMPL labels where a folder with the user's own SMPL bodies is named
(``bedlam:PATH,BODIES``), and are None otherwise. SMPL-X's pose enters a TrueBody called ``smplx:...`` with its
hands left straight. Scenes called *closeup* were rendered with the camera on its side: their pictures are turned a
quarter clockwise, as their labels are. A group is a sequence. The only split is ``train``.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from alignhmr.core.body.skeleton import JOINTS
from alignhmr.core.errors import InputError
from alignhmr.core.truth.frames import Frame, box_around, pinhole
from alignhmr.core.truth.records import Truth
from alignhmr.core.truth.smpl_labels import SmplFiles, body_in_camera, joints_m, name_of, points_from_joints

SHARED_JOINTS = 22
"""SMPL's joints up to the wrists, which SMPL-X shares."""
_NEEDED = ("imgname", "pose_cam", "shape", "trans_cam", "cam_ext", "cam_int", "gtkps")


def read_bedlam(location: str | Path, split: str = "train") -> Iterator[Frame]:
    """Frames of every label file, by name; `location` is ROOT or ROOT,BODIES. Raises InputError."""
    if split != "train":
        raise InputError(f"BEDLAM's labels have no split {split!r}; the only one is train")
    root, _, bodies = str(location).partition(",")
    files = sorted((Path(root) / "labels").glob("*.npz"))
    if not files:
        raise InputError(
            f"no label files (*.npz) in {Path(root) / 'labels'}; unpack BEDLAM's training labels there"
        )
    smpl = SmplFiles.open(bodies)
    for path in files:
        yield from read_labels(path, Path(root) / "images", "bedlam", smpl)


def read_labels(path: Path, images: Path, domain: str, smpl: SmplFiles) -> Iterator[Frame]:
    """Frames of one label file, in the order in which their pictures first appear."""
    try:
        # Never with pickles: some copies of these files hold Python objects.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            absent = [key for key in _NEEDED if key not in file]
            if absent:
                raise InputError(f"{path} is no label file: it lacks {', '.join(absent)}; get it anew")
            data = {key: file[key] for key in (*_NEEDED, *({"gender", "sub"} & set(file)))}
    except InputError:
        raise
    except Exception as broken:  # numpy and zipfile raise nearly anything on a damaged file
        raise InputError(
            f"{path} is no label file that can be read without running code ({type(broken).__name__}: {broken}); "
            "get the .npz of the publisher"
        ) from broken
    sizes = {key: len(array) for key, array in data.items()}
    if len(set(sizes.values())) != 1:
        raise InputError(f"{path} has columns of different lengths ({sizes}); get the file anew")
    width = data["pose_cam"].reshape(len(data["pose_cam"]), -1).shape[1]
    if width not in (72, 165) or data["gtkps"].shape[1] < SHARED_JOINTS:
        raise InputError(
            f"{path} has poses of {width} numbers and {data['gtkps'].shape[1]} joints; wanted 72 (SMPL) "
            f"or 165 (SMPL-X) numbers and at least {SHARED_JOINTS} joints"
        )
    scene = next(
        (folder for folder in (images / path.stem / "png", images / path.stem) if folder.is_dir()), images
    )
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(data["imgname"].tolist()):
        rows.setdefault(str(name), []).append(row)
    for name, indices in rows.items():
        yield Frame(
            id=f"{path.stem}/{name}",
            group=f"{path.stem}/{Path(name).parent}",
            domain=domain,
            image=scene / name,
            intrinsics=pinhole(data["cam_int"][indices[0]]),
            people=[_person(data, row, width == 165, smpl) for row in indices],
            quarter_turns=1 if "closeup" in path.stem else 0,
        )


def _person(data: dict[str, np.ndarray], row: int, is_smplx: bool, smpl: SmplFiles) -> Truth:
    gender = str(data["gender"][row]) if "gender" in data else "neutral"
    # The labels are of neutral bodies unless they say otherwise.
    gender = gender if gender in ("male", "female") else "neutral"
    pose = np.zeros((len(JOINTS), 3))
    used = SHARED_JOINTS if is_smplx else len(JOINTS)
    pose[:used] = data["pose_cam"][row].reshape(-1, 3)[:used]
    transl = np.asarray(data["trans_cam"][row], np.float64) + data["cam_ext"][row][:3, 3]
    px = np.full((len(JOINTS), 2), np.nan)
    px[:SHARED_JOINTS] = data["gtkps"][row, :SHARED_JOINTS, :2]
    model = None if is_smplx else smpl.body(gender)
    joints_cam = None
    if model is not None:
        joints_cam = joints_m(model, pose, data["shape"][row][:10]) + transl
    name = f"smplx:{gender}" if is_smplx else name_of(gender, model)
    # On camera axes already: the rest pelvis cancels.
    body = body_in_camera(name, pose, data["shape"][row], transl, np.zeros(3), np.eye(4))
    return Truth(box_around(px), points_from_joints(joints_cam, px), body, facts={"gender": gender})
