"""What the models see of a person: a square of the picture around the box, at one size for all of them.

A model that wants fewer pixels shrinks it. It is small enough to travel with the person between processes and to be
kept in a label row, so that a model can be trained on what was labelled.
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from alignhmr.core.diffusion.condition import person_square_of
from alignhmr.core.errors import InputError
from alignhmr.core.geometry.crops import SquareCrop
from alignhmr.core.records import Person, Picture

VIEW_PX = 256
"""Side of a view."""
_QUALITY = 92


def with_views(picture: Picture, people: Sequence[Person]) -> list[Person]:
    """The same people with what there is to be seen of them."""
    return [replace(person, view=view_of(picture, person.box_px)) for person in people]


def view_of(picture: Picture, box_px: Float[np.ndarray, "4"]) -> UInt8[np.ndarray, "view view 3"]:
    """The square around a box, black outside the picture."""
    return SquareCrop(*person_square_of(box_px)).cut(picture.pixels, VIEW_PX)


def shrunk(view: UInt8[np.ndarray, "view view 3"], side: int) -> UInt8[np.ndarray, "side side 3"]:
    """The view at another size, each pixel the mean of what it covers."""
    if view.shape[0] == side:
        return view
    return cv2.resize(
        view, (side, side), interpolation=cv2.INTER_AREA if side < len(view) else cv2.INTER_LINEAR
    )


def to_jpeg(view: UInt8[np.ndarray, "view view 3"]) -> bytes:
    """For a row; about 15 kB."""
    return cv2.imencode(".jpg", view[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()


def from_jpeg(data: bytes) -> UInt8[np.ndarray, "view view 3"]:
    """Inverse of ``to_jpeg``, but for what JPEG loses. InputError for bytes that are no picture."""
    view = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    if view is None:
        raise InputError(f"a view of {len(data)} bytes is no readable JPEG; label the picture again")
    return view
