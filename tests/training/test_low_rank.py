"""Layers adapted by low rank: at first the same to the bit, little that learns, merged the same again."""

import copy
import math

import pytest
import torch
from torch import nn

from alignhmr.core.diffusion.model import BaseModel, BaseModelConfig
from alignhmr.core.errors import InputError
from alignhmr.training.data import read_labels
from alignhmr.training.low_rank import LowRank, adapt, merge, merged
from alignhmr.training.preference import PreferenceObjective
from alignhmr.training.preference_batches import preference_batches

TRANSFORMER = BaseModelConfig(
    "none", width=16, encoder_blocks=1, denoiser_width=16, denoiser_blocks=2, parts="transformer", heads=2,
    feed_forward=24, hops=[3, 1],
)  # fmt: skip


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(12, 20), nn.GELU(), nn.LayerNorm(20), nn.Linear(20, 3))


def learned(module: nn.Module) -> nn.Module:
    """As after some steps: whatever learns is somewhere else."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module


def test_adapted_is_the_same_to_the_bit_and_only_the_change_learns():
    plain, module = network(), network()
    adapt(module, LowRank(rank=4))
    x = torch.randn(5, 12)
    assert torch.equal(module(x), plain(x))
    module(x).square().sum().backward()
    told = {name: p.grad is not None for name, p in module.named_parameters()}
    assert {name.rpartition(".")[2] for name, moved in told.items() if moved} == {"up", "down"}
    sizes = [p.numel() for p in module.parameters() if p.requires_grad]
    assert sum(sizes) == 4 * (12 + 20) + 3 * (20 + 3), "no layer's change has a higher rank than the layer"


def test_merged_is_an_ordinary_module_that_answers_the_same():
    module = network()
    adapt(module, LowRank(rank=2, alpha=8.0))
    learned(module)
    x = torch.randn(5, 12)
    before, changes = module(x), copy.deepcopy(module)
    merge(module)
    assert torch.equal(module(x), before)
    plain = network()
    plain.load_state_dict(module.state_dict())
    assert torch.equal(plain(x), before) and not torch.equal(network()(x), before)
    change = changes.get_submodule("0.parametrizations.weight.0")
    by_hand = (network().get_parameter("0.weight") + 8.0 / 2 * change.up @ change.down).detach()  # type: ignore[operator]
    assert torch.allclose(plain.get_parameter("0.weight"), by_hand, atol=1e-7)
    assert torch.linalg.matrix_rank(by_hand - network().get_parameter("0.weight"), rtol=1e-4) == 2


def test_what_merging_would_leave_can_be_had_of_a_module_that_learns_on():
    module, x = network(), torch.randn(5, 12)
    adapt(module, LowRank(rank=2))
    average = copy.deepcopy(learned(module))
    for adapted in (average, module):
        before, names = adapted(x), [name for name, _ in adapted.named_parameters()]
        state = merged(adapted)
        plain = network()
        plain.load_state_dict(state)
        assert torch.equal(plain(x), before)
        assert torch.equal(adapted(x), before) and [name for name, _ in adapted.named_parameters()] == names
        learned(adapted)
        assert torch.equal(plain(x), before) and not torch.equal(adapted(x), before)
        plain.load_state_dict(state)
        assert torch.equal(plain(x), before), "what was had doesn't learn"


def test_a_module_that_was_not_adapted_stays_as_it_is():
    module = network()
    merge(module)
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), network().parameters(), strict=True))
    assert merged(module).keys() == module.state_dict().keys()
    assert all(torch.equal(value, network().state_dict()[name]) for name, value in merged(module).items())


def test_the_seed_decides_where_it_begins():
    one, same, other = network(), network(), network()
    for module, seed in ((one, 3), (same, 3), (other, 4)):
        adapt(module, LowRank(), seed)
    name = "0.parametrizations.weight.0.down"
    assert torch.equal(one.get_parameter(name), same.get_parameter(name))
    assert not torch.equal(one.get_parameter(name), other.get_parameter(name))


def test_what_can_not_be_adapted_is_told():
    with pytest.raises(InputError, match="rank 0"):
        adapt(network(), LowRank(rank=0))
    with pytest.raises(InputError, match="no linear layer"):
        adapt(nn.LayerNorm(4), LowRank())


@pytest.mark.parametrize("parts", ["mlp", "transformer"])
def test_an_adapted_policy_begins_as_the_reference_and_learns(bench, parts):
    torch.manual_seed(0)
    model = bench.model() if parts == "mlp" else BaseModel(TRANSFORMER).eval()
    labels = read_labels(bench.folder, bench.body, bench.digest)
    batch = next(preference_batches(labels, labels.people.encoded(model), 16, seed=1))
    objective = PreferenceObjective(model, low_rank=LowRank(rank=3))
    loss, values = objective(batch)
    assert loss.item() == pytest.approx(math.log(2), abs=1e-6) and values["margin"] == 0
    rate = 1e-4
    for _ in range(2):  # at first only U has a gradient
        objective(batch)[0].backward()
        with torch.no_grad():
            for parameter in objective.policy.parameters():
                if parameter.requires_grad:
                    assert parameter.grad is not None
                    parameter -= rate * parameter.grad
                    parameter.grad = None
    after, _ = objective(batch)
    assert after.item() != loss.item()
    merge(objective.policy.denoiser)
    assert objective(batch)[0].item() == after.item()
    plain = BaseModel(objective.policy.config)
    plain.load_state_dict(objective.policy.state_dict())
