import itertools
import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from alignhmr.training.loop import PATIENCE, DivergedError, LoopConfig, Trainer, train


def trainer(**changes) -> Trainer:
    torch.manual_seed(0)
    module = nn.Linear(3, 1)
    return Trainer(module, module.parameters(), LoopConfig(**{"steps": 100, "warmup_steps": 10, **changes}))


def quadratic(made: Trainer):
    return lambda batch, number: ((made.module(batch) - 1).square().mean(), {"twice": 2.0 * number})


def test_learning_rate_rises_to_its_peak_and_falls_to_its_floor():
    made = trainer(learning_rate=1e-3, final_rate=0.02)
    rates = [made.learning_rate(step) for step in range(120)]
    assert rates[0] == pytest.approx(1e-4) and max(rates) == pytest.approx(1e-3)
    assert all(b >= a for a, b in itertools.pairwise(rates[:11]))
    assert all(b <= a for a, b in itertools.pairwise(rates[10:]))
    assert rates[100] == rates[119] == pytest.approx(2e-5)


def test_no_warmup_starts_at_the_peak():
    assert trainer(warmup_steps=0).learning_rate(0) == pytest.approx(1e-3)


def test_training_lowers_the_loss_and_the_average_follows():
    made = trainer(steps=300, learning_rate=1e-2)
    reports: list[tuple[int, dict]] = []
    train(made, quadratic(made), itertools.repeat(torch.ones(4, 3)), lambda *told: reports.append(told))
    assert made.step_number == 300
    assert reports[-1][1]["loss"] < 0.01 * reports[0][1]["loss"] + 1e-4
    average, weight = next(made.ema.parameters()), next(made.module.parameters())
    assert torch.allclose(average, weight, atol=0.05)


def test_reports_are_means_and_the_last_step_reports():
    made = trainer(steps=7, report_every=3)
    reports: list[tuple[int, dict]] = []
    train(made, quadratic(made), itertools.repeat(torch.ones(4, 3)), lambda *told: reports.append(told))
    assert [(at, values["twice"]) for at, values in reports] == [(3, 2.0), (6, 8.0), (7, 12.0)]
    assert {"loss", "grad_norm"} <= set(reports[0][1])


def test_a_non_finite_loss_changes_no_weight():
    made = trainer()
    weight = next(made.module.parameters())
    before = weight.clone()
    made.update((made.module(torch.ones(1, 3)) * math.inf).sum())
    assert torch.equal(weight, before) and made.step_number == 1


def test_a_list_is_one_batch_in_parts_and_one_step():
    whole, parts = trainer(steps=3), trainer(steps=3)
    rows = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    told: list[tuple[int, dict]] = []
    for made, batch in ((whole, rows), (parts, list(rows.split(2)))):
        train(made, quadratic(made), itertools.repeat(batch), lambda *one: told.append(one))
    assert parts.step_number == 3
    assert told[1][1] == pytest.approx(told[0][1], rel=1e-6)
    assert torch.allclose(next(parts.module.parameters()), next(whole.module.parameters()), atol=1e-6)


def test_a_part_that_is_no_number_loses_the_whole_step():
    made = trainer(steps=1)
    before = next(made.module.parameters()).clone()
    rows = [torch.ones(2, 3), torch.full((2, 3), math.nan)]
    train(made, quadratic(made), itertools.repeat(rows), lambda *told: None)
    assert torch.equal(next(made.module.parameters()), before) and made.lost_steps == 1


def test_the_best_weights_are_come_back_to():
    made = trainer(steps=4, learning_rate=1e-2)
    made.recall()  # nothing was remembered: nothing happens
    weight, bias = made.module.parameters()
    bias.requires_grad_(False)
    train(made, quadratic(made), [torch.ones(4, 3)] * 2, lambda *told: None)
    made.remember()
    then = weight.clone()
    train(made, quadratic(made), [torch.ones(4, 3)] * 2, lambda *told: None)
    assert set(made.best) == {"weight"} and not torch.equal(weight, then)
    made.recall()
    assert torch.equal(weight, then)


def test_no_average_when_its_decay_is_zero():
    made = trainer(steps=5, ema_decay=0.0)
    train(made, quadratic(made), itertools.repeat(torch.ones(4, 3)), lambda at, values: None)
    assert torch.equal(next(made.ema.parameters()), next(made.module.parameters()))


def test_a_late_decision_on_the_steps_changes_nothing_before_it():
    known, unknown = trainer(decay_share=0.3), trainer(steps=None, decay_share=0.3)
    rates = [known.learning_rate(step) for step in range(101)]
    assert rates[:71] == [unknown.learning_rate(step) for step in range(71)]
    assert rates[10:71] == [known.config.learning_rate] * 61
    assert all(later < earlier for earlier, later in pairwise(rates[70:]))
    assert rates[-1] == pytest.approx(0.02 * rates[50])


def losing(made: Trainer, lost: set[int]):
    def step(batch, number):
        loss = (made.module(batch) - 1).square().mean()
        return loss * (math.nan if number in lost else 1.0), {"number": float(number)}

    return step


def test_lost_steps_are_left_out_of_the_means():
    made = trainer(steps=4, report_every=4)
    reports: list[tuple[int, dict]] = []
    train(made, losing(made, {1, 2}), itertools.repeat(torch.ones(4, 3)), lambda *told: reports.append(told))
    [(at, values)] = reports
    assert (at, values["number"]) == (4, 1.5) and all(map(math.isfinite, values.values()))


@pytest.mark.parametrize("part", [1, 1000])
def test_a_loss_that_stays_lost_ends_the_run_before_a_weight_is_lost(part):
    """However the run is cut into parts."""
    made = trainer(steps=1000)
    step = losing(made, {3, *range(20, 1000)})
    with pytest.raises(
        DivergedError, match=rf"{PATIENCE} steps in a row, up to step {20 + PATIENCE}.*loss nan.*0.001"
    ):
        while made.step_number < 1000:
            train(made, step, itertools.repeat(torch.ones(4, 3), part), lambda at, values: None)
    assert all(torch.isfinite(weight).all() for weight in made.module.parameters())


def test_an_interval_without_a_finite_step_reports_so():
    made = trainer(steps=4, report_every=2)
    reports: list[tuple[int, dict]] = []
    train(made, losing(made, {0, 1}), itertools.repeat(torch.ones(4, 3)), lambda *told: reports.append(told))
    assert math.isnan(reports[0][1]["loss"]) and math.isfinite(reports[1][1]["loss"])
    assert reports[0][1].keys() == reports[1][1].keys()
