"""People as `alignhmr prepare` writes them and motion clips, for tests of training and of its command.

Nothing here is downloaded: the motion clips are random, in the format of the real ones.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.geometry.cameras import project
from alignhmr.core.geometry.rotations import axis_angle_to_matrix
from alignhmr.training.sighting_shards import shard_bytes
from alignhmr.training.sightings import Sighting


def write_clips(folder: Path) -> Path:
    """Three short clips of random poses; one has the name of a held-out clip."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    balls = (4, 8, 12, 16, 21, 25, 30, 35, 39)
    for name in ("hop", "bend", "walk"):
        frames = random.normal(scale=0.3, size=(12, 44))
        for first in balls:
            quaternion = frames[:, first : first + 4] + np.array([1.0, 0, 0, 0])
            frames[:, first : first + 4] = quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True)
        (folder / f"humanoid3d_{name}.txt").write_text(json.dumps({"Frames": frames.tolist()}))
    return folder


def seen_people(body: BodyModel, count: int, *, seed: int = 0, name: str = "made") -> list[Sighting]:
    """Prepared people whose picture, keypoints and parameters belong together; each clip has two of them."""
    generator = torch.Generator().manual_seed(seed)
    random = np.random.default_rng(seed)
    people = []
    for index in range(count):
        pose = 0.25 * torch.randn(24, 3, generator=generator)
        pose[0] = torch.tensor([3.0, 0.2, 0.1])
        betas = 0.5 * torch.randn(10, generator=generator)
        points = body.kinematics(axis_angle_to_matrix(pose)[None], betas[None])
        transl = torch.tensor([0.1, -0.05, 4.0]) - points.joints[0, 0]
        joints_m, keypoints_m = (part[0] + transl for part in (points.joints, points.keypoints))
        pixels = project(keypoints_m[None], torch.tensor([400.0]), torch.tensor([[160.0, 120.0]]))[0].numpy()
        noisy = pixels + random.normal(scale=1.5, size=pixels.shape)
        box = np.array([*(pixels.min(0) - 6), *(pixels.max(0) + 6)], np.float32)
        side = 1.6 * float((box[2:] - box[:2]).max())
        picture = random.integers(0, 256, (256, 256, 3), np.uint8)
        people.append(
            Sighting(
                id=f"{name}-{index:04d}#0", group=f"clip/{index // 2}", domain=name,
                crop_jpeg=cv2.imencode(".jpg", cv2.GaussianBlur(picture, (0, 0), 6))[1].tobytes(),
                window_px=np.array([*((box[:2] + box[2:]) / 2), side], np.float32), picture_px=(320, 240),
                box_px=box, focal_px=400.0, center_px=(160.0, 120.0),
                keypoints_px=np.concatenate([noisy, np.full((23, 1), 0.9)], 1).astype(np.float32),
                keypoints_3d_m=None, score=0.9, mask=None, true_mask=None,
                body=f"{body.name}:{body.digest[:16]}", pose_aa=pose.numpy(), betas=betas.numpy(),
                transl_cam_m=transl.numpy(), smpl24_cam_m=joints_m.numpy(), coco23_cam_m=keypoints_m.numpy(),
                smpl24_visible=None, coco23_visible=None, facts={},
            )
        )  # fmt: skip
    return people


def write_people(folder: Path, people: list[Sighting], **identity: str) -> Path:
    """A folder as `alignhmr prepare` leaves it; ``identity`` says what its plan was."""
    folder.mkdir(parents=True)
    for part in range(2):
        (folder / f"people-{part}.parquet").write_bytes(shard_bytes(people[part::2], identity))
    return folder
