"""Rounds of improvement: the better goes on, what was done isn't done again, another question is refused."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from alignhmr.core.checkpoints import file_digest, resolve
from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.deployments import improve, training_jobs
from alignhmr.deployments.labeling import command

CHANGE = {"before": 1.0, "after": 2.0, "ci95": 0.1}


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stand-ins that note what they were asked; ``verdicts`` say which rounds are kept, None: no pairs."""
    told = SimpleNamespace(labelled=[], aligned=[], verdicts=[])

    def label(source, out, **options):
        told.labelled.append({"source": source, "out": out, **options})
        return {"people_labelled": 3}

    def align(rows, out, **options):
        verdict = told.verdicts[len(told.aligned)]
        told.aligned.append({"rows": rows, "out": out, **options})
        if verdict is None:
            raise InputError("there are no preference pairs")
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"base-{options['objective']}.safetensors"
        path.write_text(f"weights of {out.name}")
        return {
            "checkpoint": str(path), "sha256": file_digest(path), "verdict": {"kept": verdict, "reason": "said so"},
            "photos": {"reward_selected": CHANGE}, "made_people": {}, "alarms": [],
            "judged": [], "step": 7, "stopped": "it had enough",
        }  # fmt: skip

    monkeypatch.setattr(command, "run", label)
    monkeypatch.setattr(training_jobs, "run_dpo", align)
    return told


@pytest.fixture
def improved(jobs: SimpleNamespace, tmp_path: Path) -> Callable[..., dict]:
    def call(*verdicts: bool | None, **options) -> dict:
        jobs.verdicts[:] = [*(True for _ in jobs.aligned), *verdicts]
        console = Console(file=io.StringIO(), width=200)
        return improve.run(
            "photos", tmp_path / "out", console=console, **{"rounds": len(verdicts), **options}
        )

    return call


def test_what_is_better_goes_on_and_what_is_not_does_not(jobs, improved, tmp_path: Path) -> None:
    journal = improved(True, False, True, objective="group")
    first, second, third = (
        str(tmp_path / "out" / f"round-{n}" / "base-group.safetensors") for n in (1, 2, 3)
    )
    assert [str(one["base"]) for one in jobs.labelled] == [
        str(resolve("starter", "base").absolute()),
        first,
        first,
    ]
    assert [str(one["base"]) for one in jobs.aligned] == [one["base"] for one in jobs.labelled]
    assert [one["seed"] for one in jobs.labelled] == [0, 1, 2], (
        "a round that wasn't kept is followed by other draws"
    )
    assert journal["best"] == third and [one["checkpoint"] for one in journal["rounds"]] == [
        first,
        second,
        third,
    ]
    assert [one["kept"] for one in journal["rounds"]] == [True, False, True]
    assert journal["rounds"][0]["step"] == 7 and journal["rounds"][0]["stopped"] == "it had enough"
    assert journal["rounds"][2]["base"].endswith(journal["rounds"][0]["sha256"])
    assert json.loads((tmp_path / "out" / improve.JOURNAL).read_text()) == journal


def test_rounds_that_are_done_are_not_done_again(jobs, improved) -> None:
    improved(True)
    journal = improved(False, rounds=2)
    assert len(jobs.aligned) == 2 and len(journal["rounds"]) == 2
    assert journal["best"] == journal["rounds"][0]["checkpoint"]


def test_nothing_preferred_later_ends_it(improved) -> None:
    assert len(improved(True, None, rounds=3)["rounds"]) == 1


def test_nothing_preferred_in_the_first_round_is_an_error(improved) -> None:
    with pytest.raises(InputError, match="no preference pairs"):
        improved(None)


def test_another_question_is_refused_by_name(improved) -> None:
    improved(True)
    with pytest.raises(CompatibilityError, match="hypotheses 20, not 12"):
        improved(True, hypotheses=12)


def test_how_a_round_aligns_is_part_of_the_question(jobs, improved, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("preference: {rank: 4}")
    journal = improved(True, config=file, steps=7)
    assert journal["asked"]["preference"]["rank"] == 4 and journal["asked"]["preference"]["steps"] == 7
    assert jobs.aligned[0]["config"] == file and jobs.aligned[0]["steps"] == 7
    file.write_text("preference: {rank: 5}")
    with pytest.raises(CompatibilityError, match="another question"):
        improved(True, rounds=2, config=file, steps=7)


def test_a_checkpoint_that_is_not_what_the_round_made_is_refused(improved) -> None:
    journal = improved(True)
    Path(journal["best"]).write_text("something else")
    with pytest.raises(CompatibilityError, match="isn't what round 1 made"):
        improved(True, rounds=2)


def test_a_journal_that_is_none_is_told(improved, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / improve.JOURNAL).write_text("{}")
    with pytest.raises(InputError, match="can't be read"):
        improved(True)


def test_no_rounds_are_refused(improved) -> None:
    with pytest.raises(InputError, match="0 rounds"):
        improved()
