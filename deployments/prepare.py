"""``alignhmr prepare``: pictures with truth, seen by the detector once, as people that training reads.

Workers take a shard of pictures each, find everyone's keypoints in their true boxes, and write the shard's file. Who
can't be learned from is left out and counted.
"""

import logging
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from alignhmr.core.errors import InputError
from alignhmr.core.perception.detector import load_detector
from alignhmr.deployments import runtime, worker_pool
from alignhmr.deployments.prepare_output import PreparedOutput
from alignhmr.deployments.prepare_sources import PictureSource, Portion, open_source
from alignhmr.deployments.prepare_worker import PrepareShards
from alignhmr.deployments.version import package_version
from alignhmr.training.sighting_shards import SCHEMA_VERSION

log = logging.getLogger(__name__)

SHARD_PICTURES = 250


def run(
    source: str,
    out: str | Path,
    *,
    split: str | None = None,
    count: int | None = None,
    seed: int = 0,
    shard_pictures: int = SHARD_PICTURES,
    workers: int | None = None,
    detector: str = "blazepose",
    motion: Path | None = None,
    backgrounds: Path | None = None,
    overwrite: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Writes the people into ``out`` and returns what ``prepare.json`` says.

    Raises an AlignhmrError with one clear sentence before the first picture, if anything asked for can't be had, and
    at the end if there was nobody to learn from.
    """
    console = console or Console(stderr=True)
    start = time.perf_counter()
    if shard_pictures < 1:
        raise InputError(f"{shard_pictures} pictures a shard were asked for; ask for at least 1")
    pictures = open_source(
        source, split=split, count=count, seed=seed, motion=motion, backgrounds=backgrounds
    )
    seer = load_detector(detector)
    identity = {
        **pictures.identity,
        "detector": f"{seer.name}:{seer.digest[:16]}",
        "shard_pictures": shard_pictures,
        "schema": SCHEMA_VERSION,
        "package_version": package_version(),
    }
    output = PreparedOutput.at(str(out), identity)
    output.claim(pictures.count, overwrite=overwrite)
    done = _prepare(pictures, output, detector, shard_pictures, workers or worker_pool.cores(), console)
    total = summed(part["counts"] for part in done)
    if not total["people"]:
        raise InputError(_nobody(source, total, [part["failure"] for part in done]))
    stray = output.keep_only({part["name"] for part in done if part["written"]})
    record = {
        "status": "finished",
        "identity": identity,
        **_found(done, total),
        "seconds": round(time.perf_counter() - start, 2),
    }
    output.write_record(record)
    log.info("prepare: %d people, %d kept, %d stray shards removed", total["people"], record["kept"], stray)
    console.print(f"{out}: {told(record)}", highlight=False)
    return record


def summed(counts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts of several shards as those of one."""
    total: dict[str, Any] = {
        "pictures": 0, "people": 0, "left_out": Counter(), "failed": Counter(), "keypoints_judged": 0,
        "keypoint_error_of_box": 0.0,
    }  # fmt: skip
    for part in counts:
        for name, value in part.items():
            total[name] += Counter(value) if isinstance(value, Mapping) else value
    return {name: dict(value) if isinstance(value, Counter) else value for name, value in total.items()}


def _found(done: list[dict[str, Any]], total: Mapping[str, Any]) -> dict[str, Any]:
    """What the record says of everyone in the folder, and of the pace of those who were not there before."""
    made = [part for part in done if not part["kept"]]
    people = sum(part["counts"]["people"] for part in made)
    found = {
        "count": total["pictures"],
        "people": total["people"],
        "kept": total["people"] - people,
        "left_out": total["left_out"],
        "failed": total["failed"],
        "detector_error_percent": _percent(total),
        "shards": {part["name"]: part["counts"]["people"] for part in done if part["written"]},
    }
    if made:
        seconds = max(part["ended"] for part in made) - min(part["started"] for part in made)
        found["people_per_s"] = round(people / max(seconds, 1e-6), 2)
    return found


def told(record: Mapping[str, Any]) -> str:
    """The record in words."""
    there = f", {record['kept']} of them were there" if record["kept"] else ""
    pace = f", {record['people_per_s']:.1f}/s" if "people_per_s" in record else ""
    text = f"{record['people']} people of {record['count']} pictures{there}{pace}"
    for what, reasons in (("people left out", record["left_out"]), ("failed pictures", record["failed"])):
        if reasons:
            text += f"; {what}: {_counted(reasons)}"
    if record["detector_error_percent"] is not None:
        text += f"; the detector's limb keypoints are {record['detector_error_percent']:.1f} % of the box off"
    return text


def _prepare(
    source: PictureSource, output: PreparedOutput, detector: str, shard_pictures: int, workers: int, console: Console
) -> list[dict[str, Any]]:  # fmt: skip
    """What was found in every shard, in their order; the missing ones are made."""
    done: list[dict[str, Any]] = []
    columns = (TextColumn("[bold]prepare[/bold]"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("prepare", total=source.count)

        def note(part: dict[str, Any]) -> None:
            done.append(part)
            progress.advance(task, part["counts"]["pictures"])

        def missing() -> Iterator[Portion]:
            for portion in source.portions(shard_pictures):
                if (counts := output.kept(portion)) is None:
                    yield portion
                else:
                    name = output.name(portion)
                    note({"name": name, "counts": counts, "failure": None, "written": True, "kept": True})

        portions = missing()
        if (first := next(portions, None)) is not None:
            runtime.start_ray()
            if source.count is not None:
                workers = min(workers, math.ceil(source.count / shard_pictures))
            worker = partial(PrepareShards, source, output, detector)
            for part in worker_pool.each(worker, chain([first], portions), workers):
                note(part)
    # In order: sums of numbers would hang on who was first.
    return sorted(done, key=lambda part: part["name"])


def _percent(total: Mapping[str, Any]) -> float | None:
    judged = total["keypoints_judged"]
    return round(100 * total["keypoint_error_of_box"] / judged, 3) if judged else None


def _nobody(source: str, total: Mapping[str, Any], failures: Iterable[str | None]) -> str:
    failure = next((text for text in failures if text), None)
    if failure is not None and sum(total["failed"].values()) == total["pictures"]:
        return f"all {total['pictures']} pictures of {source} failed, the first with: {failure}"
    reasons = _counted({**total["left_out"], **total["failed"]}) or "nobody is in the pictures"
    return f"nobody in {source} can be learned from (pictures {total['pictures']}: {reasons}); take other pictures"


def _counted(reasons: Mapping[str, int]) -> str:
    return ", ".join(
        f"{reason} {number}" for reason, number in sorted(reasons.items(), key=lambda item: -item[1])
    )
