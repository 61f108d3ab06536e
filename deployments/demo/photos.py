"""The demo's photos: frames of real videos of people, and two pictures that must cost the others nothing."""

from pathlib import Path

import cv2
import numpy as np

from alignhmr.core.perception.assets import fetch

SOURCES: tuple[str, ...] = (
    "sports2d demo video, BSD-3-Clause, David Pagnon and contributors",
    "pose2sim demo videos (four cameras), BSD-3-Clause, David Pagnon and contributors",
)
BROKEN, EMPTY = "broken.jpg", "nobody.jpg"


def write_photos(folder: Path, count: int) -> list[Path]:
    """About ``count`` frames, shared out over the videos, then one cut-off file and one without people."""
    folder.mkdir(parents=True, exist_ok=True)
    # The outdoor walker is one video among nine, and the most like a photo: a third of the frames are its.
    walker = max(1, count // 3)
    paths = _frames("walk", fetch("sports2d"), walker, folder)
    paths += _frames("cameras", fetch("pose2sim"), max(1, count - walker), folder)
    (folder / BROKEN).write_bytes(paths[0].read_bytes()[:4000])
    height, width = 720, 1280
    dusk = np.linspace(210, 60, height)[:, None, None] * np.array([0.9, 0.8, 0.75])
    cv2.imwrite(str(folder / EMPTY), np.broadcast_to(dusk, (height, width, 3)).astype(np.uint8))
    return paths


def _frames(label: str, folder_of: Path, count: int, folder: Path) -> list[Path]:
    """``count`` frames in all, evenly over each video of an asset, as JPEG."""
    videos, paths = sorted(folder_of.rglob("*.mp4")), []
    for index, video in enumerate(videos):
        share = count // len(videos) + (index < count % len(videos))
        capture = cv2.VideoCapture(str(video))
        total = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        wanted = {int((k + 0.5) * total / share) for k in range(share)}
        place = video.relative_to(folder_of)
        name = "-".join([label, *place.with_suffix("").parts])
        for number in range(total):
            # Read on rather than seek: these videos have few key frames, and a seek may miss.
            if not capture.grab():
                break
            if number in wanted:
                _, frame = capture.retrieve()
                path = folder / f"{name}-{number:03d}.jpg"
                cv2.imwrite(str(path), frame, [cv2.IMWRITE_JPEG_QUALITY, 92])
                paths.append(path)
        capture.release()
    return paths
