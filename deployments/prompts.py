"""What a user adds to a photo, words and keypoints put right, and how what became of it is told.

A file of keypoints is either the JSON that ``predict`` wrote, edited (``people``, each with ``keypoints_px`` and
``box_px``), or the keypoints of one person alone: 23 times [x, y, confidence], in pixels of the upright picture
and in the order of ``keypoint_names``. Confidence 0 is 'not seen'; without one a keypoint is seen.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.diffusion.condition import keypoint_box
from alignhmr.core.errors import InputError
from alignhmr.core.perception.finder import Finder
from alignhmr.core.records import Person, Picture, RefinementReport
from alignhmr.core.recovery import Recoverer
from alignhmr.core.refinement import Prompt, Reading

PersonGiven = tuple[Float[np.ndarray, "23 3"], Float[np.ndarray, "4"] | None]
"""Keypoints, and the box where the file has one."""


def prompt_of(refine: bool, text: str | None, *, given_keypoints: bool) -> Prompt | None:
    """None where nothing shall be refined; InputError for a sentence of which nothing is understood."""
    if text is not None and not text.strip():
        raise InputError(
            "the text is empty; say what is true of the body, such as 'the left leg is in front'"
        )
    if not (refine or text or given_keypoints):
        return None
    prompt = Prompt(text or "", given_keypoints=given_keypoints)
    Reading.of(prompt)
    return prompt


def given_keypoints(path: Path | None, photos: int, boxes: int) -> tuple[PersonGiven, ...]:
    if path is None:
        return ()
    if photos > 1:
        raise InputError(f"keypoints belong to one photo, and {photos} were given; give one photo")
    people = tuple(read_keypoints(path))
    if not people:
        raise InputError(f"{path} holds nobody; give the keypoints of at least one person")
    if boxes and boxes != len(people):
        raise InputError(
            f"{boxes} boxes were given for the {len(people)} people of {path}; give one for each or none"
        )
    return people


def people_of(
    finder: Finder | Recoverer,
    picture: Picture,
    boxes: Sequence[Sequence[float]],
    given: Sequence[PersonGiven],
) -> list[Person]:
    """Whom the picture shows: who was given, with or without boxes, or who stands in the boxes, or who is found."""
    if not given:
        return finder.from_boxes(picture, np.array(boxes, np.float32)) if boxes else finder.find(picture)
    boxes_px = [
        np.array(boxes[index], np.float32)
        if boxes
        else box_of(keypoints, picture.size)
        if box is None
        else box
        for index, (keypoints, box) in enumerate(given)
    ]
    for number, (x0, y0, x1, y1) in enumerate(boxes_px):
        if x1 - x0 < 1 or y1 - y0 < 1:
            width, height = picture.size
            raise InputError(
                f"the keypoints of person {number} that are seen take up no room in the picture ({width} x {height}"
                " px); give them in its pixels, with a confidence above 0"
            )
    people = finder.from_boxes(picture, np.stack(boxes_px))
    return [replace(person, keypoints_px=points) for person, (points, _) in zip(people, given, strict=True)]


def check_who_is_meant(
    prompt: Prompt | None, people: int, remedy: str = "say who with --box x0,y0,x1,y1"
) -> None:
    """InputError where a sentence could be about several people."""
    if prompt is not None and prompt.text and people > 1:
        raise InputError(f"a sentence is about one person, and {people} were found; {remedy}")


def in_words(report: RefinementReport) -> str:
    """For the terminal's line about a photo."""
    words = f", keypoints off {100 * report.off_before:.1f} -> {100 * report.off_after:.1f} % of the crop"
    if report.told_after is not None and report.told_before is not None:
        before, after = (round(share * len(report.told)) for share in (report.told_before, report.told_after))
        words += f", {before} -> {after} of {len(report.told)} things said are shown"
    if report.unread:
        words += f" (not understood: {'; '.join(report.unread)})"
    if kept := sum(report.fell_back.values()):
        words += f", {kept} of {report.hypotheses} hypotheses left as drawn"
    return words


def read_keypoints(path: Path) -> list[PersonGiven]:
    """Everyone in the file. InputError says what is wrong with it."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or error}; check the path") from error
    except ValueError as error:
        raise InputError(
            f"{path} is no JSON ({error}); give what `alignhmr predict` wrote, with its keypoints_px put right"
        ) from error
    if isinstance(told, dict) and isinstance(told.get("people"), list):
        return [_person(path, person) for person in told["people"]]
    return [_person(path, {"keypoints_px": told})]


def box_of(keypoints_px: Float[np.ndarray, "23 3"], size_px: tuple[int, int]) -> Float[np.ndarray, "4"]:
    """The box around keypoints, inside the picture."""
    box = keypoint_box(torch.from_numpy(keypoints_px), torch.tensor(size_px, dtype=torch.float32))
    return box.numpy()


def _person(path: Path, told: Any) -> PersonGiven:
    rows = told.get("keypoints_px") if isinstance(told, dict) else None
    try:
        keypoints = np.array([[*row, 1.0][:3] for row in rows], np.float32)  # type: ignore[union-attr]
        box = None if told.get("box_px") is None else np.array(told["box_px"], np.float32)
    except (TypeError, ValueError):
        keypoints, box = np.zeros(0, np.float32), None
    if keypoints.shape != (len(KEYPOINTS), 3) or not np.isfinite(keypoints).all():
        raise InputError(
            f"{path} holds no {len(KEYPOINTS)} keypoints of [x, y, confidence] for each person; give what `alignhmr"
            " predict` wrote, with its keypoints_px put right"
        )
    if not ((keypoints[:, 2] >= 0) & (keypoints[:, 2] <= 1)).all():
        raise InputError(f"{path} has a confidence outside 0..1; 1 is sure, 0 is not seen")
    if box is not None and not (box.shape == (4,) and np.isfinite(box).all() and (box[2:] > box[:2]).all()):
        raise InputError(f"{path} has a box_px without area; give x0, y0, x1, y1 in pixels, or leave it out")
    return keypoints, box
