"""Who watches a training from outside: gauges for Prometheus, and a notebook in the folder for ``alignhmr status``."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alignhmr.deployments import metrics
from alignhmr.deployments.labeling.output import sign_of_life
from alignhmr.deployments.logs import RUN
from alignhmr.deployments.training_journals import Journal
from alignhmr.deployments.training_progress import NOTEBOOK
from alignhmr.training.workplace import Pictures

_EVERY_S = 2.0


class Gauges(Journal):
    def __init__(self, model: str) -> None:
        self._model = model

    def started(self, done: int, steps: int | None) -> None:
        metrics.show("alignhmr_train_step", done, model=self._model)
        if steps is not None:
            metrics.show("alignhmr_train_steps", steps, model=self._model)

    def learned(self, step: int, values: Mapping[str, float]) -> None:
        metrics.show("alignhmr_train_step", step, model=self._model)
        for name, value in values.items():
            metrics.show("alignhmr_train_value", value, model=self._model, value=name)

    def judged(self, step: int, figures: Mapping[str, float], pictures: Pictures) -> None:
        for name, value in figures.items():
            metrics.show("alignhmr_train_held_out", value, model=self._model, figure=name)


class Notebook(Journal):
    """``OUT/NAME.progress.json``, written whole every two seconds at most; its last state stays."""

    def __init__(self, out: Path, name: str) -> None:
        self._path, self._written = out / f"{name}{NOTEBOOK}", 0.0
        self._told: dict[str, Any] = {
            "model": name, "run": os.environ.get(RUN, ""), "status": "running", "step": 0, "steps": None,
            "began": time.time(), "began_at_step": 0, "values": {}, "figures": {},
        }  # fmt: skip

    def started(self, done: int, steps: int | None) -> None:
        # Told again when workers were lost: the pace is that since then.
        self._told |= {"step": done, "steps": steps, "began": time.time(), "began_at_step": done}
        self._write()

    def learned(self, step: int, values: Mapping[str, float]) -> None:
        self._told |= {"step": step, "values": dict(values)}
        if time.monotonic() - self._written > _EVERY_S:
            self._write()

    def judged(self, step: int, figures: Mapping[str, float], pictures: Pictures) -> None:
        self._told |= {"step": step, "figures": dict(figures)}
        self._write()

    def close(self, *, finished: bool, card: Path | None = None) -> None:
        self._told["status"] = "finished" if finished else "failed"
        self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(self._told | sign_of_life()))
        partial.replace(self._path)
