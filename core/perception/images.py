"""Encoded bytes to an upright RGB picture, in bounded memory, or one ``ImageError`` with a code.

Codes: ``empty``, ``not_an_image``, ``unsupported``, ``truncated``, ``too_large``, ``too_small``.
The size is read and judged before any pixel is decoded: Pillow itself only warns about bombs between one
and two times its limit.
"""

import glob
import hashlib
import io
import math
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from alignhmr.core.errors import ImageError, NoImagesError
from alignhmr.core.records import Picture

FORMATS: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
"""What is decoded. What many phones write as .jpg (MPO) begins with a plain JPEG, which is read."""
SUFFIXES: frozenset[str] = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".mpo"}
)
MAX_PIXELS = 64_000_000
MIN_SIDE = 16
_FULL_FRAME_DIAGONAL_MM = math.hypot(36, 24)
_EXIF_IFD, _FOCAL_35MM = 0x8769, 0xA405


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS, min_side: int = MIN_SIDE) -> Picture:
    """The first frame, upright, RGB; EXIF's focal length in pixels where it is told. Raises ImageError."""
    if not data:
        raise ImageError("the file is empty; get the picture anew", code="empty")
    with warnings.catch_warnings():
        # Pillow warns about odd EXIF and palettes; what matters is raised, and judged below.
        warnings.simplefilter("ignore")
        image = _open(data)
        width, height = image.size
        if width * height > max_pixels:
            raise ImageError(
                f"the picture has {width} x {height} = {width * height / 1e6:.0f} million pixels, more than the"
                f" {max_pixels / 1e6:.0f} million allowed; make it smaller",
                code="too_large",
            )
        if min(width, height) < min_side:
            raise ImageError(
                f"the picture is {width} x {height} pixels; each side must have at least {min_side}; give a larger one",
                code="too_small",
            )
        try:
            # A draft: JPEG decoders then don't keep more than is asked for.
            image.load()
            exif = image.getexif()
            # In place: the picture as it stands would be copied.
            ImageOps.exif_transpose(image, in_place=True)
            pixels = np.array(_rgb(image))
        except (
            OSError,
            ValueError,
            SyntaxError,
            EOFError,
            MemoryError,
            Image.DecompressionBombError,
        ) as error:
            raise ImageError(
                f"the picture is damaged or cut short ({error}); get it anew", code="truncated"
            ) from error
    focal_px = _exif_focal_px(exif, pixels.shape[1], pixels.shape[0])
    return Picture(pixels, hashlib.sha256(data).hexdigest(), focal_px)


def iter_image_files(source: Path | str) -> list[Path]:
    """Image files of a folder (recursively), a glob, or one file, by name; NoImagesError if there are none."""
    path = Path(source)
    if path.is_dir():
        files = [p for p in sorted(path.rglob("*")) if p.suffix.lower() in SUFFIXES]
        if not files:
            seen = sum(1 for p in path.rglob("*") if p.is_file())
            raise NoImagesError(
                f"no images in {source}: {seen} files, none ending in {', '.join(sorted(SUFFIXES))};"
                " name a folder of photos"
            )
        return files
    if path.exists():
        return [path]
    files = [Path(p) for p in sorted(glob.glob(str(source), recursive=True))]
    if not files:
        raise NoImagesError(f"no file or folder {source}; check the path")
    return files


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        known = ", ".join(FORMATS)
        raise ImageError(
            f"not an image that can be read (it begins with {data[:8]!r}); readable are {known}",
            code="not_an_image",
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"the picture is too large to decode ({error}); make it smaller", code="too_large"
        ) from error
    except (OSError, ValueError, SyntaxError, EOFError, NotImplementedError, OverflowError) as error:
        raise ImageError(
            f"the picture's header is damaged ({error}); get it anew", code="truncated"
        ) from error


def _rgb(image: Image.Image) -> Image.Image:
    """RGB, eight bits. Transparency is laid on white; 16-bit grey is scaled, not cut off."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        grey = np.asarray(image, dtype=np.float64)
        # Integers of more than 8 bits span 16 in PNG and TIFF; floats are taken over their own range.
        top = (
            65535.0
            if image.mode != "F" and grey.max(initial=0) > 255
            else max(float(grey.max(initial=1)), 1e-9)
        )
        top = 255.0 if image.mode != "F" and grey.max(initial=0) <= 255 else top
        return Image.fromarray((np.clip(grey / top, 0, 1) * 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        whole = image.convert("RGBA")
        ground = Image.new("RGBA", whole.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, whole).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _exif_focal_px(exif: Image.Exif, width: int, height: int) -> float | None:
    """From the focal length in 35 mm terms: the same diagonal field of view, in this picture's pixels."""
    try:
        focal_mm = float(exif.get_ifd(_EXIF_IFD).get(_FOCAL_35MM, 0))
    except (TypeError, ValueError, KeyError, OSError, ZeroDivisionError):
        return None
    # Below 4 mm or above 2 m it is a writer's mistake, not a lens.
    if not (math.isfinite(focal_mm) and 4 <= focal_mm <= 2000):
        return None
    return focal_mm / _FULL_FRAME_DIAGONAL_MM * math.hypot(width, height)
