"""How far a body is from what was said of it: each told number's distance from its category, with a gradient.

The distance is counted in the scale's softness and ends a little inside the category, so that what was said is plainly
so; a posture has no number, and counts by minus the logarithm of its share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from alignhmr.core.language.facts import BY_NAME, INDEX, SCALES, Fact
from alignhmr.core.language.measures import CAMERA_UP, Measured, measured
from alignhmr.core.language.postures import posture_shares

INSIDE = 1.0
"""How many softnesses inside its category a number shall lie, half of the category's width at most."""
_FAR = 1e4
"""An end that a category doesn't have; no number comes near it."""
_POSTURE = "posture"


@dataclass(frozen=True)
class Told:
    """What was said of a batch of people, over the facts that anything was said of."""

    facts: tuple[str, ...]
    low: Float[Tensor, "people told"]
    high: Float[Tensor, "people told"]
    said: Float[Tensor, "people told"]
    """1 where it was said of that person, else 0."""

    @classmethod
    def of(cls, codes: Sequence[Mapping[str, str]]) -> "Told":
        """From each person's posecodes, fact -> category, as ``language.reading`` gives them."""
        facts = tuple(name for name in INDEX if any(name in told for told in codes))
        ends = torch.zeros(2, len(codes), len(facts))
        said = torch.zeros(len(codes), len(facts))
        for person, told in enumerate(codes):
            for column, name in enumerate(facts):
                if name in told:
                    said[person, column] = 1
                    ends[:, person, column] = torch.tensor(interval(BY_NAME[name], told[name]))
        return cls(facts, ends[0], ends[1], said)

    def to(self, like: Tensor) -> "Told":
        return Told(self.facts, self.low.to(like), self.high.to(like), self.said.to(like))


def interval(fact: Fact, category: str) -> tuple[float, float]:
    """Ends of the numbers that are plainly of a category; of a posture its place among the postures, twice."""
    scale = fact.scale
    if fact.scale_name == _POSTURE:
        place = float(scale.names.index(category))
        return place, place
    ends = [-_FAR, *scale.edges, _FAR]
    where = [i for i, name in enumerate(scale.categories) if name == category]
    low, high = ends[where[0]], ends[where[0] + 1]
    if scale.cyclic and len(where) > 1:  # the last and the first are one, across half a turn
        low, high = ends[where[-1]], ends[where[0] + 1] + 360
    margin = min(INSIDE * scale.softness, (high - low) / 4)
    return low + margin, high - margin


def distances(
    told: Told, joints_m: Float[Tensor, "people hyps 24 3"], up: tuple[float, float, float] = CAMERA_UP
) -> Float[Tensor, "people hyps told"]:
    """0 where a number is plainly as it was said, else how many softnesses it is off."""
    found = measured(joints_m, up, _parts(told.facts))
    columns = [INDEX[name] for name in told.facts]
    values = found.values[..., columns]
    scales = [BY_NAME[name].scale for name in told.facts]
    soft = values.new_tensor([scale.softness or 1.0 for scale in scales]) * found.softer[..., columns]
    turns = values.new_tensor([360.0 if scale.cyclic else 0.0 for scale in scales])
    low, high = told.low[:, None], told.high[:, None]
    # An angle is the same a whole turn on: the one nearest to the category's middle counts.
    whole = torch.where(
        turns > 0, torch.round(((low + high) / 2 - values.detach()) / turns.clamp_min(1)), 0.0
    )
    values = values + whole * turns
    off = ((low - values).clamp_min(0) + (values - high).clamp_min(0)) / soft
    if _POSTURE in told.facts:
        off = _with_postures(off, told, found)
    return off * told.said[:, None]


@cache
def _parts(facts: tuple[str, ...]) -> frozenset[str]:
    """Whose numbers are needed."""
    of_posture = ("torso", "left_leg", "right_leg") if _POSTURE in facts else ()
    return frozenset((*of_posture, *(BY_NAME[name].part for name in facts)))


def _with_postures(off: Tensor, told: Told, found: Measured) -> Tensor:
    column = told.facts.index(_POSTURE)
    shares = posture_shares(found)
    which = told.low[:, None, column].long().clamp(0, len(SCALES[_POSTURE].names) - 1)
    share = shares.gather(-1, which[..., None].expand(*shares.shape[:-1], 1))
    # Likelier than not is enough.
    lost = (-2 * share.clamp_min(1e-12).log() + 2 * torch.log(torch.tensor(0.5))).clamp_min(0)
    lost = (lost + 1e-12).sqrt() - 1e-6
    return torch.cat([off[..., :column], lost, off[..., column + 1 :]], -1)
