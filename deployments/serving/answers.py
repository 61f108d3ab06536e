"""What the models saw becomes what the caller gets: schemas, a GLB, an overlay."""

import base64
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np
from PIL import Image

from alignhmr.core.body.meshes import glb
from alignhmr.core.body.skeleton import JOINTS, KEYPOINTS
from alignhmr.core.errors import InputError, NoPersonError
from alignhmr.core.perception.images import decode
from alignhmr.core.records import Hypotheses, Intrinsics
from alignhmr.core.synthetic.overlay import overlay
from alignhmr.core.synthetic.shading import palette_color, to_linear
from alignhmr.deployments.serving.intake import Limits, Query
from alignhmr.deployments.serving.messages import Description, Seen
from alignhmr.deployments.serving.refusals import error_answer
from alignhmr.deployments.serving.schemas import (
    HypothesesAnswer,
    IntrinsicsAnswer,
    LimitsAnswer,
    ModelsAnswer,
    PersonAnswer,
    PictureAnswer,
    RecoverAnswer,
    RefinementAnswer,
    Timings,
)

MAX_OVERLAY_SIDE_PX = 1600
"""A PNG of 12 megapixels takes seconds and 20 MB; nobody looks at one in full."""
NOBODY = "nobody was found in this picture; give boxes if there is someone"


@dataclass(frozen=True)
class Drawn:
    """The binary outputs of one picture."""

    overlay: bytes | None = None
    glb: bytes | None = None


def draw(data: bytes, seen: Seen | InputError, outputs: frozenset[str]) -> Drawn:
    """The outputs asked for that are drawings. Takes tens of milliseconds: not for an event loop."""
    if isinstance(seen, InputError) or seen.vertices_cam_m is None or seen.faces is None:
        return Drawn()
    picture_png = mesh_glb = None
    if "overlay" in outputs:
        # Decoded a second time: drawing is rare, and pixels cost far more than bytes on their way.
        pixels, intrinsics = _reduced(decode(data).pixels, seen.intrinsics)
        if seen.vertices_cam_m:
            pixels = overlay(pixels, seen.vertices_cam_m, seen.faces, intrinsics)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=3)
        picture_png = buffer.getvalue()
    if "glb" in outputs and seen.vertices_cam_m:
        about = {"body_model": seen.body_model, "picture_sha256": seen.sha256}
        # The overlay's colours, so that people can be told apart in both.
        shown = [palette_color(index) for index in range(len(seen.vertices_cam_m))]
        colors = [tuple(to_linear(np.array(color)).tolist()) for color in shown]
        mesh_glb = glb(seen.vertices_cam_m, seen.faces, colors=colors, about=about)
    return Drawn(picture_png, mesh_glb)


def _reduced(pixels: np.ndarray, intrinsics: Intrinsics) -> tuple[np.ndarray, Intrinsics]:
    """The picture with its longer side at most MAX_OVERLAY_SIDE_PX, and its camera."""
    height, width = pixels.shape[:2]
    scale = MAX_OVERLAY_SIDE_PX / max(width, height)
    if scale >= 1:
        return pixels, intrinsics
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    smaller = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX, reducing_gap=2))
    center = intrinsics.center_px[0] * scale, intrinsics.center_px[1] * scale
    return smaller, replace(intrinsics, focal_px=intrinsics.focal_px * scale, center_px=center)


def single_body(drawn: Drawn, wanted: str) -> bytes:
    """The one drawing that is the whole answer."""
    body = drawn.overlay if wanted == "overlay" else drawn.glb
    if body is None:
        raise NoPersonError(f"{NOBODY}; a mesh file of nobody can't be made, ask for JSON instead")
    return body


def timings(seen: list[Seen | InputError], started: float, read: float, looked: float) -> Timings:
    """Milliseconds by stage, from ``time.perf_counter`` at the request's borders and the replicas' clocks."""
    now = time.perf_counter()
    stages = [item.timings_ms for item in seen if isinstance(item, Seen)]
    spent = {name: max(stage[name] for stage in stages) for name in ("decode", "find", "recover")}
    wait = (looked - read) * 1e3 - sum(spent.values())
    edges = {"read": read - started, "draw": now - looked, "total": now - started}
    spent |= {name: seconds * 1e3 for name, seconds in edges.items()} | {"wait": max(wait, 0.0)}
    return Timings(**{name: round(value, 2) for name, value in spent.items()})


def about(seen: list[Seen | InputError], spent: Timings) -> dict[str, str]:
    """Headers with what a drawing has no room for: whose answer it is, and where the time went."""
    models = next(item.models for item in seen if isinstance(item, Seen))
    return {
        "X-Models": ", ".join(f"{role}={digest}" for role, digest in models.items()),
        "Server-Timing": ", ".join(f"{stage};dur={ms:g}" for stage, ms in spent.model_dump().items()),
    }


def recover_answer(
    query: Query,
    seen: list[Seen | InputError],
    drawn: list[Drawn],
    spent: Timings,
    request_id: str,
) -> RecoverAnswer:
    """The JSON answer to a request of which at least one picture could be used."""
    usable = next(item for item in seen if isinstance(item, Seen))
    pictures = [
        picture_answer(item, drawing, request_id, query.options.outputs)
        for item, drawing in zip(seen, drawn, strict=True)
    ]
    return RecoverAnswer(
        request_id=request_id,
        pictures=pictures,
        hypotheses=query.options.hypotheses,
        seed=query.options.seed,
        body_model=usable.body_model,
        models=usable.models,
        faces_base64=faces_answer(usable),
        timings_ms=spent,
    )


def faces_answer(seen: Seen) -> str | None:
    """The triangles that go with meshes, where these were asked for."""
    if seen.meshes_cam_m is None or seen.faces is None:
        return None
    return _base64(seen.faces.astype("<i4").tobytes())


def models_answer(description: Description, limits: Limits, checkpoints: list[str]) -> ModelsAnswer:
    """What runs, what its numbers are called, and what may be sent to it."""
    shown = {name: getattr(limits, name) for name in LimitsAnswer.model_fields}
    return ModelsAnswer(
        version=version("alignhmr"),
        body_model=description.body_model,
        models=description.models,
        joints=list(JOINTS),
        keypoints=list(KEYPOINTS),
        checkpoints=checkpoints,
        faces=description.faces,
        limits=LimitsAnswer(**shown),
    )


def picture_answer(
    seen: Seen | InputError, drawn: Drawn, request_id: str, outputs: Sequence[str]
) -> PictureAnswer:
    """The part of an answer that is about one picture."""
    if isinstance(seen, InputError):
        error = error_answer(seen, request_id)
        return PictureAnswer(sha256="", width_px=0, height_px=0, intrinsics=None, people=[], error=error)
    camera = seen.intrinsics
    return PictureAnswer(
        sha256=seen.sha256,
        width_px=seen.size[0],
        height_px=seen.size[1],
        intrinsics=IntrinsicsAnswer(
            focal_px=camera.focal_px, center_px=list(camera.center_px), source=camera.source
        ),
        people=[_person(seen, index, outputs) for index in range(len(seen.recoveries))],
        left_out=seen.left_out,
        note=_note(seen),
        overlay_png_base64=_base64(drawn.overlay),
        glb_base64=_base64(drawn.glb),
    )


def _note(seen: Seen) -> str | None:
    if seen.left_out:
        return f"{len(seen.left_out)} of the people found could not be recovered: {seen.left_out[0]}"
    return None if seen.recoveries else NOBODY


def _person(seen: Seen, index: int, outputs: Sequence[str]) -> PersonAnswer:
    recovery = seen.recoveries[index]
    hypotheses, chosen = recovery.hypotheses, recovery.selected
    meshes_cam_m = None if seen.meshes_cam_m is None else seen.meshes_cam_m[index]
    joints_cam_m = hypotheses.joints_cam_m[chosen]
    return PersonAnswer(
        box_px=_listed(recovery.person.box_px, 2),
        detection_score=round(float(recovery.person.score), 4),
        keypoints_px=_listed(recovery.person.keypoints_px, 3),
        pose_aa=_listed(hypotheses.pose_aa[chosen], 6),
        betas=_listed(hypotheses.betas[chosen], 6),
        transl_cam_m=_listed(hypotheses.transl_cam_m[chosen], 6),
        joints_cam_m=_listed(joints_cam_m, 6),
        joints_px=_listed(seen.joints_px[index], 3),
        joint_spread_mm=_listed(recovery.joint_spread_mm, 2),
        joint_error_mm=None if recovery.joint_error_mm is None else _listed(recovery.joint_error_mm, 1),
        score=round(float(hypotheses.scores[chosen]), 6),
        expected_error_mm=round(float(hypotheses.expected_error_mm[chosen]), 2),
        error_interval_mm=None
        if recovery.error_interval_mm is None
        else _listed(recovery.error_interval_mm, 1),
        hypothesis_scores=_listed(hypotheses.scores, 6),
        selected=int(chosen),
        seed=recovery.seed,
        refinement=None if recovery.refinement is None else RefinementAnswer(**recovery.refinement.as_dict()),
        hypotheses=_hypotheses(hypotheses) if "hypotheses" in outputs else None,
        meshes_base64=None
        if meshes_cam_m is None
        else _base64(_tenths_of_mm(meshes_cam_m - hypotheses.transl_cam_m[:, None])),
        bvh=None if seen.bvh is None else seen.bvh[index],
    )


def _hypotheses(hypotheses: Hypotheses) -> HypothesesAnswer:
    return HypothesesAnswer(
        pose_aa=_listed(hypotheses.pose_aa, 6),
        betas=_listed(hypotheses.betas, 6),
        transl_cam_m=_listed(hypotheses.transl_cam_m, 6),
        joints_cam_m=_listed(hypotheses.joints_cam_m, 6),
        keypoints_cam_m=_listed(hypotheses.keypoints_cam_m, 6),
        keypoints_px=_listed(hypotheses.keypoints_px, 3),
        expected_error_mm=_listed(hypotheses.expected_error_mm, 2),
    )


def _tenths_of_mm(offsets_m: np.ndarray) -> bytes:
    # Half the size of float32, and finer than any body is known; int16 reaches 3.2 m to each side.
    return np.clip(np.rint(offsets_m * 1e4), -32768, 32767).astype("<i2").tobytes()


def _listed(values: np.ndarray, decimals: int) -> list:
    """Decimals beyond the sensible only lengthen the answer; in float64, so that the rounding shows."""
    return np.asarray(values, np.float64).round(decimals).tolist()


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()
