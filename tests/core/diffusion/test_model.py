"""The base model: packing, determinism, hypotheses that differ, the limits of its sampler."""

import torch

from alignhmr.core.diffusion.model import BaseModel, BaseModelConfig, hypothesis_noise
from alignhmr.core.diffusion.parameters import SIZE, BodyParameters, pack, unpack
from alignhmr.core.geometry.rotations import axis_angle_to_matrix

SMALL = BaseModelConfig(width=32, encoder_blocks=1, denoiser_width=32, denoiser_blocks=1)


def model() -> BaseModel:
    torch.manual_seed(0)
    return BaseModel(SMALL).eval()


def test_pack_and_unpack_are_inverse() -> None:
    generator = torch.Generator().manual_seed(0)
    parameters = BodyParameters(
        axis_angle_to_matrix(torch.randn(5, 24, 3, generator=generator)),
        torch.randn(5, 10, generator=generator),
        torch.rand(5, 3, generator=generator) + 0.3,
    )
    back = unpack(pack(parameters))
    for name in ("rotations", "betas", "camera"):
        torch.testing.assert_close(getattr(back, name), getattr(parameters, name), atol=1e-5, rtol=1e-5)


def test_any_finite_vector_is_a_body_with_a_positive_scale() -> None:
    parameters = unpack(torch.randn(100, SIZE, generator=torch.Generator().manual_seed(0)) * 30)
    assert torch.isfinite(parameters.rotations).all() and (parameters.camera[:, 0] > 0).all()


def test_first_noise_is_zero_and_a_seed_repeats_the_others() -> None:
    first, second = (hypothesis_noise(5, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second) and first[0].abs().max() == 0 and first[1:].std() > 0.8


def test_more_hypotheses_extend_fewer() -> None:
    few, many = (hypothesis_noise(n, torch.Generator().manual_seed(3)) for n in (5, 9))
    assert torch.equal(few, many[:5])


def test_the_residual_of_a_sample_is_what_the_denoiser_answered() -> None:
    base, condition = model(), torch.randn(2, 72, generator=torch.Generator().manual_seed(0))
    base.residual_std.fill_(0.3)
    noise = hypothesis_noise(4, torch.Generator().manual_seed(0)).expand(2, -1, -1)
    packed = base.sample(condition, noise, steps=1)
    encoded = base.encode(condition)[:, None].expand(-1, 4, -1)
    answered = base.denoise(noise, torch.full((2, 4), 99), encoded)
    torch.testing.assert_close(base.residual(packed, base.regress(encoded)), answered, atol=1e-5, rtol=1e-5)


def test_alignment_leaves_the_initial_estimate_alone() -> None:
    base, condition = model(), torch.randn(3, 72, generator=torch.Generator().manual_seed(0))
    before = base.regress(base.encode(condition))
    for parameter in base.trainable_in_alignment():
        parameter.data.add_(1.0)
    assert torch.equal(base.regress(base.encode(condition)), before)
