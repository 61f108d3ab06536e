"""What is known about people in a picture, and what a system says about them: the two sides of an evaluation.

Points come in named sets (``core/body/joint_sets.py``), since a left knee of SMPL, of COCO and of a marker
suit are three places. A source fills the sets that it knows; a point that it doesn't know is NaN.
Frames and units are those of ``core/records.py``: upright pixels, camera axes of OpenCV, metres, radians.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, UInt8

from alignhmr.core.records import Intrinsics, Picture


@dataclass(frozen=True)
class Points:
    """One set of points of one person."""

    cam_m: Float[np.ndarray, "points 3"] | None = None
    """Camera frame, placed in the scene; None where only the picture is annotated."""
    px: Float[np.ndarray, "points 2"] | None = None
    visible: Bool[np.ndarray, "points"] | None = None
    """In the picture and not behind anything, the person's own body included; None where nobody looked."""


@dataclass(frozen=True)
class TrueBody:
    """Body model parameters of one person."""

    body: str
    """``name:digest`` of the open body and of imported ones, as in ``Recovery.models``; parameters of two
    bodies are never compared."""
    pose_aa: Float[np.ndarray, "24 3"]
    betas: Float[np.ndarray, "10"]
    transl_cam_m: Float[np.ndarray, "3"]


@dataclass(frozen=True)
class Truth:
    """What is known of one person in one picture."""

    box_px: Float[np.ndarray, "4"]
    """x0, y0, x1, y1 around the whole person, as far as they are in the picture."""
    points: Mapping[str, Points]
    """Point set -> points."""
    body: TrueBody | None = None
    mask: UInt8[np.ndarray, "height width"] | None = None
    """255 where this person is what the pixel sees; the picture's size."""
    facts: Mapping[str, str | float | bool] = field(default_factory=dict)
    """What a result may be broken down by: occlusion, truncation, clothing, gender, residual of the truth..."""


@dataclass(frozen=True)
class Sample:
    """One picture with everyone in it of whom something is known."""

    id: str
    """Unique in its benchmark, and the same whenever it is read or made."""
    group: str
    """Clip or sequence: what is resampled as a whole in a bootstrap, and never lies in two splits."""
    domain: str
    picture: Picture
    intrinsics: Intrinsics
    people: list[Truth]


@dataclass(frozen=True)
class Prediction:
    """M answers of one system about one person of one sample; hypothesis 0 is its deterministic answer.

    A system with one answer has M = 1. What a system doesn't say is None.
    """

    sample_id: str
    person: int
    """Index in ``Sample.people``."""
    points_m: Mapping[str, Float[np.ndarray, "hyps points 3"]]
    """Point set -> points on camera axes. Where they stand is the system's business: metrics align."""
    points_px: Mapping[str, Float[np.ndarray, "hyps points 2"]] = field(default_factory=dict)
    body: str | None = None
    pose_aa: Float[np.ndarray, "hyps 24 3"] | None = None
    betas: Float[np.ndarray, "hyps 10"] | None = None
    scores: Float[np.ndarray, "hyps"] | None = None
    """Larger is better."""
    expected_error_mm: Float[np.ndarray, "hyps"] | None = None
    """The system's own estimate of its MPJPE."""
    selected: int = 0
    """Chosen without any truth."""
