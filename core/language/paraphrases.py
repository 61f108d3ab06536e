"""Patterns for what others say of a pose: clauses that are not of our own lexicon.

A rule is a stem, a category and what the clause must hold; the side comes from the clause or from what its sentence
spoke of before. Rules are tried for the nouns that they belong to, and may all speak: "raised straight up" is a limb up
and a joint straight. How many paraphrases they read, and how many wrongly: ``tests/benchmarks/language.py``.
"""

import re
from dataclasses import dataclass

from alignhmr.core.language.facts import SIDES
from alignhmr.core.language.paraphrase_rules import RULES

_SIDE = re.compile(r"\b(left|right)(?! angle)\b")
_BOTH = re.compile(
    r"\b(both|arms|hands|elbows|knees|legs|feet|thighs|forearms|wrists|palms|shins|ankles|calves)\b"
)
_NOUNS = {
    "elbow": r"\belbows?\b",
    "forearm": r"\b(forearms?|lower arms?)\b",
    "upper_arm": r"\bupper arms?\b",
    "hand": r"\b(hands?|wrists?|palms?|fists?|fingers)\b",
    "arm": r"\barms?\b",
    "knee": r"\bknees?\b",
    "shin": r"\b(shins?|lower legs?|calf|calves)\b",
    "thigh": r"\b(thighs?|upper legs?)\b",
    "foot": r"\b(foot|feet|ankles?|heels?|toes)\b",
    "leg": r"\blegs?\b",
    "head": r"\b(head|face|chin|gaze|neck)\b",
    "torso": r"\b(torso|trunk|body|back|chest|spine|waist|person|upper body)\b",
}
_NOUN_RES = {name: re.compile(pattern) for name, pattern in _NOUNS.items()}
_MIDDLE = ("head", "torso")
"""Nouns without a side."""


@dataclass(frozen=True)
class Subject:
    """What a sentence has spoken of so far."""

    noun: str | None = None
    sides: tuple[str, ...] = ()

    @classmethod
    def of_part(cls, part: str | None) -> "Subject":
        if part is None:
            return cls()
        side, _, noun = part.rpartition("_")
        return cls(noun, (side,) if side else ())

    def after(self, words: str) -> "Subject":
        """What it speaks of once these words were said."""
        noun, sides = first_noun(words), sides_of(words)
        if noun in _MIDDLE:
            return Subject(noun)
        return Subject(noun or self.noun, sides or self.sides)

    def completed(self, words: str) -> str:
        """The clause with the subject that it leaves to its sentence: 'elbow bent' after 'left arm'."""
        if first_noun(words) is None and self.noun is not None:
            noun = self.noun.replace("_", " ")
            return f"the {self.sides[0]} {noun} {words}" if len(self.sides) == 1 else f"the {noun} {words}"
        named = first_noun(words) in _MIDDLE or _SIDE.search(words) or _BOTH.search(words)
        if not named and first_noun(words) is not None and len(self.sides) == 1:
            return f"the {self.sides[0]} {words.removeprefix('the ')}"
        return words


def sides_of(words: str) -> tuple[str, ...]:
    """The side of the clause's subject: the first one named, or both."""
    # What is touched or compared with comes after these words, and isn't the subject.
    subject = re.split(
        r"\b(?:on|at|to|of|touch\w*|than|toward|towards|from|against|behind|over|across)\b", words
    )[0]
    if match := _SIDE.search(subject):
        return (match[1],)
    return SIDES if _BOTH.search(subject) else ()


def first_noun(words: str) -> str | None:
    """The part of the body that the clause begins with."""
    found = [(match.start(), name) for name, pattern in _NOUN_RES.items() if (match := pattern.search(words))]
    return min(found)[1] if found else None


_COMPILED = tuple((rule, re.compile(rule.pattern), re.compile(rule.unless)) for rule in RULES)


def guess(words: str, subject: Subject) -> dict[str, str]:
    """Codes of a clause by the patterns; the first rule of a fact wins."""
    noun = first_noun(words) or subject.noun
    sides = sides_of(words) or subject.sides
    codes: dict[str, str] = {}
    for rule, pattern, unless in _COMPILED:
        if rule.nouns and noun not in rule.nouns:
            continue
        if not pattern.search(words) or unless.search(words):
            continue
        for name in [f"{side}_{rule.stem}" for side in sides] if rule.sided else [rule.stem]:
            codes.setdefault(name, rule.category)
    return codes
