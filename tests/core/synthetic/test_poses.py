"""Random poses and made detections: rotations, mirrors, limits, noise that confidence knows of."""

import numpy as np
import pytest
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import JOINT_MIRROR
from alignhmr.core.geometry.cameras import lift_crop_camera, project
from alignhmr.core.perception.assets import fetch
from alignhmr.core.synthetic.motion import HELD_OUT_CLIPS, load_clips, split_clips
from alignhmr.core.synthetic.observations import MIN_SEEN, ObservationSampler
from alignhmr.core.synthetic.poses import PoseMix, PoseSampler, mirror, mirror_axis_angle


@pytest.fixture(scope="module")
def clips():
    return load_clips(fetch("motion"))


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


def test_clips_are_rotations_and_walkers_stand_upright(clips, body) -> None:
    walk = next(clip for clip in clips if clip.name == "walk")
    rotations = torch.tensor(walk.rotations, dtype=torch.float32)
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(3).expand_as(rotations), atol=1e-5, rtol=0)
    joints = body.kinematics(rotations, torch.zeros(len(rotations), 10)).joints
    assert (joints[:, 15, 1] - joints[:, [7, 8], 1].amax(1)).min() > 1.1  # head over the ankles, in metres
    assert (joints[:, 16, 0] - joints[:, 20, 0]).abs().max() < 0.45  # arms hang beside the body


def test_split_is_by_clip(clips) -> None:
    training, held_out = split_clips(clips)
    assert {clip.name for clip in held_out} == set(HELD_OUT_CLIPS)
    assert not {clip.name for clip in training} & set(HELD_OUT_CLIPS)


def test_sampler_draws_rotations_and_repeats_by_seed(clips) -> None:
    sampler = PoseSampler(clips)
    first, second = (sampler.sample(300, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    torch.testing.assert_close(first @ first.mT, torch.eye(3).expand_as(first), atol=1e-4, rtol=0)
    assert not torch.equal(first, sampler.sample(300, torch.Generator().manual_seed(6)))


def test_procedural_knees_and_elbows_bend_one_way(clips, body) -> None:
    poses = PoseSampler(clips, PoseMix(mocap=0, recombined=0, jitter=0)).sample(
        500, torch.Generator().manual_seed(0)
    )
    for knee in (4, 5):
        axis_x = poses[:, knee, 2, 1] - poses[:, knee, 1, 2]  # twice sin(angle) about x
        assert axis_x.min() > -0.1
    np.testing.assert_array_less(poses[:, 18, 2, 0].neg().numpy(), 0.2)  # left forearm never bends backwards


def test_mirror_is_an_involution_that_reflects_joints(clips, body) -> None:
    poses = PoseSampler(clips).sample(50, torch.Generator().manual_seed(0))
    torch.testing.assert_close(mirror(mirror(poses)), poses)
    betas = torch.zeros(50, 10)
    joints, mirrored = body.kinematics(poses, betas).joints, body.kinematics(mirror(poses), betas).joints
    reflected = joints[:, list(JOINT_MIRROR)] * torch.tensor([-1.0, 1.0, 1.0])
    assert (mirrored - reflected).norm(dim=-1).max() < 0.01


def test_mirror_agrees_in_axis_angle() -> None:
    from alignhmr.core.geometry.rotations import axis_angle_to_matrix

    pose = torch.randn(9, 24, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        axis_angle_to_matrix(mirror_axis_angle(pose)), mirror(axis_angle_to_matrix(pose))
    )


def test_observations_are_finite_consistent_and_seeded(clips, body) -> None:
    sampler = ObservationSampler(body, PoseSampler(clips))
    batch, again = (sampler.sample(400, torch.Generator().manual_seed(0)) for _ in range(2))
    for name, value in vars(batch).items():
        assert torch.isfinite(value).all(), name
        assert torch.equal(value, getattr(again, name)), name
    lifted = lift_crop_camera(batch.camera, batch.crop_px, batch.focal_px, batch.center_px)
    torch.testing.assert_close(lifted, batch.transl_cam_m + batch.joints_m[:, 0], atol=1e-3, rtol=1e-3)
    assert ((batch.keypoints_px[..., 2] > 0.3).sum(-1) >= MIN_SEEN).all()


def test_confidence_knows_where_the_detector_errs(clips, body) -> None:
    batch = ObservationSampler(body, PoseSampler(clips)).sample(2000, torch.Generator().manual_seed(0))
    true_px = project(batch.body_keypoints_m + batch.transl_cam_m[:, None], batch.focal_px, batch.center_px)
    error = (batch.keypoints_px[..., :2] - true_px).norm(dim=-1) / batch.crop_px[:, 2:]
    confidence = batch.keypoints_px[..., 2]
    sure, unsure = error[confidence > 0.8], error[(confidence > 0) & (confidence < 0.3)]
    assert sure.median() < 0.02 < 2 * sure.median() < unsure.median()
