"""What one photo with one person costs in ms, decode to answer, and what its parts cost.

Frames of the demo videos in which exactly one person is found; all is warm. ``photo_ms`` is decoding, finding
and 20 hypotheses; ``detector_ms`` is the search for people alone; ``person_ms_1`` and ``person_ms_20`` are 1 and
20 hypotheses of a person who was found before. The four take turns on each photo, so that a slow minute of the
machine hits all of them. The search looks once at a near person and at some 25 windows where a person is far,
since there may be others: medians speak of the near ones, the 90th percentiles of the far ones.
"""

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from predict import frames
from record import finish

from alignhmr.core.perception.detector import own_threads
from alignhmr.core.perception.images import decode
from alignhmr.core.recovery import Recoverer

CALLS = 100
"""At least so many of each, of whole photos and searches only in a full run."""
GOAL_MS = 150


class Watch:
    """Wall times of named calls in ms, and CPU times of all threads."""

    def __init__(self) -> None:
        self.wall_ms: dict[str, list[float]] = defaultdict(list)
        self.cpu_ms: dict[str, list[float]] = defaultdict(list)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall_ms[name].append(1000 * (time.perf_counter() - wall))
        self.cpu_ms[name].append(1000 * (time.process_time() - cpu))


def measure(recoverer: Recoverer, photo: bytes, watch: Watch, repeats: int) -> None:
    """The whole photo and the search once, one person's hypotheses so many times."""
    with watch("photo_ms"):
        picture = decode(photo)
        people = recoverer.find(picture)
        recoverer.recover(picture, people, hypotheses=20)
    with watch("detector_ms"):
        recoverer.detector.find(picture)
    for _ in range(repeats):
        for hypotheses in (1, 20):
            with watch(f"person_ms_{hypotheses}"):
                recoverer.recover(picture, people, hypotheses=hypotheses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ends within 60 s")
    parser.add_argument("--threads", type=int, default=own_threads(), help="that find people")
    options = parser.parse_args()
    torch.set_num_threads(1)  # as `alignhmr predict` does
    recoverer = Recoverer.load(device="cpu", threads=options.threads)
    photos = [
        photo for photo in frames(36 if options.quick else 72) if len(recoverer.find(decode(photo))) == 1
    ]
    often = math.ceil(CALLS / len(photos))
    rounds, repeats = (1, often) if options.quick else (often, 1)
    measure(recoverer, photos[0], Watch(), repeats)
    watch = Watch()
    for _ in range(rounds):
        for photo in photos:
            measure(recoverer, photo, watch, repeats)
    median = {name: float(np.median(times)) for name, times in watch.wall_ms.items()}
    values: dict[str, object] = {name: round(value, 1) for name, value in median.items()}
    values |= {f"{name}_p90": round(float(np.percentile(ms, 90)), 1) for name, ms in watch.wall_ms.items()}
    values |= {
        "ratio_20_to_1": round(median["person_ms_20"] / median["person_ms_1"], 2),
        "photo_cpu_ms": round(float(np.median(watch.cpu_ms["photo_ms"])), 1),
        f"photos_within_{GOAL_MS}_ms": round(
            float(np.mean(np.array(watch.wall_ms["photo_ms"]) <= GOAL_MS)), 3
        ),
        "people": len(photos),
        "calls": {name: len(times) for name, times in watch.wall_ms.items()},
        "threads": options.threads,
        "torch_threads": torch.get_num_threads(),
    }
    finish("recover", values, quick=options.quick)


if __name__ == "__main__":
    main()
