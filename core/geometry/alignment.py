"""Rigid alignment of point sets: what PA-MPJPE removes before it measures."""

import torch
from jaxtyping import Float
from torch import Tensor


def similarity_align(
    source: Float[Tensor, "*batch points 3"],
    target: Float[Tensor, "*batch points 3"],
    weights: Float[Tensor, "*batch points"] | None = None,
) -> Float[Tensor, "*batch points 3"]:
    """``source`` after the rotation, scale and translation that bring it nearest to ``target``.

    Umeyama, TPAMI 1991, in float64: the smallest singular value decides a reflection. A point of weight 0 is
    moved along and has no say. The transformation is held while a gradient is taken: it is the best one, so
    that for squared distances nothing is missing, and singular values that are nearly the same do no harm.
    """
    dtype = source.dtype
    source, target = source.double(), target.double()
    share = torch.ones_like(source[..., 0]) if weights is None else weights.double()
    share = (share / share.sum(-1, keepdim=True).clamp_min(1e-12))[..., None]
    mean_s, mean_t = ((share * points).sum(-2, keepdim=True) for points in (source, target))
    s = source - mean_s
    return (s @ _similarity(s.detach(), (target - mean_t).detach(), share) + mean_t).to(dtype)


def _similarity(s: Tensor, t: Tensor, share: Tensor) -> Tensor:
    """[..., 3, 3], applied from the right, of centred points."""
    u, sigma, vt = torch.linalg.svd(((share * s).mT @ t).nan_to_num())
    sign = torch.linalg.det(u @ vt).sign()
    u = torch.cat([u[..., :2], u[..., 2:] * sign[..., None, None]], -1)
    sigma = torch.cat([sigma[..., :2], sigma[..., 2:] * sign[..., None]], -1)
    scale = sigma.sum(-1) / (share * s.square()).sum((-1, -2)).clamp_min(1e-12)
    return scale[..., None, None] * (u @ vt)
