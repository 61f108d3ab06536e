"""Sentence features of clauses: MiniLM's, or hashed words that need no file.

A caption is encoded clause by clause: descriptions of poses are long, their clauses few and recurring, so that each
clause is encoded once and remembered. A sentence encoder hardly tells left from right (cosine 0.98 between "the left
elbow is straight" and the right one), so that the words for sides stand beside its features as marks of their own.
"""

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from alignhmr.core.errors import CompatibilityError
from alignhmr.core.language.lexicon import WORDINGS
from alignhmr.core.language.minilm import MiniLmNetwork
from alignhmr.core.language.reading import clauses, is_heading
from alignhmr.core.perception.assets import fetch

MARKS: tuple[str, ...] = (
    r"\bleft(ward)?\b",
    r"\bright(ward)?\b(?! (angle|down|up|next))",
    r"\bboth\b",
    r"\bother\b|\bpartner\b",
    r"\b(picture|image|camera|viewer|lens)\b",
)
_MARK = 0.3
"""Size of a mark beside features of length one."""
_BATCH = 64


@runtime_checkable
class TextEncoder(Protocol):
    name: str
    size: int
    """Numbers of a clause."""

    def __call__(self, told: Sequence[str]) -> Float[Tensor, "clauses size"]: ...


class HashedWords:
    """Each word and pair of words a fixed random direction; a clause is their sum, of length one."""

    def __init__(self, size: int) -> None:
        self.name, self.size = f"words{size}", size

    def __call__(self, told: Sequence[str]) -> Float[Tensor, "clauses size"]:
        rows = []
        for text in told:
            words = text.split()
            pieces = words + [f"{one} {two}" for one, two in pairwise(words)]
            rows.append(sum((_direction(piece, self.size) for piece in pieces), torch.zeros(self.size)))
        if not rows:
            return torch.zeros(0, self.size)
        return torch.nn.functional.normalize(torch.stack(rows), dim=-1)


class MiniLm:
    """Means of the token features of all-MiniLM-L6-v2 (asset ``minilm``), and ``MARKS`` beside them."""

    name = "minilm"

    def __init__(self) -> None:
        self._network = MiniLmNetwork(fetch("minilm"))
        self.size = self._network.size + len(MARKS)
        self._known: dict[str, Tensor] = {}

    def __call__(self, told: Sequence[str]) -> Float[Tensor, "clauses size"]:
        new = [text for text in dict.fromkeys(told) if text not in self._known]
        # By length, or short clauses would be padded to the longest.
        new.sort(key=len)
        for start in range(0, len(new), _BATCH):
            batch = new[start : start + _BATCH]
            features = torch.cat([self._network.sentences(batch), marks(batch)], 1)
            self._known |= dict(zip(batch, features, strict=True))
        if not told:
            return torch.zeros(0, self.size)
        return torch.stack([self._known[text] for text in told])


def marks(told: Sequence[str]) -> Float[Tensor, "clauses marks"]:
    """Which of ``MARKS`` each clause holds."""
    return _MARK * torch.tensor([[bool(pattern.search(text)) for pattern in _MARKS] for text in told]).float()


_MARKS = [re.compile(pattern) for pattern in MARKS]


@cache
def text_encoder(name: str) -> TextEncoder:
    """The encoder of that name; what it has encoded is remembered for the process."""
    if name == "minilm":
        return MiniLm()
    if name.startswith("words") and name[5:].isdecimal():
        return HashedWords(int(name[5:]))
    raise CompatibilityError(
        f"the text encoder {name!r} is unknown; this alignhmr has minilm and words<SIZE>"
    )


def clauses_of(text: str, part: str | None = None, *, wordings: int = WORDINGS) -> list[str]:
    """A text's clauses, each by itself: what only its sentence says (side, part) is put before it."""
    told = []
    for words, subject in clauses(text, part, wordings=wordings):
        if is_heading(words):
            continue
        told.append(subject.completed(words))
    return told


@cache
def _direction(piece: str, size: int) -> Tensor:
    seed = int.from_bytes(hashlib.sha256(piece.encode()).digest()[:7], "big")
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))
