"""What one process of ``alignhmr prepare`` does: a shard's pictures in, everyone to learn from and counts out."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from alignhmr.core.errors import AlignhmrError, SetupError
from alignhmr.core.perception.detector import Detector, load_detector
from alignhmr.core.truth.records import Sample
from alignhmr.deployments.prepare_output import PreparedOutput
from alignhmr.deployments.prepare_sources import PictureSource, Portion
from alignhmr.training.sighting_shards import shard_bytes
from alignhmr.training.sightings import Sighting, detector_error, reason_left_out, sighting_of

log = logging.getLogger(__name__)


class PrepareShards:
    """A worker: prepares and writes the shards it is given, one after another."""

    def __init__(self, source: PictureSource, output: PreparedOutput, detector: str) -> None:
        import cv2

        cv2.setNumThreads(1)  # there is a worker for each core
        self.source, self.output, self.detector = source, output, load_detector(detector)

    def __call__(self, portion: Portion) -> dict[str, Any]:
        started = time.time()
        people, counts, failure = prepared(self.source.pictures(portion), self.detector)
        name = self.output.name(portion)
        # Nothing but failures is no result: another run tries again.
        written = sum(counts["failed"].values()) < counts["pictures"]
        if written:
            self.output.write(name, shard_bytes(people, self.output.identity, counts))
        return {
            "name": name, "counts": counts, "failure": failure, "written": written, "kept": False,
            "started": started, "ended": time.time(),
        }  # fmt: skip


def prepared(
    pictures: Iterable[Callable[[], Sample]], detector: Detector
) -> tuple[list[Sighting], dict[str, Any], str | None]:
    """Everyone in the pictures whom training can learn from; counts; the first failure in words.

    A picture that fails costs itself alone. SetupError is the machine's and not the picture's: it is raised.
    """
    found: list[Sighting] = []
    left_out: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    first: str | None = None
    number = 0
    for number, picture in enumerate(pictures, start=1):
        try:
            people, reasons = _seen(picture(), detector)
        except SetupError:
            raise
        except Exception as error:
            log.warning("picture %d of this shard failed", number, exc_info=True)
            failed[error.code if isinstance(error, AlignhmrError) else type(error).__name__] += 1
            first = first or str(error) or type(error).__name__
            continue
        found += people
        left_out += reasons
    errors = np.concatenate([detector_error(person) for person in found] or [np.zeros(0)])
    counts = {
        "pictures": number,
        "people": len(found),
        "left_out": dict(sorted(left_out.items())),
        "failed": dict(sorted(failed.items())),
        "keypoints_judged": len(errors),
        "keypoint_error_of_box": float(errors.sum(dtype=np.float64)),
    }
    return found, counts, first


def _seen(sample: Sample, detector: Detector) -> tuple[list[Sighting], Counter[str]]:
    reasons = [reason_left_out(truth) for truth in sample.people]
    taken = [index for index, reason in enumerate(reasons) if reason is None]
    left_out = Counter(reason for reason in reasons if reason is not None)
    if not taken:
        return [], left_out
    boxes = np.stack([sample.people[index].box_px for index in taken]).astype(np.float32)
    people = detector.from_boxes(sample.picture, boxes)
    return [sighting_of(sample, index, person) for index, person in zip(taken, people, strict=True)], left_out
