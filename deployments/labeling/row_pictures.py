"""Pictures of a row: the view that the models saw, and keypoints of detector and hypothesis drawn over it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from alignhmr.core.body.skeleton import KEYPOINT_BONES, KEYPOINTS
from alignhmr.core.perception.views import from_jpeg

_DETECTED, _SELECTED = (244, 162, 97), (42, 157, 143)
_CONFIDENT = 0.3


def drawn(row: Mapping[str, Any]) -> np.ndarray:
    """The row's view, RGB, with the detector's keypoints in orange and the selected hypothesis' in teal."""
    view = from_jpeg(row["view_jpeg"]).copy()
    x, y, side = _square(row)
    scale = view.shape[0] / side
    hyps = len(row["scores"]) if row["scores"] is not None else 0
    detected = np.asarray(row["keypoints_px"]).reshape(-1, 3)
    sure = detected[:, 2] >= _CONFIDENT
    _draw(view, (detected[:, :2] - (x - side / 2, y - side / 2)) * scale, sure, _DETECTED)
    if hyps:
        points = np.asarray(row["hypothesis_keypoints_px"]).reshape(hyps, len(KEYPOINTS), 2)[row["selected"]]
        _draw(view, (points - (x - side / 2, y - side / 2)) * scale, np.ones(len(points), bool), _SELECTED)
    return view


def jpeg_of(pixels: np.ndarray, quality: int = 85) -> bytes:
    return cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def write_pictures(row: Mapping[str, Any], folder: Path) -> list[Path]:
    """``SHA-PERSON-view.jpg`` and ``-drawn.jpg``."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{row['image_sha256'][:16]}-{row['person_index']}"
    files = [folder / f"{stem}-view.jpg", folder / f"{stem}-drawn.jpg"]
    files[0].write_bytes(row["view_jpeg"])
    files[1].write_bytes(jpeg_of(drawn(row)))
    return files


def _square(row: Mapping[str, Any]) -> tuple[float, float, float]:
    """Centre and side of the square that a view shows, in the picture's pixels."""

    from alignhmr.core.diffusion.condition import person_square_of

    (x, y), side = person_square_of(row["box_px"])
    return x, y, side


def _draw(view: np.ndarray, points: np.ndarray, sure: np.ndarray, color: tuple[int, int, int]) -> None:
    places = np.clip(np.nan_to_num(points), -9999, 9999).round().astype(int)
    for a, b in KEYPOINT_BONES:
        if sure[a] and sure[b]:
            cv2.line(view, places[a].tolist(), places[b].tolist(), color, 2, cv2.LINE_AA)
