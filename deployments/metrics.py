"""Every metric of the jobs, defined once: Ray exports them for Prometheus on each node, with the prefix ``ray_``.

Counters of labelling are for the eye, as the ledger's counts are: what is done twice counts twice.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from alignhmr.deployments.logs import RUN


@dataclass(frozen=True)
class Metric:
    kind: Literal["counter", "gauge"]
    said: str
    tags: tuple[str, ...] = ()
    """Beside the run's id."""

    def exported(self, name: str) -> str:
        """Its name for Prometheus."""
        return f"ray_{name}_total" if self.kind == "counter" else f"ray_{name}"


METRICS: Mapping[str, Metric] = {
    "alignhmr_label_pictures": Metric("counter", "Pictures that were searched for people."),
    "alignhmr_label_people": Metric("counter", "People found."),
    "alignhmr_label_recovered": Metric("counter", "People with scored hypotheses."),
    "alignhmr_label_pairs": Metric("counter", "Preference pairs."),
    "alignhmr_label_errors": Metric("counter", "Rows with an error code.", ("code",)),
    "alignhmr_label_busy_seconds": Metric("counter", "Seconds that workers worked.", ("stage",)),
    "alignhmr_label_computed_seconds": Metric("counter", "Seconds of a CPU that workers used.", ("stage",)),
    "alignhmr_label_parts": Metric("counter", "Parts written."),
    "alignhmr_label_todo": Metric("gauge", "Pictures that the attempt has to do."),
    "alignhmr_train_step": Metric("gauge", "Steps done.", ("model",)),
    "alignhmr_train_steps": Metric("gauge", "Steps to do.", ("model",)),
    "alignhmr_train_value": Metric("gauge", "Loss, gradient norm, pace, ...", ("model", "value")),
    "alignhmr_train_held_out": Metric("gauge", "Figures on held-out people.", ("model", "figure")),
}
_COUNTED = {"searched": "pictures", "people": "people", "recovered": "recovered", "pairs": "pairs"}
"""Key of the ledger's counts -> metric."""


def count(name: str, amount: float = 1.0, /, **tags: str) -> None:
    """Adds to a counter; nothing where this process has no Ray, or nothing is to be added."""
    if amount > 0 and _connected():
        _made(name).inc(amount, _tags(tags))


def show(name: str, value: float, /, **tags: str) -> None:
    """Sets a gauge; nothing where this process has no Ray."""
    if _connected():
        _made(name).set(value, _tags(tags))


def count_stage(counts: Mapping[str, float]) -> None:
    """What one call of a labelling stage tells the ledger, as metrics."""
    for key, value in counts.items():
        kind, _, which = key.partition(".")
        if kind == "error":
            count("alignhmr_label_errors", value, code=which)
        elif kind in ("seconds", "computed"):
            count(f"alignhmr_label_{'busy' if kind == 'seconds' else kind}_seconds", value, stage=which)
        elif kind in _COUNTED:
            count(f"alignhmr_label_{_COUNTED[kind]}", value)


def _connected() -> bool:
    import ray

    return ray.is_initialized()


@cache
def _made(name: str) -> Any:
    from ray.util import metrics

    metric = METRICS[name]
    kinds = {"counter": metrics.Counter, "gauge": metrics.Gauge}
    return kinds[metric.kind](name, description=metric.said, tag_keys=("run", *metric.tags))


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {"run": os.environ.get(RUN, ""), **tags}
