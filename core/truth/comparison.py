"""Whether one record is really better than another: the same terms, the same people, paired by clip."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from alignhmr.core.errors import CompatibilityError
from alignhmr.core.metrics.bootstrap import MIN_GROUPS, Interval, paired_difference
from alignhmr.core.truth.results import FOUR, Result, larger_is_better


@dataclass(frozen=True)
class Difference:
    """One figure of two systems over the people that both answered; ``interval`` is of first minus second."""

    metric: str
    figure: str
    first: float
    second: float
    interval: Interval
    names: tuple[str, str]

    @property
    def better(self) -> int | None:
        """0 or 1 for the system that is really better; None where that can't be said."""
        if not self.interval.excludes_zero:
            return None
        return int((self.interval.value > 0) != larger_is_better(self.metric))

    def sentence(self) -> str:
        """What may be said of it; shares are told in percent points."""
        scale, unit = 100 if larger_is_better(self.metric) else 1, _unit(self.metric)
        gap, low, high = (
            None if end is None else scale * end
            for end in (self.interval.value, self.interval.low, self.interval.high)
        )
        assert gap is not None
        if low is None or high is None:
            return (
                f"no verdict: {self.names[0]} minus {self.names[1]} is {gap:+.1f}{unit}, but {self.interval.groups}"
                f" clips are too few for an interval ({MIN_GROUPS} are wanted)"
            )
        if self.better is None:
            return f"no real difference: {gap:+.1f}{unit} [{low:+.1f}, {high:+.1f}]"
        ends = sorted((abs(low), abs(high)))
        return f"{self.names[self.better]} is better by {abs(gap):.1f}{unit} [{ends[0]:.1f}, {ends[1]:.1f}]"


@dataclass(frozen=True)
class Comparison:
    benchmark: str
    names: tuple[str, str]
    both: int
    """People that both systems answered: errors are compared over them."""
    missed: tuple[int, int]
    people: int
    differences: tuple[Difference, ...]
    caveat: str = ""
    """What must be known of the truth."""


def compare(first: Result, second: Result) -> Comparison:
    """CompatibilityError with what differs if the two were not measured alike; else every figure they share."""
    _refuse(first, second)
    names = _names(first, second)
    place = {key: index for index, key in enumerate(second.people["key"])}
    order = [place[key] for key in first.people["key"]]
    groups = first.people["group"]
    differences = []
    same_count = first.hypotheses["count"] == second.hypotheses["count"]
    for metric, columns in first.people["values"].items():
        others = second.people["values"].get(metric, {})
        for figure in FOUR:
            # The best of more answers is better by itself: compared only between as many.
            if figure not in columns or figure not in others or (figure == "best_of_m" and not same_count):
                continue
            a, b = _floats(columns[figure]), _floats(others[figure])[order]
            both = np.isfinite(a) & np.isfinite(b)
            if not both.any():
                continue
            interval = paired_difference(a, b, groups)
            differences.append(
                Difference(metric, figure, float(a[both].mean()), float(b[both].mean()), interval, names)
            )
    missed = np.array(first.people["missed"]) | np.array(second.people["missed"])[order]
    return Comparison(
        first.benchmark,
        names,
        int((~missed).sum()),
        (first.answers["missed"], second.answers["missed"]),
        first.answers["people"],
        tuple(differences),
        str(first.data.get("caveat", "")),
    )


def _refuse(first: Result, second: Result) -> None:
    keys = sorted(first.protocol.keys() | second.protocol.keys())
    differing = [key for key in keys if first.protocol.get(key) != second.protocol.get(key)]
    if differing:
        seen = "; ".join(
            f"{key} {_short(first.protocol.get(key))} against {_short(second.protocol.get(key))}"
            for key in differing
        )
        raise CompatibilityError(
            f"the two records were measured under different protocols ({seen}), and their figures can't be compared;"
            " evaluate one of them again under the other's"
        )
    # Not by the benchmark's name: one data set lies in another folder on another machine.
    if first.data["digest"] != second.data["digest"]:
        sides = [
            f"{side.benchmark} with {side.answers['people']} people (count {side.data.get('count')}, seed"
            f" {side.data.get('seed')}, digest {side.data['digest'][:12]})"
            for side in (first, second)
        ]
        raise CompatibilityError(
            f"the two records are of different people: {sides[0]} against {sides[1]}; evaluate both on one benchmark"
            " with the same --count and --seed"
        )
    if first.data.get("pictures") != second.data.get("pictures"):
        raise CompatibilityError(
            "the two records are of the same people in other pictures (drawn with other backgrounds, or on a machine"
            " that draws or decodes otherwise); evaluate both systems on one set of pictures"
        )


def _names(first: Result, second: Result) -> tuple[str, str]:
    names = tuple(f"{side.system['name']} {side.system['version']}".strip() for side in (first, second))
    return names if names[0] != names[1] else (f"A ({names[0]})", f"B ({names[1]})")  # type: ignore[return-value]


def _floats(column: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in column], np.float64)


def _unit(metric: str) -> str:
    endings = {"_mm": " mm", "_deg": " degrees", "_px": " px", "_pct": " % of the box"}
    if larger_is_better(metric):
        return " points"
    return next((unit for ending, unit in endings.items() if metric.endswith(ending)), "")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
