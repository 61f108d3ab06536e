"""EMDB in miniature: one sequence of four frames, of which one is ruled out."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alignhmr.core.body.body_file import BodyFile
from alignhmr.core.body.model import BodyModel
from alignhmr.core.errors import InputError
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.truth.benchmarks import open_benchmark
from alignhmr.core.truth.emdb import read_emdb
from alignhmr.core.truth.predictions import body_key
from alignhmr.core.truth.records import Points

FRAMES = 4
K = np.array([[70.0, 0, 30], [0, 70, 26], [0, 0, 1]])


def joints_of(smpl: BodyModel, pose: np.ndarray, betas: np.ndarray) -> np.ndarray:
    turned = axis_angle_to_matrix(torch.tensor(pose.reshape(24, 3), dtype=torch.float32))
    return smpl.kinematics(turned, torch.tensor(betas, dtype=torch.float32)).joints.numpy()


def sequence(smpl: BodyModel) -> dict[str, Any]:
    generator = np.random.default_rng(1)
    root, rest = 0.3 * generator.normal(size=(FRAMES, 3)), 0.2 * generator.normal(size=(FRAMES, 69))
    trans, betas = (
        np.array([0.0, 0.1, 3.5]) + 0.1 * generator.normal(size=(FRAMES, 3)),
        generator.normal(size=10),
    )
    world_to_cam = np.tile(np.eye(4), (FRAMES, 1, 1))
    world_to_cam[:, :3, :3] = axis_angle_to_matrix(torch.tensor([0.1, -0.2, 0.05])).numpy()
    world_to_cam[:, :3, 3] = [0.2, 0.0, 0.7]
    px = []
    for index in range(FRAMES):
        joints = joints_of(smpl, np.concatenate([root[index], rest[index]]), betas) + trans[index]
        cam = joints @ world_to_cam[index, :3, :3].T + world_to_cam[index, :3, 3]
        px.append(cam[:, :2] / cam[:, 2:] * 70 + [30, 26])
    return {
        "gender": "female",
        "name": "P3_31_made",
        "emdb1": True,
        "emdb2": np.bool_(False),
        "n_frames": FRAMES,
        "good_frames_mask": np.array([True, False, True, True]),
        "camera": {"intrinsics": K, "extrinsics": world_to_cam, "width": 64, "height": 48},
        "smpl": {"poses_root": root, "poses_body": rest, "trans": trans, "betas": betas},
        "kp2d": np.array(px),
        "bboxes": {"bboxes": np.zeros((FRAMES, 4)), "invalid_idxs": np.array([1])},
    }


def cam(points: Points) -> np.ndarray:
    assert points.cam_m is not None
    return points.cam_m


def px(points: Points) -> np.ndarray:
    assert points.px is not None
    return points.px


@pytest.fixture(params=[2, 4, 5])
def root(request, tmp_path: Path, smpl: BodyModel, write_picture) -> Path:
    folder = tmp_path / "P3" / "31_made"
    for index in range(FRAMES):
        write_picture(folder / "images" / f"{index:05d}.jpg")
    (folder / "P3_31_made_data.pkl").write_bytes(pickle.dumps(sequence(smpl), protocol=request.param))
    return tmp_path


def test_good_frames_alone(root: Path) -> None:
    samples = list(open_benchmark(f"emdb:{root}"))
    assert [sample.id for sample in samples] == [f"P3_31_made-{index:05d}" for index in (0, 2, 3)]
    assert samples[0].people[0].facts == {"gender": "female"}
    assert samples[0].intrinsics.center_px == (30.0, 26.0)


def test_splits(root: Path) -> None:
    assert len(list(read_emdb(root, "all"))) == 3
    with pytest.raises(InputError, match=r"emdb/emdb2:.* holds no annotated person"):
        open_benchmark(f"emdb/emdb2:{root}")
    with pytest.raises(InputError, match="no split 'test'; choose from emdb1"):
        open_benchmark(f"emdb/test:{root}")


def test_without_a_body_only_pixels_are_known(root: Path, smpl: BodyModel) -> None:
    data = sequence(smpl)
    frame = next(read_emdb(root))
    truth = frame.people[0]
    assert truth.points["smpl24"].cam_m is None and truth.points["coco23"].cam_m is None
    np.testing.assert_allclose(px(truth.points["smpl24"]), data["kp2d"][0], rtol=1e-6)
    assert truth.body is not None and truth.body.body == "smpl:female"
    assert np.isnan(truth.body.transl_cam_m).all() and np.isfinite(truth.body.pose_aa).all()


def test_with_a_body_joints_in_space_land_on_the_file_s_pixels(
    root: Path, smpl: BodyModel, off_center: BodyFile, tmp_path: Path
) -> None:
    bodies = tmp_path / "bodies"
    bodies.mkdir()
    off_center.write(bodies / "smpl-female.npz")
    for frame in read_emdb(f"{root},{bodies}"):
        truth = frame.people[0]
        points = truth.points["smpl24"]
        assert points.cam_m is not None and points.px is not None and truth.body is not None
        np.testing.assert_allclose(
            cam(points)[:, :2] / cam(points)[:, 2:] * 70 + [30, 26], px(points), atol=1e-2
        )
        mine = joints_of(smpl, truth.body.pose_aa, truth.body.betas) + truth.body.transl_cam_m
        np.testing.assert_allclose(mine, cam(points), atol=1e-4)
        assert truth.body.body == body_key(BodyModel.load(bodies / "smpl-female.npz"))


def test_a_folder_without_bodies_has_its_sentence(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has none of smpl-male\.npz.*alignhmr body import"):
        open_benchmark(f"emdb:{root},{tmp_path}")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x80\x04", "not a sequence of EMDB that can be read"),
        (pickle.dumps({"gender": "male"}), "lacks name, n_frames"),
        (None, "no EMDB annotations"),
    ],
)
def test_damaged_files_have_their_sentence(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        path = tmp_path / "P0" / "00_made" / "P0_00_made_data.pkl"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        open_benchmark(f"emdb:{tmp_path}")


def test_arrays_that_don_t_fit_have_their_sentence(root: Path, smpl: BodyModel) -> None:
    (path,) = root.rglob("*_data.pkl")
    for change in (
        {"kp2d": np.zeros((1, 24, 2))},
        {"camera": {}},
        {"smpl": {"poses_root": np.zeros((4, 3))}},
    ):
        path.write_bytes(pickle.dumps(sequence(smpl) | change))
        with pytest.raises(InputError, match="arrays that don't fit together"):
            list(read_emdb(root))
