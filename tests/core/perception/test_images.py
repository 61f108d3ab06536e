"""Decoding: every orientation upright, every mode RGB, every broken file one error with its code."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alignhmr.core.errors import ImageError, NoImagesError
from alignhmr.core.perception.images import decode, iter_image_files


def encoded(image: Image.Image, format_: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def sample(width: int = 40, height: int = 30) -> Image.Image:
    """Four corners of four colours: it shows any turn or mirror."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    pixels[height // 2 :, width // 2 :] = (255, 255, 255)
    return Image.fromarray(pixels)


STORED = {
    1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # fmt: skip


@pytest.mark.parametrize("orientation", STORED)
def test_every_exif_orientation_gives_the_same_upright_picture(orientation: int) -> None:
    way = STORED[orientation]
    stored = sample() if way is None else sample().transpose(way)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode(encoded(stored, exif=exif))
    np.testing.assert_array_equal(picture.pixels, np.asarray(sample()))


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGBA", "LA", "YCbCr"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    format_ = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    pixels = decode(encoded(sample().convert(mode), format_)).pixels
    assert pixels.shape == (30, 40, 3) and pixels.dtype == np.uint8
    assert pixels[25, 35].min() > 200  # the white corner stays white


def test_sixteen_bits_are_scaled_not_cut_off() -> None:
    grey = np.tile(np.linspace(0, 65535, 40).astype(np.uint16), (30, 1))
    pixels = decode(encoded(Image.fromarray(grey))).pixels[0, :, 0].astype(int)
    assert pixels[0] == 0 and pixels[-1] == 255 and (np.diff(pixels) >= 0).all() and len(set(pixels)) == 40


def test_transparent_is_white_and_of_an_animation_the_first_frame_counts() -> None:
    clear = Image.new("RGBA", (20, 20), (10, 20, 30, 0))
    assert decode(encoded(clear)).pixels.min() == 255
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert tuple(decode(data).pixels[5, 5]) == (254, 0, 0) or tuple(decode(data).pixels[5, 5]) == (255, 0, 0)


@pytest.mark.parametrize("orientation", [1, 6])
def test_focal_length_from_exif(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0xA405] = 26
    focal = decode(encoded(sample(400, 300), "JPEG", exif=exif)).exif_focal_px
    assert focal == pytest.approx(26 / 43.2666 * 500, rel=1e-4)
    assert decode(encoded(sample())).exif_focal_px is None


JPEG = encoded(sample(200, 200), "JPEG")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


_SIZE = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
HUGE_HEADER = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", _SIZE) + _chunk(b"IDAT", zlib.compress(b"\0" * 999))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>not found</html>", "not_an_image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not_an_image"),
        (b"\x00" * 500, "not_an_image"),
        (JPEG[: len(JPEG) // 2], "truncated"),
        (encoded(sample(200, 200))[:300], "truncated"),
        (encoded(Image.new("RGB", (5, 300))), "too_small"),
        (HUGE_HEADER, "too_large"),
    ],
)
def test_broken_files_have_one_error_with_a_code(data: bytes, code: str) -> None:
    with pytest.raises(ImageError) as raised:
        decode(data)
    assert raised.value.code == code and "\n" not in str(raised.value)


def test_the_limit_on_pixels_is_judged_before_decoding() -> None:
    bomb = encoded(Image.new("1", (9000, 9000)))
    assert len(bomb) < 20_000
    with pytest.raises(ImageError, match="81 million pixels, more than the 64 million"):
        decode(bomb)
    assert decode(encoded(sample()), max_pixels=1200).size == (40, 30)


def test_damaged_exif_costs_nothing() -> None:
    data = encoded(sample(100, 100), "JPEG", exif=b"Exif\x00\x00" + b"\xff" * 40)
    assert decode(data).size == (100, 100)


def test_identity_is_the_bytes_digest() -> None:
    assert decode(JPEG).sha256 == decode(JPEG).sha256 != decode(encoded(sample())).sha256


def test_listing(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.JPG", "deep/a.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert [p.name for p in iter_image_files(tmp_path)] == ["b.JPG", "a.png"]
    assert [p.name for p in iter_image_files(str(tmp_path / "*.JPG"))] == ["b.JPG"]
    with pytest.raises(NoImagesError, match="no file or folder"):
        iter_image_files(tmp_path / "none")
    (tmp_path / "deep" / "a.png").unlink()
    with pytest.raises(NoImagesError, match="no images in"):
        iter_image_files(tmp_path / "deep")
