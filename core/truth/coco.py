"""COCO and data sets in its format: people in photos with 2D keypoints, and no third dimension.

Where: https://cocodataset.org (Lin et al., ECCV 2014), ``person_keypoints_val2017.json`` and ``val2017/``. Licence:
the annotations CC BY 4.0, each photo its own on Flickr.
Files: one JSON file and one folder of pictures, named ``coco:IMAGES,ANNOTATIONS.json``. Many other sets are published
in this format (CrowdPose and OCHuman convert to it; COCO-WholeBody adds ``foot_kpts``).

Conventions: ``keypoints`` are 17 x (x, y, v) in pixels; v = 0 is not labelled (NaN here), 1 hidden, 2 visible.
``foot_kpts``, where it is, has big toe, small toe and heel, left first, and completes ``coco23``. No camera: the
picture's EXIF or the default is taken. Crowds and people without keypoints carry no truth. A group is a picture.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.errors import InputError
from alignhmr.core.truth.frames import Frame, load_json
from alignhmr.core.truth.records import Points, Truth

BODY, FEET = 17, 6


def read_coco(location: str | Path, split: str = "") -> Iterator[Frame]:
    """Pictures with at least one person, in the file's order; `location` is IMAGES,ANNOTATIONS.json."""
    if split:
        raise InputError(f"a COCO file is its own split; leave {split!r} out")
    images, comma, annotations = str(location).rpartition(",")
    if not comma:
        raise InputError(f"{location!r} names one path; write coco:IMAGES,ANNOTATIONS.json")
    data = load_json(Path(annotations), "COCO keypoint annotations")
    try:
        people: dict[int, list[Truth]] = {}
        for label in data["annotations"]:
            if not label.get("iscrowd") and label.get("num_keypoints", 1) and "keypoints" in label:
                people.setdefault(label["image_id"], []).append(_person(label))
        listed = [(image["id"], str(image["file_name"])) for image in data["images"]]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as broken:
        raise InputError(
            f"{annotations} is not in COCO's keypoint format ({type(broken).__name__}: {broken}); give a file with "
            "images and annotations of 17 keypoints"
        ) from broken
    for number, name in listed:
        if number in people:
            yield Frame(str(number), str(number), "coco", Path(images) / name, None, people[number])


def _person(label: dict[str, Any]) -> Truth:
    given = np.full((len(KEYPOINTS), 3), np.nan)
    given[:BODY] = np.array(label["keypoints"], np.float64).reshape(BODY, 3)
    if "foot_kpts" in label:
        given[BODY:] = np.array(label["foot_kpts"], np.float64).reshape(FEET, 3)
    labelled = given[:, 2] > 0
    px = np.where(labelled[:, None], given[:, :2], np.nan).astype(np.float32)
    x, y, width, height = label["bbox"]
    return Truth(
        box_px=np.array([x, y, x + width, y + height], np.float32),
        points={"coco23": Points(None, px, given[:, 2] == 2)},
        facts={"labelled": float(labelled.sum()), "area_px": float(label.get("area", width * height))},
    )
