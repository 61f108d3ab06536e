"""Posecodes: what is true of a pose, in categories, and how sure each of them is.

Computed from 3D joints alone by the thresholds of ``facts.py``; a category's probability is what would be left of it
if the number were off by the scale's softness. Mirror the joints and the codes are mirrored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.special import ndtr

from alignhmr.core.language.facts import BY_NAME, FACTS, INDEX, MOST, PARTS, Fact
from alignhmr.core.language.measures import CAMERA_UP, Measures, measured
from alignhmr.core.language.postures import posture_shares

__all__ = ["PARTS", "Posecodes", "moot", "posecodes", "said", "said_mask"]


@dataclass(frozen=True)
class Posecodes:
    """The codes of a batch of poses."""

    codes: Int[np.ndarray, "*batch facts"]
    """Index into the fact's ``scale.names``, in the order of ``FACTS``."""
    probabilities: Float[np.ndarray, "*batch facts categories"]
    """Of each category of each fact; 0 beyond a fact's last."""

    @cached_property
    def confidence(self) -> Float[np.ndarray, "*batch facts"]:
        """Probability of each fact's own category: 0.5 on a border."""
        return np.take_along_axis(self.probabilities, self.codes[..., None], -1)[..., 0]

    def __getitem__(self, index: Any) -> "Posecodes":
        """Some poses of the batch."""
        return Posecodes(self.codes[index], self.probabilities[index])

    def categories(self) -> dict[str, str]:
        """Fact -> category of one pose, all of them."""
        return {fact.name: fact.scale.names[code] for fact, code in zip(FACTS, self.codes, strict=True)}


def posecodes(
    joints_m: Float[np.ndarray, "*batch 24 3"], up: tuple[float, float, float] = CAMERA_UP
) -> Posecodes:
    """Codes of poses by their joints, in a camera's frame (y down) unless ``up`` says otherwise.

    Joints that aren't finite raise ValueError: a category of nothing would be a lie.
    """
    if not np.isfinite(joints_m).all():
        raise ValueError("joints that are no finite numbers have no posecodes; leave such hypotheses out")
    lead = np.shape(joints_m)[:-2]
    with torch.no_grad():
        found = measured(torch.from_numpy(np.reshape(np.asarray(joints_m, np.float64), (-1, 24, 3))), up)
        postures = posture_shares(found).numpy()
    measures = Measures(found.values.numpy(), found.softer.numpy(), found.heights_m.numpy())
    count = len(measures.values)
    codes = np.zeros((count, len(FACTS)), np.int64)
    probabilities = np.zeros((count, len(FACTS), MOST), np.float32)
    for index, fact in enumerate(FACTS):
        names = fact.scale.names
        if fact.scale_name == "posture":
            shares = postures
            codes[..., index] = shares.argmax(-1)
        else:
            codes[..., index], shares = _cut(measures, index, fact)
        probabilities[..., index, : len(names)] = shares
    return Posecodes(codes.reshape(*lead, -1), probabilities.reshape(*lead, len(FACTS), MOST))


def said(categories: Mapping[str, str]) -> dict[str, str]:
    """Those of a pose's categories that a description would name: no silent ones, none without a meaning."""
    told = {}
    for name, category in categories.items():
        fact = BY_NAME[name]
        if category in fact.scale.silent:
            continue
        other = _other_of(fact)
        if other is not None and fact.unless is not None and categories.get(other.name) in fact.unless[1]:
            continue
        told[name] = category
    return told


def said_mask(codes: Int[np.ndarray, "*batch facts"]) -> Bool[np.ndarray, "*batch facts"]:
    """``said`` for a batch of codes."""
    return _SPEAKS[np.arange(len(FACTS)), codes] & ~moot(codes)


def moot(codes: Int[np.ndarray, "*batch facts"]) -> Bool[np.ndarray, "*batch facts"]:
    """Facts without a meaning, such as a vertical limb's compass direction."""
    others = np.take_along_axis(codes, np.broadcast_to(_OTHER, codes.shape), -1)
    return _MOOT[np.arange(len(FACTS)), others]


def _cut(measures: Measures, index: int, fact: Fact) -> tuple[np.ndarray, np.ndarray]:
    """Codes of one fact, and the probability of each of its categories."""
    scale = fact.scale
    value = measures.values[..., index]
    softness = scale.softness * measures.softer[..., index]
    segment = np.digitize(value, scale.edges)
    code_of = np.array([scale.names.index(category) for category in scale.categories])
    turns = (-360.0, 0.0, 360.0) if scale.cyclic else (0.0,)
    shares = np.zeros((*value.shape, len(scale.names)))
    ends = np.array([-np.inf, *scale.edges, np.inf])
    if scale.cyclic:
        ends[0], ends[-1] = -180.0, 180.0
    for turn in turns:
        below = ndtr((ends - (value + turn)[..., None]) / softness[..., None])
        for number, code in enumerate(code_of):
            shares[..., code] += below[..., number + 1] - below[..., number]
    return code_of[segment], shares / shares.sum(-1, keepdims=True)


def _other_of(fact: Fact) -> Fact | None:
    """The fact that may take this one's meaning away."""
    if fact.unless is None:
        return None
    return BY_NAME[f"{fact.side}_{fact.unless[0]}" if fact.side else fact.unless[0]]


_SPEAKS = np.array(
    [[c < len(f.scale.names) and f.scale.names[c] not in f.scale.silent for c in range(MOST)] for f in FACTS]
)
_OTHER = np.array([INDEX[(_other_of(fact) or fact).name] for fact in FACTS])
_MOOT = np.zeros((len(FACTS), MOST), bool)
for _row, _fact in enumerate(FACTS):
    if (_found := _other_of(_fact)) is not None and _fact.unless is not None:
        _MOOT[_row, [_found.scale.names.index(category) for category in _fact.unless[1]]] = True
