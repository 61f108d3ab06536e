"""Random poses of all kinds: inside the anatomical limits, beyond them, lying, upside down, seen from anywhere."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.synthetic.motion import Clip
from alignhmr.core.synthetic.poses import PoseMix, PoseSampler, view_rotations

torch.set_num_threads(1)
STILL = Clip("still", np.tile(np.eye(3), (1, 24, 1, 1)))


@pytest.fixture(scope="session")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="session")
def random_poses() -> Callable[[int, int], torch.Tensor]:
    """(count, seed) -> rotations with the root in the camera frame; a third are turned any way at all."""

    def draw(count: int, seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        poses = PoseSampler([STILL], PoseMix(mocap=0.1, recombined=0.0)).sample(count, generator)
        anyhow = axis_angle_to_matrix(torch.randn(count, 24, 3, generator=generator) * 0.5)
        anyhow[:, 0] = axis_angle_to_matrix(torch.randn(count, 3, generator=generator) * 2)
        wild = torch.rand(count, generator=generator) < 0.33
        poses = torch.where(wild[:, None, None, None], anyhow, poses)
        poses[:, 0] = view_rotations(count, generator) @ poses[:, 0]
        return poses

    return draw


@pytest.fixture(scope="session")
def random_joints(body, random_poses) -> Callable[[int, int], np.ndarray]:
    """(count, seed) -> camera-frame joints."""

    def draw(count: int, seed: int) -> np.ndarray:
        return body.kinematics(random_poses(count, seed), torch.zeros(count, 10)).joints.numpy()

    return draw
