"""``alignhmr improve``: label one's own pictures, align to what was preferred, judge, keep what is better; again.

Each round labels with the best model so far, under a seed of its own, and aligns it on all but a held-out share of the
pictures, which judges by the scorer's reward and by reprojection (``training/judgement.py``). What a round came to
stands in ``OUT/improve.json``; cut short, the same command goes on with the round that it was in. Any can be served.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from alignhmr.core.checkpoints import file_digest, resolve
from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.core.plain_json import plain
from alignhmr.deployments.cli_options import invocation

log = logging.getLogger(__name__)

JOURNAL = "improve.json"
SHOWN = (
    "reward_zero_noise",
    "reward_selected",
    "error_2d_zero_noise_pct_of_crop",
    "error_2d_selected_pct_of_crop",
)


def run(
    source: str | list[str], out: str | Path, *, rounds: int = 2, objective: Literal["dpo", "group", "sft"] = "dpo",
    base: str | Path = "starter", scorer: str | Path = "starter", body: str | Path = "open", hypotheses: int = 20,
    preset: str = "starter", config: str | Path | None = None, steps: int | None = None, workers: int = 2,
    seed: int = 0, device: str = "auto", limit: int | None = None, console: Console | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The journal: what was asked, what each round came to, and the best checkpoint.

    How a round aligns is the preset's, under the keys of ``config``, under ``steps``.

    InputError where a number makes no sense or nothing is preferred in the first round, CompatibilityError where
    ``out`` holds the rounds of another question.
    """
    from alignhmr.deployments.labeling.command import run as label
    from alignhmr.deployments.training_config import load_training_config
    from alignhmr.deployments.training_jobs import run_dpo

    if rounds < 1:
        raise InputError(f"{rounds} rounds were asked for; give 1 or more")
    console, out = console or Console(stderr=True), Path(out).absolute()
    first = resolve(base, "base").absolute()
    settings = load_training_config(preset, config, {"preference.steps": steps}).preference
    asked = {
        "source": source, "objective": objective, "base": f"{first.stem}:{file_digest(first)}", "body": str(body),
        "scorer": file_digest(resolve(scorer, "scorer")), "hypotheses": hypotheses, "seed": seed,
        "limit": limit, "preference": settings.model_dump(),
    }  # fmt: skip
    journal = _journal(out, asked)
    journal.setdefault("best", str(first))
    for number in range(len(journal["rounds"]) + 1, rounds + 1):
        console.rule(f"[bold]round {number} of {rounds}")
        folder, best = out / f"round-{number}", Path(journal["best"])
        labelled = label(
            source, str(folder / "rows"), hypotheses=hypotheses, seed=seed + number - 1, device=device, limit=limit,
            base=str(best), scorer=str(scorer), body=str(body), console=console,
        )  # fmt: skip
        try:
            told = run_dpo(
                folder / "rows", folder, base=best, scorer=scorer, workers=workers, preset=preset, config=config,
                steps=steps, seed=seed, device=device, body=body, objective=objective, hypotheses=hypotheses,
                console=console,
            )  # fmt: skip
        except InputError as error:
            if number == 1:
                raise
            console.print(f"round {number} ends here: {error}")
            break
        journal["rounds"].append(_round(number, best, labelled, told))
        if told["verdict"]["kept"]:
            journal["best"] = told["checkpoint"]
        _write(out, journal)
    console.print(_table(journal["rounds"]))
    console.print(f"{out / JOURNAL}\nNext:  {invocation()} serve --base {journal['best']}")
    return journal


def _journal(out: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    """What is there already of the same question."""
    path = out / JOURNAL
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        return {"asked": dict(asked), "rounds": []}
    try:
        journal = json.loads(path.read_text())
        then, rounds = journal["asked"], journal["rounds"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} can't be read ({error}); choose another --out, or remove it") from error
    other = [name for name in asked if then.get(name) != asked[name]]
    if other:
        name = other[0]
        raise CompatibilityError(
            f"{out} holds rounds of another question ({name} {then.get(name)!r}, not {asked[name]!r}); choose another"
            " --out"
        )
    for one in rounds:
        path = Path(one["checkpoint"])
        if not path.exists() or file_digest(path) != one["sha256"]:
            raise CompatibilityError(f"{path} isn't what round {one['round']} made; choose another --out")
    return journal


def _round(number: int, base: Path, labelled: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of it: where it came from, what it made, and why it is or isn't better."""
    return {
        "round": number, "base": f"{base.stem}:{file_digest(base)}", "labelled": plain(dict(labelled)),
        "checkpoint": told["checkpoint"], "sha256": told["sha256"], "kept": told["verdict"]["kept"],
        "reason": told["verdict"]["reason"], "photos": told["photos"], "made_people": told["made_people"],
        "alarms": told["alarms"], "step": told["step"], "stopped": told["stopped"], "judged": told["judged"],
    }  # fmt: skip


def _write(out: Path, journal: Mapping[str, Any]) -> None:
    partly = out / f"{JOURNAL}.partial"
    partly.write_text(json.dumps(plain(dict(journal)), indent=1, allow_nan=False))
    partly.replace(out / JOURNAL)


def _table(rounds: list[dict[str, Any]]) -> Table:
    table = Table(title="rounds, on held-out pictures: before → after")
    table.add_column("round", justify="right")
    for name in SHOWN:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_column("kept")
    for one in rounds:
        changes = [one["photos"].get(name) for name in SHOWN]
        cells = ["" if c is None else f"{c['before']:.3g} → {c['after']:.3g}" for c in changes]
        table.add_row(str(one["round"]), *cells, ("yes: " if one["kept"] else "no: ") + one["reason"])
    return table
