"""Loads the models once in the driver and lets them answer for a made-up person, before a run starts.

A model that is missing, broken, or doesn't fit the others must stop a run before its first row, and not turn
every row into an error.
"""

from typing import TYPE_CHECKING

import numpy as np

from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.errors import SetupError
from alignhmr.core.records import Intrinsics, Person

if TYPE_CHECKING:
    from alignhmr.deployments.labeling.models import Models

# A standing person, 100 wide and 200 high: left is on the picture's right.
_STANDING = {
    "nose": (50, 15), "eye": (54, 12), "ear": (58, 14), "shoulder": (66, 40), "elbow": (72, 70),
    "wrist": (74, 98), "hip": (60, 100), "knee": (62, 145), "ankle": (62, 188), "big_toe": (66, 198),
    "small_toe": (70, 197), "heel": (60, 194),
}  # fmt: skip


def try_models(models: "Models") -> dict[str, str]:
    """Name -> digest of the run's models; raises if one can't be loaded or answers with nonsense."""
    from alignhmr.core.recovery import RecoveryRequest

    recoverer = models.load_recoverer(whole=True)
    request = RecoveryRequest(
        _standing_person(), Intrinsics(500.0, (100.0, 150.0), "default"), seed=0, hypotheses=2
    )
    (answer,) = recoverer.recover_batch([request])
    for name in ("pose_aa", "betas", "transl_cam_m", "scores"):
        if not np.isfinite(getattr(answer.hypotheses, name)).all():
            raise SetupError(
                f"the models ({models.base}, {models.scorer}) answer a standing person with {name} that"
                " aren't finite; use other checkpoints"
            )
    return dict(recoverer.models)


def _standing_person() -> Person:
    points = []
    for name in KEYPOINTS:
        side, _, part = name.partition("_")
        x, y = _STANDING[part if side in ("left", "right") else name]
        points.append((50 + (100 - x if side == "right" else x), 50 + y, 0.9))
    return Person(np.array([50, 50, 150, 250], np.float32), 0.9, np.array(points, np.float32))
