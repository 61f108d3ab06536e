"""Labels that are wrong in the five ways that labels are: to see whether cleaning finds them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from alignhmr.core.body.model import BodyModel
from alignhmr.core.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from alignhmr.core.synthetic.poses import mirror_axis_angle
from alignhmr.training.sightings import Sighting

KINDS = ("swapped", "flipped", "drifted", "other_pose", "noise")
SHARE = 0.3


def corrupted(
    sightings: Sequence[Sighting], body: BodyModel, seed: int = 0
) -> tuple[list[Sighting], list[str]]:
    """The same people, 30 % of them with a wrong label, and what is wrong with each ("" where nothing is).

    ``swapped``: another person's body, where this one stands. ``flipped``: left for right. ``drifted``: the camera has
    moved by 20 to 60 cm across and up to 15 % along. ``other_pose``: the same person, turned as they are, in another
    pose. ``noise``: 0.25 rad on each joint, 0.1 on the root.
    """
    rng = np.random.default_rng(seed)
    wrong = rng.permutation(len(sightings))[: round(SHARE * len(sightings))]
    kinds = [""] * len(sightings)
    for number, index in enumerate(wrong):
        kinds[index] = KINDS[number % len(KINDS)]
    labels = []
    for index, (sighting, kind) in enumerate(zip(sightings, kinds, strict=True)):
        other = sightings[int(rng.integers(len(sightings)))]
        labels.append(_wrong(sighting, other, kind, body, rng) if kind else sighting)
        assert labels[index].id == sighting.id
    return labels, kinds


def _wrong(s: Sighting, other: Sighting, kind: str, body: BodyModel, rng: np.random.Generator) -> Sighting:
    pose, betas, root = s.pose_aa.copy(), s.betas, s.smpl24_cam_m[0].copy()
    if kind == "swapped":
        pose, betas = other.pose_aa.copy(), other.betas
    elif kind == "flipped":
        turned = mirror_axis_angle(torch.from_numpy(pose)).numpy()
        pose[1:] = turned[1:]
    elif kind == "drifted":
        angle = rng.uniform(0, 2 * np.pi)
        root[:2] += rng.uniform(0.2, 0.6) * np.array([np.cos(angle), np.sin(angle)], np.float32)
        root[2] *= 1 + rng.uniform(-0.15, 0.15)
    elif kind == "other_pose":
        pose[1:] = other.pose_aa[1:]
    else:
        sigma = np.full((24, 1), 0.25)
        sigma[0] = 0.1
        turn = axis_angle_to_matrix(torch.from_numpy((rng.normal(size=(24, 3)) * sigma).astype(np.float32)))
        pose = matrix_to_axis_angle(axis_angle_to_matrix(torch.from_numpy(pose)) @ turn).numpy()
    rotations = axis_angle_to_matrix(torch.from_numpy(pose.astype(np.float32)))[None]
    points = body.kinematics(rotations, torch.from_numpy(betas.astype(np.float32))[None])
    joints, keypoints = points.joints[0].numpy(), points.keypoints[0].numpy()
    transl = (root - joints[0]).astype(np.float32)
    return replace(
        s, pose_aa=pose.astype(np.float32), betas=betas, transl_cam_m=transl, smpl24_cam_m=joints + transl,
        coco23_cam_m=keypoints + transl,
    )  # fmt: skip
