"""Who is evaluated: alignhmr, the detector's own 3D keypoints, or what a file says. Sample in, predictions out.

A person without a prediction was missed. Where boxes are given nobody is missed for want of a detection, only
for want of keypoints; where people are to be found, detections are matched to the truth here, and detections
that match nobody are not held against a system: truth doesn't name everyone in a picture.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from alignhmr.core.body.model import BodyModel
from alignhmr.core.errors import CompatibilityError, InputError
from alignhmr.core.geometry.cameras import intrinsics_for
from alignhmr.core.perception.detector import Detector
from alignhmr.core.records import Intrinsics, Person, Recovery
from alignhmr.core.recovery import Recoverer, RecoveryRequest
from alignhmr.core.truth.matching import match_people
from alignhmr.core.truth.predictions import Boxes, Camera, PredictionFile, SystemInfo, read_predictions
from alignhmr.core.truth.records import Prediction, Sample

Evidence = Literal["image", "keypoints"]
Watch = Callable[[Recovery, Sample, int], None]
"""Told of an answer, its sample and which of the people it is about."""


class System(Protocol):
    """Answers samples; the same sample, the same answers."""

    @property
    def info(self) -> SystemInfo: ...

    def answer(self, sample: Sample) -> list[Prediction]:
        """At most one prediction for each person of the sample."""
        ...


class Alignhmr:
    """Detector, diffusion model and scorer, with M hypotheses a person."""

    def __init__(
        self, recoverer: Recoverer, *, version: str = "", boxes: Boxes = "given", intrinsics: Camera = "given",
        hypotheses: int = 20, seed: int = 0, without: Sequence[Evidence] = (), watch: Watch | None = None,
    ) -> None:  # fmt: skip
        """``without`` is evidence that is kept from it, to see what it is worth; ``watch`` is told of each answer."""
        self.recoverer, self.hypotheses, self.seed = recoverer, hypotheses, seed
        self.without, self.watch = tuple(without), watch
        models, name = recoverer.models, " without ".join(["alignhmr", *self.without])
        self.info = SystemInfo(name, version, boxes, intrinsics, dict(models), models["body"])
        self.reasons: Counter[str] = Counter()
        """Why people who were found could not be answered."""

    def answer(self, sample: Sample) -> list[Prediction]:
        camera = (
            sample.intrinsics if self.info.intrinsics == "given" else intrinsics_for(*sample.picture.size)
        )
        answers = []
        for index, person in _people(self.recoverer, sample, self.info.boxes):
            seed = _seed(self.seed, sample.id, index)
            try:
                # Each alone: one person with too few keypoints must not cost the others.
                [recovery] = self.recoverer.recover_batch(
                    [RecoveryRequest(_kept_from(person, self.without), camera, seed, self.hypotheses)]
                )
            except InputError as error:
                self.reasons[str(error)] += 1
                continue
            if self.watch is not None:
                self.watch(recovery, sample, index)
            answers.append(prediction_of(recovery, sample.id, index))
        return answers


class Detector3D:
    """The detector's own metric keypoints as one answer: what the recovery must beat."""

    def __init__(
        self, detector: Detector, *, version: str = "", boxes: Boxes = "given", intrinsics: Camera = "given"
    ) -> None:
        self.detector = detector
        digests = {"detector": f"{detector.name}:{detector.digest[:16]}"}
        # It looks at no camera, and so stands beside runs of either kind.
        self.info = SystemInfo("detector3d", version, boxes, intrinsics, digests)

    def answer(self, sample: Sample) -> list[Prediction]:
        answers = []
        for index, person in _people(self.detector, sample, self.info.boxes):
            if person.keypoints_3d_m is None:
                raise CompatibilityError(
                    f"the detector {self.detector.name} has no 3D keypoints to evaluate; use --detector blazepose"
                )
            points_m = np.asarray(person.keypoints_3d_m)[None]
            points_px = np.asarray(person.keypoints_px)[None, :, :2]
            answers.append(Prediction(sample.id, index, {"coco23": points_m}, {"coco23": points_px}))
        return answers


class FromFile:
    """Another system, by the predictions that it left in a file."""

    def __init__(self, path: Path, body: BodyModel | None = None) -> None:
        found: PredictionFile = read_predictions(path, body)
        self.path, self.info, self.hypotheses = path, found.info, found.hypotheses
        self._by_sample: dict[str, list[Prediction]] = defaultdict(list)
        for prediction in found.predictions:
            self._by_sample[prediction.sample_id].append(prediction)
        self._unasked = set(self._by_sample)

    def answer(self, sample: Sample) -> list[Prediction]:
        self._unasked.discard(sample.id)
        predictions = self._by_sample.get(sample.id, [])
        for prediction in predictions:
            if not 0 <= prediction.person < len(sample.people):
                raise InputError(
                    f"{self.path} speaks of person {prediction.person} of {sample.id}, which has"
                    f" {len(sample.people)}; person is the index in the benchmark, from 0"
                )
        return predictions

    @property
    def unasked(self) -> list[str]:
        """Samples that the file speaks of and the benchmark, so far, doesn't hold."""
        return sorted(self._unasked)


def prediction_of(recovery: Recovery, sample_id: str, person: int) -> Prediction:
    """A recovery as what is held against the truth."""
    hyps = recovery.hypotheses
    return Prediction(
        sample_id,
        person,
        {"smpl24": hyps.joints_cam_m, "coco23": hyps.keypoints_cam_m},
        {"smpl24": _projected(hyps.joints_cam_m, recovery.intrinsics), "coco23": hyps.keypoints_px},
        recovery.models["body"],
        hyps.pose_aa,
        hyps.betas,
        hyps.scores,
        hyps.expected_error_mm,
        recovery.selected,
    )


def _people(finder: Detector | Recoverer, sample: Sample, boxes: Boxes) -> list[tuple[int, Person]]:
    """Index of the truth and the person seen there."""
    if not sample.people:
        return []
    if boxes == "given":
        wanted = np.stack([truth.box_px for truth in sample.people]).astype(np.float32)
        return list(enumerate(finder.from_boxes(sample.picture, wanted)))
    found = finder.find(sample.picture)
    return [(truth, found[index]) for truth, index in match_people(sample, found)]


def _kept_from(person: Person, kinds: Sequence[Evidence]) -> Person:
    if "image" in kinds:
        person = replace(person, view=None)
    if "keypoints" in kinds:
        person = replace(person, keypoints_px=np.zeros_like(person.keypoints_px), keypoints_3d_m=None)
    return person


def _projected(points_m: np.ndarray, camera: Intrinsics) -> np.ndarray:
    # Held at 5 cm as in geometry.cameras.project: what is at the camera would fly to infinity.
    depth = np.maximum(points_m[..., 2:], 0.05)
    return points_m[..., :2] / depth * camera.focal_px + np.array(camera.center_px, points_m.dtype)


def _seed(seed: int, sample_id: str, person: int) -> int:
    """Another one for each person, whatever order and share of the benchmark is run."""
    digest = hashlib.sha256(f"{seed}/{sample_id}/{person}".encode()).digest()
    return int.from_bytes(digest[:7], "big")
