"""The four domains of made people, as values: what is drawn, from which ranges, and what shifts between them.

``studio``  One person in plain light before a plain or roomy background, all of the body in the picture, long
            lenses, little noise. The pictures a model should be good at first.
``wild``    One or two people anywhere: objects in their hands and before them, clutter, bodies cut off at the
            picture's edge, procedural and recombined poses, any lens and height, motion blur, low light, strong
            JPEG. The domain to compare models on.
``crowd``   Three to six people close together, seen from a little above: people hide people.
``target``  What the other three never show: its own motion clips, its own scenes (snow, warehouse), its own
            clothing (work wear, hats), steeper cameras with shorter lenses, colder light. A model is adapted to
            it without labels.

Splits are by motion clip and by family of scenes, never by frame: ``train`` and ``test`` share no clip and no
family. The clips of ``target`` are in no other domain, and no model is trained on them before adaptation.
"""

from dataclasses import dataclass
from typing import Literal

from alignhmr.core.errors import InputError
from alignhmr.core.synthetic.motion import HELD_OUT_CLIPS, TARGET_CLIPS, TARGET_TEST_CLIPS

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")
Span = tuple[float, float]
"""Low and high end of a uniform draw."""


@dataclass(frozen=True)
class Domain:
    """Ranges and shares; angles in radians, lengths in metres, probabilities 0..1."""

    name: str
    scenes: dict[Split, tuple[str, ...]]
    """Families of scenes (``scenes.py``) of each split."""
    wardrobes: tuple[str, ...]
    people: tuple[int, int]
    poses: dict[str, float]
    """Share of each kind of pose: mocap, recombined, procedural, calm, seated."""
    jitter: float
    camera_height_m: Span
    focal_share: Span
    """Focal length over the picture's diagonal, drawn evenly in its logarithm."""
    fill: Span
    """Height of the main person over the picture's; above 1, the body is cut off."""
    roll_rad: float
    """Standard deviation."""
    off_center: float
    """How far the person's middle may lie from the picture's, as a share of half the picture."""
    held: float
    occluder: float
    clutter: tuple[int, int]
    shadow_softness: Span
    dark: float
    """Probability of low light."""
    motion_blur: float
    noise: Span
    """Standard deviation in 0..255 at mid-grey."""
    white_balance: float
    cold: float
    """Shift of the light towards blue."""
    jpeg_quality: tuple[int, int]


_INDOOR_TRAIN = ("flat", "office", "corridor")
_OUTDOOR_TRAIN = ("street", "park", "beach")

DOMAINS: dict[str, Domain] = {
    domain.name: domain
    for domain in (
        Domain(
            name="studio",
            scenes={"train": ("backdrop", "flat"), "test": ("cyclorama", "gym")},
            wardrobes=("casual", "sport", "office", "summer"),
            people=(1, 1),
            poses={"mocap": 0.5, "recombined": 0.1, "procedural": 0.05, "calm": 0.35},
            jitter=0.5,
            camera_height_m=(0.8, 1.8),
            focal_share=(0.9, 2.2),
            fill=(0.55, 0.85),
            roll_rad=0.01,
            off_center=0.08,
            held=0.1,
            occluder=0.0,
            clutter=(0, 1),
            shadow_softness=(2.0, 4.0),
            dark=0.0,
            motion_blur=0.0,
            noise=(0.5, 2.0),
            white_balance=0.03,
            cold=0.0,
            jpeg_quality=(85, 96),
        ),
        Domain(
            name="wild",
            scenes={
                "train": _INDOOR_TRAIN + _OUTDOOR_TRAIN,
                "test": ("gym", "cafe", "square", "forest"),
            },
            wardrobes=("casual", "sport", "office", "summer", "outdoor"),
            people=(1, 2),
            poses={"mocap": 0.4, "recombined": 0.2, "procedural": 0.12, "calm": 0.18, "seated": 0.1},
            jitter=1.0,
            camera_height_m=(0.3, 3.2),
            focal_share=(0.55, 1.8),
            fill=(0.3, 1.45),
            roll_rad=0.07,
            off_center=0.45,
            held=0.35,
            occluder=0.35,
            clutter=(2, 7),
            shadow_softness=(0.5, 3.0),
            dark=0.2,
            motion_blur=0.25,
            noise=(1.0, 9.0),
            white_balance=0.12,
            cold=0.0,
            jpeg_quality=(45, 94),
        ),
        Domain(
            name="crowd",
            scenes={"train": ("office", "street", "park"), "test": ("square", "cafe")},
            wardrobes=("casual", "office", "summer", "outdoor"),
            people=(3, 6),
            poses={"mocap": 0.45, "recombined": 0.12, "procedural": 0.03, "calm": 0.4},
            jitter=0.8,
            camera_height_m=(1.2, 3.4),
            focal_share=(0.7, 1.8),
            fill=(0.55, 1.05),
            roll_rad=0.03,
            off_center=0.15,
            held=0.25,
            occluder=0.12,
            clutter=(0, 4),
            shadow_softness=(0.5, 3.0),
            dark=0.1,
            motion_blur=0.1,
            noise=(1.0, 6.0),
            white_balance=0.08,
            cold=0.0,
            jpeg_quality=(60, 94),
        ),
        Domain(
            name="target",
            scenes={"train": ("snow", "warehouse"), "test": ("frozen_lake", "hangar")},
            wardrobes=("workwear",),
            people=(1, 2),
            poses={"mocap": 0.6, "recombined": 0.2, "calm": 0.2},
            jitter=0.8,
            camera_height_m=(1.9, 4.0),
            focal_share=(0.45, 0.8),
            fill=(0.35, 0.9),
            roll_rad=0.05,
            off_center=0.3,
            held=0.3,
            occluder=0.25,
            clutter=(1, 6),
            shadow_softness=(0.4, 2.0),
            dark=0.15,
            motion_blur=0.2,
            noise=(2.0, 8.0),
            white_balance=0.06,
            cold=0.14,
            jpeg_quality=(50, 88),
        ),
    )
}


def domain_named(name: str) -> Domain:
    """The domain of that name; InputError lists the names otherwise."""
    if name not in DOMAINS:
        raise InputError(f"unknown domain {name!r}; choose from {', '.join(DOMAINS)}")
    return DOMAINS[name]


def belongs(clip: str, domain: str, split: Split) -> bool:
    """Whether a motion clip may be shown there. A clip belongs to one split of one side."""
    if domain == "target":
        return clip in TARGET_CLIPS and (clip in TARGET_TEST_CLIPS) == (split == "test")
    if clip in TARGET_CLIPS:
        return False
    return (clip in HELD_OUT_CLIPS) == (split == "test")
