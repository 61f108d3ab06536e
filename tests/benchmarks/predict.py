"""What one photo costs: ms per person warm, for 1 and for 20 hypotheses, and the cold time of the command.

Real frames of the demo videos, everything from the decoded picture to ranked hypotheses. 1 and 20
hypotheses are timed in turn on the same picture, so that a slow minute of the machine hits both. Also told:
the same without detection, which the two share.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import torch
from record import finish

from alignhmr.core.perception.assets import fetch
from alignhmr.core.perception.detector import own_threads
from alignhmr.core.perception.images import decode
from alignhmr.core.records import Picture
from alignhmr.core.recovery import Recoverer


def frames(count: int) -> list[bytes]:
    """JPEG bytes of frames spread over the demo videos."""
    videos = sorted([*fetch("pose2sim").rglob("*.mp4"), *fetch("sports2d").rglob("*.mp4")])
    encoded = []
    for i in range(count):
        capture = cv2.VideoCapture(str(videos[i % len(videos)]))
        capture.set(cv2.CAP_PROP_POS_FRAMES, 10 + 17 * (i // len(videos)))
        read, frame = capture.read()
        if read:
            encoded.append(cv2.imencode(".jpg", frame)[1].tobytes())
    return encoded


def timed(recoverer: Recoverer, picture: Picture, hypotheses: int) -> tuple[float, float, int]:
    """(seconds with detection, seconds without, people)."""
    start = time.perf_counter()
    people = recoverer.find(picture)
    found = time.perf_counter()
    recoverer.recover(picture, people, hypotheses=hypotheses)
    end = time.perf_counter()
    return end - start, end - found, len(people)


def cold_seconds(photo: bytes, runs: int) -> float:
    """Median wall time of ``alignhmr predict PHOTO`` in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        path.write_bytes(photo)
        command = [sys.executable, "-m", "alignhmr", "predict", str(path), "-o", f"{folder}/out"]
        times = []
        for _ in range(runs):
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - start)
        return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ends within 60 s")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)  # as the command does
    photos = frames(9 if quick else 45)
    recoverer = Recoverer.load(device="cpu", threads=own_threads())
    pictures = [decode(photo) for photo in photos]
    for hypotheses in (1, 20):
        timed(recoverer, pictures[0], hypotheses)
    total: dict[int, list[float]] = {1: [], 20: []}
    alone: dict[int, list[float]] = {1: [], 20: []}
    people = 0
    for picture in pictures:
        for hypotheses in (1, 20):
            whole, recovery, count = timed(recoverer, picture, hypotheses)
            if count:
                total[hypotheses].append(1000 * whole / count)
                alone[hypotheses].append(1000 * recovery / count)
        people += count
    values = {
        "cold_s": round(cold_seconds(photos[0], 2 if quick else 5), 2),
        "ms_1": round(statistics.median(total[1]), 1),
        "ms_20": round(statistics.median(total[20]), 1),
        "people": people,
        "ms_1_without_detection": round(statistics.median(alone[1]), 1),
        "ms_20_without_detection": round(statistics.median(alone[20]), 1),
        "photos": len(pictures),
        "threads": own_threads(),
        "torch_threads": torch.get_num_threads(),
    }
    finish("predict", values, quick=quick)


if __name__ == "__main__":
    main()
