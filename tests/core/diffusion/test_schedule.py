"""Noise schedule: limits, variance, and DDIM against its own forward process."""

import itertools

import pytest
import torch

from alignhmr.core.diffusion import schedule


def test_signal_fades_from_all_to_almost_none() -> None:
    a = schedule.alpha_bar(torch.arange(schedule.STEPS))
    assert (a.diff() < 0).all()
    assert a[0] > 0.99 and a[-1] < 1e-3 and a.dtype == torch.float64


def test_noised_unit_signal_keeps_unit_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 200_000, generator=generator)
    for t in (0, 30, 70, 99):
        noised = schedule.add_noise(x0[:, None], noise[:, None], torch.full((len(x0),), t))
        assert noised.var().item() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("count", [1, 2, 4, 10, 100])
def test_sampling_steps_descend_from_the_last(count: int) -> None:
    steps = schedule.sampling_steps(count)
    assert len(steps) == count and steps[0] == schedule.STEPS - 1 and steps[-1] >= 0
    assert all(a > b for a, b in itertools.pairwise(steps))


def test_ddim_with_the_true_x0_follows_the_forward_process() -> None:
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 50, 7, generator=generator)
    t, t_next = 80, 30
    x_t = schedule.add_noise(x0, noise, torch.full((50,), t))
    expected = schedule.add_noise(x0, noise, torch.full((50,), t_next))
    torch.testing.assert_close(schedule.ddim_step(x_t, x0, t, t_next), expected, atol=1e-4, rtol=1e-4)
