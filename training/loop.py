"""The training loop: a plain iterator of batches, a pure step, a reporter. No Ray, no files.

Whoever calls it decides where batches come from, where reports go and when state is saved; so the same
loop is tested on ten batches, run on a bare GPU box, and wrapped by Ray Train (``run.py``).
"""

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from alignhmr.core.errors import InputError
from alignhmr.training.sharding import as_held, whole

Step = Callable[[Any, int], tuple[Tensor, dict[str, float]]]
"""(batch, step number) -> (loss, what to report); of a batch in parts it is asked for each part."""
Reporter = Callable[[int, dict[str, float]], None]

PATIENCE = 10
"""Steps in a row without a finite gradient, after which there is nothing to wait for: the weights stand still."""


class DivergedError(InputError):
    """The loss stayed something else than a number; the weights are those of the last step that was one."""

    code = "diverged"


@dataclass(frozen=True)
class LoopConfig:
    steps: int | None
    """None: until somebody says; the learning rate doesn't fall before that."""
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    final_rate: float = 0.02
    """Share of the learning rate that is left at the end."""
    decay_share: float = 1.0
    """Share of the steps, the last ones, over which the learning rate falls. Below 1 it is constant before, so
    that the number of steps may be decided on the way without changing what was done."""
    clip_norm: float = 1.0
    weight_decay: float = 0.01
    ema_decay: float = 0.999
    report_every: int = 50
    slow_rate: float = 0.1
    """Learning rate of pretrained parts, as a share of the others'."""


class Trainer:
    """Optimiser, learning-rate schedule and EMA of a set of parameters; its state resumes exactly."""

    def __init__(
        self, module: nn.Module, parameters: Iterable[nn.Parameter], config: LoopConfig,
        slow: Iterable[nn.Parameter] = (),
    ) -> None:  # fmt: skip
        """``slow`` are those of the parameters that learn at ``config.slow_rate`` of the rate."""
        self.module = module
        slowly = {id(parameter) for parameter in slow}
        self.parameters = [p for p in parameters if p.requires_grad]
        groups = [
            {"params": [p for p in self.parameters if (id(p) in slowly) == of_slow], "share": share}
            for of_slow, share in ((False, 1.0), (True, config.slow_rate))
        ]
        self.config = config
        self.step_number = 0
        self.lost_steps = 0
        """The last ones in a row whose gradient was no finite number."""
        self.optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            betas=(0.9, 0.99),
            fused=True,
        )
        self.ema = copy.deepcopy(module).requires_grad_(False) if config.ema_decay else module
        """The module itself where nothing is averaged."""
        self.best: dict[str, Tensor] = {}
        """What learns, as it was when ``remember`` was called last; empty before."""

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then constant, then half a cosine down to ``final_rate``."""
        c = self.config
        if step < c.warmup_steps:
            return c.learning_rate * (step + 1) / c.warmup_steps
        if c.steps is None:
            return c.learning_rate
        start = max(c.warmup_steps, math.floor(c.steps * (1 - c.decay_share)))
        progress = max(0, step - start) / max(1, c.steps - start)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return c.learning_rate * (c.final_rate + (1 - c.final_rate) * cosine)

    def update(self, loss: Tensor) -> float:
        """One optimiser step by one loss: ``add`` and ``advance``."""
        self.add(loss)
        return self.advance()

    def add(self, loss: Tensor) -> None:
        """Adds a loss to the step; what led to it is forgotten, so that a large batch fits in parts."""
        loss.backward()

    def advance(self) -> float:
        """One optimiser step by the losses' sum; the gradient's norm before clipping. If that isn't finite, nothing
        changes."""
        rate = self.learning_rate(self.step_number)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        norm = whole(torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm))
        if torch.isfinite(norm):
            self.optimizer.step()
            self._update_ema()
            self.lost_steps = 0
        else:
            self.lost_steps += 1
        self.optimizer.zero_grad(set_to_none=True)
        self.step_number += 1
        return float(norm)

    @torch.no_grad()
    def _update_ema(self) -> None:
        if self.ema is self.module:
            return
        # Short memory at first: otherwise the average would remember the initial weights.
        decay = min(self.config.ema_decay, (1 + self.step_number) / (10 + self.step_number))
        torch._foreach_lerp_(list(self.ema.parameters()), list(self.module.parameters()), 1 - decay)  # pyright: ignore
        for average, current in zip(self.ema.buffers(), self.module.buffers(), strict=True):
            average.copy_(current)

    @torch.no_grad()
    def remember(self) -> None:
        """Keeps what learns as it is now, to come back to."""
        self.best = {
            name: parameter.clone()
            for name, parameter in self.module.named_parameters()
            if parameter.requires_grad
        }

    @torch.no_grad()
    def recall(self) -> None:
        """Puts the module back to where ``remember`` was called last, if it ever was."""
        learns = dict(self.module.named_parameters())
        for name, value in self.best.items():
            learns[name].copy_(as_held(value, learns[name]))

    def state_dict(self) -> dict[str, Any]:
        """Whole tensors; where weights are in shards, all workers call it together."""
        optimizer = self.optimizer.state_dict()
        slots = {index: _whole(values) for index, values in optimizer["state"].items()}
        return {
            "step": self.step_number,
            "module": _whole(self.module.state_dict()),
            "ema": _whole(self.ema.state_dict()) if self.ema is not self.module else {},
            "best": _whole(self.best),
            "optimizer": {**optimizer, "state": slots},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What ``state_dict`` gave, wherever that was."""
        self.step_number = state["step"]
        held = self.module.state_dict()
        self.module.load_state_dict(
            {
                name: as_held(value, held[name]) if name in held else value
                for name, value in state["module"].items()
            }
        )
        if self.ema is not self.module:
            self.ema.load_state_dict(state["ema"])
        self.best = state["best"]
        learns = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        slots = {
            index: {
                name: as_held(value, learns[index]) if value.shape == learns[index].shape else value
                for name, value in values.items()
            }
            for index, values in state["optimizer"]["state"].items()
            if index < len(learns)
        }
        self.optimizer.load_state_dict({**state["optimizer"], "state": slots})


def _whole(tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {name: whole(value) if isinstance(value, Tensor) else value for name, value in tensors.items()}


def train(trainer: Trainer, step: Step, batches: Iterable[Any], report: Reporter) -> None:
    """Runs until ``config.steps``, or until the batches end; reports means over ``report_every`` steps.

    A batch that is a list is met part by part, in one step: its loss is the mean of the parts', which are of one size.
    A step without a finite gradient is left out of what is learned and of the means; DivergedError after
    ``PATIENCE`` of them in a row.
    """
    sums: dict[str, float] = {}
    seen = 0
    for batch in batches:
        if trainer.config.steps is not None and trainer.step_number >= trainer.config.steps:
            break
        parts = batch if isinstance(batch, list) else [batch]
        told: list[dict[str, float]] = []
        for part in parts:
            loss, values = step(part, trainer.step_number)
            trainer.add(loss / len(parts))
            told.append({"loss": float(loss.detach()), **values})
        values = {name: sum(of[name] for of in told) / len(told) for name in told[0]}
        values["grad_norm"] = trainer.advance()
        if not trainer.lost_steps:
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value
            seen += 1
        if trainer.lost_steps == PATIENCE:
            raise DivergedError(_lost(trainer, values["loss"]))
        if (
            trainer.step_number % trainer.config.report_every == 0
            or trainer.step_number == trainer.config.steps
        ):
            means = {name: total / seen for name, total in sums.items()}
            report(trainer.step_number, means or dict.fromkeys(values, math.nan))
            sums, seen = {}, 0


def _lost(trainer: Trainer, loss: float) -> str:
    said = f"the gradient was no finite number {PATIENCE} steps in a row, up to step {trainer.step_number:,}"
    if trainer.step_number == PATIENCE:
        return (
            f"{said} (loss {loss:.4g}): it never was one, so look for numbers that aren't finite in the data"
        )
    return f"{said} (loss {loss:.4g}): lower the learning rate of {trainer.config.learning_rate:g}"
