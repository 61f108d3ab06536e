"""What is asked of a vision-language model about one person, and what is understood of its answer.

The answer is an object for each body part: posecodes (``facts.py``), each one of its categories or "unknown", and free
text. Models wrap JSON in prose and fences, break off, rename keys, answer whole sentences or something else altogether:
``parse`` keeps what is usable, says in one word what was wrong, and never raises.
"""

import itertools
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from alignhmr.core.language.facts import BY_NAME, FACTS, PARTS, Fact
from alignhmr.core.language.reading import read_parts
from alignhmr.core.language.writing import BRIEF, write

SCHEMA_VERSION = 2
"""1 had a sentence for each part and no posecodes."""

PROMPT = """\
Look at the person in the middle of this picture and describe the pose of each body part.
Left and right are the person's own, not the viewer's; "left" and "right" of "facing" alone are the picture's.
Say how each joint is bent, where each limb points, seen from the body itself, and what touches what. Don't
guess: say "unknown" of what can't be seen. Don't describe clothes, the place, or who the person is.
Answer with JSON only: an object for each of the keys "head", "torso", "left_arm", "right_arm", "left_leg" and
"right_leg", and in each of them, beside the codes, one short English sentence as "text"."""

MAX_SENTENCE = 600
"""Characters kept of one sentence. Longer ones are a model that repeats itself."""
UNKNOWN = "unknown"
_MAX_TEXT = 160


def asked(part: str) -> list[Fact]:
    """The facts that are asked of a part, in order; their stems are the keys of its object."""
    return [fact for fact in FACTS if fact.part == part and fact.stem in BRIEF]


def _part_schema(part: str) -> dict:
    codes = {fact.stem: {"enum": [*fact.scale.names, UNKNOWN]} for fact in asked(part)}
    properties = {**codes, "text": {"type": "string", "maxLength": _MAX_TEXT}}
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip


SCHEMA: dict = {
    "type": "object",
    "properties": {"version": {"const": SCHEMA_VERSION}, **{part: _part_schema(part) for part in PARTS}},
    "required": ["version", *PARTS],
    "additionalProperties": False,
}
"""JSON schema of the answer, for engines that can constrain what is generated."""


def answer_of(
    codes: Mapping[str, str], unseen: Collection[str] = (), texts: Mapping[str, str] | None = None
) -> str:
    """The whole answer that a model should give: fact -> category, parts that can't be seen, part -> free text.

    Facts that aren't in ``codes``, and all those of an unseen part, are answered "unknown".
    """
    answer: dict[str, Any] = {"version": SCHEMA_VERSION}
    for part in PARTS:
        told = {
            fact.stem: UNKNOWN if part in unseen else codes.get(fact.name, UNKNOWN) for fact in asked(part)
        }
        answer[part] = {**told, "text": (texts or {}).get(part, "")}
    return json.dumps(answer, separators=(",", ":"))


REASONS: dict[str, str] = {
    "empty": "the model answered nothing",
    "refused": "the model declined to answer",
    "not_json": "no JSON object and no line per body part in the answer",
    "truncated": "the answer broke off; the parts that were complete are kept",
    "no_parts": "JSON, but none of the body parts in it",
    "missing_parts": "some body parts have no sentence",
    "language": "the answer isn't English",
    "version": "the answer is of another version of the schema",
    "contradiction": "the answer says two things that can't both be true; both are kept in its text",
}
"""Closed list of what can be wrong with an answer."""


AGAIN = frozenset({"empty", "not_json", "truncated", "no_parts", "language"})
"""Reasons for which the same question may get a better answer another time."""


@dataclass(frozen=True)
class ParsedCaption:
    """The sentences understood, and why there are not six of them."""

    sentences: dict[str, str] = field(default_factory=dict)
    """Part -> sentence; parts without one are absent."""
    reason: str | None = None
    """A key of ``REASONS``; None for a whole caption."""
    detail: str = ""
    codes: dict[str, str] = field(default_factory=dict)
    """Fact -> category: as answered, or as read out of the text; of a contradiction the first."""
    contradictions: tuple[str, ...] = ()

    @property
    def problem(self) -> str | None:
        """The reason as text for a record, for instance 'missing_parts: head, torso'."""
        if self.reason is None:
            return None
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


_MAX_ANSWER, _TRIES = 20_000, 50
"""Characters read of an answer, and braces tried: nonsense may not cost more than a caption."""


def parse(text: str | None) -> ParsedCaption:
    """What a model's answer says about each body part. Takes any text, never raises."""
    text = (text or "")[:_MAX_ANSWER].strip()
    if not text:
        return ParsedCaption(reason="empty")
    found, complete = _find_object(text)
    if found is None:
        sentences = _labelled_lines(text)
        if not sentences:
            reason = "truncated" if not complete else "refused" if _REFUSAL.search(text) else "not_json"
            return ParsedCaption(reason=reason, detail=_start(text))
    else:
        if str(version := _version(found)) != str(SCHEMA_VERSION):
            return ParsedCaption(reason="version", detail=f"{str(version)[:40]}, wanted {SCHEMA_VERSION}")
        sentences = _sentences(found)
        if not sentences:
            return ParsedCaption(reason="no_parts" if complete else "truncated", detail=_start(text))
    if not _english(sentences.values()):
        return ParsedCaption(reason="language", detail=_start(text))
    missing = [part for part in PARTS if part not in sentences]
    reading = read_parts(sentences)
    reason = None if not missing else "missing_parts" if complete else "truncated"
    detail = ", ".join(missing)
    if reason is None and reading.contradictions:
        reason, detail = "contradiction", "; ".join(reading.contradictions[:3])
    return ParsedCaption(sentences, reason, detail, reading.codes, reading.contradictions)


def answered(text: str) -> dict[str, str]:
    """Fact -> category, as a model answered in codes; those that go without saying are in it, free text isn't."""
    found, _ = _find_object(text[:_MAX_ANSWER])
    codes: dict[str, str] = {}
    for key, value in _walk(found or {}, depth=3):
        part = _part(key)
        if part and isinstance(value, Mapping):
            codes = _codes(part, value)[0] | codes
    return codes


def _find_object(text: str) -> tuple[Mapping | None, bool]:
    """The first JSON object that holds anything, and whether the model closed it itself."""
    decoder = json.JSONDecoder(strict=False)
    for start in itertools.islice(re.finditer(r"\{", text), _TRIES):
        try:
            value, _ = decoder.raw_decode(text, start.start())
        except (json.JSONDecodeError, RecursionError):
            # An object of parts that broke off holds whole objects, which are not the answer.
            parts = _whole_parts(text[start.start() :])
            if parts:
                return parts, False
            continue
        if value:
            return value, True
    broken = re.search(r'\{\s*"', text)
    return (_mend(text[broken.start() :]), False) if broken else (None, True)


_COMPLETE_PART = re.compile(r'"([a-z_]{4,12})"\s*:\s*(\{[^{}]*\})')
_COMPLETE_PAIR = re.compile(r'"([^"\\\n]{1,40})"\s*:\s*("(?:[^"\\]|\\.)*")', re.DOTALL)


def _mend(text: str) -> dict | None:
    """The whole "key": "value" pairs of an object that broke off or isn't quite JSON."""
    pairs = {}
    for key, value in _COMPLETE_PAIR.findall(text):
        try:
            pairs[key] = json.loads(value, strict=False)
        except json.JSONDecodeError:
            continue
    return pairs or None


def _whole_parts(text: str) -> dict:
    """The parts' whole objects of an answer that broke off, and its version."""
    parts: dict = {}
    for key, value in _COMPLETE_PART.findall(text):
        try:
            parts |= {key: json.loads(value, strict=False)} if _part(key) else {}
        except json.JSONDecodeError:
            continue
    version = re.search(r'"version"\s*:\s*(\d{1,6})', text)
    return {"version": int(version[1]), **parts} if parts and version else parts


def _version(found: Mapping) -> object:
    """What an answer says of its schema, at the top or one object down; ours where it says nothing."""
    inner = [value for value in found.values() if isinstance(value, Mapping)]
    return next((one["version"] for one in (found, *inner) if "version" in one), SCHEMA_VERSION)


def _sentences(found: Mapping) -> dict[str, str]:
    """Part -> cleaned sentence, whatever the nesting and the spelling of the keys."""
    sentences: dict[str, str] = {}
    for key, value in _walk(found, depth=3):
        part = _part(key)
        if part and part not in sentences:
            sentence = _clean(_told(part, value) if isinstance(value, Mapping) else value)
            if sentence:
                sentences[part] = sentence
    return {part: sentences[part] for part in PARTS if part in sentences}


def _walk(found: Mapping, depth: int) -> Iterator[tuple[str, object]]:
    for key, value in found.items():
        if isinstance(value, Mapping) and depth:
            yield str(key), value
            yield from _walk(value, depth - 1)
        else:
            yield str(key), value


def _told(part: str, answer: Mapping) -> str:
    """The text of a part's object: its codes in our words, then what else it says."""
    codes, rest = _codes(part, answer)
    told = {name: category for name, category in codes.items() if category not in BY_NAME[name].scale.silent}
    if not told and not any(rest) and UNKNOWN in answer.values():
        return f"The {part.replace('_', ' ')} is not visible."
    return " ".join([*write(told).values(), *rest])


def _codes(part: str, answer: Mapping) -> tuple[dict[str, str], list[str]]:
    """Fact -> category of what a part's object says in codes, and what it says otherwise."""
    codes, rest = {}, []
    facts = {fact.stem: fact for fact in FACTS if fact.part == part}
    for key, value in answer.items():
        fact = facts.get(str(key).strip().lower().replace(" ", "_"))
        if fact is None or not isinstance(value, str):
            rest += [value] if isinstance(value, str) else []
            continue
        category = value.strip().lower().replace(" ", "_")
        if category not in (*fact.scale.names, UNKNOWN):
            rest.append(value)
        elif category != UNKNOWN:
            codes[fact.name] = category
    return codes, rest


def _part(key: str) -> str | None:
    """The body part that a key means: 'Left Arm', 'leftArm' and 'left-arm' are all left_arm."""
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key.strip(" *`\"'"))
    snake = re.sub(r"[^a-z]+", "_", snake.lower()).strip("_")
    return snake if snake in PARTS else None


def _clean(value: object) -> str:
    if isinstance(value, list):
        value = " ".join(text for text in value if isinstance(text, str))
    if not isinstance(value, str):
        return ""
    return " ".join(value.split())[:MAX_SENTENCE]


_LINE = re.compile(r"^[\s\-*#\d.)]*([A-Za-z][A-Za-z _-]{2,12}?)\W{0,3}:\W{0,3}(.+)$", re.MULTILINE)


def _labelled_lines(text: str) -> dict[str, str]:
    """Answers such as '- **Left arm**: raised above the head.'"""
    return _sentences({key: value for key, value in _LINE.findall(text) if _part(key)})


_REFUSAL = re.compile(r"\b(I('m| am) (sorry|unable)|I (can(no|')t|won't)|as an AI)\b", re.IGNORECASE)
_ENGLISH = frozenset(
    "the is are and with of at to by not visible bent straight slightly fully left right forward backward"
    " raised up down lowered body side across turned leaning standing upright".split()
)
_ENOUGH_WORDS = 6


def _english(sentences: Iterable[str]) -> bool:
    """A rough check: Latin letters, and one common English word. Short answers get the benefit of doubt."""
    text = " ".join(sentences).lower()
    letters = [c for c in text if c.isalpha()]
    if letters and sum(c.isascii() for c in letters) < 0.8 * len(letters):
        return False
    words = re.findall(r"[a-z]+", text)
    return len(words) < _ENOUGH_WORDS or not _ENGLISH.isdisjoint(words)


def _start(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 80 else text[:77] + "...")
