"""Photos to bodies on disk, by a service: what ``alignhmr predict --server URL`` runs. No torch, no model.

The files are those of ``deployments/predict.py``, with the same numbers. Two things are the service's: the
resolution of meshes, and the overlay's size. OBJ files it doesn't give.
"""

import base64
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from alignhmr.core.errors import AlignhmrError, InputError
from alignhmr.core.records import RefinementReport
from alignhmr.core.synthetic.shading import palette_color
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
from alignhmr.deployments.serving.client import Client, RecoverOptions, RefusedError
from alignhmr.deployments.serving.schemas import (
    HypothesesAnswer,
    ModelsAnswer,
    Output,
    PersonAnswer,
    PictureAnswer,
    RecoverAnswer,
    RefinementAnswer,
)

RETRIES = 20
_OUTPUTS: dict[str, Output] = {"overlay": "overlay", "glb": "glb", "npz": "hypotheses", "bvh": "bvh"}
"""What is asked of the service for each format; the rest is in every answer."""
_NOT_THE_PHOTOS_FAULT = (401, 403, 404, 405, 429)
_IN_A_PERSON = PersonAnswer.model_fields.keys() - {"hypotheses", "meshes_base64", "bvh"}


@dataclass(frozen=True)
class PhotoResult:
    """What became of one photo: files and people, or the error."""

    photo: Path
    people: tuple[PersonAnswer, ...] = ()
    files: tuple[Path, ...] = ()
    error: AlignhmrError | None = None


def run(
    photos: list[Path],
    out: Path,
    url: str,
    *,
    api_key: str | None = None,
    hypotheses: int = 20,
    seed: int = 0,
    focal_px: float | None = None,
    boxes: Sequence[Sequence[float]] = (),
    formats: Sequence[str] = ("json", "overlay"),
    refine: bool = False,
    text: str | None = None,
    keypoints: Path | None = None,
) -> list[PhotoResult]:
    """As ``predict.run``; the service at ``url`` answers. Raises ServiceError where it can't."""
    files = expanded(photos)
    formats = checked_formats(formats)
    if "obj" in formats:
        raise InputError("a service gives no obj files; ask for glb, or leave out --server")
    options = RecoverOptions(
        hypotheses=hypotheses, seed=seed, focal_px=focal_px, refine=refine, text=text,
        outputs=["json", *(_OUTPUTS[one] for one in formats if one in _OUTPUTS)],
    )  # fmt: skip
    given = checked_boxes(boxes, len(files))
    options |= _people(keypoints, given, len(files))
    out, console = writable(Path(out)), Console(highlight=False, soft_wrap=True)
    results = []
    with Client(url, api_key=api_key, retries=RETRIES) as client:
        runs = client.models()
        for photo, name in zip(files, output_names(files), strict=True):
            started = time.perf_counter()
            try:
                answer = _recovered(client, read(photo), options)
                written = write_answer(answer, runs, photo, out / name, formats)
            except InputError as error:
                results.append(PhotoResult(photo, error=error))
                said = f"{photo.name}: {error}"
            else:
                (seen,) = answer.pictures
                results.append(PhotoResult(photo, tuple(seen.people), tuple(written)))
                said = _line(photo, seen, time.perf_counter() - started, written)
            if results[-1].error is None or len(files) > 1:  # the only one's error is what is raised
                console.print(said, markup=False, style="red" if results[-1].error else None)
    raise_if_all_failed(files, [result.error for result in results])
    return results


def write_answer(
    answer: RecoverAnswer, runs: ModelsAnswer, photo: Path, stem: Path, formats: Sequence[str]
) -> list[Path]:
    """Writes the files of one photo and says which, in the order of FORMATS."""
    (seen,) = answer.pictures
    files = {one: stem.with_name(stem.name + ENDINGS[one]) for one in formats if one in ENDINGS}
    if "json" in files:
        text = json.dumps(as_json(answer, runs, photo.name), indent=1, allow_nan=False)
        files["json"].write_text(text + "\n", encoding="utf-8")
    if "overlay" in files:
        files["overlay"].write_bytes(base64.b64decode(seen.overlay_png_base64 or ""))
    if "glb" in files:
        files["glb"].write_bytes(base64.b64decode(seen.glb_base64 or ""))
    if "npz" in files:
        np.savez_compressed(files["npz"], **all_hypotheses(seen.people))
    written = list(files.values())
    if "bvh" in formats:
        for number, person in enumerate(seen.people, start=1):
            written.append(stem.with_name(f"{stem.name}_person{number}.bvh"))
            written[-1].write_text(person.bvh or "", encoding="ascii")
    return written


def as_json(answer: RecoverAnswer, runs: ModelsAnswer, name: str) -> dict[str, Any]:
    """The file that ``predict`` writes. The body's digest is told by its first 16 digits."""
    (seen,) = answer.pictures
    assert seen.intrinsics is not None, "only a picture with an error has none"
    people = []
    for index, person in enumerate(seen.people):
        about = person.model_dump(mode="json", include=_IN_A_PERSON)
        people.append(about | {"overlay_color": list(palette_color(index))})
    return {
        "format": "alignhmr.predict/1",
        "version": runs.version,
        "picture": {
            "name": name,
            "sha256": seen.sha256,
            "width_px": seen.width_px,
            "height_px": seen.height_px,
        },
        "intrinsics": seen.intrinsics.model_dump() | {"focal_px": round(seen.intrinsics.focal_px, 3)},
        "body_model": {"name": answer.body_model, "digest": answer.models["body"].rpartition(":")[2]},
        "models": answer.models,
        "hypotheses": answer.hypotheses,
        "seed": answer.seed,
        "people": people,
        "left_out": seen.left_out,
        "joint_names": runs.joints,
        "keypoint_names": runs.keypoints,
        "conventions": CONVENTIONS,
    }


def all_hypotheses(people: Sequence[PersonAnswer]) -> dict[str, Any]:
    """What ``predict.all_hypotheses`` gives, (people, hypotheses, ...), to the decimals of an answer."""
    arrays = {
        name: np.array([getattr(person.hypotheses, name) for person in people], np.float32)
        for name in HypothesesAnswer.model_fields
    }
    arrays["scores"] = np.array([person.hypothesis_scores for person in people], np.float32)
    return arrays | {"selected": np.array([person.selected for person in people])}


def _recovered(client: Client, data: bytes, options: RecoverOptions) -> RecoverAnswer:
    """InputError for what is this photo's fault; what is the service's or the caller's stops the run."""
    try:
        answer = client.recover(data, **options)
    except RefusedError as refused:
        if not 400 <= refused.status < 500 or refused.status in _NOT_THE_PHOTOS_FAULT:
            raise
        raise InputError(str(refused), code=refused.code) from None
    (seen,) = answer.pictures
    check_somebody(len(seen.people), seen.left_out)
    return answer


def _people(keypoints: Path | None, boxes: Sequence[Sequence[float]], photos: int) -> RecoverOptions:
    """Who is given, as the service wants it: boxes of their own count where everyone has one."""
    if keypoints is None:
        return RecoverOptions(boxes=boxes) if boxes else RecoverOptions()
    from alignhmr.deployments import prompts  # imports torch, which nothing else here needs

    given = prompts.given_keypoints(keypoints, photos, len(boxes))
    own = [box.tolist() for _, box in given if box is not None]
    boxes = boxes or (own if len(own) == len(given) else ())
    people = RecoverOptions(keypoints=[points.tolist() for points, _ in given])
    return people | RecoverOptions(boxes=boxes) if boxes else people


def _line(photo: Path, seen: PictureAnswer, seconds: float, written: Sequence[Path]) -> str:
    refined = ""
    if any(person.refinement for person in seen.people):
        from alignhmr.deployments import prompts

        refined = "".join(prompts.in_words(_report(one.refinement)) for one in seen.people if one.refinement)
    errors = [person.expected_error_mm for person in seen.people]
    return line(photo, errors, seen.left_out, refined, seconds, written)


def _report(told: RefinementAnswer) -> RefinementReport:
    values: dict[str, Any] = told.model_dump()
    values |= {name: tuple(values[name]) for name in ("unread", "contradictions")}
    return RefinementReport(**values)
