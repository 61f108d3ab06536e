"""Keypoints that somebody has put right, read from a file: what ``alignhmr predict --keypoints`` takes.

Either the JSON that ``predict`` wrote, edited (``people``, each with ``keypoints_px`` and ``box_px``), or keypoints of
one person alone: a list of 23 times [x, y, confidence], in pixels of the upright picture and in the order of
``keypoint_names``. Confidence 0 is 'not seen'; without one a keypoint is seen.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.diffusion.condition import keypoint_box
from alignhmr.core.errors import InputError

Person = tuple[Float[np.ndarray, "23 3"], Float[np.ndarray, "4"] | None]
"""Keypoints, and the box where the file has one."""


def read_keypoints(path: Path) -> list[Person]:
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


def _person(path: Path, told: Any) -> Person:
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
