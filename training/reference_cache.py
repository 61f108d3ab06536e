"""What the reference makes of each preference under each draw: worked out once, kept on disk.

The reference never learns, and a preference meets the same few draws again and again (``preference_batches.py``).
Errors are kept by the reference's weights, the weights of the error's parts, the row and its draw, so that other
runs, epochs and seeds find them again.
"""

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from alignhmr.training.base import Precision
from alignhmr.training.preference import PreferenceBatch, PreferenceConfig, PreferenceObjective

log = logging.getLogger(__name__)


class ReferenceCache:
    """One worker's: reads what all have kept, and keeps what it worked out itself."""

    def __init__(
        self, folder: Path | None, objective: PreferenceObjective, base_digest: str, bodies: int, *, rank: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:  # fmt: skip
        """``bodies`` a row; without a folder nothing outlives the run."""
        self.folder = (
            None
            if folder is None
            else folder / key_of(base_digest, objective.config, bodies, objective.precision)
        )
        self._objective, self._device = objective, device
        self._name = f"errors-{rank}.safetensors"
        self._known: dict[str, np.ndarray] = {}
        self._made: dict[str, np.ndarray] = {}
        self.found = self.worked_out = 0
        """Rows."""
        for path in sorted(self.folder.glob("errors-*.safetensors")) if self.folder is not None else []:
            kept = _read(path)
            self._known |= kept
            if path.name == self._name:
                self._made |= kept

    def __call__(self, rows: list[str], batch: PreferenceBatch) -> Float[Tensor, "rows bodies"]:
        """The reference's errors of named rows."""
        missing = [index for index, row in enumerate(rows) if row not in self._known]
        if missing:
            errors = self._objective.reference_errors(_part(batch, missing).to(self._device)).cpu().numpy()
            for index, error in zip(missing, errors, strict=True):
                self._known[rows[index]] = self._made[rows[index]] = error
        self.found += len(rows) - len(missing)
        self.worked_out += len(missing)
        return torch.from_numpy(np.stack([self._known[row] for row in rows]))

    def keep(self) -> None:
        """Whole or not at all."""
        if not self._made or self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        rows = sorted(self._made)
        partly = self.folder / f"{self._name}.{os.getpid()}"
        save_file(
            {
                "rows": np.frombuffer("\n".join(rows).encode(), np.uint8),
                "errors": np.stack([self._made[row] for row in rows]),
            },
            partly,
        )
        partly.replace(self.folder / self._name)


def key_of(
    base_digest: str, config: PreferenceConfig, bodies: int, precision: Precision = "fp32"
) -> str:  # fmt: skip
    """What errors depend on besides the row: the reference's weights, how parts are weighed, how it multiplies."""
    text = f"{base_digest} {config.pose} {config.shape} {config.camera} {bodies} {precision}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        kept = load_file(path)
        rows = kept["rows"].tobytes().decode().split("\n")
        errors = kept["errors"]
        if len(rows) != len(errors) or not np.isfinite(errors).all():
            raise ValueError(f"{len(rows)} rows, {len(errors)} errors")
        return dict(zip(rows, errors, strict=True))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        log.warning("the reference's errors in %s can't be read and are worked out again (%s)", path, error)
        return {}


def _part(batch: PreferenceBatch, index: Sequence[int]) -> PreferenceBatch:
    rows = torch.tensor(index)
    return PreferenceBatch(
        batch.evidence.take(rows), batch.bodies[rows], batch.advantage[rows], batch.noise[rows], batch.t[rows]
    )
