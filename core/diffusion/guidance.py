"""Bodies drawn to their evidence: Gauss-Newton steps, damped, from where the diffusion left them, all at once.

A hypothesis is a maximum of what the evidence says and of how far the model lets it go: half its squared distance from
where it began, measured by the spread of the person's own hypotheses (the same draws, taken for a Gaussian) and by
loose bounds that are everybody's. A step is taken only where it lowers the energy, hypothesis by hypothesis. No mesh is
made; points and their derivatives are in closed form (``body/derivatives.py``).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from alignhmr.core.body.derivatives import moving_points
from alignhmr.core.body.model import BodyModel
from alignhmr.core.diffusion.guidance_terms import (
    BETAS,
    STEP,
    TRANSL,
    TURNS,
    GuidanceConfig,
    Guide,
    Stance,
    rows_of,
)
from alignhmr.core.diffusion.plausibility import through_itself, worst_turn
from alignhmr.core.diffusion.told import distances
from alignhmr.core.geometry.cameras import crop_camera_of
from alignhmr.core.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from alignhmr.core.placement import Bodies, stand
from alignhmr.core.scoring.vetoes import VetoRule

LEAST_DRAWS = 8
"""Hypotheses from which on their spread is looked at."""
_ROOT_RAD, _JOINT_RAD, _BETA, _ASIDE_M, _AWAY_M = 0.06, 0.25, 1.4, 0.5, 1.5
"""Bounds for everybody: of the root's turn, other joints' turns, betas, and the translation."""
_LEAST_DAMPING, _MOST_DAMPING = 1e-6, 1e6


@dataclass(frozen=True)
class Refined:
    """What became of each hypothesis."""

    bodies: Bodies
    """The refined ones, and the unguided ones where refinement fell back."""
    energy_before: Float[Tensor, "people hyps"]
    energy_after: Float[Tensor, "people hyps"]
    fell_back: dict[str, Bool[Tensor, "people hyps"]]
    """Reason -> whose unguided body was kept: ``not_finite``, ``no_better``, ``impossible``."""
    off_before: Float[Tensor, "people hyps"]
    off_after: Float[Tensor, "people hyps"]
    """Mean distance from the keypoints that were seen, by their confidence, over the crop's side."""
    told_before: Float[Tensor, "people hyps"] | None = None
    told_after: Float[Tensor, "people hyps"] | None = None
    """Share of what was said that the body plainly shows; None where nothing was said."""


def refine(
    body: BodyModel, bodies: Bodies, guide: Guide, radii_m: Float[Tensor, "capsules"],
    config: GuidanceConfig | None = None, precision: Float[Tensor, "people 85 85"] | None = None,
) -> Refined:  # fmt: skip
    """Every hypothesis of everyone, in their order. ``radii_m`` are of the body's capsules (``contact.radii_of``).

    ``precision`` says how firmly each is held where it began; from the hypotheses themselves unless it is given.
    """
    config = config or GuidanceConfig()
    if precision is None:
        precision = precision_of(bodies, config)
    start = _stance(body, bodies.parameters.rotations, bodies.parameters.betas, bodies.transl_cam_m)

    def energy(stance: Stance) -> "_Slope":
        return _slope(stance, start, guide, config, radii_m, precision)

    stance, before, after = _descended(body, start, energy, config.iterations)
    finite = before.isfinite() & after.isfinite()
    better = finite & (after < before)
    impossible = better & _worse_than_possible(start, stance, radii_m)
    kept = better & ~impossible
    stance = _chosen(kept, stance, start)
    root = stance.moving.points_m[..., 0, :] + stance.transl_cam_m
    crop, focal, center = (
        part[:, None].expand(*root.shape[:2], *part.shape[1:])
        for part in (guide.crop_px, guide.focal_px, guide.center_px)
    )
    camera = crop_camera_of(root, crop, focal, center)
    parameters = replace(
        bodies.parameters,
        rotations=stance.rotations,
        betas=stance.betas,
        camera=torch.where(kept[..., None], camera, bodies.parameters.camera),
    )
    found = stand(parameters, body, guide, stance.transl_cam_m)
    told = guide.told is not None and bool(guide.told.facts)
    return Refined(
        found,
        before,
        torch.where(kept, after, before),
        {"not_finite": ~finite, "no_better": finite & ~better, "impossible": impossible},
        _off(bodies, guide),
        _off(found, guide),
        _shown(bodies, guide) if told else None,
        _shown(found, guide) if told else None,
    )


def precision_of(bodies: Bodies, config: GuidanceConfig) -> Float[Tensor, "people 85 85"]:
    """Inverse covariance of how far a body may go: the draws' own about their first, and everybody's bounds."""
    parameters = bodies.parameters
    bounds = parameters.betas.new_tensor(
        [_ROOT_RAD] * 3 + [_JOINT_RAD] * 69 + [_BETA] * 10 + [_ASIDE_M] * 2 + [_AWAY_M]
    )
    spread = torch.diag(bounds.square()) * config.free
    people, hyps = parameters.betas.shape[:2]
    if hyps < LEAST_DRAWS or config.drawn <= 0:
        return torch.linalg.inv(spread).expand(people, STEP, STEP)
    first, rest = slice(0, 1), slice(1, None)
    turned = parameters.rotations[:, first].mT @ parameters.rotations[:, rest]
    away = torch.cat(
        [
            matrix_to_axis_angle(turned).flatten(2),
            parameters.betas[:, rest] - parameters.betas[:, first],
            bodies.transl_cam_m[:, rest] - bodies.transl_cam_m[:, first],
        ],
        -1,
    )
    return torch.linalg.inv(spread + config.drawn * (away.mT @ away) / (hyps - 1))


@dataclass(frozen=True)
class _Slope:
    """Energy, and the quadratic that it looks like from here."""

    energy: Float[Tensor, "people hyps"]
    gradient: Float[Tensor, "people hyps 85"]
    curvature: Float[Tensor, "people hyps 85 85"]


def _descended(
    body: BodyModel, start: Stance, energy: Callable[[Stance], _Slope], iterations: int
) -> tuple[Stance, Tensor, Tensor]:
    """Levenberg and Marquardt: a step that doesn't help is taken back and the next one is shorter."""
    stance, slope = start, energy(start)
    before = slope.energy
    damping = torch.full_like(before, 1e-3)
    for _ in range(iterations):
        bent = slope.curvature.diagonal(dim1=-2, dim2=-1)
        curvature = slope.curvature + torch.diag_embed(damping[..., None] * bent)
        factor, _ = torch.linalg.cholesky_ex(curvature)
        step = -torch.cholesky_solve(slope.gradient[..., None], factor)[..., 0]
        tried = _moved(body, stance, step)
        found = energy(tried)
        lower = found.energy < slope.energy  # never of what is no number
        damping = torch.where(lower, damping * 0.3, damping * 10).clamp(_LEAST_DAMPING, _MOST_DAMPING)
        stance = _chosen(lower, tried, stance)
        slope = _Slope(
            torch.where(lower, found.energy, slope.energy),
            torch.where(lower[..., None], found.gradient, slope.gradient),
            torch.where(lower[..., None, None], found.curvature, slope.curvature),
        )
    return stance, before, slope.energy


def _slope(
    stance: Stance, start: Stance, guide: Guide, config: GuidanceConfig, radii_m: Tensor, precision: Tensor
) -> _Slope:
    away = torch.cat(
        [
            matrix_to_axis_angle(start.rotations.mT @ stance.rotations).flatten(2),
            stance.betas - start.betas,
            stance.transl_cam_m - start.transl_cam_m,
        ],
        -1,
    )
    # The turn so far is taken for a vector: what it neglects is of third order.
    pull = away @ precision
    energy, gradient = (away * pull).sum(-1) / 2, pull
    curvature = precision[:, None].expand(*energy.shape, STEP, STEP)
    for rows in rows_of(stance, guide, config, radii_m):
        energy = energy + rows.energy
        weighed = rows.weight[..., None] * rows.by_step
        gradient = gradient + (weighed * rows.residual[..., None]).sum(-2)
        curvature = curvature + weighed.mT @ rows.by_step
    return _Slope(energy, gradient, curvature)


def _stance(body: BodyModel, rotations: Tensor, betas: Tensor, transl_cam_m: Tensor) -> Stance:
    return Stance(rotations, betas, transl_cam_m, moving_points(body, rotations, betas))


def _moved(body: BodyModel, stance: Stance, step: Float[Tensor, "people hyps 85"]) -> Stance:
    turns = axis_angle_to_matrix(step[..., TURNS].unflatten(-1, (24, 3)))
    return _stance(
        body,
        stance.rotations @ turns,
        stance.betas + step[..., BETAS],
        stance.transl_cam_m + step[..., TRANSL],
    )


def _chosen(which: Bool[Tensor, "people hyps"], one: Stance, other: Stance) -> Stance:
    def pick(first: Tensor, second: Tensor) -> Tensor:
        return torch.where(which.view(*which.shape, *[1] * (first.ndim - 2)), first, second)

    moving = type(one.moving)(
        *(
            pick(getattr(one.moving, name), getattr(other.moving, name))
            for name in ("points_m", "by_turns", "by_betas")
        )
    )
    return Stance(
        pick(one.rotations, other.rotations),
        pick(one.betas, other.betas),
        pick(one.transl_cam_m, other.transl_cam_m),
        moving,
    )


def _worse_than_possible(
    before: Stance, after: Stance, radii_m: Tensor, rule: VetoRule | None = None
) -> Bool[Tensor, "people hyps"]:
    """Whose refined body the vetoes would hit, and harder than the unguided one."""
    rule = rule or VetoRule()
    lead = before.betas.shape[:2]

    def badness(stance: Stance) -> tuple[Tensor, Tensor]:
        turned = worst_turn(stance.rotations.flatten(0, 1))
        depth, _ = through_itself(stance.moving.points_m[..., :24, :].flatten(0, 1), radii_m)
        return turned.view(lead), depth.amax(-1).view(lead)

    (turned_before, deep_before), (turned, deep) = badness(before), badness(after)
    # A small angle's chord is the angle; a large one's is shorter, and the bound is met earlier.
    return ((turned > 0.95 * rule.joint_slack_rad) & (turned > turned_before)) | (
        (deep > rule.contact) & (deep > deep_before)
    )


def _off(bodies: Bodies, guide: Guide) -> Float[Tensor, "people hyps"]:
    sure = guide.keypoints_px[:, None, :, 2].clamp(0, 1)
    off = (bodies.keypoints_px - guide.keypoints_px[:, None, :, :2]).norm(dim=-1)
    off = torch.where(sure > 0, off, 0.0) / guide.crop_px[:, None, None, 2]
    return (sure * off).sum(-1) / sure.sum(-1).clamp_min(1e-6)


def _shown(bodies: Bodies, guide: Guide) -> Float[Tensor, "people hyps"]:
    assert guide.told is not None
    # Within a softness of the category's inside is within the category.
    shown = (distances(guide.told, bodies.joints_m) <= 1.0) & (guide.told.said[:, None] > 0)
    return shown.sum(-1) / guide.told.said.sum(-1, keepdim=True).clamp_min(1)
