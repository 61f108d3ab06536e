"""``alignhmr synth``: made people as files, drawn on every core through Ray Data."""

import hashlib
import json
import logging
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from alignhmr.core.errors import InputError
from alignhmr.core.synthetic.samples import make_sample
from alignhmr.core.synthetic.shards import FORMATS, to_row
from alignhmr.deployments import runtime
from alignhmr.deployments.shard_folder import Shard, plan
from alignhmr.deployments.synth_output import SHARD_SAMPLES, SynthOutput
from alignhmr.deployments.wish import Wish
from alignhmr.deployments.worker_pool import check_slots, cores, meaning

log = logging.getLogger(__name__)


def run(
    domain: str,
    count: int,
    out: str | Path,
    *,
    split: str = "train",
    seed: int = 0,
    size_px: int = 256,
    format: str = "parquet",
    motion: Path | None = None,
    backgrounds: Path | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Writes the samples into ``out`` and returns what ``synth.json`` says.

    Raises an AlignhmrError with one clear sentence before the first picture, if anything asked for can't be had.
    """
    console = console or Console(stderr=True)
    start = time.perf_counter()
    if format not in FORMATS:
        raise InputError(f"unknown format {format!r}; choose from {', '.join(FORMATS)}")
    if count < 1:
        raise InputError(f"{count} samples were asked for; ask for at least 1")
    wish = Wish.of(domain, split, seed, size_px, motion, backgrounds)
    maker = wish.maker()  # refuses here what can't be drawn
    identity = {**wish.identity(maker), "format": format}
    output = SynthOutput.at(str(out), identity, format)
    output.claim(count, overwrite=overwrite)
    shards = plan(count, SHARD_SAMPLES)
    digests = {output.name(shard): output.kept(shard) for shard in shards}
    missing = [shard for shard in shards if digests[output.name(shard)] is None]
    kept = sum(shard.stop - shard.start for shard in shards if shard not in missing)
    pace: dict[str, float] = {}
    if missing:
        made = _draw(missing, wish, output, workers or cores(), kept, count, console)
        digests |= {part["name"]: part["digest"] for part in made}
        first, last = min(part["started"] for part in made), max(part["ended"] for part in made)
        pace = {
            "images_per_s": round((count - kept) / max(last - first, 1e-6), 2),
            "drawing_s": round(last - first, 2),
        }
    removed = output.keep_only(set(digests))
    record = {
        "status": "finished",
        "identity": identity,
        "count": count,
        "digest": hashlib.sha256(
            "".join(f"{n} {d}\n" for n, d in sorted(digests.items())).encode()
        ).hexdigest(),
        "shards": digests,
        "kept": kept,
        "seconds": round(time.perf_counter() - start, 2),
        **pace,
    }
    output.write_record(record)
    log.info("synth: %d samples, %d kept, %d stray shards removed", count, kept, removed)
    said = f"{count - kept} pictures drawn" + (f", {kept} were there" if kept else "")
    speed = (
        f" at {pace['images_per_s']:.1f}/s, {record['seconds'] - pace['drawing_s']:.1f} s to start"
        if pace
        else ""
    )
    console.print(f"{out}: {said}{speed}; digest {record['digest'][:16]}")
    return record


class DrawShards:
    """A worker: draws and writes the shards it is given, one after another."""

    def __init__(self, wish: Wish, output: SynthOutput) -> None:
        self.maker, self.output = wish.maker(), output
        make_sample(self.maker, 0)  # loads what numba has compiled

    def __call__(self, table: pa.Table) -> pa.Table:
        parts = []
        for row in table.to_pylist():
            shard = Shard(row["start"], row["stop"])
            started = time.time()
            rows = []
            for index in range(shard.start, shard.stop):
                made = make_sample(self.maker, index)
                rows.append(to_row(made.sample, made.jpeg))
            digest = self.output.write_shard(shard, rows)
            name = self.output.name(shard)
            parts.append(
                {"name": name, "digest": digest, "count": len(rows), "started": started, "ended": time.time()}
            )
        return pa.table({"part": [json.dumps(part) for part in parts]})


def _draw(
    shards: list[Shard],
    wish: Wish,
    output: SynthOutput,
    workers: int,
    kept: int,
    count: int,
    console: Console,
) -> list[dict[str, Any]]:
    import ray.data
    from ray.exceptions import RayError

    workers = min(workers, len(shards))
    with console.status("starting Ray"):
        runtime.start_ray()
    check_slots(workers)
    runtime.quiet_ray_data()
    todo = ray.data.from_arrow(
        [pa.table({"start": [shard.start], "stop": [shard.stop]}) for shard in shards]
    ).map_batches(
        DrawShards,
        fn_constructor_args=[wish, output],
        batch_format="pyarrow",
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=2),
        num_cpus=1,
    )
    made: list[dict[str, Any]] = []
    columns = (TextColumn("[bold]synth[/bold]"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("synth", total=count, completed=kept)
            for row in todo.iter_rows():
                made.append(json.loads(row["part"]))
                progress.advance(task, made[-1]["count"])
    except RayError as error:
        raise meaning(error) from error
    return made
