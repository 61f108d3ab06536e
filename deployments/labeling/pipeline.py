"""The labelling run, top to bottom: pictures -> people -> captions -> hypotheses -> scores, pairs -> rows."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import ray.data
from ray.actor import ActorHandle
from ray.exceptions import RayError

from alignhmr.deployments import runtime
from alignhmr.deployments.labeling.captioning import Captioner
from alignhmr.deployments.labeling.config import LabelConfig, Stage
from alignhmr.deployments.labeling.meaning import meaning
from alignhmr.deployments.labeling.models import Models
from alignhmr.deployments.labeling.output import Output
from alignhmr.deployments.labeling.people import FindPeople
from alignhmr.deployments.labeling.placing import LIGHT, check_resources, gpus_of
from alignhmr.deployments.labeling.plan import Planned
from alignhmr.deployments.labeling.readers import Reader
from alignhmr.deployments.labeling.reading import ReadPictures
from alignhmr.deployments.labeling.recovering import Recover, Score
from alignhmr.deployments.labeling.relabeling import ReadLabels, Rescore
from alignhmr.deployments.labeling.writing import write_block

UNFUSED_BYTES = 1
"""Asked for by the reading alone. Ray Data doesn't fuse stages that ask for different things: rows of the reading are
blocks of pictures, those of the next stage are pictures, and as many blocks as a batch has rows would become one."""


@dataclass(frozen=True)
class Job:
    """Everything that a run needs, decided before its first row."""

    config: LabelConfig
    models: Models
    captioner: Captioner
    reader: Reader
    output: Output
    package_version: str
    digests: Mapping[str, str] | None = None
    """What each row says as ``models``; None leaves what its stages say."""
    labels: Output | None = None
    """A label set to be scored anew; the plan's entries are its pictures then."""


def label(job: Job, planned: Planned, ledger: ActorHandle) -> Iterator[dict[str, Any]]:
    """Runs the job over what the ledger's plan holds; yields the summary of each part as soon as it is written.

    A picture or a person that fails is a row with an error code. What raises here concerns the whole run.
    """
    config = job.config
    check_resources(config, job.captioner, job.models)
    runtime.quiet_ray_data()
    # A block is never cut: the people of one picture are written together, or not at all.
    ray.data.DataContext.get_current().target_max_block_size = None

    places = [pa.table({"first": [first], "stop": [stop]}) for first, stop in planned.blocks()]
    if not places:
        return
    pictures = ray.data.from_blocks(places)  # type: ignore[arg-type]
    scored = _rescored(job, pictures, ledger) if job.labels else _labelled(job, pictures, ledger)
    write = partial(write_block, output=job.output, version=job.package_version)
    written = scored.map_batches(write, batch_format="pyarrow", batch_size=None, num_cpus=LIGHT)
    try:
        for row in written.iter_rows():
            yield json.loads(row["part"])
    except (RayError, SystemExit) as error:
        raise meaning(error, job.captioner.source) from error


def _labelled(job: Job, pictures: ray.data.Dataset, ledger: ActorHandle) -> ray.data.Dataset:
    """Places of the plan to scored rows."""
    config, use = job.config, job.config.resources
    limit_s = config.guard.limit_s
    read = pictures.map_batches(
        ReadPictures(job.reader, ledger, use.block_bytes, use.read.parallel),  # type: ignore[arg-type]
        batch_format="pyarrow",
        batch_size=None,
        compute=ray.data.TaskPoolStrategy(size=use.read.most),
        num_cpus=use.read.num_cpus,
        memory=UNFUSED_BYTES,
    )
    people = read.map_batches(
        FindPeople,
        fn_constructor_args=[job.models, ledger, job.reader],
        fn_constructor_kwargs={
            "max_pixels": config.images.max_pixels, "max_people": config.images.max_people, "limit_s": limit_s,
            "shown": job.captioner.shown,
        },
        **_pool(use.people, gpus_of(job.models, "people", use.people), use.images_per_block),
    )  # fmt: skip
    people = job.captioner.before_recovery(people)
    person = {"hypotheses": config.hypotheses, "seed": config.seed, "limit_s": limit_s}
    recovered = people.map_batches(
        Recover,
        fn_constructor_args=[job.models, ledger],
        fn_constructor_kwargs=person,
        **_pool(use.recover, gpus_of(job.models, "recover", use.recover), use.images_per_block),
    )
    return recovered.map_batches(
        Score,
        fn_constructor_args=[job.models, ledger],
        fn_constructor_kwargs={
            **person,
            "rule": config.pairs.rule(),
            "models_told": job.digests,
            "refine": config.refine,
            "ending": job.captioner.ending(),
            "words": config.captions.words(),
        },
        **_pool(use.score, gpus_of(job.models, "score", use.score), use.images_per_block),
    )


def _rescored(job: Job, pictures: ray.data.Dataset, ledger: ActorHandle) -> ray.data.Dataset:
    """The same for a label set: its rows are read, and scored by the same stage."""
    config, use = job.config, job.config.resources
    assert job.labels is not None
    read = pictures.map_batches(
        ReadLabels(job.labels, ledger),  # type: ignore[arg-type]
        batch_format="pyarrow",
        batch_size=None,
        compute=ray.data.TaskPoolStrategy(size=use.read.most),
        num_cpus=use.read.num_cpus,
        memory=UNFUSED_BYTES,
    )
    return read.map_batches(
        Rescore,
        fn_constructor_args=[job.models, ledger],
        fn_constructor_kwargs={
            "hypotheses": config.hypotheses, "seed": config.seed, "limit_s": config.guard.limit_s,
            "rule": config.pairs.rule(), "models_told": job.digests, "words": config.captions.words(),
        },
        **_pool(use.score, gpus_of(job.models, "score", use.score), use.images_per_block),
    )  # fmt: skip


def _pool(stage: Stage, gpus: float, images_per_block: int) -> dict[str, Any]:
    return {
        "batch_format": "pyarrow",
        # A block has at least so many rows; for a larger batch several would be put together, and written as one.
        "batch_size": min(stage.batch_size, images_per_block),
        "compute": ray.data.ActorPoolStrategy(min_size=stage.workers, max_size=stage.most),
        "num_cpus": stage.num_cpus,
        "num_gpus": gpus,
    }
