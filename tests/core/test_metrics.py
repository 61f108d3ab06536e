"""Metrics: known answers, agreement with a slow float64 reference, the order of the four figures."""

import numpy as np
import pytest
import torch

from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.metrics import four_figures, mpjpe_mm, pa_mpjpe_mm, spearman


def test_a_rotated_scaled_copy_has_pa_mpjpe_zero_and_mpjpe_not() -> None:
    joints = torch.randn(4, 24, 3, generator=torch.Generator().manual_seed(0))
    copy = 1.3 * joints @ axis_angle_to_matrix(torch.tensor([0.3, 0.2, 1.0])).T + 2.0
    assert pa_mpjpe_mm(copy, joints).max() < 1e-2
    assert mpjpe_mm(copy, joints).min() > 100


def test_mpjpe_agrees_with_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(3, 5, 3, generator=generator), torch.randn(3, 5, 3, generator=generator)
    for i in range(3):
        first, second = (x[i].double().numpy() - x[i, 0].double().numpy() for x in (a, b))
        slow = np.mean([np.linalg.norm(first[j] - second[j]) for j in range(5)])
        assert mpjpe_mm(a, b)[i].item() == pytest.approx(1000 * slow)


def test_mpjpe_ignores_translation() -> None:
    joints = torch.randn(2, 24, 3, generator=torch.Generator().manual_seed(0))
    assert mpjpe_mm(joints + 7.0, joints).max() < 1e-2


def test_four_figures_and_selection_gain() -> None:
    errors = np.array([[100.0, 80.0, 120.0], [60.0, 90.0, 50.0]])
    figures = four_figures(errors, np.array([1, 0]))
    assert (figures.zero_noise, figures.selected, figures.best_of_m) == (80.0, 70.0, 65.0)
    assert figures.mean == pytest.approx(errors.mean())
    assert figures.selection_gain == pytest.approx(10 / 15)


def test_spearman_is_invariant_to_monotone_maps() -> None:
    x = np.random.default_rng(0).normal(size=50)
    assert spearman(x, np.exp(x)) == pytest.approx(1.0)
    assert spearman(x, -(x**3)) == pytest.approx(-1.0)
    assert spearman(x, np.ones(50)) == 0.0
