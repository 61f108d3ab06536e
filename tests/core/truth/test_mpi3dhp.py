"""MPI-INF-3DHP in miniature: annot.mat as MATLAB 5 writes it, and what h5py would give of a test sequence."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from alignhmr.core.body.joint_sets import H36M_POINTS
from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.errors import InputError, SetupError
from alignhmr.core.truth.benchmarks import open_benchmark
from alignhmr.core.truth.mpi3dhp import TEST_IN_TRAIN, TEST_JOINTS, fitted_pinhole, read_mpi3dhp
from alignhmr.core.truth.records import Points

FOCAL, CENTER = 1500.0, (1024.0, 1020.0)
FRAMES = 12


def joints(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """[frames, count, 3] in mm on camera axes, and their pixels."""
    cam_mm = np.random.default_rng(seed).uniform(-600, 600, (FRAMES, count, 3)) + [0, 0, 3500]
    return cam_mm, cam_mm[..., :2] / cam_mm[..., 2:] * FOCAL + CENTER


def cam(points: Points) -> np.ndarray:
    assert points.cam_m is not None
    return points.cam_m


def px(points: Points) -> np.ndarray:
    assert points.px is not None
    return points.px


@pytest.fixture
def train(tmp_path: Path, write_picture) -> Path:
    folder = tmp_path / "S1" / "Seq2"
    folder.mkdir(parents=True)
    cells = {"annot2": np.empty((14, 1), object), "annot3": np.empty((14, 1), object)}
    for video in range(14):
        cam_mm, px = joints(28, video)
        cells["annot3"][video, 0], cells["annot2"][video, 0] = (
            cam_mm.reshape(FRAMES, 84),
            px.reshape(FRAMES, 56),
        )
    scipy.io.savemat(
        folder / "annot.mat", cells | {"frames": np.arange(FRAMES)[:, None], "cameras": np.arange(14)}
    )
    for video in (0, 4):
        for number in range(1, FRAMES + 1):
            write_picture(folder / "imageFrames" / f"video_{video}" / f"frame_{number:06d}.jpg")
    return tmp_path


def test_training_frames_of_unpacked_videos(train: Path) -> None:
    samples = list(open_benchmark(f"mpi3dhp/train:{train}"))
    assert [s.id for s in samples] == [f"S1-Seq2-video{v}-{n:06d}" for v in (0, 4) for n in (1, 11)]
    assert {s.group for s in samples} == {"S1-Seq2"}
    for sample, (video, frame) in zip(samples, [(0, 0), (0, 10), (4, 0), (4, 10)], strict=True):
        cam_mm, true_px = joints(28, video)
        points = sample.people[0].points["h36m17"]
        # By the training set's own numbers, spelled out: 4 pelvis, 19 left knee, 16 right wrist, 7 head top.
        for index, name in (
            (4, "pelvis"),
            (19, "left_knee"),
            (16, "right_wrist"),
            (7, "head_top"),
            (5, "thorax"),
        ):
            place = H36M_POINTS.index(name)
            np.testing.assert_allclose(cam(points)[place], cam_mm[frame, index] / 1000, atol=1e-6)
            np.testing.assert_allclose(px(points)[place], true_px[frame, index], rtol=1e-6)
        assert np.isnan(cam(points)[H36M_POINTS.index("neck")]).all()
        coco = cam(sample.people[0].points["coco23"])
        np.testing.assert_allclose(coco[KEYPOINTS.index("left_knee")], cam_mm[frame, 19] / 1000, atol=1e-6)
        assert np.isnan(coco[KEYPOINTS.index("nose")]).all()
        assert abs(sample.intrinsics.focal_px - FOCAL) < 0.1
        np.testing.assert_allclose(sample.intrinsics.center_px, CENTER, atol=0.1)


def test_the_two_orders_of_joints_agree() -> None:
    train_names = dict(zip(TEST_IN_TRAIN, TEST_JOINTS, strict=True))
    assert (
        train_names[4] == "pelvis" and train_names[9] == "left_shoulder" and train_names[25] == "right_ankle"
    )
    assert len(set(TEST_IN_TRAIN)) == len(TEST_JOINTS) == 17


class FakeHdf5:
    """What h5py.File gives of annot_data.mat: arrays with MATLAB's axes turned round."""

    def __init__(self, path: Path, mode: str) -> None:
        if not Path(path).read_bytes().startswith(b"MATLAB 7.3"):
            raise OSError("file signature not found")
        cam_mm, px = joints(17, 3)
        valid = np.ones((FRAMES, 1))
        valid[[2, 5]] = 0
        self.data = {"annot3": cam_mm[:, None], "annot2": px[:, None], "valid_frame": valid}

    def __enter__(self) -> "FakeHdf5":
        return self

    def __exit__(self, *_: object) -> None: ...

    def __getitem__(self, name: str) -> np.ndarray:
        return self.data[name]


@pytest.fixture
def test_set(tmp_path: Path, write_picture) -> Path:
    folder = tmp_path / "TS1"
    for number in range(1, FRAMES + 1):
        write_picture(folder / "imageSequence" / f"img_{number:06d}.jpg")
    (folder / "annot_data.mat").write_bytes(b"MATLAB 7.3 MAT-file")
    return tmp_path


def test_valid_test_frames(test_set: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", types.SimpleNamespace(File=FakeHdf5))
    samples = list(open_benchmark(f"mpi3dhp:{test_set}"))
    assert [s.id for s in samples] == [f"TS1-{n:06d}" for n in range(1, FRAMES + 1) if n not in (3, 6)]
    cam_mm, _ = joints(17, 3)
    pelvis = cam(samples[1].people[0].points["h36m17"])[0]
    np.testing.assert_allclose(pelvis, cam_mm[1, 14] / 1000, atol=1e-6)


def test_hdf5_without_h5py_says_what_to_install(test_set: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(SetupError, match="pip install h5py"):
        open_benchmark(f"mpi3dhp:{test_set}")


def test_damaged_files_have_their_sentence(test_set: Path, train: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", types.SimpleNamespace(File=FakeHdf5))
    (test_set / "TS1" / "annot_data.mat").write_bytes(b"garbage")
    with pytest.raises(InputError, match=r"annot_data\.mat is no annotation .*signature not found"):
        open_benchmark(f"mpi3dhp:{test_set}")
    path = train / "S1" / "Seq2" / "annot.mat"
    whole = path.read_bytes()
    for content in (b"", b"garbage" * 100, whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"annot\.mat is no annotation"):
            open_benchmark(f"mpi3dhp/train:{train}")


def test_more_pictures_than_annotations_have_their_sentence(train: Path, write_picture) -> None:
    write_picture(train / "S1" / "Seq2" / "imageFrames" / "video_0" / "frame_000099.jpg")
    with pytest.raises(InputError, match=r"has picture 99 and .* only 12 annotated frames"):
        list(read_mpi3dhp(train, "train"))


def test_pixels_of_another_person_are_refused() -> None:
    cam_mm, px = joints(17, 0)
    with pytest.raises(InputError, match="miss their pixels by"):
        fitted_pinhole(cam_mm / 1000, px[::-1])


def test_empty_folder_and_split(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing there is called TS\*/annot_data\.mat"):
        open_benchmark(f"mpi3dhp:{tmp_path}")
    with pytest.raises(InputError, match="choose from test, train"):
        open_benchmark(f"mpi3dhp/dev:{tmp_path}")
