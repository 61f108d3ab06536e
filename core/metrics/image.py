"""How far projected points lie from the truth in the picture: in pixels, as a share of the box, and PCK.

The box is the true one, and its size is its longer side, as HMR 2.0 (Goel et al., ICCV 2023) takes it for PCK.
"""

from jaxtyping import Float
from torch import Tensor


def error_px(
    predicted_px: Float[Tensor, "*batch points 2"], true_px: Float[Tensor, "*batch points 2"]
) -> Float[Tensor, "*batch points"]:
    """Distance of each point in pixels of the full picture; NaN where either side is."""
    return (predicted_px.double() - true_px.double()).norm(dim=-1)


def box_size_px(box_px: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch"]:
    """The longer side of x0, y0, x1, y1."""
    return (box_px[..., 2:] - box_px[..., :2]).double().amax(-1)


def share_within(
    errors: Float[Tensor, "*batch points"], threshold: Float[Tensor, "*batch"] | float
) -> Float[Tensor, "*batch"]:
    """Share of the known points whose error is at most the threshold: PCK in 2D, 3DPCK in mm. NaN of none."""
    known = errors.isfinite()
    limit = threshold[..., None] if isinstance(threshold, Tensor) else threshold
    within = ((errors <= limit) & known).double().sum(-1)
    return within / known.double().sum(-1)
