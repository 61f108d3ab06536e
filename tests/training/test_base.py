"""The step: its loss is the whole batch's whoever holds which part of it, and it survives what isn't finite."""

import copy

import pytest
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.diffusion.condition import concatenate
from alignhmr.core.diffusion.model import BaseModel, BaseModelConfig
from alignhmr.core.synthetic.motion import load_clips
from alignhmr.core.synthetic.observations import Observations, ObservationSampler
from alignhmr.core.synthetic.poses import PoseSampler
from alignhmr.training import base
from alignhmr.training.augmentation import AS_IT_IS, observe
from alignhmr.training.base import BaseStep, DropRates, drop, learnable, true_packed
from alignhmr.training.base_batches import Rows
from alignhmr.training.loop import LoopConfig, Trainer

SEEING = BaseModelConfig(
    "efficientnet-lite0", 32, width=32, encoder_blocks=1, denoiser_width=32, denoiser_blocks=1
)


@pytest.fixture(scope="module")
def batch(body: BodyModel, clips, made) -> Observations:
    """Four people with pictures, then four without."""
    sampler = ObservationSampler(body, PoseSampler(load_clips(clips)))
    generator = torch.Generator().manual_seed(0)
    seen = observe(made.seen_people(body, 4), body, 32, generator, AS_IT_IS)
    return concatenate([seen, sampler.sample(4, generator)])


@pytest.fixture(scope="module")
def model(batch: Observations) -> BaseModel:
    torch.manual_seed(0)
    model = BaseModel(SEEING)
    packed = true_packed(batch)
    model.mean.copy_(packed.mean(0))
    model.residual_std.copy_(packed.std(0).clamp_min(1e-2))
    learnable(model)
    # In evaluation mode nothing is rounded to half precision, so that sums can be compared.
    return model.eval()


def gradients(step: BaseStep, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    loss.backward()
    return {name: p.grad for name, p in step.model.named_parameters() if p.grad is not None}


def test_means_over_shares_are_loss_and_gradient_of_the_whole(batch, model, body, monkeypatch):
    """Also where a share is left without a picture: its sums count for nothing, and so must its mean."""
    rates = DropRates(image=0.5, keypoints=0.3, look=0.3)
    rows = [Rows.shared(4, 4, rank, 2) for rank in range(2)]
    shares = [
        concatenate(
            [batch.take(slice(2 * rank, 2 * rank + 2)), batch.take(slice(4 + 2 * rank, 6 + 2 * rank))]
        )
        for rank in range(2)
    ]

    def steps() -> list[BaseStep]:
        return [BaseStep(copy.deepcopy(model), body, 1, rates=rates, rows=index) for index in rows]

    blind = 0
    for number in range(6):
        monkeypatch.undo()
        whole = BaseStep(copy.deepcopy(model), body, seed=1, rates=rates)
        loss, parts = whole(batch, number)
        wanted = gradients(whole, loss)
        # What each would say to the other is gathered first; then its mean is given to both.
        told: list[torch.Tensor] = []
        monkeypatch.setattr(
            base, "mean_over_workers", lambda values, told=told: told.append(values) or values
        )
        for step, share in zip(steps(), shares, strict=True):
            step(share, number)
        mean = torch.stack(told).mean(0)
        monkeypatch.setattr(base, "mean_over_workers", lambda values, mean=mean: mean)
        both = steps()
        answers = [step(share, number) for step, share in zip(both, shares, strict=True)]
        blind += sum(values["image_points"] == 0 for _, values in answers)
        for name, value in parts.items():
            assert sum(values[name] for _, values in answers) / 2 == pytest.approx(value, rel=1e-4), name
        ours = [gradients(step, loss) for step, (loss, _) in zip(both, answers, strict=True)]
        for name, gradient in wanted.items():
            nothing = torch.zeros_like(gradient)
            average = torch.stack([part.get(name, nothing) for part in ours]).mean(0)
            near = max(1e-7, 1e-4 * float(gradient.abs().max()))
            assert torch.allclose(average, gradient, rtol=1e-3, atol=near), name
        spreads = [step.model.residual_std for step in both]
        assert torch.equal(*spreads) and torch.allclose(spreads[0], whole.model.residual_std, rtol=1e-5)
    assert 0 < blind < 12


def test_the_same_step_draws_the_same_and_another_does_not(batch, model, body):
    losses = [
        BaseStep(copy.deepcopy(model), body, seed=s)(batch, n)[0].item()
        for s, n in ((1, 3), (1, 3), (1, 4), (2, 3))
    ]
    assert losses[0] == losses[1] and len(set(losses)) == 3


def test_a_model_that_sees_pixels_always_tells_the_same_names(batch, model, body):
    """Means over workers are taken name by name: who has no picture in its share must say so with zeros."""
    with_pictures = BaseStep(model, body, 0)(batch, 0)[1]
    without = BaseStep(model, body, 0)(batch.take(slice(4, 8)), 0)[1]
    assert with_pictures.keys() == without.keys()
    assert without["image_points"] == without["image_heat"] == without["image_depth"] == 0


def test_a_batch_that_is_not_finite_leaves_the_spread_as_it_was(batch, model, body):
    model = copy.deepcopy(model)
    before = model.residual_std.clone()
    broken = copy.deepcopy(batch)
    broken.betas[0, 0] = torch.nan
    loss, _ = BaseStep(model, body, 0)(broken, 0)
    assert not torch.isfinite(loss) and torch.equal(model.residual_std, before)
    BaseStep(model, body, 0)(batch, 0)
    assert not torch.equal(model.residual_std, before)


def test_someone_always_has_evidence(batch):
    everyone = concatenate([batch.condition()] * 50)
    rates = DropRates(image=0.5, keypoints=0.5, look=1.0)
    kept = drop(everyone, rates, torch.Generator().manual_seed(0))
    assert (kept.has_image | kept.has_keypoints).all() and not kept.has_look.any()
    assert len(kept.crops) == int(kept.has_image.sum())
    had = everyone.has_image
    assert 0.3 < kept.has_image[had].float().mean() < 0.7
    assert kept.has_keypoints[~had].all()


def test_first_layers_of_the_image_encoder_are_never_learned(model):
    learnable(model)
    image = model.encoder.image
    assert image is not None
    frozen = {id(parameter) for parameter in image.frozen()}
    assert frozen
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (id(parameter) not in frozen), name


def test_a_denoiser_learns_alone_while_the_rest_is_held(batch, model, body):
    alone = copy.deepcopy(model)
    learnable(alone, "denoiser")
    before = {name: value.clone() for name, value in alone.named_parameters()}
    trainer = Trainer(alone, alone.parameters(), LoopConfig(3, 1e-2, warmup_steps=0))
    step = BaseStep(alone, body, 0, learns="denoiser")
    for number in range(3):
        loss, parts = step(batch, number)
        assert set(parts) == {"diffusion", "diffusion_joints", "quiet_pose"}
        trainer.update(loss)
    moved = {name for name, value in alone.named_parameters() if not torch.equal(value, before[name])}
    assert moved and all(name.startswith("denoiser.") for name in moved)
