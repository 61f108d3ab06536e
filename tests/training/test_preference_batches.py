"""Batches of preferences: the same for any number of workers, each preference once an epoch, under few draws."""

import itertools

import pytest
import torch

from alignhmr.core.diffusion.schedule import sampling_steps
from alignhmr.core.errors import InputError
from alignhmr.training.data import read_labels
from alignhmr.training.preference_batches import draws_of, names_of, preference_batches


@pytest.fixture
def labels(bench):
    return read_labels(bench.folder, bench.body, bench.digest)


@pytest.fixture
def batches(bench, labels):
    """Of the labels, with what the bench's model makes of the people."""
    evidence = labels.people.encoded(bench.model())
    return lambda *arguments, **options: preference_batches(labels, evidence, *arguments, **options)


def test_workers_share_one_global_batch(batches):
    one = list(itertools.islice(batches(8, seed=4), 3))
    two = [list(itertools.islice(batches(8, seed=4, rank=r, world=2), 3)) for r in (0, 1)]
    for whole, *parts in zip(one, *two, strict=True):
        evidence = torch.cat([part.evidence.vector for part in parts])
        assert torch.equal(whole.evidence.vector, evidence)
        for name in ("bodies", "advantage", "noise", "t"):
            joined = torch.cat([getattr(part, name) for part in parts])
            assert torch.equal(getattr(whole, name), joined)


def test_a_resumed_stream_goes_on_and_an_epoch_holds_each_pair_once(labels, batches):
    count = len(labels.preferred)
    stream = list(itertools.islice(batches(5, seed=4), 12))
    resumed = next(batches(5, seed=4, start=7))
    assert torch.equal(stream[7].winner, resumed.winner) and torch.equal(stream[7].noise, resumed.noise)
    epoch = next(batches(count, seed=4))
    assert sorted(epoch.winner[:, 0].tolist()) == sorted(labels.preferred.winner[:, 0].tolist())
    following = next(batches(count, seed=4, start=1))
    assert not torch.equal(epoch.winner, following.winner)


def test_uneven_shares_are_refused(batches):
    with pytest.raises(InputError, match="9 pairs"):
        next(batches(9, seed=0, world=2))


def test_only_timesteps_that_sampling_visits_are_drawn(batches):
    assert set(next(batches(64, seed=2)).t.tolist()) == set(sampling_steps(4))


def test_draws_follow_from_the_preference_alone_and_are_few(labels, batches):
    """Whatever the seed, the batch and the place in it."""
    seen: dict[bytes, set[bytes]] = {}
    for seed in (1, 2):
        for batch in itertools.islice(batches(len(labels.preferred), seed=seed, draws=3), 8):
            for bodies, noise in zip(batch.bodies, batch.noise, strict=True):
                seen.setdefault(bodies.numpy().tobytes(), set()).add(noise.numpy().tobytes())
    assert max(len(noises) for noises in seen.values()) == 3
    every = set().union(*seen.values())
    assert len(every) == sum(len(noises) for noises in seen.values()), "no two preferences share a draw"


def test_each_timestep_is_met_as_often(labels):
    names = names_of(labels)
    rows = [(f"{name}:{draw}", draw) for name in names for draw in range(8)]
    _, t = draws_of([row for row, _ in rows], [draw for _, draw in rows])
    assert torch.bincount(t)[sampling_steps(4)].tolist() == [2 * len(names)] * 4


def test_no_draws_are_refused(batches):
    with pytest.raises(InputError, match="0 draws"):
        next(batches(4, seed=0, draws=0))
