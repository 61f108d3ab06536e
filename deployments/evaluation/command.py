"""``alignhmr eval``: a system on benchmarks, in this process, without Ray; and two records beside each other."""

import datetime
import logging
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from alignhmr.core.body.joint_sets import joint_set
from alignhmr.core.body.model import BodyModel
from alignhmr.core.errors import AlignhmrError, InputError
from alignhmr.core.perception.detector import load_detector
from alignhmr.core.recovery import Recoverer
from alignhmr.core.truth.benchmarks import MADE, MADE_COUNT, caveat_of, open_benchmark
from alignhmr.core.truth.comparison import Comparison, compare
from alignhmr.core.truth.evaluate import Evaluation
from alignhmr.core.truth.predictions import Boxes, Camera, PredictionWriter
from alignhmr.core.truth.records import Sample
from alignhmr.core.truth.results import Result, result_of
from alignhmr.core.truth.systems import Alignhmr, Detector3D, Evidence, FromFile, System
from alignhmr.deployments import torchvision_shim
from alignhmr.deployments.evaluation.pictures import WorstCases
from alignhmr.deployments.evaluation.report import Chapter, write_report
from alignhmr.deployments.evaluation.tables import comparison_table, headline, tables
from alignhmr.deployments.version import package_version

log = logging.getLogger(__name__)

SYSTEMS: tuple[str, ...] = ("alignhmr", "detector3d")
RECORD, PREDICTIONS, TABLE, REPORT = "record.json", "predictions.parquet", "table.md", "report.html"


@dataclass(frozen=True)
class Options:
    """What is evaluated, and under which terms; the same for every benchmark of a run."""

    system: str = "alignhmr"
    predictions: Path | None = None
    base: str = "starter"
    scorer: str = "starter"
    body: str = "open"
    detector: str = "blazepose"
    device: str = "auto"
    hypotheses: int = 20
    joints: str = "limbs12"
    boxes: Boxes = "given"
    intrinsics: Camera = "given"
    count: int | None = None
    seed: int = 0
    without: tuple[Evidence, ...] = ()


Open = Callable[..., Iterator[Sample]]


def run(
    benchmarks: Sequence[str], out: Path, options: Options, *, console: Console | None = None,
    open_samples: Open = open_benchmark,
) -> list[Result]:  # fmt: skip
    """Writes a folder for each benchmark (record and predictions), and a table and a page over all of them.

    A benchmark that can't be evaluated costs only itself: the others are written before its error is raised.
    """
    console = console or Console(stderr=True, highlight=False, soft_wrap=True)
    joint_set(options.joints)
    folders = folder_names(benchmarks)
    out = _claim(Path(out))
    # The networks are small: a second thread costs more in waiting than it saves.
    torch.set_num_threads(1)
    torchvision_shim.install()
    # Opened before the models are loaded: a wrong name is said at once.
    opened = [open_samples(name, count=options.count, seed=options.seed) for name in benchmarks]
    with console.status("loading the models"):
        system, bodies = load_system(options)
    chapters, failures = [], []
    for name, samples in zip(benchmarks, opened, strict=True):
        try:
            chapters.append(_evaluate(name, samples, system, bodies, out / folders[name], options, console))
        except AlignhmrError as error:
            if len(benchmarks) > 1:  # a single one's error ends the command and is said there
                console.print(f"{name}: {error}", style="red", markup=False)
            failures.append((name, error))
            continue
        console.print(headline(chapters[-1].result), markup=False)
    if chapters:
        results = [chapter.result for chapter in chapters]
        (out / TABLE).write_text(tables(results), encoding="utf-8")
        write_report(chapters, out / REPORT)
        console.print(f"{out / TABLE}\n{out / REPORT}", markup=False)
    if failures:
        raise failures[0][1]
    return [chapter.result for chapter in chapters]


def run_compare(first: Path, second: Path, *, console: Console | None = None) -> list[Comparison]:
    """Prints, for each benchmark that both sides hold, which system is better, by how much, and how sure that is."""
    console = console or Console(highlight=False, soft_wrap=True)
    sides = [_records(Path(side)) for side in (first, second)]
    if len(sides[0]) == len(sides[1]) == 1:
        pairs = [(next(iter(sides[0].values())), next(iter(sides[1].values())))]
    else:
        shared = [name for name in sides[0] if name in sides[1]]
        if not shared:
            names = [", ".join(side) for side in sides]
            raise InputError(
                f"{first} holds {names[0]}, {second} holds {names[1]}; evaluate both on one benchmark"
            )
        pairs = [(sides[0][name], sides[1][name]) for name in shared]
    comparisons = [compare(*pair) for pair in pairs]
    for comparison in comparisons:
        console.print(comparison_table(comparison), markup=False)
    return comparisons


def load_system(options: Options) -> tuple[System, list[BodyModel]]:
    """Who answers, and the body models by which vertices are computed."""
    ours = package_version()
    if options.predictions is not None:
        body = BodyModel.load(options.body)
        return FromFile(options.predictions, None if options.body == "open" else body), [body]
    if options.system == "detector3d":
        detector = load_detector(options.detector, options.device)
        return Detector3D(detector, version=ours, boxes=options.boxes, intrinsics=options.intrinsics), []
    if options.system != "alignhmr":
        raise InputError(
            f"unknown system {options.system!r}; choose {', '.join(SYSTEMS)}, or give --predictions"
        )
    recoverer = Recoverer.load(
        base=options.base, scorer=options.scorer, body=options.body, detector=options.detector,
        device=options.device,
    )  # fmt: skip
    system = Alignhmr(
        recoverer, version=ours, boxes=options.boxes, intrinsics=options.intrinsics,
        hypotheses=options.hypotheses, seed=options.seed, without=options.without,
    )  # fmt: skip
    # Vertices are computed on the CPU whatever the device: they are metrics, in one precision everywhere.
    return system, [BodyModel.load(options.body)]


def _evaluate(
    name: str, samples: Iterator[Sample], system: System, bodies: list[BodyModel], folder: Path,
    options: Options, console: Console,
) -> Chapter:  # fmt: skip
    evaluation = Evaluation(system.info, options.joints, bodies)
    worst = WorstCases(evaluation.joints)
    total = options.count or (MADE_COUNT if name in MADE else None)
    columns = (
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"), TimeElapsedColumn(),
    )  # fmt: skip
    with (
        PredictionWriter(folder / PREDICTIONS, system.info) as writer,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        task = progress.add_task(name, total=total, text="")
        for sample in samples:
            answers = system.answer(sample)
            people = evaluation.add(sample, answers)
            worst.offer(sample, people, answers)
            writer.write(answers)
            missed = sum(person.missed for person in evaluation.people)
            text = f"{len(evaluation.people)} people" + (f", {missed} missed" if missed else "")
            progress.update(task, advance=1, text=text)
    if isinstance(system, Alignhmr) and system.reasons:
        log.info("not answered: %s", dict(system.reasons))
    if isinstance(system, FromFile) and system.unasked and options.count is None:
        console.print(
            f"{name}: the file speaks of {len(system.unasked)} samples that the benchmark doesn't hold,"
            f" {system.unasked[0]} first; they are left out",
            style="yellow", markup=False,
        )  # fmt: skip
    asked = {"count": options.count, "seed": options.seed}
    result = result_of(evaluation, name, asked=asked, made_by=made_by(), caveat=caveat_of(name))
    result.write(folder / RECORD)
    return Chapter(result, worst.drawn())


def folder_names(benchmarks: Sequence[str]) -> dict[str, str]:
    """A folder's name for each benchmark."""
    if not benchmarks:
        raise InputError("no benchmark was named; name one, such as wild or pose2sim4")
    folders = {name: re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_") for name in benchmarks}
    if len(folders) < len(benchmarks) or len(set(folders.values())) < len(folders):
        raise InputError(f"{', '.join(benchmarks)} name a benchmark twice, or two alike; name each once")
    return folders


def _claim(out: Path) -> Path:
    """Makes the folder ours; one that holds something else is refused."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give a folder with --out")
    if any(path.is_file() for path in out.rglob("*")) and not any(out.glob(f"*/{RECORD}")):
        raise InputError(f"{out} is not empty and holds no evaluation; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    return out


def _records(location: Path) -> dict[str, Result]:
    """Benchmark -> record: of a run's folder, of one benchmark's folder, or of one file."""
    if location.is_file():
        files = [location]
    elif (location / RECORD).is_file():
        files = [location / RECORD]
    else:
        files = sorted(location.glob(f"*/{RECORD}"))
    if not files:
        raise InputError(
            f"{location} holds no {RECORD}; name a folder that alignhmr eval wrote, or such a file"
        )
    records = [Result.read(file) for file in files]
    return {record.benchmark: record for record in records}


def made_by() -> dict[str, Any]:
    """Version, commit where there is one, and when."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"version": package_version(), "commit": _commit(), "created": now}


def _commit() -> str | None:
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    try:
        head = git("rev-parse", "--short", "HEAD")
        return (head + ("+changes" if git("status", "--porcelain", "-uno") else "")) or None
    except OSError:  # no git on this machine
        return None
