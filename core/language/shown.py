"""How a vision-language model wants people shown; apart from what loads models."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shown:
    """How people are shown to a model."""

    drawn: bool
    """With the detector's keypoints drawn in (``perception/drawings.py``)."""
    picture_px: int
    """Side of the square, where they are drawn."""
