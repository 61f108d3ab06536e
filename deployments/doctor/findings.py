"""What the doctor says of one thing."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    name: str
    state: State
    said: str
    """What was seen."""
    mend: str = ""
    """What to do; empty where nothing is wrong."""


def ok(name: str, said: str) -> Finding:
    return Finding(name, "ok", said)


def warn(name: str, said: str, mend: str) -> Finding:
    return Finding(name, "warn", said, mend)


def fail(name: str, said: str, mend: str) -> Finding:
    return Finding(name, "fail", said, mend)
