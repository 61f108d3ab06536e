"""3DPW in miniature: Python 2's pickle of a sequence of three frames and two actors, and its pictures."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import JOINTS, KEYPOINTS
from alignhmr.core.errors import InputError
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.truth.benchmarks import open_benchmark
from alignhmr.core.truth.records import Points
from alignhmr.core.truth.threedpw import read_3dpw

FRAMES, ACTORS = 3, 2


def sequence(smpl: BodyModel) -> dict[str, Any]:
    """What a file of 3DPW holds, under its keys: lists over actors of arrays over frames."""
    generator = np.random.default_rng(0)
    betas = [np.zeros(10), np.linspace(-1, 1, 10)]
    poses = [0.3 * generator.normal(size=(FRAMES, 72)) for _ in range(ACTORS)]
    trans = [
        np.array([actor - 0.5, 0.2, 4.0]) + 0.1 * generator.normal(size=(FRAMES, 3))
        for actor in range(ACTORS)
    ]
    joints = [
        joints_of(smpl, pose, beta).reshape(FRAMES, 24, 3) + t[:, None]
        for pose, beta, t in zip(poses, betas, trans, strict=True)
    ]
    cam = np.tile(np.eye(4), (FRAMES, 1, 1))
    for index in range(FRAMES):
        cam[index, :3, :3] = axis_angle_to_matrix(torch.tensor([0.05 * index, 0.1, -0.02])).numpy()
        cam[index, :3, 3] = [0.1, -0.2, 0.5 * index]
    return {
        "sequence": "downtown_made_00",
        "betas": betas,
        "betas_clothed": betas,
        "poses": poses,
        "trans": trans,
        "poses_60Hz": poses,
        "trans_60Hz": trans,
        "poses2d": [np.zeros((FRAMES, 3, 18)) for _ in range(ACTORS)],
        "jointPositions": [j.reshape(FRAMES, 72) for j in joints],
        "img_frame_ids": np.arange(FRAMES) * 2,
        "cam_poses": cam,
        "campose_valid": [np.array([1, 1, 1]), np.array([1, 0, 1])],
        "cam_intrinsics": np.array([[60.0, 0, 32], [0, 62, 24], [0, 0, 1]]),
        "genders": ["m", "f"],
        "texture_maps": [np.zeros((2, 2, 3), np.uint8)] * ACTORS,
        "v_template_clothed": [np.zeros((5, 3))] * ACTORS,
    }


def joints_of(smpl: BodyModel, poses: np.ndarray, betas: np.ndarray) -> np.ndarray:
    turned = axis_angle_to_matrix(torch.tensor(poses.reshape(-1, 24, 3), dtype=torch.float32))
    return smpl.kinematics(
        turned, torch.tensor(betas, dtype=torch.float32).expand(len(poses), 10)
    ).joints.numpy()


def python_2(data: bytes) -> bytes:
    """A protocol 2 pickle under the names of Python 2 and numpy 1."""
    return data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray").replace(
        b"cbuiltins", b"c__builtin__"
    )


def cam(points: Points) -> np.ndarray:
    assert points.cam_m is not None
    return points.cam_m


def px(points: Points) -> np.ndarray:
    assert points.px is not None
    return points.px


@pytest.fixture
def root(tmp_path: Path, smpl: BodyModel, write_picture) -> Path:
    path = tmp_path / "sequenceFiles" / "test" / "downtown_made_00.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(python_2(pickle.dumps(sequence(smpl), protocol=2)))
    for index in range(FRAMES):
        write_picture(
            tmp_path / "imageFiles" / "downtown_made_00" / f"image_{index:05d}.jpg", level=40 * index
        )
    return tmp_path


def test_frames_people_and_pictures(root: Path) -> None:
    samples = list(open_benchmark(f"3dpw:{root}"))
    assert [sample.id for sample in samples] == [f"downtown_made_00-{index:05d}" for index in range(FRAMES)]
    assert {sample.group for sample in samples} == {"downtown_made_00"}
    # In frame 1 the camera isn't aligned to the second actor.
    assert [len(sample.people) for sample in samples] == [2, 1, 2]
    assert [round(float(sample.picture.pixels.mean()) / 40) for sample in samples] == [0, 1, 2]
    assert samples[0].people[1].facts["gender"] == "female"
    assert samples[0].intrinsics.focal_px == 61 and samples[0].intrinsics.source == "given"


def test_joints_stand_in_the_camera_s_frame(root: Path, smpl: BodyModel) -> None:
    data = sequence(smpl)
    for index, frame in enumerate(read_3dpw(root)):
        world = np.append(data["jointPositions"][0][index].reshape(24, 3), np.ones((24, 1)), 1)
        expected = (data["cam_poses"][index] @ world.T).T[:, :3]
        points = frame.people[0].points["smpl24"]
        np.testing.assert_allclose(cam(points), expected, atol=1e-5)
        np.testing.assert_allclose(px(points), expected[:, :2] / expected[:, 2:] * 61 + [32, 24], atol=1e-3)
        coco = frame.people[0].points["coco23"]
        for name in ("left_knee", "right_wrist"):
            np.testing.assert_array_equal(cam(coco)[KEYPOINTS.index(name)], cam(points)[JOINTS.index(name)])
        assert np.isnan(cam(coco)[KEYPOINTS.index("nose")]).all() and "h36m17" not in frame.people[0].points


def test_body_parameters_give_the_same_joints_in_the_camera_s_frame(root: Path, smpl: BodyModel) -> None:
    """Rotation about SMPL's rest pelvis, the usual trap: the body on camera axes must have the file's joints."""
    for frame in read_3dpw(root):
        for truth in frame.people:
            assert truth.body is not None and truth.body.body.startswith("smpl:")
            joints = joints_of(smpl, truth.body.pose_aa[None], truth.body.betas)[0] + truth.body.transl_cam_m
            np.testing.assert_allclose(joints, cam(truth.points["smpl24"]), atol=1e-4)


def test_a_pickle_that_would_run_something_is_refused(root: Path, smpl: BodyModel) -> None:
    class Runs:
        def __reduce__(self):
            return os.system, (f"touch {root}/was-run",)

    path = root / "sequenceFiles" / "test" / "downtown_made_00.pkl"
    path.write_bytes(pickle.dumps(sequence(smpl) | {"betas": [Runs()]}, protocol=2))
    with pytest.raises(InputError, match=r"refused: it asks for (posix|nt)\.system"):
        list(read_3dpw(root))
    assert not (root / "was-run").exists()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: data[: len(data) // 2], "not a sequence of 3DPW that can be read"),
        (lambda _: b"", "not a sequence of 3DPW that can be read"),
        (lambda _: pickle.dumps([1, 2], 2), "holds a list and not the dict"),
        (lambda _: pickle.dumps({"sequence": "x"}, 2), "lacks betas, poses"),
    ],
)
def test_damaged_files_have_their_sentence(root: Path, damage, says: str) -> None:
    path = root / "sequenceFiles" / "test" / "downtown_made_00.pkl"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=says):
        open_benchmark(f"3dpw:{root}")


@pytest.mark.parametrize(
    "change",
    [
        {"trans": [np.zeros((1, 3))] * 2},
        {"jointPositions": [np.zeros((FRAMES, 70))] * 2},
        {"genders": ["m", "x"]},
        {"cam_intrinsics": np.zeros(3)},
        {"poses": [np.array([{"a": 1}], dtype=object)] * 2},
    ],
)
def test_arrays_that_don_t_fit_have_their_sentence(root: Path, smpl: BodyModel, change: dict) -> None:
    path = root / "sequenceFiles" / "test" / "downtown_made_00.pkl"
    path.write_bytes(pickle.dumps(sequence(smpl) | change, protocol=2))
    with pytest.raises(InputError, match="arrays that don't fit together"):
        list(read_3dpw(root))


def test_a_wrong_folder_or_split_has_its_sentence(root: Path) -> None:
    with pytest.raises(InputError, match=r"no 3DPW annotations in .*train"):
        open_benchmark(f"3dpw/train:{root}")
    with pytest.raises(InputError, match="no split 'dev'; choose from test, validation, train"):
        open_benchmark(f"3dpw/dev:{root}")
    (root / "imageFiles" / "downtown_made_00" / "image_00001.jpg").unlink()
    samples = open_benchmark(f"3dpw:{root}")
    next(samples)
    with pytest.raises(InputError, match=r"image_00001\.jpg, which can't be read"):
        next(samples)
