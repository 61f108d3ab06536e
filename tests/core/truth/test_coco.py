"""COCO's person_keypoints JSON in miniature."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.errors import InputError
from alignhmr.core.truth.benchmarks import open_benchmark
from alignhmr.core.truth.records import Points


def label(number: int, image: int, **more: Any) -> dict[str, Any]:
    keypoints = [value for point in range(17) for value in (3 * point, 2 * point, (0, 1, 2)[point % 3])]
    return {
        "id": number, "image_id": image, "category_id": 1, "iscrowd": 0, "num_keypoints": 11, "area": 500.5,
        "bbox": [4, 6, 30, 20], "keypoints": keypoints, "segmentation": [],
    } | more  # fmt: skip


def px(points: Points) -> np.ndarray:
    assert points.px is not None
    return points.px


@pytest.fixture
def files(tmp_path: Path, write_picture) -> tuple[Path, Path]:
    content = {
        "images": [{"id": n, "file_name": f"{n:012d}.jpg", "width": 64, "height": 48} for n in (9, 4, 7)],
        "annotations": [
            label(1, 4),
            label(2, 9),
            label(3, 4, foot_kpts=[v for p in range(6) for v in (p, p + 1, 2)]),
            label(4, 7, iscrowd=1),
            label(5, 7, num_keypoints=0),
        ],
        "categories": [{"id": 1, "name": "person"}],
    }
    path = tmp_path / "person_keypoints_val2017.json"
    path.write_text(json.dumps(content))
    for n in (9, 4, 7):
        write_picture(tmp_path / "val2017" / f"{n:012d}.jpg")
    return tmp_path / "val2017", path


def test_people_with_keypoints_in_the_file_s_order(files) -> None:
    samples = list(open_benchmark(f"coco:{files[0]},{files[1]}"))
    assert [(sample.id, len(sample.people)) for sample in samples] == [("9", 1), ("4", 2)]
    assert samples[0].intrinsics.source == "default"
    assert samples[0].people[0].box_px.tolist() == [4, 6, 34, 26]


def test_points_are_pixels_with_visibility(files) -> None:
    first, with_feet = list(open_benchmark(f"coco:{files[0]},{files[1]}"))[1].people
    points = first.points["coco23"]
    assert points.visible is not None
    assert points.cam_m is None and first.body is None
    assert np.isnan(px(points)[0]).all()  # v = 0
    assert px(points)[1].tolist() == [3, 2] and not points.visible[1]  # v = 1
    assert px(points)[2].tolist() == [6, 4] and points.visible[2]  # v = 2
    assert np.isnan(px(points)[17:]).all() and not points.visible[17:].any()
    assert first.facts["labelled"] == 11
    feet = with_feet.points["coco23"]
    assert feet.visible is not None
    assert px(feet)[KEYPOINTS.index("left_heel")].tolist() == [2, 3] and feet.visible[17:].all()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "can't be read"),
        ("[", "is no whole JSON file"),
        ("[]", "not in COCO's keypoint format"),
        ('{"images": []}', "not in COCO's keypoint format .KeyError"),
        (
            '{"images": [], "annotations": [{"image_id": 1, "keypoints": [1, 2], "bbox": [0, 0, 1, 1]}]}',
            "ValueError",
        ),
        ('{"images": [], "annotations": []}', "holds no annotated person"),
    ],
)
def test_damaged_annotations_have_their_sentence(files, content: str | None, says: str) -> None:
    images, path = files
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=says):
        open_benchmark(f"coco:{images},{path}")


def test_one_path_or_a_split_is_a_mistake(files) -> None:
    with pytest.raises(InputError, match=r"write coco:IMAGES,ANNOTATIONS\.json"):
        open_benchmark(f"coco:{files[1]}")
    with pytest.raises(InputError, match="leave 'val' out"):
        open_benchmark(f"coco/val:{files[0]},{files[1]}")
