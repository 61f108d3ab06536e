"""Human3.6M's JSON annotations in miniature: one action of two subjects, two cameras, three frames."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from alignhmr.core.body.joint_sets import H36M_POINTS
from alignhmr.core.body.skeleton import KEYPOINTS, SHARED_KEYPOINTS
from alignhmr.core.errors import InputError
from alignhmr.core.truth.benchmarks import open_benchmark
from alignhmr.core.truth.human36m import read_human36m
from alignhmr.core.truth.records import Points

FRAMES = (0, 5, 64)
R = {camera: Rotation.from_euler("xyz", [90, 10 * camera, 3], degrees=True).as_matrix() for camera in (1, 4)}
T_MM = {1: [100.0, 900.0, 5200.0], 4: [-50.0, 950.0, 5000.0]}


def joints_mm(frame: int) -> np.ndarray:
    return np.random.default_rng(frame).uniform(-500, 500, (17, 3)) + [0, 0, 900]


def annotations(subject: int) -> dict[str, Any]:
    images, labels = [], []
    for camera in R:
        for frame in FRAMES:
            folder = f"s_{subject:02d}_act_02_subact_01_ca_{camera:02d}"
            number = len(images)
            images.append(
                {
                    "id": number, "file_name": f"{folder}/{folder}_{frame + 1:06d}.jpg", "width": 64, "height": 48,
                    "subject": subject, "action_name": "Directions", "action_idx": 2, "subaction_idx": 1,
                    "cam_idx": camera, "frame_idx": frame,
                }
            )  # fmt: skip
            labels.append(
                {"id": number, "image_id": number, "bbox": [10, 5, 20, 30], "keypoints_vis": [True] * 17}
            )
    return {
        "data": {"images": images, "annotations": labels},
        "camera": {
            str(c): {"R": R[c].tolist(), "t": T_MM[c], "f": [60.0, 62.0], "c": [32.0, 24.0]} for c in R
        },
        "joint_3d": {"2": {"1": {str(frame): joints_mm(frame).tolist() for frame in FRAMES}}},
    }


def cam(points: Points) -> np.ndarray:
    assert points.cam_m is not None
    return points.cam_m


def px(points: Points) -> np.ndarray:
    assert points.px is not None
    return points.px


@pytest.fixture
def root(tmp_path: Path, write_picture) -> Path:
    (tmp_path / "annotations").mkdir()
    for subject in (9, 11):
        content = annotations(subject)
        for name, part in content.items():
            (tmp_path / "annotations" / f"Human36M_subject{subject}_{name}.json").write_text(json.dumps(part))
        for image in content["data"]["images"]:
            write_picture(tmp_path / "images" / image["file_name"])
    return tmp_path


def test_every_64th_frame_of_both_test_subjects(root: Path) -> None:
    samples = list(open_benchmark(f"h36m:{root}"))
    assert len(samples) == 2 * 2 * 2
    assert {sample.group for sample in samples} == {"S9-Directions", "S11-Directions"}
    assert len({sample.id for sample in samples}) == 8
    assert {sample.id[-6:] for sample in samples} == {"000001", "000065"}
    front = list(read_human36m(root, "test-front"))
    assert len(front) == 4 and all("ca_04" in frame.id for frame in front)


def test_joints_stand_in_the_camera_s_frame(root: Path) -> None:
    for frame in read_human36m(root):
        camera = int(frame.people[0].facts["camera"])
        expected = (R[camera] @ joints_mm(int(frame.id[-6:]) - 1).T).T + T_MM[camera]
        points = frame.people[0].points["h36m17"]
        np.testing.assert_allclose(cam(points), expected / 1000, atol=1e-5)
        np.testing.assert_allclose(px(points), expected[:, :2] / expected[:, 2:] * 61 + [32, 24], atol=1e-3)
        coco = frame.people[0].points["coco23"]
        for index in range(len(KEYPOINTS)):
            if index in SHARED_KEYPOINTS:
                same = cam(points)[H36M_POINTS.index(KEYPOINTS[index])]
                np.testing.assert_array_equal(cam(coco)[index], same)
            else:
                assert np.isnan(cam(coco)[index]).all()
        assert frame.people[0].box_px.tolist() == [10, 5, 30, 35]


@pytest.mark.parametrize("name", ["data", "camera", "joint_3d"])
def test_missing_and_truncated_files_have_their_sentence(root: Path, name: str) -> None:
    path = root / "annotations" / f"Human36M_subject9_{name}.json"
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=f"subject9_{name}.json is no whole JSON file"):
        open_benchmark(f"h36m:{root}")
    path.write_text("{}")
    with pytest.raises(InputError, match=r"annotations of subject 9 don't fit together \(KeyError"):
        open_benchmark(f"h36m:{root}")
    path.unlink()
    with pytest.raises(InputError, match=f"subject9_{name}.json can't be read"):
        open_benchmark(f"h36m:{root}")


def test_another_number_of_joints_has_its_sentence(root: Path) -> None:
    path = root / "annotations" / "Human36M_subject9_joint_3d.json"
    path.write_text(json.dumps({"2": {"1": {str(frame): [[0, 0, 0]] * 32 for frame in FRAMES}}}))
    with pytest.raises(InputError, match=r"don.t fit together \(ValueError"):
        open_benchmark(f"h36m:{root}")


def test_unknown_split(root: Path) -> None:
    with pytest.raises(InputError, match="no split 'valid'; choose from test, test-front, train"):
        open_benchmark(f"h36m/valid:{root}")
