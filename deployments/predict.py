"""Photos to bodies on disk, in one process and without Ray: what ``alignhmr predict`` runs.

For each photo: ``<name>.json`` (numbers, with their units and frames), ``<name>_overlay.png``, and on request
``<name>.glb`` and ``<name>.obj`` (all people), ``<name>_person1.bvh`` (one each) and ``<name>_hypotheses.npz``
(every hypothesis of everyone, where the others hold the selected one). A photo that can't be used costs only
itself.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console

from alignhmr.core.body.meshes import glb, write_obj
from alignhmr.core.body.model import BodyModel, Resolution
from alignhmr.core.body.motion_files import motion_of, write_bvh
from alignhmr.core.body.skeleton import JOINTS, KEYPOINTS
from alignhmr.core.errors import AlignhmrError, InputError
from alignhmr.core.geometry.cameras import intrinsics_for
from alignhmr.core.perception.detector import own_threads
from alignhmr.core.perception.images import decode
from alignhmr.core.records import Hypotheses, Intrinsics, Picture, Recovery
from alignhmr.core.recovery import Recoverer, RecoveryRequest
from alignhmr.core.refinement import Prompt
from alignhmr.core.synthetic.overlay import overlay
from alignhmr.core.synthetic.shading import palette_color, to_linear
from alignhmr.deployments import prompts, torchvision_shim
from alignhmr.deployments.predict_files import (
    CONVENTIONS,
    ENDINGS,
    check_somebody,
    checked_boxes,
    checked_formats,
    expanded,
    line,
    output_names,
    raise_if_all_failed,
    read,
    writable,
)
from alignhmr.deployments.version import package_version

MAX_OVERLAY_SIDE_PX = 2048
"""A PNG of 12 megapixels takes seconds to write and is looked at scaled down."""


@dataclass(frozen=True)
class Options:
    """How to answer; the same for every photo of a run."""

    hypotheses: int = 20
    seed: int = 0
    focal_px: float | None = None
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    formats: tuple[str, ...] = ("json", "overlay")
    prompt: Prompt | None = None
    """That answers shall be refined, and by what."""
    keypoints: tuple[prompts.PersonGiven, ...] = ()
    """People as somebody has put them right, in place of the detector's."""


@dataclass(frozen=True)
class PhotoResult:
    """What became of one photo: files and recoveries, or the error."""

    photo: Path
    recoveries: tuple[Recovery, ...] = ()
    files: tuple[Path, ...] = ()
    left_out: tuple[str, ...] = ()
    """People who were found but could not be recovered, and why."""
    seconds: float = 0.0
    error: AlignhmrError | None = None


def run(
    photos: list[Path],
    out: Path,
    *,
    hypotheses: int = 20,
    seed: int = 0,
    focal_px: float | None = None,
    boxes: Sequence[Sequence[float]] = (),
    formats: Sequence[str] = ("json", "overlay"),
    resolution: Resolution = "full",
    detector: str = "blazepose",
    device: str = "auto",
    base: str | Path = "starter",
    scorer: str | Path = "starter",
    body: str | Path = "open",
    threads: int | None = None,
    refine: bool = False,
    text: str | None = None,
    keypoints: Path | None = None,
) -> list[PhotoResult]:
    """Answers every photo (a folder stands for the pictures in it) and says so, one line each.

    ``refine`` draws answers to the keypoints; ``text`` and ``keypoints`` (a file) do so to what is said and put right.
    ``threads`` find people; None: as many as this machine has for one process.
    Raises where nothing can be done at all: no picture, an output folder that can't be written, a missing
    model, or not one photo with an answer.
    """
    files = expanded(photos)
    options = Options(
        hypotheses, seed, focal_px, checked_boxes(boxes, len(files)), checked_formats(formats),
        prompts.prompt_of(refine, text, given_keypoints=keypoints is not None),
        prompts.given_keypoints(keypoints, len(files), len(boxes)),
    )  # fmt: skip
    out = writable(Path(out))
    console = Console(highlight=False, soft_wrap=True)
    # Torch's networks are small: a second thread costs more in waiting than it saves, most of all on a busy machine.
    torch.set_num_threads(1)
    torchvision_shim.install()
    with console.status("loading the models"):
        recoverer = Recoverer.load(
            base=base, scorer=scorer, body=body, detector=detector, device=device,
            threads=threads or own_threads(),
        )  # fmt: skip
        # A body of one's own has one resolution; the open one has two.
        mesh_body = recoverer.body
        if body == "open" and mesh_body.resolution != resolution:
            mesh_body = BodyModel.load(body, resolution)
    results = []
    for photo, name in zip(files, output_names(files), strict=True):
        results.append(answer_photo(recoverer, mesh_body, photo, out, name, options))
        if results[-1].error is None or len(files) > 1:  # the only one's error is what is raised
            console.print(summary(results[-1]), markup=False, style="red" if results[-1].error else None)
    raise_if_all_failed(files, [result.error for result in results])
    return results


def answer_photo(
    recoverer: Recoverer, mesh_body: BodyModel, photo: Path, out: Path, name: str, options: Options
) -> PhotoResult:
    """One photo's answer, written; its failure is returned, not raised, so that the others go on."""
    started = time.perf_counter()
    try:
        picture = decode(read(photo))
        recoveries, left_out = recover_people(recoverer, picture, options)
        files = write_answer(recoverer, mesh_body, picture, recoveries, left_out, photo, out / name, options)
    except InputError as error:
        return PhotoResult(photo, error=error, seconds=time.perf_counter() - started)
    return PhotoResult(photo, tuple(recoveries), tuple(files), tuple(left_out), time.perf_counter() - started)


def recover_people(
    recoverer: Recoverer, picture: Picture, options: Options
) -> tuple[list[Recovery], list[str]]:
    """Everyone in the picture, and why some could not be recovered. NoPersonError where nobody remains."""
    people = prompts.people_of(recoverer, picture, options.boxes, options.keypoints)
    prompts.check_who_is_meant(options.prompt, len(people))
    camera = intrinsics_for(*picture.size, exif_focal_px=picture.exif_focal_px, focal_px=options.focal_px)
    recoveries, left_out = [], []
    for index, person in enumerate(people):
        # Each alone: one person with too few keypoints must not cost the others.
        request = RecoveryRequest(person, camera, options.seed + index, options.hypotheses, options.prompt)
        try:
            recoveries += recoverer.recover_batch([request])
        except InputError as error:
            left_out.append(str(error))
    check_somebody(len(recoveries), left_out)
    return recoveries, left_out


def write_answer(
    recoverer: Recoverer,
    mesh_body: BodyModel,
    picture: Picture,
    recoveries: list[Recovery],
    left_out: list[str],
    photo: Path,
    stem: Path,
    options: Options,
) -> list[Path]:
    """Writes the files of one photo and says which, in the order of FORMATS."""
    files = {one: stem.with_name(stem.name + ENDINGS[one]) for one in options.formats if one in ENDINGS}
    if "json" in files:
        answer = as_json(recoverer, picture, recoveries, left_out, photo.name, options)
        files["json"].write_text(json.dumps(answer, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    about = {"picture": photo.name, "sha256": picture.sha256, "body_model": recoverer.body.name}
    if "npz" in files:
        np.savez_compressed(files["npz"], **all_hypotheses(recoveries))
    if files.keys() - {"json", "npz"}:
        bodies = [recoverer.vertices(recovery, body=mesh_body) for recovery in recoveries]
        if "overlay" in files:
            pixels, camera = reduced(picture.pixels, recoveries[0].intrinsics)
            drawn = overlay(pixels, bodies, mesh_body.faces, camera)
            Image.fromarray(drawn).save(files["overlay"], compress_level=3)
        if "glb" in files:
            colors = [tuple(to_linear(np.array(palette_color(i))).tolist()) for i in range(len(bodies))]
            files["glb"].write_bytes(glb(bodies, mesh_body.faces, colors=colors, about=about))
        if "obj" in files:
            write_obj(files["obj"], bodies, mesh_body.faces, about=about)
    written = list(files.values())
    if "bvh" in options.formats:
        for number, recovery in enumerate(recoveries, start=1):
            written.append(stem.with_name(f"{stem.name}_person{number}.bvh"))
            write_bvh(motion_of(recovery, recoverer.body.name), recoverer.body, written[-1])
    return written


def all_hypotheses(recoveries: Sequence[Recovery]) -> dict[str, Any]:
    """Every field of ``Hypotheses`` over all people, (people, hypotheses, ...), and who was ``selected``."""
    arrays = {
        name: np.stack([getattr(recovery.hypotheses, name) for recovery in recoveries])
        for name in (field.name for field in fields(Hypotheses))
    }
    return arrays | {"selected": np.array([recovery.selected for recovery in recoveries])}


def as_json(
    recoverer: Recoverer,
    picture: Picture,
    recoveries: list[Recovery],
    left_out: list[str],
    name: str,
    options: Options,
) -> dict:
    """Everything a reader needs to pose the same body again, and to know how far to trust it."""
    camera = recoveries[0].intrinsics
    return {
        "format": "alignhmr.predict/1",
        "version": package_version(),
        "picture": {
            "name": name,
            "sha256": picture.sha256,
            "width_px": picture.size[0],
            "height_px": picture.size[1],
        },
        "intrinsics": {
            "focal_px": round(camera.focal_px, 3),
            "center_px": list(camera.center_px),
            "source": camera.source,
        },
        "body_model": {"name": recoverer.body.name, "digest": recoverer.body.digest},
        "models": dict(recoverer.models),
        "hypotheses": options.hypotheses,
        "seed": options.seed,
        "people": [_person(recovery, index) for index, recovery in enumerate(recoveries)],
        "left_out": left_out,
        "joint_names": list(JOINTS),
        "keypoint_names": list(KEYPOINTS),
        "conventions": CONVENTIONS,
    }


def _person(recovery: Recovery, index: int) -> dict:
    hyps, chosen, camera = recovery.hypotheses, recovery.selected, recovery.intrinsics
    joints_cam_m = np.asarray(hyps.joints_cam_m[chosen], np.float64)
    depth = np.maximum(joints_cam_m[:, 2:], 0.05)
    joints_px = joints_cam_m[:, :2] / depth * camera.focal_px + np.array(camera.center_px)
    return {
        "box_px": _listed(recovery.person.box_px, 2),
        "detection_score": round(float(recovery.person.score), 4),
        "keypoints_px": _listed(recovery.person.keypoints_px, 3),
        "pose_aa": _listed(hyps.pose_aa[chosen], 6),
        "betas": _listed(hyps.betas[chosen], 6),
        "transl_cam_m": _listed(hyps.transl_cam_m[chosen], 6),
        "joints_cam_m": _listed(joints_cam_m, 6),
        "joints_px": _listed(joints_px, 3),
        "joint_spread_mm": _listed(recovery.joint_spread_mm, 2),
        "joint_error_mm": None if recovery.joint_error_mm is None else _listed(recovery.joint_error_mm, 1),
        "score": round(float(hyps.scores[chosen]), 6),
        "expected_error_mm": round(float(hyps.expected_error_mm[chosen]), 2),
        "error_interval_mm": None
        if recovery.error_interval_mm is None
        else _listed(recovery.error_interval_mm, 1),
        "hypothesis_scores": _listed(hyps.scores, 6),
        "selected": int(chosen),
        "refinement": None if recovery.refinement is None else recovery.refinement.as_dict(),
        "seed": recovery.seed,
        "overlay_color": list(palette_color(index)),
    }


def reduced(pixels: np.ndarray, camera: Intrinsics) -> tuple[np.ndarray, Intrinsics]:
    """The picture with its longer side at most MAX_OVERLAY_SIDE_PX, and the camera that fits it."""
    height, width = pixels.shape[:2]
    scale = MAX_OVERLAY_SIDE_PX / max(width, height)
    if scale >= 1:
        return pixels, camera
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smaller = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX, reducing_gap=2))
    center = camera.center_px[0] * scale, camera.center_px[1] * scale
    return smaller, replace(camera, focal_px=camera.focal_px * scale, center_px=center)


def summary(result: PhotoResult) -> str:
    """One line for the terminal."""
    if result.error is not None:
        return f"{result.photo.name}: {result.error}"
    errors = [r.hypotheses.expected_error_mm[r.selected] for r in result.recoveries]
    refined = "".join(prompts.in_words(r.refinement) for r in result.recoveries if r.refinement is not None)
    return line(result.photo, errors, result.left_out, refined, result.seconds, result.files)


def _listed(values: np.ndarray, decimals: int) -> list:
    # In float64, so that the rounding shows in the text.
    return np.asarray(values, np.float64).round(decimals).tolist()
