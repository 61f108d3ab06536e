"""A Recoverer without models: people, delays and failures are in the first pixel of the picture.

Its answers depend on box, camera, seed and number of hypotheses, as a real one's do, and on nothing else.
"""

import os
import time
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import torch

from alignhmr.core.body.skeleton import KEYPOINTS
from alignhmr.core.errors import InputError
from alignhmr.core.records import Hypotheses, Person, Picture, Recovery
from alignhmr.core.recovery import Recoverer, RecoveryRequest

FAIL, UNSEEN, SICKEN = 1, 2, 3


def instructions(people: int = 1, delay_ms: int = 0, fault: int = 0) -> tuple[int, int, int]:
    """Colour of a picture that makes the fake find so many people, take so long, and fail in this way."""
    return people, delay_ms // 10, fault


@dataclass
class FakeDetector:
    # Which process finds people, for tests that end it.
    name: str = field(default_factory=lambda: f"fake-pid-{os.getpid()}")
    digest: str = "0" * 64

    def find(self, picture: Picture) -> list[Person]:
        people = min(int(picture.pixels[0, 0, 0]), 50)
        width, height = picture.size
        boxes = [[width * i / (people + 1), 0, width * (i + 1) / (people + 1), height] for i in range(people)]
        return self.from_boxes(picture, np.array(boxes).reshape(-1, 4))

    def from_boxes(self, picture: Picture, boxes_px: np.ndarray) -> list[Person]:
        _, delay, fault = picture.pixels[0, 0].tolist()
        keypoints = np.zeros((len(KEYPOINTS), 3), np.float32)
        return [
            Person(np.asarray(box, np.float32), 0.9, keypoints, detector=f"{delay} {fault}")
            for box in boxes_px
        ]


class FakeBody:
    """A pyramid, and a skeleton like a flight of stairs."""

    name, num_vertices = "fake-body", 4
    faces = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])

    def kinematics(self, rotations: torch.Tensor, betas: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(joints=torch.arange(72.0).reshape(24, 3) / 10)


class FakeRecoverer:
    def __init__(self, base: str = "1") -> None:
        # The pid among the models lets a test say which process answered.
        self.models = {
            "body": "fake-body:0",
            "detector": "fake:0",
            "base": f"fake:{base}",
            "pid": str(os.getpid()),
        }
        self.sick = False
        self.body = FakeBody()
        self.detector = FakeDetector()

    def find(self, picture: Picture) -> list[Person]:
        return self.detector.find(picture)

    def from_boxes(self, picture: Picture, boxes_px: np.ndarray) -> list[Person]:
        return self.detector.from_boxes(picture, boxes_px)

    def recover_batch(self, requests: list[RecoveryRequest]) -> list[Recovery]:
        return [self._recover(request) for request in requests]

    def _recover(self, request: RecoveryRequest) -> Recovery:
        person, count = request.person, request.hypotheses
        # The warm-up's person was told nothing.
        delay, fault = (int(part) for part in (person.detector or "0 0").split())
        self.sick = self.sick or fault == SICKEN
        if fault == FAIL or self.sick:
            raise RuntimeError("the fake was told to fail")
        if fault == UNSEEN:
            raise InputError("fewer than 3 keypoints were seen")
        time.sleep(delay / 100)
        salt = int(np.abs(person.box_px).sum() * 16 + request.intrinsics.focal_px)
        draw = np.random.default_rng([request.seed, count, salt])
        joints_cam_m = draw.normal(0, 0.3, (count, 24, 3)).astype(np.float32) + np.array(
            [0, 0, 4], np.float32
        )
        hypotheses = Hypotheses(
            pose_aa=draw.normal(0, 0.3, (count, 24, 3)).astype(np.float32),
            betas=draw.normal(0, 1, (count, 10)).astype(np.float32),
            transl_cam_m=np.tile(np.array([0, 0, 4], np.float32), (count, 1)),
            joints_cam_m=joints_cam_m,
            keypoints_cam_m=np.zeros((count, len(KEYPOINTS), 3), np.float32),
            keypoints_px=np.zeros((count, len(KEYPOINTS), 2), np.float32),
            scores=draw.normal(0, 1, count).astype(np.float32),
            expected_error_mm=draw.uniform(30, 90, count).astype(np.float32),
        )
        return Recovery(
            person=person,
            intrinsics=request.intrinsics,
            crop_px=np.zeros(3, np.float32),
            hypotheses=hypotheses,
            selected=int(hypotheses.scores.argmax()),
            joint_spread_mm=np.zeros(24, np.float32),
            seed=request.seed,
            models=self.models,
        )

    def vertices(self, recovery: Recovery) -> np.ndarray:
        return self.all_vertices(recovery)[recovery.selected]

    def all_vertices(self, recovery: Recovery) -> np.ndarray:
        """Pyramids; each hypothesis's is narrower than the one before."""
        corners = np.array([[0, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0], [0, 0.2, 0.5]], np.float32)
        hypotheses = recovery.hypotheses
        width = np.linspace(1, 0.5, len(hypotheses), dtype=np.float32)[:, None, None]
        scale = np.concatenate([width, np.ones_like(width), np.ones_like(width)], -1)
        return corners * scale + hypotheses.transl_cam_m[:, None]


class Blind(FakeRecoverer):
    """Finds nobody, whatever colour a picture has."""

    def find(self, picture: Picture) -> list[Person]:
        return []


class Stander:
    """A detector for the real models: as many upright people as the first pixel says, side by side."""

    name, digest = "stander", "0" * 64

    def find(self, picture: Picture) -> list[Person]:
        width, height = picture.size
        count = min(int(picture.pixels[0, 0, 0]), 4)
        edges = np.linspace(0, width, count + 1)
        boxes = [[edges[i], 0.0, edges[i + 1], height] for i in range(count)]
        return self.from_boxes(picture, np.array(boxes).reshape(-1, 4))

    def from_boxes(self, picture: Picture | None, boxes_px: np.ndarray) -> list[Person]:
        return [self._person(np.asarray(box, float)) for box in boxes_px]

    def _person(self, box: np.ndarray) -> Person:
        # Shares of the box's width and height; left is the picture's right: they face the camera.
        parts = {"eye": (0.1, 0.05), "ear": (0.2, 0.06), "shoulder": (0.5, 0.2), "elbow": (0.7, 0.35)}
        parts |= {"wrist": (0.7, 0.5), "hip": (0.3, 0.5), "knee": (0.3, 0.73), "ankle": (0.3, 0.95)}
        points = np.zeros((len(KEYPOINTS), 3), np.float32)
        for index, name in enumerate(KEYPOINTS):
            side, _, part = name.partition("_")
            if part in parts:
                across, down = parts[part]
                x = 0.5 + (0.5 if side == "left" else -0.5) * across
                points[index] = (*(box[:2] + (box[2:] - box[:2]) * (x, down)), 1)
        return Person(box.astype(np.float32), 0.9, points, detector=self.name)


def starter() -> Recoverer:
    """The shipped models, with people made up."""
    return Recoverer.load(detector=Stander(), device="cpu")
