"""Calibration: the right temperature is found, and what was learned of spreads holds on others."""

from dataclasses import replace

import numpy as np
import pytest

from alignhmr.core.errors import InputError
from alignhmr.training.calibration import Answers, calibrate, energy_mm


def answers(width: float, people: int = 400, hyps: int = 16) -> Answers:
    """Truths are drawn 5 cm about a centre, hypotheses ``width`` times that."""
    rng = np.random.default_rng(0)
    true = rng.normal(0, 0.05, (people, 24, 3))
    joints = rng.normal(0, 0.05 * width, (people, hyps, 24, 3))
    return Answers(
        joints, true, np.zeros(people, int), np.full(people, 80.0), [f"g{i % 7}" for i in range(people)]
    )


def test_the_energy_score_is_least_where_hypotheses_are_drawn_as_the_truth_is() -> None:
    scores = {width: energy_mm(answers(width)) for width in (0.3, 0.7, 1.0, 1.4, 2.5)}
    assert min(scores, key=scores.__getitem__) == 1.0


def test_energy_score_agrees_with_its_definition() -> None:
    one = answers(1.3, people=3, hyps=5)
    total = 0.0
    for joints, true in zip(one.joints_m, one.true_m, strict=True):
        for joint in range(1, 24):
            draws = joints[1:, joint]
            off = np.mean([np.linalg.norm(draw - true[joint]) for draw in draws])
            pairs = [
                np.linalg.norm(a - b) for i, a in enumerate(draws) for j, b in enumerate(draws) if i != j
            ]
            total += 1000 * (off - np.mean(pairs) / 2)
    assert energy_mm(one) == pytest.approx(total / 3 / 23, rel=1e-6)


class FakeRecoverer:
    """Its hypotheses spread by the temperature, and by a factor of the person's own, which the error follows."""

    def __init__(self, base) -> None:
        self.base, self.error_confidence = base, "kept"

    def recover_batch(self, requests):
        from types import SimpleNamespace

        answers = []
        for request in requests:
            rng = np.random.default_rng(request.seed)
            doubt = float(request.person.score)
            spread = rng.normal(0, 0.05 * doubt * self.base.config.temperature, (request.hypotheses, 24, 3))
            spread[:, 0] = 0.0
            told = np.full(request.hypotheses, 40.0 * doubt)  # right but for a factor
            hyps = SimpleNamespace(joints_cam_m=spread, expected_error_mm=told)
            answers.append(SimpleNamespace(hypotheses=hyps, selected=0))
        return answers


def people(count: int):
    """Truths twice as far out as hypotheses at temperature 1 would have them."""
    from types import SimpleNamespace

    rng = np.random.default_rng(1)
    found = []
    for index in range(count):
        doubt = float(rng.uniform(0.5, 2.0))
        true = rng.normal(0, 0.05 * doubt * 2.0, (24, 3))
        true[0] = 0.0
        found.append(SimpleNamespace(score=doubt, smpl24_cam_m=true, group=f"clip{index % 10}"))
    return found


def test_temperature_and_confidence_are_recovered(monkeypatch) -> None:
    from types import SimpleNamespace

    from alignhmr.core.diffusion.model import BaseModelConfig
    from alignhmr.training import calibration

    monkeypatch.setattr(
        calibration,
        "request_of",
        lambda s, seed, hyps: SimpleNamespace(
            person=SimpleNamespace(score=s.score), seed=seed, hypotheses=hyps
        ),
    )
    base = SimpleNamespace(config=replace(BaseModelConfig("none"), temperature=1.1))
    asked = FakeRecoverer(base)
    found = calibrate(asked, people(1500), hypotheses=12, data="made up")  # type: ignore[arg-type]
    assert found.temperature == 2.0 and base.config.temperature == 1.1
    assert asked.error_confidence == "kept"
    assert 0.87 < found.coverage < 0.93
    assert 0.85 < found.scorer_coverage < 0.95
    assert abs(found.scorer_after.bias_mm) < 0.1 * found.scorer_after.bins[5].actual_mm
    assert abs(found.after.bias_mm) < 0.05 * np.mean([part.actual_mm for part in found.after.bins])
    ends = found.after.bins[0], found.after.bins[-1]
    assert ends[1].actual_mm > 2 * ends[0].actual_mm  # doubt is told apart
    assert found.after.gap_mm < found.before.gap_mm
    with pytest.raises(InputError, match="at least 50"):
        calibrate(FakeRecoverer(base), people(40), hypotheses=4, temperatures=[1.0])  # type: ignore[arg-type]
