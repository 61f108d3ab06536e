"""SMPL parameters of a data set on camera axes, and the points that follow from SMPL's joints.

The limb points of ``coco23`` are SMPL's own joints, as in an imported body's keypoint regressor: shoulders, elbows,
wrists, hips, knees and ankles. Face and feet are NaN: they need the mesh.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import JOINTS, KEYPOINTS, SHARED_KEYPOINTS
from alignhmr.core.errors import InputError
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.records import Intrinsics
from alignhmr.core.truth.frames import project_px
from alignhmr.core.truth.predictions import body_key
from alignhmr.core.truth.records import Points, TrueBody

GENDERS = ("male", "female", "neutral")
LIMB_JOINTS: tuple[int, ...] = tuple(JOINTS.index(KEYPOINTS[point]) for point in SHARED_KEYPOINTS)
"""SMPL's joint for each of ``SHARED_KEYPOINTS``."""


@dataclass(frozen=True)
class SmplFiles:
    """The user's own SMPL bodies by gender, as `alignhmr body import` writes them; may be empty."""

    folder: Path | None = None
    _loaded: dict[str, BodyModel] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: str) -> "SmplFiles":
        """The bodies of a folder; InputError where it has none of smpl-male.npz, -female, -neutral."""
        if not folder:
            return cls()
        wanted = [Path(folder) / f"smpl-{gender}.npz" for gender in GENDERS]
        if not any(path.is_file() for path in wanted):
            raise InputError(
                f"{folder} has none of {', '.join(path.name for path in wanted)}; make them from your own SMPL files "
                "with `alignhmr body import SMPL_MALE.pkl --out FOLDER/smpl-male.npz`"
            )
        return cls(Path(folder))

    def body(self, gender: str) -> BodyModel | None:
        """The body of that gender, or None without a folder; InputError where the folder lacks it."""
        if self.folder is None:
            return None
        if gender not in self._loaded:
            self._loaded[gender] = BodyModel.load(self.folder / f"smpl-{gender}.npz")
        return self._loaded[gender]


def name_of(gender: str, body: BodyModel | None) -> str:
    """What a TrueBody of that gender is called: never the open body's name."""
    return f"smpl:{gender}" if body is None else body_key(body)


def joints_m(
    body: BodyModel, pose_aa: Float[np.ndarray, "24 3"], betas: Float[np.ndarray, "10"]
) -> Float[np.ndarray, "24 3"]:
    """SMPL's joints before any translation."""
    with torch.no_grad():
        # Copied: arrays out of a file can't be written to, which torch warns about.
        pose, shape = (torch.from_numpy(np.array(array, np.float32)) for array in (pose_aa, betas))
        return body.kinematics(axis_angle_to_matrix(pose), shape).joints.numpy()


def body_in_camera(
    name: str,
    pose_aa: Float[np.ndarray, "24 3"],
    betas: Float[np.ndarray, "betas"],
    transl_m: Float[np.ndarray, "3"],
    rest_pelvis_m: Float[np.ndarray, "3"] | None,
    T_cam_world: Float[np.ndarray, "4 4"],
) -> TrueBody:
    """World parameters on camera axes.

    SMPL turns about its rest pelvis, which therefore enters the translation: R (p + t) + t_cam - p. Where it isn't
    known (no joints, no body file) the translation is NaN.
    """
    R, t = T_cam_world[:3, :3], T_cam_world[:3, 3]
    pose = np.array(pose_aa, np.float64).reshape(24, 3)
    pose[0] = (Rotation.from_matrix(R) * Rotation.from_rotvec(pose[0])).as_rotvec()
    pelvis = np.full(3, np.nan) if rest_pelvis_m is None else np.asarray(rest_pelvis_m, np.float64)
    return TrueBody(
        body=name,
        pose_aa=pose.astype(np.float32),
        betas=np.asarray(betas, np.float32)[:10],
        transl_cam_m=(R @ (pelvis + transl_m) + t - pelvis).astype(np.float32),
    )


def points_from_joints(
    joints_cam_m: Float[np.ndarray, "24 3"] | None,
    joints_px: Float[np.ndarray, "24 2"] | None,
    camera: Intrinsics | None = None,
) -> dict[str, Points]:
    """``smpl24`` as given, projected where a camera is given and pixels are not, and the limbs of ``coco23``."""
    if joints_px is None and joints_cam_m is not None and camera is not None:
        joints_px = project_px(joints_cam_m, camera)
    cam, px = (None if part is None else part.astype(np.float32) for part in (joints_cam_m, joints_px))
    return {
        "smpl24": Points(cam, px),
        "coco23": Points(limbs(cam, LIMB_JOINTS), limbs(px, LIMB_JOINTS)),
    }


def limbs(
    points: Float[np.ndarray, "points axes"] | None, sources: tuple[int, ...]
) -> Float[np.ndarray, "23 axes"] | None:
    """``coco23`` with its limb points taken from those places, and NaN elsewhere."""
    if points is None:
        return None
    filled = np.full((len(KEYPOINTS), points.shape[1]), np.nan, np.float32)
    filled[list(SHARED_KEYPOINTS)] = points[list(sources)]
    return filled
