"""``alignhmr prepare``: pictures with truth, seen by the detector once, as people that training reads.

A worker takes a shard of pictures, finds each person's keypoints in the true box, and writes the shard's file. What
cannot be learned from is left out and counted.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from alignhmr.core.errors import AlignhmrError, InputError, SetupError
from alignhmr.core.perception.detector import Detector, load_detector
from alignhmr.core.truth.records import Sample
from alignhmr.deployments import runtime, worker_pool
from alignhmr.deployments.prepare_sources import PictureSource, Portion, open_source
from alignhmr.deployments.shard_folder import Shard, ShardFolder
from alignhmr.deployments.version import package_version
from alignhmr.training.sighting_shards import SCHEMA_VERSION, read_info, shard_bytes
from alignhmr.training.sightings import Sighting, detector_error, reason_left_out, sighting_of

log = logging.getLogger(__name__)

SHARD_PICTURES = 250


@dataclass(frozen=True)
class PreparedOutput(ShardFolder):
    """One run's folder."""

    manifest = "prepare.json"
    holds = "prepared people"
    prefix = "people-"
    endings = (".parquet",)

    @classmethod
    def at(cls, location: str, identity: dict[str, Any]) -> "PreparedOutput":
        return cls(location, *cls.place(location, cls.holds), identity)

    def name(self, shard: Shard) -> str:
        return f"{self.prefix}{shard.start:07d}-{shard.stop - 1:07d}.parquet"

    def kept(self, shard: Shard) -> dict[str, Any] | None:
        """Counts of a shard that is there already and whole; None where it has to be made."""
        try:
            info = read_info(self.filesystem, f"{self.path}/{self.name(shard)}")
        except AlignhmrError:
            return None
        return dict(info.counts) if info.identity == self.identity else None


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
    total = summed(part["counts"] for part in done.values())
    if not total["people"]:
        raise InputError(_nobody(source, total, [part["failure"] for part in done.values()]))
    output.keep_only({name for name, part in done.items() if part["counts"]["people"] or part["written"]})
    made = [part for part in done.values() if not part["kept"]]
    drawing_s = max((p["ended"] for p in made), default=0.0) - min((p["started"] for p in made), default=0.0)
    people_made = sum(part["counts"]["people"] for part in made)
    record = {
        "status": "finished",
        "identity": identity,
        "count": total["pictures"],
        "people": total["people"],
        "left_out": total["left_out"],
        "failed": total["failed"],
        "detector_error_percent": _percent(total),
        "shards": {name: part["counts"]["people"] for name, part in sorted(done.items())},
        "kept": total["people"] - people_made,
        "seconds": round(time.perf_counter() - start, 2),
        **({"people_per_s": round(people_made / max(drawing_s, 1e-6), 2)} if people_made else {}),
    }
    output.write_record(record)
    log.info("prepare: %d people of %d pictures, %d kept", total["people"], total["pictures"], record["kept"])
    console.print(f"{out}: {told(record)}", highlight=False)
    return record


def told(record: Mapping[str, Any]) -> str:
    """The record in words."""
    there = f", {record['kept']} of them were there" if record["kept"] else ""
    pace = f", {record['people_per_s']:.1f}/s" if "people_per_s" in record else ""
    text = f"{record['people']} people of {record['count']} pictures{there}{pace}"
    for what, reasons in (("left out", record["left_out"]), ("pictures failed", record["failed"])):
        if reasons:
            text += f"; {sum(reasons.values())} {what} ({_counted(reasons)})"
    if record["detector_error_percent"] is not None:
        text += f"; the detector's limb keypoints are {record['detector_error_percent']:.1f} % of the box off"
    return text


def prepared(
    pictures: Iterable[Callable[[], Sample]], detector: Detector
) -> tuple[list[Sighting], dict[str, Any], str | None]:
    """Everyone in the pictures whom training can learn from; counts; the first failure in words.

    A picture that fails costs itself alone. SetupError is the machine's and not the picture's: it is raised.
    """
    found: list[Sighting] = []
    left_out: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    first: str | None = None
    number = 0
    for number, picture in enumerate(pictures, start=1):
        try:
            people, reasons = _seen(picture(), detector)
        except SetupError:
            raise
        except Exception as error:
            log.warning("picture %d of this shard failed", number, exc_info=True)
            failed[error.code if isinstance(error, AlignhmrError) else type(error).__name__] += 1
            first = first or str(error) or type(error).__name__
            continue
        found += people
        left_out += reasons
    errors = np.concatenate([detector_error(person) for person in found] or [np.zeros(0)])
    counts = {
        "pictures": number,
        "people": len(found),
        "left_out": dict(sorted(left_out.items())),
        "failed": dict(sorted(failed.items())),
        "keypoints_judged": len(errors),
        "keypoint_error_of_box": float(errors.sum(dtype=np.float64)),
    }
    return found, counts, first


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


class PrepareShards:
    """A worker: prepares and writes the shards it is given, one after another."""

    def __init__(self, source: PictureSource, output: PreparedOutput, detector: str) -> None:
        import cv2

        cv2.setNumThreads(1)  # there is a worker for each core
        self.source, self.output, self.detector = source, output, load_detector(detector)

    def __call__(self, portion: Portion) -> dict[str, Any]:
        started = time.time()
        people, counts, failure = prepared(self.source.pictures(portion), self.detector)
        name = self.output.name(portion)
        # Nothing but failures is no result: another run tries again.
        written = sum(counts["failed"].values()) < counts["pictures"]
        if written:
            self.output.write(name, shard_bytes(people, self.output.identity, counts))
        return {
            "name": name, "counts": counts, "failure": failure, "written": written, "kept": False,
            "started": started, "ended": time.time(),
        }  # fmt: skip


def _prepare(
    source: PictureSource,
    output: PreparedOutput,
    detector: str,
    shard_pictures: int,
    workers: int,
    console: Console,
) -> dict[str, dict[str, Any]]:
    """What was found in every shard, by the name of its file; the missing ones are made."""
    done: dict[str, dict[str, Any]] = {}
    columns = (TextColumn("[bold]prepare[/bold]"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("prepare", total=source.count)

        def note(part: dict[str, Any]) -> None:
            done[part["name"]] = part
            progress.advance(task, part["counts"]["pictures"])

        def missing() -> Iterable[Portion]:
            for portion in source.portions(shard_pictures):
                if (counts := output.kept(portion)) is None:
                    yield portion
                else:
                    name = output.name(portion)
                    note({"name": name, "counts": counts, "failure": None, "written": True, "kept": True})

        portions = iter(missing())
        first = next(portions, None)
        if first is None:
            return done
        if source.count is not None:
            workers = min(workers, -(-source.count // shard_pictures))
        runtime.start_ray()
        worker = partial(PrepareShards, source, output, detector)
        for part in worker_pool.each(worker, _chain(first, portions), workers):
            note(part)
    return done


def _chain(first: Portion, others: Iterable[Portion]) -> Iterable[Portion]:
    yield first
    yield from others


def _seen(sample: Sample, detector: Detector) -> tuple[list[Sighting], Counter[str]]:
    reasons = [reason_left_out(truth) for truth in sample.people]
    taken = [index for index, reason in enumerate(reasons) if reason is None]
    left_out = Counter(reason for reason in reasons if reason is not None)
    if not taken:
        return [], left_out
    boxes = np.stack([sample.people[index].box_px for index in taken]).astype(np.float32)
    people = detector.from_boxes(sample.picture, boxes)
    return [sighting_of(sample, index, person) for index, person in zip(taken, people, strict=True)], left_out


def _percent(total: Mapping[str, Any]) -> float | None:
    judged = total["keypoints_judged"]
    return round(100 * total["keypoint_error_of_box"] / judged, 3) if judged else None


def _nobody(source: str, total: Mapping[str, Any], failures: Iterable[str | None]) -> str:
    failure = next((text for text in failures if text), None)
    if failure is not None and sum(total["failed"].values()) == total["pictures"]:
        return f"all {total['pictures']} pictures of {source} failed, the first with: {failure}"
    reasons = _counted({**total["left_out"], **total["failed"]}) or "nobody is in the pictures"
    return f"nobody in {total['pictures']} pictures of {source} can be learned from: {reasons}; take other pictures"


def _counted(reasons: Mapping[str, int]) -> str:
    return ", ".join(
        f"{reason} {number}" for reason, number in sorted(reasons.items(), key=lambda item: -item[1])
    )
