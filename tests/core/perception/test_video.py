from pathlib import Path

import cv2
import numpy as np
import pytest

from alignhmr.core.errors import InputError
from alignhmr.core.perception.video import frames


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames, each of one red level: 0, 20, 40 ..."""
    path = tmp_path_factory.mktemp("video") / "levels.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for index in range(12):
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[..., 2] = 20 * index
        writer.write(frame)
    writer.release()
    return path


def levels(path: Path, **choice: int) -> list[int]:
    return [round(float(frame[..., 0].mean()) / 20) for frame in frames(path, **choice)]


def test_every_frame_once_in_rgb(clip: Path) -> None:
    assert levels(clip) == list(range(12))
    first = next(frames(clip, start=10))
    assert first.shape == (48, 64, 3) and first[..., 0].mean() > 150 > 50 > first[..., 2].mean()


def test_choice(clip: Path) -> None:
    assert levels(clip, every=5) == [0, 5, 10]
    assert levels(clip, every=4, start=1, limit=2) == [1, 5]
    assert levels(clip, limit=0) == []


@pytest.mark.parametrize("content", [None, b"", b"<html>no video</html>"])
def test_no_video(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="no such file" if content is None else "not a video") as error:
        next(frames(path))
    assert error.value.code == "unreadable_video"


def test_senseless_steps_are_refused(clip: Path) -> None:
    with pytest.raises(ValueError, match="every must be at least 1"):
        next(frames(clip, every=0))
