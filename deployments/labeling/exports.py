"""Label rows in forms that other tools read: COCO's keypoint JSON, and one ``.npz`` for each picture."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from alignhmr.core.body.skeleton import KEYPOINT_BONES, KEYPOINTS

_COCO = 17
"""COCO knows the first of our keypoints, under the same names and in the same order."""
_HYPOTHESES = {"pose_aa": (24, 3), "betas": (10,), "transl_cam_m": (3,), "scores": (), "expected_error_mm": (),
               "hypothesis_keypoints_px": (len(KEYPOINTS), 2)}  # fmt: skip
_PERSON = {"box_px": (4,), "keypoints_px": (len(KEYPOINTS), 3), "crop_px": (3,), "center_px": (2,),
           "selected_joints_cam_m": (24, 3), "joint_spread_mm": (24,)}  # fmt: skip
Row = Mapping[str, Any]


def write_coco(rows: Iterable[Row], path: Path) -> dict[str, int]:
    """One JSON with ``images``, ``annotations`` and ``categories``; written as it comes, so that memory stays flat.

    ``keypoints`` are the detector's (v = 2 above a confidence of 0.5, 1 above 0.05, else 0); ``smpl`` is the selected
    hypothesis, camera frame, metres.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    spool = path.with_name(path.name + ".annotations.part")
    images = people = 0
    with unfinished.open("w", encoding="utf-8") as file, spool.open("w+", encoding="utf-8") as annotations:
        category = {
            "id": 1, "name": "person", "supercategory": "person", "keypoints": list(KEYPOINTS[:_COCO]),
            "skeleton": [[a + 1, b + 1] for a, b in KEYPOINT_BONES if max(a, b) < _COCO],
        }  # fmt: skip
        file.write(f'{{"categories": [{json.dumps(category)}],\n"images": [')
        for uri, some in _by_picture(rows):
            images += 1
            first = some[0]
            image = {
                "id": images, "file_name": uri, "width": first["width"], "height": first["height"],
                "sha256": first["image_sha256"],
            }  # fmt: skip
            file.write(("\n" if images == 1 else ",\n") + json.dumps(image, ensure_ascii=False))
            for row in some:
                people += 1
                one = _annotation(row, people, images)
                annotations.write(("\n" if people == 1 else ",\n") + json.dumps(one, ensure_ascii=False))
        file.write('],\n"annotations": [')
        annotations.seek(0)
        while chunk := annotations.read(1 << 20):
            file.write(chunk)
        file.write("]}\n")
    spool.unlink()
    unfinished.replace(path)
    return {"images": images, "people": people}


def _annotation(row: Row, number: int, image: int) -> dict[str, Any]:
    x0, y0, x1, y1 = (float(value) for value in row["box_px"])
    points = np.asarray(row["keypoints_px"], np.float64).reshape(-1, 3)[:_COCO]
    seen = np.where(points[:, 2] >= 0.5, 2, np.where(points[:, 2] >= 0.05, 1, 0))
    flat = [
        value for (x, y, _), v in zip(points, seen, strict=True)
        for value in ((round(x, 2), round(y, 2), int(v)) if v else (0, 0, 0))
    ]  # fmt: skip
    selected, hyps = int(row["selected"]), len(row["scores"])
    chosen = {
        name: np.asarray(row[name]).reshape(hyps, -1)[selected].round(5).tolist()
        for name in ("pose_aa", "betas", "transl_cam_m")
    }
    captions = {part: text for part, text in (row["captions"] or {}).items() if text}
    return {
        "id": number, "image_id": image, "category_id": 1, "iscrowd": 0,
        "bbox": [round(value, 2) for value in (x0, y0, x1 - x0, y1 - y0)],
        "area": round((x1 - x0) * (y1 - y0), 2), "score": round(float(row["detection_score"]), 4),
        "keypoints": flat, "num_keypoints": int((seen > 0).sum()), "captions": captions,
        "smpl": chosen | {"body": dict(row["models"]).get("body"), "focal_px": round(float(row["focal_px"]), 3)},
        "expected_error_mm": round(float(row["expected_error_mm"][selected]), 2),
        "person_index": row["person_index"],
    }  # fmt: skip


def write_npz(rows: Iterable[Row], folder: Path, *, hypotheses: bool = True) -> dict[str, int]:
    """``SHA256.npz`` for each picture, its people along the first axis; with every hypothesis, or the selected one."""
    folder.mkdir(parents=True, exist_ok=True)
    images = people = 0
    for uri, some in _by_picture(rows):
        arrays: dict[str, Any] = {
            "uri": np.array(uri),
            "person_index": np.array([r["person_index"] for r in some]),
        }
        selected = [int(row["selected"]) for row in some]
        arrays["selected"] = np.array(selected)
        for name, shape in _PERSON.items():
            arrays[name] = np.stack([np.asarray(row[name], np.float32).reshape(shape) for row in some])
        for name, shape in _HYPOTHESES.items():
            values = np.stack([np.asarray(row[name], np.float32).reshape(-1, *shape) for row in some])
            arrays[name] = values if hypotheses else values[np.arange(len(some)), selected]
        arrays["focal_px"] = np.array([row["focal_px"] for row in some], np.float32)
        arrays["models"] = np.array(json.dumps(dict(some[0]["models"])))
        path = folder / f"{some[0]['image_sha256']}.npz"
        unfinished = path.with_suffix(".part")
        with unfinished.open("wb") as file:
            np.savez_compressed(file, **arrays)
        unfinished.replace(path)
        images, people = images + 1, people + len(some)
    return {"images": images, "people": people}


def _by_picture(rows: Iterable[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Good rows, picture by picture; a picture's rows lie together, in order."""
    good = (row for row in rows if row["error_code"] is None)
    for uri, some in groupby(good, lambda row: row["uri"]):
        yield uri, sorted(some, key=lambda row: row["person_index"])
