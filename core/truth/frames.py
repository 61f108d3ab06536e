"""Annotated pictures of a data set before any pixel is read, and how they become samples."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

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
    """Their boxes may reach out of the picture: `read` cuts them."""
    quarter_turns: int = 0
    """Clockwise, from the file to the upright picture that the annotations mean."""

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
        if self.quarter_turns:
            turned = np.ascontiguousarray(np.rot90(picture.pixels, -self.quarter_turns))
            picture = replace(picture, pixels=turned)
        width, height = picture.size
        people = [
            replace(person, box_px=np.clip(person.box_px, 0, [width, height] * 2).astype(np.float32))
            for person in self.people
        ]
        intrinsics = self.intrinsics or intrinsics_for(width, height, exif_focal_px=picture.exif_focal_px)
        return Sample(self.id, self.group, self.domain, picture, intrinsics, people)


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


def box_around(points_px: Float[np.ndarray, "points 2"], margin: float = 0.1) -> Float[np.ndarray, "4"]:
    """Box around the known points, wider by that share of its longer side: joints end inside the body."""
    low, high = np.nanmin(points_px, 0), np.nanmax(points_px, 0)
    pad = margin * (high - low).max()
    return np.concatenate([low - pad, high + pad]).astype(np.float32)


def project_px(
    points_cam_m: Float[np.ndarray, "points 3"], camera: Intrinsics
) -> Float[np.ndarray, "points 2"]:
    """Pixels of camera-frame points; NaN behind the camera."""
    depth = np.where(points_cam_m[:, 2:] > 0, points_cam_m[:, 2:], np.nan)
    return points_cam_m[:, :2] / depth * camera.focal_px + np.array(camera.center_px)


def pinhole(matrix: Float[np.ndarray, "3 3"]) -> Intrinsics:
    """Intrinsics of a camera matrix; its two focal lengths are averaged, and skew is not known here."""
    matrix = np.asarray(matrix, np.float64)
    return Intrinsics(
        float((matrix[0, 0] + matrix[1, 1]) / 2), (float(matrix[0, 2]), float(matrix[1, 2])), "given"
    )


def load_json(path: Path, what: str) -> Any:
    """The content of a JSON file; InputError where it is missing or cut short."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as missing:
        raise InputError(f"{path} can't be read ({missing.strerror or missing}); it is {what}") from missing
    except ValueError as broken:
        raise InputError(f"{path} is no whole JSON file ({broken}); it is {what}, get it anew") from broken
