"""The labelling run, top to bottom: pictures -> people -> captions -> hypotheses, scores -> pairs -> rows."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import ray
import ray.data
from ray.actor import ActorHandle
from ray.exceptions import RayError

from alignhmr.core.errors import AlignhmrError, CaptionerError, SetupError
from alignhmr.deployments import runtime
from alignhmr.deployments.labeling.captioning import Captioner
from alignhmr.deployments.labeling.config import LabelConfig, Stage
from alignhmr.deployments.labeling.output import Output
from alignhmr.deployments.labeling.sources import Listing, Reader
from alignhmr.deployments.labeling.stages import FindPeople, Models, Recover, finish, read_pictures

LIGHT = 0.25
"""Scheduling slots of a task that moves rows and computes next to nothing."""


@dataclass(frozen=True)
class Job:
    """Everything that a run needs, decided before its first row."""

    listing: Listing
    config: LabelConfig
    models: Models
    captioner: Captioner
    output: Output
    package_version: str


def label(job: Job, ledger: ActorHandle) -> Iterator[dict[str, Any]]:
    """Runs the job; yields the summary of each part as soon as it is written.

    A picture or a person that fails is a row with an error code. What raises here concerns the whole run.
    """
    config, use = job.config, job.config.resources
    _check_resources(job)
    runtime.quiet_ray_data()

    reader = Reader(job.listing.s3, config.images.max_bytes)
    crops = config.captions.max_side_px if job.captioner.needs_crops else None
    light = {"batch_format": "pyarrow", "num_cpus": LIGHT}

    pictures = ray.data.from_arrow(list(_blocks(job.listing.uris, use.images_per_block)))
    read = pictures.map_batches(
        partial(read_pictures, reader=reader, ledger=ledger),
        batch_format="pyarrow",
        batch_size=use.read.batch_size,
        compute=ray.data.TaskPoolStrategy(size=use.read.workers),
        num_cpus=use.read.num_cpus,
    )
    people = read.map_batches(
        FindPeople,
        fn_constructor_args=[job.models, ledger],
        fn_constructor_kwargs={"max_pixels": config.images.max_pixels, "crop_side_px": crops},
        **_model_stage(use.people, _gpus_of_people(job)),
    )
    people = job.captioner.before_recovery(people)
    recovered = people.map_batches(
        Recover,
        fn_constructor_args=[job.models, ledger],
        fn_constructor_kwargs={
            "hypotheses": config.hypotheses,
            "seed": config.seed,
            "rule": config.pairs.rule(),
        },
        **_model_stage(use.recover, _gpus(job.models.device)),
    )
    recovered = job.captioner.after_recovery(recovered)
    ending = partial(finish, package_version=job.package_version)
    rows = recovered.map_batches(ending, **light)
    written = rows.map_batches(partial(_write, output=job.output), batch_size=use.rows_per_part, **light)
    try:
        for row in written.iter_rows():
            yield json.loads(row["part"])
    except (RayError, SystemExit) as error:
        raise _meaning(error, job) from error


def _blocks(uris: tuple[str, ...], size: int) -> Iterator[pa.Table]:
    for start in range(0, len(uris), size):
        yield pa.table({"uri": pa.array(uris[start : start + size], pa.string())})


def _write(table: pa.Table, output: Output) -> pa.Table:
    parts = [json.dumps(output.write_part(table))] if table.num_rows else []
    return pa.table({"part": pa.array(parts, pa.string())})


def _model_stage(stage: Stage, gpus: float) -> dict[str, Any]:
    return {
        "batch_format": "pyarrow",
        "batch_size": stage.batch_size,
        "compute": ray.data.ActorPoolStrategy(size=stage.workers),
        "num_cpus": stage.num_cpus,
        "num_gpus": gpus if stage.num_gpus is None else stage.num_gpus,
    }


def _gpus(device: str) -> float:
    # A fraction: the starter models are small, and one GPU must hold all stages of a small machine.
    return 0.0 if device == "cpu" else 0.25


def _gpus_of_people(job: Job) -> float:
    return 0.0 if job.models.detector == "blazepose" else _gpus(job.models.device)


def _check_resources(job: Job) -> None:
    """Stages that Ray can never place all at once would wait for ever, in silence."""
    use, captioner = job.config.resources, job.captioner
    stages = [(use.read, 0.0), (use.people, _gpus_of_people(job)), (use.recover, _gpus(job.models.device))]
    cpus = sum(stage.workers * stage.num_cpus for stage, _ in stages) + captioner.num_cpus + LIGHT
    gpus = sum(
        stage.workers * (default if stage.num_gpus is None else stage.num_gpus) for stage, default in stages
    )
    for name, wanted in (("CPU", cpus), ("GPU", gpus + captioner.num_gpus)):
        have = ray.cluster_resources().get(name, 0.0)
        if wanted > have:
            raise SetupError(
                f"the stages ask for {wanted:g} {name} slots together, Ray has {have:g}; lower workers,"
                " num_cpus or num_gpus under 'resources' in the config file, or use a larger machine"
            )


def _meaning(error: BaseException, job: Job) -> AlignhmrError:
    """The error of this program that a failed job stands for."""
    seen: BaseException | None = error
    while seen is not None:
        cause = getattr(seen, "cause", None)
        for candidate in (seen, cause):
            if isinstance(candidate, AlignhmrError):
                return candidate
        seen = seen.__cause__
    text = str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # The last line that names an exception, and what stands below it: Ray quotes the worker's traceback.
    last = max(
        (n for n, line in enumerate(lines) if re.match(r"[\w.]*(Error|Exception)\b", line)), default=-1
    )
    reason = " ".join(lines[last:])[:300]
    if any(name in text for name in ("vLLMEngineStageUDF", "PrepareMultimodalUDF", "ChatTemplateUDF")):
        return CaptionerError(
            f"the vision-language model behind {job.captioner.source!r} doesn't start: {reason}; check that"
            " vLLM supports it and that it fits into memory, or use --captioner pose"
        )
    return SetupError(
        f"the labelling run failed on a worker: {reason}; no row of an unfinished part was written"
    )
