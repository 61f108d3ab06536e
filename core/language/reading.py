"""English back to posecodes: exact for what ``writing.py`` writes, as good as its patterns for what others say.

A text is cut into clauses. A clause of our own lexicon is looked up; any other goes through the patterns of
``paraphrases.py``, which know the side and the part that the sentence has spoken of so far. Nothing raises: what isn't
understood is listed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from alignhmr.core.language.facts import FACTS, PARTS, SIDES
from alignhmr.core.language.lexicon import WORDINGS, WORDS, clause
from alignhmr.core.language.paraphrases import Subject, guess

_SENTENCES = re.compile(r"[.!?\n]+")
_CLAUSES = re.compile(r"\s*(?:[,:;]|\band\b|\bwhile\b)\s*")
_OTHERS_CLAUSES = re.compile(
    r"\s*\b(?:with(?! the other| the spine| the hips?| the (?:shoulders?|chest|head|ground|floor))|but)\b\s*"
)
"""Joints that our own clauses may hold inside."""
_HEADS = {part.replace("_", " "): part for part in PARTS}


@dataclass(frozen=True)
class Reading:
    """What a text says."""

    codes: dict[str, str] = field(default_factory=dict)
    """Fact -> category; of a contradiction the first."""
    contradictions: tuple[str, ...] = ()
    """Sentences about what can't both be true."""
    unread: tuple[str, ...] = ()
    """Clauses that weren't understood."""


def read(text: str, part: str | None = None, *, wordings: int = WORDINGS) -> Reading:
    """The posecodes that a text tells; ``part`` is what it is about, where that is known.

    Clauses in other than the first so many wordings of the lexicon are read as a stranger's, by the patterns.
    """
    codes: dict[str, str] = {}
    contradictions, unread = [], []
    for words, subject in clauses(text, part, wordings=wordings):
        found = _lexicon(wordings).get(words)
        found = dict(found) if found is not None else guess(words, subject)
        if not found and words not in _HEADS:
            unread.append(words)
        for name, category in found.items():
            if codes.setdefault(name, category) != category:
                contradictions.append(f"{name} is {codes[name]} and {category}")
    return Reading(codes, (*contradictions, *_impossible(codes)), tuple(unread))


def read_parts(sentences: dict[str, str]) -> Reading:
    """``read`` of a caption by parts."""
    readings = [read(text, part) for part, text in sentences.items()]
    codes: dict[str, str] = {}
    contradictions: list[str] = []
    for reading in readings:
        contradictions += reading.contradictions
        for name, category in reading.codes.items():
            if codes.setdefault(name, category) != category:
                contradictions.append(f"{name} is {codes[name]} and {category}")
    unread = tuple(words for reading in readings for words in reading.unread)
    return Reading(codes, tuple(dict.fromkeys((*contradictions, *_impossible(codes)))), unread)


def clauses(text: str, part: str | None = None, *, wordings: int = WORDINGS) -> Iterator[tuple[str, Subject]]:
    """Each clause in lower case, and what its sentence was about before it."""
    for sentence in _SENTENCES.split(text.lower()):
        subject = Subject.of_part(part)
        for words in _CLAUSES.split(sentence):
            words = " ".join(words.split())
            pieces = [words] if words in _lexicon(wordings) else _OTHERS_CLAUSES.split(words)
            for piece in filter(None, pieces):
                yield piece, subject
                subject = subject.after(piece)


def is_heading(words: str) -> bool:
    """Whether a clause only names a part, as lists do."""
    return words in _HEADS


@cache
def _lexicon(wordings: int) -> dict[str, tuple[tuple[str, str], ...]]:
    """Every clause that can be written in the first so many wordings -> its codes."""
    known: dict[str, tuple[tuple[str, str], ...]] = {}
    for stem, words in WORDS.items():
        sided = any(fact.stem == stem and fact.side for fact in FACTS)
        for side in (*SIDES, "both") if sided else (None,):
            if side == "both" and not words.both:
                continue
            names = [f"{s}_{stem}" for s in SIDES] if side == "both" else [f"{side}_{stem}" if side else stem]
            for category in words.predicates:
                codes = tuple((name, category) for name in names)
                for noun in range(wordings):
                    for wording in range(wordings):
                        known[clause(stem, category, side, noun, wording)] = codes
    return known


_OPPOSED = (
    ("foot_ahead", "ahead"),
    ("foot_ahead", "behind"),
    ("foot_higher", "higher"),
    ("foot_higher", "lower"),
)
_SHARED = ("hands_spread", "feet_spread", "legs_crossed")
_NEVER: tuple[tuple[tuple[str, str], tuple[str, str]], ...] = (
    (("posture", "standing"), ("hips_ground", "ground")), (("posture", "lying"), ("inclination", "upright")),
    (("posture", "standing"), ("inclination", "horizontal")), (("posture", "sitting"), ("inclination", "upside_down")),
    (("posture", "standing"), ("inclination", "upside_down")), (("posture", "kneeling"), ("hips_ground", "ground")),
    (("posture", "upside_down"), ("inclination", "upright")),
    *((((f"{side}_elbow", "straight")), (f"{side}_touch_shoulder", "near")) for side in SIDES),
    *((((f"{side}_elbow", "straight")), (f"{side}_touch_head", "near")) for side in SIDES),
)  # fmt: skip


def _impossible(codes: dict[str, str]) -> Iterator[str]:
    """What two facts say against each other."""
    for stem, category in _OPPOSED:
        if all(codes.get(f"{side}_{stem}") == category for side in SIDES):
            yield f"both feet are {category}"
    for stem in _SHARED:
        one, other = (codes.get(f"{side}_{stem}") for side in SIDES)
        if one and other and one != other:
            yield f"left_{stem} is {one} and right_{stem} is {other}"
    for one, other in _NEVER:
        if codes.get(one[0]) == one[1] and codes.get(other[0]) == other[1]:
            yield f"{one[0]} is {one[1]} and {other[0]} is {other[1]}"
