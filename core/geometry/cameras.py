"""Pinhole cameras: intrinsics of a picture, projection, and the crop camera lifted to the full picture.

The crop camera (s, tx, ty) is weak perspective in a square crop: a root-relative point (X, Y) in metres
lands at u = s (X + tx), v = s (Y + ty), where the crop spans [-1, 1]. Lifting it keeps the root's place
and size in the picture and puts perspective back (CLIFF, ECCV 2022, eq. 3-5, for a general centre).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from alignhmr.core.errors import InputError
from alignhmr.core.records import Intrinsics


def intrinsics_for(
    width: int, height: int, *, exif_focal_px: float | None = None, focal_px: float | None = None
) -> Intrinsics:
    """Intrinsics of a picture: given, else from EXIF, else a focal length equal to the diagonal.

    The diagonal is a field of view of 53 degrees across it: what CLIFF and HMR2.0 assume, too.
    """
    center = (width / 2, height / 2)
    if focal_px is not None:
        if not (math.isfinite(focal_px) and focal_px > 0):
            raise InputError(f"focal length is {focal_px} px; give a positive number of pixels")
        return Intrinsics(float(focal_px), center, "given")
    if exif_focal_px is not None:
        return Intrinsics(float(exif_focal_px), center, "exif")
    return Intrinsics(math.hypot(width, height), center, "default")


def project(
    points_cam_m: Float[Tensor, "*batch points 3"],
    focal_px: Float[Tensor, "*batch"],
    center_px: Float[Tensor, "*batch 2"],
) -> Float[Tensor, "*batch points 2"]:
    """Pixels of camera-frame points. Points nearer than 5 cm are held there: they'd fly to infinity."""
    depth = points_cam_m[..., 2:].clamp_min(0.05)
    return points_cam_m[..., :2] / depth * focal_px[..., None, None] + center_px[..., None, :]


def lift_crop_camera(
    camera: Float[Tensor, "*batch 3"],
    crop_px: Float[Tensor, "*batch 3"],
    focal_px: Float[Tensor, "*batch"],
    center_px: Float[Tensor, "*batch 2"],
) -> Float[Tensor, "*batch 3"]:
    """Translation in metres that puts the root where the crop camera (s, tx, ty) says.

    ``crop_px`` holds centre x, centre y and side of the square.
    """
    half_px = crop_px[..., 2] / 2
    scale_px = camera[..., 0].clamp_min(0.05) * half_px
    offset = (crop_px[..., :2] - center_px) / scale_px[..., None]
    return torch.cat([camera[..., 1:] + offset, (focal_px / scale_px)[..., None]], -1)


def crop_camera_of(
    transl_cam_m: Float[Tensor, "*batch 3"],
    crop_px: Float[Tensor, "*batch 3"],
    focal_px: Float[Tensor, "*batch"],
    center_px: Float[Tensor, "*batch 2"],
) -> Float[Tensor, "*batch 3"]:
    """Inverse of ``lift_crop_camera``."""
    half_px = crop_px[..., 2] / 2
    scale_px = focal_px / transl_cam_m[..., 2]
    offset = (crop_px[..., :2] - center_px) / scale_px[..., None]
    return torch.cat([(scale_px / half_px)[..., None], transl_cam_m[..., :2] - offset], -1)


def fit_translation(
    points_m: Float[Tensor, "*batch points 3"],
    pixels: Float[Tensor, "*batch points 2"],
    weights: Float[Tensor, "*batch points"],
    focal_px: Float[Tensor, "*batch"],
    center_px: Float[Tensor, "*batch 2"],
    prior_m: Float[Tensor, "*batch 3"],
    prior_weight: float = 1e-3,
) -> Float[Tensor, "*batch 3"]:
    """Translation that best lays the points on their pixels: weighted linear least squares, closed form.

    Each point gives f (X + tx) - u (Z + tz) = 0 with u relative to the centre, and the same for y.
    Dividing by the focal length makes the rows metres; ``prior_m`` holds it where the points can't.
    """
    rays = (pixels - center_px[..., None, :]) / focal_px[..., None, None]
    zero, one = torch.zeros_like(rays[..., 0]), torch.ones_like(rays[..., 0])
    rows = torch.cat(
        [torch.stack([one, zero, -rays[..., 0]], -1), torch.stack([zero, one, -rays[..., 1]], -1)], -2
    )
    target = torch.cat([rays[..., i] * points_m[..., 2] - points_m[..., i] for i in (0, 1)], -1)
    w = torch.cat([weights, weights], -1)[..., None]
    eye = prior_weight * torch.eye(3, dtype=rows.dtype, device=rows.device)
    normal = rows.mT @ (w * rows) + eye
    right = rows.mT @ (w * target[..., None]) + eye @ prior_m[..., None]
    solved = torch.linalg.solve(normal, right).squeeze(-1)
    # A fit behind or in the camera means that the points contradict the pose: keep the prior.
    return torch.where(solved[..., 2:] > 0.2, solved, prior_m)
