"""``alignhmr promote``: gives the candidate of a canary all pictures, or none, by what the scorer made of it."""

import math
from dataclasses import dataclass

import numpy as np

from alignhmr.core.errors import InputError, ServiceError
from alignhmr.deployments.serving.canary import Comparison, ComparisonStore, Decision

_NORMAL_95 = 1.96
MIN_PEOPLE = 100


@dataclass(frozen=True)
class Verdict:
    """The scorer's expected errors, mm, means over people whom both checkpoints answered."""

    people: int
    pictures: int
    failures: int
    """People whom the candidate failed and the incumbent answered."""
    candidate_mm: float
    incumbent_mm: float
    low_mm: float
    high_mm: float
    """95 % interval of candidate less incumbent; people of one picture aren't independent, pictures are."""

    def against(self, at_least: int) -> str | None:
        """Why the candidate can't be promoted; None where it can."""
        if self.people < at_least:
            return f"{self.people} people were compared, and {at_least} are wanted; wait"
        if self.failures:
            return f"it failed on {self.failures} people whom the incumbent answered"
        if self.high_mm > 0:
            return f"it may be {self.high_mm:.1f} mm worse than the incumbent"
        return None


def verdict(rows: list[Comparison]) -> Verdict:
    both = [(row, row.candidate_mm) for row in rows if row.candidate_mm is not None]
    differences: dict[str, list[float]] = {}
    for row, candidate_mm in both:
        differences.setdefault(row.sha256, []).append(candidate_mm - row.incumbent_mm)
    means = np.array([np.mean(each) for each in differences.values()])
    middle = float(means.mean()) if len(means) else math.nan
    wide = _NORMAL_95 * float(means.std(ddof=1)) / math.sqrt(len(means)) if len(means) > 1 else math.inf
    return Verdict(
        people=len(both),
        pictures=len(means),
        failures=len(rows) - len(both),
        candidate_mm=float(np.mean([mm for _, mm in both])) if both else math.nan,
        incumbent_mm=float(np.mean([row.incumbent_mm for row, _ in both])) if both else math.nan,
        low_mm=middle - wide,
        high_mm=middle + wide,
    )


def run(location: str, checkpoint: str, *, rollback: bool, force: bool, at_least: int = MIN_PEOPLE) -> None:
    """Decides and says why. ServiceError where the candidate isn't fit to be promoted: then nothing changes."""
    store = ComparisonStore(location)
    rows = store.rows(checkpoint)
    if not rows and not (rollback or force):
        raise InputError(
            f"{location} has no comparisons of {checkpoint!r}; give the canary's location and its checkpoint's name"
        )
    found = verdict(rows)
    if rows:
        print(
            f"{checkpoint}: {found.people} people in {found.pictures} pictures, expected error"
            f" {found.candidate_mm:.1f} mm, the incumbent's {found.incumbent_mm:.1f} mm"
            f" (difference {found.low_mm:+.1f} to {found.high_mm:+.1f}, 95 %), {found.failures} failures"
        )
    if rollback:
        store.decide(Decision(checkpoint=checkpoint, share=0))
        print(f"rolled back: {checkpoint} gets no pictures")
        return
    reason = found.against(at_least)
    if reason is not None and not force:
        raise ServiceError(f"{checkpoint} is not promoted: {reason}; or decide with --force", code="not_fit")
    store.decide(Decision(checkpoint=checkpoint, share=1))
    print(f"promoted: {checkpoint} gets all pictures; make it the service's own base at the next deployment")
