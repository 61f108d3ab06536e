"""How far points lie from the truth, in mm: root on root (MPJPE, PVE), or best laid on it (PA-MPJPE, PA-PVE)."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from alignhmr.core.geometry.alignment import similarity_align


def root_errors_mm(
    predicted_m: Float[Tensor, "*batch points 3"],
    true_m: Float[Tensor, "*batch points 3"],
    root: Sequence[int] = (0,),
) -> Float[Tensor, "*batch points"]:
    """Distance of each point after the roots are laid on each other.

    The root is the mean of the points ``root``; of all points where it is empty. NaN where either side is NaN,
    everywhere where a root point is.
    """
    predicted, true = predicted_m.double(), true_m.double()
    chosen = list(root) or list(range(predicted.shape[-2]))
    predicted = predicted - predicted[..., chosen, :].mean(-2, keepdim=True)
    true = true - true[..., chosen, :].mean(-2, keepdim=True)
    return 1000 * (predicted - true).norm(dim=-1)


def aligned_errors_mm(
    predicted_m: Float[Tensor, "*batch points 3"], true_m: Float[Tensor, "*batch points 3"]
) -> Float[Tensor, "*batch points"]:
    """Distance of each point after the best rotation, scale and translation of the points that both sides know."""
    predicted = predicted_m.double()
    true = true_m.double().expand_as(predicted)
    known = _known(predicted, true)
    filled = [torch.where(known[..., None], points, 0) for points in (predicted, true)]
    errors = 1000 * (similarity_align(filled[0], filled[1], known.double()) - filled[1]).norm(dim=-1)
    return torch.where(known, errors, torch.nan)


def mpjpe_mm(
    predicted_m: Float[Tensor, "*batch joints 3"],
    true_m: Float[Tensor, "*batch joints 3"],
    root: Sequence[int] = (0,),
) -> Float[Tensor, "*batch"]:
    """Mean per-joint position error after the root joints are laid on each other."""
    return root_errors_mm(predicted_m, true_m, root).nanmean(-1)


def pa_mpjpe_mm(
    predicted_m: Float[Tensor, "*batch joints 3"], true_m: Float[Tensor, "*batch joints 3"]
) -> Float[Tensor, "*batch"]:
    """Mean per-joint position error after the best rotation, scale and translation."""
    return aligned_errors_mm(predicted_m, true_m).nanmean(-1)


def pve_mm(
    predicted_m: Float[Tensor, "*batch verts 3"],
    true_m: Float[Tensor, "*batch verts 3"],
    predicted_root_m: Float[Tensor, "*batch 3"],
    true_root_m: Float[Tensor, "*batch 3"],
) -> Float[Tensor, "*batch"]:
    """Mean per-vertex error after the pelvis joints are laid on each other; both meshes of one body model."""
    predicted = predicted_m.double() - predicted_root_m.double()[..., None, :]
    true = true_m.double() - true_root_m.double()[..., None, :]
    return 1000 * (predicted - true).norm(dim=-1).mean(-1)


def pa_pve_mm(
    predicted_m: Float[Tensor, "*batch verts 3"], true_m: Float[Tensor, "*batch verts 3"]
) -> Float[Tensor, "*batch"]:
    """Mean per-vertex error after the best rotation, scale and translation of the vertices themselves."""
    return aligned_errors_mm(predicted_m, true_m).mean(-1)


def _known(
    predicted: Float[Tensor, "*batch points 3"], true: Float[Tensor, "*batch points 3"]
) -> Bool[Tensor, "*batch points"]:
    return predicted.isfinite().all(-1) & true.isfinite().all(-1)
