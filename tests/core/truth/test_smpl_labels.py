import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import JOINTS, KEYPOINTS, SHARED_KEYPOINTS
from alignhmr.core.errors import InputError
from alignhmr.core.truth.smpl_labels import (
    LIMB_JOINTS,
    SmplFiles,
    body_in_camera,
    joints_m,
    limbs,
    name_of,
    points_from_joints,
)


def test_limbs_bear_the_same_names() -> None:
    assert [JOINTS[joint] for joint in LIMB_JOINTS] == [KEYPOINTS[point] for point in SHARED_KEYPOINTS]
    filled = limbs(np.arange(24, dtype=np.float32)[:, None], LIMB_JOINTS)
    assert filled is not None and limbs(None, LIMB_JOINTS) is None
    assert filled[KEYPOINTS.index("left_ankle"), 0] == JOINTS.index("left_ankle")
    assert np.isnan(filled).sum() == 23 - 12


def test_a_body_moves_with_the_camera(smpl: BodyModel) -> None:
    """Joints of the parameters on camera axes = joints in the world, moved; with the pelvis left out they aren't."""
    generator = np.random.default_rng(0)
    pose, betas = 0.4 * generator.normal(size=(24, 3)), generator.normal(size=10)
    transl = np.array([0.3, -1.0, 2.0])
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = Rotation.from_rotvec([0.4, 2.0, -0.7]).as_matrix(), [1.0, 0.5, 4.0]
    world = joints_m(smpl, pose, betas)
    expected = (world + transl) @ T[:3, :3].T + T[:3, 3]
    there = body_in_camera("smpl:made", pose, betas, transl, world[0], T)
    joints = joints_m(smpl, there.pose_aa, there.betas) + there.transl_cam_m
    np.testing.assert_allclose(joints, expected, atol=1e-5)
    naive = body_in_camera("smpl:made", pose, betas, transl, np.zeros(3), T)
    assert np.abs(joints_m(smpl, naive.pose_aa, naive.betas) + naive.transl_cam_m - expected).max() > 0.05
    assert np.isnan(body_in_camera("smpl:made", pose, betas, transl, None, T).transl_cam_m).all()


def test_arrays_that_can_t_be_written_to_are_fine(smpl: BodyModel) -> None:
    """Arrays out of a pickle or a mapped file are such, and torch warns about them."""
    pose, betas = np.zeros((24, 3), np.float32), np.zeros(10, np.float32)
    pose.setflags(write=False)
    betas.setflags(write=False)
    eye = torch.eye(3).expand(24, 3, 3)
    expected = smpl.kinematics(eye, torch.zeros(10)).joints.numpy()
    np.testing.assert_allclose(joints_m(smpl, pose, betas), expected, atol=1e-6)


def test_names_never_are_the_open_body_s(smpl: BodyModel, tmp_path) -> None:
    assert name_of("male", None) == "smpl:male"
    assert SmplFiles.open("").body("male") is None
    with pytest.raises(InputError, match="alignhmr body import"):
        SmplFiles.open(str(tmp_path))


def test_points_from_what_is_known() -> None:
    joints = np.ones((24, 3))
    assert points_from_joints(None, None)["smpl24"].cam_m is None
    only_px = points_from_joints(None, np.ones((24, 2)))
    assert only_px["coco23"].cam_m is None and only_px["coco23"].px is not None
    assert points_from_joints(joints, None)["smpl24"].px is None
