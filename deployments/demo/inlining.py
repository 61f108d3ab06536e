"""Pictures as data URIs, no larger than a page needs them."""

import base64
import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image

QUALITY = 80
"""WebP. Below 75 the soft shadows of the side views show bands."""


def data_uri(pixels: UInt8[np.ndarray, "height width 3"], longest_px: int = 720) -> str:
    """``data:image/webp;base64,...`` of the picture, scaled down to ``longest_px``; never up."""
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    picture.save(encoded, "WEBP", quality=QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(encoded.getvalue()).decode("ascii")
