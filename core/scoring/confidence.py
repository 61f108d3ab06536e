"""How far off each joint may be, in mm: the hypotheses' spread, put right by what it was worth on held-out people.

A spread says which joint is less certain than which; how many mm that is must be measured. Per joint, the expected
error is a power of the spread, fitted on people whose truth is known, and a 90 % interval holds the ratio of true
to expected error between its 5th and its 95th percentile there. One hypothesis has no spread: then it is the mean
and the percentiles over all of those people.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from alignhmr.core.errors import InputError

LEVEL = 0.9
"""Share of true errors that the interval should hold."""
LEAST_PEOPLE = 50
_FLOOR_MM = 1.0


@dataclass(frozen=True)
class JointConfidence:
    """Fitted on ``people`` people with ``hypotheses`` hypotheses each. Errors are root-relative: the root has none."""

    scale: tuple[float, ...]
    power: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    """Percentiles of true over expected error."""
    alone_mm: tuple[tuple[float, float, float], ...]
    """Expected error, low and high end of one hypothesis without a spread."""
    hypotheses: int
    people: int
    data: str
    """What it was fitted on, for a reader."""

    def of(
        self, spread_mm: Float[np.ndarray, "*batch joints"] | None
    ) -> Float[np.ndarray, "*batch joints 3"]:
        """Expected error, and the low and high end of its interval, of each joint."""
        if spread_mm is None:
            return np.array(self.alone_mm, np.float32)
        expected = np.array(self.scale) * (np.asarray(spread_mm, np.float64) + _FLOOR_MM) ** np.array(
            self.power
        )
        ends = (expected, expected * np.array(self.low), expected * np.array(self.high))
        return np.stack(ends, -1).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "JointConfidence":
        names = ("scale", "power", "low", "high")
        return cls(
            **{name: tuple(values[name]) for name in names},
            alone_mm=tuple(tuple(row) for row in values["alone_mm"]),
            hypotheses=values["hypotheses"], people=values["people"], data=values["data"],
        )  # fmt: skip


def fit_confidence(
    spread_mm: Float[np.ndarray, "people joints"], error_mm: Float[np.ndarray, "people joints"], *,
    hypotheses: int, data: str,
) -> JointConfidence:  # fmt: skip
    """From spreads and true errors of answers; InputError for fewer than 50 people or non-finite numbers."""
    power, scale, expected = _fit_power(spread_mm, error_mm)
    people, error = len(error_mm), np.asarray(error_mm, np.float64)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(error / expected, (tail, 1 - tail), axis=0)
    alone = np.stack([error.mean(0), *np.quantile(error, (tail, 1 - tail), axis=0)], -1)
    return JointConfidence(
        scale=tuple(scale.tolist()), power=tuple(power.tolist()), low=tuple(low.tolist()),
        high=tuple(high.tolist()), alone_mm=tuple((mean, below, above) for mean, below, above in alone.tolist()),
        hypotheses=hypotheses, people=people, data=data,
    )  # fmt: skip


@dataclass(frozen=True)
class ErrorConfidence:
    """What a scorer's expected errors are worth on the answers that it selects; fitted on ``people`` people."""

    scale: float
    power: float
    ratios: tuple[float, ...]
    """Percentiles 1 to 99 of true over expected error."""
    people: int
    data: str
    """What it was fitted on, for a reader."""

    def of(self, told_mm: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any 3"]:
        """Expected error, and the low and high end of its 90 % interval."""
        expected = self.scale * (np.asarray(told_mm, np.float64) + _FLOOR_MM) ** self.power
        low, high = self.ratios[4], self.ratios[94]
        return np.stack([expected, expected * low, expected * high], -1).astype(np.float32)

    def chance_within(
        self, expected_mm: Float[np.ndarray, "*any"], tolerance_mm: float
    ) -> Float[np.ndarray, "*any"]:
        """Probability that the true error is no larger, given the expected one of ``of``."""
        ratio = tolerance_mm / np.maximum(np.asarray(expected_mm, np.float64), 1e-9)
        return np.interp(ratio, (0.0, *self.ratios, 2 * self.ratios[-1]), (0.0, *_PERCENT, 1.0))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ErrorConfidence":
        return cls(**{**values, "ratios": tuple(values["ratios"])})


_PERCENT = tuple(percent / 100 for percent in range(1, 100))


def fit_error_confidence(
    told_mm: Float[np.ndarray, "people"], error_mm: Float[np.ndarray, "people"], *, data: str
) -> ErrorConfidence:
    """From what a scorer told and what was true; InputError for fewer than 50 people or non-finite numbers."""
    power, scale, expected = _fit_power(np.asarray(told_mm)[:, None], np.asarray(error_mm)[:, None])
    ratios = np.quantile(np.asarray(error_mm, np.float64) / expected[:, 0], _PERCENT)
    return ErrorConfidence(
        float(scale[0]), float(power[0]), tuple(ratios.tolist()), people=len(told_mm), data=data
    )


def _fit_power(
    told_mm: Float[np.ndarray, "people any"], error_mm: Float[np.ndarray, "people any"]
) -> tuple[np.ndarray, np.ndarray, Float[np.ndarray, "people any"]]:
    """Power and scale by which what was told becomes the expected error, and that of these people."""
    people = len(error_mm)
    if people < LEAST_PEOPLE:
        raise InputError(f"{people} people are too few to calibrate on; give at least {LEAST_PEOPLE}")
    if not (np.isfinite(told_mm).all() and np.isfinite(error_mm).all()):
        raise InputError("spreads or errors are not finite numbers; the model that answered is broken")
    x = np.log(np.asarray(told_mm, np.float64) + _FLOOR_MM)
    error = np.asarray(error_mm, np.float64)
    y = np.log(error + _FLOOR_MM)
    centred = x - x.mean(0)
    power = ((centred * y).sum(0) / np.maximum((centred**2).sum(0), 1e-9)).clip(0.0, 1.5)
    raw = np.exp(power * x)
    scale = error.mean(0) / raw.mean(0)  # right on average, in mm and not in logarithms
    return power, scale, np.maximum(scale * raw, 1e-9)


def interval_coverage(
    told_mm: Float[np.ndarray, "people joints 3"], error_mm: Float[np.ndarray, "people joints"]
) -> float:
    """Share of true errors inside their interval; joints that can't err (the root) don't count."""
    errs = error_mm.max(0) > 1e-6
    inside = (error_mm >= told_mm[..., 1]) & (error_mm <= told_mm[..., 2])
    return float(inside[:, errs].mean())
