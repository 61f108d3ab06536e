"""A small made benchmark: bodies in random poses with exact truth, and predictions that are off by a known amount;
a made person before four made cameras; pictures to lie beside made annotations."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from alignhmr.core.body import body_file
from alignhmr.core.body.body_file import BodyFile, read_body_file
from alignhmr.core.body.model import BodyModel
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.records import Intrinsics, Picture
from alignhmr.core.truth.evaluate import Evaluation
from alignhmr.core.truth.multiview import CalibratedCamera
from alignhmr.core.truth.predictions import SystemInfo, body_key
from alignhmr.core.truth.records import Points, Prediction, Sample, TrueBody, Truth
from alignhmr.core.truth.results import Result, result_of

CAMERA = Intrinsics(500.0, (160.0, 120.0), "given")


@pytest.fixture(scope="session")
def body() -> BodyModel:
    return BodyModel.load("open", "small")


def posed(body: BodyModel, pose_aa: np.ndarray, betas: np.ndarray) -> dict[str, np.ndarray]:
    """Points of each set for [hyps, 24, 3] poses."""
    with torch.no_grad():
        points = body.kinematics(
            axis_angle_to_matrix(torch.from_numpy(pose_aa)).float(), torch.from_numpy(betas).float()
        )
    return {"smpl24": points.joints.numpy(), "coco23": points.keypoints.numpy()}


def pixels(points_m: np.ndarray) -> np.ndarray:
    return points_m[..., :2] / points_m[..., 2:] * CAMERA.focal_px + np.array(CAMERA.center_px, np.float32)


@pytest.fixture(scope="session")
def samples(body: BodyModel) -> list[Sample]:
    """12 pictures of 6 clips, two people in each."""
    generator = np.random.default_rng(0)
    made = []
    for number in range(12):
        people = []
        for index in range(2):
            pose = (0.3 * generator.normal(size=(24, 3))).astype(np.float32)
            betas = generator.normal(size=10).astype(np.float32)
            transl = np.array([index - 0.5, 0.0, 4.0 + index], np.float32)
            points = {name: xyz[0] + transl for name, xyz in posed(body, pose[None], betas[None]).items()}
            visible = generator.random(23) < 0.8
            px = pixels(points["coco23"])
            truth = Truth(
                box_px=np.concatenate([px.min(0), px.max(0)]),
                points={
                    "smpl24": Points(points["smpl24"]),
                    "coco23": Points(points["coco23"], px, visible),
                },
                body=TrueBody(body_key(body), pose, betas, transl),
                facts={
                    "occlusion": float(1 - visible.mean()),
                    "clothing": "loose" if number % 2 else "tight",
                },
            )
            people.append(truth)
        picture = Picture(np.full((240, 320, 3), 90, np.uint8), f"{number:064d}")
        made.append(Sample(f"frame{number:02d}", f"clip{number // 2}", "made", picture, CAMERA, people))
    return made


Predict = Callable[..., list[Prediction]]


@pytest.fixture(scope="session")
def predict(body: BodyModel) -> Predict:
    """Predictions for a sample whose points are off by ``noise_m``; hypothesis ``selected`` by half of it."""

    def answer(
        sample: Sample, noise_m: float = 0.05, hyps: int = 4, selected: int = 2, seed: int = 0
    ) -> list[Prediction]:
        generator = np.random.default_rng([seed, int(sample.id[-2:])])
        predictions = []
        for index, truth in enumerate(sample.people):
            assert truth.body is not None
            points = {}
            for name, true in truth.points.items():
                assert true.cam_m is not None
                noise = noise_m * generator.normal(size=(hyps, *true.cam_m.shape))
                noise[selected] /= 2
                points[name] = (true.cam_m + noise).astype(np.float32)
            predictions.append(
                Prediction(
                    sample.id, index, points, {name: pixels(xyz) for name, xyz in points.items()},
                    body_key(body), np.repeat(truth.body.pose_aa[None], hyps, 0),
                    np.repeat(truth.body.betas[None], hyps, 0),
                    scores=np.where(np.arange(hyps) == selected, 1.0, 0.0).astype(np.float32),
                    expected_error_mm=np.full(hyps, 60, np.float32), selected=selected,
                )
            )  # fmt: skip
        return predictions

    return answer


def look_at(center_m: np.ndarray, target_m: np.ndarray) -> np.ndarray:
    """World -> camera axes of a camera that looks at a point; the world's z is up."""
    forward = (target_m - center_m) / np.linalg.norm(target_m - center_m)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right = right / np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


@pytest.fixture(scope="session")
def cameras() -> list[CalibratedCamera]:
    """Four around the origin, about 4 m away."""
    centers = np.array([[3.5, 1.0, 1.6], [-1.2, 3.8, 2.0], [-3.0, -2.5, 1.2], [2.0, -3.4, 2.2]])
    return [
        CalibratedCamera(
            name=f"cam{index}",
            focal_px=1600.0 + 20 * index,
            center_px=(540.0 + 3 * index, 960.0),
            distortion=(-0.05, 0.14, 0.001, 0.0007),
            R_cam_world=look_at(center, np.array([0.1, 0.0, 1.0])),
            center_world_m=center,
        )
        for index, center in enumerate(centers)
    ]


@pytest.fixture(scope="session")
def keypoints_world_m() -> np.ndarray:
    """[frames, 23, 3]: the open body's keypoints as it waves about, standing on z = 0."""
    generator = np.random.default_rng(3)
    time = np.linspace(0, 1, 12)[:, None, None]
    pose = (
        0.5 * np.sin(3 * time + generator.uniform(0, 6, (1, 24, 3))) * generator.uniform(0.2, 1, (1, 24, 3))
    )
    pose[:, 0] = [np.pi / 2, 0, 0]  # SMPL stands along y
    body = BodyModel.load("open", "small")
    points = body.kinematics(
        axis_angle_to_matrix(torch.tensor(pose, dtype=torch.float32)), torch.zeros(len(time), 10)
    ).keypoints.numpy()
    return points.astype(np.float64) + [0.1, 0.0, 1.2]


@pytest.fixture
def write_picture() -> Callable[..., Path]:
    """Writes a picture of one colour and of that size; returns its path."""

    def write(path: Path, width: int = 64, height: int = 48, level: int = 90) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((height, width, 3), level, np.uint8))
        return path

    return write


@pytest.fixture(scope="session")
def off_center() -> BodyFile:
    """A body whose rest pelvis isn't the origin, as SMPL's isn't and the open body's is."""
    open_body = read_body_file(Path(body_file.__file__).parent / "data" / "open_body_small.npz")
    moved = open_body.v_template + np.array([0.01, -0.24, 0.03], np.float32)
    return replace(open_body, name="smpl-made", v_template=moved)


@pytest.fixture(scope="session")
def smpl(off_center: BodyFile) -> BodyModel:
    body = BodyModel(off_center)
    assert body.kinematics(torch.eye(3).expand(24, 3, 3), torch.zeros(10)).joints[0].norm() > 0.2
    return body


INFO = SystemInfo("fake", "1", "given", "given")


@pytest.fixture(scope="session")
def made(samples: list[Sample], predict: Predict) -> Callable[..., Result]:
    """Records of predictions that are off by a known amount; ``skip`` holds (sample, person) without an answer."""

    def result(info: SystemInfo = INFO, joints: str = "limbs12", used=None, skip=(), **options) -> Result:
        evaluation = Evaluation(info, joints)
        for sample in samples if used is None else used:
            evaluation.add(
                sample, [p for p in predict(sample, **options) if (sample.id, p.person) not in skip]
            )
        asked = {"count": None, "seed": 0}
        return result_of(evaluation, "tiny", asked=asked, made_by={"version": "0"})

    return result
