"""One name, one benchmark: made people, the calibrated videos, or a data set of the user's own."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from alignhmr.core.errors import InputError
from alignhmr.core.truth.frames import Frame, choose
from alignhmr.core.truth.records import Sample

MADE: tuple[str, ...] = ("studio", "wild", "crowd", "target")
"""Domains of made people; `wild` is the one to compare models on, `target` the one to adapt to."""
MADE_COUNT = 200
"""Made people where no count is given."""
DATA_SETS: tuple[str, ...] = ("3dpw", "emdb", "h36m", "mpi3dhp", "agora", "bedlam", "coco")

_MADE_CAVEAT = "Drawn people: errors on photos are other errors, and may rank two systems otherwise."
_CAVEATS: dict[str, str] = dict.fromkeys(MADE, _MADE_CAVEAT) | {
    "pose2sim4": "The truth is triangulated from BlazePose's keypoints and shares their bias, and so does whoever"
    " starts from them; the front and the back pair of cameras place a limb 35 mm apart (median). One man, 1.7 s: gross"
    " errors show, differences well below 35 mm are not decided, whatever their interval.",
}

HELP = (
    f"{', '.join(MADE)} (made people), pose2sim4 (four calibrated videos), a folder written by `alignhmr synth`, "
    f"or a data set of your own as NAME:PATH or NAME/SPLIT:PATH with NAME one of {', '.join(DATA_SETS)} "
    "(coco:IMAGES,ANNOTATIONS.json)"
)


def open_benchmark(name: str, *, count: int | None = None, seed: int = 0) -> Iterator[Sample]:
    """The samples of that benchmark, read or made one at a time, always in the same order.

    `count` samples are drawn by the seed (of a folder of made people, the first); None is all of them, and
    `MADE_COUNT` made people. Raises InputError before the first sample for an unknown name, a missing folder or
    unreadable annotations, and at the sample whose picture is missing.
    """
    if count is not None and count < 1:
        raise InputError(f"{count} samples were asked for; ask for at least 1, or leave the count out")
    if name in MADE:
        from alignhmr.core.synthetic.samples import make_benchmark_samples

        return make_benchmark_samples(name, MADE_COUNT if count is None else count, seed)
    if name == "pose2sim4":
        from alignhmr.core.truth.pose2sim4 import pose2sim4

        return pose2sim4(count=count, seed=seed)
    if is_data_set(name):
        return (frame.read() for frame in open_frames(name, count=count, seed=seed))
    if name and ":" not in name and Path(name).is_dir():
        from alignhmr.core.synthetic.shards import read_samples

        # Made people don't depend on each other: the first ones are as good a choice as any.
        return itertools.islice(read_samples(Path(name)), count)
    raise InputError(f"unknown benchmark {name!r}; choose {HELP}")


def is_data_set(name: str) -> bool:
    """Whether that names a data set of the user's own, there or not: NAME:PATH or NAME/SPLIT:PATH."""
    kind, colon, _ = name.partition(":")
    return bool(colon) and kind.partition("/")[0] in DATA_SETS


def open_frames(name: str, *, count: int | None = None, seed: int = 0) -> Iterator[Frame]:
    """The annotated pictures of a data set of the user's own, no picture read; `open_benchmark` reads them."""
    kind, _, path = name.partition(":")
    name_of_set, _, split = kind.partition("/")
    frames = _data_set(name_of_set, split, path)
    # The first frame is read here, so that a wrong path is said now and not in the middle of a run.
    first = next(frames, None)
    if first is None:
        raise InputError(f"{name} holds no annotated person; check that the split is complete")
    return choose(itertools.chain([first], frames), count, seed)


def caveat_of(name: str) -> str:
    """What a reader of figures on that benchmark must know of its truth; empty for data sets of the user's own."""
    return _CAVEATS.get(name, "" if ":" in name else _MADE_CAVEAT)


def _data_set(kind: str, split: str, path: str) -> Iterator[Frame]:
    """Frames of a data set of the user's own, pictures unread."""
    if not path:
        raise InputError(f"{kind}: has no path; write {kind}:PATH, where PATH is the data set's folder")
    # Imported here: one run reads one data set.
    match kind:
        case "3dpw":
            from alignhmr.core.truth.threedpw import read_3dpw as read
        case "emdb":
            from alignhmr.core.truth.emdb import read_emdb as read
        case "h36m":
            from alignhmr.core.truth.human36m import read_human36m as read
        case "mpi3dhp":
            from alignhmr.core.truth.mpi3dhp import read_mpi3dhp as read
        case "agora":
            from alignhmr.core.truth.agora import read_agora as read
        case "bedlam":
            from alignhmr.core.truth.bedlam import read_bedlam as read
        case _:
            from alignhmr.core.truth.coco import read_coco as read
    reader: Callable[..., Iterable[Frame]] = read
    return iter(reader(path, split) if split else reader(path))
