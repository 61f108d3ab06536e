"""Where a caption and the pose beside it contradict each other, by the words that both use for the same thing.

The pose says what ``posecodes`` says of it. A sentence is searched for words of a few scales (how far bent, how
high, which way); where both place a part on the same scale and the places are apart, that is a contradiction. Words
that aren't on a scale say nothing: a caption that is merely vague contradicts nobody.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

BENT: tuple[tuple[str, float], ...] = (
    (r"\b(slightly|a little|somewhat|gently) (bent|flexed)", 1.0), (r"right angle|90 degrees|\bhalf bent", 2.0),
    (r"\b(fully|sharply|strongly|tightly|deeply) (bent|flexed|folded)", 3.0),
    (r"\b(straight|extended|stretched|outstretched)\b", 0.0), (r"\b(bent|flexed)\b", 1.7),
)  # fmt: skip
"""Patterns of how far a limb is bent, 0 (straight) to 3; the first that is found counts."""
HIGH: tuple[tuple[str, float], ...] = (
    (r"\b(above|over) the (head|shoulder)|\braised\b|\boverhead\b|\bup\b|\bupwards?\b|\blifted\b", 2.0),
    (r"\bto the side\b|\bsideways\b|\bin front\b|\bforward\b|\bchest\b|\bdrawn back\b", 1.0),
    (r"\bhanging\b|\bdown\b|\bdownwards?\b|\blowered\b|\bby (the|his|her|their) side", 0.0),
)  # fmt: skip
"""Of an arm: 0 hanging, 1 level, 2 raised."""
LEANS: tuple[tuple[str, float], ...] = (
    (r"horizontal|\blying\b", 3.0), (r"\bbent (forward|over|backward)", 2.0), (r"\blean", 1.0),
    (r"\bupright\b|\bstraight\b|\bvertical\b", 0.0),
)  # fmt: skip
"""Of the torso: 0 upright to 3 horizontal."""
SCALES: dict[str, dict[str, tuple[tuple[tuple[str, float], ...], float]]] = {
    "torso": {"leaning": (LEANS, 2.0)},
    **{f"{side}_arm": {"elbow": (BENT, 1.5), "height": (HIGH, 2.0)} for side in ("left", "right")},
    **{f"{side}_leg": {"knee": (BENT, 1.5)} for side in ("left", "right")},
}
"""Part -> scale -> its patterns, and how far apart two places must be to contradict each other."""


@dataclass(frozen=True)
class Contradiction:
    part: str
    scale: str
    caption: str
    pose: str
    apart: float


def contradictions(captions: Mapping[str, str | None], pose: Mapping[str, str]) -> list[Contradiction]:
    """Of one person: the caption's sentences by part, and those that the pose gives."""
    found = []
    for part, scales in SCALES.items():
        said, meant = captions.get(part), pose.get(part)
        if not said or not meant or "not visible" in said.lower():
            continue
        for scale, (patterns, least) in scales.items():
            here, there = _place(said, patterns), _place(meant, patterns)
            if here is not None and there is not None and abs(here - there) >= least:
                found.append(Contradiction(part, scale, said, meant, abs(here - there)))
    return found


def _place(sentence: str, patterns: tuple[tuple[str, float], ...]) -> float | None:
    text = sentence.lower()
    return next((value for pattern, value in patterns if re.search(pattern, text)), None)
