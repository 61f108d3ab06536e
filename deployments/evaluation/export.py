"""A benchmark as files, for a system that isn't ours: pictures, and who is asked about in each.

``people.parquet`` has a row for each person: sample_id and person, which the predictions file must repeat
(``core/truth/predictions.py``), the picture's file, and what may be given to the system: box and camera. The
truth is not in it.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from rich.console import Console

from alignhmr.core.errors import InputError
from alignhmr.core.truth.benchmarks import open_benchmark
from alignhmr.core.truth.records import Sample
from alignhmr.deployments.evaluation.command import folder_names

SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()), ("person", pa.int32()), ("picture", pa.string()),
        ("width", pa.int32()), ("height", pa.int32()), ("box_px", pa.list_(pa.float32(), 4)),
        ("focal_px", pa.float32()), ("center_px", pa.list_(pa.float32(), 2)),
    ]
)  # fmt: skip


def run(
    benchmarks: Sequence[str], out: Path, *, count: int | None = None, seed: int = 0,
    open_samples: Callable[..., Iterator[Sample]] = open_benchmark, console: Console | None = None,
) -> None:  # fmt: skip
    """Writes ``out/BENCHMARK/people.parquet`` and ``pictures/``; the same count and seed give the same people."""
    console = console or Console(stderr=True, highlight=False)
    for name, folder in folder_names(benchmarks).items():
        place = Path(out) / folder
        if place.exists() and any(place.iterdir()):
            raise InputError(f"{place} is not empty; give another folder with --export")
        (place / "pictures").mkdir(parents=True, exist_ok=True)
        rows = []
        for number, sample in enumerate(open_samples(name, count=count, seed=seed)):
            # Without loss: what the system sees must be what ours sees.
            picture = f"pictures/{number:06d}.png"
            Image.fromarray(sample.picture.pixels).save(place / picture, compress_level=3)
            width, height = sample.picture.size
            camera = sample.intrinsics
            rows += [
                {
                    "sample_id": sample.id, "person": index, "picture": picture, "width": width, "height": height,
                    "box_px": [float(side) for side in truth.box_px], "focal_px": camera.focal_px,
                    "center_px": list(camera.center_px),
                }
                for index, truth in enumerate(sample.people)
            ]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), place / "people.parquet")
        console.print(f"{name}: {len(rows)} people -> {place}", markup=False)
