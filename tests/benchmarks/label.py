"""How fast labelling is beside loops without Ray, how its memory grows, and what resuming takes at a million rows.

With the real models: the pipeline's steady rate beside a hand-written multiprocessing loop that does the same to the
same pictures (read, decode, find, hypothesise, score, mine, caption, write), one process a core in both. With cheap
models (a detector that finds nobody): many small JPEGs, beside a bare process pool that reads and decodes them. A
steady rate is taken between the tenth and the ninetieth percent of what is written, start-up left out, on both sides.
Memory is the proportional share (PSS) of the driver, Ray's own processes and all workers together. Resuming is a
process of its own that takes stock of a folder of a million rows.
"""

import argparse
import io
import json
import multiprocessing
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image
from record import finish

from alignhmr.core.records import Person, Picture, drawn
from alignhmr.deployments.labeling.books import BOOKS, Books
from alignhmr.deployments.labeling.captioning import add_pose_captions, make_captioner
from alignhmr.deployments.labeling.config import LabelConfig, load_config
from alignhmr.deployments.labeling.models import Models
from alignhmr.deployments.labeling.output import Output
from alignhmr.deployments.labeling.plan import PLAN, write_plan
from alignhmr.deployments.labeling.readers import Reader
from alignhmr.deployments.labeling.sources import Entry, list_pictures

CORES = 2
CHUNK = 64
SIDE_PX = 256


class NobodyFound:
    """A detector that is as cheap as can be."""

    name, digest = "cheap", "0" * 64

    def find(self, picture: Picture) -> list[Person]:
        return []


class CheapModels:
    """In ``Models``' place; nobody is found, so that nobody is recovered."""

    device, detector, base, scorer = "cpu", "blazepose", "cheap", "cheap"

    def load_detector(self) -> NobodyFound:
        return NobodyFound()

    def load_recoverer(self, *, whole: bool = False) -> Any:
        return None


def small_jpegs(folder: Path, count: int) -> list[str]:
    """JPEGs of ``SIDE_PX`` squared, each with bytes of its own: 50 pictures, told apart by a comment."""
    folder.mkdir(parents=True)
    random, bodies = np.random.default_rng(0), []
    for _ in range(50):
        buffer = io.BytesIO()
        coarse = Image.fromarray(random.integers(0, 255, (12, 12, 3), np.uint8))
        coarse.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=85)
        bodies.append(buffer.getvalue())
    paths = []
    for number in range(count):
        below = folder / f"{number // 1000:04}"
        below.mkdir(exist_ok=True)
        body, comment = bodies[number % len(bodies)], f"{number:012}".encode()
        path = below / f"{number:07}.jpg"
        path.write_bytes(body[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + body[2:])
        paths.append(str(path))
    return paths


def _decoded(paths: list[str]) -> int:
    from alignhmr.core.perception.images import decode

    for path in paths:
        with open(path, "rb") as file:
            decode(file.read())
    return len(paths)


def chunks_of(paths: list[str], size: int) -> list[list[str]]:
    return [paths[start : start + size] for start in range(0, len(paths), size)]


def steady(times: list[tuple[float, int]]) -> float:
    """Images a second, from (when, how many) of each piece, between the tenth and the ninetieth percent."""
    times = sorted(times)
    total, done = sum(count for _, count in times), 0
    marks: list[tuple[float, int]] = []
    for when, count in times:
        done += count
        if 0.1 * total <= done <= 0.9 * total:
            marks.append((when, done))
    if len(marks) < 2:
        marks = [(times[0][0], times[0][1]), (times[-1][0], total)]
    (start, before), (end, after) = marks[0], marks[-1]
    return (after - before) / max(end - start, 1e-9)


def pool_rate(work: Any, pieces: list[list[str]], setup: Any = None) -> float:
    times = []
    with multiprocessing.get_context("spawn").Pool(CORES, initializer=setup) as pool:
        for count in pool.imap_unordered(work, pieces):
            times.append((time.perf_counter(), count))
    return steady(times)


def cheap_config(block: int) -> LabelConfig:
    stage = {"batch_size": block, "workers": 1, "num_cpus": 0.25}
    over: dict[str, Any] = {f"resources.{name}": stage for name in ("recover", "score")}
    over["resources.people"] = stage | {"workers": CORES}
    over["resources.read"] = stage | {"parallel": 1, "workers": CORES}
    return load_config(
        "laptop", None, over | {"resources.images_per_block": block, "resources.block_bytes": 2**28}
    )


def pipeline(
    source: str, out: Path, config: LabelConfig, models: Any
) -> tuple[list[tuple[float, int]], list[dict]]:
    """When each part was written and of how many pictures, on a Ray that is there."""
    import ray

    from alignhmr.deployments.labeling.ledger import open_ledger
    from alignhmr.deployments.labeling.pipeline import Job, label

    output = Output.at(str(out)).of(1)
    output.make_folders()
    times, parts = [], []
    with tempfile.TemporaryDirectory() as folder:
        books = Books(Path(folder) / BOOKS)
        planned = write_plan(
            list_pictures(source).entries(), books, Path(folder) / PLAN, config.resources.images_per_block
        )
        books.close()
        ledger = open_ledger(folder)
        job = Job(config, models, make_captioner(config, "cpu"), Reader(), output, "benchmark")
        for part in label(job, planned, ledger):
            times.append((time.perf_counter(), part["images"]))
            parts.append(part)
        ray.kill(ledger)
    assert sum(part["images"] for part in parts) == planned.todo
    return times, parts


@contextmanager
def memory(samples: list[tuple[float, float]]) -> Iterator[None]:
    """Adds (when, MB) of this process and all below it, every two seconds: adding up takes a while itself."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(2):
            total = 0
            for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            samples.append((time.perf_counter(), total / 2**20))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def slope(samples: list[tuple[float, float]], times: list[tuple[float, int]]) -> float:
    """MB more for each 10,000 images, fitted over the last nine tenths of them (a run of 100,000: from 10,000 on)."""
    when = np.array([time_ for time_, _ in sorted(times)])
    images = np.cumsum([count for _, count in sorted(times)])
    points = [(float(np.interp(at, when, images)), mb) for at, mb in samples]
    late = [(done, mb) for done, mb in points if 0.1 * images[-1] <= done < images[-1]]
    if len(late) < 3:
        return float("nan")
    done, mb = np.array(late).T
    return float(np.polyfit(done / 10_000, mb, 1)[0])


_worker: dict[str, Any] = {}


def _load_models() -> None:
    import torch

    from alignhmr.core.recovery import Recoverer

    torch.set_num_threads(1)
    _worker["recoverer"] = Recoverer.load(device="cpu")


def _by_hand(paths: list[str], out: str, hypotheses: int) -> int:
    """What a stage-less program would do with a batch of pictures."""
    from alignhmr.core.geometry.cameras import intrinsics_for
    from alignhmr.core.perception.images import decode
    from alignhmr.core.recovery import RecoveryRequest
    from alignhmr.core.scoring.preference import Abstention, mine_pairs
    from alignhmr.deployments.labeling.recovering import person_seed
    from alignhmr.deployments.labeling.rows import recovery_columns
    from alignhmr.deployments.labeling.schema import row_schema, table_from_rows

    recoverer, rows = _worker["recoverer"], []
    for path in paths:
        picture = decode(Reader().read(Entry(path)))
        people = recoverer.find(picture)
        camera = intrinsics_for(*picture.size, exif_focal_px=picture.exif_focal_px)
        for index, person in enumerate(people):
            seed = person_seed(0, picture.sha256, index)
            (recovery,) = recoverer.recover_batch([RecoveryRequest(person, camera, seed, hypotheses)])
            hyps = recovery.hypotheses
            mined = mine_pairs(
                hyps.scores, hyps.expected_error_mm, vetoed=recoverer.vetoes(recovery),
                joints_m=hyps.joints_cam_m - hyps.joints_cam_m[:, :1], among=drawn(len(hyps)),
            )  # fmt: skip
            row = {
                "uri": path,
                "image_sha256": picture.sha256,
                "person_index": index,
                **recovery_columns(recovery),
            }
            rows.append(
                row | ({} if isinstance(mined, Abstention) else {"pairs": [vars(pair) for pair in mined]})
            )
        if not people:
            rows.append({"uri": path, "image_sha256": picture.sha256, "error_code": "no_person"})
    Output.at(out).of(1).write_part(add_pose_captions(table_from_rows(rows, row_schema(hypotheses))))
    return len(paths)


def with_models(folder: Path, count: int) -> dict[str, Any]:
    """The pipeline and the loop by hand, in turns, on video frames of people."""
    from alignhmr.deployments.demo.photos import write_photos

    photos = folder / "photos"
    found = write_photos(photos, 96)
    paths = [str(path) for path in found]
    many = folder / "many"
    many.mkdir()
    for number in range(count):  # the same frames again, with bytes of their own
        body = Path(paths[number % len(paths)]).read_bytes()
        (many / f"{number:05}.jpg").write_bytes(body + number.to_bytes(2, "big"))
    given = sorted(map(str, many.iterdir()))
    block = 8
    one = {"batch_size": block, "workers": 1, "num_cpus": 0.5}
    config = load_config("laptop", None, {
        "resources.images_per_block": block, "resources.people": one | {"workers": CORES},
        "resources.recover": one, "resources.score": one,
    })  # fmt: skip
    models = Models("starter", "starter", "open", "blazepose", "cpu")
    rates: dict[str, list[float]] = {"pipeline": [], "by_hand": []}
    for turn in range(2):
        times, _ = pipeline(str(many), folder / f"pipeline{turn}", config, models)
        rates["pipeline"].append(steady(times))
        output = Output.at(str(folder / f"hand{turn}"))
        output.make_folders()
        work = partial(_by_hand, out=output.location, hypotheses=config.hypotheses)
        rates["by_hand"].append(pool_rate(work, chunks_of(given, block), _load_models))
    return {name: round(statistics.median(values), 2) for name, values in rates.items()}


def write_finished_rows(out: Path, rows: int) -> None:
    """A folder of a run with so many rows, good as for taking stock; a thousand to a part."""
    import pyarrow as pa

    from alignhmr.deployments.labeling.schema import row_schema, table_from_rows, widened

    output = Output.at(str(out)).of(1)
    output.make_folders()
    output.write_record({"attempt": 1, "status": "running"})
    schema = row_schema(1)
    narrow = pa.schema([schema.field(name) for name in ("uri", "image_sha256", "person_index", "error_code")])
    for start in range(0, rows, 1000):
        some = [
            {
                "uri": f"s3://bucket/some/prefix/{number:010}.jpg",
                "image_sha256": f"{number * 2654435761 % 2**256:064x}",
                "error_code": "no_person",
            }
            for number in range(start, start + 1000)
        ]
        output.write_part(widened(table_from_rows(some, narrow), schema))


_STOCK = """
import json, sys, psutil
from alignhmr.deployments.labeling.books import Books
from alignhmr.deployments.labeling.output import Output
from alignhmr.deployments.labeling.resume import stand
process, peak = psutil.Process(), 0
books = Books()
before = process.memory_info().rss
see = books.see_together
def noted(names):
    global peak
    peak = max(peak, process.memory_info().rss)
    return see(names)
books.see_together = noted
stand(Output.at(sys.argv[1]), 1, books)
print(json.dumps({"mb": (max(peak, process.memory_info().rss) - before) / 2**20, "pictures": len(books)}))
"""


def taking_stock(folder: Path, rows: int) -> tuple[float, float]:
    """MB that a process grows by while it takes stock of so many rows, and seconds."""
    out = folder / f"rows{rows}"
    write_finished_rows(out, rows)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", _STOCK, str(out)], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert told["pictures"] == rows
    shutil.rmtree(out)
    return told["mb"], time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="ends within 60 s on a machine with nothing else to do"
    )
    parser.add_argument("--images", type=int, help="small JPEGs for the cheap models")
    parser.add_argument("--no-models", action="store_true", help="leave the real models out")
    options = parser.parse_args()
    count = options.images or (4000 if options.quick else 100_000)
    block = 500 if options.quick else 1000
    from alignhmr.deployments import runtime

    values: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = small_jpegs(folder / "small", count)
        bare = [pool_rate(_decoded, chunks_of(paths[: min(count, 20_000)], CHUNK))]
        runtime.start_ray(num_cpus=6)
        samples: list[tuple[float, float]] = []
        with memory(samples):
            times, _ = pipeline(str(folder / "small"), folder / "cheap", cheap_config(block), CheapModels())
        models = {} if options.no_models else with_models(folder, 48 if options.quick else 384)
        runtime.shutdown()
        bare.append(pool_rate(_decoded, chunks_of(paths[: min(count, 20_000)], CHUNK)))
        shutil.rmtree(folder / "small")
        at = (20_000, 100_000) if options.quick else (250_000, 1_000_000)
        stock = {rows: taking_stock(folder, rows) for rows in at}
        cheap, pool = steady(times), statistics.mean(bare)
        if models:
            values |= {"model_ratio": round(models["pipeline"] / models["by_hand"], 3)}
        (few, (few_mb, _)), (most, (most_mb, most_s)) = stock.items()
        values |= {
            "cheap_images_per_s": round(cheap, 1), "cheap_ratio": round(cheap / pool, 3),
            "rss_slope_mb_per_10k": round(slope(samples, times), 2),
            ("resume_rss_mb_100k" if options.quick else "resume_rss_mb_1m"): round(most_mb, 1),
            "resume_slope_mb_per_1m": round((most_mb - few_mb) / (most - few) * 1e6, 1),
            "resume_s": round(most_s, 1), "bare_pool_images_per_s": [round(rate, 1) for rate in bare],
            "models_images_per_s": models, "images": count, "side_px": SIDE_PX, "images_per_block": block,
            "cores": CORES, "peak_mb": round(max((mb for _, mb in samples), default=float("nan")), 0),
        }  # fmt: skip
    finish("label", values, quick=options.quick)


if __name__ == "__main__":
    main()
