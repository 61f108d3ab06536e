"""What travels between the stages: people found, hypotheses made, answers chosen.

Frames: an image has x to the right and y down, in pixels of the upright picture. The camera frame is
OpenCV's: x right, y down, z forward, metres. Angles are radians. Every array is numpy, so that a record
crosses a process border or a Parquet file as it stands.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8

IntrinsicsSource = Literal["given", "exif", "default"]


@dataclass(frozen=True)
class Picture:
    """One decoded photo, upright (EXIF orientation applied), RGB."""

    pixels: UInt8[np.ndarray, "height width 3"]
    sha256: str
    """Hex digest of the encoded bytes: the identity of the row."""
    exif_focal_px: float | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole camera of the full picture."""

    focal_px: float
    center_px: tuple[float, float]
    source: IntrinsicsSource


@dataclass(frozen=True)
class Person:
    """One detected person: where they are, and 2D evidence about their pose."""

    box_px: Float[np.ndarray, "4"]
    """x0, y0, x1, y1."""
    score: float
    """Detector's confidence in 0..1."""
    keypoints_px: Float[np.ndarray, "keypoints 3"]
    """x, y and confidence in 0..1, in the order of ``skeleton.KEYPOINTS``; confidence 0 is 'not seen'."""
    keypoints_3d_m: Float[np.ndarray, "keypoints 3"] | None = None
    """The detector's own 3D guess, hip-centred, camera axes; None where the detector has none."""
    mask: UInt8[np.ndarray, "mask_height mask_width"] | None = None
    """Silhouette, 0..255, over ``mask_box_px``."""
    mask_box_px: Float[np.ndarray, "4"] | None = None
    detector: str = ""
    view: UInt8[np.ndarray, "view view 3"] | None = None
    """RGB of the square around the box that the models look at (``perception/views.py``); None without pixels."""


LEAST_WITH_MEAN = 8
"""Hypotheses from which on the last of them is the mean of the best (``scoring/selection.py``)."""


def number_made(hyps: int) -> int:
    """How many of a person's so many hypotheses the base makes; the rest is their mean."""
    return hyps if hyps < LEAST_WITH_MEAN else hyps - 1


def drawn(hyps: int) -> Bool[np.ndarray, "hyps"]:
    """Which of them are draws: neither the zero-noise answer nor the mean of the best."""
    place = np.arange(hyps)
    return (place > 0) & (place < number_made(hyps))


@dataclass(frozen=True)
class Hypotheses:
    """M answers for one person: the zero-noise answer, draws in the order of sampling, and from ``LEAST_WITH_MEAN``
    on the mean of the best."""

    pose_aa: Float[np.ndarray, "hyps 24 3"]
    """Axis-angle; joint 0 is the root's orientation in the camera frame."""
    betas: Float[np.ndarray, "hyps 10"]
    transl_cam_m: Float[np.ndarray, "hyps 3"]
    """Added to every vertex and joint of the posed model."""
    joints_cam_m: Float[np.ndarray, "hyps 24 3"]
    keypoints_cam_m: Float[np.ndarray, "hyps keypoints 3"]
    keypoints_px: Float[np.ndarray, "hyps keypoints 2"]
    scores: Float[np.ndarray, "hyps"]
    """HMR-Scorer's score; larger is better, comparable within one person only."""
    expected_error_mm: Float[np.ndarray, "hyps"]
    """HMR-Scorer's estimate of the MPJPE."""

    def __len__(self) -> int:
        return len(self.betas)


@dataclass(frozen=True)
class RefinementReport:
    """What drawing an answer to its evidence did (``core/refinement.py``)."""

    off_before: float
    """Mean distance of the unguided zero-noise answer's keypoints from those that were seen or given, by their
    confidence, over the crop's side."""
    off_after: float
    """The same of the answer."""
    moved_mm: float
    """Mean distance that the root-relative joints of the drawn hypotheses went."""
    fell_back: dict[str, int]
    """Reason -> hypotheses that stayed as they were: ``not_finite``, ``no_better``, ``impossible``."""
    hypotheses: int
    told: dict[str, str]
    """Posecodes that were read out of what was said: fact -> category."""
    told_before: float | None
    """Share of them that the unguided zero-noise answer plainly shows; None where nothing was said."""
    told_after: float | None
    """The same of the answer."""
    unread: tuple[str, ...]
    """Clauses that weren't understood."""
    contradictions: tuple[str, ...]
    given_keypoints: bool

    def as_dict(self) -> dict[str, Any]:
        """For JSON, to four digits."""
        told = {
            name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()
        }
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in told.items()}


@dataclass(frozen=True)
class Recovery:
    """The answer for one person: all hypotheses, and which one was chosen without any truth."""

    person: Person
    intrinsics: Intrinsics
    crop_px: Float[np.ndarray, "3"]
    """Centre x, centre y and side of the square the model looked at."""
    hypotheses: Hypotheses
    selected: int
    """Of 8 or more the last: the mean of the zero-noise answer and the best-scored. Else the best-scored."""
    joint_spread_mm: Float[np.ndarray, "24"]
    """Standard deviation over the hypotheses of each root-relative joint."""
    seed: int
    models: dict[str, str] = field(default_factory=dict)
    """Name -> digest of everything that touched the answer: body, detector, base, scorer."""
    error_interval_mm: Float[np.ndarray, "2"] | None = None
    """Low and high end of a 90 % interval of the selected answer's MPJPE; None where the scorer was never calibrated
    (``scoring/confidence.py``)."""
    joint_error_mm: Float[np.ndarray, "24 3"] | None = None
    """Of each root-relative joint of the selected answer: expected error, and the low and high end of a 90 %
    interval; None where the base model was never calibrated (``scoring/confidence.py``)."""
    refinement: RefinementReport | None = None
    """None where nobody asked for it."""


@dataclass(frozen=True)
class PreferencePair:
    """A winner and a loser among one person's hypotheses, and by how much the score differs."""

    winner: int
    loser: int
    margin: float
