"""Rotations: round trips, agreement with scipy in float64, limits at 0 and pi."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from alignhmr.core.geometry import rotations as rot


def random_vectors(count: int = 500, scale: float = 2.0) -> torch.Tensor:
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * scale


def test_axis_angle_to_matrix_agrees_with_scipy() -> None:
    vectors = random_vectors()
    expected = Rotation.from_rotvec(vectors.numpy()).as_matrix()
    np.testing.assert_allclose(rot.axis_angle_to_matrix(vectors).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-5, 1e-3, 1.0, np.pi - 1e-6, np.pi])
def test_matrix_to_axis_angle_inverts_at_every_size_of_angle(angle: float) -> None:
    axes = torch.nn.functional.normalize(random_vectors(50), dim=-1)
    matrices = rot.axis_angle_to_matrix(axes * angle)
    back = rot.axis_angle_to_matrix(rot.matrix_to_axis_angle(matrices))
    torch.testing.assert_close(back, matrices, atol=1e-9, rtol=0)
    assert rot.matrix_to_axis_angle(matrices).norm(dim=-1).max() <= np.pi + 1e-9


def test_axis_angle_gradient_is_finite_at_zero() -> None:
    vector = torch.zeros(3, requires_grad=True)
    rot.axis_angle_to_matrix(vector).sum().backward()
    assert vector.grad is not None and torch.isfinite(vector.grad).all()


def test_sixd_round_trip_and_any_vector_is_a_rotation() -> None:
    matrices = rot.axis_angle_to_matrix(random_vectors())
    torch.testing.assert_close(rot.sixd_to_matrix(rot.matrix_to_sixd(matrices)), matrices)
    anything = rot.sixd_to_matrix(
        torch.randn(200, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    )
    torch.testing.assert_close(anything @ anything.mT, torch.eye(3, dtype=torch.float64).expand(200, 3, 3))
    torch.testing.assert_close(torch.linalg.det(anything), torch.ones(200, dtype=torch.float64))


def test_nearest_rotation_keeps_a_rotation_and_repairs_a_reflection() -> None:
    matrices = rot.axis_angle_to_matrix(random_vectors(50))
    torch.testing.assert_close(rot.nearest_rotation(matrices * 3.0), matrices)
    reflected = matrices @ torch.diag(torch.tensor([1.0, 1.0, -0.5], dtype=torch.float64))
    torch.testing.assert_close(
        torch.linalg.det(rot.nearest_rotation(reflected)), torch.ones(50, dtype=torch.float64)
    )


def test_geodesic_angle_is_the_angle_turned() -> None:
    base = rot.axis_angle_to_matrix(random_vectors(20))
    turn = rot.axis_angle_to_matrix(torch.tensor([0.0, 0.7, 0.0], dtype=torch.float64))
    torch.testing.assert_close(
        rot.geodesic_angle(base, base @ turn), torch.full((20,), 0.7, dtype=torch.float64)
    )
