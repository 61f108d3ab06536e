"""What a run took and what that costs: seconds and accelerator-seconds by stage, money for 1,000 images."""

from collections.abc import Mapping, Sequence
from typing import Any

from alignhmr.deployments.labeling.config import Prices

Held = Mapping[str, tuple[float, float]]
"""Stage -> CPU slots and GPUs that its workers hold."""


def stage_use(
    held: Held, busy_s: Mapping[str, float], wall_s: float, a_worker: Held,
    computed_s: Mapping[str, float] | None = None,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Of each stage: seconds that its workers worked, CPU- and accelerator-seconds that they held, and CPU-seconds
    that they used, which don't grow where workers share too few cores.

    A pool that grew has worked for more seconds than its first workers held; then those count. ``a_worker`` is what
    one worker of a stage holds.
    """
    use = {}
    for name, (cpus, gpus) in held.items():
        busy = busy_s.get(name, 0.0)
        one_cpu, one_gpu = a_worker.get(name, (cpus, gpus))
        use[name] = {
            "busy_s": round(busy, 2),
            "cpu_s": round(max(cpus * wall_s, one_cpu * busy), 2),
            "accelerator_s": round(max(gpus * wall_s, one_gpu * busy), 2),
            "accelerator_busy_s": round(one_gpu * busy, 2),
            "computed_s": round((computed_s or {}).get(name, 0.0), 2),
        }
    return use


def add_use(attempts: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """The stages of several attempts together."""
    total: dict[str, dict[str, float]] = {}
    for attempt in attempts:
        for stage, use in attempt.get("stages", {}).items():
            sums = total.setdefault(stage, dict.fromkeys(use, 0.0))
            for name, value in use.items():
                sums[name] = round(sums.get(name, 0.0) + value, 2)
    return total


def cost(
    prices: Prices, stages: Mapping[str, Mapping[str, float]], wall_s: float, images: int
) -> dict[str, Any]:
    """By the user's price table: of the whole run, of 1,000 images, and by stage."""
    by_stage = {
        name: (use["cpu_s"] * prices.cpu_hour + use["accelerator_s"] * prices.gpu_hour) / 3600
        for name, use in stages.items()
    }
    total = sum(by_stage.values()) + wall_s * prices.hour / 3600
    return {
        "currency": prices.currency,
        "total": round(total, 4),
        "per_1000_images": round(1000 * total / images, 4) if images else None,
        "by_stage": {name: round(value, 4) for name, value in by_stage.items()},
        "prices": {"cpu_hour": prices.cpu_hour, "gpu_hour": prices.gpu_hour, "hour": prices.hour},
    }
