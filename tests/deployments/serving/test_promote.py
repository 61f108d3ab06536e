"""A canary's rows and what is decided of them: no promotion of what isn't better, and a decision that arrives."""

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from alignhmr.core.errors import InputError, ServiceError
from alignhmr.deployments.serving import canary, promote
from alignhmr.deployments.serving.canary import Canary, Comparison, ComparisonStore, Decision
from alignhmr.deployments.serving.settings import CanarySettings, ServeSettings


def rows(differences_mm: list[float], people_each: int = 1, failures: int = 0) -> list[Comparison]:
    """A picture for each difference, with so many people."""
    about = {"candidate": "new:1", "incumbent": "old:1"}
    made = [
        Comparison(sha256=f"{index:064x}", person=person, candidate_mm=60 + off, incumbent_mm=60, **about)
        for index, off in enumerate(differences_mm)
        for person in range(people_each)
    ]
    failed = Comparison(sha256="f" * 64, person=0, candidate_mm=None, incumbent_mm=60, **about)
    return made + [failed] * failures


def test_a_verdict_is_over_pictures():
    told = promote.verdict(rows([-4.0, -2.0, -3.0, -3.0], people_each=5))
    assert (told.people, told.pictures, told.failures) == (20, 4, 0)
    assert told.candidate_mm == pytest.approx(57) and told.incumbent_mm == 60
    half = 1.96 * np.std([-4, -2, -3, -3], ddof=1) / 2
    assert (told.low_mm, told.high_mm) == pytest.approx((-3 - half, -3 + half))
    assert promote.verdict(rows([-1.0], people_each=9)).high_mm == np.inf, "one picture tells nothing"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (rows([-3.0, -2.0, -4.0] * 40), None),
        (rows([-3.0, -2.0, -4.0] * 3), "9 people were compared, and 100 are wanted"),
        (rows([-3.0, -2.0, -4.0] * 40, failures=1), "failed on 1 people"),
        (rows([-3.0, 3.5, -1.0] * 40), "mm worse"),
        (rows([2.0, 3.0, 1.0] * 40), "mm worse"),
    ],
)
def test_only_what_is_better_is_promoted(tmp_path, given, reason, capsys):
    store = ComparisonStore(str(tmp_path))
    store.add("new", given)

    def decide(**how):
        promote.run(str(tmp_path), "new", **{"rollback": False, "force": False, **how})

    if reason is None:
        decide()
        assert store.decision() == Decision(checkpoint="new", share=1)
    else:
        with pytest.raises(ServiceError, match=reason):
            decide()
        assert store.decision() is None
        decide(force=True)
        assert store.decision() == Decision(checkpoint="new", share=1)
    decide(rollback=True)
    assert store.decision() == Decision(checkpoint="new", share=0)
    assert "rolled back" in capsys.readouterr().out


def test_nothing_is_decided_of_nothing(tmp_path):
    with pytest.raises(InputError, match="no comparisons of 'new'"):
        promote.run(str(tmp_path), "new", rollback=False, force=False)


def seen(*expected_mm: float, base: str = "old:1") -> Any:
    recoveries = [
        SimpleNamespace(selected=0, hypotheses=SimpleNamespace(expected_error_mm=np.array([mm])))
        for mm in expected_mm
    ]
    return SimpleNamespace(sha256="a" * 64, recoveries=recoveries, models={"base": base})


async def _given(value):
    return value


def test_a_canary_takes_its_share_and_heeds_decisions(tmp_path, monkeypatch):
    monkeypatch.setattr(canary, "REFRESH_S", 0.0)
    pictures = [f"{int(x * 2**32):08x}" + 56 * "0" for x in np.linspace(0, 0.999, 1000)]

    async def story() -> None:
        bird = Canary(CanarySettings(checkpoint="new", share=0.1, location=str(tmp_path)))
        first = [bird.takes(sha256) for sha256 in pictures]
        assert sum(first) == pytest.approx(100, abs=2)
        assert [bird.takes(sha256) for sha256 in pictures] == first, "a picture is always the same one's"
        for share in (1.0, 0.0):
            bird.store.decide(Decision(checkpoint="new", share=share))
            bird.refresh()
            assert sum(bird.takes(sha256) for sha256 in pictures) == 1000 * share
        bird.store.decide(Decision(checkpoint="another", share=1.0))
        bird.refresh()
        assert bird.share == 0, "it is about another candidate"
        (tmp_path / "decision.json").write_text("broken")
        bird.refresh()
        assert bird.share == 0
        await asyncio.gather(*bird._tasks)

    asyncio.run(story())


def test_comparisons_are_kept_and_a_lost_one_hurts_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(canary, "FLUSH_S", 0.05)

    async def lost():
        raise ServiceError("the service is full")

    async def story() -> None:
        bird = Canary(CanarySettings(checkpoint="new", share=0.1, location=str(tmp_path)))
        bird.compare(seen(50, 70, base="new:1"), _given(seen(55, 65)))
        bird.compare(None, _given(seen(40)))
        bird.compare(seen(1, 2), _given(seen(1)))
        bird.compare(seen(1), lost())
        await asyncio.gather(*bird._tasks)

    asyncio.run(story())
    kept = ComparisonStore(str(tmp_path)).rows("new")
    assert sorted((row.candidate_mm or 0, row.incumbent_mm) for row in kept) == [(0, 40), (50, 55), (70, 65)]
    assert {row.candidate for row in kept} == {"new:1", ""} and {row.incumbent for row in kept} == {"old:1"}


def test_a_candidate_must_be_a_checkpoint():
    bird = {"checkpoint": "new", "share": 0.1, "location": "/tmp"}
    with pytest.raises(ValueError, match="'new' is none of checkpoints"):
        ServeSettings.model_validate({"canary": bird})
    assert (
        ServeSettings.model_validate({"canary": bird, "checkpoints": {"new": "starter"}}).canary is not None
    )
