"""Posecodes in English: a sentence or more for each body part, in several styles, with as much left out as wanted.

What is written can be read back without loss (``reading.py``). Wordings are drawn by stem, so that left and right are
told alike and a mirrored pose gives mirrored text for the same seed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from alignhmr.core.language.facts import BY_NAME, FACTS, PARTS
from alignhmr.core.language.lexicon import HELD_OUT, WORDINGS, WORDS, clause

Structure = Literal["sentences", "listed", "joined", "headed", "contrasted"]
_SEEN = tuple(range(WORDINGS - HELD_OUT))
_UNSEEN = tuple(range(WORDINGS - HELD_OUT, WORDINGS))


@dataclass(frozen=True)
class Style:
    """How a description is worded and cut into sentences."""

    structure: Structure
    nouns: tuple[int, ...] = (0,)
    wordings: tuple[int, ...] = (0,)
    """Alternatives of ``lexicon.WORDS`` to draw from."""
    both: bool = False
    """Whether what is true of both sides is said once."""


STYLES: dict[str, Style] = {
    "plain": Style("joined"),
    "sentences": Style("sentences", _SEEN, _SEEN),
    "listed": Style("listed", _SEEN, _SEEN, both=True),
    "headed": Style("headed", _SEEN, _SEEN),
    "joined": Style("joined", _SEEN, _SEEN, both=True),
    # Never trained on: other nouns, other predicates, other sentences.
    "unseen_sentences": Style("sentences", _UNSEEN, _UNSEEN, both=True),
    "unseen_contrasted": Style("contrasted", _UNSEEN, _UNSEEN),
}
TRAINED = ("plain", "sentences", "listed", "headed", "joined")
UNSEEN = ("unseen_sentences", "unseen_contrasted")


BRIEF: frozenset[str] = frozenset(
    "posture inclination lean facing chest nod tilt upper_arm upper_arm_way elbow hand_height touch_head touch_hip"
    " touch_knee touch_hand thigh thigh_way knee foot_ahead foot_ground knee_ground legs_crossed".split()
)
"""Stems of a short description, which are also what a vision-language model is asked for."""


def write(
    categories: Mapping[str, str], style: Style = STYLES["plain"], rng: np.random.Generator | None = None
) -> dict[str, str]:
    """Part -> text of these codes; parts of which nothing is told are absent.

    Silent categories and meaningless facts must be gone already (``posecodes.said``). Without ``rng`` the first
    alternative of the style is taken everywhere. With ``style.both`` what both sides share stands with the left one.
    """
    drawn = _draw(style, rng)
    clauses: dict[str, list[str]] = {part: [] for part in PARTS}
    for fact in FACTS:
        category = categories.get(fact.name)
        if category is None:
            continue
        side = fact.side
        if style.both and fact.side and WORDS[fact.stem].both:
            if categories.get(f"left_{fact.stem}") == categories.get(f"right_{fact.stem}"):
                if fact.side == "right":
                    continue
                side = "both"
        clauses[fact.part].append(clause(fact.stem, category, side, *drawn[fact.stem]))
    return {part: _sentences(part, told, style.structure) for part, told in clauses.items() if told}


def whole(sentences: Mapping[str, str]) -> str:
    """One text of all parts."""
    return " ".join(sentences[part] for part in ("torso", "head", *PARTS[2:]) if part in sentences)


def omitted(categories: Mapping[str, str], keep: float, rng: np.random.Generator) -> dict[str, str]:
    """A random share of the codes, at least one."""
    names = list(categories)
    kept = rng.random(len(names)) < keep
    if names and not kept.any():
        kept[rng.integers(len(names))] = True
    return {name: categories[name] for name, stays in zip(names, kept, strict=True) if stays}


def brief(categories: Mapping[str, str]) -> dict[str, str]:
    """Those that a person would mention first."""
    return {name: category for name, category in categories.items() if BY_NAME[name].stem in BRIEF}


def caption_from_joints(joints_cam_m: Float[np.ndarray, "24 3"]) -> dict[str, str]:
    """A short text for each of ``PARTS``, in plain style, from joints in the camera frame (y down)."""
    # Here, not above: reading and writing need no torch, and a stage that writes imports nothing that slow.
    from alignhmr.core.language.posecodes import posecodes, said

    return write(brief(said(posecodes(np.asarray(joints_cam_m, np.float64)).categories())))


def _draw(style: Style, rng: np.random.Generator | None) -> dict[str, tuple[int, int]]:
    """Stem -> its alternatives."""
    if rng is None:
        return dict.fromkeys(WORDS, (style.nouns[0], style.wordings[0]))
    return {stem: (int(rng.choice(style.nouns)), int(rng.choice(style.wordings))) for stem in WORDS}


def _sentences(part: str, clauses: list[str], structure: Structure) -> str:
    if structure == "headed":
        return f"{BY_PART[part]}: {'; '.join(clauses)}."
    if structure == "listed":
        return f"{_capital(', '.join(clauses))}."
    if structure == "sentences":
        return " ".join(f"{_capital(told)}." for told in clauses)
    joint = " and " if structure == "joined" else " while "
    pairs = [joint.join(clauses[start : start + 2]) for start in range(0, len(clauses), 2)]
    return " ".join(f"{_capital(told)}." for told in pairs)


BY_PART = {part: part.replace("_", " ").capitalize() for part in PARTS}
"""Part -> how it heads a list."""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


assert set(WORDS) == {fact.stem for fact in BY_NAME.values()}, "every stem has words"
