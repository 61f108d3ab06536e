"""Which CPU and GPU slots the stages hold, and whether Ray has room for them."""

import logging
import os

import ray

from alignhmr.core.errors import SetupError
from alignhmr.deployments.labeling.captioning import KEPT, Captioner
from alignhmr.deployments.labeling.config import LabelConfig, Stage
from alignhmr.deployments.labeling.models import Models

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
    }
    for name, slots in wanted.items():
        have = ray.cluster_resources().get(name, 0.0)
        if slots > have + 1e-6:
            text = f"the stages ask for {slots:g} {name} slots together, Ray has {have:g}"
            if os.environ.get("RAY_ADDRESS"):
                log.warning("%s so far; waiting for the cluster to grow", text)
                continue
            raise SetupError(
                f"{text}; lower workers, num_cpus or num_gpus under 'resources' in the config file, or use a larger"
                " machine"
            )


def a_worker(config: LabelConfig, captioner: Captioner, models: Models) -> dict[str, tuple[float, float]]:
    """Stage -> CPU slots and GPUs that one of its workers holds."""
    found = {
        name: (stage.num_cpus, gpus_of(models, name, stage) if name != "read" else 0.0)
        for name, stage in _stages(config).items()
    }
    return found | {"caption": (captioner.num_cpus, captioner.num_gpus), "write": (LIGHT, 0.0)}
