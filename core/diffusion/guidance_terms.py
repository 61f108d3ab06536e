"""What bodies are held against, term by term: residuals, how much each counts, and how a small step changes them.

A step has 85 numbers: the turns of 24 joints (R exp(w), radians), 10 betas, the translation in metres. Every term is
half a sum of squares, bounded or flattened where evidence may be wrong.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from alignhmr.core.body.derivatives import MovingPoints
from alignhmr.core.diffusion.plausibility import by_turns, through_itself, turned_too_far
from alignhmr.core.diffusion.told import Told, distances
from alignhmr.core.language.text_pose import TextPose, similarity

STEP = 85
TURNS, BETAS, TRANSL = slice(0, 72), slice(72, 82), slice(82, 85)
_JOINTS = 24
_LIMBS = slice(5, 17)
LIMIT_SLACK_RAD = 0.35
"""Goniometry's ranges are those of most people in one axis at a time; bodies of mocap are up to so far beyond."""
_LIMIT_SIGMA_RAD = 0.15
CONTACT_SLACK = 0.7
"""Of the smaller radius: flesh gives way, and capsules don't."""
_CONTACT_SIGMA = 0.15


@dataclass(frozen=True)
class GuidanceConfig:
    """Weights of the terms (0 turns one off), what is believed of evidence, and how long is tried.

    Chosen on people of ``wild`` that no figure is told of (README.md of this folder).
    """

    keypoints: float = 1.0
    text: float = 1.0
    latent: float = 4.0
    limits: float = 0.3
    contact: float = 0.3
    silhouette: float = 0.0
    keypoint_sigma: float = 0.02
    """What a surely seen keypoint may be off, in half crops."""
    keypoint_bound: float = 4.0
    """Beyond so many sigmas a keypoint begins to be taken for a mistake (Geman and McClure)."""
    confidence_power: float = 2.0
    """A keypoint counts by its confidence to this power: detectors are surer than they are right."""
    face_and_feet: float = 0.1
    """How much their keypoints count beside those of limbs: bodies and detectors mean other points."""
    drawn: float = 0.0
    """Share that the spread of a person's own hypotheses has in how far a body may go."""
    free: float = 0.07
    """Multiplies the squares of the bounds that are everybody's (``guidance.precision_of``)."""
    iterations: int = 2
    levels: tuple[int, ...] = ()
    """Steps of the noise schedule, downwards, to which a guided body is noised and denoised again before it is
    guided once more; none by default, because that made answers worse."""

    def with_words(self) -> "GuidanceConfig":
        """For a person of whom something was said: words may turn what pictures can't tell, and that is far.

        Keypoints that speak against them are mistakes more often than not: they count as such sooner.
        """
        return replace(self, drawn=1.0, free=3.0, iterations=6, keypoint_bound=1.5, keypoint_sigma=0.03)

    def with_given_keypoints(self) -> "GuidanceConfig":
        """For keypoints that somebody put right: they are hardly ever mistakes."""
        return replace(
            self,
            keypoint_bound=8.0,
            face_and_feet=1.0,
            free=max(self.free, 3.0),
            iterations=max(self.iterations, 6),
        )


@dataclass(frozen=True)
class Guide:
    """Evidence about a batch of people; ``placement.Sight``, and what else may be known."""

    keypoints_px: Float[Tensor, "people keypoints 3"]
    crop_px: Float[Tensor, "people 3"]
    focal_px: Float[Tensor, "people"]
    center_px: Float[Tensor, "people 2"]
    told: Told | None = None
    space: TextPose | None = None
    """With ``place``: where what was said lies in the space of text and pose."""
    place: Float[Tensor, "people space"] | None = None
    outside: Float[Tensor, "people side side"] | None = None
    """Distance from the silhouette over the crop, in half crops; 0 inside it."""


@dataclass(frozen=True)
class Stance:
    """People x hypotheses as they stand, and how their points move."""

    rotations: Float[Tensor, "people hyps 24 3 3"]
    betas: Float[Tensor, "people hyps 10"]
    transl_cam_m: Float[Tensor, "people hyps 3"]
    moving: MovingPoints


@dataclass(frozen=True)
class Rows:
    """One term."""

    energy: Float[Tensor, "people hyps"]
    residual: Float[Tensor, "people hyps rows"]
    weight: Float[Tensor, "people hyps rows"]
    """Of the residual's square in the step's quadratic; energy's gradient is J^T (weight residual)."""
    by_step: Float[Tensor, "people hyps rows 85"]


def rows_of(
    stance: Stance, guide: Guide, config: GuidanceConfig, radii_m: Float[Tensor, "capsules"]
) -> list[Rows]:
    """The terms that are on and have evidence."""
    rows = []
    if config.keypoints > 0:
        rows.append(keypoint_rows(stance, guide, config))
    if config.text > 0 and guide.told is not None and guide.told.facts:
        rows.append(told_rows(stance, guide.told, config))
    if config.latent > 0 and guide.space is not None and guide.place is not None:
        rows.append(latent_rows(stance, guide.space, guide.place, config))
    if config.limits > 0:
        rows.append(limit_rows(stance, config))
    if config.contact > 0:
        rows.append(contact_rows(stance, config, radii_m))
    if config.silhouette > 0 and guide.outside is not None:
        rows.append(silhouette_rows(stance, guide, guide.outside, config))
    return rows


def keypoint_rows(stance: Stance, guide: Guide, config: GuidanceConfig) -> Rows:
    """Projections, by the picture's full perspective, against the keypoints that were seen."""
    pixels, by_step = _seen(stance, guide, slice(_JOINTS, None))
    unit_px = (guide.crop_px[:, 2] / 2 * config.keypoint_sigma)[:, None, None, None]
    off = (pixels - guide.keypoints_px[:, None, :, :2]) / unit_px
    sure = guide.keypoints_px[:, None, :, 2].clamp(0, 1)
    trust = torch.full_like(sure, config.face_and_feet)
    trust[..., _LIMBS] = 1
    # What wasn't seen may stand anywhere, at no number even.
    off = torch.where(sure[..., None] > 0, off, 0.0)
    trust = config.keypoints * trust * sure**config.confidence_power
    flat = 1 + off.square().sum(-1) / config.keypoint_bound**2
    energy = (trust * off.square().sum(-1) / flat).sum(-1) / 2
    weight = (trust / flat**2)[..., None].expand_as(off)
    by_step = by_step / unit_px[..., None]
    return Rows(energy, off.flatten(2), weight.flatten(2), by_step.flatten(2, 3))


def told_rows(stance: Stance, told: Told, config: GuidanceConfig) -> Rows:
    """Posecodes: how far each told number is from its category; of wrong words the pull is bounded."""
    joints = stance.moving.points_m[..., :_JOINTS, :].detach()
    off = distances(told, joints)
    by_joints = off.new_zeros(*off.shape, _JOINTS, 3)
    # What is as it was said pulls nowhere, and that is most of it. Of the rest each has a copy of its body: one pass
    # backward gives each its own derivative.
    person, hyp, fact = (off > 0).nonzero(as_tuple=True)
    if len(person):
        copies = Told(told.facts, told.low[person], told.high[person], told.said[person])
        with torch.enable_grad():
            leaf = joints[person, hyp][:, None].requires_grad_()
            own = distances(copies, leaf)[:, 0].gather(-1, fact[:, None])
            (slope,) = torch.autograd.grad(own.sum(), leaf)
        by_joints[person, hyp, fact] = slope[:, 0]
    flat = (1 + off.square()).sqrt()
    energy = config.text * (flat - 1).sum(-1)
    return Rows(energy, off, config.text / flat, _through_joints(by_joints, stance))


def latent_rows(
    stance: Stance, space: TextPose, place: Float[Tensor, "people space"], config: GuidanceConfig
) -> Rows:
    """How near pose and words lie in their shared space; the gradient goes straight through the codes."""
    lead = stance.betas.shape[:2]
    with torch.enable_grad():
        leaf = stance.rotations.detach().requires_grad_()
        near = similarity(space.place_of_pose(leaf.flatten(0, 1)).view(*lead, -1), place[:, None])
        off = (2 * (1 - near).clamp_min(0) + 1e-12).sqrt()
        (by_rotation,) = torch.autograd.grad(off.sum(), leaf)
    by_step = off.new_zeros(*lead, 1, STEP)
    by_step[..., 0, TURNS] = by_turns(stance.rotations, by_rotation).flatten(-2)
    off = off.detach()[..., None]
    weight = torch.full_like(off, config.latent)
    return Rows((weight * off.square()).sum(-1) / 2, off, weight, by_step)


def limit_rows(stance: Stance, config: GuidanceConfig) -> Rows:
    """Joints beyond their range."""
    lead = stance.betas.shape[:2]
    beyond, by_turn = turned_too_far(stance.rotations.flatten(0, 1), LIMIT_SLACK_RAD)
    off = beyond.view(*lead, -1) / _LIMIT_SIGMA_RAD
    by_step = off.new_zeros(*off.shape, STEP)
    by_step[..., TURNS] = by_turn.view(*off.shape, 72) / _LIMIT_SIGMA_RAD
    weight = torch.full_like(off, config.limits)
    return Rows((weight * off.square()).sum(-1) / 2, off, weight, by_step)


def contact_rows(stance: Stance, config: GuidanceConfig, radii_m: Float[Tensor, "capsules"]) -> Rows:
    """Parts of the body inside each other."""
    lead = stance.betas.shape[:2]
    joints = stance.moving.points_m[..., :_JOINTS, :].flatten(0, 1)
    depth, by_joints = through_itself(joints, radii_m)
    off = ((depth - CONTACT_SLACK).clamp_min(0) / _CONTACT_SIGMA).view(*lead, -1)
    by_joints = by_joints.view(*off.shape, _JOINTS, 3) * (off > 0)[..., None, None] / _CONTACT_SIGMA
    weight = torch.full_like(off, config.contact)
    return Rows((weight * off.square()).sum(-1) / 2, off, weight, _through_joints(by_joints, stance))


def silhouette_rows(
    stance: Stance, guide: Guide, outside: Float[Tensor, "people side side"], config: GuidanceConfig
) -> Rows:
    """Joints that fall beside the person's silhouette, by their distance from it."""
    pixels, by_step = _seen(stance, guide, slice(0, _JOINTS))
    half_px = (guide.crop_px[:, 2] / 2)[:, None, None, None]
    with torch.enable_grad():
        place = ((pixels - guide.crop_px[:, None, None, :2]) / half_px).detach().requires_grad_()
        found = torch.nn.functional.grid_sample(
            outside[:, None], place, align_corners=False, padding_mode="border"
        )[:, 0]
        (slope,) = torch.autograd.grad(found.sum(), place)
    off = found.detach() / config.keypoint_sigma
    by_place = slope / half_px / config.keypoint_sigma
    flat = 1 + off.square() / (2 * config.keypoint_bound) ** 2
    energy = config.silhouette * (off.square() / flat).sum(-1) / 2
    return Rows(energy, off, config.silhouette / flat**2, (by_place[..., None] * by_step).sum(-2))


def _seen(
    stance: Stance, guide: Guide, which: slice
) -> tuple[Float[Tensor, "people hyps points 2"], Float[Tensor, "people hyps points 2 85"]]:
    """Pixels of some points, and how a step moves them."""
    points = stance.moving.points_m[..., which, :] + stance.transl_cam_m[..., None, :]
    depth = points[..., 2:].clamp_min(0.05)
    focal, center = guide.focal_px[:, None, None, None], guide.center_px[:, None, None]
    ray = points[..., :2] / depth
    zoom = (focal / depth)[..., None]
    slope = ray[..., None]

    def on_picture(by: Tensor) -> Tensor:
        return zoom * (by[..., :2, :] - slope * by[..., 2:, :])

    turns, betas = (part[..., which, :, :] for part in (stance.moving.by_turns, stance.moving.by_betas))
    eye = torch.eye(3, dtype=points.dtype, device=points.device).expand(*points.shape[:-1], 3, 3)
    by_step = torch.cat([on_picture(turns), on_picture(betas), on_picture(eye)], -1)
    return ray * focal + center, by_step


def _through_joints(
    by_joints: Float[Tensor, "people hyps rows 24 3"], stance: Stance
) -> Float[Tensor, "people hyps rows 85"]:
    rows, moving = by_joints.flatten(-2), stance.moving
    by_step = rows.new_zeros(*rows.shape[:-1], STEP)
    by_step[..., TURNS] = rows @ moving.by_turns[..., :_JOINTS, :, :].flatten(-3, -2)
    by_step[..., BETAS] = rows @ moving.by_betas[..., :_JOINTS, :, :].flatten(-3, -2)
    return by_step
