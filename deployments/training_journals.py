"""Who else listens to a run: TensorBoard's event files, and MLflow where it is installed and asked for.

Nobody who listens can stop a run: what fails on the way is logged, and the run goes on.
"""

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alignhmr.core.errors import InputError, SetupError
from alignhmr.training.workplace import Listener, Pictures

log = logging.getLogger(__name__)

EXPERIMENT = "alignhmr"
_NO_LOSSES = ("learning_rate", "grad_norm", "people_per_s", "images_per_s")


class Journal(Listener):
    """A listener that writes what it hears, and is told of the end."""

    def close(self, *, finished: bool, card: Path | None = None) -> None:
        """``card`` is what the run wrote for a reader."""


class Several(Journal):
    """Each of them hears everything, whatever happens to the others."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = listeners

    def started(self, done: int, steps: int | None) -> None:
        self._tell("started", done, steps)

    def learned(self, step: int, values: Mapping[str, float]) -> None:
        self._tell("learned", step, values)

    def judged(self, step: int, figures: Mapping[str, float], pictures: Pictures) -> None:
        self._tell("judged", step, figures, pictures)

    def close(self, *, finished: bool, card: Path | None = None) -> None:
        self._tell("close", finished=finished, card=card)

    def _tell(self, method: str, *told: Any, **named: Any) -> None:
        for listener in self._listeners:
            if hasattr(listener, method):
                try:
                    getattr(listener, method)(*told, **named)
                except Exception as error:
                    log.warning("%s failed at %s: %s", type(listener).__name__, method, error)


class TensorBoard(Journal):
    """Event files in a folder: `tensorboard --logdir FOLDER` shows them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._writer, self._writers = folder, None, 0

    def started(self, done: int, steps: int | None) -> None:
        from tensorboardX import SummaryWriter

        self.close(finished=False)
        self._writers += 1
        # What is told again after a restart replaces what was told before. Names are by the second: two may meet.
        self._writer = SummaryWriter(
            str(self._folder),
            purge_step=done + 1,
            flush_secs=1,
            filename_suffix=f".{os.getpid()}.{self._writers}",
        )

    def learned(self, step: int, values: Mapping[str, float]) -> None:
        self._scalars(step, {tag_of(name): value for name, value in values.items()})

    def judged(self, step: int, figures: Mapping[str, float], pictures: Pictures) -> None:
        self._scalars(step, {f"held_out/{name}": value for name, value in figures.items()})
        assert self._writer is not None
        for title, pixels in pictures.items():
            self._writer.add_image(title, pixels, step, dataformats="HWC")

    def close(self, *, finished: bool, card: Path | None = None) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _scalars(self, step: int, values: Mapping[str, float]) -> None:
        assert self._writer is not None, "a run tells its start first"
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)


class Mlflow(Journal):
    """A run of the experiment ``alignhmr`` in a tracking store: a server's address, or ``file:FOLDER``."""

    def __init__(self, uri: str, name: str, about: Mapping[str, Any], memory: Path) -> None:
        """``memory`` is a file that keeps the run's id, so that a run that is taken up again is the same there.

        SetupError where mlflow isn't installed, InputError where nothing can be written at the address.
        """
        # Its own patience with a server that isn't there is some minutes; local folders it wants to be asked for.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        try:
            from mlflow.entities import Metric  # pyright: ignore[reportMissingImports] - an extra
            from mlflow.exceptions import MlflowException  # pyright: ignore[reportMissingImports]
            from mlflow.tracking import MlflowClient  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise SetupError(
                f"--mlflow needs the package mlflow, which doesn't load here ({error}); pip install 'alignhmr[mlflow]'"
            ) from error
        self._metric, self._memory = Metric, memory
        try:
            self._client = MlflowClient(tracking_uri=uri)
            self._run = self._taken_up(MlflowException) or self._begun(name)
            self._client.log_text(self._run, json.dumps(about, indent=1), "recipe.json")
        except (MlflowException, OSError) as error:
            raise InputError(
                f"nothing can be written to MLflow at {uri} ({str(error).splitlines()[0][:200]}); see that it runs, or"
                " leave --mlflow out"
            ) from error

    def learned(self, step: int, values: Mapping[str, float]) -> None:
        self._metrics(step, {tag_of(name): value for name, value in values.items()})

    def judged(self, step: int, figures: Mapping[str, float], pictures: Pictures) -> None:
        self._metrics(step, {f"held_out/{name}": value for name, value in figures.items()})
        for index, pixels in enumerate(pictures.values()):
            self._client.log_image(self._run, pixels, f"pictures/{step:07d}-{index}.png")

    def close(self, *, finished: bool, card: Path | None = None) -> None:
        if card is not None:
            self._client.log_artifact(self._run, str(card))
        self._client.set_terminated(self._run, "FINISHED" if finished else "FAILED")

    def _taken_up(self, failure: type[Exception]) -> str | None:
        try:
            run = self._memory.read_text().strip()
            self._client.update_run(run, status="RUNNING")
            return run
        except (OSError, failure):
            return None

    def _begun(self, name: str) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        experiment = found.experiment_id if found else self._client.create_experiment(EXPERIMENT)
        run = self._client.create_run(experiment, run_name=name).info.run_id
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        self._memory.write_text(run)
        return run

    def _metrics(self, step: int, values: Mapping[str, float]) -> None:
        now_ms = int(1000 * time.time())
        self._client.log_batch(
            self._run, metrics=[self._metric(name, value, now_ms, step) for name, value in values.items()]
        )


def tag_of(name: str) -> str:
    """Where a value of ``Listener.learned`` is shown: losses beside each other."""
    if name in _NO_LOSSES:
        return f"pace/{name}" if name.endswith("_per_s") else f"step/{name}"
    return "loss/total" if name == "loss" else f"loss/{name}"
