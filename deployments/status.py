"""``alignhmr status``: how far jobs are, by the record, the sign of life and the notebook in their folders."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from alignhmr.core.errors import InputError
from alignhmr.deployments.labeling.output import HEARTBEAT, Output, is_alive
from alignhmr.deployments.labeling.progress import duration
from alignhmr.deployments.training_progress import NOTEBOOK


@dataclass(frozen=True)
class Status:
    where: str
    job: str
    state: str
    """running, finished, failed, interrupted; gone: it was running, and gives no sign of life any more."""
    done: int
    total: int | None
    per_s: float | None
    left_s: float | None
    said: str


def run(outs: Sequence[str], *, as_json: bool = False, console: Console | None = None) -> list[Status]:
    """Prints what is found in each folder; InputError for one in which no job has left anything."""
    console, found = console or Console(), [one for out in outs for one in statuses(out)]
    if as_json:
        console.print_json(json.dumps([asdict(one) for one in found]))
    else:
        console.print(_table(found))
    return found


def statuses(out: str) -> list[Status]:
    output = Output.at(out)
    record = output.record()
    if record is not None and "pictures" in record:
        return [_of_labelling(out, record, output.read_json(HEARTBEAT) or {})]
    books = [] if "://" in out else sorted(Path(out).glob(f"*{NOTEBOOK}"))
    if not books:
        raise InputError(
            f"{out!r} holds neither a labelling run nor a training's progress; give the --out of one that was started"
        )
    return [_of_training(out, json.loads(book.read_text())) for book in books]


def _of_labelling(out: str, record: Mapping[str, Any], beat: Mapping[str, Any]) -> Status:
    state, count = record["status"], record["pictures"]["count"]
    job = f"label (attempt {record['attempt']})"
    if state == "finished":
        counts = record["counts"]
        errors = sum(counts["errors"].values())
        said = f"{counts['people_labelled']} people, {counts['pairs']} pairs, {errors} error rows"
        return Status(out, job, state, counts["images"], count, record["images_per_s"], 0.0, said)
    mine = beat if beat.get("attempt") == record["attempt"] else {}
    todo = record["pictures"].get("todo", count)
    done = int(mine.get("images", 0))
    if state == "running" and not (mine and is_alive(mine)):
        state = "gone"
    seconds = mine.get("seconds", 0.0)
    pace = done / seconds if done and seconds else None
    said = record.get("error") or (
        f"on {mine['host']}, {_ago(mine['time'])}" if mine else "no sign of life yet"
    )
    left = (todo - done) / pace if pace and state == "running" else None
    return Status(out, job, state, count - todo + done, count, pace, left, said)


def _of_training(out: str, told: Mapping[str, Any]) -> Status:
    state = "gone" if told["status"] == "running" and not is_alive(told) else told["status"]
    done, total = told["step"], told["steps"]
    seconds = told["time"] - told["began"]
    pace = (done - told["began_at_step"]) / seconds if seconds > 0 and done > told["began_at_step"] else None
    left = max(total - done, 0) / pace if pace and total and state == "running" else None
    values = [f"{name} {value:.4g}" for name, value in list(told["values"].items())[:3]]
    values += [f"{name} {value:.4g}" for name, value in list(told["figures"].items())[:2]]
    said = ", ".join(values) or f"on {told['host']}, {_ago(told['time'])}"
    return Status(out, f"train {told['model']}", state, done, total, pace, left, said)


def _ago(when: float) -> str:
    return f"{duration(max(time.time() - when, 0))} ago"


_COLOURS = {"running": "green", "finished": "blue"}


def _table(found: Sequence[Status]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("where", "job", "state", "done", "pace", "left", ""):
        table.add_column(
            name, overflow="fold", justify="right" if name in ("done", "pace", "left") else "left"
        )
    for one in found:
        total = "" if one.total is None else f" of {one.total:,}"
        pace = "" if one.per_s is None else f"{one.per_s:.3g}/s"
        left = "" if not one.left_s else duration(one.left_s)
        state = f"[{_COLOURS.get(one.state, 'red')}]{one.state}[/]"
        done = f"{one.done:,}{total}"
        table.add_row(escape(one.where), escape(one.job), state, done, pace, left, escape(one.said))
    return table
