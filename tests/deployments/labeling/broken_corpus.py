"""At least 300 broken pictures of 25 kinds, and what each of them must end as. Good ones lie among them."""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

Case = tuple[str, bytes, str | None]
"""Ending of the name, bytes, and the code of its error row; None: it is good; ANY: of some error row; READ: it is
read, whatever the fake detector makes of its colours."""
ANY, READ = "any", "read"
PERSON = 20


def write_corpus(folder: Path, each: int = 13) -> dict[str, str | None]:
    """Writes ``each`` pictures of every kind; file name -> code, None for those that are good."""
    folder.mkdir(parents=True, exist_ok=True)
    expected: dict[str, str | None] = {}
    for number in range(each):
        for kind, (ending, data, code) in _kinds(number):
            name = f"{kind} {number:02}{ending}"
            (folder / name).write_bytes(data)
            expected[name] = code
        for name, code in _special(folder, number):
            expected[name] = code
    return expected


def _pixels(number: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """One person for the fake detector, and bytes of their own."""
    pixels = np.full((size[1], size[0], 3), 100, np.uint8)
    pixels[: size[1] // 2] = PERSON, number % 256, 7
    return pixels


def _saved(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _kinds(number: int) -> Iterator[tuple[str, Case]]:
    image = Image.fromarray(_pixels(number))
    # Lossless: what the detector is told is in the pixels.
    png, jpeg = _saved(image, "PNG"), _saved(image, "JPEG", quality=95) + bytes([number])
    noise = np.random.default_rng(number).bytes(3000)
    yield "good png", (".png", png, None)
    yield "truncated jpeg", (".jpg", jpeg[: len(jpeg) // 2 + number], "truncated")
    yield "truncated png", (".png", png[: len(png) - 30 - number % 8], "truncated")
    yield "header only", (".jpg", jpeg[: 10 + number], ANY)
    yield "noise", (".jpg", noise, "not_an_image")
    yield "html", (".jpg", f"<!doctype html><html>{number} not found</html>".encode(), "not_an_image")
    yield "json error", (".jpg", f'{{"error": "expired", "id": {number}}}'.encode(), "not_an_image")
    yield (
        "svg",
        (".png", f"<svg xmlns='http://www.w3.org/2000/svg' width='{number + 1}'/>".encode(), "not_an_image"),
    )
    yield "pdf", (".jpg", b"%PDF-1.7\n" + noise, "not_an_image")
    yield "executable", (".jpg", b"\x7fELF" + noise, "not_an_image")
    yield "zip", (".jpg", b"PK\x03\x04" + noise, "not_an_image")
    yield "video", (".jpg", b"\x00\x00\x00\x20ftypisom" + noise, "not_an_image")
    yield "all zeros", (".jpg", bytes(500 + number), "not_an_image")
    yield "bomb", (".png", _png_header(60_000 + number, 60_000), "too_large")
    yield "huge", (".png", _png_header(9000 + number, 9000), "too_large")
    yield "overflowing size", (".png", _png_header(2**31 - 1 - number, 2**31 - 1), ANY)
    yield "no pixels", (".png", _png_header(0, 0) + bytes([number]), ANY)
    yield "tiny", (".png", _saved(Image.new("RGB", (3, 2), (number, 0, 0)), "PNG"), "too_small")
    yield "broken checksum", (".png", _flipped(png, number), "truncated")
    yield "broken huffman", (".jpg", b"\xff\xd8\xff\xdb\x00\x43\x00" + noise[:200], ANY)
    yield "bad exif", (".jpg", _with_exif(jpeg, noise[:100]), READ)
    yield "jpeg in png", (".png", jpeg, READ)
    yield "cmyk", (".jpg", _saved(image.convert("CMYK"), "JPEG") + bytes([number]), READ)
    yield "palette", (".png", _saved(image.quantize(8), "PNG"), READ)
    yield "transparent", (".png", _saved(_rgba(number), "PNG"), READ)
    yield "sixteen bit", (".png", _saved(_sixteen(number), "PNG"), READ)
    yield "animated", (".gif", _gif(number), READ)
    yield (
        "tiff float",
        (".tif", _saved(Image.fromarray(np.full((40, 40), number / 60, np.float32)), "TIFF"), READ),
    )
    yield "recursive icns", (".jpg", b"icns" + struct.pack(">I", 2**31) + noise, "not_an_image")
    yield "ünïcödé 写真 \U0001f937", (".png", _saved(Image.fromarray(_pixels(number, (50, 64))), "PNG"), None)


def _special(folder: Path, number: int) -> Iterator[tuple[str, str]]:
    empty = folder / f"zero bytes {number:02}.jpg"
    empty.write_bytes(b"")
    yield empty.name, "empty"
    dangling = folder / f"dangling {number:02}.jpg"
    dangling.symlink_to(folder / f"nowhere {number}")
    yield dangling.name, "missing"
    loop = folder / f"loop {number:02}.jpg"
    loop.symlink_to(loop)
    yield loop.name, "read_failed"
    pipe = folder / f"pipe {number:02}.jpg"
    os.mkfifo(pipe)
    yield pipe.name, "not_a_file"
    giant = folder / f"giant {number:02}.jpg"
    with giant.open("wb") as file:
        file.truncate((1 << 30) + number)  # sparse: it takes no room
    yield giant.name, "too_large"
    if os.getuid() != 0:
        locked = folder / f"locked {number:02}.jpg"
        locked.write_bytes(b"x")
        locked.chmod(0)
        yield locked.name, "forbidden"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_header(width: int, height: int) -> bytes:
    """A PNG of this size, with the pixels of a few lines: what a bomb looks like before it goes off."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(10_000))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _flipped(png: bytes, number: int) -> bytes:
    at = png.index(b"IDAT") + 8 + number % 4
    return png[:at] + bytes([png[at] ^ 0xFF]) + png[at + 1 :]


def _with_exif(jpeg: bytes, junk: bytes) -> bytes:
    data = b"Exif\x00\x00" + junk
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data + jpeg[2:]


def _rgba(number: int) -> Image.Image:
    return Image.fromarray(np.dstack([_pixels(number), np.full((64, 48), 40 + number, np.uint8)]))


def _sixteen(number: int) -> Image.Image:
    return Image.fromarray(np.full((40, 40), 1000 * number + 7, np.uint16))


def _gif(number: int) -> bytes:
    frames = [Image.new("RGB", (32, 32), (n * 20, number, 0)) for n in range(5)]
    return _saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)
