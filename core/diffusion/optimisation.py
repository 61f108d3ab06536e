"""The alternative to guided diffusion: optimisation alone, from a mean pose, as in SMPLify (Bogo et al., ECCV 2016).

The same terms, steps and limits as ``guidance.py``; what differs is where it begins and what holds it there: the mean
of the poses that the base model learned from, upright, in several headings, of which the one with the least energy is
kept. It is here to be compared with.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from alignhmr.core.body.model import BodyModel
from alignhmr.core.diffusion.guidance import precision_of, refine
from alignhmr.core.diffusion.guidance_terms import GuidanceConfig, Guide
from alignhmr.core.diffusion.parameters import BodyParameters, unpack
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.placement import Bodies, chosen, place

HEADINGS = 4
OPTIMISED = GuidanceConfig(free=8.0, drawn=0.0, iterations=12)
"""Bounds as wide as poses are: a joint's are 0.7 rad."""


@torch.no_grad()
def optimise(
    body: BodyModel, mean: Float[Tensor, "params"], guide: Guide, radii_m: Float[Tensor, "capsules"],
    config: GuidanceConfig = OPTIMISED,
) -> Bodies:  # fmt: skip
    """One body for each person, from a packed mean (``BaseModel.mean``)."""
    people = len(guide.focal_px)
    parameters = unpack(mean[None, None].expand(people, HEADINGS, -1))
    turns = torch.zeros(HEADINGS, 3).to(mean)
    turns[:, 1] = torch.arange(HEADINGS) * (2 * math.pi / HEADINGS)
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0])).to(mean)
    rotations = parameters.rotations.clone()
    rotations[:, :, 0] = axis_angle_to_matrix(turns) @ upright
    bodies = place(BodyParameters(rotations, parameters.betas, parameters.camera), body, guide)
    # The heading is not known: it is held as loosely as a limb.
    precision = precision_of(bodies, config).clone()
    precision[:, :3] = precision[:, :, :3] = 0
    precision[:, range(3), range(3)] = 0.3
    found = refine(body, bodies, guide, radii_m, config, precision)
    return chosen(found.bodies, found.energy_after.argmin(1))
