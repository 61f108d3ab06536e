"""The reference's errors on disk: right, found again by other runs, and made again where they were damaged."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from alignhmr.training.data import Labels, read_labels
from alignhmr.training.loop import LoopConfig, Trainer
from alignhmr.training.preference import PreferenceConfig, PreferenceObjective
from alignhmr.training.preference_batches import preference_batches
from alignhmr.training.reference_cache import ReferenceCache, key_of


@pytest.fixture
def labels(bench) -> Labels:
    return read_labels(bench.folder, bench.body, bench.digest)


def cache_of(
    bench, folder: Path | None, config: PreferenceConfig | None = None, rank: int = 0
) -> ReferenceCache:
    return ReferenceCache(folder, PreferenceObjective(bench.model(), config), bench.digest, 2, rank=rank)


def run(bench, labels: Labels, cache: ReferenceCache | None, steps: int = 12, seed: int = 1) -> list[float]:
    objective = PreferenceObjective(bench.model(), PreferenceConfig(beta=200.0))
    loop = LoopConfig(steps=steps, learning_rate=1e-3, warmup_steps=0, ema_decay=0.0)
    trainer = Trainer(objective.policy, objective.policy.trainable_in_alignment(), loop)
    evidence, losses = labels.people.encoded(bench.model()), []
    for batch in islice(preference_batches(labels, evidence, 16, seed, draws=2, known=cache), steps):
        loss, _ = objective(batch)
        losses.append(loss.item())
        trainer.update(loss)
    return losses


def test_the_loss_curve_is_that_of_a_run_without_it(bench, labels, tmp_path: Path) -> None:
    plain = run(bench, labels, None)
    first = cache_of(bench, tmp_path)
    assert run(bench, labels, first) == pytest.approx(plain, abs=1e-5)
    assert first.worked_out and first.found and len(set(plain)) == len(plain)
    first.keep()
    again = cache_of(bench, tmp_path)
    assert run(bench, labels, again) == pytest.approx(plain, abs=1e-5)
    assert again.worked_out == 0 and again.found == 12 * 16


def test_another_seed_finds_what_a_run_kept(bench, labels, tmp_path: Path) -> None:
    first = cache_of(bench, tmp_path)
    run(bench, labels, first, steps=30)
    first.keep()
    other = cache_of(bench, tmp_path)
    run(bench, labels, other, seed=7)
    assert other.worked_out < 0.2 * (other.worked_out + other.found)


def test_workers_keep_beside_each_other(bench, labels, tmp_path: Path) -> None:
    evidence = labels.people.encoded(bench.model())
    for rank in range(2):
        cache = cache_of(bench, tmp_path, rank=rank)
        list(islice(preference_batches(labels, evidence, 16, 1, rank=rank, world=2, draws=2, known=cache), 6))
        cache.keep()
    whole = cache_of(bench, tmp_path)
    list(islice(preference_batches(labels, evidence, 16, 1, draws=2, known=whole), 6))
    assert whole.worked_out == 0 and len(list(whole.folder.iterdir())) == 2  # type: ignore[union-attr]


def test_other_weights_parts_or_products_are_other_errors() -> None:
    config = PreferenceConfig()
    other = replace(config, camera=0.0)
    keys = {key_of("a", config, 2), key_of("b", config, 2), key_of("a", other, 2), key_of("a", config, 6)}
    keys.add(key_of("a", config, 2, "bf16"))
    assert len(keys) == 5
    assert key_of("a", replace(config, beta=7.0, anchor=0.0, objective="sft"), 2) == key_of("a", config, 2)


@pytest.mark.parametrize("damage", ["cut", "not a number", "empty"])
def test_a_damaged_file_costs_time_alone(bench, labels, tmp_path: Path, damage: str, caplog) -> None:
    first = cache_of(bench, tmp_path)
    plain = run(bench, labels, first)
    if damage == "not a number":
        first._made = {row: error * float("nan") for row, error in first._made.items()}
    first.keep()
    [path] = list(first.folder.iterdir())  # type: ignore[union-attr]
    if damage != "not a number":
        path.write_bytes(path.read_bytes()[: 200 if damage == "cut" else 0])
    again = cache_of(bench, tmp_path)
    assert run(bench, labels, again) == pytest.approx(plain, abs=1e-5)
    assert again.worked_out and "worked out again" in caplog.text


def test_without_a_folder_it_remembers_and_keeps_nothing(bench, labels, tmp_path: Path) -> None:
    cache = cache_of(bench, None)
    run(bench, labels, cache)
    cache.keep()
    assert cache.found and cache.folder is None and torch.is_tensor(labels.preferred.bodies)
