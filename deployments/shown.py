"""The picture of a person that a vision-language model is given: what surrounds them, or what was drawn of them."""

import io

import numpy as np
from jaxtyping import Float, UInt8

from alignhmr.core.language.shown import Shown
from alignhmr.core.perception.drawings import drawn_person
from alignhmr.core.perception.views import with_views
from alignhmr.core.records import Person, Picture

_LEAST_PX = 28
"""Models refuse pictures of a few pixels, or ones too narrow for their patches."""


def shown_jpeg(picture: Picture, person: Person, shown: Shown) -> bytes:
    """The person as the model wants them shown, as a JPEG."""
    if not shown.drawn:
        return crop_jpeg(picture.pixels, person.box_px, shown.picture_px)
    if person.view is None:
        [person] = with_views(picture, [person])
    # Thin lines of a colour need all of its pixels.
    return _jpeg(drawn_person(person, shown.picture_px), quality=95, subsampling=0)


def crop_jpeg(
    pixels: UInt8[np.ndarray, "height width 3"], box_px: Float[np.ndarray, "4"], side_px: int
) -> bytes:
    """The person with a margin of an eighth of the box, as a JPEG of at most ``side_px`` a side."""
    from PIL import Image

    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = (float(value) for value in box_px)
    margin = max(x1 - x0, y1 - y0) / 8
    left, top = int(np.clip(x0 - margin, 0, width - 1)), int(np.clip(y0 - margin, 0, height - 1))
    right, bottom = int(np.clip(x1 + margin, left + 1, width)), int(np.clip(y1 + margin, top + 1, height))
    image = Image.fromarray(pixels[top:bottom, left:right])
    image.thumbnail((side_px, side_px))
    if min(image.size) < _LEAST_PX:
        image = image.resize((max(image.width, _LEAST_PX), max(image.height, _LEAST_PX)))
    return _jpeg(np.asarray(image), quality=90)


def _jpeg(pixels: UInt8[np.ndarray, "height width 3"], **how: int) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **how)
    return buffer.getvalue()
