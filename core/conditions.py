"""What can't be a person's evidence is refused with the reason, before a model turns it into numbers."""

import numpy as np
import torch
from torch import Tensor

from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.diffusion.condition import MIN_CONFIDENCE, to_crop
from alignhmr.core.errors import InputError
from alignhmr.core.records import Intrinsics, Person

MAX_HYPOTHESES = 1000
HIGHEST_CONFIDENCE = 1.1
"""Of a keypoint: heat maps overshoot 1 a little."""
FARTHEST_PX, FARTHEST_M = 1e6, 10.0
"""What lies beyond isn't a place of a person's keypoint."""


def check_count(hyps: int) -> None:
    """InputError for a number of hypotheses that can't be had."""
    if not 1 <= hyps <= MAX_HYPOTHESES:
        raise InputError(f"hypotheses is {hyps}; give a number from 1 to {MAX_HYPOTHESES}")


def check_claims(person: Person, camera: Intrinsics) -> None:
    """InputError for shapes and numbers that no detector and no camera can mean."""
    if not (np.isfinite(camera.focal_px) and camera.focal_px > 0 and np.isfinite(camera.center_px).all()):
        raise InputError(
            f"the camera has focal length {camera.focal_px} and centre {camera.center_px}; give finite pixels, and a"
            " focal length above 0"
        )
    shape = np.shape(person.keypoints_px)
    if shape != (len(KEYPOINTS), 3):
        raise InputError(
            f"the keypoints are an array of {shape}; give {len(KEYPOINTS)} rows of x, y, confidence"
        )
    confidence = np.asarray(person.keypoints_px)[:, 2]
    if (confidence < 0).any() or (confidence > HIGHEST_CONFIDENCE).any():
        raise InputError(
            f"a keypoint has confidence {confidence.min():g} or {confidence.max():g}; give them from 0 to 1"
        )
    if (np.abs(np.asarray(person.keypoints_px)[:, :2]) > FARTHEST_PX).any():
        raise InputError(
            f"a keypoint lies more than {FARTHEST_PX:g} pixels away; set its confidence and place to 0"
        )
    if person.keypoints_3d_m is not None:
        points = np.asarray(person.keypoints_3d_m)
        if points.shape != (len(KEYPOINTS), 3) or not (np.abs(points) < FARTHEST_M).all():
            raise InputError(
                f"the detector's 3D keypoints must be {len(KEYPOINTS)} finite points in metres about the hip, less than"
                f" {FARTHEST_M:g} m away; leave them out where there are none"
            )
    if (view := person.view) is not None and (
        view.ndim != 3 or view.shape[0] != view.shape[1] or view.shape[2] != 3 or view.dtype != np.uint8
    ):
        raise InputError(
            f"the view is an array of {view.shape} {view.dtype}; give a square of RGB bytes (perception/views.py)"
        )


def check_evidence(keypoints: Tensor, box: Tensor, crop: Tensor, has_view: bool) -> None:
    """InputError for evidence that can't be used, with the reason."""
    if not torch.isfinite(keypoints).all():
        raise InputError("the keypoints hold non-finite numbers; set an unseen keypoint's confidence to 0")
    if not (torch.isfinite(box).all() and (box[2:] > box[:2]).all()):
        raise InputError(f"the box is {box.tolist()}; give x0, y0, x1, y1 in pixels with x0 < x1 and y0 < y1")
    seen = keypoints[:, 2] >= MIN_CONFIDENCE
    if seen.sum() < 3 and not has_view:
        raise InputError(
            "fewer than 3 keypoints were seen (confidence 0.05 or more), and there are no pixels to look at: too"
            " little to recover a body"
        )
    beside = (to_crop(keypoints[None, :, :2], crop)[0].abs() > 1.5).any(-1)
    if seen.any() and beside[seen].all():
        raise InputError(
            f"all {int(seen.sum())} keypoints lie beside the box {[round(x) for x in box.tolist()]}: they are not this"
            " person's; give the box and the keypoints of one person, in pixels of the same picture"
        )
