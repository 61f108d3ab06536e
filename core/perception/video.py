"""Frames of a video as RGB arrays, one at a time."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from alignhmr.core.errors import InputError


def frames(
    path: Path, every: int = 1, limit: int | None = None, start: int = 0
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Frames `start`, `start + every` ... of the video, upright, at most `limit` of them.

    Raises InputError before the first frame where the file is no video that can be read.
    """
    if every < 1 or start < 0:
        raise ValueError(f"every must be at least 1 and start at least 0, got {every} and {start}")
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            why = "no such file" if not Path(path).is_file() else "not a video that can be decoded"
            raise InputError(f"{path}: {why}; name an MP4, MOV, AVI or WebM file", code="unreadable_video")
        index = given = 0
        # grab() decodes without converting: skipped frames cost half.
        while (limit is None or given < limit) and capture.grab():
            if index >= start and (index - start) % every == 0:
                read, frame = capture.retrieve()
                if not read:
                    break
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
                given += 1
            index += 1
    finally:
        capture.release()
