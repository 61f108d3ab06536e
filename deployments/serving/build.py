"""The application from its settings: what ``serve build`` imports, and what ``alignhmr serve`` runs."""

from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, BackpressureConfig

from alignhmr.core.recovery import Recoverer
from alignhmr.deployments.serving.app import Ingress
from alignhmr.deployments.serving.intake import Limits
from alignhmr.deployments.serving.readiness import MODELS
from alignhmr.deployments.serving.replica import Replica


class ServeSettings(BaseModel):
    """Everything about the service that is not its address. The keys of ``args`` in a Serve YAML."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str = Field(
        default="starter", description="Diffusion model: a preset's name or a checkpoint's folder."
    )
    scorer: str = Field(
        default="starter", description="HMR-Scorer: a preset's name or a checkpoint's folder."
    )
    body: str = Field(
        default="open", description="SMPL-format body: 'open' or a file made by `alignhmr body import`."
    )
    detector: str = Field(default="blazepose", description="What finds people.")
    device: str = Field(default="auto", description="'auto', 'cpu' or 'cuda'.")
    min_replicas: int = Field(default=1, ge=1, description="Model replicas kept at any load.")
    max_replicas: int = Field(default=1, ge=1, description="Model replicas at the highest load.")
    cpus_per_replica: float = Field(
        default=1, ge=0, description="Cores a model replica reserves and computes on."
    )
    threads: int = Field(
        default=1,
        ge=1,
        description="Threads that find people in a model replica; answers don't depend on it.",
    )
    gpus_per_replica: float = Field(default=0, ge=0, description="GPUs a model replica reserves.")
    ingress_replicas: int = Field(
        default=1, ge=1, description="HTTP ingress replicas; they decode nothing and hold no model."
    )
    max_ongoing: int = Field(
        default=16, ge=1, description="Pictures at one model replica at once: the batcher's supply."
    )
    max_queued: int = Field(
        default=48, ge=0, description="Pictures waiting per ingress replica; beyond, 503."
    )
    limits: Limits = Field(default_factory=Limits)


def build_app(args: ServeSettings) -> Application:
    """What a Serve YAML names as its ``import_path``, with the settings as its ``args``."""
    return assemble(partial(load_recoverer, args), args)


def assemble(load: Callable[[], Recoverer], settings: ServeSettings) -> Application:
    """The application around whatever recovers people."""
    actor: dict[str, Any] = {"num_cpus": settings.cpus_per_replica, "num_gpus": settings.gpus_per_replica}
    if settings.max_replicas > settings.min_replicas:
        # Twice a batch in flight per replica is a queue worth another replica; scaling down is slow because
        # loading models is.
        scaling = AutoscalingConfig(
            min_replicas=settings.min_replicas,
            max_replicas=settings.max_replicas,
            target_ongoing_requests=max(settings.max_ongoing / 2, 1),
            upscale_delay_s=5,
            downscale_delay_s=120,
        )
        replicas: dict[str, Any] = {"autoscaling_config": scaling}
    else:
        replicas = {"num_replicas": settings.min_replicas}
    models = serve.deployment(
        Replica,
        name=MODELS,
        ray_actor_options=actor,
        max_ongoing_requests=settings.max_ongoing,
        max_queued_requests=settings.max_queued,
        health_check_period_s=2,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=20,
        # A model that fails to load twice won't load at the twentieth try.
        max_constructor_retry_count=2,
        **replicas,
    ).bind(load, settings.limits.max_pixels)
    # The ingress is never full before its own gate is: health must answer under overload.
    room = 4 * settings.limits.max_held
    return Ingress.options(
        num_replicas=settings.ingress_replicas,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=room,
        max_queued_requests=room,
        backpressure_config=BackpressureConfig(retry_after_s=settings.limits.retry_after_s),
        health_check_period_s=5,
    ).bind(models, settings.limits)


def load_recoverer(settings: ServeSettings) -> Recoverer:
    return Recoverer.load(
        base=settings.base,
        scorer=settings.scorer,
        body=settings.body,
        detector=settings.detector,
        device=settings.device,
        threads=settings.threads,
    )


application = build_app(ServeSettings())
"""With default settings: ``serve build alignhmr.deployments.serving.build:application`` writes the YAML."""
