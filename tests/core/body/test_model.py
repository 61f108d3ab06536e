import copy
import pickle

import numpy as np
import pytest
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import JOINTS, PARENTS

EYE = torch.eye(3).expand(24, 3, 3)
BODIES = ("small", "full", "with_posedirs")


def regressed_keypoints(body: BodyModel, vertices: torch.Tensor) -> torch.Tensor:
    regressor = torch.tensor(body._body.keypoint_regressor, dtype=vertices.dtype)
    return torch.einsum("kv,...vc->...kc", regressor, vertices)


def reference(body: BodyModel, rotations: np.ndarray, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Joints and vertices of one body in float64, joint by joint and as SMPL's paper writes it."""
    file = body._body
    shaped = file.v_template.astype(float) + file.shapedirs.astype(float) @ betas
    rest = file.J_regressor.astype(float) @ shaped
    if file.posedirs is not None:
        shaped = shaped + file.posedirs.astype(float) @ (rotations[1:] - np.eye(3)).ravel()
    motions = np.zeros((24, 4, 4))
    for joint, parent in enumerate(PARENTS):
        local = np.eye(4)
        local[:3, :3] = rotations[joint]
        local[:3, 3] = rest[joint] - (rest[parent] if joint else 0)
        motions[joint] = motions[parent] @ local if joint else local
    places = motions[:, :3, 3].copy()
    motions[:, :3, 3] -= np.einsum("jab,jb->ja", motions[:, :3, :3], rest)
    blended = np.einsum("vj,jab->vab", file.weights.astype(float), motions)
    return places, np.einsum("vab,vb->va", blended[:, :3, :3], shaped) + blended[:, :3, 3]


@pytest.mark.parametrize("name", BODIES)
def test_kinematics_equals_the_full_model(name, request, make_pose):
    body = request.getfixturevalue(name)
    rotations, betas = make_pose(8)
    points = body.kinematics(rotations, betas)
    posed = body._mesher()(
        betas=betas, body_pose=rotations[:, 1:], global_orient=rotations[:, :1], pose2rot=False
    )
    assert torch.allclose(points.joints, posed.joints[:, :24], atol=1e-5, rtol=0)
    assert torch.allclose(points.keypoints, regressed_keypoints(body, posed.vertices), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", BODIES)
def test_agrees_with_a_slow_float64_reference(name, request, make_pose):
    body = request.getfixturevalue(name)
    rotations, betas = make_pose(seed=3)
    joints, vertices = reference(body, rotations.double().numpy(), betas.double().numpy())
    points = body.kinematics(rotations, betas)
    assert np.abs(points.joints.numpy() - joints).max() < 1e-5
    assert np.abs(body.vertices(rotations, betas).numpy() - vertices).max() < 1e-5
    keypoints = body._body.keypoint_regressor.astype(float) @ vertices
    assert np.abs(points.keypoints.numpy() - keypoints).max() < 1e-5


def test_any_leading_axes_give_the_same_bodies(with_posedirs, make_pose):
    rotations, betas = make_pose(2, 3)
    many = with_posedirs.kinematics(rotations, betas)
    assert many.joints.shape == (2, 3, 24, 3) and many.keypoints.shape == (2, 3, 23, 3)
    assert with_posedirs.vertices(rotations, betas).shape == (2, 3, with_posedirs.num_vertices, 3)
    one = with_posedirs.kinematics(rotations[1, 2], betas[1, 2])
    assert torch.allclose(one.keypoints, many.keypoints[1, 2], atol=1e-6)
    none = with_posedirs.kinematics(rotations[:0], betas[:0])
    assert none.joints.shape == (0, 3, 24, 3)


def test_root_turns_about_its_own_place(with_posedirs, make_pose):
    rotations, betas = make_pose()
    turned = rotations.clone()
    turned[0] = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]) @ rotations[0]
    before, after = with_posedirs.kinematics(rotations, betas), with_posedirs.kinematics(turned, betas)
    assert torch.allclose(before.joints[0], after.joints[0], atol=1e-6)
    quarter = (before.joints - before.joints[0])[:, [2, 1, 0]] * torch.tensor([1.0, 1, -1])
    assert torch.allclose(after.joints - after.joints[0], quarter, atol=1e-5)


def test_bone_lengths_don_t_depend_on_the_pose(small, make_pose):
    rotations, betas = make_pose(5)
    betas = betas[:1].expand(5, 10)
    joints = small.kinematics(rotations, betas).joints
    bones = (joints[:, 1:] - joints[:, list(PARENTS[1:])]).norm(dim=-1)
    assert torch.allclose(bones, bones[:1].expand_as(bones), atol=1e-5)


def test_gradients_flow_to_rotations_and_betas(with_posedirs, make_pose):
    rotations, betas = (value.double().requires_grad_() for value in make_pose())
    body = copy.deepcopy(with_posedirs).double()

    def keypoints(turns, shape):
        return body.kinematics(turns, shape).keypoints

    assert torch.autograd.gradcheck(keypoints, (rotations, betas), atol=1e-6)
    body.vertices(rotations, betas).sum().backward()
    assert rotations.grad is not None and betas.grad is not None
    assert rotations.grad.abs().sum() > 0 and betas.grad.abs().sum() > 0


def test_nothing_of_it_enters_a_checkpoint(small):
    assert not small.state_dict() and not list(small.parameters())


def test_survives_a_process_border(with_posedirs, make_pose):
    rotations, betas = make_pose()
    with_posedirs.vertices(rotations, betas)
    other = pickle.loads(pickle.dumps(with_posedirs))
    assert other.digest == with_posedirs.digest
    assert torch.equal(other.vertices(rotations, betas), with_posedirs.vertices(rotations, betas))


def test_building_the_mesh_prints_nothing(capsys, with_posedirs):
    BodyModel(with_posedirs._body).vertices(EYE, torch.zeros(10))
    assert capsys.readouterr() == ("", "")


def test_joint_names_match_what_moves(small):
    """Bending a joint moves what hangs on it and leaves the rest: joint indices mean what their names say."""
    still = small.kinematics(EYE, torch.zeros(10)).joints
    for joint, name in enumerate(JOINTS):
        bent = EYE.clone()
        bent[joint] = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
        moved = (small.kinematics(bent, torch.zeros(10)).joints - still).norm(dim=-1) > 1e-4
        below = {joint}
        for child in range(joint + 1, 24):
            if PARENTS[child] in below:
                below.add(child)
        assert set(np.flatnonzero(moved.numpy())) == below - {joint}, name
