"""Bodies to test with: the two that ship, and a small random one that has pose blend shapes."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from alignhmr.core.body.body_file import BodyFile
from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import JOINTS, KEYPOINTS


def random_body(seed: int = 0, verts: int = 80) -> BodyFile:
    """A body of no shape at all, but with every kind of array, pose blend shapes included."""
    rng = np.random.default_rng(seed)

    def rows(count: int, columns: int) -> np.ndarray:
        weights = rng.uniform(size=(count, columns)) ** 8
        return weights / weights.sum(axis=1, keepdims=True)

    return BodyFile(
        name="random-body",
        resolution="small",
        licence="CC0-1.0",
        source="made in a test",
        v_template=rng.normal(size=(verts, 3)),
        shapedirs=0.02 * rng.normal(size=(verts, 3, 10)),
        J_regressor=rows(len(JOINTS), verts),
        weights=rows(verts, len(JOINTS)),
        f=rng.integers(0, verts, size=(40, 3)).astype(np.uint32),
        keypoint_regressor=rows(len(KEYPOINTS), verts),
        posedirs=0.02 * rng.normal(size=(verts, 3, 207)),
    )


def random_pose(*lead: int, seed: int = 0, radians: float = 0.8) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotations [*lead, 24, 3, 3] and betas [*lead, 10]."""
    rng = np.random.default_rng(seed)
    count = int(np.prod(lead))
    rotations = Rotation.from_rotvec(radians * rng.normal(size=(count * 24, 3))).as_matrix()
    betas = rng.normal(size=(*lead, 10))
    return torch.tensor(rotations).float().reshape(*lead, 24, 3, 3), torch.tensor(betas).float()


@pytest.fixture(scope="session")
def small() -> BodyModel:
    return BodyModel.load("open", "small")


@pytest.fixture(scope="session")
def full() -> BodyModel:
    return BodyModel.load("open", "full")


@pytest.fixture(scope="session")
def with_posedirs() -> BodyModel:
    return BodyModel(random_body())


@pytest.fixture
def make_body():
    return random_body


@pytest.fixture
def make_pose():
    return random_pose
