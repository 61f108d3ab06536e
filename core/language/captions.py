"""What is asked of a vision-language model about one person, and what is understood of its answer.

The answer is one sentence for each body part. Models wrap JSON in prose and fences, break off, rename keys
or answer something else altogether: ``parse`` keeps what is usable, says in one word what was wrong, and
never raises.
"""

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from alignhmr.core.language.posecodes import PARTS

PROMPT = """\
Look at the person in the middle of this picture and describe the pose of each body part.
Left and right are the person's own, not the viewer's. Say how far each joint is bent (straight, slightly
bent, bent at a right angle, fully bent), where the part points (up, down, forward, backward, to the side,
across the body) and what it touches, if anything. Don't guess: write "not visible" for a part that can't be
seen. Don't describe clothes, the place, or who the person is.
Answer with JSON only: one short English sentence for each of the keys "head", "torso", "left_arm",
"right_arm", "left_leg" and "right_leg"."""

MAX_SENTENCE = 400
"""Characters kept of one sentence. Longer ones are a model that repeats itself."""

SCHEMA: dict = {
    "type": "object",
    "properties": {part: {"type": "string", "maxLength": MAX_SENTENCE} for part in PARTS},
    "required": list(PARTS),
    "additionalProperties": False,
}
"""JSON schema of the answer, for engines that can constrain what is generated."""

REASONS: dict[str, str] = {
    "empty": "the model answered nothing",
    "refused": "the model declined to answer",
    "not_json": "no JSON object and no line per body part in the answer",
    "truncated": "the answer broke off; the parts that were complete are kept",
    "no_parts": "JSON, but none of the body parts in it",
    "missing_parts": "some body parts have no sentence",
    "language": "the answer isn't English",
}
"""Closed list of what can be wrong with an answer."""


@dataclass(frozen=True)
class ParsedCaption:
    """The sentences understood, and why there are not six of them."""

    sentences: dict[str, str] = field(default_factory=dict)
    """Part -> sentence; parts without one are absent."""
    reason: str | None = None
    """A key of ``REASONS``; None for a whole caption."""
    detail: str = ""

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
        sentences = _sentences(found)
        if not sentences:
            return ParsedCaption(reason="no_parts" if complete else "truncated", detail=_start(text))
    if not _english(sentences.values()):
        return ParsedCaption(reason="language", detail=_start(text))
    missing = [part for part in PARTS if part not in sentences]
    reason = None if not missing else "missing_parts" if complete else "truncated"
    return ParsedCaption(sentences, reason, ", ".join(missing))


def _find_object(text: str) -> tuple[Mapping | None, bool]:
    """The first JSON object that holds anything, and whether the model closed it itself."""
    decoder = json.JSONDecoder(strict=False)
    for start in itertools.islice(re.finditer(r"\{", text), _TRIES):
        try:
            value, _ = decoder.raw_decode(text, start.start())
        except (json.JSONDecodeError, RecursionError):
            continue
        if value:
            return value, True
    broken = re.search(r'\{\s*"', text)
    return (_mend(text[broken.start() :]), False) if broken else (None, True)


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


def _sentences(found: Mapping) -> dict[str, str]:
    """Part -> cleaned sentence, whatever the nesting and the spelling of the keys."""
    sentences: dict[str, str] = {}
    for key, value in _walk(found, depth=3):
        part = _part(key)
        if part and part not in sentences:
            sentence = _clean(value)
            if sentence:
                sentences[part] = sentence
    return {part: sentences[part] for part in PARTS if part in sentences}


def _walk(found: Mapping, depth: int) -> Iterator[tuple[str, object]]:
    for key, value in found.items():
        if isinstance(value, Mapping) and depth:
            yield str(key), " ".join(text for text in value.values() if isinstance(text, str))
            yield from _walk(value, depth - 1)
        else:
            yield str(key), value


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
