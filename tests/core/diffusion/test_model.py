"""The base model: packing, determinism, hypotheses that differ, the limits of its sampler."""

from dataclasses import replace

import pytest
import torch

from alignhmr.core.diffusion.condition import Condition, make_condition
from alignhmr.core.diffusion.model import BaseModel, BaseModelConfig, hypothesis_noise
from alignhmr.core.diffusion.parameters import POSE, SIZE, BodyParameters, canonical, pack, unpack
from alignhmr.core.errors import InputError
from alignhmr.core.geometry.rotations import axis_angle_to_matrix

SMALL = BaseModelConfig("none", width=32, encoder_blocks=1, denoiser_width=32, denoiser_blocks=1)


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


def evidence(count: int, seed: int = 0, *, pictures: bool = False) -> Condition:
    generator = torch.Generator().manual_seed(seed)
    crops = torch.rand(count, 3, 32, 32, generator=generator) * 255 if pictures else None
    keypoints = torch.rand(count, 23, 3, generator=generator) * torch.tensor([100.0, 100.0, 1.0])
    crop = torch.tensor([[50.0, 50.0, 120.0]]).expand(count, -1)
    return make_condition(keypoints, crop, torch.full((count,), 500.0), torch.full((count, 2), 60.0), crops)


def test_the_residual_of_a_sample_is_what_the_denoiser_answered() -> None:
    base, condition = model(), evidence(2)
    base.residual_std.fill_(0.3)
    noise = hypothesis_noise(4, torch.Generator().manual_seed(0)).expand(2, -1, -1)
    packed = base.sample(condition, noise, steps=1)
    encoded = base.encode(condition)
    answered = base.denoise(noise, torch.full((2, 4), 99), encoded)
    initial = base.regress(encoded)[:, None].expand_as(packed)
    torch.testing.assert_close(base.residual(packed, initial), answered, atol=1e-5, rtol=1e-5)


def test_without_noise_the_first_step_answers_and_draws_are_refined() -> None:
    base, condition = model(), evidence(2)
    noise = hypothesis_noise(4, torch.Generator().manual_seed(0)).expand(2, -1, -1)
    once, refined = (base.sample(condition, noise, steps=steps) for steps in (1, 4))
    assert torch.equal(once[:, 0], refined[:, 0])
    assert ((once - refined)[:, 1:].abs().amax(-1) > 1e-4).all()
    base.config = replace(base.config, correction=0.25)
    less, initial = base.sample(condition, noise), base.initial_of(base.views(condition))
    torch.testing.assert_close(less[:, 0] - initial, 0.25 * (refined[:, 0] - initial), atol=1e-5, rtol=1e-4)
    assert torch.equal(less[:, 1:], refined[:, 1:])


def test_alignment_leaves_the_initial_estimate_alone() -> None:
    base, condition = model(), evidence(3)
    before = base.regress(base.encode(condition))
    for parameter in base.trainable_in_alignment():
        parameter.data.add_(1.0)
    assert torch.equal(base.regress(base.encode(condition)), before)


def test_temperature_widens_the_hypotheses_and_leaves_the_zero_noise_answer() -> None:
    noise = hypothesis_noise(8, torch.Generator().manual_seed(0))[None]
    answers = []
    for temperature in (1.0, 2.0):
        torch.manual_seed(0)
        base = BaseModel(replace(SMALL, temperature=temperature)).eval()
        answers.append(base.sample(evidence(1), noise))
    assert torch.equal(answers[0][:, 0], answers[1][:, 0])
    assert answers[1][0, 1:].std(0).mean() > 1.2 * answers[0][0, 1:].std(0).mean()


@pytest.mark.parametrize(
    "missing", [(), ("image",), ("keypoints",), ("look",), ("image", "keypoints", "look")]
)
def test_any_evidence_may_be_missing_and_each_kind_counts(missing: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    base = BaseModel(replace(SMALL, image="efficientnet-lite0", crop_px=32)).eval()
    torch.nn.init.normal_(dict(base.encoder.named_parameters())["missing"])
    condition = evidence(3, pictures=True)
    answer = base.encode(condition.without(*missing)).vector
    assert torch.isfinite(answer).all()
    other = evidence(3, seed=1, pictures=True).without(*missing)
    changed = replace(other, look=condition.without(*missing).look)
    if set(missing) >= {"image", "keypoints"}:
        assert torch.equal(base.encode(changed).vector, answer)
    elif missing:
        assert not torch.allclose(answer, base.encode(condition).vector)


def test_a_person_is_encoded_alike_among_people_with_and_without_pictures() -> None:
    torch.manual_seed(0)
    base = BaseModel(replace(SMALL, image="efficientnet-lite0", crop_px=32)).eval()
    condition = evidence(4, pictures=True)
    mixed = base.encode(condition.keep(image=torch.tensor([True, False, True, False]))).vector
    torch.testing.assert_close(mixed[::2], base.encode(condition).vector[::2], atol=1e-5, rtol=1e-5)
    without = base.encode(condition.without("image")).vector
    torch.testing.assert_close(mixed[1::2], without[1::2], atol=1e-5, rtol=1e-5)


def test_a_model_without_an_image_encoder_ignores_pictures() -> None:
    base = model()
    with_pictures = base.encode(evidence(2, pictures=True)).vector
    torch.testing.assert_close(with_pictures, base.encode(evidence(2, pictures=True).without("image")).vector)
    assert not base.sees_pixels


@pytest.mark.parametrize(
    ("image", "crop_px"), [("resnet-1", 64), ("efficientnet-lite0", 100), ("blazepose", 128)]
)
def test_parts_that_do_not_exist_are_refused(image: str, crop_px: int) -> None:
    with pytest.raises(InputError, match=r"choose|multiple of 32|crops of 256 px"):
        BaseModel(replace(SMALL, image=image, crop_px=crop_px))


def test_guidance_is_the_share_of_the_picture_in_an_answer() -> None:
    torch.manual_seed(0)
    base = BaseModel(replace(SMALL, image="efficientnet-lite0", crop_px=32)).eval()
    seen, noise = evidence(2, pictures=True), torch.zeros(2, 1, SIZE)

    def answer(guidance: float, condition: Condition) -> tuple[torch.Tensor, torch.Tensor]:
        """The initial estimate, and what was left of the answer."""
        base.config = replace(base.config, guidance=guidance)
        initial = base.initial_of(base.views(condition))[:, None]
        return initial, base.sample(condition, noise, steps=1) - initial

    whole, blind = answer(1.0, seen), answer(1.0, seen.without("image"))
    assert (whole[0] - blind[0]).abs().max() > 1e-4 and (whole[1] - blind[1]).abs().max() > 1e-4
    both = answer(0.25, seen)
    as_said = [base.mean + base.regressor(base.encode(one).vector) for one in (seen, seen.without("image"))]
    torch.testing.assert_close(both[0][:, 0], canonical(0.25 * as_said[0] + 0.75 * as_said[1]))
    torch.testing.assert_close(both[1], 0.25 * whole[1] + 0.75 * blind[1])
    assert torch.equal(answer(0.25, seen.without("image"))[1], blind[1])
    assert torch.equal(base.sample(base.encode(seen), noise, steps=1), whole[0] + whole[1])
    # Who has no keypoints is not answered by nothing.
    hidden = seen.keep(keypoints=torch.tensor([True, False]))
    torch.testing.assert_close(answer(0.25, hidden)[1][1], answer(1.0, hidden)[1][1])
    torch.testing.assert_close(answer(0.25, hidden)[1][0], both[1][0])


def test_the_length_of_six_numbers_says_nothing() -> None:
    """A regressor that grew its rotations thirtyfold says the same, and so do the hypotheses about it."""
    base, condition = model(), evidence(2)
    base.residual_std.fill_(0.3)
    noise = hypothesis_noise(6, torch.Generator().manual_seed(0)).expand(2, -1, -1)
    before, answers = base.regress(base.encode(condition)), base.sample(condition, noise)
    torch.testing.assert_close(pack(unpack(before)), before, atol=1e-6, rtol=1e-5)
    last = base.regressor[1]
    assert isinstance(last, torch.nn.Linear)
    base.mean[POSE] *= 30
    last.weight.data[POSE] *= 30
    last.bias.data[POSE] *= 30
    torch.testing.assert_close(base.regress(base.encode(condition)), before, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(base.sample(condition, noise), answers, atol=1e-4, rtol=1e-4)
    # Two views that turn a joint to opposite sides have a mean that is a rotation, too.
    views = [(torch.tensor([0.5, 0.5]), base.encode(evidence(2, seed))) for seed in (1, 2)]
    mean = base.initial_of(views)
    torch.testing.assert_close(pack(unpack(mean)), mean, atol=1e-6, rtol=1e-5)
