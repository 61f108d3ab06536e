"""What finds people: a two-method interface, and the two detectors that keep it."""

import os
from typing import Protocol

import numpy as np
from jaxtyping import Float

from alignhmr.core.errors import SetupError
from alignhmr.core.records import Person, Picture

DETECTORS: tuple[str, ...] = ("blazepose", "rtdetr-vitpose")
MAX_THREADS = 2
"""More than two were never measured."""


class Detector(Protocol):
    """Finds people and their 2D keypoints. Same picture, same answer."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str:
        """SHA-256 over the weights: goes into every record that the detector touched."""
        ...

    def find(self, picture: Picture) -> list[Person]:
        """Everyone in the picture, most confident first; an empty list where nobody is seen."""
        ...

    def from_boxes(self, picture: Picture, boxes_px: Float[np.ndarray, "people 4"]) -> list[Person]:
        """One person for each given box (x0, y0, x1, y1), in the order of the boxes."""
        ...


def own_threads(processes: int = 1) -> int:
    """Threads to find people with, for each of so many processes that share this machine with nobody else."""
    return max(1, min(MAX_THREADS, len(os.sched_getaffinity(0)) // processes))


def load_detector(name: str = "blazepose", device: str = "auto", *, threads: int = 1) -> Detector:
    """The detector of that name, ready to run. BlazePose runs on the CPU whatever the device, on `threads`.

    The answers don't depend on the number of threads.
    Models of one's own: `rtdetr-vitpose:DETECTOR,POSE`, each a folder or a name on the model hub.
    """
    kind, _, models = name.partition(":")
    # Imported here: LiteRT and transformers take seconds, and one process needs one of them.
    if name == "blazepose":
        from alignhmr.core.perception.blazepose import BlazePose

        return BlazePose.load(threads=threads)
    if kind == "rtdetr-vitpose" and models.count(",") == bool(models):
        from alignhmr.core.perception.transformers_pose import TransformersPose

        return TransformersPose.load(*filter(None, models.split(",")), device=device)
    raise SetupError(
        f"unknown detector {name!r}; choose one of {', '.join(DETECTORS)}, the latter also as "
        "rtdetr-vitpose:DETECTOR,POSE with the models' folders"
    )
