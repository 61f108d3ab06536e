"""Where a run takes place: one process alone, or a worker among several (``run.py``); and who is told of it.

A run asks its workplace for what differs between the two, and nothing else: which share of each batch is its own,
how gradients come together, where its state is kept.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import UInt8

from alignhmr.training.loop import Step, Trainer
from alignhmr.training.state import load_state, read_notes, save_state

Pictures = Mapping[str, UInt8[np.ndarray, "height width 3"]]
"""Title -> RGB."""


class Listener:
    """Told of a run while it goes on; who doesn't override a method doesn't hear of it.

    A run that is taken up again tells once more what came after its last kept state.
    """

    def started(self, done: int, steps: int | None) -> None:
        """Before the first step, and when a clock has settled the number of steps."""

    def learned(self, step: int, values: Mapping[str, float]) -> None:
        """Means since the last time: losses, gradient norm, pace; and the learning rate."""

    def judged(self, step: int, figures: Mapping[str, float], pictures: Pictures) -> None:
        """What held-out people say of the model."""


class Workplace(Protocol):
    rank: int
    """0 is the first worker: it judges, writes and tells."""
    world: int
    device: torch.device
    listener: Listener

    def wrapped(self, step: Step) -> Step:
        """The step whose gradients are means over all workers."""
        ...

    def notes(self) -> dict[str, Any] | None:
        """Of the state that the run goes on from; None where it begins."""
        ...

    def restore(self, trainer: Trainer) -> None:
        """Puts the trainer into that state."""
        ...

    def keep(self, trainer: Trainer, notes: dict[str, Any]) -> None:
        """The state from now on. All workers call it, at the same step."""
        ...

    def clear(self) -> None:
        """The run has ended well: its state is no longer needed."""
        ...


class Alone:
    """One process, without Ray; its state is one file."""

    rank, world = 0, 1

    def __init__(
        self, state: Path, *, resume: bool = False, device: str = "cpu", listener: Listener | None = None
    ) -> None:
        self._state, self._resume = state, resume
        self.device, self.listener = torch.device(device), listener or Listener()

    def wrapped(self, step: Step) -> Step:
        return step

    def notes(self) -> dict[str, Any] | None:
        return read_notes(self._state) if self._resume else None

    def restore(self, trainer: Trainer) -> None:
        load_state(self._state, trainer)

    def keep(self, trainer: Trainer, notes: dict[str, Any]) -> None:
        save_state(self._state, trainer, notes)

    def clear(self) -> None:
        self._state.unlink(missing_ok=True)
