"""Which CPU and GPU slots the stages hold, and whether Ray has room for them."""

import logging
import os
from collections import Counter
from typing import Any

import ray

from alignhmr.core.errors import SetupError
from alignhmr.deployments.labeling.captioning import KEPT, Captioner
from alignhmr.deployments.labeling.config import LabelConfig, Stage
from alignhmr.deployments.labeling.models import Models

GIB = 2**30

log = logging.getLogger(__name__)

LIGHT = 0.25
"""Scheduling slots of a task that moves rows and computes next to nothing."""
_SHARE = 0.25
"""Of a GPU: the starter models are small, and one GPU must hold all stages of a small machine."""


def gpus_of(models: Models, name: str, stage: Stage) -> float:
    """GPUs of one worker of this stage."""
    if stage.num_gpus is not None:
        return stage.num_gpus
    on_cpu = models.device == "cpu" or (name == "people" and models.detector == "blazepose")
    return 0.0 if on_cpu else _SHARE


def asked(stage: Stage) -> dict[str, Any]:
    """What one worker asks Ray for beside CPUs and GPUs."""
    memory = {} if stage.memory_gib is None else {"memory": stage.memory_gib * GIB}
    return memory | ({"resources": dict(stage.custom)} if stage.custom else {})


def _stages(config: LabelConfig) -> dict[str, Stage]:
    use = config.resources
    return {"read": use.read, "people": use.people, "recover": use.recover, "score": use.score}


def held(config: LabelConfig, captioner: Captioner, models: Models) -> dict[str, tuple[float, float]]:
    """Stage -> CPU slots and GPUs that its workers hold from the start to the end."""
    stages = _stages(config)
    if captioner.source == KEPT:  # a label set is read and scored, nothing else
        stages = {name: stages[name] for name in ("read", "score")}
    found = {
        name: (
            stage.workers * stage.num_cpus,
            stage.workers * gpus_of(models, name, stage) if name != "read" else 0.0,
        )
        for name, stage in stages.items()
    }
    if captioner.num_cpus or captioner.num_gpus:
        found["caption"] = (captioner.num_cpus, captioner.num_gpus)
    return found | {"write": (LIGHT, 0.0)}


def check_resources(config: LabelConfig, captioner: Captioner, models: Models) -> None:
    """Stages that Ray can never place all at once would wait for ever, in silence.

    SetupError where Ray was started here; a cluster that was joined may grow, and is only warned of.
    """
    stages = held(config, captioner, models)
    wanted = {
        "CPU": sum(cpus for cpus, _ in stages.values()),
        "GPU": sum(gpus for _, gpus in stages.values()),
    } | _others(config, set(stages))
    for name, slots in wanted.items():
        have = ray.cluster_resources().get(name, 0.0)
        if slots > have + 1e-6:
            text = f"the stages ask for {slots:g} {name} slots together, Ray has {have:g}"
            if name == "memory":
                text = (
                    f"the stages ask for {slots / GIB:.1f} GiB of memory together, Ray has {have / GIB:.1f}"
                )
            if os.environ.get("RAY_ADDRESS"):
                log.warning("%s so far; waiting for the cluster to grow", text)
                continue
            raise SetupError(
                f"{text}; lower workers, num_cpus, num_gpus, memory_gib or custom under 'resources' in the config, or"
                " use a larger machine"
            )


def _others(config: LabelConfig, held_by: set[str]) -> dict[str, float]:
    """Memory and custom resources that the first workers of these stages hold together."""
    total: Counter[str] = Counter()
    for name, stage in (_stages(config) | {"caption": config.resources.caption}).items():
        if name in held_by:
            for resource, amount in ({"memory": (stage.memory_gib or 0.0) * GIB} | stage.custom).items():
                total[resource] += stage.workers * amount  # type: ignore[assignment]
    return dict(total)


def a_worker(config: LabelConfig, captioner: Captioner, models: Models) -> dict[str, tuple[float, float]]:
    """Stage -> CPU slots and GPUs that one of its workers holds."""
    found = {
        name: (stage.num_cpus, gpus_of(models, name, stage) if name != "read" else 0.0)
        for name, stage in _stages(config).items()
    }
    return found | {"caption": (captioner.num_cpus, captioner.num_gpus), "write": (LIGHT, 0.0)}
