"""Noise schedule and the DDIM step, in float64: near t = 0 the cosine's differences vanish.

Cosine schedule (Nichol and Dhariwal, ICML 2021, eq. 17) with T = 100 and prediction of x0: what the skeleton
of the second paper uses (CloseInt). The network runs in float32; only these coefficients don't.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

STEPS = 100


def alpha_bar(t: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Share of signal variance left at step t in 0..STEPS-1 (float64); 1 at t = -1."""
    s = 0.008
    phase = ((t.double() + 1) / STEPS + s) / (1 + s) * (math.pi / 2)
    # Held above zero, so that x0 stays recoverable at the last step.
    return (phase.cos() / math.cos(s / (1 + s) * math.pi / 2)).square().clamp(1e-4, 1.0)


def add_noise(
    x0: Float[Tensor, "*batch dims"], noise: Float[Tensor, "*batch dims"], t: Int[Tensor, "*batch"]
) -> Float[Tensor, "*batch dims"]:
    """x_t = sqrt(a) x0 + sqrt(1 - a) noise."""
    a = alpha_bar(t)[..., None]
    return (a.sqrt() * x0 + (1 - a).sqrt() * noise).to(x0.dtype)


def sampling_steps(count: int) -> list[int]:
    """``count`` steps from STEPS-1 downwards, evenly spaced; the last step answers x0."""
    return [round(STEPS - 1 - i * STEPS / count) for i in range(count)]


def ddim_step(
    x_t: Float[Tensor, "*batch dims"], x0: Float[Tensor, "*batch dims"], t: int, t_next: int
) -> Float[Tensor, "*batch dims"]:
    """Deterministic move from t to t_next given the predicted x0 (DDIM, ICLR 2021, eq. 12, eta = 0)."""
    a, a_next = (alpha_bar(torch.tensor(s)).item() for s in (t, t_next))
    noise = (x_t - math.sqrt(a) * x0) / math.sqrt(1 - a)
    return math.sqrt(a_next) * x0 + math.sqrt(1 - a_next) * noise
