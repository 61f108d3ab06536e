"""The application from its settings: what ``serve build`` imports, and what ``alignhmr serve`` runs."""

from collections.abc import Callable
from functools import partial
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, BackpressureConfig

from alignhmr.core.perception.detector import load_detector
from alignhmr.core.perception.finder import Finder
from alignhmr.core.recovery import Recoverer
from alignhmr.deployments.prepared import NobodySearched
from alignhmr.deployments.serving.app import Ingress
from alignhmr.deployments.serving.job_worker import JobWorker
from alignhmr.deployments.serving.perception import PerceptionReplica
from alignhmr.deployments.serving.readiness import PERCEPTION, RECOVERY
from alignhmr.deployments.serving.recovering import RecoveryReplica
from alignhmr.deployments.serving.settings import Pool, ServeSettings

GRACE_S = 30.0
"""For requests in progress when replicas are told to end."""


def build_app(args: ServeSettings) -> Application:
    """What a Serve YAML names as its ``import_path``, with the settings as its ``args``."""
    return assemble(
        partial(load_recoverer, args), args, partial(load_finder, args), partial(load_further, args)
    )


def assemble(
    load: Callable[[], Recoverer],
    settings: ServeSettings,
    finder: Callable[[], Finder | Recoverer] | None = None,
    further: Callable[[str], Recoverer] | None = None,
) -> Application:
    """The application around whatever recovers people, and whatever finds them (the same, if left out).

    ``further`` loads one of ``settings.checkpoints`` by name.
    """
    perception = serve.deployment(PerceptionReplica, name=PERCEPTION, **_pool(settings.perception)).bind(
        finder or load, settings.limits.max_pixels
    )
    recovery = serve.deployment(RecoveryReplica, name=RECOVERY, **_pool(settings.recovery)).bind(
        load, further
    )
    worker = None
    if settings.jobs.location is not None:
        worker = serve.deployment(
            JobWorker,
            name="Jobs",
            num_replicas=1,
            ray_actor_options={"num_cpus": 0},
            health_check_period_s=2,
            graceful_shutdown_timeout_s=1,  # what it leaves undone is on storage
        ).bind(perception, recovery, settings)
    # The ingress is never full before its own gate is: health must answer under overload.
    room = 4 * settings.limits.max_held
    return Ingress.options(
        num_replicas=settings.ingress_replicas,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=room,
        max_queued_requests=room,
        backpressure_config=BackpressureConfig(retry_after_s=settings.limits.retry_after_s),
        health_check_period_s=5,
        graceful_shutdown_timeout_s=GRACE_S,
    ).bind(perception, recovery, settings, worker)


def _pool(pool: Pool) -> dict[str, Any]:
    """The options of a deployment of model replicas."""
    if pool.max_replicas > pool.min_replicas:
        # Half of what a replica takes in at once, waiting or at work, is worth another replica; scaling down is
        # slow because loading models is.
        scaling = AutoscalingConfig(
            min_replicas=pool.min_replicas,
            max_replicas=pool.max_replicas,
            target_ongoing_requests=max(pool.max_ongoing / 2, 1),
            upscale_delay_s=5,
            downscale_delay_s=120,
        )
        replicas: dict[str, Any] = {"autoscaling_config": scaling}
    else:
        replicas = {"num_replicas": pool.max_replicas}
    return {
        "ray_actor_options": {"num_cpus": pool.cpus_per_replica, "num_gpus": pool.gpus_per_replica},
        "max_ongoing_requests": pool.max_ongoing,
        "max_queued_requests": pool.max_queued,
        "health_check_period_s": 2,
        "health_check_timeout_s": 30,
        "graceful_shutdown_timeout_s": GRACE_S,
        # A model that fails to load twice won't load at the twentieth try.
        "max_constructor_retry_count": 2,
        **replicas,
    }


def load_finder(settings: ServeSettings) -> Finder:
    pool = settings.perception
    return Finder(load_detector(settings.detector, pool.device, threads=pool.threads))


def load_further(settings: ServeSettings, name: str) -> Recoverer:
    """One of the further checkpoints: another base, with everything else as it is."""
    return load_recoverer(settings.model_copy(update={"base": settings.checkpoints[name]}))


def load_recoverer(settings: ServeSettings) -> Recoverer:
    """Without a detector, which lives elsewhere."""
    nobody: Any = NobodySearched()
    return Recoverer.load(
        base=settings.base,
        scorer=settings.scorer,
        body=settings.body,
        detector=nobody,
        device=settings.recovery.device,
        threads=settings.recovery.threads,
    )


application = build_app(ServeSettings())
"""With default settings: ``serve build alignhmr.deployments.serving.build:application`` writes the YAML."""
