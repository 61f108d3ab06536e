"""Batches of preferences in an order that is fixed, each under one of a few draws of noise and timestep.

A preference is met again every epoch. Under a fresh draw each time, the reference's errors would have to be worked out
each time; under one of ``draws`` draws, which follow from the preference alone, they are known from the second time on,
in this run and in the next (``reference_cache.py``).
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from alignhmr.core.diffusion import schedule
from alignhmr.core.diffusion.encoder import Encoded
from alignhmr.core.diffusion.parameters import SIZE
from alignhmr.core.errors import InputError
from alignhmr.training.data import Labels
from alignhmr.training.preference import PreferenceBatch

SAMPLING_STEPS = 4
"""Of ``BaseModel.sample``, by default."""

Known = Callable[[list[str], PreferenceBatch], Float[Tensor, "rows bodies"]]
"""(what each row is, the batch) -> errors of the reference."""


def preference_batches(
    labels: Labels, evidence: Encoded, batch_size: int, seed: int, *, start: int = 0, rank: int = 0,
    world: int = 1, draws: int = 16, known: Known | None = None,
) -> Iterator[PreferenceBatch]:  # fmt: skip
    """An endless stream of this worker's share of each global batch; ``evidence`` is of ``labels.people``.

    Global batch k (its rows, their order and their draws) depends on (seed, k) alone, so neither the number of workers
    nor a resume changes what is learned.
    """
    if batch_size % world:
        raise InputError(
            f"a batch of {batch_size} pairs can't be shared evenly by {world} workers; choose a multiple"
        )
    if draws < 1:
        raise InputError(f"{draws} draws were asked for; give 1 or more")
    share = batch_size // world
    mine = slice(rank * share, (rank + 1) * share)
    preferred = labels.preferred
    names = names_of(labels)
    k = start
    while True:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + k)
        which = torch.randint(draws, (batch_size,), generator=generator)[mine].tolist()
        positions = range(k * batch_size + mine.start, k * batch_size + mine.stop)
        count = len(preferred)
        index = np.array([_permutation(seed, at // count, count)[at % count] for at in positions])
        rows = [f"{names[at]}:{draw}" for at, draw in zip(index, which, strict=True)]
        noise, t = draws_of(rows, which)
        batch = PreferenceBatch(
            evidence.take(preferred.person[index]), preferred.bodies[index], preferred.advantage[index], noise, t
        )  # fmt: skip
        yield batch if known is None else replace(batch, reference=known(rows, batch))
        k += 1


def names_of(labels: Labels) -> list[str]:
    """What each preference is: its picture and its bodies, whatever others there are."""
    preferred, pictures = labels.preferred, labels.people.image_sha256
    return [
        hashlib.sha256(str(pictures[person]).encode() + bodies.numpy().tobytes()).hexdigest()[:32]
        for person, bodies in zip(preferred.person, preferred.bodies, strict=True)
    ]


def digest_of(labels: Labels) -> str:
    """What rows a run is about: their people and what is preferred of them, in order. SHA-256, hex."""
    lines = [*labels.people.image_sha256.tolist(), *names_of(labels)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def draws_of(rows: list[str], which: list[int]) -> tuple[Float[Tensor, "rows params"], Int[Tensor, "rows"]]:
    """Noise and timestep of each named row under its draw."""
    # Only the timesteps that sampling visits: what the denoiser does at others is never seen.
    times = schedule.sampling_steps(SAMPLING_STEPS)
    seeds = [int(hashlib.sha256(row.encode()).hexdigest()[:15], 16) for row in rows]
    noise = [torch.randn(SIZE, generator=torch.Generator().manual_seed(one)) for one in seeds]
    # Seeded, so that no draw's timestep is the same for all rows; in turns, so that each is met as often.
    turns = [times[(one + draw) % len(times)] for one, draw in zip(_first(rows), which, strict=True)]
    return torch.stack(noise), torch.tensor(turns)


def _first(rows: list[str]) -> list[int]:
    return [int(row[:8], 16) for row in rows]


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """The order of the preferences in an epoch."""
    return np.random.default_rng((seed, epoch)).permutation(count)
