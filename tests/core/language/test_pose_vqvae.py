"""The pose VQ-VAE: rotations come out, levels refine each other, gradients pass, and joints are the body's."""

import torch

from alignhmr.core.language.pose_vqvae import PoseVqVae, VqVaeConfig, joints_of

TINY = VqVaeConfig(code_dim=4, codes=16, levels=2, joint_width=8, width=16, blocks=1)


def test_joints_are_those_of_the_body(body, random_poses):
    poses = random_poses(50, 0)
    true = body.kinematics(poses, torch.zeros(50, 10)).joints
    torch.testing.assert_close(joints_of(poses, body.joint_template), true - true[:, :1], atol=1e-5, rtol=0)


def test_rotations_come_out(random_poses):
    torch.manual_seed(0)
    coded = PoseVqVae(TINY)(random_poses(6, 1))
    assert coded.indices.shape == (2, 6, 24) and coded.latents.shape == (6, 24, 4)
    product = coded.rotations @ coded.rotations.mT
    torch.testing.assert_close(product, torch.eye(3).expand_as(product), atol=1e-4, rtol=0)
    assert torch.linalg.det(coded.rotations).min() > 0.99


def test_each_level_tells_what_the_levels_before_left_over(random_poses):
    torch.manual_seed(0)
    model = PoseVqVae(TINY)
    coded = model(random_poses(6, 2))
    torch.testing.assert_close(coded.left_over[0], coded.latents)
    codes = [book.vectors[index] for book, index in zip(model.levels(), coded.indices, strict=True)]
    torch.testing.assert_close(coded.left_over[1], coded.latents - codes[0])
    torch.testing.assert_close(coded.quantised, codes[0] + codes[1])


def test_gradients_pass_straight_through_the_codes(random_poses):
    torch.manual_seed(0)
    model = PoseVqVae(TINY)
    model(random_poses(4, 3)).rotations.sum().backward()
    assert model.encoder.first.grad is not None and model.encoder.first.grad.abs().sum() > 0
    assert all(not book.vectors.requires_grad for book in model.levels())
