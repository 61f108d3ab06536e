"""Position errors: known answers, agreement with slow float64 references, what alignment removes, unknown points."""

import numpy as np
import pytest
import torch
from torch import Tensor

from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.metrics.positions import (
    aligned_errors_mm,
    mpjpe_mm,
    pa_mpjpe_mm,
    pa_pve_mm,
    pve_mm,
    root_errors_mm,
)


def _points(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _slow_procrustes_mm(source: np.ndarray, target: np.ndarray) -> float:
    """Umeyama's least squares by steepest search: scale and translation in closed form, rotation by scipy."""
    from scipy.spatial.transform import Rotation

    s, t = source - source.mean(0), target - target.mean(0)
    rotation = Rotation.align_vectors(t, s)[0]
    turned = rotation.apply(s)
    scale = (turned * t).sum() / (s * s).sum()
    return 1000 * float(np.mean([np.linalg.norm(scale * a - b) for a, b in zip(turned, t, strict=True)]))


def test_a_rotated_scaled_copy_has_pa_mpjpe_zero_and_mpjpe_not() -> None:
    joints = _points(4, 24).float()
    copy = 1.3 * joints @ axis_angle_to_matrix(torch.tensor([0.3, 0.2, 1.0])).T + 2.0
    assert pa_mpjpe_mm(copy, joints).max() < 1e-2
    assert mpjpe_mm(copy, joints).min() > 100


def test_a_mirrored_copy_has_not() -> None:
    joints = _points(4, 24)
    assert pa_mpjpe_mm(joints * torch.tensor([-1.0, 1.0, 1.0]), joints).min() > 100


def test_mpjpe_agrees_with_a_loop() -> None:
    a, b = _points(3, 5), _points(3, 5, seed=1)
    for i in range(3):
        first, second = (x[i].numpy() - x[i, [1, 3]].numpy().mean(0) for x in (a, b))
        slow = np.mean([np.linalg.norm(first[j] - second[j]) for j in range(5)])
        assert mpjpe_mm(a, b, root=(1, 3))[i].item() == pytest.approx(1000 * slow)


def test_pa_mpjpe_agrees_with_a_slow_reference() -> None:
    a = _points(6, 12)
    b = a @ axis_angle_to_matrix(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)).T
    b = b + 0.3 * _points(6, 12, seed=1)
    fast = pa_mpjpe_mm(a, b)
    for i in range(6):
        assert fast[i].item() == pytest.approx(_slow_procrustes_mm(a[i].numpy(), b[i].numpy()), rel=1e-9)


def test_mpjpe_ignores_translation_and_one_point_off_by_one_centimetre_costs_its_share() -> None:
    joints = _points(2, 24)
    assert mpjpe_mm(joints + 7.0, joints).max() < 1e-9
    moved = joints.clone()
    moved[:, 5, 2] += 0.01
    torch.testing.assert_close(mpjpe_mm(moved, joints), torch.full((2,), 10 / 24, dtype=torch.float64))


def test_unknown_points_are_left_out_and_change_nothing_else() -> None:
    a, b = _points(3, 12), _points(3, 12, seed=1)
    known = [0, 1, 2, 4, 5, 6, 8, 9]
    holed = b.clone()
    holed[:, [3, 7, 10, 11]] = torch.nan
    for metric in (mpjpe_mm, pa_mpjpe_mm):
        torch.testing.assert_close(metric(a, holed), metric(a[:, known], b[:, known]))
    each = aligned_errors_mm(a, holed)
    assert each.isnan().sum().item() == 3 * 4
    assert each[:, known].isfinite().all()


def test_an_unknown_root_leaves_nothing_to_measure() -> None:
    a, b = _points(12), _points(12, seed=1)
    b[0] = torch.nan
    assert root_errors_mm(a, b, (0, 1)).isnan().all()
    assert pa_mpjpe_mm(a, b).isfinite()


def test_vertex_errors_align_by_the_given_roots_and_by_the_vertices() -> None:
    a = _points(2, 50)
    root = _points(2, seed=3)
    assert pve_mm(a + 1.0, a, root + 1.0, root).max() < 1e-9
    torch.testing.assert_close(pve_mm(a, a, root + 0.002, root), torch.full((2,), 2 * 3**0.5).double())
    turned = 0.5 * a @ axis_angle_to_matrix(torch.tensor([0.0, 2.0, 0.0], dtype=torch.float64)).T
    assert pa_pve_mm(turned, a).max() < 1e-9
