"""Annotated pictures of a data set before any pixel is read, and how they become samples."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alignhmr.core.errors import ImageError, InputError
from alignhmr.core.perception import images
from alignhmr.core.records import Intrinsics
from alignhmr.core.truth.records import Sample, Truth


@dataclass(frozen=True)
class Frame:
    """One picture of a data set and what its annotations say; `read` adds the pixels."""

    id: str
    group: str
    domain: str
    image: Path
    intrinsics: Intrinsics | None
    """None where the data set has no camera: the picture's own EXIF or the default is taken."""
    people: list[Truth]

    def read(self) -> Sample:
        """The sample; InputError names the picture where it is missing or can't be decoded."""
        from alignhmr.core.geometry.cameras import intrinsics_for

        try:
            picture = images.decode(self.image.read_bytes())
        except OSError as missing:
            raise InputError(
                f"{self.domain} names the picture {self.image}, which can't be read "
                f"({missing.strerror or missing}); unpack the pictures of this split beside its annotations"
            ) from missing
        except ImageError as broken:
            raise InputError(f"{self.image}: {broken}", code=broken.code) from broken
        width, height = picture.size
        intrinsics = self.intrinsics or intrinsics_for(width, height, exif_focal_px=picture.exif_focal_px)
        return Sample(self.id, self.group, self.domain, picture, intrinsics, self.people)


def choose(frames: Iterable[Frame], count: int | None, seed: int) -> Iterator[Frame]:
    """All frames, or `count` of them drawn evenly by the seed, in the data set's order.

    One pass that holds `count` frames (Vitter's algorithm R): a data set may have millions.
    """
    if count is None:
        yield from frames
        return
    generator = np.random.default_rng(seed)
    kept: list[tuple[int, Frame]] = []
    for index, frame in enumerate(frames):
        if len(kept) < count:
            kept.append((index, frame))
        elif (place := int(generator.integers(index + 1))) < count:
            kept[place] = (index, frame)
    yield from (frame for _, frame in sorted(kept, key=lambda pair: pair[0]))
