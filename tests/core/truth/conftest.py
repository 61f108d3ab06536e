"""A small made benchmark: bodies in random poses with exact truth, and predictions that are off by a known amount."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.core.records import Intrinsics, Picture
from alignhmr.core.truth.predictions import body_key
from alignhmr.core.truth.records import Points, Prediction, Sample, TrueBody, Truth

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
                noise = noise_m * generator.normal(size=(hyps, *true.cam_m.shape))  # type: ignore[union-attr]
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
