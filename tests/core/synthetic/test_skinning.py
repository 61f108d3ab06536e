"""The dressed surface agrees with the body model, and clothes lie outside of the skin."""

import numpy as np
import pytest
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.synthetic.clothing import dress
from alignhmr.core.synthetic.performances import axis_angles, rotation_matrices
from alignhmr.core.synthetic.skinning import Skin


@pytest.fixture(scope="module", params=["small", "full"])
def pair(request):
    body = BodyModel.load("open", request.param)
    return body, Skin.of(body)


def test_naked_it_is_the_body_model(pair) -> None:
    body, skin = pair
    rng = np.random.default_rng(0)
    for _ in range(3):
        rotations, betas = rotation_matrices(rng.normal(0, 0.8, (24, 3))), rng.normal(0, 1.5, 10)
        motions = skin.motions(rotations, betas)
        vertices = skin.vertices(motions, betas)
        turns, shape = torch.tensor(rotations).float(), torch.tensor(betas).float()
        points = body.kinematics(turns, shape)
        np.testing.assert_allclose(vertices, body.vertices(turns, shape).numpy(), atol=1e-5)
        np.testing.assert_allclose(motions[:, :, 3], points.joints.numpy(), atol=1e-5)
        np.testing.assert_allclose(skin.keypoints_of(vertices), points.keypoints.numpy(), atol=1e-5)


def test_thickness_moves_a_vertex_along_its_normal_and_turns_with_it(pair) -> None:
    _, skin = pair
    rotations = np.tile(np.eye(3), (24, 1, 1))
    rotations[0] = rotation_matrices(np.array([0.0, 1.2, 0.3]))
    motions = skin.motions(rotations, np.zeros(10))
    moved = skin.vertices(motions, np.zeros(10), np.full(len(skin.template_m), 0.02))
    away = moved - skin.vertices(motions, np.zeros(10))
    np.testing.assert_allclose(away, 0.02 * skin.normals @ rotations[0].T, atol=1e-12)


def test_axis_angles_are_the_inverse() -> None:
    vectors = np.random.default_rng(0).normal(0, 1, (50, 3))
    vectors *= (np.random.default_rng(1).uniform(0, np.pi - 1e-3, 50) / np.linalg.norm(vectors, axis=1))[
        :, None
    ]
    np.testing.assert_allclose(axis_angles(rotation_matrices(vectors)), vectors, atol=1e-7)


@pytest.mark.parametrize("wardrobe", ["casual", "sport", "office", "summer", "outdoor", "workwear"])
def test_clothes_cover_what_they_should(pair, wardrobe) -> None:
    from alignhmr.core.synthetic.clothing import region

    _, skin = pair
    for seed in range(10):
        outfit = dress(np.random.default_rng(seed), wardrobe)
        thick = outfit.thickness_m(skin.template_m)
        assert 0 <= thick.min() and thick.max() < 0.08
        kinds = np.array([region(*place, outfit.row) for place in skin.template_m])
        feet, trunk = skin.template_m[:, 1] < -0.93, np.abs(skin.template_m - [0, 0.3, 0]).max(1) < 0.12
        assert (kinds[feet] == 4).all()
        assert (np.isin(kinds[trunk], (1, 2))).all()  # long hair may lie on the shirt
        nose = np.argmax(skin.template_m[:, 2] - 10 * np.abs(skin.template_m[:, 1] - 0.702))
        assert kinds[nose] == 0 and thick[nose] == 0
