"""What one process of ``alignhmr clean`` does: every label of a file beside the model's own answer, rated."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from pyarrow import fs as arrow_fs
from torch import Tensor

from alignhmr.core.diffusion.parameters import BodyParameters
from alignhmr.core.errors import InputError
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.placement import Bodies, Sight, stand
from alignhmr.core.recovery import Recoverer, RecoveryRequest
from alignhmr.core.scoring.cleaning import USUAL_MM, judged_mm, off_mm, standing_m
from alignhmr.deployments import torchvision_shim
from alignhmr.deployments.prepared import NobodySearched
from alignhmr.training.calibration import request_of
from alignhmr.training.sighting_shards import read_shard
from alignhmr.training.sightings import Sighting


@dataclass(frozen=True)
class Judges:
    """Which models judge; it travels to the workers."""

    base: str
    scorer: str
    body: str
    hypotheses: int
    seed: int

    def load(self) -> Recoverer:
        detector: Any = NobodySearched()
        return Recoverer.load(
            base=self.base, scorer=self.scorer, body=self.body, detector=detector, device="cpu"
        )


@dataclass(frozen=True)
class RatedLabel:
    """What is thought of a label, in mm, and of the answer that would replace it."""

    id: str
    expected_mm: float
    off_mm: float
    own_expected_mm: float
    own_off_mm: float
    own: Mapping[str, np.ndarray]
    """The answer: fields of a ``Sighting``."""
    failure: str = ""
    """Why it couldn't be judged."""

    @property
    def judged_mm(self) -> float:
        return math.inf if self.failure else _judged(self.expected_mm, self.off_mm, self.own_expected_mm)

    @property
    def own_judged_mm(self) -> float:
        return math.inf if self.failure else _judged(self.own_expected_mm, self.own_off_mm, USUAL_MM)

    def relabelled(self, sighting: Sighting) -> Sighting:
        """The person with the model's answer for a label."""
        return replace(sighting, **self.own, facts={**sighting.facts, "relabelled": True})


def _not_judged(sighting: Sighting, why: str) -> RatedLabel:
    return RatedLabel(sighting.id, *[math.inf] * 4, own={}, failure=why)


def _judged(expected_mm: float, off_mm: float, own_mm: float) -> float:
    return float(judged_mm(*(np.array([value]) for value in (expected_mm, off_mm, own_mm)))[0])


class RateLabels:
    """A worker: rates everyone in the files that it is given."""

    def __init__(self, filesystem: arrow_fs.FileSystem, judges: Judges) -> None:
        torch.set_num_threads(1)  # there is a worker for each core
        torchvision_shim.install()
        self.filesystem, self.judges, self.recoverer = filesystem, judges, judges.load()

    def __call__(self, path: str) -> list[RatedLabel]:
        shard = read_shard(self.filesystem, path)
        return [self._rated(sighting) for sighting in shard]

    def _rated(self, sighting: Sighting) -> RatedLabel:
        """What is wrong with one row costs that row alone."""
        # By name, so that nobody's answer depends on how people are shared out among files.
        seed = self.judges.seed + int(hashlib.sha256(sighting.id.encode()).hexdigest()[:8], 16)
        try:
            found = rated(self.recoverer, sighting, request_of(sighting, seed, self.judges.hypotheses))
        except InputError as error:
            return _not_judged(sighting, str(error))
        numbers = (found.expected_mm, found.off_mm, found.own_expected_mm, found.own_off_mm)
        if not np.isfinite(numbers).all():
            return _not_judged(sighting, "the label holds numbers that are not finite")
        return found


@torch.no_grad()
def rated(recoverer: Recoverer, sighting: Sighting, request: RecoveryRequest) -> RatedLabel:
    """The label is judged where it says that the person stands, beside the answer that a user would get."""
    sight, drawn = recoverer.proposed(request)
    recovery = recoverer.judged(request, sight, drawn)
    label = _labelled(recoverer, sighting, sight)
    expected = recoverer.rate(request.person, sight, label, drawn).error_mm[0].numpy()
    if recoverer.error_confidence is not None:
        expected = recoverer.error_confidence.of(expected)[:, 0]
    hyps, chosen = recovery.hypotheses, recovery.selected
    own = {
        "pose_aa": hyps.pose_aa, "betas": hyps.betas, "transl_cam_m": hyps.transl_cam_m,
        "smpl24_cam_m": hyps.joints_cam_m, "coco23_cam_m": hyps.keypoints_cam_m,
    }  # fmt: skip
    own = {name: value[chosen].astype(np.float32) for name, value in own.items()}
    own_depth = own["smpl24_cam_m"][0, 2]
    depths = standing_m(np.array([sighting.smpl24_cam_m[0, 2], own_depth]), float(own_depth))
    projected = np.stack([label.keypoints_px[0, 0].numpy(), hyps.keypoints_px[chosen]])
    offs = off_mm(projected, sighting.keypoints_px, depths, float(sighting.focal_px))
    told = float(hyps.expected_error_mm[chosen])
    return RatedLabel(sighting.id, float(expected[0]), float(offs[0]), told, float(offs[1]), own)


def _labelled(recoverer: Recoverer, sighting: Sighting, sight: Sight) -> Bodies:
    def tensor(value: np.ndarray) -> Tensor:
        return torch.as_tensor(np.asarray(value, np.float32))[None, None]

    rotations = axis_angle_to_matrix(tensor(sighting.pose_aa))
    parameters = BodyParameters(rotations, tensor(sighting.betas), torch.zeros(1, 1, 3))
    return stand(parameters, recoverer.body, sight, tensor(sighting.transl_cam_m))
