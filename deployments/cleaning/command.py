"""``alignhmr clean``: which labels of prepared people to keep, which to replace, which to drop.

``people/`` in the folder that it writes holds who is left, file by file as they came, ready to be learned from;
``manifest.parquet`` says of everyone what became of them and why, ``report.html`` shows examples. One picture whose
label can't be judged costs itself.
"""

import json
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from alignhmr.core.checkpoints import file_digest, read_info, resolve
from alignhmr.core.errors import InputError
from alignhmr.core.scoring.cleaning import Cleaned, CleaningRule, clean
from alignhmr.core.scoring.confidence import ErrorConfidence
from alignhmr.deployments import runtime, worker_pool
from alignhmr.deployments.cleaning.rating import Judges, RatedLabel, RateLabels
from alignhmr.deployments.cleaning.report import Example, write_report
from alignhmr.deployments.storage import open_location
from alignhmr.training.held_out import check_body
from alignhmr.training.mixture import Mixture, Source
from alignhmr.training.sighting_shards import read_shard, shard_bytes

_EXAMPLES = 12
"""Of each decision, at most."""


def run_clean(
    data: str, out: str | Path, *, rule: CleaningRule | None = None, relabel: bool = True,
    base: str | Path = "starter", scorer: str | Path = "starter", body: str | Path = "open", hypotheses: int = 20,
    workers: int | None = None, seed: int = 0, overwrite: bool = False, console: Console | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Writes what is described above into the folder ``out`` and returns what ``clean.json`` says.

    InputError where there is nobody to judge, the scorer was never calibrated, or ``out`` holds something else.
    """
    from alignhmr.core.body.model import BodyModel

    console, out, rule = console or Console(stderr=True), Path(out), rule or CleaningRule()
    started = time.perf_counter()
    if _holds(out, data):
        raise InputError(f"{data} lies in {out}, and would be written over; choose another --out")
    mixture = Mixture([(data, 1.0)], open_location=open_location)
    check_body(mixture, BodyModel.load(body))
    [source] = mixture.sources
    base_path, scorer_path = resolve(base, "base"), resolve(scorer, "scorer")
    told = read_info(scorer_path).confidence
    if told is None:
        raise InputError(
            f"{scorer_path} was never calibrated, so that nothing says how many of the labels it trusts are right;"
            " calibrate it with `alignhmr calibrate`"
        )
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise InputError(f"{out} is not empty; choose another --out, or pass --overwrite")
    judges = Judges(str(base_path), str(scorer_path), str(body), hypotheses, seed)
    rated = _rated(source, judges, workers or worker_pool.cores(), console)
    everyone = [label for labels in rated for label in labels]
    judged = [label for label in everyone if not label.failure]
    if not judged:
        raise InputError(f"nobody in {data} could be judged, the first since {everyone[0].failure}")
    own = np.array([label.own_judged_mm for label in judged]) if relabel else None
    cleaned = clean(
        np.array([label.judged_mm for label in judged]), own, ErrorConfidence.from_dict(told), rule
    )
    decisions = dict(zip([label.id for label in judged], cleaned.decisions, strict=True))
    identity = {
        "rule": asdict(rule) | {"relabel": relabel}, "base": file_digest(base_path)[:16],
        "scorer": file_digest(scorer_path)[:16],
    }  # fmt: skip
    # What another run left there would be learned from as well.
    shutil.rmtree(out / "people", ignore_errors=True)
    examples = _write_people(source, rated, decisions, identity, out)
    _write_manifest(source, rated, decisions, out / "manifest.parquet")
    counts = Counter(decisions.values()) | Counter({"not judged": len(everyone) - len(judged)})
    record = {
        "people": len(everyone), "kept": counts["keep"], "relabelled": counts["relabel"], "dropped": counts["drop"],
        "not_judged": counts["not judged"], "threshold_mm": round(cleaned.threshold_mm, 2),
        "expected_precision": None if np.isnan(cleaned.expected_precision) else round(cleaned.expected_precision, 4),
        "identity": identity, "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip
    (out / "clean.json").write_text(json.dumps(record, indent=2) + "\n")
    write_report(record, cleaned, judged, examples, out / "report.html")
    console.print(f"{out}: {told_in_words(record, cleaned)}", highlight=False)
    return record


def _holds(out: Path, data: str) -> bool:
    """Whether the data are in the folder that is written to, or are it."""
    if "://" in data:
        return False
    return Path(data).resolve().is_relative_to(out.resolve())


def told_in_words(record: dict[str, Any], cleaned: Cleaned) -> str:
    if not record["kept"]:
        return (
            f"none of {record['people']} labels can be trusted so far; lower --precision or raise --tolerance"
        )
    return (
        f"{record['kept']} of {record['people']} labels kept (judged {cleaned.threshold_mm:.0f} mm or better, of which"
        f" {100 * cleaned.expected_precision:.0f} % are expected to be right), {record['relabelled']} replaced by the"
        f" model's answer, {record['dropped']} dropped"
        + (f", {record['not_judged']} not judged" if record["not_judged"] else "")
    )


def _rated(source: Source, judges: Judges, workers: int, console: Console) -> list[list[RatedLabel]]:
    """Everyone of each file, in the files' order."""
    runtime.start_ray()
    columns = (TextColumn("[bold]clean[/bold]"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    found: dict[int, list[RatedLabel]] = {}
    worker = partial(_Numbered, source.filesystem, judges)
    tasks = [(number, file.path) for number, file in enumerate(source.files)]
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("clean", total=source.rows)
        for number, labels in worker_pool.each(worker, tasks, min(workers, len(tasks))):
            found[number] = labels
            progress.advance(task, len(labels))
    return [found[number] for number in range(len(tasks))]


class _Numbered:
    """Answers say which task they are of: they come as they are ready."""

    def __init__(self, filesystem: Any, judges: Judges) -> None:
        self._rate = RateLabels(filesystem, judges)

    def __call__(self, task: tuple[int, str]) -> tuple[int, list[RatedLabel]]:
        number, path = task
        return number, self._rate(path)


def _write_people(
    source: Source, rated: list[list[RatedLabel]], decisions: Mapping[str, str], identity: dict[str, Any], out: Path
) -> list[Example]:  # fmt: skip
    """The files of who is left; and examples of each decision, spread over what was judged."""
    wanted = _spread(rated, decisions)
    examples: list[Example] = []
    for file, labels in zip(source.files, rated, strict=True):
        shard, left = read_shard(source.filesystem, file.path), []
        for sighting, label in zip(shard, labels, strict=True):
            decision = decisions.get(label.id)
            if decision == "keep":
                left.append(sighting)
            elif decision == "relabel":
                left.append(label.relabelled(sighting))
            if label.id in wanted and decision is not None:
                examples.append(Example(decision, sighting, label))
        path = out / "people" / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial_path = path.with_name(path.name + ".partial")
        partial_path.write_bytes(shard_bytes(left, {**json.loads(file.identity), "cleaned": identity}))
        partial_path.replace(path)
    return examples


def _spread(rated: list[list[RatedLabel]], decisions: Mapping[str, str]) -> set[str]:
    """Who is shown: of each decision, from the best to the worst in even steps."""
    chosen: set[str] = set()
    everyone = [label for labels in rated for label in labels]
    for decision in set(decisions.values()):
        some = sorted(
            (label for label in everyone if decisions.get(label.id) == decision),
            key=lambda label: label.judged_mm,
        )
        steps = np.linspace(0, len(some) - 1, min(_EXAMPLES, len(some))).round().astype(int)
        chosen |= {some[step].id for step in steps}
    return chosen


def _write_manifest(
    source: Source, rated: list[list[RatedLabel]], decisions: Mapping[str, str], path: Path
) -> None:
    rows = [
        {
            "id": label.id, "file": file.name, "decision": decisions.get(label.id, "not_judged"),
            "judged_mm": label.judged_mm, "expected_error_mm": label.expected_mm, "off_mm": label.off_mm,
            "own_judged_mm": label.own_judged_mm, "reason": label.failure or None,
        }
        for file, labels in zip(source.files, rated, strict=True)
        for label in labels
    ]  # fmt: skip
    partial_path = path.with_name(path.name + ".partial")
    pq.write_table(pa.Table.from_pylist(rows, schema=MANIFEST), partial_path)
    partial_path.replace(path)


MANIFEST = pa.schema(
    [
        ("id", pa.string()), ("file", pa.string()), ("decision", pa.string()), ("judged_mm", pa.float32()),
        ("expected_error_mm", pa.float32()), ("off_mm", pa.float32()), ("own_judged_mm", pa.float32()),
        ("reason", pa.string()),
    ]
)  # fmt: skip
"""Of ``manifest.parquet``: a row for everyone, in the order of the files."""
