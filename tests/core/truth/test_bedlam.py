"""BEDLAM's and AGORA's .npz labels in miniature."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from alignhmr.core.body.body_file import BodyFile
from alignhmr.core.body.model import BodyModel
from alignhmr.core.body.skeleton import JOINTS, KEYPOINTS
from alignhmr.core.errors import InputError
from alignhmr.core.truth.bedlam import read_bedlam
from alignhmr.core.truth.benchmarks import open_benchmark
from alignhmr.core.truth.records import Points
from alignhmr.core.truth.smpl_labels import joints_m

K = np.array([[80.0, 0, 32], [0, 80, 24], [0, 0, 1]])


def write_labels(path: Path, rows: dict[str, np.ndarray]) -> None:
    np.savez(path, **rows)  # type: ignore[arg-type]


def labels(smpl: BodyModel, pose_numbers: int, names: list[str]) -> dict[str, np.ndarray]:
    """Rows of people; the open body stands in for theirs."""
    generator = np.random.default_rng(0)
    count = len(names)
    pose = 0.2 * generator.normal(size=(count, pose_numbers))
    trans, move = np.tile([0.0, 0.1, 2.5], (count, 1)), np.array([0.2, 0.0, 0.8])
    ext = np.tile(np.eye(4), (count, 1, 1))
    ext[:, :3, 3] = move
    shape = 0.3 * generator.normal(size=(count, 10 if pose_numbers == 72 else 11))
    px = np.full((count, 24 if pose_numbers == 72 else 127, 2), 7.0)
    for row in range(count):
        full = np.zeros((24, 3))
        full[:22] = pose[row].reshape(-1, 3)[:22]
        if pose_numbers == 72:
            full = pose[row].reshape(24, 3)
        joints = joints_m(smpl, full, shape[row][:10]) + trans[row] + move
        px[row, :22] = (joints[:, :2] / joints[:, 2:] * 80 + [32, 24])[:22]
    return {
        "imgname": np.array(names), "center": np.zeros((count, 2)), "scale": np.ones(count), "pose_cam": pose,
        "pose_world": pose, "shape": shape, "trans_cam": trans, "trans_world": trans, "cam_ext": ext,
        "cam_int": np.tile(K, (count, 1, 1)), "gtkps": px, "gender": np.array(["female"] * count),
    }  # fmt: skip


NAMES = ["seq_000000/seq_000000_0000.png", "seq_000000/seq_000000_0000.png", "seq_000001/seq_000001_0005.png"]


def cam(points: Points) -> np.ndarray:
    assert points.cam_m is not None
    return points.cam_m


def px(points: Points) -> np.ndarray:
    assert points.px is not None
    return points.px


@pytest.fixture
def root(tmp_path: Path, smpl: BodyModel, write_picture) -> Path:
    (tmp_path / "labels").mkdir()
    write_labels(tmp_path / "labels" / "static-gym.npz", labels(smpl, 165, NAMES))
    for name in set(NAMES):
        write_picture(tmp_path / "images" / "static-gym" / "png" / name)
    return tmp_path


def test_people_of_one_picture_come_together(root: Path) -> None:
    samples = list(open_benchmark(f"bedlam:{root}"))
    assert [sample.id for sample in samples] == [f"static-gym/{NAMES[0]}", f"static-gym/{NAMES[2]}"]
    assert [len(sample.people) for sample in samples] == [2, 1]
    assert samples[0].group == "static-gym/seq_000000" != samples[1].group
    assert samples[0].intrinsics.focal_px == 80


def test_smplx_labels_give_pixels_and_a_body_of_their_own_name(root: Path, smpl: BodyModel) -> None:
    data = labels(smpl, 165, NAMES)
    truth = next(read_bedlam(root)).people[1]
    points = truth.points["smpl24"]
    assert points.cam_m is None and np.isnan(px(points)[22:]).all()
    np.testing.assert_allclose(px(points)[:22], data["gtkps"][1, :22], rtol=1e-5)
    knee = px(truth.points["coco23"])[KEYPOINTS.index("right_knee")]
    np.testing.assert_array_equal(knee, px(points)[JOINTS.index("right_knee")])
    assert truth.body is not None and truth.body.body == "smplx:female"
    np.testing.assert_allclose(
        truth.body.pose_aa[:22].ravel(), data["pose_cam"][1, :66], rtol=1e-5, atol=1e-6
    )
    assert not truth.body.pose_aa[22:].any()
    # The parameters, put through the body that made the labels, land on the labels' pixels.
    joints = joints_m(smpl, truth.body.pose_aa, truth.body.betas) + truth.body.transl_cam_m
    np.testing.assert_allclose(
        (joints[:, :2] / joints[:, 2:] * 80 + [32, 24])[:22], px(points)[:22], atol=1e-2
    )


def test_smpl_labels_with_a_body_give_joints_in_space(
    tmp_path: Path, smpl: BodyModel, off_center: BodyFile
) -> None:
    (tmp_path / "labels").mkdir()
    write_labels(tmp_path / "labels" / "static-gym.npz", labels(smpl, 72, NAMES))
    off_center.write(tmp_path / "smpl-female.npz")
    truth = next(read_bedlam(tmp_path)).people[0]
    assert (
        truth.points["smpl24"].cam_m is None and truth.body is not None and truth.body.body == "smpl:female"
    )
    truth = next(read_bedlam(f"{tmp_path},{tmp_path}")).people[0]
    points = truth.points["smpl24"]
    assert points.cam_m is not None and truth.body is not None and truth.body.body.startswith("smpl-made:")
    np.testing.assert_allclose(
        (cam(points)[:, :2] / cam(points)[:, 2:] * 80 + [32, 24])[:22], px(points)[:22], atol=1e-2
    )


def test_closeups_are_turned_upright(tmp_path: Path, smpl: BodyModel) -> None:
    (tmp_path / "labels").mkdir()
    write_labels(tmp_path / "labels" / "closeup-gym.npz", labels(smpl, 165, NAMES[:1]))
    path = tmp_path / "images" / "closeup-gym" / NAMES[0]
    path.parent.mkdir(parents=True)
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, :32] = 255
    cv2.imwrite(str(path), pixels)
    picture = next(open_benchmark(f"bedlam:{tmp_path}")).picture
    assert picture.size == (48, 64) and picture.pixels[:32, 24:].min() == 255


def test_agora_s_labels_and_scenes(tmp_path: Path, smpl: BodyModel, write_picture) -> None:
    names = ["ag_trainset_3dpeople_bfh_archviz_5_10_cam02_00000_1280x720.png",
             "ag_trainset_3dpeople_bfh_archviz_5_10_cam02_00001_1280x720.png"]  # fmt: skip
    (tmp_path / "labels").mkdir()
    write_labels(tmp_path / "labels" / "agora-bfh.npz", labels(smpl, 165, names))
    for name in names:
        write_picture(tmp_path / "images" / name)
    samples = list(open_benchmark(f"agora:{tmp_path}"))
    assert [sample.domain for sample in samples] == ["agora", "agora"]
    assert {sample.group for sample in samples} == {"ag_trainset_3dpeople_bfh_archviz_5_10_cam02"}
    with pytest.raises(InputError, match="no split 'test'"):
        open_benchmark(f"agora/test:{tmp_path}")


def test_agora_s_pandas_pickles_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "validation_0_withjv.pkl").write_bytes(b"\x80\x04")
    with pytest.raises(InputError, match=r"withjv\.pkl is a pandas pickle, which is not read: get the \.npz"):
        open_benchmark(f"agora:{tmp_path}")


def test_damaged_labels_have_their_sentence(root: Path, smpl: BodyModel) -> None:
    path = root / "labels" / "static-gym.npz"
    whole = path.read_bytes()
    for content in (b"", b"PK\x03\x04", whole[: len(whole) // 2], whole[:-40]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"static-gym\.npz is no label file that can be read"):
            open_benchmark(f"bedlam:{root}")
    good = labels(smpl, 165, NAMES)
    for change, says in (
        ({"gtkps": good["gtkps"][:1]}, "columns of different lengths"),
        ({"pose_cam": np.zeros((3, 63))}, "poses of 63 numbers"),
        ({"gtkps": np.zeros((3, 17, 2))}, "17 joints; wanted"),
        ({"imgname": np.array([{"run": "me"}] * 3, dtype=object)}, "without running code"),
    ):
        write_labels(path, good | change)
        with pytest.raises(InputError, match=says):
            open_benchmark(f"bedlam:{root}")
    np.savez(path, imgname=good["imgname"])
    with pytest.raises(InputError, match="lacks pose_cam, shape"):
        open_benchmark(f"bedlam:{root}")


def test_no_labels(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no label files \(\*\.npz\) in"):
        open_benchmark(f"bedlam:{tmp_path}")
    with pytest.raises(InputError, match="the only one is train"):
        open_benchmark(f"bedlam/test:{tmp_path}")
