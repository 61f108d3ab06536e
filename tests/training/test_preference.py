import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from alignhmr.core.diffusion.parameters import CAMERA, POSE, SIZE
from alignhmr.training.data import read_labels
from alignhmr.training.preference import (
    TRUST,
    WORSE,
    PreferenceBatch,
    PreferenceConfig,
    PreferenceObjective,
    alarm,
    drift_mm,
    preference_loss,
    rise_pct,
)
from alignhmr.training.preference_batches import preference_batches


@pytest.fixture
def batch(bench) -> PreferenceBatch:
    labels = read_labels(bench.folder, bench.body, bench.digest)
    return next(preference_batches(labels, labels.people.encoded(bench.model()), 16, seed=1))


def swapped(batch: PreferenceBatch) -> PreferenceBatch:
    return PreferenceBatch.of_pairs(batch.evidence, batch.loser, batch.winner, batch.noise, batch.t)


def moved(bench, scale: float = 0.05) -> PreferenceObjective:
    """An objective whose policy has left the reference."""
    objective = PreferenceObjective(bench.model(), PreferenceConfig(anchor=0.0))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in objective.policy.trainable_in_alignment():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return objective


@pytest.mark.parametrize("beta", [1.0, 1000.0, 1e5])
@pytest.mark.parametrize("anchor", [0.0, 0.5])
def test_loss_is_log_2_where_policy_is_reference(bench, batch, beta, anchor):
    loss, values = PreferenceObjective(bench.model(), PreferenceConfig(beta, anchor))(batch)
    assert loss.item() == pytest.approx(math.log(2), abs=1e-6)
    assert values["dpo"] == pytest.approx(math.log(2), abs=1e-6)
    assert values["accuracy"] == 0.5 and values["margin"] == 0 and rise_pct(values, "winner") == 0


def test_a_step_moves_the_winner_down_relative_to_the_loser(bench, batch):
    objective = PreferenceObjective(bench.model(), PreferenceConfig(anchor=0.0))
    loss, _ = objective(batch)
    loss.backward()
    with torch.no_grad():
        for parameter in objective.policy.trainable_in_alignment():
            assert parameter.grad is not None
            parameter -= 1e-6 * parameter.grad
    after, values = objective(batch)
    assert after.item() < loss.item()
    assert values["margin"] > 0 and values["accuracy"] > 0.5


def test_anchor_pulls_back_winners_that_got_worse_and_no_others():
    config = PreferenceConfig(beta=10.0, anchor=0.5)
    policy = torch.tensor([0.5, 0.3], requires_grad=True)  # above and below the reference of 0.4
    loser, reference = torch.full((2,), 0.4), torch.full((2, 2), 0.4)
    better = torch.tensor([[1.0, -1.0]]).expand(2, 2)
    gradients = []
    for anchor in (0.5, 0.0):
        errors = torch.stack([policy, loser], 1)
        loss, _ = preference_loss(errors, reference, better, replace(config, anchor=anchor))
        gradients.append(torch.autograd.grad(loss, policy)[0])
    with_anchor, without = gradients
    assert with_anchor[0] - without[0] == pytest.approx(0.5 * 10 / 2 / 2)
    assert with_anchor[1] == without[1]


@pytest.mark.parametrize("off", [-1e-7, 0.0, 1e-7])
def test_rounding_at_the_reference_decides_nothing(off):
    """Errors of policy and reference that were worked out in batches of other sizes differ in their last bits."""
    reference = torch.full((1, 2), 0.5)
    policy = (reference + torch.tensor([[off, 0.0]])).requires_grad_()
    loss, values = preference_loss(policy, reference, torch.tensor([[1.0, -1.0]]), PreferenceConfig())
    assert values["accuracy"] == 0.5
    [gradient] = torch.autograd.grad(loss, policy)
    assert gradient[0].tolist() == pytest.approx([250.0, -250.0], abs=0.1)


def test_swapping_winner_and_loser_negates_the_margin(bench, batch):
    objective = moved(bench)
    _, one = objective(batch)
    _, other = objective(swapped(batch))
    assert one["margin"] != 0
    assert one["margin"] == pytest.approx(-other["margin"], rel=1e-5)
    assert one["accuracy"] == pytest.approx(1 - other["accuracy"])
    assert one["winner_error"] == pytest.approx(other["loser_error"], rel=1e-5)


def test_dimension_weights_are_a_weighted_mean_of_part_means():
    weights = PreferenceConfig(pose=2.0, shape=1.0, camera=1.0).dimension_weights()
    assert float(weights.sum()) == pytest.approx(1)
    assert float(weights[POSE].sum()) == pytest.approx(0.5)


def test_a_masked_part_gets_no_gradient(bench, batch):
    objective = PreferenceObjective(bench.model(), PreferenceConfig(camera=0.0))
    loss, _ = objective(batch)
    loss.backward()
    gradient = dict(objective.policy.named_parameters())["denoiser.out.1.bias"].grad
    assert gradient is not None
    assert gradient[CAMERA].abs().max() == 0
    assert gradient[POSE].abs().max() > 0


def test_parts_are_the_batch(bench, batch):
    objective = moved(bench)
    batch = replace(batch, reference=objective.reference_errors(batch))
    parts = batch.parts(4)
    assert [len(part.bodies) for part in parts] == [4] * 4
    for name in ("bodies", "advantage", "noise", "t", "reference"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))
    assert torch.equal(torch.cat([part.evidence.vector for part in parts]), batch.evidence.vector)
    losses = [objective(part)[0].item() for part in parts]
    assert sum(losses) / 4 == pytest.approx(objective(batch)[0].item(), rel=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_policy_and_reference_multiply_alike(bench, batch, precision):
    """At the reference the loss is log 2 whatever the networks multiply in, and its gradient is in float32."""
    objective = PreferenceObjective(bench.model(), precision=precision)
    loss, _ = objective(batch)
    assert loss.item() == pytest.approx(math.log(2), abs=1e-6) and loss.dtype == torch.float32
    loss.backward()
    gradients = [parameter.grad for parameter in objective.policy.trainable_in_alignment()]
    assert all(gradient is not None and gradient.dtype == torch.float32 for gradient in gradients)
    exact = PreferenceObjective(bench.model()).reference_errors(batch)
    apart = float((objective.reference_errors(batch) / exact - 1).abs().max())
    assert apart == 0 if precision == "fp32" else 0 < apart < 0.02


def test_only_the_denoiser_is_trainable(bench, batch):
    objective = PreferenceObjective(bench.model())
    objective(batch)[0].backward()
    allowed = {id(parameter) for parameter in objective.policy.trainable_in_alignment()}
    trainable = {id(parameter) for parameter in objective.parameters() if parameter.requires_grad}
    assert trainable == allowed
    assert all(parameter.grad is None for parameter in objective.reference.parameters())


def test_agrees_with_the_formula_in_float64():
    random = np.random.default_rng(0)
    config = PreferenceConfig(beta=700.0, anchor=0.3)
    errors = random.uniform(0.1, 0.13, size=(4, 9))
    told = torch.tensor(errors, dtype=torch.float32)
    loss, values = preference_loss(told[:2].T, told[2:].T, torch.tensor([[1.0, -1.0]]).expand(9, 2), config)
    total = 0.0
    for policy_w, policy_l, reference_w, reference_l in errors.T:
        r = -700 / 2 * ((policy_w - policy_l) - (reference_w - reference_l))
        rise, bend = max(0, policy_w - reference_w), WORSE / 700
        total += math.log1p(math.exp(-r))
        total += 0.3 * 700 / 2 * (rise**2 / (2 * bend) if rise < bend else rise - bend / 2)
    assert loss.item() == pytest.approx(total / 9, rel=1e-4)
    policy_w, policy_l, reference_w, reference_l = errors.mean(1)
    assert rise_pct(values, "winner") == pytest.approx(100 * (policy_w / reference_w - 1), abs=1e-3)
    assert rise_pct(values, "loser") == pytest.approx(100 * (policy_l / reference_l - 1), abs=1e-3)


def test_a_hypothesis_far_out_stays_finite(bench, batch):
    far = PreferenceBatch.of_pairs(batch.evidence, batch.winner, batch.loser + 1e6, batch.noise, batch.t)
    objective = moved(bench)
    loss, _ = objective(far)
    loss.backward()
    grads = [parameter.grad for parameter in objective.policy.trainable_in_alignment()]
    assert math.isfinite(loss.item()) and all(g is not None and torch.isfinite(g).all() for g in grads)


def test_drift_is_zero_at_the_reference_and_grows(bench, batch):
    body = bench.body
    still, near, far = (moved(bench, scale) for scale in (0.0, 0.01, 0.1))
    drifts = [drift_mm(o.policy, o.reference, body, batch.evidence) for o in (still, near, far)]
    assert drifts[0] == 0 and 0 < drifts[1] < drifts[2]


def test_alarm_when_the_winner_rises_while_accuracy_shines():
    def told(error: float, accuracy: float) -> str | None:
        return alarm({"winner_error": error, "winner_reference": 1.0, "accuracy": accuracy})

    assert "winner's error is 4.0 % above" in str(told(1.04, 0.9))
    assert told(0.96, 0.9) is None
    assert told(1.04, 0.4) is None
    assert "lower the learning rate" in str(told(float("nan"), 0.4))


def test_sizes(batch):
    assert batch.winner.shape == batch.noise.shape == (16, SIZE)


def test_a_group_s_loss_in_float64_and_how_far_it_pushes():
    """Bad ones count up to TRUST / beta, and no further; good ones are pulled as long as there is something to gain."""
    random = np.random.default_rng(1)
    beta, rows, size = 800.0, 5, 7
    policy, reference = random.uniform(0.1, 0.12, size=(2, rows, size))
    advantage = np.sort(random.normal(size=(rows, size)))[:, ::-1].copy()
    advantage -= advantage.mean(1, keepdims=True)
    config = PreferenceConfig(beta=beta, anchor=0.0, objective="group")
    p, r, a = (torch.tensor(value, dtype=torch.float32) for value in (policy, reference, advantage))
    loss, values = preference_loss(p, r, a, config)
    total = 0.0
    for better, rise in zip(advantage.ravel(), (policy - reference).ravel(), strict=True):
        total += better * (min(rise, TRUST / beta) if better < 0 else rise)
    assert loss.item() == pytest.approx(beta / 2 * total / (rows * size), rel=1e-4)
    assert values["winner_error"] == pytest.approx(policy[:, 0].mean(), rel=1e-5)

    errors = torch.full((1, 2), 0.1, requires_grad=True)
    for away, expected in ((0.9, True), (1.1, False)):
        moved = errors + torch.tensor([[0.0, away * TRUST / beta]])
        loss, _ = preference_loss(moved, torch.full((1, 2), 0.1), torch.tensor([[1.0, -1.0]]), config)
        [gradient] = torch.autograd.grad(loss, errors)
        assert bool(gradient[0, 1] < 0) == expected and gradient[0, 0] > 0


def test_a_group_at_the_reference_weighs_nothing_and_still_moves(bench):
    labels = read_labels(bench.folder, bench.body, bench.digest, objective="group")
    batch = next(preference_batches(labels, labels.people.encoded(bench.model()), 8, seed=1))
    assert batch.bodies.shape == (8, 5, SIZE) and (batch.advantage[:, :-1] >= batch.advantage[:, 1:]).all()
    objective = PreferenceObjective(bench.model(), PreferenceConfig(objective="group", anchor=0.0))
    loss, values = objective(batch)
    assert abs(loss.item()) < 1e-5 and values["accuracy"] == 0.5
    loss.backward()
    with torch.no_grad():
        for parameter in objective.policy.trainable_in_alignment():
            assert parameter.grad is not None
            parameter -= 1e-6 * parameter.grad
    after, values = objective(batch)
    assert after.item() < 0 and values["margin"] > 0


def test_winners_alone_are_learned_from_by_sft(bench, batch):
    objective = PreferenceObjective(bench.model(), PreferenceConfig(beta=100.0, anchor=0.0, objective="sft"))
    loss, values = objective(batch)
    assert loss.item() == pytest.approx(100 / 2 * values["winner_error"], rel=1e-5)
    other = PreferenceBatch.of_pairs(batch.evidence, batch.winner, batch.loser * 2, batch.noise, batch.t)
    assert objective(other)[0].item() == loss.item()


@pytest.mark.parametrize("objective", ["dpo", "group", "sft"])
def test_the_reference_s_errors_may_be_known_already(bench, batch, objective):
    config = PreferenceConfig(objective=objective)
    learning = moved(bench)
    learning.config = config
    plain, _ = learning(batch)
    known, _ = learning(replace(batch, reference=learning.reference_errors(batch)))
    assert plain.item() == known.item()
    wrong, _ = learning(replace(batch, reference=learning.reference_errors(batch) * 0.9))
    assert wrong.item() != plain.item()
