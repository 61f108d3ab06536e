"""Hypotheses as bodies in front of the camera: each where its keypoints fall best on those that were seen.

The model's own idea of where a body stands, its crop camera, is the prior; the translation is fitted to the keypoints
in closed form about it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from alignhmr.core.body.model import BodyModel, BodyPoints
from alignhmr.core.diffusion.parameters import BodyParameters
from alignhmr.core.geometry.cameras import fit_translation, lift_crop_camera, project


class Sight(Protocol):
    """Where people were seen: what made people and people in photos have in common."""

    @property
    def keypoints_px(self) -> Float[Tensor, "people keypoints 3"]: ...
    @property
    def crop_px(self) -> Float[Tensor, "people 3"]: ...
    @property
    def focal_px(self) -> Float[Tensor, "people"]: ...
    @property
    def center_px(self) -> Float[Tensor, "people 2"]: ...


@dataclass(frozen=True)
class Bodies:
    """M bodies of each of some people; camera axes, metres."""

    parameters: BodyParameters
    joints_m: Float[Tensor, "people hyps 24 3"]
    """Before the translation, as ``BodyModel.kinematics`` gives them."""
    keypoints_m: Float[Tensor, "people hyps keypoints 3"]
    transl_cam_m: Float[Tensor, "people hyps 3"]
    joints_px: Float[Tensor, "people hyps 24 2"]
    keypoints_px: Float[Tensor, "people hyps keypoints 2"]


def place(
    parameters: BodyParameters, body: BodyModel, seen: Sight, weights: Float[Tensor, "people keypoints"] | None = None
) -> Bodies:  # fmt: skip
    """``weights`` say how sure each seen keypoint is; its confidence by default."""
    points = body.kinematics(parameters.rotations, parameters.betas)
    hyps = parameters.betas.shape[1]
    weights = seen.keypoints_px[..., 2] if weights is None else weights
    focal, center, crop, observed, sure = _spread(
        hyps, seen.focal_px, seen.center_px, seen.crop_px, seen.keypoints_px[..., :2], weights
    )
    prior = lift_crop_camera(parameters.camera, crop, focal, center) - points.joints[..., 0, :]
    transl = fit_translation(points.keypoints, observed, sure, focal, center, prior)
    return _bodies(parameters, points, transl, focal, center)


def stand(
    parameters: BodyParameters, body: BodyModel, seen: Sight, transl_cam_m: Float[Tensor, "people hyps 3"]
) -> Bodies:
    """Bodies that are said to stand there, as labels say it; the crop camera is not looked at."""
    points = body.kinematics(parameters.rotations, parameters.betas)
    focal, center = _spread(parameters.betas.shape[1], seen.focal_px, seen.center_px)
    return _bodies(parameters, points, transl_cam_m, focal, center)


def together(parts: Sequence[Bodies]) -> Bodies:
    """Hypotheses of several makers about the same people, one after another."""
    parameters = BodyParameters(
        *(
            torch.cat([getattr(part.parameters, name) for part in parts], 1)
            for name in ("rotations", "betas", "camera")
        )
    )
    names = ("joints_m", "keypoints_m", "transl_cam_m", "joints_px", "keypoints_px")
    return Bodies(parameters, *(torch.cat([getattr(part, name) for part in parts], 1) for name in names))


def chosen(bodies: Bodies, index: Int[Tensor, "people"]) -> Bodies:
    """One hypothesis of each person."""

    def pick(part: Tensor) -> Tensor:
        return part[torch.arange(len(part), device=part.device), index][:, None]

    parameters = (getattr(bodies.parameters, name) for name in ("rotations", "betas", "camera"))
    names = ("joints_m", "keypoints_m", "transl_cam_m", "joints_px", "keypoints_px")
    return Bodies(BodyParameters(*map(pick, parameters)), *(pick(getattr(bodies, name)) for name in names))


def _spread(hyps: int, *values: Tensor) -> list[Tensor]:
    return [value[:, None].expand(-1, hyps, *value.shape[1:]) for value in values]


def _bodies(
    parameters: BodyParameters, points: BodyPoints, transl: Tensor, focal: Tensor, center: Tensor
) -> Bodies:
    every = torch.cat([points.joints, points.keypoints], -2) + transl[..., None, :]
    pixels = project(every, focal, center)
    joints = points.joints.shape[-2]
    return Bodies(
        parameters, points.joints, points.keypoints, transl, pixels[..., :joints, :], pixels[..., joints:, :]
    )
