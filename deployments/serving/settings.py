"""Everything about the service that is not its address: the keys of ``args`` in a Serve YAML."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from alignhmr.deployments.serving.intake import Limits

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Pool(BaseModel):
    """Replicas of one kind: how many, on what, and what waits for them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: str = Field(default="auto", description="'auto', 'cpu' or 'cuda'.")
    min_replicas: int = Field(
        default=1,
        ge=0,
        description="Kept at any load; with 0 the first caller after a quiet time waits for a start.",
    )
    max_replicas: int = Field(default=1, ge=1, description="At the highest load.")
    cpus_per_replica: float = Field(default=1, ge=0, description="Cores a replica reserves and computes on.")
    gpus_per_replica: float = Field(default=0, ge=0, description="GPUs a replica reserves.")
    threads: int = Field(
        default=1, ge=1, description="Threads that look at pictures in a replica; answers don't depend on it."
    )
    max_ongoing: int = Field(
        default=16, ge=1, description="Pictures at one replica at once: the batcher's supply."
    )
    max_queued: int = Field(
        default=48, ge=0, description="Pictures waiting per ingress replica; beyond, 503."
    )

    @model_validator(mode="after")
    def _least_is_not_most(self) -> "Pool":
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"min_replicas {self.min_replicas} is more than max_replicas {self.max_replicas}; raise the latter"
            )
        return self


class Jobs(BaseModel):
    """Large batches that nobody waits for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    location: str | None = Field(
        default=None,
        description="Where pictures and results are kept: an absolute path that every node has, or s3://; no jobs if"
        " left out. Nothing is deleted there.",
    )
    max_pictures: int = Field(default=1000, ge=1, description="Most pictures of one job; a count.")
    max_body_bytes: int = Field(
        default=512 << 20, ge=1, description="Largest request that makes a job, bytes."
    )
    read_s: float = Field(default=300.0, gt=0, description="For such a request to arrive, seconds.")
    max_uploads: int = Field(default=2, ge=1, description="Such requests being read by one ingress at once.")
    at_once: int = Field(
        default=4, ge=1, description="Pictures of jobs at the models at once; callers go first."
    )


class CanarySettings(BaseModel):
    """A candidate that answers a share of the pictures, and is compared with the service's own base on them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: str = Field(description="Its name among the checkpoints.")
    share: float = Field(ge=0, le=1, description="Of the pictures, until `alignhmr promote` decides.")
    location: str = Field(description="Where comparisons and the decision are kept: a path or s3://.")


class ServeSettings(BaseModel):
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
    perception: Pool = Field(
        default_factory=Pool, description="Replicas that decode pictures and find people."
    )
    recovery: Pool = Field(default_factory=Pool, description="Replicas that recover bodies.")
    ingress_replicas: int = Field(default=1, ge=1, description="HTTP ingress replicas; they hold no model.")
    keys: str | None = Field(
        default=None,
        description="Key file of `alignhmr keys`: an absolute path on every node, or s3://; open to all if left out.",
    )
    limits: Limits = Field(default_factory=Limits)
    jobs: Jobs = Field(default_factory=Jobs)
    checkpoints: dict[Name, str] = Field(
        default_factory=dict,
        description="Further base models by name, files or presets, for requests that name a checkpoint and for a"
        " canary. They are loaded when they are asked for.",
    )
    canary: CanarySettings | None = Field(default=None)

    @model_validator(mode="after")
    def _candidate_is_known(self) -> "ServeSettings":
        if self.canary is not None and self.canary.checkpoint not in self.checkpoints:
            raise ValueError(
                f"canary.checkpoint {self.canary.checkpoint!r} is none of checkpoints; name it there"
            )
        return self
