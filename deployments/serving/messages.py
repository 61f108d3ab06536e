"""What passes between the ingress and replicas with models. Imports no torch: an ingress starts and stays small."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from alignhmr.core.records import Intrinsics, Person, Recovery
from alignhmr.deployments.serving.schemas import Options


@dataclass(frozen=True)
class Look:
    """What one picture is to be looked at for. Mirrors the request's options that matter to the models."""

    hypotheses: int
    seed: int
    boxes: list[list[float]] | None
    focal_px: float | None
    vertices: bool
    """The selected meshes are wanted."""
    meshes: bool = False
    """Every hypothesis's mesh is wanted."""
    bvh: bool = False
    refine: bool = False
    text: str | None = None
    keypoints: list[list[tuple[float, float, float]]] | None = None
    checkpoint: str | None = None
    """None is the service's own."""

    @classmethod
    def of(cls, options: Options, outputs: frozenset[str]) -> "Look":
        return cls(
            options.hypotheses, options.seed, options.boxes, options.focal_px, bool(outputs & {"glb", "overlay"}),
            "meshes" in outputs, "bvh" in outputs, options.refine, options.text, options.keypoints,
            options.checkpoint,
        )  # fmt: skip


@dataclass(frozen=True)
class Found:
    """Everyone in one picture, before any body is recovered."""

    size: tuple[int, int]
    sha256: str
    intrinsics: Intrinsics
    people: list[Person]
    detector: str
    """NAME:DIGEST of what found them."""
    timings_ms: dict[str, float]
    """decode, find."""


@dataclass(frozen=True)
class Seen:
    """Everyone in one picture."""

    size: tuple[int, int]
    sha256: str
    intrinsics: Intrinsics
    recoveries: list[Recovery]
    joints_px: list[Float[np.ndarray, "24 2"]]
    """The selected joints in the picture, one array per recovery."""
    left_out: list[str]
    """For each person who was seen too little of: why."""
    body_model: str
    models: dict[str, str]
    vertices_cam_m: list[Float[np.ndarray, "verts 3"]] | None
    """The selected meshes, one per recovery; None unless asked for."""
    faces: Int[np.ndarray, "faces 3"] | None
    timings_ms: dict[str, float]
    """decode, find, recover."""
    meshes_cam_m: list[Float[np.ndarray, "hyps verts 3"]] | None = None
    """Every hypothesis's mesh, one array per recovery; None unless asked for."""
    bvh: list[str] | None = None
    """A BVH file's text per recovery; None unless asked for."""


@dataclass(frozen=True)
class Description:
    """What a recovery replica runs."""

    body_model: str
    models: dict[str, str]
    faces: int
