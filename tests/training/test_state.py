import itertools

import pytest
import torch
from torch import nn

from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.training.loop import LoopConfig, Trainer, train
from alignhmr.training.state import load_state, read_notes, save_state


def trainer(width: int = 4) -> Trainer:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, width), nn.Linear(width, 1))
    return Trainer(module, module.parameters(), LoopConfig(steps=20, warmup_steps=2))


def run(made: Trainer, steps: int) -> None:
    start = made.step_number
    batches = (torch.randn(5, 3, generator=torch.Generator().manual_seed(k)) for k in itertools.count(start))
    step = lambda batch, number: (made.module(batch).square().mean(), {})  # noqa: E731
    train(made, step, itertools.islice(batches, steps), lambda at, values: None)


def test_resumed_run_is_the_undisturbed_one_to_the_bit(tmp_path):
    straight = trainer()
    run(straight, 20)
    first = trainer()
    run(first, 5)
    first.remember()
    run(first, 4)
    save_state(tmp_path / "s.safetensors", first, {"seed": 3})
    second = trainer()
    torch.nn.init.zeros_(next(second.module.parameters()))
    assert (
        load_state(tmp_path / "s.safetensors", second)
        == {"seed": 3}
        == read_notes(tmp_path / "s.safetensors")
    )
    run(second, 11)
    assert second.step_number == straight.step_number == 20
    for one, other in ((straight.module, second.module), (straight.ema, second.ema)):
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name
    assert first.best.keys() == second.best.keys() == dict(first.module.named_parameters()).keys()
    assert all(torch.equal(second.best[name], value) for name, value in first.best.items())


def test_saving_again_replaces_and_leaves_no_partial_file(tmp_path):
    made = trainer()
    for count in (3, 4):
        run(made, count)
        save_state(tmp_path / "s.safetensors", made, {"count": count})
    assert read_notes(tmp_path / "s.safetensors") == {"count": 4}
    assert [path.name for path in tmp_path.iterdir()] == ["s.safetensors"]


def test_a_cut_or_missing_file_is_told(tmp_path):
    path = tmp_path / "s.safetensors"
    with pytest.raises(InputError, match="no training state"):
        load_state(path, trainer())
    save_state(path, trainer(), {})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="cut short"):
        load_state(path, trainer())


def test_state_of_another_model_is_refused(tmp_path):
    save_state(tmp_path / "s.safetensors", trainer(), {})
    with pytest.raises(CompatibilityError, match="another model"):
        load_state(tmp_path / "s.safetensors", trainer(width=5))
